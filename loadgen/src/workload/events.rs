//! Event streams (WHATWG HTML, "server-sent events"), read whole.
//!
//! Owns [`Events`]: the data of each message event in a finished body. Knows nothing of what the data says. An event
//! without data (a priming event) or of another type than `message` is skipped, and so is what a blank line never ended.

use std::borrow::Cow;

/// The message events of a body.
#[derive(Clone, Debug)]
pub(super) struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Events<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self {
            rest: body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body),
        }
    }

    /// The next line without its end; none when no end is left.
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let (line, ended) = self.rest.split_at_checked(end)?;
        let after = ended.strip_prefix(b"\r\n").or_else(|| ended.get(1..));
        self.rest = after.unwrap_or_default();
        Some(line)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if !line.is_empty() {
                event.take(line);
                continue;
            }
            let event = std::mem::take(&mut event);
            match event.data {
                Some(data) if !data.is_empty() && event.is_message => return Some(data),
                _ => {}
            }
        }
    }
}

struct Event<'a> {
    data: Option<Cow<'a, [u8]>>,
    is_message: bool,
}

impl Default for Event<'_> {
    fn default() -> Self {
        Self {
            data: None,
            is_message: true,
        }
    }
}

impl<'a> Event<'a> {
    fn take(&mut self, line: &'a [u8]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.is_message = matches!(value, b"" | b"message"),
            // Ids and retry times matter to whoever reconnects; a name that is empty is a comment.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Events;

    #[test]
    fn events_come_in_every_framing() {
        let cases: &[(&str, &[&str])] = &[
            ("data: a\n\n", &["a"]),
            ("data:a\r\n\r\n", &["a"]),
            ("data: a\r\rdata: b\r\r", &["a", "b"]),
            ("\u{feff}data: a\n\n", &["a"]),
            ("event: message\nid: 1\ndata: a\n\n", &["a"]),
            ("data: {\ndata: }\n\n", &["{\n}"]),
            ("data:  a\n\n", &[" a"]),
            ("id: 0\ndata: \n\n: keep-alive\n\ndata: a\n\n", &["a"]),
            ("event: other\ndata: a\n\ndata: b\n\n", &["b"]),
            ("retry: 10\n\n", &[]),
            // A line of another name, a comment, and an event that was never ended.
            ("datax: a\n\n", &[]),
            (":data: a\n\n", &[]),
            ("data: a\n", &[]),
            ("data: a", &[]),
            ("data\n\n", &[]),
            ("", &[]),
        ];
        for (body, expected) in cases {
            let found: Vec<Vec<u8>> = Events::of(body.as_bytes()).map(|data| data.into_owned()).collect();
            let expected: Vec<Vec<u8>> = expected.iter().map(|data| data.as_bytes().to_vec()).collect();
            assert_eq!(found, expected, "{body:?}");
        }
    }
}

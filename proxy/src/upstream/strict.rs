//! Heads of answers that could be read in two ways.
//!
//! Owns the check of an HTTP/1.1 head as it came (RFC 9112 sections 2.2, 5 and 6): Pingora forgives what is refused here.
//! Whoever sits between the gate and the upstream must see the same answers as the gate, or one answer becomes two.

use std::iter::Peekable;

use http::HeaderMap;
use portcullis_core::head::is_token_byte;

/// Why a head is refused.
type Refusal = &'static str;

/// Checks a head, from its status line to its empty line.
///
/// # Errors
/// What is ambiguous about it, for the operator.
pub(super) fn check(head: &[u8], bytes_max: usize) -> Result<(), Refusal> {
    if bytes_max < head.len() {
        return Err(TOO_LONG);
    }
    let head = head
        .strip_suffix(b"\r\n\r\n")
        .ok_or("the head of the upstream's answer has a bare line feed")?;
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    let status = next_line(&mut lines)?.unwrap_or_default();
    let is_http10 = status.starts_with(b"HTTP/1.0 ");
    if !is_http10 && !status.starts_with(b"HTTP/1.1 ") {
        return Err("the upstream's answer is not HTTP/1.1");
    }
    let mut length = None;
    let mut coding = None;
    while let Some(field) = next_line(&mut lines)? {
        let (name, value) = split(field)?;
        if name.eq_ignore_ascii_case(b"content-length") && length.replace(value).is_some() {
            return Err("the upstream's answer has two lengths");
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") && coding.replace(value).is_some() {
            return Err("the upstream's answer has two transfer codings");
        }
    }
    check_framing(length, coding, is_http10)
}

/// Checks the size of a head that came over HTTP/2, which is framed in one way.
///
/// # Errors
/// What is wrong with it, for the operator.
pub(super) fn check_fields(fields: &HeaderMap, bytes_max: usize) -> Result<(), Refusal> {
    let bytes = fields.iter().fold(0_usize, |sum, (name, value)| {
        sum.saturating_add(name.as_str().len()).saturating_add(value.len())
    });
    match bytes <= bytes_max {
        true => Ok(()),
        false => Err(TOO_LONG),
    }
}

/// Whether the body's end is told once and plainly.
fn check_framing(length: Option<&[u8]>, coding: Option<&[u8]>, is_http10: bool) -> Result<(), Refusal> {
    match (length, coding) {
        (Some(_), Some(_)) => Err("the upstream's answer has a length and a transfer coding"),
        (None, Some(coding)) if is_http10 || !coding.eq_ignore_ascii_case(b"chunked") => {
            Err("the upstream's answer has an unknown transfer coding")
        }
        (Some(length), None) if length.is_empty() || !length.iter().all(u8::is_ascii_digit) => {
            Err("the length of the upstream's answer is no number")
        }
        (None | Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

/// The next line without its end; the last one has lost it already.
fn next_line<'h>(lines: &mut Peekable<impl Iterator<Item = &'h [u8]>>) -> Result<Option<&'h [u8]>, Refusal> {
    let Some(raw) = lines.next() else {
        return Ok(None);
    };
    let line = match lines.peek() {
        None => raw,
        Some(_) => raw
            .strip_suffix(b"\r")
            .ok_or("the head of the upstream's answer has a bare line feed")?,
    };
    match line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
        true => Err("the head of the upstream's answer has a bare carriage return or a NUL"),
        false => Ok(Some(line)),
    }
}

/// The name and the value of a field.
fn split(field: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if field.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
        return Err("a field of the upstream's answer is folded");
    }
    let colon = field.iter().position(|byte| *byte == b':');
    let (name, value) = colon
        .and_then(|at| field.split_at_checked(at))
        .ok_or("a field of the upstream's answer has no colon")?;
    match !name.is_empty() && name.iter().copied().all(is_token_byte) {
        true => Ok((name, value.get(1..).unwrap_or_default().trim_ascii())),
        false => Err("a field of the upstream's answer has no proper name"),
    }
}

const TOO_LONG: Refusal = "the head of the upstream's answer exceeds its byte limit";

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{check, check_fields};

    fn verdict(head: &str) -> Result<(), &'static str> {
        check(head.as_bytes(), 1_000)
    }

    #[test]
    fn a_head_that_reads_one_way_passes() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 200 \r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length:3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked \r\nx:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: caf\u{e9}\r\n\r\n",
        ] {
            assert_eq!(verdict(head), Ok(()), "{head:?}");
        }
    }

    #[test]
    fn a_head_that_reads_two_ways_is_refused() {
        for (head, reason) in [
            ("HTTP/1.1 200 OK\n\n", "line feed"),
            ("HTTP/1.1 200 OK\r\nx: 1\ny: 2\r\n\r\n", "line feed"),
            ("HTTP/1.1 200 OK\nx: 1\r\n\r\n", "line feed"),
            ("HTTP/1.1 200 OK\r\nx: 1\r\n\n", "line feed"),
            ("HTTP/1.1 200 OK\r\nx: 1\ry: 2\r\n\r\n", "carriage return"),
            ("HTTP/1.1 200 OK\r\nx: 1\r\r\ny: 2\r\n\r\n", "carriage return"),
            ("HTTP/1.1 200 OK\r\nx: 1\0\r\n\r\n", "NUL"),
            ("HTTP/1.1 200 OK\r\nx: 1\r\n y: 2\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\nx: 1\r\n\ty: 2\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\n x: 1\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n", "proper name"),
            ("HTTP/1.1 200 OK\r\nContent Length: 3\r\n\r\n", "proper name"),
            ("HTTP/1.1 200 OK\r\n: 3\r\n\r\n", "proper name"),
            ("HTTP/1.1 200 OK\r\nx\r\n\r\n", "no colon"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                "two lengths",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n", "no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "no number"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "a length and a transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "two transfer codings",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "unknown transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
                "unknown transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
                "unknown transfer coding",
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "unknown transfer coding",
            ),
            ("HTTP/2 200 OK\r\n\r\n", "not HTTP/1.1"),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", "not HTTP/1.1"),
        ] {
            let refused = verdict(head).expect_err(head);
            assert!(refused.contains(reason), "{head:?}: {refused}");
        }
    }

    #[test]
    fn a_head_passes_at_its_limit_and_not_beyond() {
        let head = b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\n";
        assert_eq!(check(head, head.len()), Ok(()));
        assert!(check(head, head.len() - 1).unwrap_err().contains("byte limit"));
        let fields = HeaderMap::from_iter([(HeaderName::from_static("x-1"), HeaderValue::from_static("12345"))]);
        assert_eq!(check_fields(&fields, 8), Ok(()));
        assert!(check_fields(&fields, 7).unwrap_err().contains("byte limit"));
    }
}

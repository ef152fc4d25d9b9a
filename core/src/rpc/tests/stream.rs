//! Event streams, cut at every byte.

use crate::rpc::sse::{Event, Splitter, SseError, write_event};

fn event(id: Option<&str>, name: Option<&str>, data: &str) -> Event {
    Event {
        id: id.map(str::to_owned),
        event: name.map(str::to_owned),
        data: data.to_owned().into(),
        retry_ms: None,
    }
}

/// All events of `stream` when it comes in chunks of `size`, and whether it ended within one.
fn split(stream: &[u8], size: usize, bytes_max: usize) -> (Vec<Result<Event, SseError>>, bool) {
    let mut splitter = Splitter::new(bytes_max);
    let mut events = Vec::new();
    for chunk in stream.chunks(size) {
        splitter.push(chunk);
        while let Some(event) = splitter.next() {
            events.push(event);
        }
    }
    assert!(splitter.next().is_none());
    (events, splitter.finish())
}

#[test]
fn events_are_whole_however_they_arrive() {
    let retry = Event {
        retry_ms: Some(1500),
        ..event(None, None, "x")
    };
    let table: &[(&str, &[Event], bool)] = &[
        ("", &[], false),
        ("data: {}\n\n", &[event(None, None, "{}")], false),
        ("data: {}\r\n\r\n", &[event(None, None, "{}")], false),
        ("data: {}\r\r", &[event(None, None, "{}")], false),
        ("\u{feff}data:{}\n\n", &[event(None, None, "{}")], false),
        ("\u{feff}\n\u{feff}data: x\n\n", &[event(None, None, "")], false),
        (
            "event: message\nid: 7\ndata:  a\ndata\ndata:b:c\n\n",
            &[event(Some("7"), Some("message"), " a\n\nb:c")],
            false,
        ),
        (
            "id: 1\r\ndata: a\r\n\r\ndata: b\r\rdata: c\n\n",
            &[
                event(Some("1"), None, "a"),
                event(None, None, "b"),
                event(None, None, "c"),
            ],
            false,
        ),
        (": keep-alive\n\n", &[event(None, None, "")], false),
        ("id: p\ndata: \n\n", &[event(Some("p"), None, "")], false),
        ("\n\n\r\n\n", &[], false),
        (
            "retry: 1500\nretry: 1e3\nretry: \nretry: +5\ndata: x\n\n",
            &[retry],
            false,
        ),
        (
            "id: a\nid: \0b\nDATA: no\nunknown: 1\ndata: x\n\n",
            &[event(Some("a"), None, "x")],
            false,
        ),
        ("data: é\n\n: tail", &[event(None, None, "é")], false),
        ("data: a\n\ndata: b\n", &[event(None, None, "a")], true),
        ("data: a\n\ndata: b", &[event(None, None, "a")], true),
        ("data: a\n\nd", &[event(None, None, "a")], true),
    ];
    for (stream, events, torn) in table {
        for size in 1..=stream.len().max(1) {
            let (seen, tail) = split(stream.as_bytes(), size, 1 << 20);
            let seen: Vec<Event> = seen.into_iter().map(Result::unwrap).collect();
            assert_eq!((&*seen, tail), (*events, *torn), "{stream:?} by {size}");
        }
    }
}

#[test]
fn priming_events_carry_no_message() {
    assert!(event(Some("1"), Some("message"), "").is_priming());
    assert!(!event(None, None, "{}").is_priming());
}

#[test]
fn an_event_is_bounded() {
    let data = |bytes: usize| format!("data:{}\n\n", "x".repeat(bytes));
    let table: &[(String, bool)] = &[
        (data(64), true),
        (data(65), false),
        (format!("data:{}\ndata:{}\n\n", "x".repeat(31), "x".repeat(32)), true),
        (format!("data:{}\ndata:{}\n\n", "x".repeat(32), "x".repeat(32)), false),
        (format!("id:{}\nevent:{}\n\n", "x".repeat(32), "x".repeat(32)), true),
        (format!("id:{}\nevent:{}\n\n", "x".repeat(32), "x".repeat(33)), false),
        (": comment\n".repeat(100) + "\n", true),
    ];
    for (stream, accepted) in table {
        let (seen, _) = split(stream.as_bytes(), stream.len(), 64);
        assert_eq!(seen.iter().all(Result::is_ok), *accepted, "{stream:?}");
    }
    let (seen, torn) = split("x".repeat(200).as_bytes(), 50, 64);
    assert_eq!(
        (seen, torn),
        (vec![Err(SseError::TooLarge)], false),
        "a line without end is cut, and nothing follows"
    );
    let (seen, _) = split(b"data: a\n\nid: \xff\n\ndata: b\n\n", 4, 64);
    assert_eq!(seen, [Ok(event(None, None, "a")), Err(SseError::NotUtf8)]);
}

#[test]
fn written_events_read_back() {
    let table: &[(Option<&str>, Option<&str>, &str, Event)] = &[
        (None, None, "{}", event(None, None, "{}")),
        (
            Some("message"),
            Some("1"),
            "{\"a\":\n1}",
            event(Some("1"), Some("message"), "{\"a\":\n1}"),
        ),
        (None, None, "[\r\n1,\r2]", event(None, None, "[\n\n1,\n2]")),
        (Some("a\ndata: forged"), Some("b\rc"), "1", event(None, None, "1")),
        (None, Some("\0"), "", event(None, None, "")),
    ];
    for (name, id, data, expected) in table {
        let mut out = Vec::new();
        write_event(&mut out, *name, *id, data.as_bytes());
        let (seen, torn) = split(&out, 3, 1 << 10);
        assert_eq!((seen, torn), (vec![Ok(expected.clone())], false));
    }
}

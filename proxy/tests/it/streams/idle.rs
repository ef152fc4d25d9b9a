//! The two clocks of an upstream that is slow: until its answer begins, and between two pieces of a stream.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::upstream::Upstream;
use super::{Client, PROGRESS, RESULT, call, start, step, trail};
use crate::gate::{HOST, PATH};
use portcullis_fixtures::persona::ALICE;

/// Whole seconds: a slow machine must not take the one case for the other.
const DEADLINE: Duration = Duration::from_secs(2);

#[test]
fn the_first_byte_of_an_answer_has_its_deadline() {
    for (after, status) in [(DEADLINE / 4, 200), (DEADLINE * 3, 504)] {
        let upstream = Upstream::start(move |_, answer| {
            std::thread::sleep(after);
            answer.json("", RESULT);
        });
        let gate = start(&upstream, "  upstream_first_byte_deadline: 2s\n");
        let begun = Instant::now();
        let answer = gate.call(&call().bearer(&gate.token(&ALICE)));
        assert_eq!(answer.status, status, "{after:?}: {}", answer.text());
        assert!(
            begun.elapsed() < DEADLINE * 3,
            "{after:?}: nobody waited for the upstream"
        );
        if status == 504 {
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(
                (&body["id"], &body["error"]["data"]["status"]),
                (&1.into(), &504.into()),
                "{body}"
            );
        }
    }
}

#[test]
fn a_stream_that_speaks_goes_on_and_a_silent_one_ends() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        // Longer than the deadline in all, never so between two pieces; a comment is a piece as well.
        for _ in 0..3 {
            answer.event(PROGRESS);
            std::thread::sleep(DEADLINE / 4);
            answer.piece(": here\n\n");
            std::thread::sleep(DEADLINE / 4);
        }
        answer.event(RESULT);
        answer.end();
    });
    let gate = start(&upstream, "  stream_idle_deadline: 2s\n");
    let begun = Instant::now();
    let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
    let mut all = String::new();
    while let Some(events) = client.events() {
        all.push_str(&events);
    }
    assert!(all.contains("\"done\"") && !all.contains("\"error\""), "{all}");
    assert!(DEADLINE < begun.elapsed());

    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.event(PROGRESS);
        answer.until_gone();
    });
    let gate = start(&upstream, "  stream_idle_deadline: 2s\n");
    let begun = Instant::now();
    let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
    assert_eq!(client.message()["method"], "notifications/progress");
    let told = client.message();
    assert!(told["id"] == 1 && told["error"]["code"].is_i64(), "{told}");
    assert_eq!(client.events(), None);
    assert!(DEADLINE < begun.elapsed() + Duration::from_millis(100));
    assert_eq!(
        trail(&gate, "tools/call").last(),
        Some(&step("close", None, Some("expired")))
    );
}

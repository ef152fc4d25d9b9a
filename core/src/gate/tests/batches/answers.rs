//! What comes back for a batch: whole, as one message, or piece by piece in a stream.

use super::*;

#[test]
fn answers_are_matched_by_their_ids() {
    let stage = open_stage();
    let mut ticket = ticket(&stage, &[read("1"), NOTE.to_owned(), ping(r#""1""#)]);
    let before = stage.records().len();
    let empty = r#"{"jsonrpc":"2.0","id":"\u0031","result":{}}"#;
    let release = stage.review(&mut ticket, json(200, &format!("[ {empty} ,{}]", result("1"))));
    assert_eq!(
        parts(&release),
        [empty.to_owned(), result("1")],
        "each by its own bytes"
    );
    assert!(ticket.answered());
    ticket.close(Outcome::Ended, NOW);
    let reviewed = |method: &str, reason: &str| line("response", method, "reviewed", reason);
    assert_eq!(
        trail(&stage)[before..],
        [
            reviewed("ping", "whatever it is"),
            reviewed("tools/call", "whatever it is"),
            reviewed("notifications/initialized", "-"),
        ]
    );
}

#[test]
fn what_answers_nobody_is_dropped_and_who_gets_no_answer_is_told() {
    for (name, answer) in [
        ("another id", result("3")),
        ("no id", r#"{"jsonrpc":"2.0","result":{}}"#.to_owned()),
        ("the same twice", result("1")),
        ("a bare value", "7".to_owned()),
        ("an array within", format!("[{}]", result("2"))),
        ("a notification", PROGRESS.to_owned()),
        ("a request", ASKED.to_owned()),
    ] {
        let stage = open_stage();
        let mut ticket = ticket(&stage, &[read("1"), ping("2")]);
        let before = stage.records().len();
        let release = stage.review(&mut ticket, json(200, &format!("[{},{answer}]", result("1"))));
        let missing = r#"upstream_failed Some("2")"#.to_owned();
        assert_eq!(parts(&release), [result("1"), missing], "{name}");
        ticket.close(Outcome::Ended, NOW);
        assert_eq!(
            trail(&stage)[before..],
            [
                line("part", "tools/call", "withheld", "answer_invalid"),
                line("response", "tools/call", "reviewed", "whatever it is"),
                line("response", "ping", "upstream_failed", "upstream_failed"),
            ],
            "{name}"
        );
    }
}

#[test]
fn an_answer_that_is_none_is_refused_to_all() {
    for (name, answer, reason) in [
        ("no JSON", json(200, "hello"), DenyReason::AnswerInvalid),
        ("an empty array", json(200, "[]"), DenyReason::AnswerInvalid),
        ("a failure", Answer::Empty { status: 500 }, DenyReason::UpstreamFailed),
        (
            "a status of success",
            Answer::Empty { status: 202 },
            DenyReason::UpstreamFailed,
        ),
        (
            "a refusal of the gate",
            json(401, &format!("[{}]", result("1"))),
            DenyReason::UpstreamFailed,
        ),
        (
            "too many",
            json(200, &format!("[{}]", vec![result("1"); 257].join(","))),
            DenyReason::AnswerInvalid,
        ),
    ] {
        let stage = open_stage();
        let mut ticket = ticket(&stage, &[read("1"), ping("2")]);
        let release = stage.review(&mut ticket, answer);
        if name == "a refusal of the gate" {
            let refused = [r#"upstream_failed Some("1")"#, r#"upstream_failed Some("2")"#];
            assert_eq!(parts(&release), refused, "{name}");
            continue;
        }
        let Release::Withheld(denial) = release else {
            panic!("{name}: {release:?}");
        };
        assert_eq!((denial.reason, denial.request_id), (reason, None), "{name}");
    }
    // An error without an id is about the whole batch, and leaves once.
    let stage = open_stage();
    let whole = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches here"}}"#;
    let mut asked = ticket(&stage, &[read("1"), NOTE.to_owned(), ping("2")]);
    let release = stage.review(&mut asked, json(400, whole));
    assert!(matches!(release, Release::Pass { status: 400, .. }), "{release:?}");
    assert_eq!(body_of(&release), whole);
    // A session that is gone is gone for all.
    let mut gone = ticket(&stage, &[read("1"), ping("2")]);
    let release = stage.review(&mut gone, Answer::Empty { status: 404 });
    assert!(matches!(release, Release::Empty { status: 404 }));
}

#[test]
fn one_message_may_answer_a_batch_of_one_request() {
    let stage = open_stage();
    let mut alone = ticket(&stage, &[NOTE.to_owned(), read("1")]);
    assert_eq!(body_of(&stage.review(&mut alone, json(200, &result("1")))), result("1"));
    let mut array = ticket(&stage, &[read("1")]);
    let release = stage.review(&mut array, json(200, &format!("[{}]", result("1"))));
    assert_eq!(parts(&release), [result("1")], "an array stays one");
    let mut two = ticket(&stage, &[read("1"), ping("2")]);
    let release = stage.review(&mut two, json(200, &result("1")));
    assert_eq!(
        parts(&release),
        [result("1"), r#"upstream_failed Some("2")"#.to_owned()]
    );
}

#[test]
fn each_answer_is_reviewed_as_its_own_tools() {
    let stage = Stage::new();
    let mut ticket = ticket(&stage, &[ping("1"), read("2"), read("3")]);
    let secret = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"structuredContent":{{"internal_note":"x"}}}}}}"#
        )
    };
    let image = r#"{"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"image","data":"","mimeType":"a/b"}]}}"#;
    let pong = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let release = stage.review(&mut ticket, json(200, &format!("[{pong},{},{image}]", secret("2"))));
    let left = parts(&release);
    assert_eq!(left[0], pong);
    assert!(
        left[1].contains("\"id\":2") && !left[1].contains("internal_note"),
        "{}",
        left[1]
    );
    assert_eq!(left[2], r#"answer_withheld Some("3")"#);
}

#[test]
fn a_stream_answers_a_batch_piece_by_piece() {
    let stage = open_stage();
    let mut ticket = streaming(&stage, &[read("1"), NOTE.to_owned(), ping("2"), ping("3")]);
    assert_eq!(body_of(&stage.review(&mut ticket, message(&result("1")))), result("1"));
    assert!(!ticket.answered());
    let pong = r#"{"jsonrpc":"2.0","id":2,"result":{}}"#;
    let release = stage.review(&mut ticket, message(&format!("[{PROGRESS},{pong}, {}]", result("1"))));
    assert_eq!(
        parts(&release),
        [PROGRESS, pong],
        "what was answered is not answered again"
    );
    assert!(!ticket.answered());
    assert!(matches!(
        stage.review(&mut ticket, message(&result("9"))),
        Release::Dropped
    ));
    // The upstream ends its stream before the last answer.
    let denial = ticket.failed(DenyReason::UpstreamFailed, "it ended");
    assert_eq!(denial.request_id, None);
    assert_eq!(parts(&ticket.owed(denial)), [r#"upstream_failed Some("3")"#]);
    ticket.close(Outcome::UpstreamFailed, NOW);
    let closes: Vec<[String; 4]> = trail(&stage).into_iter().filter(|line| line[0] == "close").collect();
    assert_eq!(
        closes,
        [
            line("close", "tools/call", "reviewed", "-"),
            line("close", "notifications/initialized", "reviewed", "-"),
            line("close", "ping", "reviewed", "-"),
            line("close", "ping", "upstream_failed", "-"),
        ]
    );
    let opened = trail(&stage).iter().filter(|line| line[0] == "open").count();
    assert_eq!(opened, 4, "each has its own pair");
}

#[test]
fn an_event_that_cannot_be_read_ends_the_stream_for_all() {
    for data in ["hello", "[]", "[[["] {
        let stage = open_stage();
        let mut ticket = streaming(&stage, &[read("1"), ping("2")]);
        let release = stage.review(&mut ticket, message(data));
        let refused = [r#"answer_invalid Some("1")"#, r#"answer_invalid Some("2")"#];
        assert_eq!(parts(&release), refused, "{data}");
        assert!(ticket.answered());
    }
}

#[test]
fn a_result_without_an_id_is_nobodys_and_the_stream_goes_on() {
    let stage = open_stage();
    let mut ticket = streaming(&stage, &[read("1"), ping("2")]);
    let stray = r#"{"jsonrpc":"2.0","id":null,"result":{}}"#;
    assert!(matches!(stage.review(&mut ticket, message(stray)), Release::Dropped));
    assert_eq!(stage.last()["reason"], "answer_invalid");
    assert!(!ticket.answered());
    let own = result("1");
    assert_eq!(body_of(&stage.review(&mut ticket, message(&own))), own);
}

#[test]
fn a_message_of_the_server_passes_only_where_each_request_lets_it() {
    // The obligations of the call cannot be met in a notification, whichever element comes first.
    let stage = Stage::new();
    for elements in [[read("1"), ping("2")], [ping("1"), read("2")]] {
        let mut ticket = streaming(&stage, &elements);
        let worded = PROGRESS.replace("\"progress\":1", "\"progress\":1,\"message\":\"jo\"");
        assert_ne!(worded, PROGRESS);
        assert!(matches!(stage.review(&mut ticket, message(&worded)), Release::Dropped));
        assert_eq!(stage.last()["reason"], "answer_withheld");
    }
    let mut without = streaming(&stage, &[ping("1"), ping("2")]);
    assert_eq!(body_of(&stage.review(&mut without, message(PROGRESS))), PROGRESS);
    // A request of the server is awaited once, whoever of the batch lets it pass.
    let open = open_stage();
    let mut ticket = streaming(&open, &[read("1"), ping("2"), ping("3")]);
    assert_eq!(body_of(&open.review(&mut ticket, message(ASKED))), ASKED);
    assert_eq!(open.gate.awaited.len(), (1, 1));
    assert!(matches!(open.review(&mut ticket, message(ASKED)), Release::Dropped));
    assert_eq!(open.gate.awaited.len(), (1, 1), "the first one is still awaited");
}

#[test]
fn nothing_of_a_batch_leaves_after_its_token() {
    let stage = open_stage();
    let late = UnixTime::from_secs(NOW_S + 420);
    let mut whole = ticket(&stage, &[read("1"), ping("2")]);
    assert_eq!(whole.expires(NOW), late);
    let answer = format!("[{}]", result("1"));
    let release = stage.review_at(&mut whole, json(200, &answer), late);
    assert_eq!(withheld(&release), DenyReason::TokenExpired);
    let mut stream = streaming(&stage, &[read("1"), ping("2")]);
    let release = stage.review_at(&mut stream, message(&answer), late);
    let refused = [r#"token_expired Some("1")"#, r#"token_expired Some("2")"#];
    assert_eq!(parts(&release), refused);
}

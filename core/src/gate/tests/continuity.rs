//! What goes on while tokens come and go: open streams, calls under way, and the name of the caller on record.

use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::token::TokenBuilder;

use super::super::*;
use super::stage::*;
use crate::gate::{Outcome, Permit, Release, Ticket};
use crate::revocation::{RevocationRequest, RevocationSource};

const RESULT: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"hello"}]}}"#;
/// Leeway and grace of the default limits.
const SLACK_S: u64 = 120;

fn at(after_s: u64) -> UnixTime {
    NOW.after(Duration::from_secs(after_s))
}

fn request(token: &TokenBuilder) -> Request {
    Request::with_token(&read_call(Era::Legacy), &token.sign(keys::es256()))
}

/// A stream of Alice's, whose token ends in 300 seconds.
fn streaming(stage: &Stage) -> Ticket<'_> {
    let mut ticket = stage.forward(&request(&token(&ALICE))).unwrap().1;
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    ticket
}

fn ends(ticket: &Ticket<'_>) -> u64 {
    ticket.expires(NOW).secs() - NOW_S - SLACK_S
}

#[test]
fn a_newer_token_extends_the_streams_of_its_principal() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let newer = |token: TokenBuilder| token.expires(NOW_S + 900);
    let renewals = [
        ("the same scopes", newer(token(&ALICE)), 900),
        ("fewer that suffice", newer(token(&ALICE)).scope("salesforce:read"), 900),
        (
            "scopes that do not cover the tool",
            newer(token(&ALICE)).scope("repo"),
            300,
        ),
        ("other groups", newer(token(&ALICE)).groups(&["guests"]), 300),
        ("other roles", newer(token(&ALICE)).roles(&["guest"]), 300),
        ("another subject", newer(token(&BOB)), 300),
        ("another client", newer(token(&ALICE)).client("laptop"), 300),
        ("an agent for the subject", newer(token(&ALICE)).act("agent-1"), 300),
        ("an earlier end", token(&ALICE).expires(NOW_S + 299), 300),
        ("a stronger login", newer(token(&ALICE)).claim("acr", "silver"), 300),
        ("a fresher login", newer(token(&ALICE)).claim("auth_time", NOW_S), 900),
    ];
    for (name, renewal, expected) in renewals {
        let ticket = streaming(&stage);
        assert_eq!(ends(&ticket), 300);
        stage.arrive(&request(&renewal)).unwrap();
        assert_eq!(ends(&ticket), expected, "{name}");
        ticket.close(Outcome::Ended, NOW);
    }
    assert_eq!(stage.gate.streams.len(), (0, 0), "a stream that has ended is forgotten");
    // A token that was refused extends nothing, and one that came before the stream neither.
    stage.arrive(&request(&newer(token(&ALICE)))).unwrap();
    let ticket = streaming(&stage);
    assert!(stage.arrive(&request(&newer(token(&ALICE)).without("aud"))).is_err());
    assert_eq!(ends(&ticket), 300);
    // Without `open` there is no stream to extend.
    let plain = stage.forward(&request(&token(&ALICE))).unwrap().1;
    stage.arrive(&request(&newer(token(&ALICE)))).unwrap();
    assert_eq!((ends(&ticket), ends(&plain)), (900, 300));
}

#[test]
fn an_extended_stream_goes_on_and_ends_with_the_newer_token() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let mut ticket = streaming(&stage);
    stage.arrive(&request(&token(&ALICE).expires(NOW_S + 900))).unwrap();
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let late = at(900 + SLACK_S - 1);
    assert_eq!(
        body_of(&stage.review_at(&mut ticket, message(progress), late)),
        progress
    );
    let release = stage.review_at(&mut ticket, message(RESULT), at(900 + SLACK_S));
    assert_eq!(withheld(&release), DenyReason::TokenExpired);
    assert_eq!(
        (&stage.last()["outcome"], &stage.last()["decision"]),
        (&"expired".into(), &"deny".into())
    );
}

#[test]
fn a_login_that_is_worse_extends_no_stream() {
    let stage = Stage::deciding(ALLOW, ALLOW);
    let login = |acr: &str, at: u64| token(&ALICE).claim("acr", acr).claim("auth_time", at);
    for (name, renewal, expected) in [
        ("the same login", login("gold", NOW_S - 60), 900),
        ("a later one", login("gold", NOW_S), 900),
        ("an older one", login("gold", NOW_S - 61), 300),
        ("another strength", login("silver", NOW_S), 300),
        ("one that is not told", login("gold", NOW_S).without("auth_time"), 300),
        ("a strength that is not told", login("gold", NOW_S).without("acr"), 300),
    ] {
        let mut ticket = stage.forward(&request(&login("gold", NOW_S - 60))).unwrap().1;
        let opened = ticket.open(200, NOW).unwrap();
        stage.released(opened);
        stage.arrive(&request(&renewal.expires(NOW_S + 900))).unwrap();
        assert_eq!(ends(&ticket), expected, "{name}");
    }
}

#[test]
fn a_wait_for_a_credential_ends_what_was_revoked_or_has_expired_meanwhile() {
    fn permit(stage: &Stage) -> Permit<'_> {
        let recorded = stage.record(&request(&token(&ALICE).claim("jti", "first"))).unwrap();
        stage.write();
        recorded.permit(stage.gate.durable()).unwrap()
    }
    let stage_of = || Stage::deciding(ALLOW, ALLOW);
    let stage = stage_of();
    assert!(permit(&stage).still_holds(at(300 + 59)).is_ok());
    for (target, now, reason) in [
        (Some(r#""jti":"first""#), NOW, DenyReason::TokenRevoked),
        (None, at(300 + 60), DenyReason::TokenExpired),
    ] {
        let stage = stage_of();
        let permit = permit(&stage);
        if let Some(target) = target {
            revoke(&stage, target);
        }
        let denial = permit.still_holds(now).unwrap_err();
        assert_eq!(denial.reason, reason);
        assert!(denial.challenge.is_some() && denial.record_id.is_some());
        assert_eq!(stage.last()["outcome"], "not_forwarded", "the pair is closed");
    }
}

fn revoke(stage: &Stage, target: &str) {
    let json = format!(r#"{{"issuer":"{ISSUER}",{target},"expires":{}}}"#, NOW_S + 3_600);
    let request = RevocationRequest::parse(json.as_bytes()).unwrap();
    let id = stage.gate.record_ids.next(NOW);
    let bounds = crate::revocation::RevocationBounds {
        revocations_max: 10,
        lifetime_max: Duration::from_secs(3_600),
        leeway: Duration::from_secs(60),
    };
    stage
        .gate
        .revocations
        .revoke(&request, id, RevocationSource::Act, NOW, &bounds)
        .unwrap();
}

#[test]
fn revocation_cuts_whatever_extended_the_stream() {
    let first = || token(&ALICE).claim("jti", "first").claim("sid", "s-1");
    let second = || {
        token(&ALICE)
            .claim("jti", "second")
            .claim("sid", "s-1")
            .expires(NOW_S + 900)
    };
    for (name, target, cut, end) in [
        ("the first token", r#""jti":"first""#, true, 900),
        ("the session", r#""session":"s-1""#, true, 300),
        ("the client", r#""client_id":"desktop""#, true, 300),
        ("the principal", r#""subject":"alice""#, true, 300),
        (
            "the newer token: the stream ends as if it had never come",
            r#""jti":"second""#,
            false,
            300,
        ),
        ("another token", r#""jti":"third""#, false, 900),
    ] {
        let stage = Stage::deciding(ALLOW, ALLOW);
        let mut ticket = stage.forward(&request(&first())).unwrap().1;
        let opened = ticket.open(200, NOW).unwrap();
        stage.released(opened);
        stage.arrive(&request(&second())).unwrap();
        assert_eq!(ends(&ticket), 900, "{name}");
        revoke(&stage, target);
        assert_eq!(ticket.check_revocation(NOW).is_err(), cut, "{name}");
        assert_eq!(ends(&ticket), end, "{name}");
    }
}

#[test]
fn the_table_of_streams_is_bounded() {
    let limits = Limits {
        streams_max: 3,
        policy_deadline: Duration::from_secs(10),
        ..Limits::default()
    };
    let stage = Stage::with(Setup {
        limits,
        policy: policy_of(ALLOW, ALLOW),
        ..Setup::default()
    });
    let streams: Vec<Ticket<'_>> = (0..4).map(|_| streaming(&stage)).collect();
    assert_eq!(stage.gate.streams.len(), (3, 1));
    stage.arrive(&request(&token(&ALICE).expires(NOW_S + 900))).unwrap();
    let extended: Vec<u64> = streams.iter().map(ends).collect();
    assert_eq!(
        extended,
        [900, 900, 900, 300],
        "what found no room ends with its own token"
    );
    drop(streams);
    assert_eq!(stage.gate.streams.len(), (0, 0));
    let stage = Stage::deciding(ALLOW, ALLOW);
    let streams: Vec<Ticket<'_>> = (0..65).map(|_| streaming(&stage)).collect();
    stage.arrive(&request(&token(&ALICE).expires(NOW_S + 900))).unwrap();
    assert_eq!(streams.iter().filter(|stream| ends(stream) == 900).count(), 64);
}

#[test]
fn a_permitted_call_may_be_answered_within_its_grace() {
    for (grace_s, answered_s, good) in [
        (60, 300 + 119, true),
        (60, 300 + 120, false),
        (60, 3_600, false),
        (0, 300 + 59, true),
        (0, 300 + 60, false),
    ] {
        let setup = || Setup {
            limits: Limits {
                expiry_grace: Duration::from_secs(grace_s),
                policy_deadline: Duration::from_secs(10),
                ..Limits::default()
            },
            policy: policy_of(ALLOW, ALLOW),
            ..Setup::default()
        };
        for streams in [false, true] {
            let stage = Stage::with(setup());
            let mut ticket = stage.ticket();
            if streams {
                let opened = ticket.open(200, NOW).unwrap();
                stage.released(opened);
            }
            let answer = if streams { message(RESULT) } else { json(200, RESULT) };
            let release = stage.review_at(&mut ticket, answer, at(answered_s));
            let record = stage.last();
            if good {
                assert_eq!(body_of(&release), RESULT);
                assert_eq!(record["outcome"], "reviewed");
            } else {
                let Release::Withheld(denial) = release else {
                    panic!("{grace_s} {answered_s}: {release:?}");
                };
                assert_eq!(denial.reason, DenyReason::TokenExpired);
                assert_eq!(
                    (&record["outcome"], &record["decision"], &record["reason"]),
                    (&"expired".into(), &"deny".into(), &"token_expired".into())
                );
                assert!(ticket.answered(), "nothing more is owed");
            }
            // A new call with the same token gets no grace.
            let next = stage.record_at(&Request::by(&ALICE, &Call::ping(1)), at(300 + 60));
            assert!(next.is_err());
        }
    }
}

#[test]
fn the_principal_id_stays_over_refresh_in_both_eras() {
    for era in [Era::Legacy, Era::Modern] {
        let stage = Stage::deciding(ALLOW, ALLOW);
        let id = |token: &TokenBuilder| {
            let request = Request::with_token(&read_call(era), &token.sign(keys::es256()));
            let _recorded = stage.record(&request).unwrap();
            stage.last()["principal_id"].clone()
        };
        let first = id(&token(&ALICE));
        assert!(first.is_string());
        // Another jti, another end, other scopes: the same principal.
        assert_eq!(id(&token(&ALICE).expires(NOW_S + 900)), first);
        assert_eq!(id(&token(&ALICE).scope("salesforce:read")), first);
        for other in [
            token(&BOB),
            token(&ALICE).client("laptop"),
            token(&ALICE).act("agent-1"),
        ] {
            assert_ne!(id(&other), first);
        }
    }
}

//! Workloads as they are made: shares, sizes, expectations, fields. How servers take them: `tests/exchange.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_fixtures::calls::{LEGACY_VERSION, MODERN_VERSION};
use portcullis_fixtures::issuer::{Issuer, IssuerSettings, now_s};
use serde_json::Value;

use super::mix::Mix;
use super::tokens::{Alg, MintSettings, TokenPool};
use super::{BODY_BYTES_MAX, Calls, EraMix, Expect, Prepared, Workload, WorkloadError, WorkloadParts};

mod exchange;

pub(super) fn pool(subjects: usize) -> Arc<TokenPool> {
    let issuer = Arc::new(Issuer::start(IssuerSettings::default()).unwrap());
    let settings = MintSettings {
        audience: "http://127.0.0.1:1/mcp".to_owned(),
        alg: Alg::Es256,
        lifetime_s: 3_600,
        rotate_every_s: None,
    };
    Arc::new(TokenPool::minted(issuer, subjects, settings, now_s()).unwrap())
}

fn mix(calls: &str) -> Mix {
    Mix::from_json(&format!("{{\"calls\":[{calls}]}}")).unwrap()
}

fn body(call: &Prepared) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

fn header<'c>(call: &'c Prepared, name: &str) -> Option<&'c str> {
    call.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn calls_are_the_same_in_every_run_with_the_same_seed() {
    let workload = |seed| {
        let parts = WorkloadParts {
            seed,
            subjects: 100,
            era: EraMix::Mixed { legacy: 0.5 },
            ..WorkloadParts::default()
        };
        Workload::new(parts).unwrap()
    };
    let (first, second, other) = (workload(7), workload(7), workload(8));
    let mut differ = 0;
    for number in 0..500 {
        let (one, two) = (first.prepare(number), second.prepare(number));
        assert_eq!(
            (&one.headers, &one.body, one.expected),
            (&two.headers, &two.body, two.expected)
        );
        assert_eq!(one.expected.id, number + 1);
        differ += usize::from(one.body != other.prepare(number).body);
    }
    assert!(400 < differ, "{differ}");
}

#[test]
fn the_sample_mix_asks_for_own_and_for_foreign_accounts() {
    for era in [EraMix::Legacy, EraMix::Modern] {
        let parts = WorkloadParts {
            era,
            subjects: 2_000,
            ..WorkloadParts::default()
        };
        let (workload, tokenless) = (Workload::new(parts).unwrap(), super::subject::sample(2_000));
        let owner: BTreeMap<&str, &str> = tokenless
            .iter()
            .flat_map(|subject| {
                subject
                    .accounts
                    .iter()
                    .map(|account| (account.as_str(), subject.name.as_str()))
            })
            .collect();
        let (mut refused, mut owners) = (0, BTreeSet::new());
        for number in 0..20_000 {
            let call = workload.prepare(number);
            assert_eq!(call.body.len(), 350);
            let message = body(&call);
            assert_eq!(message["id"], number + 1);
            assert_eq!(message["method"], "tools/call");
            let arguments = &message["params"]["arguments"];
            let owned_by = owner[arguments["account_id"].as_str().unwrap()];
            owners.insert(owned_by);
            refused += usize::from(call.expected.expect == Expect::Refused);
        }
        assert!((900..1_100).contains(&refused), "one in twenty: {refused}");
        assert!(1_990 < owners.len(), "all subjects call: {}", owners.len());
    }
}

#[test]
fn refused_calls_ask_for_an_account_of_somebody_else() {
    let tokens = pool(4);
    for deny_share in [0.0, 0.3, 1.0] {
        let parts = WorkloadParts {
            deny_share: Some(deny_share),
            tokens: Some(Arc::clone(&tokens)),
            ..WorkloadParts::default()
        };
        let workload = Workload::new(parts).unwrap();
        let mut refused = 0.0;
        for number in 0..2_000 {
            let call = workload.prepare(number);
            let sent = header(&call, "authorization").unwrap().to_owned();
            let place = (0..4).find(|place| tokens.bearer(*place).unwrap() == sent).unwrap();
            let account = body(&call)["params"]["arguments"]["account_id"]
                .as_str()
                .unwrap()
                .to_owned();
            let own = tokens.subjects().nth(place).unwrap().accounts.contains(&account);
            assert_eq!(own, call.expected.expect == Expect::Result, "{account} of {place}");
            refused += f64::from(u8::from(!own));
        }
        assert!(
            (refused / 2_000.0 - deny_share).abs() < 0.04,
            "{refused} of {deny_share}"
        );
        assert!((workload.summary().deny_share - deny_share).abs() < 1e-9);
    }
}

#[test]
fn a_lone_subject_has_a_foreign_account_too() {
    let parts = WorkloadParts {
        deny_share: Some(1.0),
        ..WorkloadParts::default()
    };
    let call = Workload::new(parts).unwrap().prepare(0);
    assert_eq!(body(&call)["params"]["arguments"]["account_id"], "acc-0-0-foreign");
}

#[test]
fn a_target_that_judges_nothing_gets_the_same_calls_and_owes_results() {
    let tokens = pool(3);
    let workload = |judged| {
        let parts = WorkloadParts {
            judged,
            deny_share: Some(0.5),
            expired_share: 0.2,
            tokens: Some(Arc::clone(&tokens)),
            ..WorkloadParts::default()
        };
        Workload::new(parts).unwrap()
    };
    let (judged, unjudged) = (workload(true), workload(false));
    let mut expected = BTreeMap::new();
    for number in 0..2_000 {
        let (one, two) = (judged.prepare(number), unjudged.prepare(number));
        assert_eq!((&one.headers, &one.body), (&two.headers, &two.body));
        assert_eq!(two.expected.expect, Expect::Result);
        *expected.entry(format!("{:?}", one.expected.expect)).or_insert(0) += 1;
        let expired = (0..3).any(|place| tokens.expired(place).as_ref() == one.headers.get("authorization"));
        assert_eq!(expired, one.expected.expect == Expect::Unauthenticated);
    }
    let close = |name: &str, to: i32| assert!((expected[name] - to).abs() < 100, "{expected:?}");
    close("Unauthenticated", 400);
    close("Refused", 800);
    close("Result", 800);
    assert!((judged.summary().deny_share - 0.6).abs() < 1e-9);
    assert!(unjudged.summary().deny_share < 1e-9);
}

#[test]
fn fields_are_those_of_the_era() {
    let calls = r#"{"tool":"demo.echo"},{"method":"tools/list"},{"method":"ping"},{"method":"server/discover"}"#;
    let parts = WorkloadParts {
        era: EraMix::Mixed { legacy: 0.5 },
        mix: mix(calls),
        ..WorkloadParts::default()
    };
    let workload = Workload::new(parts).unwrap();
    let mut seen = BTreeSet::new();
    for number in 0..200 {
        let call = workload.prepare(number);
        let message = body(&call);
        assert_eq!(call.body.len(), 350);
        let method = message["method"].as_str().unwrap().to_owned();
        let version = header(&call, "mcp-protocol-version").unwrap().to_owned();
        let modern = version == MODERN_VERSION;
        assert_eq!(header(&call, "mcp-method"), modern.then_some(method.as_str()));
        let named = modern && method == "tools/call";
        assert_eq!(header(&call, "mcp-name"), named.then_some("demo.echo"));
        let meta = &message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(meta.as_str(), modern.then_some(MODERN_VERSION));
        assert_eq!(header(&call, "authorization"), None);
        assert_eq!(header(&call, "accept"), Some("application/json, text/event-stream"));
        seen.insert((method, version));
    }
    let both = |method: &str| [LEGACY_VERSION, MODERN_VERSION].map(|version| (method.to_owned(), version.to_owned()));
    let mut expected = BTreeSet::from([
        ("ping".to_owned(), LEGACY_VERSION.to_owned()),
        ("server/discover".to_owned(), MODERN_VERSION.to_owned()),
    ]);
    expected.extend(both("tools/call"));
    expected.extend(both("tools/list"));
    assert_eq!(seen, expected);
    assert_eq!(workload.summary().protocol, [LEGACY_VERSION, MODERN_VERSION]);
}

#[test]
fn placeholders_are_filled_and_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let line = r#"{"token":"t","subject":"a\"b\\c","accounts":["ac\"c"]}"#;
    std::fs::write(&file, line).unwrap();
    let arguments = r#"{"who":"<{subject}>","at":["{subject_index}",{"n":"{n}"}],"of":"{account}","not":"{foreign_account}",
        "plain":[1,true,null,"\n{x"],"{n}":{}}"#;
    let parts = WorkloadParts {
        mix: mix(&format!(r#"{{"tool":"t","arguments":{arguments}}}"#)),
        tokens: Some(Arc::new(TokenPool::from_file(&file).unwrap())),
        ..WorkloadParts::default()
    };
    let call = Workload::new(parts).unwrap().prepare(41);
    let expected = serde_json::json!({
        "who": "<a\"b\\c>", "at": ["0", { "n": "41" }], "of": "ac\"c", "not": "ac\"c-foreign",
        "plain": [1, true, null, "\n{x"], "{n}": {},
    });
    assert_eq!(body(&call)["params"]["arguments"], expected);
    assert_eq!(header(&call, "authorization"), Some("Bearer t"));
    assert!(!format!("{call:?}").contains("Bearer t"), "no log prints a token");
}

#[test]
fn bodies_have_the_asked_length_by_either_padding() {
    // What a modern echo without arguments and without padding has, at a call number of ten digits.
    let bare = match workload_of(r#"{"tool":"demo.echo","body_bytes":1}"#) {
        Err(WorkloadError::BodyBytes { needed, .. }) => needed,
        other => panic!("{:?}", other.err()),
    };
    for padding in ["argument", "whitespace"] {
        for arguments in ["", r#","arguments":{"a":"b"}"#] {
            let more = if arguments.is_empty() { 0 } else { r#""a":"b""#.len() };
            let sizes = [
                bare + more,
                bare + more + 5,
                bare + more + 20,
                1_000,
                70_000,
                BODY_BYTES_MAX,
            ];
            for body_bytes in sizes {
                let call =
                    format!(r#"{{"tool":"demo.echo","padding":"{padding}","body_bytes":{body_bytes}{arguments}}}"#);
                let workload = workload_of(&call).unwrap();
                assert_eq!(workload.summary().body_bytes, (body_bytes, body_bytes));
                for number in [0, 9, 12_345, 9_999_999_998] {
                    let call = workload.prepare(number);
                    assert_eq!(call.body.len(), body_bytes, "{padding} {arguments}");
                    let found = body(&call)["params"]["arguments"]["padding"].is_string();
                    assert!(found == (padding == "argument") || body_bytes < bare + more + 25);
                }
            }
            for body_bytes in [bare + more - 1, BODY_BYTES_MAX + 1] {
                let call =
                    format!(r#"{{"tool":"demo.echo","padding":"{padding}","body_bytes":{body_bytes}{arguments}}}"#);
                assert!(matches!(workload_of(&call), Err(WorkloadError::BodyBytes { .. })));
            }
        }
    }
}

fn workload_of(calls: &str) -> Result<Workload, WorkloadError> {
    Workload::new(WorkloadParts {
        mix: mix(calls),
        ..WorkloadParts::default()
    })
}

#[test]
fn parts_that_do_not_go_together_are_refused() {
    let default = WorkloadParts::default;
    let share = |what, share| Some(WorkloadError::Share { what, share });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "{\"token\":\"a\",\"accounts\":[\"x\"]}\nb").unwrap();
    let tokens = Some(Arc::new(TokenPool::from_file(&file).unwrap()));
    let only = |calls: &str| WorkloadParts {
        mix: mix(calls),
        ..default()
    };
    let cases = [
        (default(), None),
        (
            WorkloadParts {
                deny_share: Some(1.0),
                ..default()
            },
            None,
        ),
        (
            WorkloadParts {
                deny_share: Some(1.1),
                ..default()
            },
            share("the share of calls to be refused", 1.1),
        ),
        (
            WorkloadParts {
                expired_share: -0.1,
                ..default()
            },
            share("the share of expired tokens", -0.1),
        ),
        (
            WorkloadParts {
                era: EraMix::Mixed { legacy: 2.0 },
                ..default()
            },
            share("the share of legacy calls", 2.0),
        ),
        (
            WorkloadParts {
                expired_share: 0.1,
                ..default()
            },
            Some(WorkloadError::ExpiredMissing),
        ),
        (
            WorkloadParts {
                expired_share: 0.1,
                tokens: tokens.clone(),
                ..only(r#"{"tool":"t"}"#)
            },
            Some(WorkloadError::ExpiredMissing),
        ),
        (
            WorkloadParts {
                subjects: 0,
                ..default()
            },
            Some(WorkloadError::SubjectsMissing),
        ),
        (
            WorkloadParts {
                tokens: tokens.clone(),
                ..default()
            },
            Some(WorkloadError::AccountsMissing(1)),
        ),
        (
            WorkloadParts {
                tokens,
                ..only(r#"{"tool":"t"}"#)
            },
            None,
        ),
        (
            WorkloadParts {
                era: EraMix::Legacy,
                sessions_max: Some(0),
                ..default()
            },
            Some(WorkloadError::SessionsMissing),
        ),
        (
            WorkloadParts {
                sessions_max: Some(0),
                ..default()
            },
            None,
        ),
        (only(r#"{"method":"ping"}"#), Some(WorkloadError::Method("ping"))),
        (
            WorkloadParts {
                era: EraMix::Legacy,
                ..only(r#"{"method":"ping"}"#)
            },
            None,
        ),
        (
            WorkloadParts {
                era: EraMix::Legacy,
                ..only(r#"{"method":"server/discover"}"#)
            },
            Some(WorkloadError::Method("server/discover")),
        ),
        (
            WorkloadParts {
                deny_share: Some(0.1),
                ..only(r#"{"tool":"t"}"#)
            },
            Some(WorkloadError::DenyShare("to be refused")),
        ),
        (
            WorkloadParts {
                deny_share: Some(0.1),
                ..only(r#"{"tool":"t","refused":true}"#)
            },
            Some(WorkloadError::DenyShare("to be allowed")),
        ),
        (only(r#"{"tool":"t","refused":true}"#), None),
    ];
    for (number, (parts, expected)) in cases.into_iter().enumerate() {
        assert_eq!(Workload::new(parts).err(), expected, "case {number}");
    }
}

#[test]
fn the_summary_says_what_is_called() {
    let parts = WorkloadParts {
        mix: mix(r#"{"tool":"a","weight":3},{"tool":"b","refused":true,"body_bytes":900}"#),
        tokens: Some(pool(5)),
        ..WorkloadParts::default()
    };
    let summary = Workload::new(parts).unwrap().summary();
    let calls: Vec<_> = summary
        .calls
        .iter()
        .map(|call| (call.name.as_str(), call.share))
        .collect();
    assert_eq!(calls, [("a", 0.75), ("b (to be refused)", 0.25)]);
    assert_eq!((summary.subjects, summary.tokens.as_str()), (5, "dev issuer"));
    assert_eq!((summary.token_lifetime_s, summary.rotate_keys_s), (Some(3_600), None));
    assert_eq!(
        (summary.sessions, summary.deny_share, summary.body_bytes),
        (0, 0.25, (350, 900))
    );
    let summary = Workload::new(WorkloadParts::default()).unwrap().summary();
    assert_eq!((summary.subjects, summary.tokens.as_str()), (0, "none"));
}

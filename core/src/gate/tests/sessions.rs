//! Sessions of the legacy era: who may use one, what the client and the upstream see of it, and the keys that seal it.

use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, ALICE, BOB, Persona};
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::*;
use super::stage::*;
use crate::config::{Endpoint, Server, ServerError};
use crate::gate::{Answer, Release, Ticket};
use crate::identity::Principal;
use crate::session::{EndpointId, Keeper, SessionKey, SessionKeysError};

const UPSTREAM_ID: &str = "1868a90c-2a4f-4a5e-b7f3-5d0a0a6c2f11";

fn open_stage() -> Stage {
    Stage::deciding(ALLOW, ALLOW)
}

/// A legacy call in `session` with this token.
fn in_session(token: &TokenBuilder, session: &str) -> Request {
    let mut request = Request::with_token(&read_call(Era::Legacy), &token.sign(keys::es256()));
    request.add("mcp-session-id", session);
    request
}

/// What the upstream would see as the session, or the refusal.
fn sent(stage: &Stage, request: &Request, now: UnixTime) -> Result<Option<String>, Denial> {
    let (forward, _ticket) = stage.forward_at(request, now)?;
    let session = forward.headers.iter().find(|(name, _)| name == "mcp-session-id");
    Ok(session.map(|(_, value)| value.to_str().unwrap().to_owned()))
}

/// Checks that a session is refused as one that nobody has, on record, and that nothing is told beside it.
#[track_caller]
fn unknown(stage: &Stage, name: &str, request: &Request, now: UnixTime) {
    let denial = sent(stage, request, now).expect_err(name);
    assert_eq!(denial.reason, DenyReason::SessionUnknown, "{name}");
    assert_eq!(denial.request_id.as_deref(), Some("1"), "{name}");
    assert!(!denial.modern && denial.challenge.is_none(), "{name}");
    let record = stage.last();
    assert_eq!(record["record_id"], denial.record_id.unwrap().to_string(), "{name}");
    assert_eq!(
        (&record["decision"], &record["reason"], &record["session"]),
        (&Value::from("deny"), &Value::from("session_unknown"), &Value::Null),
        "{name}"
    );
}

fn principal(stage: &Stage, persona: &Persona) -> Principal {
    match stage.arrive(&Request::by(persona, &Call::ping(1))).unwrap() {
        Step::Done(principal) => principal,
        Step::Needs(_) => panic!("the keys are there"),
    }
}

#[test]
fn a_session_is_its_principals_alone_as_cve_2026_33946_and_cve_2026_52869_were_not() {
    let stage = open_stage();
    let session = stage.session(&ALICE, UPSTREAM_ID);
    assert!(
        session
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    assert!(!session.contains(UPSTREAM_ID));
    let own = token(&ALICE);
    let passed = sent(&stage, &in_session(&own, &session), NOW).unwrap();
    assert_eq!(passed.as_deref(), Some(UPSTREAM_ID), "the upstream gets its own id");
    // A refreshed token is the same principal's, with fewer scopes or more.
    for refreshed in [token(&ALICE), token(&ALICE).scope("salesforce:read")] {
        let request = in_session(&refreshed.expires(NOW_S + 900), &session);
        assert_eq!(sent(&stage, &request, NOW).unwrap().as_deref(), Some(UPSTREAM_ID));
    }
    for (name, thief) in [
        ("another subject through the same client", token(&BOB)),
        (
            "the same subject through another client",
            token(&ALICE).client("laptop"),
        ),
        ("an agent for the subject", token(&AGENT_FOR_ALICE)),
        ("an agent through the same client", token(&ALICE).act("agent-2")),
    ] {
        let thief = thief.scope("salesforce:read repo");
        assert!(
            stage
                .record(&Request::with_token(
                    &read_call(Era::Legacy),
                    &thief.sign(keys::es256())
                ))
                .is_ok()
        );
        unknown(&stage, name, &in_session(&thief, &session), NOW);
    }
}

#[test]
fn a_session_cannot_be_guessed_or_made_up_as_in_cve_2025_6515() {
    let stage = open_stage();
    let session = stage.session(&ALICE, UPSTREAM_ID);
    let owner = token(&ALICE);
    let mut forged = vec![
        ("what the upstream calls it", UPSTREAM_ID.to_owned()),
        ("a pointer", "0x7f3a5c001200".to_owned()),
        ("nothing but a key id", "AAAAAA".to_owned()),
        ("shorter than a seal", "A".repeat(42)),
        ("longer than any seal", "A".repeat(4_096)),
        ("padding", format!("{session}=")),
        ("more behind it", format!("{session}A")),
        ("less of it", session.get(..session.len() - 1).unwrap().to_owned()),
        ("twice", format!("{session}{session}")),
    ];
    for place in 0..session.len() {
        let mut changed = session.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        forged.push(("one letter", String::from_utf8(changed).unwrap()));
    }
    for (name, forged) in forged {
        unknown(&stage, name, &in_session(&owner, &forged), NOW);
    }
    // The same upstream session has one name for its owner, and others have others.
    assert_eq!(stage.session(&ALICE, UPSTREAM_ID), session);
    assert_ne!(stage.session(&ALICE, "another"), session);
    assert_ne!(stage.session(&BOB, UPSTREAM_ID), session);
}

#[test]
fn a_session_is_of_one_server() {
    let stage = open_stage();
    let alice = principal(&stage, &ALICE);
    let keys = SessionKeys::single([7; 32]);
    let sealed = keys.seal("crm", &alice, (KEEPER, b"s-1"), NOW).unwrap();
    let sealed = sealed.to_str().unwrap();
    assert_eq!(keys.open("crm", &alice, sealed, NOW).unwrap().1, "s-1");
    assert!(keys.open("files", &alice, sealed, NOW).is_err());
    assert!(keys.open("crm", &principal(&stage, &BOB), sealed, NOW).is_err());
    assert!(SessionKeys::single([8; 32]).open("crm", &alice, sealed, NOW).is_err());
    // The framing keeps neighbours apart: `crm` of `acme` is not `crma` of `cme`.
    assert!(keys.open("crma", &alice, sealed, NOW).is_err());
}

#[test]
fn the_client_gets_a_session_with_the_released_answer_alone() {
    let error = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}"#;
    let foreign = INITIALIZED.replace("\"id\":1", "\"id\":2");
    let answers = [
        ("the answer", json(200, INITIALIZED), true),
        ("an error", json(200, error), false),
        ("another answer", json(200, &foreign), false),
        ("a failure", json(500, INITIALIZED), false),
        ("no answer", Answer::Empty { status: 202 }, false),
    ];
    for (name, answer, given) in answers {
        let stage = open_stage();
        let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
        assert!(!ticket.opens_session());
        ticket.upstream_session(KEEPER, UPSTREAM_ID.as_bytes());
        assert!(ticket.opens_session(), "{name}");
        assert!(ticket.session_for_client().is_none(), "{name}: before the review");
        let mut scratch = Scratch::new(0);
        let reviewed = ticket.review(answer, NOW, &mut scratch).unwrap();
        assert!(ticket.session_for_client().is_none(), "{name}: before its record");
        stage.released(reviewed);
        assert_eq!(ticket.session_for_client().is_some(), given, "{name}");
        assert!(!ticket.opens_session(), "{name}");
        let record = stage.last();
        assert_eq!(record["phase"], "response", "{name}");
        assert_eq!(record["session"].is_string(), given, "{name}");
    }
    // A policy that keeps the answer back keeps the session back.
    let stage = Stage::deciding(ALLOW, r#"decision := {"allow": false, "rule": "none", "reason": "no"}"#);
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
    ticket.upstream_session(KEEPER, UPSTREAM_ID.as_bytes());
    withheld(&stage.review(&mut ticket, json(200, INITIALIZED)));
    assert!(ticket.session_for_client().is_none());
}

#[test]
fn a_stream_opens_a_session_with_its_answer() {
    let stage = open_stage();
    let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
    ticket.upstream_session(KEEPER, UPSTREAM_ID.as_bytes());
    let opened = ticket.open(200, NOW).unwrap();
    stage.released(opened);
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
    stage.review(&mut ticket, message(progress));
    assert!(ticket.opens_session() && ticket.session_for_client().is_none());
    stage.review(&mut ticket, message(INITIALIZED));
    assert!(!ticket.opens_session());
    let session = ticket.session_for_client().unwrap();
    assert!(session.is_sensitive());
    assert!(stage.last()["session"].is_string());
    let request = in_session(&token(&ALICE), session.to_str().unwrap());
    assert_eq!(sent(&stage, &request, NOW).unwrap().as_deref(), Some(UPSTREAM_ID));
    // A second answer opens nothing.
    assert!(matches!(
        stage.review(&mut ticket, message(INITIALIZED)),
        Release::Dropped
    ));
}

#[test]
fn an_id_that_cannot_be_sealed_opens_nothing() {
    let longest = "s".repeat(512);
    for (name, id, good) in [
        ("the longest", longest.as_bytes(), true),
        ("one byte", b"s", true),
        ("visible ascii", b"!~\"\\", true),
        ("too long", &[longest.as_bytes(), b"s"].concat(), false),
        ("empty, as for a repeated field", b"", false),
        ("a space", b"a b", false),
        ("not ascii", "é".as_bytes(), false),
    ] {
        let stage = open_stage();
        let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
        ticket.upstream_session(KEEPER, id);
        let release = stage.review(&mut ticket, json(200, INITIALIZED));
        if good {
            assert_eq!(body_of(&release), INITIALIZED, "{name}");
            let session = ticket.session_for_client().unwrap();
            let request = in_session(&token(&ALICE), session.to_str().unwrap());
            let passed = sent(&stage, &request, NOW).unwrap();
            assert_eq!(passed.unwrap().as_bytes(), id, "{name}");
        } else {
            assert_eq!(withheld(&release), DenyReason::AnswerInvalid, "{name}");
            assert!(ticket.session_for_client().is_none(), "{name}");
            assert_eq!(stage.last()["reason"], "answer_invalid", "{name}");
        }
    }
}

#[test]
fn other_answers_echo_the_clients_own_name_of_the_session_or_nothing() {
    fn named<'g>(stage: &'g Stage, request: &Request, id: &str) -> (Ticket<'g>, Option<String>) {
        let (_, mut ticket) = stage.forward(request).unwrap();
        ticket.upstream_session(KEEPER, id.as_bytes());
        assert!(!ticket.opens_session());
        let named = ticket.session_for_client();
        let named = named.map(|session| session.to_str().unwrap().to_owned());
        (ticket, named)
    }
    let stage = open_stage();
    let session = stage.session(&ALICE, UPSTREAM_ID);
    let within = in_session(&token(&ALICE), &session);
    let (mut ticket, echoed) = named(&stage, &within, UPSTREAM_ID);
    assert_eq!(echoed, Some(session.clone()));
    // What is echoed hinders nothing, and stands in no response record.
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    assert_eq!(body_of(&stage.review(&mut ticket, json(200, answer))), answer);
    assert_eq!(stage.last()["session"], Value::Null);
    for id in ["another", "", &session] {
        assert_eq!(named(&stage, &within, id).1, None, "{id}");
    }
    assert_eq!(
        named(&stage, &Request::read(), UPSTREAM_ID).1,
        None,
        "outside of a session"
    );
    let mut modern = Request::by(&ALICE, &read_call(Era::Modern));
    modern.add("mcp-session-id", &session);
    assert_eq!(named(&stage, &modern, UPSTREAM_ID).1, None, "the modern era has none");
    assert_eq!(sent(&stage, &modern, NOW).unwrap(), None);
}

#[test]
fn the_record_names_a_session_the_same_whoever_sealed_it() {
    let stage = open_stage();
    let first = stage.session(&ALICE, UPSTREAM_ID);
    let opened = stage.last()["session"].clone();
    let key = |id: u8, secret: u8, seals_from: u64| session_key(id, secret, seals_from, None);
    let keys = SessionKeys::new(vec![key(0, 7, 0), key(1, 8, NOW_S - 1)]).unwrap();
    stage.gate.publish_session_keys(&keys);
    let second = stage.session(&ALICE, UPSTREAM_ID);
    assert_ne!(first, second);
    for session in [first, second] {
        let _recorded = stage.record(&in_session(&token(&ALICE), &session)).unwrap();
        assert_eq!(stage.last()["session"], opened);
    }
    let digest = MacKey::new([3; 32]).mac(UPSTREAM_ID.as_bytes());
    assert!(opened.as_str().unwrap().ends_with(&crate::crypto::hex(&digest)));
}

fn session_key(id: u8, secret: u8, seals_from: u64, opens_until: Option<u64>) -> SessionKey {
    SessionKey {
        id: [id; 4],
        secret: Zeroizing::new([secret; 32]),
        seals_from: UnixTime::from_secs(seals_from),
        opens_until: opens_until.map(UnixTime::from_secs),
    }
}

#[test]
fn a_rotated_key_opens_through_its_overlap_and_not_after() {
    let stage = open_stage();
    let alice = principal(&stage, &ALICE);
    let at = |after_s: u64| NOW.after(Duration::from_secs(after_s));
    let old_key = session_key(1, 1, 0, None);
    let old = SessionKeys::new(vec![old_key.clone()]).unwrap();
    // The old key opens for another minute, the new one seals in ten seconds.
    let old_ends = session_key(1, 1, 0, Some(NOW_S + 60));
    let new_key = session_key(2, 2, NOW_S + 10, None);
    let both = SessionKeys::new(vec![new_key.clone(), old_ends]).unwrap();
    let sealed_old = old.seal("crm", &alice, (KEEPER, b"s-1"), NOW).unwrap();
    let early = both.seal("crm", &alice, (KEEPER, b"s-1"), at(9)).unwrap();
    assert_eq!(early, sealed_old, "until its time has come, the new key only opens");
    let sealed_new = both.seal("crm", &alice, (KEEPER, b"s-1"), at(10)).unwrap();
    assert_ne!(sealed_new, sealed_old);
    let opens = |keys: &SessionKeys, sealed: &http::HeaderValue, now| {
        keys.open("crm", &alice, sealed.to_str().unwrap(), now).is_ok()
    };
    assert!(
        opens(&both, &sealed_new, NOW),
        "a replica that rotated later opens it at once"
    );
    for (after_s, good) in [(0, true), (59, true), (60, false), (3_600, false)] {
        assert_eq!(opens(&both, &sealed_old, at(after_s)), good, "{after_s} s later");
        assert!(opens(&both, &sealed_new, at(after_s)));
    }
    assert!(
        !opens(&old, &sealed_new, NOW),
        "a replica that has not heard of the key"
    );
    let new = SessionKeys::new(vec![new_key]).unwrap();
    assert!(!opens(&new, &sealed_old, NOW));
    // A lone key seals even before its time: there is no other.
    assert_eq!(new.seal("crm", &alice, (KEEPER, b"s-1"), NOW).unwrap(), sealed_new);
    assert_eq!(SessionKeys::new(Vec::new()).unwrap_err(), SessionKeysError::Empty);
    let twice = SessionKeys::new(vec![old_key.clone(), old_key]);
    assert_eq!(twice.unwrap_err(), SessionKeysError::IdRepeated);
    assert!(!format!("{both:?}").contains("secret"));
}

#[test]
fn rotation_reaches_the_gate_and_ends_what_only_the_old_key_opens() {
    let stage = open_stage();
    let session = stage.session(&ALICE, UPSTREAM_ID);
    let request = in_session(&token(&ALICE), &session);
    // `SessionKeys::single` names its key by zeros.
    let overlap = [session_key(0, 7, 0, Some(NOW_S + 60)), session_key(1, 8, 0, None)];
    stage
        .gate
        .publish_session_keys(&SessionKeys::new(overlap.to_vec()).unwrap());
    assert_eq!(sent(&stage, &request, NOW).unwrap().as_deref(), Some(UPSTREAM_ID));
    let later = NOW.after(Duration::from_secs(60));
    unknown(&stage, "after the overlap", &request, later);
    // The client starts anew, without the session.
    assert!(
        stage
            .record_at(&Request::by(&ALICE, &Call::initialize(1)), later)
            .is_ok()
    );
    stage.gate.publish_session_keys(&SessionKeys::single([8; 32]));
    unknown(&stage, "a gate with another key", &request, NOW);
}

/// The snapshot of a server whose upstream has these endpoints.
fn with_endpoints(ids: &[EndpointId]) -> Snapshot {
    let policy = policy_of(ALLOW, ALLOW);
    let rate = Setup::default().rate;
    let mut parts = server_parts("crm", &policy, rate, vec![issuer(ISSUER)]);
    let first = parts.upstream.endpoints.remove(0);
    parts.upstream.endpoints = ids
        .iter()
        .map(|id| Endpoint {
            id: *id,
            ..first.clone()
        })
        .collect();
    let server = Arc::new(Server::new(parts).unwrap());
    Snapshot::new(vec![server], Setup::default().limits, [7; 32]).unwrap()
}

#[test]
fn a_session_goes_to_the_endpoint_that_opened_it_for_as_long_as_it_is_configured() {
    let stage = open_stage();
    let [first, second] = [[1; 8], [2; 8]].map(EndpointId);
    stage.gate.publish(with_endpoints(&[first, second]));
    list_all(&stage.gate);
    let open = |endpoint: EndpointId| {
        let keeper = Keeper { endpoint, ..KEEPER };
        let (forward, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
        assert_eq!(forward.keeper, None, "a session is opened anywhere");
        ticket.upstream_session(keeper, UPSTREAM_ID.as_bytes());
        stage.review(&mut ticket, json(200, INITIALIZED));
        ticket.session_for_client().unwrap().to_str().unwrap().to_owned()
    };
    let sessions = [first, second].map(|endpoint| (endpoint, open(endpoint)));
    assert_ne!(sessions[0].1, sessions[1].1, "one id of two endpoints is two sessions");
    let goes_to = |session: &str| {
        let request = in_session(&token(&ALICE), session);
        stage
            .forward_at(&request, NOW)
            .map(|(forward, _ticket)| forward.keeper.map(|keeper| keeper.endpoint))
    };
    for (endpoint, session) in &sessions {
        assert_eq!(goes_to(session).unwrap(), Some(*endpoint));
    }
    assert_eq!(stage.forward(&Request::read()).unwrap().0.keeper, None);
    // The order is of no meaning, and neither is who else there is.
    stage.gate.publish(with_endpoints(&[EndpointId([3; 8]), second]));
    list_all(&stage.gate);
    assert_eq!(goes_to(&sessions[1].1).unwrap(), Some(second));
    unknown(
        &stage,
        "a removed endpoint",
        &in_session(&token(&ALICE), &sessions[0].1),
        NOW,
    );
    // The only endpoint of before is none of several.
    stage.gate.publish(with_endpoints(&[EndpointId::ONLY]));
    list_all(&stage.gate);
    let only = open(EndpointId::ONLY);
    assert_eq!(goes_to(&only).unwrap(), Some(EndpointId::ONLY));
    unknown(
        &stage,
        "one of several before",
        &in_session(&token(&ALICE), &sessions[1].1),
        NOW,
    );
    stage.gate.publish(with_endpoints(&[first]));
    unknown(&stage, "the only one before", &in_session(&token(&ALICE), &only), NOW);
}

#[test]
fn endpoints_are_told_apart_and_have_addresses() {
    let policy = policy_of(ALLOW, ALLOW);
    let refused = |change: &dyn Fn(&mut Vec<Endpoint>)| {
        let mut parts = server_parts("crm", &policy, Setup::default().rate, vec![issuer(ISSUER)]);
        change(&mut parts.upstream.endpoints);
        Server::new(parts).err()
    };
    let named = Arc::from("crm");
    assert_eq!(refused(&|_| ()), None);
    assert_eq!(
        refused(&|endpoints| endpoints.clear()),
        Some(ServerError::UpstreamAddress(Arc::clone(&named)))
    );
    assert_eq!(
        refused(&|endpoints| endpoints[0].addresses.clear()),
        Some(ServerError::UpstreamAddress(Arc::clone(&named)))
    );
    // Others answer while one of several is nowhere, but not when all are.
    let with_second = |endpoints: &mut Vec<Endpoint>| {
        let mut second = endpoints[0].clone();
        second.id = EndpointId([3; 8]);
        second.addresses.clear();
        endpoints.push(second);
    };
    assert_eq!(refused(&with_second), None);
    assert_eq!(
        refused(&|endpoints| {
            endpoints[0].addresses.clear();
            with_second(endpoints);
        }),
        Some(ServerError::UpstreamAddress(Arc::clone(&named)))
    );
    assert_eq!(
        refused(&|endpoints| endpoints.push(endpoints[0].clone())),
        Some(ServerError::UpstreamRepeated(named))
    );
}

/// The snapshot of a server whose upstream has one endpoint of a name with these addresses.
fn with_addresses(addresses: &[&str], shares_sessions: bool) -> Snapshot {
    let policy = policy_of(ALLOW, ALLOW);
    let mut parts = server_parts("crm", &policy, Setup::default().rate, vec![issuer(ISSUER)]);
    parts.upstream.shares_sessions = shares_sessions;
    parts.upstream.endpoints[0].addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Snapshot::new(
        vec![Arc::new(Server::new(parts).unwrap())],
        Setup::default().limits,
        [7; 32],
    )
    .unwrap()
}

#[test]
fn a_session_goes_to_the_address_that_opened_it_for_as_long_as_the_name_has_it() {
    const ALL: [&str; 3] = ["192.0.2.1:443", "192.0.2.2:443", "[2001:db8::1]:443"];
    let stage = open_stage();
    stage.gate.publish(with_addresses(&ALL, false));
    list_all(&stage.gate);
    let open = |address: &str| {
        let (_, mut ticket) = stage.forward(&Request::by(&ALICE, &Call::initialize(1))).unwrap();
        let keeper = Keeper {
            address: address.parse().unwrap(),
            ..KEEPER
        };
        ticket.upstream_session(keeper, UPSTREAM_ID.as_bytes());
        stage.review(&mut ticket, json(200, INITIALIZED));
        ticket.session_for_client().unwrap().to_str().unwrap().to_owned()
    };
    let sessions = ALL.map(|address| (address, open(address)));
    // Where it goes: `None` for any address of the name.
    let goes_to = |session: &str| {
        let request = in_session(&token(&ALICE), session);
        let (forward, _ticket) = stage.forward_at(&request, NOW).unwrap();
        let (_, address) = forward.upstream().keeper(forward.keeper.unwrap()).unwrap();
        address.map(|address| address.to_string())
    };
    for (address, session) in &sessions {
        assert_eq!(goes_to(session).as_deref(), Some(*address));
    }
    let publish = |addresses: &[&str], shares: bool| {
        stage.gate.publish(with_addresses(addresses, shares));
        list_all(&stage.gate);
    };
    let gone = |name: &str, at: usize| unknown(&stage, name, &in_session(&token(&ALICE), &sessions[at].1), NOW);
    // The order of the addresses is of no meaning, and who else there is neither.
    publish(&["[2001:db8::1]:443", "192.0.2.9:443", "192.0.2.1:443"], false);
    assert_eq!(goes_to(&sessions[0].1).as_deref(), Some(ALL[0]));
    assert_eq!(goes_to(&sessions[2].1).as_deref(), Some(ALL[2]));
    gone("an address that the name no longer has", 1);
    // The same machine at another port is another server.
    publish(&["192.0.2.1:444", "192.0.2.2:443"], false);
    gone("another port", 0);
    // Addresses that share their sessions are one.
    publish(&["192.0.2.8:443", "192.0.2.9:443"], true);
    assert_eq!(
        sessions.each_ref().map(|(_, session)| goes_to(session)),
        [None, None, None]
    );
    // With one address there is nobody else: it has moved.
    publish(&["192.0.2.8:443"], false);
    assert_eq!(
        sessions.each_ref().map(|(_, session)| goes_to(session)),
        [None, None, None]
    );
}

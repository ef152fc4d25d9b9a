//! What a revocation means: for the next request, for the answer that is under way, for an open stream, and on record.

use std::sync::Arc;

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::{ALICE, BOB};
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;

use super::stage::*;
use crate::audit::ActOutcome;
use crate::config::Limits;
use crate::denial::{ChallengeError, DenyReason};
use crate::gate::{AdminAct, Outcome, Release, Snapshot, Step};
use crate::revocation::{RevocationError, RevocationRequest, RevocationSource};
use crate::time::UnixTime;
use crate::token::{Issuer, IssuerParts, RevocationMode};

const OTHER_ISSUER: &str = "https://other.example";

/// A stage whose issuer states this.
fn stage(mode: RevocationMode) -> Stage {
    let setup = Setup {
        policy: policy_of(ALLOW, ALLOW),
        ..Setup::default()
    };
    let parts = |url: &str| IssuerParts {
        revocation: mode,
        ..IssuerParts::strict(Arc::from(url))
    };
    let issuers = [ISSUER, OTHER_ISSUER].map(|url| Arc::new(Issuer::new(parts(url)).unwrap()));
    let crm = server("crm", &setup.policy, setup.rate, issuers.to_vec());
    let stage = Stage::with(setup);
    stage
        .gate
        .publish(Snapshot::new(vec![crm], Limits::default(), [7; 32]).unwrap());
    stage
}

fn revoke(stage: &Stage, members: &str) -> Result<(), RevocationError> {
    let json = format!("{{{members}}}");
    let request = RevocationRequest::parse(json.as_bytes()).unwrap();
    stage.gate.revoke(&request, RevocationSource::Act, NOW).map(drop)
}

/// A token with everything that can be revoked by name.
fn full() -> TokenBuilder {
    token(&ALICE).claim("jti", "j-1").claim("sid", "s-1").client("desktop")
}

/// What becomes of a call with this token.
fn outcome(stage: &Stage, token: &TokenBuilder) -> Option<DenyReason> {
    let request = Request::with_token(&read_call(Era::Legacy), &token.sign(keys::es256()));
    match stage.arrive(&request) {
        Ok(Step::Done(_)) => None,
        Ok(Step::Needs(fetch)) => panic!("needs {fetch:?}"),
        Err(denial) => Some(denial.reason),
    }
}

#[test]
fn each_kind_ends_what_it_names_and_nothing_beside_it() {
    let alice = ALICE.subject;
    type Change = fn(TokenBuilder) -> TokenBuilder;
    let same: Change = |token| token;
    let cases: Vec<(String, Change, bool)> = vec![
        (format!(r#""issuer":"{ISSUER}","jti":"j-1""#), same, true),
        (
            format!(r#""issuer":"{ISSUER}","jti":"j-1","tenant":"acme""#),
            same,
            true,
        ),
        (
            format!(r#""issuer":"{ISSUER}","jti":"j-1","tenant":"other""#),
            same,
            false,
        ),
        (format!(r#""issuer":"{OTHER_ISSUER}","jti":"j-1""#), same, false),
        (format!(r#""issuer":"{ISSUER}","jti":"j-2""#), same, false),
        (format!(r#""issuer":"{ISSUER}","jti":"s-1""#), same, false),
        (
            format!(r#""issuer":"{ISSUER}","jti":"j-1""#),
            |token| token.without("jti"),
            false,
        ),
        (format!(r#""issuer":"{ISSUER}","session":"s-1""#), same, true),
        (
            format!(r#""issuer":"{ISSUER}","session":"s-1""#),
            |token| token.without("sid"),
            false,
        ),
        (format!(r#""issuer":"{ISSUER}","session":"s-2""#), same, false),
        (format!(r#""issuer":"{ISSUER}","subject":"{alice}""#), same, true),
        (
            format!(r#""issuer":"{ISSUER}","subject":"{alice}","tenant":"acme""#),
            same,
            true,
        ),
        (
            format!(r#""issuer":"{ISSUER}","subject":"{alice}","tenant":"other""#),
            same,
            false,
        ),
        (format!(r#""issuer":"{OTHER_ISSUER}","subject":"{alice}""#), same, false),
        (format!(r#""issuer":"{ISSUER}","subject":"desktop""#), same, false),
        (
            format!(r#""issuer":"{ISSUER}","subject":"agent-9""#),
            |token| token.act("agent-9"),
            true,
        ),
        (
            format!(r#""issuer":"{ISSUER}","subject":"agent-8""#),
            |token| token.act("agent-9"),
            false,
        ),
        (format!(r#""issuer":"{ISSUER}","client_id":"desktop""#), same, true),
        (
            format!(r#""issuer":"{OTHER_ISSUER}","client_id":"desktop""#),
            same,
            false,
        ),
        (format!(r#""issuer":"{ISSUER}","client_id":"mobile""#), same, false),
    ];
    for (members, change, revoked) in cases {
        let stage = stage(RevocationMode::Feed);
        let token = change(full());
        // Once before: a remembered token is asked about like a new one.
        assert_eq!(outcome(&stage, &token), None, "{members}");
        revoke(&stage, &members).unwrap();
        let expected = revoked.then_some(DenyReason::TokenRevoked);
        assert_eq!(outcome(&stage, &token), expected, "{members}");
    }
}

#[test]
fn a_later_login_of_a_principal_or_client_works_and_of_a_session_or_token_does_not() {
    let leeway = Limits::default().leeway.as_secs();
    for (members, renewable) in [
        (format!(r#""subject":"{}""#, ALICE.subject), true),
        (r#""client_id":"desktop""#.to_owned(), true),
        (r#""session":"s-1""#.to_owned(), false),
        (r#""jti":"j-1""#.to_owned(), false),
    ] {
        let stage = stage(RevocationMode::Feed);
        let long_ago = NOW_S - 100;
        let at = format!(r#""issuer":"{ISSUER}","revoked_at":{long_ago},{members}"#);
        revoke(&stage, &at).unwrap();
        let issued = |at: u64| outcome(&stage, &full().claim("iat", at).expires(NOW_S + 300));
        let revoked = Some(DenyReason::TokenRevoked);
        assert_eq!(issued(long_ago - 1), revoked, "{members}");
        assert_eq!(issued(long_ago), revoked, "{members}");
        // The issuer's clock may be ahead of the gate's.
        assert_eq!(issued(long_ago + leeway), revoked, "{members}");
        let expected = if renewable { None } else { revoked };
        assert_eq!(issued(long_ago + leeway + 1), expected, "{members}");
        let undated = full().without("iat").claim("nbf", NOW_S - 1);
        assert_eq!(outcome(&stage, &undated), revoked, "{members}");
    }
}

#[test]
fn a_revocation_lasts_until_no_token_can_be_meant() {
    let stage = stage(RevocationMode::Feed);
    let expires = NOW_S + 100;
    revoke(
        &stage,
        &format!(r#""issuer":"{ISSUER}","jti":"j-1","expires":{expires}"#),
    )
    .unwrap();
    let leeway = Limits::default().leeway.as_secs();
    let request = Request::with_token(
        &read_call(Era::Legacy),
        &full().expires(NOW_S + 1_000).sign(keys::es256()),
    );
    let at = |now_s: u64| {
        let mut visit = stage.gate.begin(UnixTime::from_secs(now_s));
        visit
            .authenticate(&request.head())
            .map(drop)
            .map_err(|denial| denial.reason)
    };
    assert_eq!(at(expires + leeway - 1), Err(DenyReason::TokenRevoked));
    assert_eq!(at(expires + leeway), Ok(()));
    assert_eq!(stage.gate.revocations().len(), 1);
    stage
        .gate
        .forget_expired_revocations(UnixTime::from_secs(expires + leeway));
    assert!(stage.gate.revocations().is_empty());
}

#[test]
fn only_issuers_that_state_it_take_revocations() {
    let members = |issuer: &str| format!(r#""issuer":"{issuer}","jti":"j-1""#);
    for (mode, takes) in [
        (RevocationMode::Feed, true),
        (RevocationMode::Introspect, true),
        (RevocationMode::None, false),
    ] {
        let stage = stage(mode);
        let refused = |issuer: &str| Err(RevocationError::Issuer(Box::from(issuer)));
        let expected = if takes { Ok(()) } else { refused(ISSUER) };
        assert_eq!(revoke(&stage, &members(ISSUER)), expected);
        let unknown = "https://issuer.example/";
        assert_eq!(revoke(&stage, &members(unknown)), refused(unknown));
        assert_eq!(stage.gate.revocations().len(), usize::from(takes));
    }
}

#[test]
fn the_record_says_whether_anybody_looked() {
    let time = |stage: &Stage| {
        stage.forward(&Request::read()).unwrap().1.close(Outcome::Unknown, NOW);
        stage.records()[0]["token"]["revocation"].clone()
    };
    assert_eq!(time(&stage(RevocationMode::Feed)), "2027-01-15T08:00:00.000000Z");
    assert_eq!(time(&stage(RevocationMode::Introspect)), "not_checked");
    assert_eq!(time(&stage(RevocationMode::None)), "not_checked");
}

#[test]
fn a_refusal_carries_the_challenge_and_is_counted() {
    let stage = stage(RevocationMode::Feed);
    revoke(&stage, &format!(r#""issuer":"{ISSUER}","jti":"j-1""#)).unwrap();
    let request = Request::with_token(&read_call(Era::Legacy), &full().sign(keys::es256()));
    let denial = stage.arrive(&request).unwrap_err();
    assert_eq!(denial.challenge.unwrap().error, Some(ChallengeError::InvalidToken));
    stage.gate.flush_refusals(NOW);
    assert_eq!(stage.last()["reason"], "token_revoked");
    assert_eq!(stage.last()["phase"], "refusals");
}

#[test]
fn what_is_under_way_ends_where_it_stands() {
    let members = format!(r#""issuer":"{ISSUER}","subject":"{}""#, ALICE.subject);
    // Between the head and the body.
    let stage = stage(RevocationMode::Feed);
    let request = Request::read();
    let mut visit = stage.gate.begin(NOW);
    let Step::Done(principal) = visit.authenticate(&request.head()).unwrap() else {
        panic!("the keys are there");
    };
    revoke(&stage, &members).unwrap();
    let mut scratch = crate::gate::Scratch::new(0);
    let denial = visit
        .authorize(principal, &request.head(), request.body.clone(), NOW, &mut scratch)
        .unwrap_err();
    assert_eq!(denial.reason, DenyReason::TokenRevoked);
    assert!(denial.challenge.is_some());
    assert_eq!(stage.last()["reason"], "token_revoked");
    assert_eq!(stage.last()["decision"], "deny");

    // Between the request and its answer.
    let stage = self::stage(RevocationMode::Feed);
    let mut ticket = stage.ticket();
    assert!(ticket.check_revocation(NOW).is_ok());
    revoke(&stage, &members).unwrap();
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
    let release = stage.review(&mut ticket, json(200, result));
    assert_eq!(withheld(&release), DenyReason::TokenRevoked);
    assert_eq!(stage.last()["reason"], "token_revoked");
    ticket.close(Outcome::Ended, NOW);

    // In an open stream; somebody else's goes on.
    let stage = self::stage(RevocationMode::Feed);
    let mut ticket = stage.ticket();
    let bobs = stage.forward(&Request::by(&BOB, &read_call(Era::Legacy))).unwrap().1;
    let opened = ticket.open(200, NOW).unwrap();
    assert!(matches!(stage.released(opened), Release::Empty { status: 200 }));
    revoke(&stage, &members).unwrap();
    assert_eq!(
        ticket.check_revocation(NOW).unwrap_err().reason,
        DenyReason::TokenRevoked
    );
    assert!(bobs.check_revocation(NOW).is_ok());
    ticket.close(Outcome::Revoked, NOW);
    assert_eq!(stage.last()["outcome"], "revoked");
    bobs.close(Outcome::Unknown, NOW);
}

#[test]
fn an_act_stands_on_record_with_its_author() {
    let stage = stage(RevocationMode::Feed);
    let json = format!(r#"{{"issuer":"{ISSUER}","jti":"j-1","reason":"lost laptop"}}"#);
    let request = RevocationRequest::parse(json.as_bytes()).unwrap();
    let revoked = stage.gate.revoke(&request, RevocationSource::Act, NOW).unwrap();
    let act = AdminAct {
        act: "revoke",
        author: "uid:1000",
        request: Some(&request),
        entry: Some(revoked.entry()),
        outcome: ActOutcome::Applied,
        detail: None,
    };
    let (id, _) = stage.gate.record_act(&act, NOW).unwrap();
    assert_eq!(id, revoked.entry().id);
    let record = stage.last();
    assert_eq!(record["phase"], "admin");
    assert_eq!(record["record_id"], id.to_string());
    assert_eq!(
        (&record["act"], &record["author"]),
        (&"revoke".into(), &"uid:1000".into())
    );
    assert_eq!(record["outcome"], "applied");
    let target = &record["target"];
    assert_eq!((&target["kind"], &target["id"]), (&"jti".into(), &"j-1".into()));
    assert_eq!(target["issuer"], ISSUER);
    assert_eq!(
        (&target["tenant"], &target["note"]),
        (&Value::Null, &"lost laptop".into())
    );
    assert_eq!(target["revoked_at"], "2027-01-15T08:00:00.000000Z");

    let refused = AdminAct {
        request: None,
        entry: None,
        outcome: ActOutcome::Refused,
        detail: Some("exactly one is needed"),
        ..act
    };
    let (second, _) = stage.gate.record_act(&refused, NOW).unwrap();
    assert_ne!(second, id);
    let record = stage.last();
    assert_eq!(
        (&record["outcome"], &record["target"]),
        (&"refused".into(), &Value::Null)
    );
    assert_eq!(record["reason"], "exactly one is needed");

    stage.gate.count_control_refusal(DenyReason::CredentialMissing, None);
    stage.gate.flush_refusals(NOW);
    assert_eq!(stage.last()["server"], "(control)");
}

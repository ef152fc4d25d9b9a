//! What a token may call a server, by server and by issuer (RFC 8707).

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::keys::{self, Key};
use portcullis_fixtures::token::TokenBuilder;

use super::super::*;
use super::stage::{
    ISSUER, NOW, NOW_S, RESOURCE, Request, Stage, issuer, key_set, read_call, sample_policy, server_parts,
};
use crate::config::{Server, ServerError};
use crate::limit::Rate;

const OTHER: &str = "https://other.example";
const RATE: Rate = Rate {
    per_second: 1_000,
    burst: 1_000,
};

/// A server of both issuers with these lists for single ones.
fn crm(resource: &str, audiences: &[&str], lists: &[(&str, &[&str])]) -> Result<Server, ServerError> {
    let mut parts = server_parts("crm", &sample_policy(), RATE, vec![issuer(ISSUER), issuer(OTHER)]);
    let arcs = |list: &[&str]| list.iter().map(|&text| Arc::from(text)).collect::<Vec<Arc<str>>>();
    parts.resource = Arc::from(resource);
    parts.audiences = arcs(audiences);
    parts.issuer_audiences = lists
        .iter()
        .map(|(url, list)| (Arc::from(*url), arcs(list)))
        .collect::<BTreeMap<_, _>>();
    Server::new(parts)
}

/// Whether a token that `key` signs for `audience` is let in.
fn admits(stage: &Stage, by: &str, key: &Key, audience: &str) -> bool {
    let token = TokenBuilder::new(by, audience, NOW_S).sign(key);
    match stage.arrive(&Request::with_token(&read_call(Era::Legacy), &token)) {
        Ok(Step::Done(_)) => true,
        Ok(Step::Needs(_)) => panic!("the keys are there"),
        Err(denial) => {
            assert_eq!(denial.reason, DenyReason::TokenAudience);
            false
        }
    }
}

#[test]
fn each_issuer_has_the_audiences_that_are_listed_for_it() {
    let (own, other) = (keys::es256(), Key::new_es256("other"));
    let stage = Stage::new();
    let publish = |server: Result<Server, ServerError>| {
        stage
            .gate
            .publish(Snapshot::new(vec![Arc::new(server.unwrap())], Limits::default(), [8; 32]).unwrap());
        stage.gate.publish_keys(&issuer(ISSUER), &key_set(&[own], NOW));
        stage.gate.publish_keys(&issuer(OTHER), &key_set(&[&other], NOW));
    };
    let slashed = format!("{RESOURCE}/");
    // Who may say what: the resource in both forms, what is listed for all, and what is listed for the other alone.
    let all = [RESOURCE, &slashed, "crm", "api://crm", "https://gate.example"];
    let check = |by_own: [bool; 5], by_other: [bool; 5]| {
        for (place, audience) in all.iter().enumerate() {
            assert_eq!(admits(&stage, ISSUER, own, audience), by_own[place], "{audience}");
            assert_eq!(admits(&stage, OTHER, &other, audience), by_other[place], "{audience}");
        }
    };
    let default = [true, true, true, false, false];
    publish(crm(RESOURCE, &["crm"], &[]));
    check(default, default);
    publish(crm(RESOURCE, &["crm"], &[(OTHER, &["api://crm"])]));
    check(default, [false, false, false, true, false]);
    // A list may name the resource as well, and is then no wider than it says.
    publish(crm(RESOURCE, &["crm"], &[(OTHER, &["api://crm", RESOURCE])]));
    check(default, [true, false, false, true, false]);
    // The tokens of the first check are still in the cache, and are judged anew.
    publish(crm(RESOURCE, &["crm"], &[(ISSUER, &["api://crm"])]));
    check([false, false, false, true, false], default);
}

#[test]
fn an_origin_is_a_resource_in_both_forms() {
    for resource in ["https://gate.example", "https://gate.example/"] {
        let server = crm(resource, &[], &[]).unwrap();
        let mut forms: Vec<&str> = server
            .audiences(&issuer(ISSUER))
            .iter()
            .map(|audience| &**audience)
            .collect();
        forms.sort_unstable();
        assert_eq!(forms, ["https://gate.example", "https://gate.example/"]);
    }
}

#[test]
fn a_list_of_audiences_lets_somebody_in() {
    let crm = |lists: &[(&str, &[&str])]| crm(RESOURCE, &[], lists).map(|_| ()).unwrap_err();
    let (name, other): (Arc<str>, Arc<str>) = (Arc::from("crm"), Arc::from(OTHER));
    let empty = ServerError::Audience(Arc::clone(&name), Arc::clone(&other));
    assert_eq!(crm(&[(OTHER, &[])]), empty);
    assert_eq!(crm(&[(OTHER, &["api://crm", ""])]), empty);
    let stranger = "https://stranger.example";
    assert_eq!(
        crm(&[(stranger, &["api://crm"])]),
        ServerError::AudienceIssuer(name, Arc::from(stranger))
    );
}

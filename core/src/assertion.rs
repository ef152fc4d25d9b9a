//! What the gate says of a caller to an upstream, in a token that it signs itself (RFC 7519, RFC 9068 section 2.2).
//!
//! Owns [`AssertionTerms`] and the claims. The subject is the human when there is one, the actor stands in `act` (RFC
//! 8693 section 4.1), and who the subject is to which issuer in `sub_id` (RFC 9493 section 3.2.3): `iss` is the gate.
//! Signs nothing: the embedder has the key. Never holds anything of the client's token but what was verified.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::identity::{Party, Principal};
use crate::record_id::RecordId;
use crate::time::UnixTime;

/// What an assertion says beside who calls.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AssertionTerms {
    /// The gate, as a URL: `iss`.
    pub issuer: Arc<str>,
    /// The upstream: `aud`.
    pub audience: Arc<str>,
    /// How long it may be used; in whole seconds.
    pub lifetime: Duration,
}

/// The claims about `principal` for one call that needs `scopes`.
pub(crate) fn claims(
    terms: &AssertionTerms,
    principal: &Principal,
    scopes: &[Box<str>],
    record_id: RecordId,
    now: UnixTime,
) -> String {
    let subject = principal.subject();
    let mut claims = stated(terms, names_of(subject), record_id.to_string(), now);
    claims.insert("client_id".to_owned(), (&**principal.client_id()).into());
    claims.insert("tenant".to_owned(), (&**principal.tenant()).into());
    if !scopes.is_empty() {
        claims.insert("scope".to_owned(), scopes.join(" ").into());
    }
    if principal.on_behalf_of().is_some() {
        let actor = principal.actor();
        claims.insert(
            "act".to_owned(),
            json!({"sub": &**actor.id(), "iss": &**actor.issuer()}),
        );
    }
    Value::Object(claims).to_string()
}

/// The claims about who acts for a subject, for the issuer that gives a token in exchange (RFC 8693 section 2.1).
pub(crate) fn actor_claims(terms: &AssertionTerms, actor: &Party, record_id: RecordId, now: UnixTime) -> String {
    Value::Object(stated(terms, names_of(actor), record_id.to_string(), now)).to_string()
}

/// The claims about the gate itself, for what it asks an upstream for no caller: it is the issuer and the subject. `id` is
/// used once.
pub fn own_claims(terms: &AssertionTerms, id: String, now: UnixTime) -> String {
    Value::Object(stated(terms, (&terms.issuer, &terms.issuer), id, now)).to_string()
}

/// Who knows a party, and as whom.
fn names_of(party: &Party) -> (&str, &str) {
    (party.issuer(), party.id())
}

fn stated(terms: &AssertionTerms, (issuer, subject): (&str, &str), id: String, now: UnixTime) -> Map<String, Value> {
    let stated = json!({
        "iss": &*terms.issuer,
        "sub": subject,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": subject},
        "aud": &*terms.audience,
        "jti": id,
        "iat": now.secs(),
        "exp": now.after(terms.lifetime).secs(),
    });
    match stated {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

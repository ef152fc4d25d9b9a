//! The three forms, and what each refuses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::keys;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::json;

use super::{PartyKind, Principal, bind};
use crate::credential::BearerToken;
use crate::crypto::MacKey;
use crate::denial::DenyReason;
use crate::jwks::{JwksLimits, KeySet};
use crate::limit::Rate;
use crate::time::UnixTime;
use crate::token::{
    Failures, IdentityForm, Issuer, IssuerKeys, IssuerParts, MachineMark, MarkTest, Terms, TokenCache, TokenLimits,
    Verification, VerifiedToken, verify,
};

const ISSUER: &str = "https://as.example";
const NOW: u64 = 1_800_000_000;

fn listed() -> IdentityForm {
    IdentityForm::ListedAgents(BTreeSet::from(["agent-1".to_owned(), "agent-2".to_owned()]))
}

fn human_claim() -> IdentityForm {
    IdentityForm::HumanClaim("initiator".to_owned())
}

fn token() -> TokenBuilder {
    TokenBuilder::new(ISSUER, "gate", NOW)
}

fn verified(form: IdentityForm, token: &TokenBuilder) -> Result<Arc<VerifiedToken>, DenyReason> {
    let key = keys::ed25519();
    let limits = JwksLimits {
        bytes_max: 4_096,
        keys_max: 1,
    };
    let now = UnixTime::from_secs(NOW);
    let accepted = [IssuerKeys {
        issuer: Arc::new(
            Issuer::new(IssuerParts {
                identity: form,
                machine_marks: vec![MachineMark {
                    claim: "kind".to_owned(),
                    test: MarkTest::Is("service".to_owned()),
                }],
                ..IssuerParts::strict(Arc::from(ISSUER))
            })
            .unwrap(),
        ),
        keys: Some(Arc::new(
            KeySet::parse(keys::jwks(&[key]).as_bytes(), &limits, now).unwrap(),
        )),
        audiences: Arc::from([Arc::from("gate")]),
    }];
    let limits = TokenLimits {
        token_bytes_max: 16_384,
        lifetime_max: Duration::from_secs(3_600),
        leeway: Duration::from_secs(60),
        keys_age_max: Duration::from_secs(3_600),
        introspection_deadline: Duration::from_secs(1),
        introspection_bytes_max: 4_096,
        introspection_cached_max: Duration::from_secs(60),
        introspection_refused_cached: Duration::from_secs(5),
        failures: Rate {
            per_second: 10,
            burst: 100,
        },
    };
    let text = token.sign(key);
    let bearer = BearerToken::parse(&text).unwrap();
    let terms = Terms {
        accepted: &accepted,
        limits: &limits,
        cache: &TokenCache::new(1),
        failures: &Failures::default(),
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now,
        answer: None,
    };
    match verify(bearer, &terms) {
        Ok(Verification::Verified(token)) => Ok(token),
        Ok(Verification::NeedsKeys { otherwise, .. } | Verification::NeedsIntrospection { otherwise, .. }) => {
            Err(otherwise.reason)
        }
        Err(denial) => Err(denial.reason),
    }
}

fn bound_for(tenant: &str, form: IdentityForm, token: &TokenBuilder) -> Result<Principal, DenyReason> {
    let key = MacKey::new([3; 32]);
    bind(verified(form, token)?, &Arc::from(tenant), 2, &key).map_err(|denial| denial.reason)
}

fn bound(form: IdentityForm, token: &TokenBuilder) -> Result<Principal, DenyReason> {
    bound_for("acme", form, token)
}

/// Subject and actor as `id kind`, then the client.
fn shape(principal: &Principal) -> [String; 3] {
    let party = |party: &super::Party| format!("{} {}", party.id(), party.kind().as_str());
    [
        party(principal.subject()),
        party(principal.actor()),
        principal.client_id().to_string(),
    ]
}

#[test]
fn the_three_forms_give_one_identity() {
    let forms = [
        (
            IdentityForm::Act,
            token().subject("alice").client("agent-1").act("agent-1"),
        ),
        (listed(), token().subject("alice").client("agent-1")),
        (
            human_claim(),
            token().subject("agent-1").client("agent-1").claim("initiator", "alice"),
        ),
    ];
    let bound: Vec<Principal> = forms
        .into_iter()
        .map(|(form, token)| bound(form, &token).unwrap())
        .collect();
    for principal in &bound {
        assert_eq!(shape(principal), ["alice human", "agent-1 agent", "agent-1"]);
        assert_eq!(principal.on_behalf_of(), Some(principal.subject()));
        assert_eq!(principal.subject(), bound[0].subject());
        assert_eq!(principal.actor(), bound[0].actor());
        assert_eq!(principal.principal_id(), bound[0].principal_id());
        assert_eq!(&**principal.subject().issuer(), ISSUER);
        assert_eq!(&**principal.tenant(), "acme");
    }
}

#[test]
fn who_acts_for_nobody_is_its_own_actor() {
    let user = token().subject("alice").client("desktop");
    let agent = token().subject("agent-1").client("agent-1");
    let client = token().subject("batch").client("batch");
    let opaque = token().subject("svc-17").client("agent-1");
    let marked = token().subject("svc-17").client("agent-1").claim("kind", "service");
    for (form, token, expected) in [
        (IdentityForm::Act, &user, "alice human"),
        (IdentityForm::Act, &client, "batch machine"),
        (IdentityForm::Act, &client.clone().act("batch"), "batch machine"),
        (IdentityForm::Act, &user.clone().act("alice"), "alice agent"),
        (IdentityForm::Act, &marked, "svc-17 machine"),
        (IdentityForm::Act, &opaque, "svc-17 human"),
        (listed(), &user, "alice human"),
        (listed(), &client, "batch machine"),
        (listed(), &agent, "agent-1 machine"),
        (listed(), &marked, "svc-17 machine"),
        (human_claim(), &agent, "agent-1 machine"),
        (human_claim(), &marked, "svc-17 machine"),
        (human_claim(), &opaque, "svc-17 agent"),
    ] {
        let principal = bound(form.clone(), token).unwrap();
        let [subject, actor, _] = shape(&principal);
        assert_eq!((&*subject, &*actor), (expected, expected), "{form:?}");
        assert_eq!(principal.on_behalf_of(), None, "{form:?}");
    }
}

#[test]
fn act_carries_its_own_issuer_and_history() {
    let foreign = token().claim("act", json!({"sub": "alice", "iss": "https://other.example"}));
    let principal = bound(IdentityForm::Act, &foreign).unwrap();
    assert_eq!(&**principal.actor().issuer(), "https://other.example");
    assert_eq!(principal.actor().kind(), PartyKind::Agent);
    assert!(
        principal.on_behalf_of().is_some(),
        "one name at two issuers is two parties"
    );

    let chain = token().act("first").act("second");
    let principal = bound(IdentityForm::Act, &chain).unwrap();
    assert_eq!(&**principal.actor().id(), "second");
    let prior: Vec<&str> = principal.actors_prior().iter().map(|actor| &*actor.subject).collect();
    assert_eq!(prior, ["first"]);
    assert!(
        bound(IdentityForm::Act, &token().act("first"))
            .unwrap()
            .actors_prior()
            .is_empty()
    );
    assert!(bound(IdentityForm::Act, &token()).unwrap().actors_prior().is_empty());

    let machine = token().subject("batch").client("batch").act("agent-1");
    assert_eq!(
        shape(&bound(IdentityForm::Act, &machine).unwrap())[..2],
        ["batch machine", "agent-1 agent"]
    );
}

#[test]
fn what_cannot_be_told_is_refused() {
    let deep = token().act("first").act("second").act("third");
    for (form, token) in [
        (IdentityForm::Act, deep),
        (listed(), token().client("agent-1").act("agent-1")),
        (listed(), token().act("agent-1")),
        (human_claim(), token().subject("agent-1").act("agent-1")),
        (human_claim(), token().subject("agent-1").claim("initiator", "agent-1")),
        (human_claim(), token().subject("agent-1").claim("initiator", "")),
        (
            human_claim(),
            token().subject("agent-1").claim("initiator", json!(["alice"])),
        ),
        (
            human_claim(),
            token().subject("agent-1").claim("initiator", json!(null)),
        ),
    ] {
        assert_eq!(
            bound(form.clone(), &token).err(),
            Some(DenyReason::IdentityUnbound),
            "{form:?}"
        );
    }
}

/// Whoever acts must be whom `may_act` names, in each form; who acts for nobody is not asked.
#[test]
fn may_act_names_who_acts() {
    let other = "https://other.example";
    let agents = |token: TokenBuilder| {
        [
            (IdentityForm::Act, token.clone().client("agent-1").act("agent-1")),
            (listed(), token.clone().client("agent-1")),
            (
                human_claim(),
                token.subject("agent-1").client("agent-1").claim("initiator", "alice"),
            ),
        ]
    };
    for (may_act, passes) in [
        (json!({"sub": "agent-1"}), true),
        (json!({"sub": "agent-1", "iss": ISSUER}), true),
        (json!({"sub": "agent-1", "iss": other}), false),
        (json!({"sub": "agent-2"}), false),
        (json!({"sub": "AGENT-1"}), false),
        (json!({"sub": "alice"}), false),
        (json!({"sub": "agent-1", "email": "a@example.org"}), false),
        (json!({"sub": "agent-1", "exp": NOW + 300}), false),
    ] {
        for (form, token) in agents(token().claim("may_act", may_act.clone())) {
            let expected = (!passes).then_some(DenyReason::IdentityUnbound);
            assert_eq!(bound(form.clone(), &token).err(), expected, "{may_act} {form:?}");
        }
        let alone = token().client("desktop").claim("may_act", may_act);
        assert_eq!(shape(&bound(IdentityForm::Act, &alone).unwrap())[1], "alice human");
    }
    // The one who acts now counts, not who acted before.
    let chain = token().act("agent-1").act("agent-2");
    for (named, passes) in [("agent-2", true), ("agent-1", false)] {
        let token = chain.clone().claim("may_act", json!({ "sub": named }));
        assert_eq!(bound(IdentityForm::Act, &token).is_ok(), passes, "{named}");
    }
    let foreign = token().claim("act", json!({"sub": "agent-1", "iss": other}));
    for (may_act, passes) in [
        (json!({"sub": "agent-1", "iss": other}), true),
        (json!({"sub": "agent-1"}), false),
    ] {
        let token = foreign.clone().claim("may_act", may_act);
        assert_eq!(bound(IdentityForm::Act, &token).is_ok(), passes);
    }
    for malformed in [
        json!(null),
        json!("agent-1"),
        json!(["agent-1"]),
        json!([{"sub": "agent-1"}]),
        json!({}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "agent-1", "iss": 7}),
        json!({"sub": "agent-1", "iss": ""}),
    ] {
        let token = token().claim("may_act", malformed.clone());
        for token in [token.clone(), token.act("agent-1")] {
            let refused = bound(IdentityForm::Act, &token).err();
            assert_eq!(refused, Some(DenyReason::TokenClaims), "{malformed}");
        }
    }
}

#[test]
fn an_identity_has_one_id_whatever_the_token() {
    let base = || token().subject("alice").client("agent-1");
    let id = |tenant: &str, token: &TokenBuilder| *bound_for(tenant, IdentityForm::Act, token).unwrap().principal_id();
    let one = id("acme", &base().act("agent-1"));
    let refreshed = base()
        .act("agent-1")
        .claim("jti", "other")
        .scope("x")
        .expires(NOW + 100);
    assert_eq!(one, id("acme", &refreshed));
    for other in [
        id("umbrella", &base().act("agent-1")),
        id("acme", &base()),
        id("acme", &base().act("agent-2")),
        id("acme", &base().act("agent-1").subject("bob")),
        id("acme", &base().act("agent-1").client("agent-2")),
        id(
            "acme",
            &base().claim("act", json!({"sub": "agent-1", "iss": "https://other.example"})),
        ),
    ] {
        assert_ne!(one, other);
    }
}

//! The profiles: each takes the token that its page shows, and none of that token's neighbours.
//!
//! The tokens stand in `docs/issuers.md`, a section each, so that what people read is what is judged here.

use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::keys::{self, Algorithm as Signing};
use portcullis_fixtures::token::compact;
use serde_json::{Value, json};

use super::{NOW, World, entry};
use crate::denial::DenyReason;
use crate::token::{IssuerParts, Profile, RolesFrom, VerifiedToken};

const DOCS: &str = include_str!("../../../../docs/issuers.md");

/// The section's sample token, header and claims.
fn sample(heading: &str) -> [Value; 2] {
    let section = DOCS
        .split("\n## ")
        .find(|section| section.starts_with(heading))
        .unwrap();
    let mut blocks = section.split("```json\n").skip(1);
    [(); 2].map(|()| {
        let (block, _) = blocks.next().unwrap().split_once("```").unwrap();
        serde_json::from_str(block).unwrap()
    })
}

/// A profile with its sample, as the page has it set up.
struct Case {
    world: World,
    groups: String,
    header: Value,
    claims: Value,
}

impl Case {
    fn new(profile: &str, heading: &str, audience: &str, change: impl FnOnce(&mut IssuerParts)) -> Self {
        let [header, claims] = sample(heading);
        let url = claims["iss"].as_str().unwrap();
        let profile = Profile::named(profile).unwrap();
        assert_eq!(profile.url_fault(url), None);
        let mut parts = profile.parts(Arc::from(url));
        change(&mut parts);
        let groups = parts.groups_claim.clone().unwrap_or_else(|| "groups".to_owned());
        let mut entry = entry(parts, &[keys::rsa()]);
        entry.audiences = Arc::from([Arc::from(audience)]);
        Self {
            world: World::of(vec![entry]),
            groups,
            header,
            claims,
        }
    }

    /// The sample with this header and these claims changed; a `null` takes its member away.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let merge = |whole: &Value, change: &Value| {
            let mut whole = whole.as_object().unwrap().clone();
            whole.extend(change.as_object().unwrap().clone());
            whole.retain(|_, value| !value.is_null());
            Value::Object(whole)
        };
        let mut header = merge(&self.header, header);
        header["kid"] = json!(keys::rsa().kid());
        let claims = merge(&self.claims, claims);
        compact(&header.to_string(), &claims.to_string(), keys::rsa(), Signing::Rs256)
    }

    fn verified(&self, claims: &Value) -> Arc<VerifiedToken> {
        self.world.judge_at(&self.token(&json!({}), claims), NOW).unwrap()
    }

    #[track_caller]
    fn header(&self, change: Value, expected: Result<(), DenyReason>) {
        self.world.check(&self.token(&change, &json!({})), expected);
    }

    #[track_caller]
    fn claims(&self, change: Value, expected: Result<(), DenyReason>) {
        self.world.check(&self.token(&json!({}), &change), expected);
    }

    /// What the token is read as: subject, client, scopes, groups, roles.
    #[track_caller]
    fn reads(&self, change: Value, expected: [&str; 5]) {
        let token = self.verified(&change);
        let list = |list: &[Box<str>]| list.join(" ");
        let found = [
            token.subject().to_string(),
            token.client_id().to_string(),
            list(token.scopes()),
            list(token.groups()),
            list(token.roles()),
        ];
        assert_eq!(found, expected, "{change}");
    }

    /// Whether the client got the token for itself.
    #[track_caller]
    fn marks(&self, change: Value, machine: bool) {
        assert_eq!(self.verified(&change).is_clients_own(), machine, "{change}");
    }

    /// What no profile takes.
    fn refuses_what_all_refuse(&self) {
        let typ = self.header["typ"].as_str().unwrap_or_default();
        for other in ["oauth-id-jag+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "id_token"] {
            self.header(json!({ "typ": other }), TYPE);
        }
        for (claims, expected) in [
            (json!({"exp": null}), LIFETIME),
            (json!({"exp": NOW + 3_601}), LIFETIME),
            (json!({"exp": (NOW + 300).to_string()}), CLAIMS),
            (json!({"exp": 1e30}), Err(DenyReason::TokenMalformed)),
            (json!({"exp": -1}), CLAIMS),
            (json!({"nbf": 1.5}), CLAIMS),
            (json!({"iat": [NOW]}), CLAIMS),
            (json!({"iat": null, "nbf": null}), CLAIMS),
            (
                json!({"iat": NOW + 61, "exp": NOW + 90}),
                Err(DenyReason::TokenNotYetValid),
            ),
            (json!({"aud": "https://other.example.com"}), AUDIENCE),
            (json!({"aud": ["https://other.example.com"]}), AUDIENCE),
            (json!({"aud": []}), CLAIMS),
            (json!({"aud": 7}), CLAIMS),
            (
                json!({"iss": "https://other.example.com"}),
                Err(DenyReason::TokenIssuer),
            ),
            (json!({"_claim_names": {&self.groups: "src1"}}), CLAIMS),
            (json!({"_claim_names": "groups"}), CLAIMS),
            (json!({"hasgroups": true}), CLAIMS),
            (json!({"hasgroups": "false"}), CLAIMS),
            (json!({"hasgroups": false}), Ok(())),
            (json!({"nonce": "n"}), TYPE),
            (json!({"at_hash": "h"}), TYPE),
            (json!({"events": {}}), TYPE),
            (json!({"typ": "ID"}), TYPE),
            (json!({"typ": "Refresh"}), TYPE),
            (json!({"typ": "Logout"}), TYPE),
            (json!({"typ": 1}), TYPE),
            (json!({"typ": "DPoP"}), Ok(())),
            (json!({"token_use": "id"}), TYPE),
            (json!({"token_use": "refresh_token"}), TYPE),
            (json!({"cnf": {"kid": "x"}}), Err(DenyReason::TokenSenderBound)),
        ] {
            self.claims(claims, expected);
        }
        // The very audience that is accepted, in a token for the client itself: how an ID token would look.
        let audience = self.world.accepted[0].audiences[0].to_string();
        let mut own = json!({ "aud": audience });
        for client in ["azp", "cid", "client_id"] {
            if self.claims.get(client).is_some() {
                own[client] = json!(audience);
            }
        }
        self.claims(own.clone(), TYPE);
        own["aud"] = json!([audience, audience]);
        self.claims(own, TYPE);
        assert_ne!(typ, "at+jwt", "the samples are the hard cases");
    }
}

const AUDIENCE: Result<(), DenyReason> = Err(DenyReason::TokenAudience);
const CLAIMS: Result<(), DenyReason> = Err(DenyReason::TokenClaims);
const LIFETIME: Result<(), DenyReason> = Err(DenyReason::TokenLifetime);
const TYPE: Result<(), DenyReason> = Err(DenyReason::TokenType);
const GATE: &str = "https://gate.example.com/crm/mcp";

#[test]
fn auth0() {
    let roles = |parts: &mut IssuerParts| parts.roles_claim = Some("https://example.com/roles".to_owned());
    let case = Case::new("auth0", "Auth0", GATE, roles);
    let (user, client) = ("auth0|64b7f2c1d9e8a70012ab34cd", "Zt5cR2mQ8xW1kLr0");
    case.reads(json!({}), [user, client, "crm:read openid", "", "analyst"]);
    // The dialect of RFC 9068, and a machine.
    case.reads(
        json!({"azp": null, "client_id": client, "permissions": null}),
        [user, client, "crm:read openid", "", "analyst"],
    );
    let machine = format!("{client}@clients");
    case.reads(
        json!({"sub": machine, "gty": "client-credentials", "aud": GATE, "scope": null}),
        [&machine, client, "", "", "analyst"],
    );
    for (claims, expected) in [
        (json!({}), false),
        (json!({"sub": machine}), true),
        (json!({"gty": "client-credentials"}), true),
        (json!({"sub": client}), true),
        (json!({"gty": "password"}), false),
        (json!({"gty": "client-credentials "}), false),
        (json!({"sub": format!("{client}@clients.example")}), false),
        (json!({"sub": "another@clients"}), false),
        (json!({"sub": "@clients"}), false),
    ] {
        case.marks(claims, expected);
    }
    case.claims(json!({"gty": ["client-credentials"]}), CLAIMS);
    case.header(json!({"typ": "at+jwt"}), Ok(()));
    case.header(json!({"typ": null}), TYPE);
    for (claims, expected) in [
        (json!({"aud": null}), CLAIMS),
        (json!({"aud": "https://acme.eu.auth0.com/userinfo"}), AUDIENCE),
        (json!({"aud": client}), TYPE),
        // Its ID token, without anything that calls it one.
        (json!({"aud": client, "azp": null, "scope": null}), CLAIMS),
        (json!({"client_id": "other"}), CLAIMS),
        (json!({"scope": ["crm:read"]}), CLAIMS),
        (json!({"https://example.com/roles": "analyst"}), CLAIMS),
        (json!({"sub": null}), CLAIMS),
    ] {
        case.claims(claims, expected);
    }
    case.refuses_what_all_refuse();

    let case = Case::new("auth0", "Auth0", GATE, |parts| {
        (parts.scope_claim, parts.scope_form) = (Some("permissions".to_owned()), None);
    });
    case.reads(json!({}), [user, client, "crm:read crm:write", "", ""]);
    case.reads(json!({"permissions": null}), [user, client, "", "", ""]);
    case.claims(json!({"permissions": "crm:read"}), CLAIMS);
    case.claims(json!({"permissions": ["crm:read", 1]}), CLAIMS);
    case.claims(json!({"permissions": ["crm:read crm:write"]}), CLAIMS);
}

#[test]
fn cognito() {
    let client = "3n4b5urk1ft4fl3mg5e62d9ado";
    let user = "5b1e7a52-93c4-4d10-8f6e-2c7d9a0b4e31";
    let read = [user, client, "crm/read crm/write", "sales emea", ""];
    let from = |parts: &mut IssuerParts| parts.danger_audience_from = Some("client_id".to_owned());
    let case = Case::new("cognito", "Cognito", client, from);
    case.reads(json!({}), read);
    case.header(json!({"typ": "JWT"}), TYPE);
    case.header(json!({"typ": "at+jwt"}), TYPE);
    for (claims, expected) in [
        (json!({"client_id": "another"}), AUDIENCE),
        (json!({"client_id": null}), CLAIMS),
        (json!({"client_id": [client]}), CLAIMS),
        // Its ID token, with and without what calls it one.
        (json!({"token_use": "id", "aud": client, "client_id": null}), CLAIMS),
        (json!({"token_use": "id", "aud": client}), TYPE),
        (json!({"token_use": "id"}), TYPE),
        (json!({"aud": client}), TYPE),
        (json!({"scope": ["crm/read"]}), CLAIMS),
        (json!({"cognito:groups": "sales"}), CLAIMS),
    ] {
        case.claims(claims, expected);
    }
    case.refuses_what_all_refuse();

    // The strict profile wants resource binding.
    let mut strict = Case::new("cognito", "Cognito", GATE, |_| ());
    strict.claims(json!({}), CLAIMS);
    strict.claims["aud"] = json!(GATE);
    strict.reads(json!({}), read);
    strict.claims(json!({"aud": client}), TYPE);
    strict.claims(json!({"aud": [GATE], "token_use": "id"}), TYPE);
    strict.refuses_what_all_refuse();
}

#[test]
fn entra_v2() {
    let (api, client) = (
        "6e2b8c5a-4d1f-4a9b-b3c7-0f5e8d2a1c64",
        "b7c1d2e3-f4a5-4b6c-8d7e-9f0a1b2c3d4e",
    );
    let case = Case::new("entra_v2", "Entra", api, |_| ());
    let (oid, group) = (
        "c3d4e5f6-a7b8-4c9d-8e0f-1a2b3c4d5e6f",
        "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    );
    case.reads(json!({}), [oid, client, "crm.read crm.write", group, "analyst"]);
    // A machine has roles and no scopes.
    case.reads(
        json!({"idtyp": "app", "scp": null, "groups": null, "name": null, "sub": oid}),
        [oid, client, "", "", "analyst"],
    );
    for (claims, expected) in [
        (json!({}), false),
        (json!({"idtyp": "app"}), true),
        (json!({"sub": oid}), true),
        (json!({"oid": client}), true),
        (json!({"idtyp": "user"}), false),
        (json!({"idtyp": "App"}), false),
        (json!({"sub": null}), false),
    ] {
        case.marks(claims, expected);
    }
    case.claims(json!({"idtyp": true}), CLAIMS);
    case.header(json!({"typ": "at+jwt"}), TYPE);
    case.header(json!({"typ": null}), TYPE);
    let v1 = "https://sts.windows.net/2f9d6b1e-7c3a-4e58-9a0d-b4c5d6e7f801/";
    for (claims, expected) in [
        (
            json!({"iss": v1, "ver": "1.0", "azp": null, "appid": client}),
            Err(DenyReason::TokenIssuer),
        ),
        (json!({"azp": null, "appid": client}), CLAIMS),
        (json!({"aud": "api://crm"}), AUDIENCE),
        (json!({"aud": "00000003-0000-0000-c000-000000000000"}), AUDIENCE),
        (json!({"aud": null}), CLAIMS),
        // Its ID token: of another client, of the API's own registration, and with `azp`.
        (json!({"aud": client, "azp": null, "scp": null}), CLAIMS),
        (json!({"azp": null, "scp": null}), CLAIMS),
        (json!({"azp": api}), TYPE),
        (json!({"oid": null}), CLAIMS),
        (json!({"oid": ""}), CLAIMS),
        (json!({"scp": ["crm.read"]}), CLAIMS),
        (json!({"groups": null, "hasgroups": true}), CLAIMS),
        (
            json!({"groups": null, "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}}),
            CLAIMS,
        ),
        (json!({"_claim_names": {"roles": "src1"}}), CLAIMS),
        (json!({"_claim_names": {"address": "src1"}}), Ok(())),
    ] {
        case.claims(claims, expected);
    }
    case.refuses_what_all_refuse();

    // Unknown groups as none, where somebody wants it so; what stands beside the sign of more is not whole either.
    let case = Case::new("entra_v2", "Entra", api, |parts| {
        parts.danger_ignore_group_overage = true
    });
    let none = [oid, client, "crm.read crm.write", "", "analyst"];
    case.reads(json!({"groups": null, "hasgroups": true}), none);
    case.reads(json!({"_claim_names": {"groups": "src1"}}), none);
    case.reads(
        json!({"_claim_names": {"roles": "src1"}}),
        [oid, client, "crm.read crm.write", group, ""],
    );

    // Nor is anything amiss with groups that nobody reads.
    let case = Case::new("entra_v2", "Entra", api, |parts| {
        parts.roles_from = Some(RolesFrom::PolicyData)
    });
    let none = [oid, client, "crm.read crm.write", "", ""];
    case.reads(json!({}), none);
    case.reads(json!({"groups": null, "hasgroups": true}), none);
    case.reads(json!({"_claim_names": {"roles": "src1"}}), none);

    // The pairwise subject, where somebody wants that.
    let case = Case::new("entra_v2", "Entra", api, |parts| {
        parts.subject_claim = Some("sub".to_owned())
    });
    let sub = "Qm9v-pairwise-7f3kLx";
    case.reads(
        json!({"oid": null}),
        [sub, client, "crm.read crm.write", group, "analyst"],
    );
    case.claims(json!({"sub": null}), CLAIMS);
    // It is a person's still: what marks a machine is the same value in both claims.
    case.marks(json!({}), false);
    case.marks(json!({"oid": null}), false);
    case.marks(json!({"sub": oid}), true);
}

#[test]
fn keycloak() {
    let case = Case::new("keycloak", "Keycloak", GATE, |_| ());
    let user = "1f2e3d4c-5b6a-4798-8a9b-0c1d2e3f4a5b";
    let scopes = "crm:read openid profile";
    case.reads(
        json!({}),
        [user, "desktop", scopes, "/sales/emea", "offline_access analyst"],
    );
    case.reads(
        json!({"realm_access": null, "groups": null}),
        [user, "desktop", scopes, "", ""],
    );
    // A service account, which has both claims of the client.
    case.reads(
        json!({"azp": "batch", "client_id": "batch", "groups": null}),
        [user, "batch", scopes, "", "offline_access analyst"],
    );
    for (name, expected) in [
        (json!("alice"), false),
        (json!("service-account-desktop"), true),
        (json!("service-account-Desktop"), true),
        (json!("Service-account-desktop"), false),
        (json!("my-service-account-desktop"), false),
        // A person who chose such a name, through a client.
        (json!("service-account-batch"), false),
        (json!("service-account"), false),
        (json!(null), false),
    ] {
        case.marks(json!({ "preferred_username": name }), expected);
    }
    case.claims(json!({"preferred_username": 7}), CLAIMS);
    case.header(json!({"typ": "at+jwt"}), Ok(()));
    case.header(json!({"typ": null}), TYPE);
    for (claims, expected) in [
        (json!({"aud": "account"}), AUDIENCE),
        (json!({"aud": null}), CLAIMS),
        (json!({"azp": null}), CLAIMS),
        // Its ID token, also of a client that is named like the server.
        (json!({"typ": "ID", "aud": "desktop", "at_hash": "h"}), TYPE),
        (json!({"typ": "ID"}), TYPE),
        (json!({"azp": GATE, "aud": GATE, "typ": null}), TYPE),
        (json!({"azp": GATE, "aud": [GATE, "account"]}), Ok(())),
        (json!({"scope": ["crm:read"]}), CLAIMS),
        (json!({"realm_access": ["analyst"]}), CLAIMS),
        (json!({"realm_access": {"roles": "analyst"}}), CLAIMS),
        (json!({"realm_access": {"roles": {"analyst": true}}}), CLAIMS),
        (json!({"groups": "/sales"}), CLAIMS),
    ] {
        case.claims(claims, expected);
    }
    // The kind stands in the claims, whatever the header says.
    for kind in ["ID", "Refresh", "Offline", "Logout"] {
        let token = case.token(&json!({"typ": "at+jwt"}), &json!({ "typ": kind }));
        case.world.check(&token, TYPE);
    }
    case.refuses_what_all_refuse();

    let of_client = |claim: &str| {
        let claim = claim.to_owned();
        Case::new("keycloak", "Keycloak", GATE, |parts| parts.roles_claim = Some(claim))
    };
    let groups = "/sales/emea";
    let case = of_client("/resource_access/crm/roles");
    case.reads(json!({}), [user, "desktop", scopes, groups, "reader"]);
    case.reads(
        json!({"resource_access": {"account": {"roles": ["x"]}}}),
        [user, "desktop", scopes, groups, ""],
    );
    case.claims(json!({"resource_access": {"crm": ["reader"]}}), CLAIMS);
    // A client's id may hold what parts a path.
    let case = of_client("/resource_access/https:~1~1crm.example.com~1~0mcp/roles");
    case.reads(
        json!({"resource_access": {"https://crm.example.com/~mcp": {"roles": ["reader"]}}}),
        [user, "desktop", scopes, groups, "reader"],
    );
}

#[test]
fn okta() {
    let case = Case::new("okta", "Okta", "api://crm", |_| ());
    let client = "0oa1b2c3d4e5f6g7h8i9";
    case.reads(json!({}), ["alice@example.com", client, "crm.read openid", "sales", ""]);
    case.reads(
        json!({"sub": client, "uid": null, "groups": null}),
        [client, client, "crm.read openid", "", ""],
    );
    case.marks(json!({"sub": client}), true);
    case.marks(json!({}), false);
    case.header(json!({"typ": "at+jwt"}), Ok(()));
    case.header(json!({"typ": "JWT"}), TYPE);
    // The organization's own server.
    case.header(json!({"typ": "application/okta-internal-at+jwt"}), TYPE);
    for (claims, expected) in [
        (
            json!({"iss": "https://acme.okta.com", "aud": "https://acme.okta.com"}),
            Err(DenyReason::TokenIssuer),
        ),
        (json!({"aud": null}), CLAIMS),
        (json!({"aud": client, "cid": null, "scp": null, "jti": "ID.x"}), CLAIMS),
        (json!({"aud": client}), TYPE),
        (json!({"cid": null}), CLAIMS),
        (json!({"cid": null, "client_id": client}), CLAIMS),
        (json!({"scp": "crm.read"}), CLAIMS),
        (json!({"scp": ["crm.read", ""]}), CLAIMS),
        (json!({"groups": [["sales"]]}), CLAIMS),
    ] {
        case.claims(claims, expected);
    }
    case.refuses_what_all_refuse();

    let case = Case::new("okta", "Okta", "api://crm", |parts| {
        parts.subject_claim = Some("uid".to_owned())
    });
    case.reads(
        json!({}),
        ["00u9i8h7g6f5e4d3c2b1", client, "crm.read openid", "sales", ""],
    );
    case.claims(json!({"uid": null}), CLAIMS);
    case.claims(json!({"uid": 7}), CLAIMS);
}

#[test]
fn ping() {
    let case = Case::new("ping", "Ping", GATE, |_| ());
    let read = ["alice", "desktop", "crm:read openid", "sales", ""];
    case.reads(json!({}), read);
    // PingOne's.
    case.reads(
        json!({"scope": "openid crm:read", "iat": NOW, "nbf": null, "aud": [GATE], "groups": ["sales", "emea"]}),
        ["alice", "desktop", "crm:read openid", "sales emea", ""],
    );
    for typ in ["at+jwt", "JWT"] {
        case.header(json!({ "typ": typ }), Ok(()));
    }
    for (claims, expected) in [
        (json!({"aud": null}), CLAIMS),
        (json!({"sub": null}), CLAIMS),
        (json!({"nbf": null}), CLAIMS),
        (json!({"nbf": NOW - 1}), LIFETIME),
        (json!({"client_id": null}), CLAIMS),
        (json!({"aud": "desktop", "client_id": null}), CLAIMS),
        (json!({"aud": "desktop"}), TYPE),
        (json!({"scope": ["crm:read openid"]}), CLAIMS),
        (json!({"scope": {}}), CLAIMS),
        (json!({"groups": ""}), CLAIMS),
        (json!({"groups": 7}), CLAIMS),
    ] {
        case.claims(claims, expected);
    }
    case.refuses_what_all_refuse();
}

/// Every profile has its tests here and its row in the page's table, as it is in the code.
#[test]
fn every_profile_is_on_the_page() {
    let names: Vec<&str> = Profile::all().iter().map(Profile::name).collect();
    assert_eq!(names, ["auth0", "cognito", "entra_v2", "keycloak", "okta", "ping"]);
    let ticks = |text: &str| format!("`{text}`");
    for profile in Profile::all() {
        let parts = profile.parts(Arc::from("https://as.example"));
        let types: Vec<String> = parts
            .token_types
            .unwrap()
            .iter()
            .map(|name| match name.as_str() {
                "absent" => name.clone(),
                _ => ticks(name),
            })
            .collect();
        let form = parts.scope_form.map(|form| format!("{form:?}").to_lowercase());
        let or = |claim: Option<String>, default: &str| claim.map_or_else(|| default.to_owned(), |claim| ticks(&claim));
        let row = [
            ticks(profile.name()),
            types.join(", "),
            or(parts.subject_claim, "`sub`"),
            or(parts.client_claim, "`client_id` or `azp`"),
            format!("{} {}", or(parts.scope_claim, ""), form.unwrap_or_default()),
            or(parts.groups_claim, "`groups`"),
            or(parts.roles_claim, "`roles`"),
        ];
        let row = format!("| {} |\n", row.join(" | "));
        assert!(DOCS.contains(&row), "{row}");
    }
    assert_eq!(Profile::named("Keycloak"), None);
    assert_eq!(Profile::named(""), None);
}

#[test]
fn a_profile_knows_the_urls_of_its_issuers() {
    for (profile, right, wrong) in [
        ("auth0", "https://acme.eu.auth0.com/", "https://acme.eu.auth0.com"),
        (
            "entra_v2",
            "https://login.microsoftonline.com/2f9d/v2.0",
            "https://sts.windows.net/2f9d/",
        ),
        (
            "entra_v2",
            "https://acme.ciamlogin.com/2f9d/v2.0",
            "https://login.microsoftonline.com/common/v2.0",
        ),
        (
            "keycloak",
            "https://sso.example.com/auth/realms/acme",
            "https://sso.example.com",
        ),
        ("okta", "https://id.example.com/oauth2/default", "https://acme.okta.com"),
    ] {
        let profile = Profile::named(profile).unwrap();
        assert_eq!(profile.url_fault(right), None);
        assert!(profile.url_fault(wrong).is_some(), "{wrong}");
    }
}

/// The longest lifetime is the issuer's own where it has one, be it shorter or longer than the common one of an hour.
#[test]
fn a_lifetime_is_bounded_by_issuer() {
    for (own, lifetime, expected) in [
        (None, 3_600, Ok(())),
        (None, 3_601, LIFETIME),
        (Some(300), 300, Ok(())),
        (Some(300), 301, LIFETIME),
        (Some(5_400), 5_400, Ok(())),
        (Some(5_400), 5_401, LIFETIME),
    ] {
        let case = Case::new("keycloak", "Keycloak", GATE, |parts| {
            parts.token_lifetime_max = own.map(Duration::from_secs);
        });
        case.claims(json!({"exp": NOW + lifetime}), expected);
        // A token counts from when it was issued, however short it has still to live.
        case.claims(json!({"iat": NOW - 200, "exp": NOW + lifetime - 200}), expected);
        case.claims(json!({"iat": NOW - 200, "exp": NOW + lifetime - 201}), Ok(()));
    }
}

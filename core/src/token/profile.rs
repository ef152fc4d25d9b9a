//! What the tokens of well-known authorization servers look like, one row each.
//!
//! Owns the table of [`Profile::all`]; a profile is nothing but the settings that its tokens need, and whatever an
//! operator writes wins over it. Each has a section in `docs/issuers.md`, whose sample token its test accepts.

use std::sync::Arc;

use crate::token::{IssuerParts, MachineMark, MarkTest, ScopeForm};

/// The settings of an issuer of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Profile {
    name: &'static str,
    token_types: &'static [&'static str],
    subject_claim: Option<&'static str>,
    client_claim: Option<&'static str>,
    scope: Option<Scope>,
    groups_claim: Option<&'static str>,
    roles_claim: Option<&'static str>,
    single_as_list: bool,
    machine_marks: &'static [Mark],
    url: UrlShape,
}

/// A claim, and what it is like in tokens that clients get for themselves.
type Mark = (&'static str, Like);

/// The row form of [`MarkTest`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Like {
    Is(&'static str),
    IsClaim(&'static str),
    IsClientWith(&'static str),
    IsClientAfter(&'static str),
}

/// A claim of scopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Scope {
    claim: &'static str,
    form: ScopeForm,
}

/// What the issuer's URL is like whose tokens can be verified; the empty text is everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct UrlShape {
    has: &'static str,
    ends: &'static str,
    lacks: &'static [&'static str],
    hint: &'static str,
}

impl Profile {
    /// Every profile, sorted by name.
    pub const fn all() -> &'static [Self] {
        &ALL
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|profile| profile.name == name)
    }

    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What an issuer's URL must be like; `None` when `url` is so.
    pub fn url_fault(&self, url: &str) -> Option<&'static str> {
        let UrlShape { has, ends, lacks, hint } = self.url;
        let fits = url.contains(has) && url.ends_with(ends) && !lacks.iter().any(|part| url.contains(part));
        (!fits).then_some(hint)
    }

    /// The rules for the issuer at `url`, the strictest that its tokens hold.
    pub fn parts(&self, url: Arc<str>) -> IssuerParts {
        let own = |name: Option<&str>| name.map(str::to_owned);
        IssuerParts {
            token_types: Some(self.token_types.iter().map(|&name| name.to_owned()).collect()),
            subject_claim: own(self.subject_claim),
            client_claim: own(self.client_claim),
            scope_claim: own(self.scope.map(|scope| scope.claim)),
            scope_form: self.scope.map(|scope| scope.form),
            groups_claim: own(self.groups_claim),
            roles_claim: own(self.roles_claim),
            single_as_list: self.single_as_list,
            machine_marks: self.machine_marks.iter().map(mark).collect(),
            ..IssuerParts::strict(url)
        }
    }
}

fn mark(&(claim, like): &Mark) -> MachineMark {
    MachineMark {
        claim: claim.to_owned(),
        test: match like {
            Like::Is(word) => MarkTest::Is(word.to_owned()),
            Like::IsClaim(other) => MarkTest::IsClaim(other.to_owned()),
            Like::IsClientWith(suffix) => MarkTest::IsClientWith(suffix.to_owned()),
            Like::IsClientAfter(prefix) => MarkTest::IsClientAfter(prefix.to_owned()),
        },
    }
}

const fn text(claim: &'static str) -> Option<Scope> {
    Some(Scope {
        claim,
        form: ScopeForm::Text,
    })
}

static ALL: [Profile; 6] = [AUTH0, COGNITO, ENTRA_V2, KEYCLOAK, OKTA, PING];

const ANY_URL: UrlShape = UrlShape {
    has: "",
    ends: "",
    lacks: &[],
    hint: "",
};

/// What nothing is known of: the strict defaults.
const PLAIN: Profile = Profile {
    name: "",
    token_types: &["at+jwt"],
    subject_claim: None,
    client_claim: None,
    scope: None,
    groups_claim: None,
    roles_claim: None,
    single_as_list: false,
    machine_marks: &[],
    url: ANY_URL,
};

/// Its own dialect has `azp`, the one of RFC 9068 `client_id`; custom claims have names that are URLs.
const AUTH0: Profile = Profile {
    name: "auth0",
    token_types: &["at+jwt", "JWT"],
    scope: text("scope"),
    machine_marks: &[
        ("gty", Like::Is("client-credentials")),
        ("sub", Like::IsClientWith("@clients")),
    ],
    url: UrlShape {
        ends: "/",
        hint: "the issuer of an Auth0 tenant ends with a slash, such as `https://acme.eu.auth0.com/`",
        ..ANY_URL
    },
    ..PLAIN
};

/// Neither `typ` nor, without resource binding, `aud`.
const COGNITO: Profile = Profile {
    name: "cognito",
    token_types: &["absent"],
    client_claim: Some("client_id"),
    scope: text("scope"),
    groups_claim: Some("cognito:groups"),
    roles_claim: Some("cognito:roles"),
    ..PLAIN
};

/// `sub` differs from application to application, but for an application itself; `oid` is the same in the whole tenant.
const ENTRA_V2: Profile = Profile {
    name: "entra_v2",
    token_types: &["JWT"],
    subject_claim: Some("oid"),
    client_claim: Some("azp"),
    scope: text("scp"),
    machine_marks: &[("idtyp", Like::Is("app")), ("sub", Like::IsClaim("oid"))],
    url: UrlShape {
        ends: "/v2.0",
        lacks: &["/common/", "/consumers/", "/organizations/"],
        hint: "the issuer of version 2 tokens is that of one tenant, \
               such as `https://login.microsoftonline.com/<tenant id>/v2.0`",
        ..ANY_URL
    },
    ..PLAIN
};

/// What the header does not say stands in the claim `typ`.
const KEYCLOAK: Profile = Profile {
    name: "keycloak",
    token_types: &["at+jwt", "JWT"],
    client_claim: Some("azp"),
    scope: text("scope"),
    roles_claim: Some("/realm_access/roles"),
    // People may choose their names, but not the client that they log in through.
    machine_marks: &[("preferred_username", Like::IsClientAfter("service-account-"))],
    url: UrlShape {
        has: "/realms/",
        hint: "the issuer is a realm, such as `https://sso.example.com/realms/acme`",
        ..ANY_URL
    },
    ..PLAIN
};

/// Tokens of a custom authorization server; those of the organization's own are Okta's alone.
const OKTA: Profile = Profile {
    name: "okta",
    token_types: &["absent", "at+jwt"],
    client_claim: Some("cid"),
    scope: Some(Scope {
        claim: "scp",
        form: ScopeForm::List,
    }),
    url: UrlShape {
        has: "/oauth2/",
        hint: "name a custom authorization server, such as `https://acme.okta.com/oauth2/default`: \
               the organization's own issues tokens for Okta alone",
        ..ANY_URL
    },
    ..PLAIN
};

/// PingOne writes scopes as a text, PingFederate by default as an array, and one value of many without an array.
const PING: Profile = Profile {
    name: "ping",
    token_types: &["absent", "at+jwt", "JWT"],
    client_claim: Some("client_id"),
    scope: Some(Scope {
        claim: "scope",
        form: ScopeForm::Any,
    }),
    single_as_list: true,
    ..PLAIN
};

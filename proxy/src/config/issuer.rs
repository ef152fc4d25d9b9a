//! One authorization server: from what was written to what the core takes.
//!
//! Owns the checks of issuers, and of the audiences that servers list for them. Fetches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use portcullis_core::Algorithm;
use portcullis_core::token::{
    IdentityForm, Issuer, IssuerError, IssuerParts, MachineMark, MarkTest, Profile, RolesFrom, ScopeForm,
};

use super::diagnose::{self, Code, nearest};
use super::lower::Lowering;
use super::raw::{
    At, Place, RawForm, RawIdentity, RawIssuer, RawMachineMark, RawRolesFrom, RawScopeForm, RawServer, Span,
};
use super::{IssuerPlan, admin, introspection, tenants};

/// Lowers the issuers; those with a fault are left out.
pub(super) fn lower(lowering: &mut Lowering<'_>, raw: &[At<RawIssuer>]) -> Vec<IssuerPlan> {
    let mut seen = BTreeSet::new();
    let mut issuers = Vec::new();
    for at in raw {
        let url = &at.value.issuer;
        if !seen.insert(url.value.as_str()) {
            lowering.fault(
                Code::Repeated,
                url.place,
                format!("the issuer `{}` stands twice", url.value),
            );
        }
        issuers.extend(issuer(lowering, &at.value));
    }
    issuers
}

/// One issuer; `None` after a fault.
fn issuer(lowering: &mut Lowering<'_>, raw: &RawIssuer) -> Option<IssuerPlan> {
    for url in [Some(&raw.issuer), raw.jwks_uri.as_ref()].into_iter().flatten() {
        if !fetchable(&url.value) {
            lowering.fault_with(
                Code::IssuerInvalid,
                url.place,
                format!("`{}` cannot be asked for keys", url.value),
                Some("an https URL without query and fragment, or http on loopback"),
            );
            return None;
        }
    }
    let ca_pem = match &raw.ca {
        Some(name) => Some(Arc::from(lowering.read(name)?)),
        None => None,
    };
    let url: Arc<str> = Arc::from(raw.issuer.value.as_str());
    let (rules, plan) = introspection::lower(lowering, raw)?.unzip();
    let parts = IssuerParts {
        key_source: key_source(raw, ca_pem.as_deref()),
        revocation: admin::revocation(lowering, raw.revocation.as_ref(), rules.is_some())?,
        introspection: rules,
        ..parts(lowering, raw, &url)?
    };
    match Issuer::new(parts) {
        Ok(issuer) => Some(IssuerPlan {
            issuer: Arc::new(issuer),
            url,
            jwks_uri: raw.jwks_uri.as_ref().map(|uri| Arc::from(uri.value.as_str())),
            ca_pem,
            danger_allow_private_addresses: raw.danger_allow_private_addresses,
            introspection: plan,
        }),
        Err(error) => {
            lowering.fault(Code::IssuerInvalid, place_of(raw, &error), error.to_string());
            None
        }
    }
}

/// The rules of an issuer's tokens: its profile's, with whatever was written in their place.
fn parts(lowering: &mut Lowering<'_>, raw: &RawIssuer, url: &Arc<str>) -> Option<IssuerParts> {
    let text = |written: &Option<At<String>>, default| written.as_ref().map(|text| text.value.clone()).or(default);
    let base = match &raw.profile {
        Some(name) => profile(lowering, name, &raw.issuer)?.parts(Arc::clone(url)),
        None => IssuerParts::strict(Arc::clone(url)),
    };
    let (scope_claim, scope_form) = match (&raw.scope_claim, raw.scope_form) {
        (Some(claim), form) => (Some(claim.value.clone()), form.map(scope_form)),
        (None, form) => (base.scope_claim, form.map(scope_form).or(base.scope_form)),
    };
    if scope_claim.is_none() && scope_form.is_some() {
        let message = "`scope_form` is the form of `scope_claim`, which is not there";
        lowering.fault(Code::IssuerInvalid, raw.issuer.place, message);
        return None;
    }
    Some(IssuerParts {
        url: base.url,
        algorithms: match &raw.algorithms {
            Some(names) => algorithms(lowering, names)?,
            None => base.algorithms,
        },
        token_types: token_types(lowering, raw, base.token_types)?,
        identity: identity(lowering, raw.identity.as_ref())?,
        tenant: tenants::of_issuer(lowering, raw)?,
        token_lifetime_max: match &raw.token_lifetime_max {
            Some(span) => Some(lifetime(lowering, span)?),
            None => base.token_lifetime_max,
        },
        subject_claim: text(&raw.subject_claim, base.subject_claim),
        client_claim: text(&raw.client_claim, base.client_claim),
        scope_claim,
        scope_form,
        groups_claim: text(&raw.groups_claim, base.groups_claim),
        roles_claim: text(&raw.roles_claim, base.roles_claim),
        single_as_list: raw.single_as_list.unwrap_or(base.single_as_list),
        machine_marks: match &raw.machine_mark {
            Some(mark) => vec![machine_mark(lowering, mark)?],
            None => base.machine_marks,
        },
        roles_from: raw
            .roles_from
            .as_ref()
            .map(|from| roles_from(from.value))
            .or(base.roles_from),
        danger_audience_from: text(&raw.danger_audience_from, base.danger_audience_from),
        danger_ignore_group_overage: raw.danger_ignore_group_overage || base.danger_ignore_group_overage,
        key_source: base.key_source,
        introspection: base.introspection,
        revocation: base.revocation,
    })
}

/// The profile of this name, which must be one for issuers of such a URL.
fn profile(lowering: &mut Lowering<'_>, name: &At<String>, url: &At<String>) -> Option<&'static Profile> {
    let Some(profile) = Profile::named(&name.value) else {
        let known: Vec<&str> = Profile::all().iter().map(Profile::name).collect();
        let message = format!("there is no profile `{}`", name.value);
        lowering.fault_with(
            Code::IssuerInvalid,
            name.place,
            message,
            Some(&help(&name.value, &known)),
        );
        return None;
    };
    if let Some(hint) = profile.url_fault(&url.value) {
        let message = format!("`{}` is no issuer of the profile `{}`", url.value, name.value);
        lowering.fault_with(Code::IssuerInvalid, url.place, message, Some(hint));
        return None;
    }
    Some(profile)
}

/// The accepted values of `typ`, from either of the two keys.
#[expect(
    clippy::option_option,
    reason = "the outer one is the fault, the inner one the default"
)]
fn token_types(
    lowering: &mut Lowering<'_>,
    raw: &RawIssuer,
    default: Option<Vec<String>>,
) -> Option<Option<Vec<String>>> {
    match (&raw.token_types, raw.danger_accept_any_jwt) {
        (Some(names), false) => Some(Some(names.iter().map(|name| name.value.clone()).collect())),
        (None, true) => Some(Some(ANY_JWT.map(str::to_owned).to_vec())),
        (None, false) => Some(default),
        (Some(names), true) => {
            let place = names.first().map_or(raw.issuer.place, |name| name.place);
            let message = "`token_types` and `danger_accept_any_jwt` say the same, and only one can hold";
            lowering.fault(Code::IssuerInvalid, place, message);
            None
        }
    }
}

const fn roles_from(raw: RawRolesFrom) -> RolesFrom {
    match raw {
        RawRolesFrom::PolicyData => RolesFrom::PolicyData,
        RawRolesFrom::Token => RolesFrom::Token,
    }
}

/// The mark of machines, which must be a text: the empty one would mark everybody.
fn machine_mark(lowering: &mut Lowering<'_>, raw: &At<RawMachineMark>) -> Option<MachineMark> {
    let RawMachineMark { claim, is, starts_with } = &raw.value;
    let (word, test): (_, fn(String) -> MarkTest) = match (is, starts_with) {
        (Some(word), None) => (word, MarkTest::Is),
        (None, Some(word)) => (word, MarkTest::StartsWith),
        (None, None) | (Some(_), Some(_)) => {
            let message = "`machine_mark` needs either `is` or `starts_with`";
            let help = "such as `machine_mark: {claim: gty, is: client-credentials}`";
            lowering.fault_with(Code::IssuerInvalid, claim.place, message, Some(help));
            return None;
        }
    };
    if word.value.is_empty() {
        lowering.fault(
            Code::IssuerInvalid,
            word.place,
            "an empty text would mark nobody or everybody",
        );
        return None;
    }
    Some(MachineMark {
        claim: claim.value.clone(),
        test: test(word.value.clone()),
    })
}

const fn scope_form(raw: RawScopeForm) -> ScopeForm {
    match raw {
        RawScopeForm::Any => ScopeForm::Any,
        RawScopeForm::List => ScopeForm::List,
        RawScopeForm::Text => ScopeForm::Text,
    }
}

fn lifetime(lowering: &mut Lowering<'_>, span: &At<Span>) -> Option<Duration> {
    let Span(time) = span.value;
    if (Duration::from_secs(1)..=LIFETIME_MAX).contains(&time) {
        return Some(time);
    }
    let message = format!("expected a time from 1s to {}s", LIFETIME_MAX.as_secs());
    lowering.fault(Code::InvalidValue, span.place, message);
    None
}

/// Where the key stands that an issuer's rules were refused for.
fn place_of(raw: &RawIssuer, error: &IssuerError) -> Place {
    let claims = [
        &raw.subject_claim,
        &raw.client_claim,
        &raw.scope_claim,
        &raw.groups_claim,
        &raw.roles_claim,
        &raw.danger_audience_from,
        &raw.tenant_claim,
    ];
    let names = raw.token_types.iter().flatten();
    let found = match error {
        IssuerError::Claim(_, claim) | IssuerError::ClaimMutable(_, claim) => {
            let human = raw.identity.as_ref().and_then(|identity| identity.claim.as_ref());
            let mut claims = claims.into_iter().flatten().chain(human);
            claims.find(|written| written.value == *claim)
        }
        IssuerError::Mark(_, _) => raw.machine_mark.as_ref().map(|mark| &mark.value.claim),
        IssuerError::Roles(_) => return raw.roles_from.as_ref().map_or(raw.issuer.place, |from| from.place),
        IssuerError::TokenType(_, name) => names.into_iter().find(|written| written.value == *name),
        IssuerError::Tenant(_) => raw.tenant.as_ref(),
        IssuerError::Algorithms(_) | IssuerError::Lifetime(_) | IssuerError::Url(_) => None,
    };
    found.map_or(raw.issuer.place, |written| written.place)
}

/// What helps with a word that is none of the known ones.
fn help(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", diagnose::list(known)),
    }
}

fn algorithms(lowering: &mut Lowering<'_>, raw: &[At<String>]) -> Option<Vec<Algorithm>> {
    let mut algorithms = Vec::new();
    for name in raw {
        match Algorithm::from_name(&name.value) {
            Some(algorithm) => algorithms.push(algorithm),
            None => {
                let refused = REFUSED_ALGORITHMS
                    .iter()
                    .find(|refused| refused.name.eq_ignore_ascii_case(&name.value));
                let help = match refused {
                    Some(refused) => refused.why.to_owned(),
                    None => help(&name.value, &Algorithm::ALL.map(Algorithm::name)),
                };
                let message = format!("`{}` is no accepted signature algorithm", name.value);
                lowering.fault_with(Code::IssuerInvalid, name.place, message, Some(&help));
                return None;
            }
        }
    }
    Some(algorithms)
}

fn identity(lowering: &mut Lowering<'_>, raw: Option<&RawIdentity>) -> Option<IdentityForm> {
    let Some(raw) = raw else {
        return Some(IdentityForm::default());
    };
    match (raw.form.value, &raw.agents, &raw.claim) {
        (RawForm::Act, None, None) => Some(IdentityForm::Act),
        (RawForm::HumanClaim, None, Some(claim)) => Some(IdentityForm::HumanClaim(claim.value.clone())),
        (RawForm::ListedAgents, Some(agents), None) if !agents.is_empty() => Some(IdentityForm::ListedAgents(
            agents.iter().map(|agent| agent.value.clone()).collect(),
        )),
        (form, _, _) => {
            let needs = match form {
                RawForm::Act => "form `act` takes neither `agents` nor `claim`",
                RawForm::HumanClaim => "form `human_claim` needs `claim` and nothing else",
                RawForm::ListedAgents => "form `listed_agents` needs a list `agents` and nothing else",
            };
            lowering.fault(Code::IssuerInvalid, raw.form.place, needs);
            None
        }
    }
}

/// The audiences that a server lists for single issuers; `None` after a fault.
pub(super) fn audiences(lowering: &mut Lowering<'_>, raw: &RawServer) -> Option<BTreeMap<Arc<str>, Vec<Arc<str>>>> {
    let name = &raw.name.value;
    let accepted: Vec<&str> = raw.issuers.iter().map(|url| url.value.as_str()).collect();
    let mut lists = BTreeMap::new();
    let mut whole = true;
    for (url, list) in &raw.issuer_audiences {
        if !accepted.contains(&url.as_str()) {
            let help = nearest(url, &accepted).map(|near| format!("did you mean `{near}`?"));
            let message = format!("server `{name}` lists audiences for the issuer `{url}`, which it does not accept");
            lowering.fault_with(Code::IssuerUnknown, list.place, message, help.as_deref());
            whole = false;
        }
        if list.value.is_empty() || list.value.iter().any(|audience| audience.value.is_empty()) {
            let message = format!("server `{name}` accepts no audience from the issuer `{url}`");
            let help = "name at least one audience, or leave the issuer out: its tokens then name the `resource`";
            lowering.fault_with(Code::ServerInvalid, list.place, message, Some(help));
            whole = false;
        }
        let audiences = list.value.iter().map(|text| Arc::from(text.value.as_str()));
        lists.insert(Arc::from(url.as_str()), audiences.collect());
    }
    whole.then_some(lists)
}

/// Where an issuer's keys come from: a reload that changes any of it starts without keys.
fn key_source(raw: &RawIssuer, ca_pem: Option<&str>) -> Arc<str> {
    let uri = raw.jwks_uri.as_ref().map_or("metadata", |uri| &uri.value);
    let roots = ca_pem.unwrap_or("system");
    Arc::from(format!("{uri} {} {roots}", raw.danger_allow_private_addresses))
}

/// Whether keys may be fetched from this URL: https, or http on loopback.
fn fetchable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let Some(host) = uri.host() else {
        return false;
    };
    let plain = !url.contains(['#', '?', '@', '\\']);
    match uri.scheme_str() {
        Some("https") => plain,
        Some("http") => plain && is_loopback(host),
        Some(_) | None => false,
    }
}

/// Whether a URL's host is this machine, by name or by number.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A known algorithm that no issuer may have.
pub(super) struct Refused {
    /// Its name.
    pub name: &'static str,
    why: &'static str,
}

impl Refused {
    const fn new(name: &'static str, why: &'static str) -> Self {
        Self { name, why }
    }
}

/// The known algorithms that are refused; `docs/issuers.md` says the same.
pub(super) const REFUSED_ALGORITHMS: [Refused; 10] = [
    Refused::new("none", "there is nothing to verify"),
    Refused::new("HS256", SHARED),
    Refused::new("HS384", SHARED),
    Refused::new("HS512", SHARED),
    Refused::new("ES512", "the library that verifies signatures, ring, has no P-521"),
    Refused::new("ES256K", "the library that verifies signatures, ring, has no secp256k1"),
    Refused::new("Ed448", "the library that verifies signatures, ring, has no Ed448"),
    Refused::new("ML-DSA-44", ML_DSA),
    Refused::new("ML-DSA-65", ML_DSA),
    Refused::new("ML-DSA-87", ML_DSA),
];
const SHARED: &str = "it is a shared secret: whoever can verify with it can mint tokens with it";
const ML_DSA: &str = "the library that verifies signatures, ring, has no ML-DSA yet";

/// The longest of all longest lifetimes, as for the one of `limits`.
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Every `typ` that an issuer may give its access tokens, `absent` for none.
const ANY_JWT: [&str; 4] = ["at+jwt", "application/at+jwt", "JWT", "absent"];

//! What upstreams are shown and which fields cross: from what was written to the core's rules.
//!
//! Owns the checks of `upstream.credential`, `upstream.credentials` and `upstream.forward_headers`. Never keeps a secret
//! outside a zeroized value, and never prints one.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use portcullis_core::assertion::AssertionTerms;
use portcullis_core::config::{
    CredentialGroup, CredentialKind, Credentials, CredentialsError, ForwardHeaders, UpstreamCredential,
};
use portcullis_core::exchange::ExchangeTerms;
use portcullis_core::jwks::refresh::may_come_from;
use portcullis_core::scope::is_scope;
use portcullis_core::token::IdentityForm;

use super::IssuerPlan;
use super::diagnose::{Code, Warning, nearest};
use super::introspection::{WrittenClient, authentication};
use super::lower::Lowering;
use super::raw::{At, Place, RawAssertion, RawConfig, RawCredential, RawExchange, RawForwardHeaders, RawServer};
use crate::background::exchange::ExchangePlan;

/// What the credentials of a server are lowered with.
pub(super) struct Surroundings<'s> {
    pub(super) raw: &'s RawConfig,
    pub(super) server: &'s RawServer,
    pub(super) issuers: &'s [IssuerPlan],
}

/// The credentials of one server's upstream.
pub(super) struct Lowered {
    pub(super) credentials: Credentials,
    pub(super) exchanges: Vec<ExchangePlan>,
    pub(super) forward_headers: ForwardHeaders,
}

/// Lowers what the upstream of a server is shown; `None` after a fault.
pub(super) fn lower(lowering: &mut Lowering<'_>, around: &Surroundings<'_>) -> Option<Lowered> {
    let upstream = &around.server.upstream;
    let mut exchanges = Vec::new();
    let default = match &upstream.credential {
        Some(raw) if raw.value.tools.is_empty() => credential(lowering, around, raw, &mut exchanges),
        Some(raw) => {
            let message = "`credential` serves calls without a group of their own: tools stand in `credentials`";
            lowering.fault(Code::UpstreamInvalid, raw.place, message);
            None
        }
        None => Some(None),
    };
    let mut groups = Vec::new();
    let mut whole = true;
    for raw in &upstream.credentials {
        match credential(lowering, around, raw, &mut exchanges) {
            Some(credential) => groups.push(CredentialGroup {
                tools: raw
                    .value
                    .tools
                    .iter()
                    .map(|tool| Box::from(tool.value.as_str()))
                    .collect(),
                credential,
            }),
            None => whole = false,
        }
        if raw.value.tools.is_empty() {
            let message = "a group of `credentials` names its `tools`; what serves all others is `credential`";
            lowering.fault(Code::UpstreamInvalid, raw.place, message);
            whole = false;
        }
    }
    let listing = match &upstream.listing_credential {
        Some(raw) => listing(lowering, around, raw).map(Some),
        None => Some(None),
    };
    let forward_headers = forward_headers(lowering, around, upstream.forward_headers.as_ref());
    let listing = listing?;
    let default = default.filter(|_| whole)?;
    match Credentials::new(default, groups) {
        Ok(credentials) => Some(Lowered {
            credentials: match listing {
                Some(named) => credentials.listed_with(named),
                None => credentials,
            },
            exchanges,
            forward_headers: forward_headers?,
        }),
        Err(error) => {
            lowering.fault(Code::UpstreamInvalid, place(around.server, &error), error.to_string());
            None
        }
    }
}

/// Where to look for what makes credentials unusable.
pub(super) fn place(server: &RawServer, error: &CredentialsError) -> Place {
    let upstream = &server.upstream;
    let written = upstream.credentials.iter().flat_map(|raw| &raw.value.tools);
    let tool = match error {
        CredentialsError::ScopesMissing { tool, .. } => tool.as_deref(),
        CredentialsError::Shared { second, .. } => Some(&**second),
        CredentialsError::ToolRepeated(tool) | CredentialsError::ToolUnmapped(tool) => Some(&**tool),
    };
    let named = written
        .rev()
        .find(|name| tool == Some(&*name.value))
        .map(|name| name.place);
    let default = upstream.credential.as_ref().map(|raw| raw.place);
    let url = upstream.written().next().map(|url| url.place);
    named.or(default).or(url).unwrap_or(server.name.place)
}

/// The credential of the gate's own listings: what is made for no caller.
fn listing(
    lowering: &mut Lowering<'_>,
    around: &Surroundings<'_>,
    raw: &At<RawCredential>,
) -> Option<Option<UpstreamCredential>> {
    let message = if !raw.value.tools.is_empty() {
        "`listing_credential` serves the gate's own listings: tools stand in `credentials`"
    } else if raw.value.exchange.is_some() {
        "`listing_credential` is no `exchange`: the gate lists for itself, and has no caller's token to exchange"
    } else if raw.value.danger_shared_upstream_identity {
        "`danger_shared_upstream_identity` is for secrets of tools: the gate's own listings serve no caller"
    } else {
        return credential(lowering, around, raw, &mut Vec::new());
    };
    lowering.fault(Code::UpstreamInvalid, raw.place, message);
    None
}

/// One credential; `None` after a fault, `Some(None)` where nothing is shown.
fn credential(
    lowering: &mut Lowering<'_>,
    around: &Surroundings<'_>,
    raw: &At<RawCredential>,
    exchanges: &mut Vec<ExchangePlan>,
) -> Option<Option<UpstreamCredential>> {
    let written = &raw.value;
    let is_secret = written.value_file.is_some() || written.value_env.is_some();
    match (written.none, is_secret, &written.exchange, &written.assertion) {
        (true, false, None, None) if written.header.is_none() => Some(None),
        (false, false, Some(exchange), None) => {
            let terms = self::exchange(lowering, around, exchange, exchanges)?;
            shown(lowering, raw, "exchange", CredentialKind::Exchange(terms)).map(Some)
        }
        (false, false, None, Some(assertion)) => {
            let terms = self::assertion(lowering, around, assertion)?;
            shown(lowering, raw, "assertion", CredentialKind::Assertion(terms)).map(Some)
        }
        (false, _, None, None) => secret(lowering, raw).map(Some),
        _ => {
            let message = "a credential is one of `none: true`, a secret (`value_file` or `value_env`), `exchange` and \
                           `assertion`";
            lowering.fault(Code::UpstreamInvalid, raw.place, message);
            None
        }
    }
}

/// A token or a statement in its header.
fn shown(
    lowering: &mut Lowering<'_>,
    raw: &At<RawCredential>,
    label: &str,
    kind: CredentialKind,
) -> Option<UpstreamCredential> {
    if raw.value.danger_shared_upstream_identity {
        let message = "`danger_shared_upstream_identity` stands beside a secret: this is made for each caller";
        lowering.fault(Code::UpstreamInvalid, raw.place, message);
        return None;
    }
    let header = match &raw.value.header {
        Some(written) => header(lowering, written)?,
        None => AUTHORIZATION,
    };
    Some(UpstreamCredential {
        label: Arc::from(raw.value.label.as_ref().map_or(label, |label| &label.value)),
        header,
        kind,
    })
}

fn secret(lowering: &mut Lowering<'_>, raw: &At<RawCredential>) -> Option<UpstreamCredential> {
    let Some(written) = &raw.value.header else {
        lowering.fault(
            Code::UpstreamInvalid,
            raw.place,
            "a secret needs the `header` that carries it",
        );
        return None;
    };
    let header = header(lowering, written)?;
    let value = lowering.secret(raw.value.value_file.as_ref(), raw.value.value_env.as_ref(), raw.place)?;
    if value.is_empty() || HeaderValue::from_str(&value).is_err() {
        let message = "the credential is empty or no header value";
        lowering.fault(Code::SecretMissing, raw.place, message);
        return None;
    }
    let label = raw.value.label.as_ref().map_or(header.as_str(), |label| &label.value);
    Some(UpstreamCredential {
        label: Arc::from(label),
        header,
        kind: CredentialKind::Static {
            value,
            danger_shared_identity: raw.value.danger_shared_upstream_identity,
        },
    })
}

fn header(lowering: &mut Lowering<'_>, written: &At<String>) -> Option<HeaderName> {
    match HeaderName::try_from(written.value.as_str()) {
        Ok(name) if !is_framing(&name) && !is_protocol(&name) => Some(name),
        Ok(_) | Err(_) => {
            let message = format!("`{}` is no header that can carry a credential", written.value);
            lowering.fault(Code::UpstreamInvalid, written.place, message);
            None
        }
    }
}

fn exchange(
    lowering: &mut Lowering<'_>,
    around: &Surroundings<'_>,
    raw: &At<RawExchange>,
    exchanges: &mut Vec<ExchangePlan>,
) -> Option<ExchangeTerms> {
    let written = &raw.value;
    let issuer = exchanging_issuer(lowering, around, raw)?;
    let url = written.token_endpoint.as_ref();
    if let Some(url) = url
        && !may_come_from(&issuer.url, &url.value)
    {
        let message = format!("`{}` cannot be asked for tokens", url.value);
        let help = "an https URL without fragment, or http on loopback for an issuer on loopback";
        lowering.fault_with(Code::IssuerInvalid, url.place, message, Some(help));
        return None;
    }
    if url.is_none() && (issuer.jwks_uri.is_some() || !issuer.issuer.needs_keys()) {
        let message = "`exchange` needs its `token_endpoint`: metadata is not asked for where `jwks_uri` is given, or where \
                       no keys are needed";
        lowering.fault(Code::IssuerInvalid, raw.place, message);
        return None;
    }
    if written.audience.is_none() && written.resource.is_none() {
        let message = "`exchange` needs `audience`, `resource` or both: a token for everybody would be asked for";
        lowering.fault(Code::UpstreamInvalid, raw.place, message);
        return None;
    }
    if matches!(issuer.issuer.identity(), IdentityForm::HumanClaim(_)) {
        let message = "tokens of form `human_claim` are the agent's: in exchange the upstream sees the agent, and not the \
                       person that the record names";
        lowering.warn(
            Warning::ExchangeAgent,
            raw.place,
            message,
            "show an `assertion` instead, which names both",
        );
    }
    let client = WrittenClient {
        secret_file: written.client_secret_file.as_ref(),
        secret_env: written.client_secret_env.as_ref(),
        private_key_file: written.private_key_file.as_ref(),
        key_id: written.key_id.as_ref(),
    };
    let authentication = authentication(lowering, "exchange", raw.place, &client)?;
    let url: Option<Arc<str>> = url.map(|url| Arc::from(url.value.as_str()));
    let client_id: Arc<str> = Arc::from(written.client_id.value.as_str());
    // By names alone: one client may prove itself in several ways.
    let proof = [
        client.secret_file,
        client.secret_env,
        client.private_key_file,
        client.key_id,
    ];
    let proof = proof.map(|name| name.map_or("", |name| name.value.as_str())).join(" ");
    let source: Arc<str> = Arc::from(format!(
        "{} {} {client_id} {proof} {}",
        issuer.url,
        url.as_deref().unwrap_or("metadata"),
        issuer.danger_allow_private_addresses,
    ));
    let terms = ExchangeTerms {
        issuer: Arc::clone(&issuer.url),
        source: Arc::clone(&source),
        audience: written
            .audience
            .as_ref()
            .map(|audience| Arc::from(audience.value.as_str())),
        resource: written
            .resource
            .as_ref()
            .map(|resource| Arc::from(resource.value.as_str())),
        scopes: match &written.scopes {
            Some(scopes) => Some(asked_scopes(lowering, scopes)?),
            None => None,
        },
        actor_token: match written.actor_token {
            true => Some(AssertionTerms {
                issuer: gate_issuer(lowering, around)?,
                audience: Arc::clone(&issuer.url),
                lifetime: ASSERTION_LIFETIME,
            }),
            false => None,
        },
    };
    exchanges.push(ExchangePlan {
        source,
        issuer: Arc::clone(&issuer.url),
        url,
        client_id,
        authentication,
    });
    Some(terms)
}

/// The issuer that was named, or the only one that the server accepts.
fn exchanging_issuer<'i>(
    lowering: &mut Lowering<'_>,
    around: &Surroundings<'i>,
    raw: &At<RawExchange>,
) -> Option<&'i IssuerPlan> {
    let (name, place) = match (&raw.value.issuer, &around.server.issuers[..]) {
        (Some(named), _) => (named.value.as_str(), named.place),
        (None, [only]) => (only.value.as_str(), raw.place),
        (None, _) => {
            let message = "`exchange` needs its `issuer`: the server accepts more than one";
            lowering.fault(Code::UpstreamInvalid, raw.place, message);
            return None;
        }
    };
    let found = around.issuers.iter().find(|plan| *plan.url == *name);
    let known: Vec<&str> = around
        .raw
        .issuers
        .iter()
        .map(|at| at.value.issuer.value.as_str())
        .collect();
    // An issuer that has its own fault is still a known name.
    if found.is_none() && !known.contains(&name) {
        let help = nearest(name, &known).map(|near| format!("did you mean `{near}`?"));
        let message = format!("the issuer `{name}` is not in the list `issuers`");
        lowering.fault_with(Code::IssuerUnknown, place, message, help.as_deref());
    }
    let accepted: Vec<&str> = around.server.issuers.iter().map(|at| at.value.as_str()).collect();
    if found.is_some() && !accepted.contains(&name) {
        let message = format!("the issuer `{name}` is not one of the server's: it knows none of the callers' tokens");
        let help = nearest(name, &accepted).map(|near| format!("did you mean `{near}`?"));
        lowering.fault_with(Code::IssuerUnknown, place, message, help.as_deref());
        return None;
    }
    found
}

fn asked_scopes(lowering: &mut Lowering<'_>, written: &At<Vec<At<String>>>) -> Option<Arc<[Box<str>]>> {
    if let Some(wrong) = written.value.iter().find(|scope| !is_scope(&scope.value)) {
        let message = format!("`{}` is no scope", wrong.value);
        lowering.fault(Code::UpstreamInvalid, wrong.place, message);
        return None;
    }
    let mut scopes: Vec<Box<str>> = written
        .value
        .iter()
        .map(|scope| Box::from(scope.value.as_str()))
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    Some(scopes.into())
}

fn assertion(lowering: &mut Lowering<'_>, around: &Surroundings<'_>, raw: &At<RawAssertion>) -> Option<AssertionTerms> {
    let lifetime = match &raw.value.lifetime {
        Some(span) => {
            let whole = span.value.0.subsec_nanos() == 0;
            if !whole || span.value.0 < Duration::from_secs(1) || ASSERTION_LIFETIME_MAX < span.value.0 {
                let message = "expected whole seconds from 1s to 600s";
                lowering.fault(Code::InvalidValue, span.place, message);
                return None;
            }
            span.value.0
        }
        None => ASSERTION_LIFETIME,
    };
    if raw.value.audience.value.is_empty() {
        let message = "a statement for nobody would be one for everybody";
        lowering.fault(Code::UpstreamInvalid, raw.value.audience.place, message);
        return None;
    }
    Some(AssertionTerms {
        issuer: gate_issuer(lowering, around)?,
        audience: Arc::from(raw.value.audience.value.as_str()),
        lifetime,
    })
}

/// Who the gate is to its upstreams: as configured, or the origin of the server's resource.
fn gate_issuer(lowering: &mut Lowering<'_>, around: &Surroundings<'_>) -> Option<Arc<str>> {
    if let Some(written) = &around.raw.assertion_issuer {
        if may_come_from(&written.value, &written.value) {
            return Some(Arc::from(written.value.as_str()));
        }
        let message = format!("`{}` is no URL of an issuer", written.value);
        let help = "an https URL without query and fragment, or http on loopback";
        lowering.fault_with(Code::InvalidValue, written.place, message, Some(help));
        return None;
    }
    // Without a resource the server has a fault of its own.
    let resource = &around.server.resource.as_ref()?.value;
    let (scheme, rest) = resource.split_once("://")?;
    let authority = rest.split('/').next()?;
    Some(Arc::from(format!("{scheme}://{authority}")))
}

fn forward_headers(
    lowering: &mut Lowering<'_>,
    around: &Surroundings<'_>,
    raw: Option<&RawForwardHeaders>,
) -> Option<ForwardHeaders> {
    let Some(raw) = raw else {
        return Some(ForwardHeaders::default());
    };
    let upstream = &around.server.upstream;
    let shown = upstream.credential.iter().chain(&upstream.credentials);
    let shown = shown.chain(&upstream.listing_credential);
    let shown: Vec<&str> = shown
        .filter_map(|raw| raw.value.header.as_ref())
        .map(|name| &*name.value)
        .collect();
    let hops = around
        .raw
        .trusted_hops
        .iter()
        .map(|hop| &*hop.client_certificate.header.value);
    let owned: Vec<&str> = shown.into_iter().chain(hops).collect();
    let request = crossing(lowering, &raw.request, |name| {
        let credential = matches!(name, "authorization" | "cookie" | "dpop" | "proxy-authorization");
        let tells = TRUSTED.contains(&name) || TRUSTED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let trusted = tells || owned.iter().any(|owned| owned.eq_ignore_ascii_case(name));
        credential || trusted
    });
    let response = crossing(lowering, &raw.response, |name| {
        name.starts_with("access-control-") || OWN_ANSWERS.contains(&name)
    });
    Some(ForwardHeaders {
        request: request?,
        response: response?,
    })
}

/// The names of fields that cross; `None` after a fault.
fn crossing(
    lowering: &mut Lowering<'_>,
    written: &[At<String>],
    refused: impl Fn(&str) -> bool,
) -> Option<Arc<[HeaderName]>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for at in written {
        // Servers that make a variable of a field's name take `_` for `-`.
        let plain = !at.value.contains('_');
        let name = HeaderName::try_from(at.value.as_str()).ok().filter(|_| plain);
        let name = name.filter(|name| !is_framing(name) && !is_protocol(name) && !refused(name.as_str()));
        let Some(name) = name else {
            let message = format!("`{}` is no header that may cross", at.value);
            let help = "credentials, framing, `mcp-*`, `portcullis-*` and what tells who calls belong to the gate";
            lowering.fault_with(Code::UpstreamInvalid, at.place, message, Some(help));
            return None;
        };
        if !names.contains(&name) && !CROSSING.contains(&name.as_str()) {
            names.push(name);
        }
    }
    Some(names.into())
}

/// Fields of one connection or of the body's framing (RFC 9110 section 7.6.1), which the gate writes itself.
fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [&str; 17] = [
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    FRAMING.contains(&name.as_str())
}

/// Fields that the protocol owns, or the gate.
fn is_protocol(name: &HeaderName) -> bool {
    const OWNED: [&str; 3] = ["mcp-", "portcullis-", "x-portcullis-"];
    OWNED.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Fields that cross in any case; and one that never does, since nothing is resumed.
const CROSSING: [&str; 3] = ["accept-language", "last-event-id", "user-agent"];

/// Fields by which hops, and servers behind them, tell who calls and from where: the client could write them.
const TRUSTED: [&str; 12] = [
    "cf-connecting-ip",
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "remote-email",
    "remote-groups",
    "remote-name",
    "remote-user",
    "true-client-ip",
    "x-authenticated-user",
    "x-client-ip",
    "x-real-ip",
];

/// How the names of such fields begin.
const TRUSTED_PREFIXES: [&str; 9] = [
    "cf-access-",
    "ssl-client-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
    "x-remote-",
    "x-ssl-",
];

/// Fields of an answer that the gate writes itself, or that would act on the gate's own clients.
const OWN_ANSWERS: [&str; 10] = [
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "dpop-nonce",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
];

/// The usual life of a statement: made for one call.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
/// The longest.
const ASSERTION_LIFETIME_MAX: Duration = Duration::from_secs(600);

//! How an issuer is asked about tokens: from what was written to the core's rules and the gate's own credentials.
//!
//! Owns the checks of `introspection`. Never keeps a secret outside a zeroized value, and never prints one.

use std::sync::Arc;

use portcullis_core::jwks::refresh::may_come_from;
use portcullis_core::token::{IntrospectedTokens, IntrospectionRules};

use super::diagnose::Code;
use super::lower::Lowering;
use super::raw::{At, Place, RawIntrospectedTokens, RawIntrospection, RawIssuer, RawRevocation};
use crate::background::assertion::{AssertionKey, ClientAuthentication};
use crate::background::introspect::IntrospectionPlan;

/// Lowers the question to an issuer; `None` after a fault, `Some(None)` when it is never asked.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    issuer: &RawIssuer,
) -> Option<Option<(IntrospectionRules, IntrospectionPlan)>> {
    let Some(raw) = &issuer.introspection else {
        return Some(None);
    };
    let tokens = match raw.value.tokens.as_ref().map(|tokens| tokens.value) {
        Some(RawIntrospectedTokens::All) => IntrospectedTokens::All,
        // A JWT is asked about beside its signature where that is how its revocation is learnt.
        Some(RawIntrospectedTokens::Opaque) | None => match issuer.revocation.as_ref().map(|mode| mode.value) {
            Some(RawRevocation::Introspect) => IntrospectedTokens::OpaqueAndRevoked,
            Some(RawRevocation::Feed | RawRevocation::None) | None => IntrospectedTokens::Opaque,
        },
    };
    check_url(lowering, issuer, raw, tokens)?;
    let client = WrittenClient {
        secret_file: raw.value.client_secret_file.as_ref(),
        secret_env: raw.value.client_secret_env.as_ref(),
        private_key_file: raw.value.private_key_file.as_ref(),
        key_id: raw.value.key_id.as_ref(),
    };
    let authentication = authentication(lowering, "introspection", raw.place, &client)?;
    let url = raw.value.url.as_ref().map(|url| Arc::from(url.value.as_str()));
    let client_id: Arc<str> = Arc::from(raw.value.client_id.value.as_str());
    let rules = IntrospectionRules {
        tokens,
        signed_for: raw.value.signed.then(|| Arc::clone(&client_id)),
        source: source(issuer, url.as_deref(), &client_id),
    };
    let plan = IntrospectionPlan {
        source: Arc::clone(&rules.source),
        url,
        client_id,
        authentication,
    };
    Some(Some((rules, plan)))
}

/// Where the issuer is asked, as whom, and by whose word: answers of another source are not used.
fn source(issuer: &RawIssuer, url: Option<&str>, client_id: &str) -> Arc<str> {
    Arc::from(format!(
        "{} {client_id} {} {}",
        url.unwrap_or("metadata"),
        issuer.danger_allow_private_addresses,
        issuer.ca.as_ref().map_or("system", |ca| &ca.value),
    ))
}

/// Checks where the issuer is asked; `None` after a fault.
fn check_url(
    lowering: &mut Lowering<'_>,
    issuer: &RawIssuer,
    raw: &At<RawIntrospection>,
    tokens: IntrospectedTokens,
) -> Option<()> {
    if let Some(url) = &raw.value.url {
        if !may_come_from(&issuer.issuer.value, &url.value) {
            let message = format!("`{}` cannot be asked about tokens", url.value);
            let help = "an https URL without fragment, or http on loopback for an issuer on loopback";
            lowering.fault_with(Code::IssuerInvalid, url.place, message, Some(help));
            return None;
        }
        return Some(());
    }
    let why = if issuer.jwks_uri.is_some() {
        "metadata is not asked for where `jwks_uri` is given"
    } else if tokens == IntrospectedTokens::All {
        "metadata is not asked for where `tokens: all` makes keys needless"
    } else {
        return Some(());
    };
    let message = format!("`introspection` needs its `url`: {why}");
    lowering.fault(Code::IssuerInvalid, raw.place, message);
    None
}

/// How a client proves itself, as written.
pub(super) struct WrittenClient<'w> {
    pub(super) secret_file: Option<&'w At<String>>,
    pub(super) secret_env: Option<&'w At<String>>,
    pub(super) private_key_file: Option<&'w At<String>>,
    pub(super) key_id: Option<&'w At<String>>,
}

/// The one proof of the client that was written in the section `section`; `None` after a fault.
pub(super) fn authentication(
    lowering: &mut Lowering<'_>,
    section: &str,
    place: Place,
    written: &WrittenClient<'_>,
) -> Option<ClientAuthentication> {
    match (written.secret_file, written.secret_env, written.private_key_file) {
        (Some(_), None, None) | (None, Some(_), None) => {
            let secret = lowering.secret(written.secret_file, written.secret_env, place)?;
            if secret.is_empty() {
                lowering.fault(Code::SecretMissing, place, "the client's secret is empty");
                return None;
            }
            Some(ClientAuthentication::Secret(secret))
        }
        (None, None, Some(file)) => {
            let pem = match lowering.files.read_secret_whole(&file.value) {
                Ok(pem) => pem,
                Err(error) => {
                    let message = format!("the private key `{}` cannot be read: {error}", file.value);
                    lowering.fault(Code::SecretMissing, file.place, message);
                    return None;
                }
            };
            let key_id = written.key_id.map(|id| id.value.clone());
            match AssertionKey::from_pem(&pem, key_id) {
                Ok(key) => Some(ClientAuthentication::Key(Arc::new(key))),
                Err(error) => {
                    let message = format!("the private key `{}` cannot be used: {error}", file.value);
                    lowering.fault(Code::SecretMissing, file.place, message);
                    None
                }
            }
        }
        _ => {
            let message = format!(
                "`{section}` needs exactly one of `client_secret_file`, `client_secret_env` and `private_key_file`"
            );
            lowering.fault(Code::SecretMissing, place, message);
            None
        }
    }
}

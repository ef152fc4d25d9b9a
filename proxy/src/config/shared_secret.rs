//! A server's `danger_shared_secret`: read, and held to this machine.
//!
//! Owns the check that nobody else can come to the gate of such a server. Never prints the secret.

use std::sync::Arc;

use portcullis_core::identity::{Grants, SharedSecret, SharedSecretError};

use super::diagnose::Code;
use super::lower::Lowering;
use super::raw::{At, RawConfig, RawSharedSecret};
use crate::listen::Listener;

/// The secret and whom it stands for; `None` after a fault.
pub(super) fn lower(lowering: &mut Lowering<'_>, raw: &At<RawSharedSecret>) -> Option<SharedSecret> {
    let RawSharedSecret {
        file,
        env,
        subject,
        scopes,
        groups,
        roles,
    } = &raw.value;
    if file.is_some() == env.is_some() {
        let message = "a shared secret needs either `file` or `env`";
        lowering.fault(Code::SecretMissing, raw.place, message);
        return None;
    }
    let secret = lowering.secret(file.as_ref(), env.as_ref(), raw.place)?;
    let boxes = |names: &[String]| names.iter().map(|name| Box::from(name.as_str())).collect();
    let grants = Grants {
        scopes: boxes(scopes),
        groups: boxes(groups),
        roles: boxes(roles),
    };
    match SharedSecret::new(&secret, Arc::from(subject.value.as_str()), grants) {
        Ok(secret) => Some(secret),
        Err(error) => {
            let place = match error {
                SharedSecretError::Subject => subject.place,
                SharedSecretError::Form | SharedSecretError::Short => raw.place,
            };
            lowering.fault(Code::SecretMissing, place, error.to_string());
            None
        }
    }
}

/// Notes a fault for every server with a shared secret that others than this machine could reach.
pub(super) fn check_reach(lowering: &mut Lowering<'_>, raw: &RawConfig, listeners: &[Listener]) {
    let outside = listeners.iter().find(|listener| !listener.address.ip().is_loopback());
    for server in &raw.servers {
        let Some(secret) = &server.value.danger_shared_secret else {
            continue;
        };
        let help = Some("listen on 127.0.0.1 or [::1] alone, or let clients bring tokens");
        if let Some(listener) = outside {
            let address = listener.address;
            let message =
                format!("`danger_shared_secret` is for this machine alone, and the gate listens on {address}");
            lowering.fault_with(Code::ServerInvalid, secret.place, message, help);
        }
        if !raw.trusted_hops.is_empty() {
            let message =
                "`danger_shared_secret` is for this machine alone, and `trusted_hops` bring clients of others";
            lowering.fault_with(Code::ServerInvalid, secret.place, message, help);
        }
        if raw.trusted_proxies.is_some() {
            let message =
                "`danger_shared_secret` is for this machine alone, and `trusted_proxies` bring clients of others";
            lowering.fault_with(Code::ServerInvalid, secret.place, message, help);
        }
    }
}

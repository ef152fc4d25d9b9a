//! `servers[].policy.bundle`: from what was written to a plan that can be fetched.
//!
//! Owns its checks and the reading of what was kept of it. Opens no connection.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use portcullis_core::bundle::fetch::FetchSettings;
use portcullis_core::bundle::{BundleLimits, Verification};
use portcullis_core::config::Limits;
use portcullis_core::jwks::{JwksLimits, KeySet};
use portcullis_core::policy::Policy;
use zeroize::Zeroizing;

use super::diagnose::Code;
use super::is_loopback;
use super::lower::Lowering;
use super::raw::{At, RawBundle, RawConfig, Span};
use super::tables::Tables;
use crate::background::policy::{ActivationError, BundlePlan, kept};
use crate::clock;

/// Lowers the bundle of the server `name` and compiles what was kept of it; `None` after a fault.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    at: &At<RawBundle>,
    name: &str,
    config: &RawConfig,
    tables: Option<&Tables>,
    memo_entries: usize,
) -> Option<(Arc<Policy>, BundlePlan)> {
    let raw = &at.value;
    let limits = BundleLimits::default();
    let is_url = check_url(lowering, &raw.url);
    let verification = verification(lowering, raw);
    let settings = settings(lowering, raw, limits.packed_bytes_max);
    let identity = match &raw.client_certificate {
        Some(written) => {
            let certificate = lowering.read(&written.value.certificate_file);
            let key = lowering.files.read_secret_whole(&written.value.key_file.value);
            if let Err(error) = &key {
                let file = &written.value.key_file;
                let message = format!("the file `{}` cannot be read: {error}", file.value);
                lowering.fault(Code::FileUnreadable, file.place, message);
            }
            let pem = [certificate?.as_bytes(), b"\n", key.ok()?.as_bytes()].concat();
            Some(Arc::new(Zeroizing::new(pem)))
        }
        None => None,
    };
    let ca_pem = match &raw.ca {
        Some(file) => Some(Arc::from(lowering.read(file)?)),
        None => None,
    };
    let state = config
        .state_dir
        .as_ref()
        .map_or("state", |folder| folder.value.as_str());
    let tables = tables?;
    let tables = [
        tables.tools().ok()?.to_json(),
        tables.prompts().ok()?.to_json(),
        tables.resources().ok()?.to_json(),
    ];
    let mut plan = BundlePlan {
        server: Arc::from(name),
        url: Arc::from(raw.url.value.as_str()),
        verification: verification?,
        settings: settings?,
        limits,
        token_file: raw.token_file.as_ref().map(|file| lowering.files.path(&file.value)),
        identity,
        ca_pem,
        folder: lowering.files.path(state).join("bundles").join(folder_name(name)),
        danger_allow_rollback: raw.danger_allow_rollback,
        tables: Arc::new(tables),
        workers: lowering.workers,
        memo_entries,
        loaded: None,
    };
    if !is_url {
        return None;
    }
    match kept(&plan) {
        Ok(Some((policy, ruling))) => {
            plan.loaded = Some(ruling);
            Some((policy, plan))
        }
        Ok(None) => Some((Arc::new(Policy::absent()), plan)),
        Err(error @ ActivationError::History(_)) => {
            let message = format!("server `{name}`: {error}: it lies in `{}`", plan.folder.display());
            lowering.fault(Code::FileUnreadable, at.place, message);
            None
        }
        Err(error) => {
            tracing::warn!(server = name, %error, "the kept policy bundle cannot be used");
            Some((Arc::new(Policy::absent()), plan))
        }
    }
}

/// Whether the URL is one that rules may come from, or a fault.
fn check_url(lowering: &mut Lowering<'_>, url: &At<String>) -> bool {
    let parsed = url.value.parse::<Uri>().ok();
    let good = parsed.is_some_and(|uri| match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_loopback(host),
        _ => false,
    });
    if !good {
        lowering.fault_with(
            Code::InvalidValue,
            url.place,
            "the URL of a bundle is https, or http on loopback: who changes a bundle on its way changes the policy",
            Some("write `url: https://bundles.example.com/crm.tar.gz`"),
        );
    }
    good
}

/// The keys; the outer `None` is a fault.
fn verification(lowering: &mut Lowering<'_>, raw: &RawBundle) -> Option<Option<Arc<Verification>>> {
    let Some(file) = &raw.keys else {
        let idle = raw.key_id.as_ref().or(raw.scope.as_ref());
        if let Some(idle) = idle {
            let message = "`key_id` and `scope` are of a signature: without `keys` none is verified";
            lowering.fault_with(Code::InvalidValue, idle.place, message, Some("write `keys: keys.jwks`"));
            return None;
        }
        return Some(None);
    };
    let text = lowering.read(file)?;
    let limits = Limits::default();
    let bounds = JwksLimits {
        bytes_max: limits.jwks_bytes_max,
        keys_max: limits.jwks_keys_max,
    };
    match KeySet::parse(text.as_bytes(), &bounds, clock::now()) {
        Ok(keys) => Some(Some(Arc::new(Verification {
            keys,
            key_id: raw.key_id.as_ref().map(|id| Box::from(id.value.as_str())),
            scope: Box::from(raw.scope.as_ref().map_or("", |scope| scope.value.as_str())),
        }))),
        Err(error) => {
            let message = format!("the key set `{}` cannot be used: {error}", file.value);
            lowering.fault(Code::InvalidValue, file.place, message);
            None
        }
    }
}

fn settings(lowering: &mut Lowering<'_>, raw: &RawBundle, bytes_max: usize) -> Option<FetchSettings> {
    let delay_min = span(
        lowering,
        raw.poll_min.as_ref(),
        "poll_min",
        POLL,
        "1s to 24h",
        POLL_MIN_DEFAULT,
    );
    let default = delay_min.unwrap_or(POLL_MIN_DEFAULT).saturating_mul(2).min(*POLL.end());
    let delay_max = span(lowering, raw.poll_max.as_ref(), "poll_max", POLL, "1s to 24h", default);
    let long_poll = match &raw.long_poll {
        Some(written) => Some(span(
            lowering,
            Some(written),
            "long_poll",
            LONG_POLL,
            "1s to 10m",
            Duration::ZERO,
        )?),
        None => None,
    };
    let (delay_min, delay_max) = (delay_min?, delay_max?);
    if let Some(written) = raw.poll_max.as_ref().filter(|_| delay_max < delay_min) {
        lowering.fault(
            Code::InvalidValue,
            written.place,
            "`poll_max` is shorter than `poll_min`",
        );
        return None;
    }
    Some(FetchSettings {
        delay_min,
        delay_max,
        long_poll,
        fetch_deadline: FETCH_DEADLINE,
        bytes_max,
        deltas: raw.keys.is_none(),
    })
}

/// A time within its bounds, or a fault.
pub(super) fn span(
    lowering: &mut Lowering<'_>,
    written: Option<&At<Span>>,
    name: &str,
    bounds: RangeInclusive<Duration>,
    shown: &str,
    default: Duration,
) -> Option<Duration> {
    match written {
        None => Some(default),
        Some(written) if bounds.contains(&written.value.0) => Some(written.value.0),
        Some(written) => {
            lowering.fault(Code::InvalidValue, written.place, format!("`{name}` is from {shown}"));
            None
        }
    }
}

/// The name of a server as that of a folder: what is no plain letter is spelt by its number.
fn folder_name(server: &str) -> String {
    let mut name = String::new();
    for byte in server.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

const POLL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
const LONG_POLL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const POLL_MIN_DEFAULT: Duration = Duration::from_secs(60);
/// A whole bundle of the largest size, on a slow line.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

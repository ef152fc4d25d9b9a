//! What operators may ask and do: the admin listener, the control plane, and where revocations come from and are kept.
//!
//! Owns the checks of `admin`, `state_dir`, `revocation_file` and `issuers[].revocation`. The control plane is off unless
//! it is written, and has no form in which anybody may act unnamed. Never keeps a bearer, only its digest.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::sha256;
use portcullis_core::token::{Issuer, RevocationMode};

use super::diagnose::Code;
use super::lower::{Lowering, socket_address};
use super::raw::{At, RawAdmin, RawConfig, RawControl, RawControlToken, RawRevocation};
use super::{Config, trust};
use crate::listen::Listener;
use crate::tls;

/// Everything of the configuration that operators use.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Operators {
    /// Where metrics and health are told; `None` for nowhere.
    pub pages: Option<SocketAddr>,
    /// Where operators act; `None` for nowhere.
    pub control: Option<ControlPlan>,
    /// The folder of what must survive a restart.
    pub state_dir: Option<PathBuf>,
    /// The watched file of revocations.
    pub revocation_file: Option<PathBuf>,
}

/// The control plane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ControlPlan {
    /// Where it listens.
    pub place: ControlPlace,
    /// Who may act by a bearer; empty where the peer is known otherwise.
    pub tokens: Vec<ControlToken>,
}

/// Where the control plane listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ControlPlace {
    /// On a TCP port, on loopback or with TLS.
    Tcp(Listener),
    /// On a Unix socket for the gate's own user, who is told by the system.
    Unix(PathBuf),
}

/// A bearer of the control plane.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct ControlToken {
    /// Its name: the author in records.
    pub name: Arc<str>,
    /// Its SHA-256 digest.
    pub sha256: [u8; 32],
}

/// Tells the name only.
impl fmt::Debug for ControlToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ControlToken({})", self.name)
    }
}

/// Lowers what operators use; faults are noted.
pub(super) fn lower(lowering: &mut Lowering<'_>, raw: &RawConfig) -> Operators {
    let mut operators = Operators {
        state_dir: raw.state_dir.as_ref().map(|name| lowering.files.path(&name.value)),
        revocation_file: raw
            .revocation_file
            .as_ref()
            .map(|name| lowering.files.path(&name.value)),
        ..Operators::default()
    };
    if let Some(admin) = &raw.admin {
        if admin.value.address.is_none() && admin.value.control.is_none() {
            let message = "`admin` needs `address`, `control` or both";
            lowering.fault(Code::ListenerInvalid, admin.place, message);
        }
        operators.pages = pages(lowering, &admin.value);
        operators.control = admin
            .value
            .control
            .as_ref()
            .and_then(|control| self::control(lowering, control));
    }
    check_ways(lowering, raw);
    operators
}

/// How the gate learns of revoked tokens of an issuer; `None` after a fault.
pub(super) fn revocation(
    lowering: &mut Lowering<'_>,
    written: Option<&At<RawRevocation>>,
    is_asked: bool,
) -> Option<RevocationMode> {
    let Some(written) = written else {
        return Some(RevocationMode::None);
    };
    match written.value {
        RawRevocation::Feed => Some(RevocationMode::Feed),
        RawRevocation::Introspect if is_asked => Some(RevocationMode::Introspect),
        RawRevocation::Introspect => {
            let message = "`revocation: introspect` needs `introspection`: how the issuer is asked";
            lowering.fault(Code::IssuerInvalid, written.place, message);
            None
        }
        RawRevocation::None => Some(RevocationMode::None),
    }
}

/// For how long a token of the issuer still works after it was revoked, at worst.
pub(crate) fn worst_case(config: &Config, issuer: &Issuer) -> String {
    let limits = &config.limits;
    let (mode, worst) = match issuer.revocation() {
        RevocationMode::Feed => (
            "feed",
            "until the next request, and in an open stream for up to 1s, once the feed is told".to_owned(),
        ),
        RevocationMode::Introspect => (
            "introspect",
            format!(
                "for up to {}, so long an answer of the issuer serves, and in an open stream until it ends",
                span(limits.introspection_cached_max)
            ),
        ),
        RevocationMode::None => (
            "none",
            format!(
                "for up to {} and the leeway of {}: until it expires",
                span(issuer.token_lifetime_max().unwrap_or(limits.token_lifetime_max)),
                span(limits.leeway)
            ),
        ),
    };
    format!(
        "a revoked token of `{}` still works {worst} (`revocation: {mode}`)",
        issuer.url()
    )
}

/// A time as the configuration writes it, in the largest unit that tells it whole.
fn span(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units
        .into_iter()
        .find(|(length, _)| millis != 0 && millis.is_multiple_of(*length));
    match unit {
        Some((length, name)) => format!("{}{name}", millis / length),
        None => format!("{millis}ms"),
    }
}

/// Revocations need a way in and a place to stay.
fn check_ways(lowering: &mut Lowering<'_>, raw: &RawConfig) {
    let control = raw.admin.as_ref().and_then(|admin| admin.value.control.as_ref());
    let feed = raw
        .issuers
        .iter()
        .filter_map(|issuer| issuer.value.revocation.as_ref())
        .find(|mode| mode.value == RawRevocation::Feed);
    if let (Some(feed), None, None) = (feed, control, &raw.revocation_file) {
        lowering.fault_with(
            Code::IssuerInvalid,
            feed.place,
            "`revocation: feed` has no way in: nothing could tell the gate what was revoked",
            Some("write `revocation_file: FILE`, or `admin: {control: {unix: PATH}}`"),
        );
    }
    let wants = [
        feed.map(|feed| feed.place),
        control.map(|control| control.place),
        raw.revocation_file.as_ref().map(|file| file.place),
    ];
    if let (None, Some(place)) = (&raw.state_dir, wants.into_iter().flatten().next()) {
        lowering.fault_with(
            Code::MissingKey,
            place,
            "revocations need `state_dir`, or a restart would forget them",
            Some("write `state_dir: FOLDER` at the top; only one gate may use it"),
        );
    }
}

/// The address of the pages; `None` without one and after a fault. They ask for no token, so they are reached from this
/// machine alone unless that was waived.
fn pages(lowering: &mut Lowering<'_>, raw: &RawAdmin) -> Option<SocketAddr> {
    let written = raw.address.as_ref()?;
    let help = "write it like `127.0.0.1:9901` or `[::1]:0`";
    let address = socket_address(lowering, written, help)?;
    if !raw.danger_public && !address.ip().to_canonical().is_loopback() {
        let message = format!("the admin address `{address}` is not on loopback, and the listener asks for no token");
        let help = "listen on loopback and put what authenticates its callers in front of it, \
                    or set `danger_public: true` here";
        lowering.fault_with(Code::ListenerInvalid, written.place, message, Some(help));
        return None;
    }
    Some(address)
}

/// The control plane; `None` after a fault.
fn control(lowering: &mut Lowering<'_>, raw: &At<RawControl>) -> Option<ControlPlan> {
    let RawControl {
        unix,
        address,
        tls,
        tokens,
    } = &raw.value;
    match (unix, address) {
        (Some(unix), None) if tls.is_none() && tokens.is_empty() => {
            let path = lowering.files.path(&unix.value);
            if let Err(error) = UnixAddress::from_pathname(&path) {
                let message = format!("`{}` is no path of a socket: {error}", unix.value);
                lowering.fault(Code::ListenerInvalid, unix.place, message);
                return None;
            }
            Some(ControlPlan {
                place: ControlPlace::Unix(path),
                tokens: Vec::new(),
            })
        }
        (Some(unix), None) => {
            let message = "a Unix socket takes neither `tls` nor `tokens`: the system tells who acts";
            lowering.fault(Code::ListenerInvalid, unix.place, message);
            None
        }
        (None, Some(address)) => over_tcp(lowering, address, raw),
        (Some(_), Some(_)) | (None, None) => {
            let message = "`control` needs either `unix` or `address`";
            lowering.fault(Code::ListenerInvalid, raw.place, message);
            None
        }
    }
}

fn over_tcp(lowering: &mut Lowering<'_>, written: &At<String>, raw: &At<RawControl>) -> Option<ControlPlan> {
    let help = "write it like `127.0.0.1:9902` or `[::1]:0`";
    let address = socket_address(lowering, written, help)?;
    let files = match &raw.value.tls {
        Some(tls) => Some(trust::tls(lowering, tls)?),
        None => None,
    };
    if let Some(Err(error)) = files.as_ref().map(tls::settings) {
        lowering.fault(Code::ListenerInvalid, written.place, error.to_string());
        return None;
    }
    let knows_peers = files.as_ref().is_some_and(|files| files.client.is_some());
    if raw.value.tokens.is_empty() && !knows_peers {
        lowering.fault_with(
            Code::ListenerInvalid,
            written.place,
            "nobody is named who may act: the control plane has neither `tokens` nor `tls.client_ca`",
            Some("write `tokens: [{name: NAME, file: FILE}]`, or use `unix` in place of `address`"),
        );
        return None;
    }
    if files.is_none() && !address.ip().to_canonical().is_loopback() {
        let message = format!("the control address `{address}` is not on loopback: a bearer would travel in the clear");
        lowering.fault_with(
            Code::ListenerInvalid,
            written.place,
            message,
            Some("add `tls`, or listen on loopback"),
        );
        return None;
    }
    let mut tokens: Vec<ControlToken> = Vec::new();
    for raw in &raw.value.tokens {
        let token = token(lowering, raw)?;
        if tokens.iter().any(|known| known.name == token.name) {
            let message = format!("the token `{}` stands twice", token.name);
            lowering.fault(Code::Repeated, raw.name.place, message);
            return None;
        }
        tokens.push(token);
    }
    Some(ControlPlan {
        place: ControlPlace::Tcp(Listener { address, tls: files }),
        tokens,
    })
}

/// A bearer from its file; `None` after a fault.
fn token(lowering: &mut Lowering<'_>, raw: &RawControlToken) -> Option<ControlToken> {
    let secret = lowering.secret(Some(&raw.file), None, raw.file.place)?;
    let visible = secret.bytes().all(|byte| byte.is_ascii_graphic());
    if secret.len() < TOKEN_BYTES_MIN || !visible {
        let message = format!(
            "the bearer in `{}` is shorter than {TOKEN_BYTES_MIN} bytes or no bearer",
            raw.file.value
        );
        let help = "make one: head -c 32 /dev/urandom | base64 -w 0 > FILE";
        lowering.fault_with(Code::SecretMissing, raw.file.place, message, Some(help));
        return None;
    }
    let name = &raw.name.value;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the name of a token is empty or holds other characters than visible ASCII";
        lowering.fault(Code::InvalidValue, raw.name.place, message);
        return None;
    }
    Some(ControlToken {
        name: Arc::from(name.as_str()),
        sha256: sha256(secret.as_bytes()),
    })
}

/// A bearer with less is guessed or chosen by a person.
const TOKEN_BYTES_MIN: usize = 32;

//! The configuration as written: one YAML file, read strictly.
//!
//! Owns the shape of the file (its parts in the modules below) and the texts of its JSON Schema: the comment of a field is what `portcullis config
//! schema` prints for its key. Unknown keys, repeated keys and merge keys are refused. Never judges a value and never
//! opens another file: that is `lower`'s.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

pub(crate) use bundle::RawBundle;
pub(crate) use issuer::{
    RawForm, RawIdentity, RawIntrospectedTokens, RawIntrospection, RawIssuer, RawMachineMark, RawRevocation,
    RawRolesFrom, RawScopeForm,
};
pub(crate) use limits::RawLimits;
pub(crate) use listen::{
    RawAdmin, RawCertificateForm, RawClientCertificates, RawControl, RawControlToken, RawHopCertificate, RawListener,
    RawProxyFields, RawTls, RawTrustedHop, RawTrustedProxies,
};
pub(crate) use server::{
    RawAffinity, RawAssertion, RawCredential, RawDeny, RawDenyStyle, RawDpop, RawExchange, RawForwardHeaders,
    RawHealth, RawMachine, RawMachineKind, RawOnChange, RawPolicy, RawServer, RawSharedSecret, RawUpstream,
    RawUpstreamTls,
};
pub(crate) use tables::{RawPrompts, RawResources, RawScopeRow, RawTools};

mod bundle;
mod issuer;
mod limits;
mod listen;
mod server;
mod tables;

/// The configuration of Portcullis. Paths are relative to the folder of this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of Portcullis")]
pub(crate) struct RawConfig {
    /// The name of this gate in audit records. Default: `portcullis`.
    pub node: Option<At<String>>,
    /// Where clients connect; at least one.
    pub listen: Vec<RawListener>,
    /// Where operators and their tools ask for metrics and health, and where operators act. Default: nowhere.
    pub admin: Option<At<RawAdmin>>,
    /// Where decisions are recorded.
    pub audit: RawAudit,
    /// The gate's own keys. Default: in the folder `keys` beside this file.
    pub keys: Option<RawKeys>,
    /// The authorization servers whose tokens may be accepted; at least one.
    pub issuers: Vec<At<RawIssuer>>,
    /// The protected MCP servers; at least one.
    pub servers: Vec<At<RawServer>>,
    /// The URL by which upstreams know the gate as the issuer of its statements about callers: `iss` in them. Default:
    /// the origin of the server's resource.
    pub assertion_issuer: Option<At<String>>,
    /// Certificate authorities (PEM) of upstreams, in place of the system's. Read again on SIGHUP.
    pub upstream_ca: Option<At<String>>,
    /// Hops in front of the gate, such as a balancer that ends TLS, that tell the client's certificate in a header; from
    /// everybody else that header is not read. Taken up by a restart alone. Default: none.
    #[serde(default)]
    pub trusted_hops: Vec<RawTrustedHop>,
    /// Proxies in front of the gate that are believed about where a request came from. Taken up by a restart alone. Default:
    /// none.
    pub trusted_proxies: Option<RawTrustedProxies>,
    /// The folder of what must survive a restart: revocations, and which tools were accepted. Made when it is absent; only
    /// one gate may use it. Required with `revocation: feed`, `revocation_file` and `admin.control`; default for the tools
    /// alone: `state` beside this file.
    pub state_dir: Option<At<String>>,
    /// A file of revocations, one JSON object a line as `POST /revocations` takes it; read again whenever it changes.
    pub revocation_file: Option<At<String>>,
    /// Bounds; each has a safe default.
    pub limits: Option<RawLimits>,
}

/// The audit log.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAudit {
    /// The folder of the log's segments; made when it is absent. Only one gate may write to it.
    pub directory: At<String>,
    /// A file with the 32-byte key of argument digests and principal ids, in hexadecimal, in place of the key `digests`
    /// of `keys`. Who has it can test guesses of arguments. `portcullis keys init` makes it when it is absent. Default:
    /// none.
    pub digest_key: Option<At<String>>,
}

/// The gate's own keys.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKeys {
    /// The folder of the keys, one file a purpose; `portcullis keys init` makes what is missing, and a gate does not start
    /// before. Replicas that serve the same clients need the same keys.
    pub directory: At<String>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// A line and a column of a file, both counted from 1.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: spanned.referenced.into(),
        })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A time span, written `500ms`, `10s`, `5m` or `24h`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub Duration);

impl Span {
    /// Reads digits and a unit; `None` for anything else and for what does not fit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (digits, unit) = text.split_at_checked(end)?;
        let count: u64 = digits.parse().ok()?;
        let millis = match unit {
            "ms" => Some(count),
            "s" => count.checked_mul(1_000),
            "m" => count.checked_mul(60_000),
            "h" => count.checked_mul(3_600_000),
            _ => None,
        };
        millis.map(|millis| Self(Duration::from_millis(millis)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time such as `500ms`, `10s`, `5m` or `24h`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(SpanVisitor)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Span")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"})
    }
}

/// Reads one strict YAML (or JSON) document: no unknown, repeated or merge key, `true` and `false` alone are booleans.
///
/// # Errors
/// The parser's error, with its place; `diagnose` turns it into a diagnostic.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

//! The configuration as written: one YAML file, read strictly.
//!
//! Owns the shape of the file and the texts of its JSON Schema: the comment of a field is what `portcullis config
//! schema` prints for its key. Unknown keys, repeated keys and merge keys are refused. Never judges a value and never
//! opens another file: that is `lower`'s.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The configuration of Portcullis. Paths are relative to the folder of this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of Portcullis")]
pub(crate) struct RawConfig {
    /// The name of this gate in audit records. Default: `portcullis`.
    pub node: Option<At<String>>,
    /// Where clients connect; at least one.
    pub listen: Vec<RawListener>,
    /// Where operators and their tools ask for metrics and health. Default: nowhere.
    pub admin: Option<RawAdmin>,
    /// Where decisions are recorded.
    pub audit: RawAudit,
    /// The authorization servers whose tokens may be accepted; at least one.
    pub issuers: Vec<At<RawIssuer>>,
    /// The protected MCP servers; at least one.
    pub servers: Vec<At<RawServer>>,
    /// Certificate authorities (PEM) of upstreams, in place of the system's.
    pub upstream_ca: Option<At<String>>,
    /// Hops in front of the gate, such as a balancer that ends TLS, that tell the client's certificate in a header; from
    /// everybody else that header is not read. Taken up by a restart alone. Default: none.
    #[serde(default)]
    pub trusted_hops: Vec<RawTrustedHop>,
    /// Bounds; each has a safe default.
    pub limits: Option<RawLimits>,
}

/// One listening address.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListener {
    /// IP address and port, such as `127.0.0.1:8080` or `[::1]:8080`; port 0 takes a free one.
    pub address: At<String>,
    /// TLS of this listener; without it the listener speaks plain HTTP.
    pub tls: Option<RawTls>,
}

/// The admin listener: `/metrics`, `/livez` and `/readyz` in plain HTTP, without a token. Taken up by a restart alone.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    /// IP address on loopback and port, such as `127.0.0.1:9901`; port 0 takes a free one.
    pub address: At<String>,
    /// Lets the address be one that other machines reach: whoever does can read how much the gate is used, and when.
    #[serde(default)]
    pub danger_public: bool,
}

/// TLS files of a listener, in PEM.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    /// The certificate chain, the gate's own certificate first.
    pub certificate: At<String>,
    /// The private key of the first certificate.
    pub key: At<String>,
    /// Certificate authorities of clients. When set, a client without a certificate of theirs is refused.
    pub client_ca: Option<At<String>>,
}

/// The audit log.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAudit {
    /// The folder of the log's segments; made when it is absent. Only one gate may write to it.
    pub directory: At<String>,
    /// The file with the 32-byte key of argument digests and principal ids, in hexadecimal; made with mode 0600 from
    /// the system's randomness when it is absent. Who has it can test guesses of arguments. Default: `digest.key` in
    /// the log's folder.
    pub digest_key: Option<At<String>>,
}

/// One authorization server.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIssuer {
    /// The issuer exactly as tokens name it in `iss`: an https URL, or http on loopback.
    pub issuer: At<String>,
    /// Accepted signature algorithms, such as `[RS256, ES256]`. Default: all but ES384, whose
    /// verification is slow enough to be flooded with.
    pub algorithms: Option<Vec<At<String>>>,
    /// The URL of the key set. Default: found through the issuer's metadata (RFC 8414, then OpenID Connect).
    pub jwks_uri: Option<At<String>>,
    /// How tokens of this issuer name the human and the agent. Default: form `act`.
    pub identity: Option<RawIdentity>,
    /// The claim that holds the subject's groups, a name or, starting with `/`, a JSON Pointer. Default: `groups`.
    pub groups_claim: Option<At<String>>,
    /// The claim that holds the subject's roles, likewise. Default: `roles`.
    pub roles_claim: Option<At<String>>,
    /// How this issuer is asked about tokens that are no JWT (RFC 7662). Default: never; such tokens are refused.
    pub introspection: Option<At<RawIntrospection>>,
    /// Certificate authorities (PEM) for fetches from this issuer, in place of the system's.
    pub ca: Option<At<String>>,
    /// Accepts tokens whose header `typ` is `JWT` or absent, for issuers that do not follow RFC 9068. An ID token is
    /// then told from an access token by its audience and claims alone.
    #[serde(default)]
    pub danger_accept_any_jwt: bool,
    /// Lets keys and metadata be fetched from private, link-local and loopback addresses. Whoever can change the
    /// issuer's metadata or its name's addresses can then make the gate ask hosts of the inner network.
    #[serde(default)]
    pub danger_allow_private_addresses: bool,
}

/// How an issuer is asked about tokens. The gate proves itself there by a secret or by a private key; neither stands in
/// this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIntrospection {
    /// The URL of the introspection endpoint. Default: `introspection_endpoint` of the issuer's metadata.
    pub url: Option<At<String>>,
    /// The tokens that it is asked about. Default: `opaque`.
    pub tokens: Option<At<RawIntrospectedTokens>>,
    /// The client that the gate is to the issuer.
    pub client_id: At<String>,
    /// The file whose first line is the client's secret.
    pub client_secret_file: Option<At<String>>,
    /// The environment variable that holds the client's secret.
    pub client_secret_env: Option<At<String>>,
    /// The file with the client's private key (PEM, PKCS #8; Ed25519, P-256 or RSA), for `private_key_jwt`.
    pub private_key_file: Option<At<String>>,
    /// The `kid` of that key.
    pub key_id: Option<At<String>>,
    /// Demands signed answers (RFC 9701). Default: plain JSON is asked for, and a signed answer is refused.
    #[serde(default)]
    pub signed: bool,
}

/// The tokens that an issuer is asked about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawIntrospectedTokens {
    /// Every token: signatures are not checked, the issuer's word alone decides, and its keys are not fetched.
    All,
    /// Tokens that are no JWT; a JWT proves itself by its signature.
    Opaque,
}

/// How a token names the human and the agent.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIdentity {
    /// Which of the three forms the issuer's tokens have.
    pub form: At<RawForm>,
    /// For `listed_agents`: the client ids that are agents.
    pub agents: Option<Vec<At<String>>>,
    /// For `human_claim`: the claim that carries the human's subject.
    pub claim: Option<At<String>>,
}

/// The forms of identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawForm {
    /// The token has an `act` claim when an agent acts (RFC 8693 section 4.1).
    Act,
    /// An agent's token whose claim carries the human.
    HumanClaim,
    /// A user's token whose `client_id` or `azp` is a listed agent.
    ListedAgents,
}

/// One protected MCP server.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServer {
    /// The server's name in records, policy input and logs.
    pub name: At<String>,
    /// The name for people in the resource's metadata.
    pub title: Option<At<String>>,
    /// The tenant of its callers. Default: `default`.
    pub tenant: Option<At<String>>,
    /// The path of the gate's endpoint, such as `/crm/mcp`.
    pub path: At<String>,
    /// The public URL of this endpoint: the audience that tokens must name (RFC 8707). Required.
    pub resource: Option<At<String>>,
    /// Further accepted audiences.
    #[serde(default)]
    pub audiences: Vec<At<String>>,
    /// By issuer: the audiences that its tokens may name, in place of `resource` and `audiences`. For issuers that
    /// name a resource in words of their own, such as an application's id.
    #[serde(default)]
    pub issuer_audiences: BTreeMap<String, At<Vec<At<String>>>>,
    /// Further accepted values of `Host`; the resource's own is always accepted.
    #[serde(default)]
    pub hosts: Vec<At<String>>,
    /// Accepted values of `Origin`: the web pages that may call. Default: none.
    #[serde(default)]
    pub origins: Vec<At<String>>,
    /// The accepted issuers, each one of the list `issuers`. Required.
    #[serde(default)]
    pub issuers: Vec<At<String>>,
    /// Where calls go.
    pub upstream: RawUpstream,
    /// The tools and the scopes they need. Required: a tool without a row is refused.
    pub tools: Option<At<RawTools>>,
    /// The policy that decides. Required.
    pub policy: Option<At<RawPolicy>>,
    /// The rate of one subject. Default: 50 calls a second, 100 at once.
    pub rate: Option<At<RawRate>>,
    /// What is asked of the senders of tokens. A token that is bound to a key or a certificate is held to that anyway.
    pub dpop: Option<RawDpop>,
}

/// Proofs of possession (RFC 9449).
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDpop {
    /// Refuses tokens that are not bound to a key by `cnf.jkt`. Default: false.
    #[serde(default)]
    pub required: bool,
    /// Asks for a nonce of the gate in each proof: a proof made beforehand is then of no use. Default: false.
    #[serde(default)]
    pub nonce: bool,
}

/// A hop in front of the gate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTrustedHop {
    /// The networks or addresses that it connects from, such as `[10.0.0.0/8, 192.0.2.7]`. Whoever can connect from
    /// there can name any client's certificate.
    pub addresses: Vec<At<String>>,
    /// Where it tells the client's certificate, which it has verified. It must take the same header out of what clients
    /// send.
    pub client_certificate: RawHopCertificate,
}

/// The header in which a hop tells the client's certificate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHopCertificate {
    /// The header, such as `client-cert`. Empty or absent, the client has no certificate.
    pub header: At<String>,
    /// How the certificate stands in it.
    pub form: RawCertificateForm,
}

/// The forms of a certificate in a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawCertificateForm {
    /// PEM with percent-encoding, as nginx's `$ssl_client_escaped_cert`.
    PemUrlEncoded,
    /// RFC 9440: DER in base64 between colons.
    Rfc9440,
    /// SHA-256 of the DER form, 64 hexadecimal digits.
    Sha256Hex,
}

/// The MCP server behind the gate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstream {
    /// The URL of its MCP endpoint.
    pub url: At<String>,
    /// The name in records. Default: the server's name.
    pub name: Option<At<String>>,
    /// What the gate shows in place of the client's token. Default: nothing.
    pub credential: Option<At<RawCredential>>,
}

/// A secret header for an upstream. The secret itself never stands in this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCredential {
    /// The name in records. Default: the header's name.
    pub label: Option<At<String>>,
    /// The header, such as `authorization`.
    pub header: At<String>,
    /// The file whose first line is the header's value, such as `Bearer ...`.
    pub value_file: Option<At<String>>,
    /// The environment variable that holds the header's value.
    pub value_env: Option<At<String>>,
}

/// The tool table: here, or in a file of the same shape.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTools {
    /// A YAML or JSON file with `rows` and `scope_implies`.
    pub file: Option<At<String>>,
    /// The tools by name.
    #[serde(default)]
    pub rows: BTreeMap<String, RawToolRow>,
    /// Scopes that include others, such as `repo: [repo:read]`.
    #[serde(default)]
    pub scope_implies: BTreeMap<String, Vec<String>>,
    /// Lets tools without a row through to the policy, with no scope required.
    #[serde(default)]
    pub danger_unmapped_tools: bool,
}

/// One tool.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawToolRow {
    /// The scopes that a call needs, all of them; `[]` asks for none.
    pub scopes: Vec<String>,
    /// The tool's class for the policy, such as `read` or `write`.
    pub class: Option<String>,
}

/// The policy: Rego modules and their data.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPolicy {
    /// The Rego files; together they define `data.portcullis.request.decision` and `data.portcullis.response.decision`.
    #[serde(default)]
    pub files: Vec<At<String>>,
    /// JSON files whose members become `data`; `tools` comes from the tool table alone.
    #[serde(default)]
    pub data: Vec<At<String>>,
}

/// A token bucket.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRate {
    /// Calls a second in the long run, at least 1.
    pub per_second: u32,
    /// Calls at once, at least 1.
    pub burst: u32,
}

/// Bounds of the gate. Numbers are bytes or counts; times are written `500ms`, `10s`, `5m` or `24h`.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    /// Bytes of a request's head. Default: 32768.
    pub header_bytes_max: Option<At<u32>>,
    /// Fields of a request's head. Default: 100.
    pub headers_max: Option<At<u32>>,
    /// Time until a request's head is whole. Default: 10s.
    pub header_deadline: Option<At<Span>>,
    /// Bytes of a request's body. Default: 1048576.
    pub body_bytes_max: Option<At<u32>>,
    /// Time until a request's body is whole. Default: 30s.
    pub body_deadline: Option<At<Span>>,
    /// Nesting of a JSON document. Default: 64.
    pub json_depth_max: Option<At<u32>>,
    /// Members and elements of a JSON document, all levels together. Default: 10000.
    pub json_members_max: Option<At<u32>>,
    /// Bytes of an access token, and of a proof of possession. Default: 16384.
    pub token_bytes_max: Option<At<u32>>,
    /// Bytes of a tool's name. Default: 128.
    pub tool_name_bytes_max: Option<At<u32>>,
    /// Time of one policy evaluation. Default: 5ms.
    pub policy_deadline: Option<At<Span>>,
    /// Instructions of one policy evaluation. Default: 25000.
    pub policy_instructions_max: Option<At<u32>>,
    /// Bytes of a key set or of issuer metadata. Default: 262144.
    pub jwks_bytes_max: Option<At<u32>>,
    /// Keys of a key set. Default: 100.
    pub jwks_keys_max: Option<At<u32>>,
    /// Time of one fetch from an issuer. Default: 5s.
    pub fetch_deadline: Option<At<Span>>,
    /// Least time between two fetches that an unknown `kid` asks for, per issuer. Default: 30s.
    pub unknown_kid_interval: Option<At<Span>>,
    /// How long a request waits for the fetch that its unknown `kid` asked for. Default: 1s.
    pub unknown_kid_wait: Option<At<Span>>,
    /// Time between two regular fetches of a key set, when the issuer names none. Default: 5m.
    pub jwks_refresh: Option<At<Span>>,
    /// Age at which a key set serves no longer. Default: 1h.
    pub jwks_age_max: Option<At<Span>>,
    /// Longest `exp - iat` of a token. Default: 24h.
    pub token_lifetime_max: Option<At<Span>>,
    /// Tolerated clock difference to an issuer, at most 5m. Default: 1m.
    pub leeway: Option<At<Span>>,
    /// Verified tokens that are remembered. Default: 100000.
    pub tokens_cached_max: Option<At<u32>>,
    /// Age at which a proof of possession (DPoP) is too old, and how long one nonce is given out. Default: 5m.
    pub dpop_age_max: Option<At<Span>>,
    /// Proofs of possession that are remembered until then, so that none serves twice. Default: 1000000.
    pub dpop_proofs_max: Option<At<u32>>,
    /// Proofs of one key that are remembered: bounds the calls of one client within `dpop_age_max`. Default: 20000.
    pub dpop_proofs_per_key_max: Option<At<u32>>,
    /// Time of one question to an issuer about a token. Default: 1s.
    pub introspection_deadline: Option<At<Span>>,
    /// Bytes of its answer. Default: 65536.
    pub introspection_bytes_max: Option<At<u32>>,
    /// How long its answer that a token is active serves: so long a revoked token may still work. Default: 1m.
    pub introspection_cached_max: Option<At<Span>>,
    /// How long its answer that a token is not active serves. Default: 5s.
    pub introspection_refused_cached: Option<At<Span>>,
    /// Tokens a second of one issuer and one source (an address, or a /64 of version 6) that may fail their
    /// verification, in the long run; beyond that the source's new tokens get 429. Default: 10.
    pub failed_tokens_per_second: Option<At<u32>>,
    /// Such tokens at once. Default: 100.
    pub failed_tokens_burst: Option<At<u32>>,
    /// Bytes of a JSON answer or of one event of a stream. Default: 8388608.
    pub answer_bytes_max: Option<At<u32>>,
    /// Time until the upstream's head. Default: 1m.
    pub upstream_first_byte_deadline: Option<At<Span>>,
    /// Silence after which a stream is ended. Default: 5m.
    pub stream_idle_deadline: Option<At<Span>>,
    /// Streams held open at once. Default: 10000.
    pub streams_max: Option<At<u32>>,
    /// Audit records on their way to the log. Default: 65536.
    pub audit_queue_records: Option<At<u32>>,
    /// How long a request waits for its record to be durable. Default: 100ms.
    pub audit_deadline: Option<At<Span>>,
    /// Depth of an `act` chain. Default: 4.
    pub act_depth_max: Option<At<u32>>,
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
    fn parse(text: &str) -> Option<Self> {
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

//! One protected MCP server, as written: its upstream, its tools and its policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{At, RawBundle, RawPrompts, RawResources, RawTools, Span};

/// One protected MCP server.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServer {
    /// The server's name in records, policy input and logs.
    pub name: At<String>,
    /// The name for people in the resource's metadata.
    pub title: Option<At<String>>,
    /// The only tenant whose callers it serves: a token that names another is refused. Default: whichever the token
    /// names, and `default` when it names none.
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
    /// The prompts and the scopes they need; `scope_implies` of the tools holds for them too. Default: none, and every
    /// prompt is refused.
    pub prompts: Option<At<RawPrompts>>,
    /// The resources and the scopes they need; `scope_implies` of the tools holds for them too. Default: none, and every
    /// resource is refused.
    pub resources: Option<At<RawResources>>,
    /// The policy that decides. Required.
    pub policy: Option<At<RawPolicy>>,
    /// What becomes of a tool whose definition is not the one that was accepted: reported, or also withheld until
    /// `portcullis tools accept`. The first list that the gate sees is accepted. Default: report.
    pub tools_changed: Option<RawOnChange>,
    /// Time between two listings of the upstream's tools by the gate itself, from 1s to 24h. Default: 5m.
    pub tools_refresh: Option<At<Span>>,
    /// Names of query parameters that clients may send, each once; their values are neither read nor logged nor
    /// forwarded. Default: none, and any query is refused.
    #[serde(default)]
    pub query_names: Vec<At<String>>,
    /// A secret that stands for one caller in place of a token, from this machine alone: every listener must be on
    /// loopback. Whoever has it is that caller, and no record tells who it was.
    pub danger_shared_secret: Option<At<RawSharedSecret>>,
    /// How the policy's refusals are told.
    pub deny: Option<RawDeny>,
    /// The rate of one subject through one client. Default: 50 calls a second, 100 at once.
    pub rate: Option<At<RawRate>>,
    /// What is asked of the senders of tokens. A token that is bound to a key or a certificate is held to that anyway.
    pub dpop: Option<RawDpop>,
    /// Machines that the server knows by name, and what each may do. Default: none.
    #[serde(default)]
    pub machine_identities: Vec<At<RawMachine>>,
}

/// What a changed definition of a tool means.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawOnChange {
    /// It is logged, counted and recorded; the tool may be called.
    Report,
    /// The tool is neither listed nor called either.
    Withhold,
}

/// One machine: either the URI name of a certificate, or a client that gets tokens for itself.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMachine {
    /// The one URI name of its certificate, such as `spiffe://prod.example/agents/reporter`, exactly. A request with that
    /// certificate needs no token.
    pub uri: Option<At<String>>,
    /// The `client_id` of a client whose tokens for itself, not those of people, get what stands here.
    pub client: Option<At<String>>,
    /// The issuer of that client, required when the server has several.
    pub issuer: Option<At<String>>,
    /// What it is to the policy. Default: machine.
    pub kind: Option<RawMachineKind>,
    /// Its scopes. With a token that has scopes, those that stand in both.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Its groups, in place of a token's.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its roles, in place of a token's.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// What a machine is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawMachineKind {
    /// Software that acts for others.
    Agent,
    /// Software that speaks for itself.
    Machine,
}

/// A shared secret, and whom it stands for. The secret itself never stands in this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSharedSecret {
    /// The file whose first line is the secret: at least 32 bytes, as a bearer token is written.
    pub file: Option<At<String>>,
    /// The environment variable that holds the secret.
    pub env: Option<At<String>>,
    /// The subject that it stands for.
    pub subject: At<String>,
    /// The scopes that this caller has.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Its groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// How the policy's refusals are told to callers; the records tell the true reason in any style.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDeny {
    /// The form of a refusal. Default: http.
    pub style: RawDenyStyle,
}

/// The form of a refusal by the policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawDenyStyle {
    /// HTTP 403 with a JSON-RPC error; missing scopes are told by a challenge.
    Http,
    /// A refused call of a tool, and its withheld answer, as a tool's result that is an error, with HTTP 200: the model
    /// can read it. Missing scopes are told by a challenge.
    ToolError,
    /// As if there were no such tool, prompt or resource (JSON-RPC -32602), also where scopes are missing: no challenge
    /// then tells a client which scopes to ask for.
    Hidden,
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

/// The MCP server behind the gate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstream {
    /// The URL of its MCP endpoint. Either this or `urls`.
    pub url: Option<At<String>>,
    /// The URLs of several endpoints that can each answer every call, at most 64: calls go to them in turn, those of a
    /// session to the one that opened it. All by https, or all by http.
    #[serde(default)]
    pub urls: Vec<At<String>>,
    /// What leads a session back, where the name of an endpoint has several addresses: the address that opened it, or the
    /// endpoint, any address of which will do since they share their sessions. Default: address.
    pub session_affinity: Option<RawAffinity>,
    /// TLS of https endpoints. Default: the authorities of `upstream_ca`, and no certificate of the gate's.
    pub tls: Option<At<RawUpstreamTls>>,
    /// Asks each endpoint whether it is well, beside what calls find. Default: calls alone.
    pub health: Option<At<RawHealth>>,
    /// The name in records. Default: the server's name.
    pub name: Option<At<String>>,
    /// What the gate shows in place of the client's token, for calls that name no tool and for tools that stand in no
    /// group of `credentials`. Default: nothing.
    pub credential: Option<At<RawCredential>>,
    /// Credentials of single tools and groups of tools, in place of `credential`.
    #[serde(default)]
    pub credentials: Vec<At<RawCredential>>,
    /// What the gate shows when it lists the tools itself, for no caller: `none: true`, a secret, or a statement about the
    /// gate. Default: the secret or the statement of `credential`; nothing where that is an exchange.
    pub listing_credential: Option<At<RawCredential>>,
    /// Fields that cross beside those that MCP needs. Default: none.
    pub forward_headers: Option<RawForwardHeaders>,
}

impl RawUpstream {
    /// The URLs, in the order they stand.
    pub(crate) fn written(&self) -> impl Iterator<Item = &At<String>> {
        self.url.iter().chain(&self.urls)
    }
}

/// What a session is bound to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawAffinity {
    /// The address that opened it. When the name no longer has it, and has several others, the session is unknown.
    Address,
    /// The endpoint: its addresses share their sessions.
    Endpoint,
}

/// TLS towards an upstream, files in PEM. Read again on SIGHUP.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstreamTls {
    /// Certificate authorities of the endpoints, in place of `upstream_ca` and the system's.
    pub ca_file: Option<At<String>>,
    /// The gate's certificate for them. Default: none.
    pub client_certificate: Option<At<RawUpstreamCertificate>>,
    /// The name that their certificates must have. Default: the host of each URL.
    pub server_name: Option<At<String>>,
}

/// The gate's certificate for an upstream.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstreamCertificate {
    /// The certificate chain, the gate's own certificate first.
    pub certificate_file: At<String>,
    /// The private key of the first certificate.
    pub key_file: At<String>,
}

/// A question to each endpoint in the background.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHealth {
    /// How often, from 1s to 1h. Default: 10s.
    pub interval: Option<At<Span>>,
    /// A path that is asked for by HTTP/1.1, without a credential: a status of 2xx is well. Default: a connection, with TLS
    /// where the endpoint has it, is enough.
    pub path: Option<At<String>>,
}

/// Fields that cross beside those that MCP needs, each way. One that is repeated or that `Connection` names does not.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawForwardHeaders {
    /// From the client to the upstream, such as `traceparent`. The client may write into them whatever it likes.
    #[serde(default)]
    pub request: Vec<At<String>>,
    /// From the upstream to the client.
    #[serde(default)]
    pub response: Vec<At<String>>,
}

/// A credential for an upstream: nothing, a secret, a token in exchange for the client's, or a statement of the gate
/// about who calls. No secret ever stands in this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCredential {
    /// The tools that are called with it; in `credentials` alone, and required there. Each has a row, and one group.
    #[serde(default)]
    pub tools: Vec<At<String>>,
    /// The name in records. Default: the header's name for a secret, else `exchange` or `assertion`.
    pub label: Option<At<String>>,
    /// Shows nothing. Default: false.
    #[serde(default)]
    pub none: bool,
    /// The header that carries it. Required for a secret. Default for a token or a statement: `authorization`, as a
    /// bearer token; any other header holds the bare token.
    pub header: Option<At<String>>,
    /// The file whose first line is the header's value, such as `Bearer ...`.
    pub value_file: Option<At<String>>,
    /// The environment variable that holds the header's value.
    pub value_env: Option<At<String>>,
    /// Lets one secret serve tools whose scopes are of different families (the part of a scope before its first `:`, `.`
    /// or `/`): who may call one of them then calls with the rights of all. Default: false.
    #[serde(default)]
    pub danger_shared_upstream_identity: bool,
    /// Exchanges the client's token for one of the upstream's (RFC 8693).
    pub exchange: Option<At<RawExchange>>,
    /// States who calls in a token that the gate signs; its public keys are served at `/.well-known/jwks.json`.
    pub assertion: Option<At<RawAssertion>>,
}

/// A token exchange (RFC 8693).
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawExchange {
    /// The issuer, one of the list `issuers`; the tokens of others are never shown to it. Default: the only one that the
    /// server accepts.
    pub issuer: Option<At<String>>,
    /// The URL of its token endpoint. Default: `token_endpoint` of its metadata.
    pub token_endpoint: Option<At<String>>,
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
    /// The upstream by the issuer's name for it. `audience`, `resource` or both are required.
    pub audience: Option<At<String>>,
    /// The upstream by its URL (RFC 8707).
    pub resource: Option<At<String>>,
    /// The scopes that are asked for. Default: those that the tool requires, and those alone; calls that name no tool
    /// require none, so that `upstream.credential` must say them.
    pub scopes: Option<At<Vec<At<String>>>>,
    /// Names who acts for the subject in a token that the gate signs (RFC 8693 section 2.1), for issuers that cannot
    /// tell it from the client's token. Default: false.
    #[serde(default)]
    pub actor_token: bool,
}

/// A statement of the gate about who calls.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAssertion {
    /// The upstream: `aud`.
    pub audience: At<String>,
    /// How long it may be used, in whole seconds, at most 10m. Default: 1m.
    pub lifetime: Option<At<Span>>,
}

/// The policy: Rego modules and their data.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPolicy {
    /// A bundle in OPA's format, in place of `files` and `data`. Until there is one, every call is refused with 503.
    pub bundle: Option<At<RawBundle>>,
    /// How often `files` and `data` are looked at, from 500ms to 1h: once one has changed and rests, everything is read
    /// again as on SIGHUP. Default: never.
    pub watch: Option<At<Span>>,
    /// The Rego files; together they define `data.portcullis.request.decision` and `data.portcullis.response.decision`.
    #[serde(default)]
    pub files: Vec<At<String>>,
    /// JSON files whose members become `data`; `tools`, `prompts` and `resources` come from the scope tables alone.
    #[serde(default)]
    pub data: Vec<At<String>>,
    /// The memory of decisions.
    pub memo: Option<At<RawMemo>>,
}

/// The memory of decisions: who asks the same again gets the same answer without the policy being asked.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawMemo {
    /// Answers that each worker remembers of this policy, at most 1000000; 0 turns it off. Default: 4096.
    pub entries: At<u32>,
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

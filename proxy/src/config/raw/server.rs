//! One protected MCP server, as written: its upstream, its tools and its policy.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::At;

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
    /// The policy that decides. Required.
    pub policy: Option<At<RawPolicy>>,
    /// Names of query parameters that clients may send, each once; their values are neither read nor logged nor
    /// forwarded. Default: none, and any query is refused.
    #[serde(default)]
    pub query_names: Vec<At<String>>,
    /// A secret that stands for one caller in place of a token, from this machine alone: every listener must be on
    /// loopback. Whoever has it is that caller, and no record tells who it was.
    pub danger_shared_secret: Option<At<RawSharedSecret>>,
    /// The rate of one subject. Default: 50 calls a second, 100 at once.
    pub rate: Option<At<RawRate>>,
    /// What is asked of the senders of tokens. A token that is bound to a key or a certificate is held to that anyway.
    pub dpop: Option<RawDpop>,
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

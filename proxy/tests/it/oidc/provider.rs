//! npm oidc-provider as a client of it meets it: tokens by credentials, by login and by refresh, proofs and revocation.
//!
//! Owns the process and the requests to it. Everything goes over loopback and through the provider's own endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_fixtures::dpop::DpopClient;
use portcullis_fixtures::http1::{Connection, Response, request};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::keys::base64url;
use serde_json::{Value, json};

use crate::interop::install::Parts;
use crate::interop::process::Process;

/// The one scope.
pub(super) const SCOPE: &str = "mcp:tools";
/// The machine that gets tokens by its credentials.
pub(super) const MACHINE: &str = "agent-1";
/// The same, whose tokens are bound to a key.
pub(super) const BOUND_MACHINE: &str = "agent-dpop";
/// An agent, which may call for itself, for people who log in through it, and for people whose token it exchanges.
pub(super) const AGENT: &str = "assistant-1";
/// The client through which people log in by themselves.
pub(super) const DESKTOP: &str = "desktop";
/// The client that the gate is.
pub(super) const GATEWAY_SECRET: &str = "gateway-secret";

/// A resource and the kind of its tokens: an algorithm, or `opaque`.
pub(super) type Resources<'r> = [(&'r str, &'r str)];

/// A running instance; dropping it ends it.
pub(super) struct Provider {
    pub(super) url: String,
    address: SocketAddr,
    _process: Process,
}

/// An answer of the token endpoint.
pub(super) struct Granted {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) kind: String,
}

impl Provider {
    /// Starts an instance on `port` (0 for a free one) with these keys, named by `kid` and `alg`; the first of an
    /// algorithm signs. Keys of the same name in the same folder are the same.
    pub(super) fn start(
        parts: &Parts,
        port: u16,
        folder: &Path,
        keys: &[(&str, &str)],
        resources: &Resources<'_>,
    ) -> Self {
        let keys: Vec<Value> = keys.iter().map(|(kid, alg)| json!({"kid": kid, "alg": alg})).collect();
        let resources: BTreeMap<&str, &str> = resources.iter().copied().collect();
        let plan = json!({
            "port": port, "folder": folder, "keys": keys, "scopes": [SCOPE], "resources": resources,
        });
        let mut process = Process::start("oidc-provider", &mut parts.node(&["provider.mjs", &plan.to_string()]));
        let url = process.await_line(Duration::from_secs(60), |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line.get("ready")?.as_str()?.to_owned())
        });
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            url,
            address,
            _process: process,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// A token that the machine gets for `resource` by its credentials.
    pub(super) fn machine(&self, resource: &str) -> Granted {
        self.credentials(MACHINE, resource)
    }

    /// A token that this client gets for itself.
    pub(super) fn credentials(&self, client: &str, resource: &str) -> Granted {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
            ("resource", resource),
        ];
        granted(&self.post("/token", &form, &[("authorization", &basic(client))]))
    }

    /// What the agent gets for a person's token (RFC 8693 section 2.1): in the form `human_claim` its own token with the
    /// person in the claim `initiator`, else the person's with the agent in `act`.
    pub(super) fn exchange(&self, token: &str, in_form: &str, resource: &str) -> Granted {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("form", in_form),
            ("resource", resource),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        granted(&self.post("/token", &form, &[("authorization", &basic(AGENT))]))
    }

    /// A token for `resource` that is bound to the key of `client`.
    pub(super) fn bound(&self, resource: &str, client: &DpopClient) -> Granted {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
            ("resource", resource),
        ];
        // No token yet, hence no hash of one (RFC 9449 section 4.2).
        let url = format!("{}/token", self.url);
        let proof = client.proof("POST", &url, "", now_s()).without("ath").sign();
        granted(&self.post(
            "/token",
            &form,
            &[("authorization", &basic(BOUND_MACHINE)), ("dpop", &proof)],
        ))
    }

    /// A token that `person` gets for `resource` by login, code and PKCE (RFC 7636).
    pub(super) fn login(&self, person: &str, resource: &str) -> Granted {
        self.login_through(DESKTOP, person, resource)
    }

    /// The same through this client.
    pub(super) fn login_through(&self, client: &str, person: &str, resource: &str) -> Granted {
        const CALLBACK: &str = "http://127.0.0.1/callback";
        let verifier = base64url(&[0x5a; 32]);
        let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        let query = form(&[
            ("client_id", client),
            ("code_challenge", &base64url(digest.as_ref())),
            ("code_challenge_method", "S256"),
            ("login_hint", person),
            ("redirect_uri", CALLBACK),
            ("resource", resource),
            ("response_type", "code"),
            ("scope", &format!("openid offline_access {SCOPE}")),
            ("prompt", "consent"),
        ]);
        let mut target = format!("/auth?{query}");
        let mut cookies: BTreeMap<String, String> = BTreeMap::new();
        let code = loop {
            let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let answer = self.send("GET", &target, &[("cookie", &jar.join("; "))], b"");
            let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
            for (_, cookie) in set {
                let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
                cookies.insert(name.to_owned(), value.to_owned());
            }
            let location = answer.header("location");
            let location = location.unwrap_or_else(|| panic!("{target}: {} {}", answer.status, answer.text()));
            if let Some(result) = location.strip_prefix(CALLBACK) {
                let code = result.split(['?', '&']).find_map(|pair| pair.strip_prefix("code="));
                break code.unwrap_or_else(|| panic!("{location}")).to_owned();
            }
            target = location.strip_prefix(&self.url).unwrap_or(location).to_owned();
        };
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", &code),
            ("code_verifier", &verifier),
            ("redirect_uri", CALLBACK),
            ("resource", resource),
        ];
        // People's own client is public.
        let authorization = basic(client);
        let headers = [("authorization", &*authorization)];
        let headers = if client == DESKTOP { &[][..] } else { &headers };
        granted(&self.post("/token", &form, headers))
    }

    /// The answer to a refresh token (RFC 6749 section 6).
    pub(super) fn refresh(&self, token: &str, resource: &str) -> Response {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "desktop"),
            ("refresh_token", token),
            ("resource", resource),
        ];
        self.post("/token", &form, &[])
    }

    /// Revokes a token of the machine (RFC 7009).
    pub(super) fn revoke(&self, token: &str) {
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = self.post("/token/revocation", &form, &[("authorization", &basic(MACHINE))]);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// What the provider says of a token to the gate's own client (RFC 7662).
    pub(super) fn introspect(&self, token: &str) -> Value {
        let gateway = STANDARD.encode(format!("gateway:{GATEWAY_SECRET}"));
        let authorization = format!("Basic {gateway}");
        let answer = self.post(
            "/token/introspection",
            &[("token", token)],
            &[("authorization", &authorization)],
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn post(&self, target: &str, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Response {
        let typed = [("content-type", "application/x-www-form-urlencoded")];
        let headers: Vec<(&str, &str)> = typed.iter().chain(headers).copied().collect();
        self.send("POST", target, &headers, form(parameters).as_bytes())
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let authority = self.address.to_string();
        let bytes = request(method, &authority, target, headers.iter().copied(), body);
        Connection::open(self.address).unwrap().exchange(&bytes).unwrap()
    }
}

/// The token of an answer, which must be one.
#[track_caller]
pub(super) fn granted(answer: &Response) -> Granted {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Granted {
        access: text("access_token"),
        refresh: text("refresh_token"),
        kind: text("token_type"),
    }
}

/// A part of a JWT, 0 for its header and 1 for its claims.
pub(super) fn part(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

fn basic(client: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{client}:machine-secret")))
}

fn form(parameters: &[(&str, &str)]) -> String {
    let encoded = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)));
    encoded.collect::<Vec<String>>().join("&")
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::json;
use crate::time::UnixTime;

mod answers;
mod differential;
mod directory;
mod explain;
mod inputs;
mod loading;
mod running;
mod sample;
mod trial;

/// A review that passes everything: the part of a policy that a test of requests does not look at.
const REVIEW: &str =
    "package portcullis.response\n\ndecision := {\"allow\": true, \"rule\": \"r\", \"reason\": \"\"}\n";

const LIMITS: EvalLimits = EvalLimits {
    deadline: Duration::from_secs(10),
    instructions: 100_000,
};

/// Ticks that advance by a fixed step at each look.
struct Steps {
    now_ns: AtomicU64,
    step_ns: u64,
}

impl Steps {
    fn of(step_ns: u64) -> Self {
        Self {
            now_ns: AtomicU64::new(0),
            step_ns,
        }
    }
}

impl Ticks for Steps {
    fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(self.step_ns, Ordering::Relaxed)
    }
}

/// A policy of one module for requests, from line 3 on, with the passing review.
fn source(rules: &str) -> PolicySource {
    let file = |name: &str, text: String| SourceFile {
        name: name.to_owned(),
        text,
    };
    PolicySource {
        modules: vec![
            file("request.rego", format!("package portcullis.request\n\n{rules}\n")),
            file("response.rego", REVIEW.to_owned()),
        ],
        data: vec![file("data.json", r#"{"list": ["a", "b"], "limit": 3}"#.to_owned())],
        tools_json: r#"{"t.read": {"class": "read"}}"#.to_owned(),
        ..PolicySource::default()
    }
}

/// Rules that allow by `allow`.
fn allowing(rules: &str) -> PolicySource {
    source(&format!(
        "{rules}\ndecision := {{\"allow\": true, \"rule\": \"a\", \"reason\": \"\"}} if allow"
    ))
}

/// The form of a call, without arguments.
fn call() -> RequestInput<'static> {
    RequestInput {
        tenant: "acme",
        request: Operation {
            protocol: "2025-11-25",
            method: "tools/call",
            tool: Some("t.read"),
            id_type: Some("number"),
            ..Operation::default()
        },
        tool: Some(Tool {
            class: Some("read"),
            required_scopes: Texts::Strs(&["read"]),
        }),
        subject: Party {
            id: "alice",
            issuer: "https://issuer.example",
            kind: "human",
            groups: Some(Texts::Strs(&["sales"])),
            roles: Some(Texts::Strs(&["analyst"])),
            scopes: Texts::Strs(&["read"]),
            claims: Some(r#"{"sub": "alice", "level": 2}"#),
        },
        actor: None,
        client_id: Some("client"),
        auth: Auth {
            acr: Some("high"),
            amr: Texts::Strs(&["otp"]),
            time: Some(UnixTime::from_secs(1_000)),
        },
        server: Server {
            name: "crm",
            resource: "https://gate.example/crm",
        },
        connection: Connection {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            client_cert_sha256: None,
        },
        time: UnixTime::from_secs(2_000),
    }
}

/// Decides a call with these arguments.
fn decide(source: &PolicySource, arguments: &str) -> Result<Decision, PolicyFailure> {
    decide_with(&Policy::compile(source, 1).unwrap(), arguments)
}

fn decide_with(policy: &Policy, arguments: &str) -> Result<Decision, PolicyFailure> {
    let mut scratch = json::Scratch::default();
    let limits = json::Limits {
        depth: 32,
        members: 1_000,
    };
    let document = json::parse(arguments.as_bytes(), &mut scratch, limits).unwrap();
    let mut input = call();
    input.request.arguments = Some(document.root());
    policy.decide(&input, &mut Worker::new(0), &LIMITS, &Steps::of(0))
}

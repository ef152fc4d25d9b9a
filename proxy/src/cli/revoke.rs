//! `portcullis revoke`: asks a running gate, over the Unix socket of its control plane, to revoke.
//!
//! Owns the command's arguments and its one HTTP exchange. Prints the entry in force, or the gate's own words on why there
//! is none; for a control plane on TCP any HTTP client will do.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::Exit;

/// What is revoked, and where.
#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// The socket of the gate's control plane: `admin.control.unix` of its configuration.
    #[arg(long, value_name = "SOCKET")]
    control: PathBuf,
    /// The issuer, exactly as its tokens name it.
    #[arg(long, value_name = "URL")]
    issuer: String,
    #[command(flatten)]
    target: Target,
    /// The one tenant in which it holds. Default: every tenant.
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// When the last token that is meant expires, in seconds since the epoch. Default: the longest lifetime from now.
    #[arg(long, value_name = "SECONDS")]
    expires: Option<u64>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// One token, by its `jti`.
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// Every token of a subject or actor, issued until now.
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Every token of a login, by its `sid`.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Every token of a client, issued until now.
    #[arg(long = "client", value_name = "ID")]
    client_id: Option<String>,
}

/// Revokes, and prints what is in force.
pub(super) fn revoke(arguments: &RevokeArguments) -> anyhow::Result<Exit> {
    let answer = UnixStream::connect(&arguments.control).and_then(|mut stream| {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        let body = body(arguments);
        let length = body.len();
        let head = format!(
            "POST /revocations HTTP/1.1\r\nhost: control\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        // The gate closes the connection after its answer.
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!(
                "portcullis: the control plane at `{}`: {error}",
                arguments.control.display()
            );
            return Ok(Exit::Unavailable);
        }
    };
    let status = answer.split(' ').nth(1).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    match status {
        "200" | "201" => {
            println!("{body}");
            Ok(Exit::Ok)
        }
        _ => {
            let problem: Value = serde_json::from_str(body).unwrap_or_default();
            let text = |member: &str| problem.get(member).and_then(Value::as_str).unwrap_or("no answer");
            eprintln!("portcullis: {}: {}", text("title"), text("detail"));
            Ok(match status.starts_with('4') {
                true => Exit::Invalid,
                false => Exit::Unavailable,
            })
        }
    }
}

/// The act as the control plane takes it.
fn body(arguments: &RevokeArguments) -> String {
    let target = &arguments.target;
    let texts = [
        ("issuer", Some(&arguments.issuer)),
        ("jti", target.jti.as_ref()),
        ("subject", target.subject.as_ref()),
        ("session", target.session.as_ref()),
        ("client_id", target.client_id.as_ref()),
        ("tenant", arguments.tenant.as_ref()),
        ("reason", arguments.reason.as_ref()),
    ];
    let mut members: Map<String, Value> = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))))
        .collect();
    if let Some(expires) = arguments.expires {
        members.insert("expires".to_owned(), expires.into());
    }
    Value::Object(members).to_string()
}

const DEADLINE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

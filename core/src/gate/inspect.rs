//! How the gate reads a body, without a request around it: for looking at clients and for comparing parsers.
//!
//! Owns [`Inspector`], which runs the very reading of the road. What it accepts is a message that could be judged; it
//! proves nothing, and whether anybody may send it is not asked. Never gives an argument.

use std::net::{IpAddr, Ipv4Addr};

use super::json_limits;
use crate::config::Limits;
use crate::denial::{Denial, DenyReason};
use crate::head::RequestHead;
use crate::json;
use crate::rpc::{self, CallLimits, Method, ProtocolVersion};

/// Reads one body after the other, each as if it came alone.
#[derive(Debug)]
pub struct Inspector {
    body_bytes_max: usize,
    limits: CallLimits,
    scratch: json::Scratch,
}

/// What an accepted body says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inspection {
    /// The revision that it is read by.
    pub version: ProtocolVersion,
    /// Its method; for an answer of a client the gate's own name of it. `None` for a batch.
    pub method: Option<Method>,
    /// How many messages a batch of 2025-03-26 holds, each of which was accepted; `None` for a single message.
    pub batch: Option<usize>,
    /// The tool that it calls, decoded, never trimmed or normalised.
    pub tool: Option<Box<str>>,
    /// The prompt that it names.
    pub prompt: Option<Box<str>>,
    /// The resource that it names.
    pub resource_uri: Option<Box<str>>,
}

impl Inspector {
    /// A reader within the limits of a gate.
    pub fn new(limits: &Limits) -> Self {
        Self {
            body_bytes_max: limits.body_bytes_max,
            limits: CallLimits {
                json: json_limits(limits),
                tool_name_bytes_max: limits.tool_name_bytes_max,
            },
            scratch: json::Scratch::default(),
        }
    }

    /// Reads `body` as the gate would that of a POST whose headers say what the body says: the version of its `_meta`,
    /// else `otherwise`.
    ///
    /// # Errors
    /// The refusal, with its reason, the operator's line and the era that its code depends on. Headers cannot disagree
    /// here, but where no header could say what the body says.
    pub fn read(&mut self, body: &[u8], otherwise: ProtocolVersion) -> Result<Inspection, Denial> {
        if self.body_bytes_max < body.len() {
            return Err(Denial::new(
                DenyReason::BodyTooLarge,
                "the body is larger than the limit",
            ));
        }
        let headers = rpc::headers_of(body, otherwise, &mut self.scratch, self.limits.json);
        let head = RequestHead {
            method: &http::Method::POST,
            path: "/",
            query: None,
            host: "",
            headers: &headers,
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            certificate: None,
        };
        if rpc::is_batch(&head, body) {
            return self.read_batch(&head, body);
        }
        let call = rpc::read_call(&head, body, &mut self.scratch, self.limits)?;
        let target = call.target();
        Ok(Inspection {
            version: call.version(),
            method: Some(call.method()),
            batch: None,
            tool: target.tool().map(Box::from),
            prompt: target.prompt().map(Box::from),
            resource_uri: target.resource().map(Box::from),
        })
    }

    /// Reads each message of a batch by its own bytes; the first refusal refuses all.
    fn read_batch(&mut self, head: &RequestHead<'_>, body: &[u8]) -> Result<Inspection, Denial> {
        let elements = rpc::read_batch(body, &mut self.scratch, self.limits.json)?;
        for element in &elements {
            let bytes = body.get(element.span.clone()).unwrap_or_default();
            rpc::read_call(head, bytes, &mut self.scratch, self.limits)?;
        }
        Ok(Inspection {
            version: ProtocolVersion::V2025_03_26,
            method: None,
            batch: Some(elements.len()),
            tool: None,
            prompt: None,
            resource_uri: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Inspection, Inspector};
    use crate::config::Limits;
    use crate::denial::DenyReason;
    use crate::rpc::{Method, ProtocolVersion};

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn read(body: &str) -> Result<Inspection, (DenyReason, bool)> {
        Inspector::new(&Limits::default())
            .read(body.as_bytes(), ProtocolVersion::V2025_11_25)
            .map_err(|denial| (denial.reason, denial.modern))
    }

    #[test]
    fn a_body_is_read_by_what_it_says_itself() {
        let call = |meta: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":" ré\u0061d "{meta}}}}}"#)
        };
        for (meta, version) in [
            (String::new(), ProtocolVersion::V2025_11_25),
            (format!(",{META}"), ProtocolVersion::V2026_07_28),
            (
                r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2025-06-18"}"#.to_owned(),
                ProtocolVersion::V2025_06_18,
            ),
        ] {
            let seen = read(&call(&meta)).unwrap();
            assert_eq!(
                (seen.version, seen.method),
                (version, Some(Method::ToolsCall)),
                "{meta}"
            );
            assert_eq!(seen.tool.as_deref(), Some(" réad "));
        }
        let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{META}}}}}"#);
        assert_eq!(read(&list).unwrap().tool, None);
        let refused = [
            ("", DenyReason::JsonMalformed, false),
            ("[]", DenyReason::RpcInvalid, false),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
                DenyReason::JsonAmbiguous,
                false,
            ),
            (&call(&format!(",{META},\"vendor\":1")), DenyReason::ParamsInvalid, true),
            (
                &call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2031-01-01"}"#),
                DenyReason::VersionUnsupported,
                true,
            ),
            (
                &call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":7}"#),
                DenyReason::ParamsInvalid,
                false,
            ),
        ];
        for (body, reason, modern) in refused {
            assert_eq!(read(body), Err((reason, modern)), "{body}");
        }
    }

    #[test]
    fn an_array_is_a_batch_in_one_version() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let notice = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let mut inspector = Inspector::new(&Limits::default());
        let mut read = |body: &str, version| {
            let read = inspector.read(body.as_bytes(), version);
            read.map_err(|denial| denial.reason).map(|seen| seen.batch)
        };
        let both = format!(" [{ping}, {notice}]");
        assert_eq!(read(&both, ProtocolVersion::V2025_03_26), Ok(Some(2)));
        assert_eq!(read(ping, ProtocolVersion::V2025_03_26), Ok(None));
        let refused = Err(DenyReason::RpcInvalid);
        for body in [
            "[]",
            &format!("[[{ping}]]"),
            &format!("[{ping},{ping}]"),
            &format!("[{ping},{{}}]"),
        ] {
            assert_eq!(read(body, ProtocolVersion::V2025_03_26), refused, "{body}");
        }
        for version in [
            ProtocolVersion::V2025_06_18,
            ProtocolVersion::V2025_11_25,
            ProtocolVersion::V2026_07_28,
        ] {
            assert_eq!(read(&both, version), refused, "{version:?}");
        }
    }

    #[test]
    fn a_body_has_a_limit() {
        let limits = Limits {
            body_bytes_max: 40,
            ..Limits::default()
        };
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let mut inspector = Inspector::new(&limits);
        let mut read = |body: &str| {
            let read = inspector.read(body.as_bytes(), ProtocolVersion::V2025_11_25);
            read.map_err(|denial| denial.reason).map(|seen| seen.method)
        };
        assert_eq!(read(ping), Ok(Some(Method::Ping)));
        assert_eq!(read(&format!("{ping} ")), Err(DenyReason::BodyTooLarge));
    }
}

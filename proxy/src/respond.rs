//! The refusals on the wire: the only place that writes an HTTP refusal.
//!
//! Owns the status, the JSON-RPC code, the challenge and the client's text of each [`DenyReason`] (RFC 6750
//! section 3, RFC 9457, RFC 9728 section 5.1, MCP 2026-07-28). Never tells a client more than its reason's face:
//! a hidden tool, an unmapped one and a denied one look the same. The operator's line goes to the log alone.

use bytes::Bytes;
use http::HeaderValue;
use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use portcullis_core::Algorithm;
use portcullis_core::denial::{AuthenticationDemand, Blame, Challenge, Denial, DenyReason, DpopChallenge};
use portcullis_core::gate::Release;
use portcullis_core::rpc::ProtocolVersion;
use portcullis_core::token::PROOF_ALGORITHMS;

use crate::egress::{self, ClientLost, Readers};

mod face;
mod problem;
mod style;

use face::Face;
pub(crate) use problem::{Problem, problem};

/// Seconds after which a retry makes sense, when the refusal names none and its status wants one.
const RETRY_AFTER_S: u32 = 5;

/// The field of the nonce for the next proof of possession (RFC 9449 section 8.1).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The versions that can be judged, for a client that speaks another.
const SUPPORTED: [ProtocolVersion; 4] = [
    ProtocolVersion::V2026_07_28,
    ProtocolVersion::V2025_11_25,
    ProtocolVersion::V2025_06_18,
    ProtocolVersion::V2025_03_26,
];

/// Writes a refusal of a request.
///
/// The connection stays usable when the request was read to its end; Pingora closes it otherwise.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn refuse(session: &mut ServerSession, denial: &Denial, readers: &Readers) -> Result<(), ClientLost> {
    log(denial);
    let (face, body) = written(denial);
    let header = head(denial, &face, body.len(), readers).ok_or(ClientLost)?;
    egress::write_whole(session, header, body).await
}

/// The refusal as one JSON-RPC message, for a stream whose head has left already.
pub(crate) fn message(denial: &Denial) -> Bytes {
    log(denial);
    written(denial).1
}

/// The outside of a refusal and its body, in its style.
fn written(denial: &Denial) -> (Face, Bytes) {
    let face = face::of(denial.reason, denial.modern);
    match style::styled(denial, &face) {
        Some((status, body)) => (Face { status, ..face }, body),
        None => {
            let body = error_body(denial, &face);
            (face, body)
        }
    }
}

/// The JSON-RPC code of a refusal for `reason`, for a client of the modern era or before.
pub(crate) const fn code(reason: DenyReason, modern: bool) -> i32 {
    face::of(reason, modern).code
}

/// The messages of one array: each released one by its very bytes, each refused one as a JSON-RPC error.
pub(crate) fn array(parts: &[Release]) -> Bytes {
    let mut array = vec![b'['];
    for part in parts {
        let message = match part {
            Release::Pass { body, .. } | Release::Redacted { body, .. } => body.clone(),
            Release::Withheld(denial) => message(denial),
            // None of these stands in an array.
            Release::Batch { .. } | Release::Dropped | Release::Empty { .. } => continue,
        };
        if 1 < array.len() {
            array.push(b',');
        }
        array.extend_from_slice(&message);
    }
    array.push(b']');
    Bytes::from(array)
}

/// The head of a refusal; `None` only if a part of it were no header value, and none is.
fn head(denial: &Denial, face: &Face, body_bytes: usize, readers: &Readers) -> Option<ResponseHeader> {
    let mut header = egress::head(face.status, "application/json", body_bytes, readers)?;
    if let Some(challenge) = &denial.challenge {
        let value = HeaderValue::from_str(&challenge_of(challenge, face.text)).ok()?;
        header.insert_header(WWW_AUTHENTICATE, value).ok()?;
        if let Some(dpop) = &challenge.dpop {
            // In a line of its own behind the other: many clients look at the first one only.
            let value = HeaderValue::from_str(&dpop_challenge_of(dpop, face.text)).ok()?;
            header.append_header(WWW_AUTHENTICATE, value).ok()?;
            if let Some(nonce) = &dpop.nonce {
                header.insert_header(NONCE, HeaderValue::from_str(nonce).ok()?).ok()?;
            }
        }
    }
    if face.status == 405 {
        // The modern era has no other method (MCP 2026-07-28, streamable HTTP).
        let allowed = if denial.modern { "POST" } else { "GET, POST, DELETE" };
        header.insert_header(ALLOW, allowed).ok()?;
    }
    if face.status == 429 || face.status == 503 {
        let seconds = denial.retry_after_s.unwrap_or(RETRY_AFTER_S);
        header.insert_header(RETRY_AFTER, seconds.to_string()).ok()?;
    }
    if let Some(record_id) = denial.record_id {
        header.insert_header(record_id_name(), record_id.to_string()).ok()?;
    }
    Some(header)
}

/// The operator's line: what is wrong and whose fault it is, without a value of the request.
fn log(denial: &Denial) {
    let reason = denial.reason.code();
    let operator = denial.operator;
    match denial.reason.blame() {
        Blame::Gate | Blame::Issuer | Blame::Upstream => {
            tracing::info!(
                reason,
                record_id = denial.record_id.map(tracing::field::display),
                "refused: {operator}"
            );
        }
        Blame::Client | Blame::Policy | Blame::Token => {
            tracing::debug!(
                reason,
                record_id = denial.record_id.map(tracing::field::display),
                "refused: {operator}"
            );
        }
    }
}

/// The name of the header that carries a record's id.
pub(crate) const fn record_id_name() -> HeaderName {
    HeaderName::from_static("portcullis-record-id")
}

/// A bearer challenge with its parameters in the order that every client reads, and always the same for the same
/// need: clients compare the whole value to tell whether a step-up was asked already.
fn challenge_of(challenge: &Challenge, description: &str) -> String {
    let mut value = String::from("Bearer ");
    let mut push = |name: &str, text: &str| {
        if !value.ends_with(' ') {
            value.push_str(", ");
        }
        value.push_str(name);
        value.push_str("=\"");
        // RFC 6750 section 3: no quote, no backslash, visible ASCII.
        value.extend(
            text.chars()
                .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\')),
        );
        value.push('"');
    };
    if let Some(error) = challenge.error {
        push("error", error.code());
    }
    if let Some(scope) = &challenge.scope {
        push("scope", scope);
    }
    push("resource_metadata", &challenge.resource_metadata);
    if challenge.error.is_some() {
        push("error_description", description);
    }
    if let Some(AuthenticationDemand { acr_values, max_age_s }) = &challenge.authentication {
        if !acr_values.is_empty() {
            push("acr_values", &acr_values.join(" "));
        }
        if let Some(seconds) = max_age_s {
            push("max_age", &seconds.to_string());
        }
    }
    value
}

/// A challenge for a proof of possession (RFC 9449 section 7.1): as stable as the bearer challenge, since the nonce has
/// a field of its own.
fn dpop_challenge_of(challenge: &DpopChallenge, description: &str) -> String {
    let algorithms = PROOF_ALGORITHMS.map(Algorithm::name).join(" ");
    match challenge.error {
        Some(error) => {
            let error = error.code();
            format!("DPoP error=\"{error}\", algs=\"{algorithms}\", error_description=\"{description}\"")
        }
        None => format!("DPoP algs=\"{algorithms}\""),
    }
}

/// The body: a JSON-RPC error whose data is a problem description (RFC 9457 section 3.1).
fn error_body(denial: &Denial, face: &Face) -> Bytes {
    let id = denial.request_id.as_deref().unwrap_or("null");
    let mut data = serde_json::json!({
        "type": format!("urn:portcullis:{}", face.kind),
        "title": face.title,
        "status": face.status,
        "detail": face.text,
    });
    if let Some(members) = data.as_object_mut() {
        if let Some(record_id) = denial.record_id {
            members.insert("instance".to_owned(), record_id.to_string().into());
        }
        if denial.reason == DenyReason::VersionUnsupported {
            // Only a version without a handshake can stand in each request, where a modern client would put it.
            let told = SUPPORTED.iter().filter(|version| version.is_modern() || !denial.modern);
            members.insert("supported".to_owned(), told.map(|version| version.as_str()).collect());
            if let Some(requested) = &denial.requested_version {
                members.insert("requested".to_owned(), requested.as_ref().into());
            }
        }
    }
    let error = serde_json::json!({
        "code": face.code,
        "message": face.text,
        "data": data,
    });
    // The id goes back exactly as it stood in the body: it is one JSON number or string.
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
}

#[cfg(test)]
mod tests;

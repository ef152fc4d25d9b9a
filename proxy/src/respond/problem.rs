//! The refusals of the control plane: problem documents (RFC 9457).
//!
//! Owns [`Problem`]. Its details name what an operator wrote, never a bearer.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use pingora_core::protocols::http::ServerSession;

use crate::egress::{self, ClientLost, Readers};

/// One refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: u16,
    kind: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
}

impl Problem {
    pub(crate) const BODY: Self = Self::new(400, "body", "The body is no such act", "the body cannot be read");
    pub(crate) const FAILED: Self = Self::new(500, "failed", "The gate failed", "whether it is in force is not known");
    pub(crate) const FULL: Self = Self::new(503, "full", "No more can be revoked", "the list is full");
    pub(crate) const METHOD: Self = Self::new(405, "method", "The method is not allowed", "GET and POST are");
    pub(crate) const NOT_DURABLE: Self = Self::new(
        500,
        "not-durable",
        "The revocation is not durable",
        "it is in force, and lost when the gate is restarted: the state folder cannot be written",
    );
    pub(crate) const NOT_FOUND: Self = Self::new(404, "not-found", "Nothing is here", "the one path is /revocations");
    pub(crate) const QUERY: Self = Self::new(
        400,
        "query",
        "The query is not known",
        "`after` takes an id and `limit` a number from 1 to 1000",
    );
    pub(crate) const UNACCEPTABLE: Self = Self::new(422, "refused", "The act is refused", "it cannot be done");
    pub(crate) const UNAUTHENTICATED: Self = Self::new(
        401,
        "unauthenticated",
        "Nobody who may act",
        "a bearer of the configuration is needed",
    );
    pub(crate) const UNRECORDED: Self = Self::new(
        503,
        "unrecorded",
        "The act cannot be recorded",
        "the audit log does not take it; what was asked for may be in force",
    );

    const fn new(status: u16, kind: &'static str, title: &'static str, detail: &'static str) -> Self {
        Self {
            status,
            kind,
            title,
            detail: Cow::Borrowed(detail),
        }
    }

    /// The same with these words on what is wrong.
    #[must_use]
    pub(crate) fn because(mut self, detail: &str) -> Self {
        self.detail = Cow::Owned(detail.to_owned());
        self
    }
}

/// Writes a refusal of the control plane.
///
/// # Errors
/// [`ClientLost`] when the client does not take it.
pub(crate) async fn problem(session: &mut ServerSession, problem: &Problem) -> Result<(), ClientLost> {
    let document = serde_json::json!({
        "type": format!("urn:portcullis:control:{}", problem.kind),
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
    });
    let body = Bytes::from(document.to_string());
    let header = egress::head(
        problem.status,
        "application/problem+json",
        body.len(),
        &Readers::default(),
    );
    let mut header = header.ok_or(ClientLost)?;
    let added = match problem.status {
        401 => header.insert_header(WWW_AUTHENTICATE, "Bearer"),
        405 => header.insert_header(ALLOW, "GET, POST"),
        _ => Ok(()),
    };
    added.or(Err(ClientLost))?;
    egress::write_whole(session, header, body).await
}

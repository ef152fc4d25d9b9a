//! What the gate asks an upstream in its own name: the listing of its tools.
//!
//! Owns the exchange of one [`ListingRequest`], on the same connections and with the same trust as calls. Shows the
//! credential of listings: a secret, or a statement about the gate itself; never anything of a client's.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::http::client::HttpSession;
use pingora_http::RequestHeader;
use portcullis_core::catalog::{Listing, ListingAnswer, ListingError, ListingRequest};
use portcullis_core::config::{CredentialKind, Endpoint, Upstream, UpstreamCredential};

use super::endpoint::{As, peer};
use super::{IDLE_DEADLINE, Upstreams, bearer, skip_interim_heads};
use crate::clock;
use crate::egress::SESSION;
use crate::signer::Signer;

/// By which upstreams know the gate's own requests.
const AGENT: &str = concat!("portcullis-tools/", env!("CARGO_PKG_VERSION"));

impl Upstreams {
    /// Performs one request of `listing` at this address of the endpoint.
    ///
    /// # Errors
    /// [`ListingError`]; how long it takes is the caller's to bound.
    pub(crate) async fn list(
        &self,
        upstream: &Upstream,
        (endpoint, address): (&Endpoint, SocketAddr),
        signer: &Signer,
        request: ListingRequest,
        listing: &Listing,
    ) -> Result<ListingAnswer, ListingError> {
        let credential = match upstream.credentials.of_listing() {
            Some(credential) => Some(shown(credential, signer).ok_or(ListingError::CredentialUnmade)?),
            None => None,
        };
        let head = head(endpoint, &request, credential).ok_or(ListingError::Unreachable)?;
        let peer = peer(endpoint, address, As::Gate);
        let connected = self.connector.get_http_session(&peer).await;
        let (mut session, _) = connected.map_err(|_| ListingError::Unreachable)?;
        let answer = exchange(&mut session, head, request.body, listing).await?;
        if session.response_done() {
            let kept = Some(IDLE_DEADLINE);
            self.connector.release_http_session(session, &peer, kept).await;
        }
        Ok(answer)
    }
}

/// One request and its answer.
async fn exchange(
    session: &mut HttpSession,
    head: RequestHeader,
    body: Bytes,
    listing: &Listing,
) -> Result<ListingAnswer, ListingError> {
    let broke_off = |_| ListingError::Unreachable;
    session.write_request_header(Box::new(head)).await.map_err(broke_off)?;
    session.write_request_body(body, true).await.map_err(broke_off)?;
    session.finish_request_body().await.map_err(broke_off)?;
    skip_interim_heads(session).await.ok_or(ListingError::Unreachable)?;
    let answer = session.response_header().ok_or(ListingError::Unreachable)?;
    if answer.status.is_informational() || answer.status.is_redirection() {
        return Err(ListingError::Status(answer.status.as_u16()));
    }
    let (status, opened) = (answer.status, answer.headers.get(&SESSION).cloned());
    let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut reader = listing.reader(media_type);
    if status != StatusCode::NO_CONTENT {
        while let Some(piece) = session.read_response_body().await.map_err(broke_off)? {
            if reader.push(&piece)? {
                break;
            }
        }
    }
    Ok(ListingAnswer {
        status: status.as_u16(),
        session: opened,
        message: reader.finish(),
    })
}

/// The field of a credential and its value, made now where it is a statement.
fn shown(credential: &UpstreamCredential, signer: &Signer) -> Option<(HeaderName, HeaderValue)> {
    let mut value = match &credential.kind {
        CredentialKind::Static { value, .. } => HeaderValue::from_str(value).ok()?,
        CredentialKind::Assertion(terms) => bearer(&credential.header, &signer.sign_own(terms, clock::now())?)?,
        CredentialKind::Exchange(_) => return None,
    };
    value.set_sensitive(true);
    Some((credential.header.clone(), value))
}

fn head(
    endpoint: &Endpoint,
    request: &ListingRequest,
    credential: Option<(HeaderName, HeaderValue)>,
) -> Option<RequestHeader> {
    let fields = request.headers.len().saturating_add(4);
    let method = request.method.as_str();
    let mut head = RequestHeader::build_no_case(method, endpoint.path.as_bytes(), Some(fields)).ok()?;
    for (name, value) in &request.headers {
        head.insert_header(name.clone(), value.clone()).ok()?;
    }
    head.insert_header(USER_AGENT, HeaderValue::from_static(AGENT)).ok()?;
    head.insert_header(HOST, HeaderValue::from_str(&endpoint.authority).ok()?)
        .ok()?;
    head.insert_header(CONTENT_LENGTH, HeaderValue::from(request.body.len()))
        .ok()?;
    if let Some((name, value)) = credential {
        head.insert_header(name, value).ok()?;
    }
    Some(head)
}

//! The head of a request as the core judges it: borrowed, already split by the HTTP server that embeds us.
//!
//! Owns [`RequestHead`], the checks that need nothing but the head (single-valued fields, media type, accepted types, RFC
//! 9110), and the character sets of heads and URIs. Never sees a socket, never logs a field's value.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::denial::{Denial, DenyReason};
use crate::time::UnixTime;

/// The head of one request. The embedder has refused malformed and over-long heads before it makes one.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    /// The HTTP method.
    pub method: &'r http::Method,
    /// The path as it came, without the query.
    pub path: &'r str,
    /// The query of the target without its `?`, even an empty one. No value in it is ever looked at.
    pub query: Option<&'r str>,
    /// The authority the client asked for: `Host`, or `:authority` in HTTP/2.
    pub host: &'r str,
    /// Every field, repeated ones included.
    pub headers: &'r HeaderMap,
    /// The address of the peer.
    pub client_ip: IpAddr,
    /// The client's certificate, when the connection or a trusted hop tells one.
    pub certificate: Option<&'r ClientCertificate>,
}

/// The certificate of a client, whose key the client has proven to hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientCertificate {
    /// SHA-256 of its DER form: what certificate-bound tokens are compared with (RFC 8705).
    pub sha256: [u8; 32],
    /// Who it names; `None` for one that may bind tokens and identifies nobody, since its chain was not verified here.
    pub identity: Option<CertificateIdentity>,
    /// Why whoever verifies certificates here does not trust it, or no longer does, for the operator. No request that
    /// shows such a certificate passes, whatever else it shows.
    pub refused: Option<&'static str>,
}

/// Whom a certificate names. The embedder has verified its chain, its purpose and that it is not revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateIdentity {
    /// Its one URI name, such as a SPIFFE id; certificates with none or with several name nobody.
    pub uri: std::sync::Arc<str>,
    /// The first instant at which it no longer serves: `notAfter`.
    pub expires: UnixTime,
    /// Whether a revocation list was in force that says it is not revoked.
    pub is_listed: bool,
}

impl<'r> RequestHead<'r> {
    /// The one value of `name` as visible ASCII, `None` when the field is absent.
    ///
    /// # Errors
    /// [`DenyReason::HeadMalformed`] when the field stands twice or holds other bytes than visible ASCII and spaces.
    pub fn single(&self, name: &HeaderName) -> Result<Option<&'r str>, Denial> {
        let mut values = self.headers.get_all(name).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(malformed("a single-valued header field is repeated"));
        }
        match value.to_str() {
            Ok(text) => Ok(Some(text.trim_matches([' ', '\t']))),
            Err(_) => Err(malformed("a header field holds bytes outside visible ASCII")),
        }
    }

    /// Checks that the body is plain, unencoded JSON in UTF-8.
    ///
    /// # Errors
    /// [`DenyReason::MediaType`] for any other type, charset or content coding: what cannot be read is not passed.
    pub fn json_body(&self) -> Result<(), Denial> {
        if self.headers.contains_key(CONTENT_ENCODING) {
            return Err(media("the body has a content coding"));
        }
        match self.single(&CONTENT_TYPE)? {
            Some(value) if is_json(value) => Ok(()),
            Some(_) => Err(media("the content type is not application/json in UTF-8")),
            None => Err(media("the content type is missing")),
        }
    }

    /// Checks that the client takes both forms of an answer, JSON and an event stream (MCP streamable HTTP).
    ///
    /// # Errors
    /// [`DenyReason::NotAcceptable`] when `Accept` is present and leaves one of them out.
    pub fn accepts_both(&self) -> Result<(), Denial> {
        match self.accepts()? {
            Some((true, true)) | None => Ok(()),
            Some(_) => Err(Denial::new(
                DenyReason::NotAcceptable,
                "accept leaves out application/json or text/event-stream",
            )),
        }
    }

    /// Checks that the client takes an event stream, such as a GET opens.
    ///
    /// # Errors
    /// [`DenyReason::NotAcceptable`] when `Accept` is present and leaves it out.
    pub fn accepts_stream(&self) -> Result<(), Denial> {
        match self.accepts()? {
            Some((_, true)) | None => Ok(()),
            Some((_, false)) => Err(Denial::new(
                DenyReason::NotAcceptable,
                "accept leaves out text/event-stream",
            )),
        }
    }

    /// Whether `Accept` covers JSON and event streams; `None` without that field.
    fn accepts(&self) -> Result<Option<(bool, bool)>, Denial> {
        let mut any = false;
        let (mut json, mut stream) = (false, false);
        for value in self.headers.get_all(ACCEPT) {
            any = true;
            let Ok(value) = value.to_str() else {
                return Err(malformed("a header field holds bytes outside visible ASCII"));
            };
            for range in value.split(',') {
                let range = range.split(';').next().unwrap_or_default().trim();
                json |= matches_range(range, "application", "json");
                stream |= matches_range(range, "text", "event-stream");
            }
        }
        Ok(any.then_some((json, stream)))
    }
}

/// The one value of a field that is meant for whoever is behind us as well; `None` for a field that is repeated, that holds
/// other bytes than visible ASCII, or that `Connection` names (RFC 9110 section 7.6.1): two readers could read it in two
/// ways.
pub fn end_to_end<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|value| value.to_str().is_ok())?;
    let once = values.next().is_none();
    let mut options = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|options| options.as_bytes().split(|byte| *byte == b','));
    let hop_by_hop = options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()));
    (once && !hop_by_hop).then_some(value)
}

/// A character of a token (RFC 9110 section 5.6.2): methods and names of fields.
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// A character of a path or a query, the sign of escapes included (RFC 3986 sections 3.3 and 3.4).
pub const fn is_target_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'%' | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'?'
        )
}

/// A character that needs no escape in a URI, and has one spelling alone (RFC 3986 section 2.3).
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether `value` is `application/json`, with no parameter or `charset=utf-8`.
fn is_json(value: &str) -> bool {
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("charset=utf-8") || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

/// Whether a media range of `Accept` covers `kind/subkind` (RFC 9110 section 12.5.1; weights are not read).
fn matches_range(range: &str, kind: &str, subkind: &str) -> bool {
    let Some((left, right)) = range.split_once('/') else {
        return false;
    };
    (left == "*" && right == "*")
        || (left.eq_ignore_ascii_case(kind) && (right == "*" || right.eq_ignore_ascii_case(subkind)))
}

#[cold]
#[inline(never)]
fn malformed(operator: &'static str) -> Denial {
    Denial::new(DenyReason::HeadMalformed, operator)
}

#[cold]
#[inline(never)]
fn media(operator: &'static str) -> Denial {
    Denial::new(DenyReason::MediaType, operator)
}

#[cfg(test)]
mod tests;

//! The health pages: whether the process lives, and whether it should get requests.
//!
//! Owns their paths and form. Never asks for a token and tells no more than one short line.

use bytes::Bytes;
use http::Method;
use pingora_core::protocols::http::ServerSession;
use portcullis_core::gate::Gate;

use crate::clock::now;
use crate::egress::{self, ClientLost, Readers};
use crate::ingress::Head;
use crate::shutdown::Shutdown;

/// A health page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Page {
    /// Whether the process answers at all.
    Live,
    /// Whether requests can be judged and recorded now.
    Ready,
}

impl Page {
    /// The page at this path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// Answers a health page.
///
/// # Errors
/// [`ClientLost`] when the client does not take the answer.
pub(crate) async fn answer(
    session: &mut ServerSession,
    page: Page,
    gate: &Gate,
    shutdown: &Shutdown,
    head: &Head,
) -> Result<(), ClientLost> {
    let health = match page {
        Page::Live => Ok(()),
        Page::Ready if shutdown.is_draining() => Err("draining"),
        Page::Ready => gate.ready(now()),
    };
    let (status, text) = match health {
        Ok(()) => (200, "ok"),
        Err(missing) => (503, missing),
    };
    let body = match head.method {
        Method::HEAD => Bytes::new(),
        _ => Bytes::from_static(text.as_bytes()),
    };
    let readers = Readers::default();
    let header = egress::head(status, "text/plain; charset=utf-8", text.len(), &readers).ok_or(ClientLost)?;
    egress::write_whole(session, header, body).await
}

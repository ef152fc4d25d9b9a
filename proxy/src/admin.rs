//! The admin listener: what operators and their tools may ask without a token.
//!
//! Owns its pages, `/metrics`, `/status`, `/livez` and `/readyz`; everything else is not there. Never judges a
//! request, never speaks MCP, and runs on a thread of its own. On loopback it answers to no name but `localhost`: a web page whose name
//! leads to this machine could read it otherwise (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::uri::Authority;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::gate::Gate;

use crate::background::policy::BundleStatuses;
use crate::background::revocation::RevocationStore;
use crate::egress::{self, ClientLost, Readers};
use crate::ingress::{self, Head, TrustedHops};
use crate::service::{finish, head_came};
use crate::shutdown::Shutdown;
use crate::{health, respond};

pub(crate) mod control;
mod metrics;
pub(crate) mod unix;

use metrics::Metrics;

/// The path of the metrics.
const METRICS: &str = "/metrics";
/// The path of what is told about policy bundles, in OPA's field names.
const STATUS: &str = "/status";
/// Seconds that an unused connection is kept: longer than the pause between two scrapes.
const KEEPALIVE_S: u64 = 75;

/// The application under Pingora's listening service.
pub(crate) struct Admin {
    gate: Arc<Gate>,
    bundles: Arc<BundleStatuses>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Whether it listens for this machine alone.
    is_loopback: bool,
}

impl Admin {
    /// The pages of this gate.
    pub(crate) fn new(
        store: Arc<RevocationStore>,
        bundles: Arc<BundleStatuses>,
        shutdown: Shutdown,
        is_loopback: bool,
    ) -> Self {
        Self {
            gate: Arc::clone(store.gate()),
            metrics: Metrics::new(store, Arc::clone(&bundles)),
            bundles,
            shutdown,
            is_loopback,
        }
    }

    async fn answer(&self, session: &mut ServerSession) -> Result<(), ClientLost> {
        let snapshot = self.gate.snapshot();
        let taken = ingress::take_head(session, snapshot.limits(), &TrustedHops::default());
        drop(snapshot);
        let head = match taken {
            Ok(head) => head,
            Err(denial) => {
                session.set_keepalive(None);
                return respond::refuse(session, &denial, &Readers::default()).await;
            }
        };
        let keeps = session.get_keepalive().is_some();
        session.set_keepalive(keeps.then_some(KEEPALIVE_S));
        if self.is_loopback && !names_this_machine(&head.host) {
            let denial = Denial::new(
                DenyReason::HostUnknown,
                "the admin pages were asked for by a foreign name",
            );
            return respond::refuse(session, &denial, &Readers::default()).await;
        }
        let asks = matches!(head.method, Method::GET | Method::HEAD);
        match health::Page::of(&head.path) {
            Some(page) if asks => health::answer(session, page, &self.gate, &self.shutdown, &head).await,
            None if asks && head.path == METRICS => self.answer_metrics(session, &head).await,
            None if asks && head.path == STATUS => self.answer_status(session, &head).await,
            _ => {
                let denial = Denial::new(DenyReason::RouteUnknown, "no such admin page");
                respond::refuse(session, &denial, &Readers::default()).await
            }
        }
    }

    async fn answer_status(&self, session: &mut ServerSession, head: &Head) -> Result<(), ClientLost> {
        let text = self.bundles.to_json().to_string();
        let header = egress::head(200, "application/json", text.len(), &Readers::default()).ok_or(ClientLost)?;
        let body = match head.method {
            Method::HEAD => Bytes::new(),
            _ => Bytes::from(text),
        };
        egress::write_whole(session, header, body).await
    }

    async fn answer_metrics(&self, session: &mut ServerSession, head: &Head) -> Result<(), ClientLost> {
        let text = self.metrics.text().ok_or(ClientLost)?;
        let header = egress::head(200, metrics::MEDIA_TYPE, text.len(), &Readers::default()).ok_or(ClientLost)?;
        let body = match head.method {
            Method::HEAD => Bytes::new(),
            _ => Bytes::from(text),
        };
        egress::write_whole(session, header, body).await
    }
}

/// Whether an authority is an address, `localhost`, or none: no page of the web has an origin of these, but one that this
/// machine serves itself.
fn names_this_machine(authority: &str) -> bool {
    let parsed: Option<Authority> = authority.parse().ok();
    let Some(host) = parsed.as_ref().map(Authority::host) else {
        return authority.is_empty();
    };
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    !authority.contains('@') && (address.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost"))
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !head_came(&mut session, None).await {
            return None;
        }
        match self.answer(&mut session).await {
            Ok(()) => finish(session).await,
            Err(ClientLost) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn a_name_of_somebody_else_is_foreign() {
        for own in [
            "",
            "127.0.0.1",
            "127.0.0.1:9464",
            "[::1]:9464",
            "[::1]",
            "10.0.0.1:1",
            "localhost",
            "LocalHost:9464",
        ] {
            assert!(names_this_machine(own), "{own}");
        }
        for foreign in [
            "evil.test",
            "evil.test:9464",
            "127.0.0.1.evil.test",
            "localhost.evil.test",
            "evil.localhost.test",
            "localhost.",
            "me@127.0.0.1",
            "127.0.0.1 ",
            "127.0.0.1, evil.test",
            "::1",
            "[::1",
            "0x7f000001",
            "2130706433",
        ] {
            assert!(!names_this_machine(foreign), "{foreign}");
        }
    }
}

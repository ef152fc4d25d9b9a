//! The documents that lead a client to its authorization server (RFC 9728, RFC 8414).
//!
//! Owns their paths, the resource's own document and the store of issuers' documents, which the background
//! refresher fills. Never asks for a token, never fetches, never redirects: 200 or 404.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Method;
use pingora_core::protocols::http::ServerSession;
use portcullis_core::Algorithm;
use portcullis_core::config::Server;
use portcullis_core::denial::{Denial, DenyReason};
use portcullis_core::gate::Snapshot;
use portcullis_core::token::PROOF_ALGORITHMS;
use serde_json::{Value, json};

use crate::egress::{self, ClientLost, Readers};
use crate::ingress::Head;
use crate::respond;

/// Where a resource's document lies, before the path of the resource (RFC 9728 section 3.1).
const RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// Where an issuer's document lies (RFC 8414 section 3), asked of us by clients of MCP 2025-03-26.
const ISSUER: &str = "/.well-known/oauth-authorization-server";

/// The metadata of issuers as they published it: raw JSON by issuer URL.
#[derive(Debug, Default)]
pub(crate) struct MetadataStore {
    documents: ArcSwap<HashMap<Arc<str>, Arc<str>>>,
}

impl MetadataStore {
    /// Replaces the document of `issuer`.
    pub(crate) fn publish(&self, issuer: &Arc<str>, document: &Arc<str>) {
        self.documents.rcu(|documents| {
            let mut documents = HashMap::clone(documents);
            documents.insert(Arc::clone(issuer), Arc::clone(document));
            documents
        });
    }

    /// The document of `issuer`, once it was fetched.
    pub(crate) fn document(&self, issuer: &str) -> Option<Arc<str>> {
        self.documents.load().get(issuer).map(Arc::clone)
    }
}

/// What a path asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Page<'p> {
    /// The document of the issuer of the server at this path.
    Issuer(&'p str),
    /// The document of the server at this path.
    Resource(&'p str),
}

impl<'p> Page<'p> {
    /// Reads a path; `None` when it names no document.
    pub(crate) fn of(path: &'p str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix(RESOURCE) {
            return Some(Self::Resource(rest)).filter(|_| is_path(rest));
        }
        if let Some(rest) = path.strip_prefix(ISSUER) {
            return Some(Self::Issuer(rest)).filter(|_| is_path(rest));
        }
        // Some clients append the suffix to the endpoint instead of inserting it.
        path.strip_suffix(RESOURCE).map(Self::Resource)
    }

    /// The server that the page is about, if it accepts the host that was asked for: of several at one path the one that
    /// does. The root page only speaks for an only server, at all or at that host.
    fn server<'s>(self, snapshot: &'s Snapshot, host: &str) -> Option<&'s Arc<Server>> {
        let (Self::Issuer(path) | Self::Resource(path)) = self;
        let root = path.is_empty() || path == "/";
        let exact = snapshot.server_at(if path.is_empty() { "/" } else { path }, host);
        let found = exact.or_else(|| {
            let mut servers = snapshot.servers().filter(|_| root);
            match (servers.next(), servers.next()) {
                (only, None) => only,
                (_, Some(_)) => {
                    let mut servers = snapshot.servers().filter(|server| server.accepts_host(host));
                    servers.next().filter(|_| servers.next().is_none())
                }
            }
        });
        found.filter(|server| server.accepts_host(host))
    }
}

fn is_path(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Answers a request for `page`.
///
/// # Errors
/// [`ClientLost`] when the client does not take the answer.
pub(crate) async fn answer(
    session: &mut ServerSession,
    snapshot: &Snapshot,
    store: &MetadataStore,
    page: Page<'_>,
    head: &Head,
    sees_certificates: bool,
) -> Result<(), ClientLost> {
    let server = page.server(snapshot, &head.host);
    let readers = match server {
        Some(server) => crate::cors::readers(snapshot, Some(server), head),
        None => Readers::default(),
    };
    if crate::cors::is_preflight(head)
        && let Some(header) = crate::cors::preflight(&readers, head, "GET")
    {
        return egress::write_whole(session, header, Bytes::new()).await;
    }
    let document = match server {
        Some(server) if head.method == Method::GET => document(page, server, store, sees_certificates),
        _ => None,
    };
    let Some(document) = document else {
        let denial = Denial::new(DenyReason::RouteUnknown, "no such metadata");
        return respond::refuse(session, &denial, &readers).await;
    };
    let header = egress::head(200, "application/json", document.len(), &readers).ok_or(ClientLost)?;
    egress::write_whole(session, header, document).await
}

fn document(page: Page<'_>, server: &Server, store: &MetadataStore, sees_certificates: bool) -> Option<Bytes> {
    match (page, server.issuers()) {
        (Page::Resource(_), _) => Some(resource_document(server, sees_certificates)),
        (Page::Issuer(_), [only]) => store
            .document(only.url())
            .map(|document| Bytes::copy_from_slice(document.as_bytes())),
        (Page::Issuer(_), _) => None,
    }
}

/// The resource's own document. It names no scopes: the challenge asks for those that a request needs, and a client
/// that found the whole list here would ask for all of it. Bound tokens are held to what they are bound to (RFC 9728
/// section 2); that of a certificate is promised where the gate sees certificates at all.
fn resource_document(server: &Server, sees_certificates: bool) -> Bytes {
    let issuers: Vec<&str> = server.issuers().iter().map(|issuer| &**issuer.url()).collect();
    let mut document = json!({
        "resource": &**server.resource(),
        "authorization_servers": issuers,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": PROOF_ALGORITHMS.map(Algorithm::name),
    });
    let further = [
        ("resource_name", server.title().map(Value::from)),
        (
            "dpop_bound_access_tokens_required",
            server.sender().dpop_required.then_some(Value::Bool(true)),
        ),
        (
            "tls_client_certificate_bound_access_tokens",
            sees_certificates.then_some(Value::Bool(true)),
        ),
    ];
    for (name, value) in further {
        if let (Some(value), Some(members)) = (value, document.as_object_mut()) {
            members.insert(name.to_owned(), value);
        }
    }
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::{MetadataStore, Page};
    use std::sync::Arc;

    #[test]
    fn a_path_names_at_most_one_page() {
        let cases = [
            ("/.well-known/oauth-protected-resource", Some(Page::Resource(""))),
            ("/.well-known/oauth-protected-resource/", Some(Page::Resource("/"))),
            (
                "/.well-known/oauth-protected-resource/crm/mcp",
                Some(Page::Resource("/crm/mcp")),
            ),
            (
                "/crm/mcp/.well-known/oauth-protected-resource",
                Some(Page::Resource("/crm/mcp")),
            ),
            ("/.well-known/oauth-authorization-server", Some(Page::Issuer(""))),
            (
                "/.well-known/oauth-authorization-server/crm",
                Some(Page::Issuer("/crm")),
            ),
            ("/.well-known/oauth-protected-resources", None),
            ("/.well-known/oauth-authorization-server-x", None),
            ("/crm/mcp/.well-known/oauth-authorization-server", None),
            ("/.well-known/openid-configuration", None),
            ("/crm/mcp", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Page::of(path), expected, "{path}");
        }
    }

    #[test]
    fn the_store_keeps_one_document_an_issuer() {
        let store = MetadataStore::default();
        let issuer: Arc<str> = Arc::from("https://issuer.example");
        assert_eq!(store.document(&issuer), None);
        store.publish(&issuer, &Arc::from("{}"));
        store.publish(&issuer, &Arc::from(r#"{"a":1}"#));
        assert_eq!(store.document(&issuer).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(store.document("https://issuer.example/"), None);
    }
}

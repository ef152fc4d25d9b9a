//! The comparator: Pingora's own proxy, passing everything through unread.
//!
//! Owns the binary `portcullis-passthrough`: what Pingora costs without any of our decisions, to measure the gate
//! beside it in one run. Never for production: it verifies nothing and records nothing.

use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct PassThrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

/// `portcullis-passthrough LISTEN_PORT UPSTREAM_ADDRESS [THREADS]`, on loopback.
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: portcullis-passthrough LISTEN_PORT UPSTREAM_ADDRESS [THREADS]";
    let port: u16 = arguments.next().ok_or(usage)?.parse()?;
    let upstream: SocketAddr = arguments.next().ok_or(usage)?.parse()?;
    let threads: usize = arguments.next().map_or(Ok(1), |threads| threads.parse())?;

    let conf = ServerConf {
        threads,
        // Pingora's default waits for five minutes after SIGTERM; a comparison wants it gone at once.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, PassThrough { upstream });
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    service.add_tcp(&listen.to_string());
    server.add_service(service);
    writeln!(std::io::stdout(), "listening http://{listen}")?;
    server.run_forever()
}

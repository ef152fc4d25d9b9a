//! An upstream that does to each request what a test says, byte by byte, over one thread a connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_fixtures::issuer::Issuer;

use crate::gate::{Gate, agent_and_body, own_listing};

/// What happens to a connection after an answer.
pub(crate) enum Then {
    /// It is read to its end, and the stub notes when that comes.
    Await,
    /// It is closed.
    Close,
    /// It serves the next request.
    Keep,
    /// It is reset.
    Reset,
}

/// What it does to one request, whose number counts from 0 over all connections.
type Serve = dyn Fn(&mut TcpStream, &str, u64) -> Then + Send + Sync;

/// A listening stub; its threads end with the test's process.
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    count: AtomicU64,
    ended: AtomicU64,
}

impl Stub {
    pub(crate) fn start(serve: impl Fn(&mut TcpStream, &str, u64) -> Then + Send + Sync + 'static) -> Self {
        Self::start_listing("", serve)
    }

    /// The same, with these bytes before each answer to the gate's own listing.
    pub(crate) fn start_listing(
        before: &'static str,
        serve: impl Fn(&mut TcpStream, &str, u64) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, serve): (_, Arc<Serve>) = (Arc::clone(&seen), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, serve) = (Arc::clone(&shared), Arc::clone(&serve));
                std::thread::spawn(move || converse(stream, &shared, before, &*serve));
            }
        });
        Self { address, seen }
    }

    /// A stub that answers every request with these bytes and keeps its connections.
    pub(crate) fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |stream, _, _| {
            stream.write_all(&bytes).unwrap();
            Then::Keep
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Requests that came whole.
    pub(crate) fn count(&self) -> u64 {
        self.seen.count.load(Ordering::Relaxed)
    }

    /// Heads and bodies of the requests.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// Connections whose end came while it was awaited.
    pub(crate) fn ended(&self) -> u64 {
        self.seen.ended.load(Ordering::Relaxed)
    }
}

fn converse(mut stream: TcpStream, seen: &Seen, before: &str, serve: &Serve) {
    stream.set_nodelay(true).unwrap();
    while let Some(request) = read_request(&mut stream) {
        let (agent, body) = agent_and_body(&request);
        if let Some(listing) = own_listing(agent, body) {
            stream
                .write_all((before.to_owned() + &json(&listing)).as_bytes())
                .unwrap();
            continue;
        }
        seen.requests.lock().unwrap().push(request.clone());
        let number = seen.count.fetch_add(1, Ordering::Relaxed);
        match serve(&mut stream, &request, number) {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => {
                let linger = Some(Duration::ZERO);
                socket2::SockRef::from(&stream).set_linger(linger).unwrap();
                return;
            }
            Then::Await => {
                let mut rest = [0; 1_024];
                while matches!(stream.read(&mut rest), Ok(1..)) {}
                seen.ended.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// The next request of a connection, by its length; `None` when there is none.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut piece = [0; 16 * 1_024];
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse::<usize>().unwrap())
            });
            if length.unwrap_or_default() <= body.len() {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut piece) {
            Ok(0) => return None,
            Ok(read) => request.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// A result of the call with this id, whose text this is.
pub(crate) fn result(id: u64, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"{text}"}}]}}}}"#)
}

/// An answer over HTTP/1.1 of this media type, with a length.
pub(crate) fn answer(media_type: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A JSON answer with a length.
pub(crate) fn json(body: &str) -> String {
    answer("application/json", body)
}

/// A configuration whose upstream has these lines in place of its URL.
pub(crate) fn with_upstream(text: &str, lines: &str) -> String {
    let changed = text.lines().map(|line| match line.starts_with("      url: ") {
        true => lines,
        false => line,
    });
    changed.map(|line| format!("{line}\n")).collect()
}

/// A gate before this upstream, with these further lines of `limits`.
pub(crate) fn gate(url: &str, limits: &str) -> Gate {
    gate_with(&format!("      url: {url}"), limits)
}

/// The same with these lines in place of the upstream's URL.
pub(crate) fn gate_with(lines: &str, limits: &str) -> Gate {
    Gate::start_changed(|_: &Issuer, text| with_upstream(&text, lines) + limits)
}

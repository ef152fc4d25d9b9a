//! An upstream whose answers a test writes byte by byte.
//!
//! Owns [`Upstream`]: one thread a connection, one request a connection. Looks at nothing but the framing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::gate::own_listing;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(present, _)| present == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is written in answer.
pub(super) struct Answer {
    stream: TcpStream,
}

impl Answer {
    /// A head without a body.
    pub(super) fn status(&mut self, status: &str) {
        self.write(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    }

    /// A JSON body.
    pub(super) fn json(&mut self, fields: &str, body: &str) {
        self.write(&format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    /// The head of an event stream that ends with its connection or by [`Self::end`].
    pub(super) fn open(&mut self) {
        self.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    /// These bytes of the stream.
    pub(super) fn piece(&mut self, bytes: &str) {
        self.write(&format!("{:x}\r\n{bytes}\r\n", bytes.len()));
    }

    /// One event with this message.
    pub(super) fn event(&mut self, message: &str) {
        self.piece(&format!("data: {message}\n\n"));
    }

    /// The end of the stream.
    pub(super) fn end(&mut self) {
        self.write("0\r\n\r\n");
    }

    /// Waits until the gate has gone, or sends anything.
    pub(super) fn until_gone(&mut self) {
        // Whether it ends or breaks makes no difference.
        let _ = self.stream.read(&mut [0]);
    }

    fn write(&mut self, bytes: &str) {
        // The gate may have gone: what it has seen is what the test looks at.
        let _ = self.stream.write_all(bytes.as_bytes());
    }
}

type Script = dyn Fn(&Seen, &mut Answer) + Send + Sync;

pub(super) struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    pub(super) fn start(script: impl Fn(&Seen, &mut Answer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, noted) = (Arc::clone(&script), Arc::clone(&noted));
                std::thread::spawn(move || serve(stream, &*script, &noted));
            }
        });
        Self { address, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, script: &Script, noted: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
    let method = line.split(' ').next().unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let seen = Seen {
        method,
        headers,
        body: String::from_utf8(body).unwrap(),
    };
    let mut answer = Answer { stream };
    if let Some(listing) = own_listing(seen.header("user-agent").unwrap_or_default(), &seen.body) {
        answer.json("", &listing);
        let _ = answer.stream.shutdown(Shutdown::Both);
        return;
    }
    noted.lock().unwrap().push(seen.clone());
    script(&seen, &mut answer);
    let _ = answer.stream.shutdown(Shutdown::Both);
}

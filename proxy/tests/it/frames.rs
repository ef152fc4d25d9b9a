//! A client of HTTP/2 that writes its frames by hand, over TLS.
//!
//! Owns [`Wire`]: the preface, frames (RFC 9113 section 4.1) and a header block of static entries and plain literals
//! (RFC 7541). Knows no flow control; it says what it is told to say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use portcullis_fixtures::calls::Call;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::gate::{Gate, HOST};
use crate::tls::Authority;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

const DEADLINE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The status of a head: static entries alone, or a literal with an indexed name.
    pub(crate) fn status(&self) -> Option<u16> {
        // A change of the table's size may stand in front (RFC 7541 section 6.3).
        let mut bytes = self.payload.iter().filter(|_| self.kind == HEADERS).copied().peekable();
        while let Some(first) = bytes.next_if(|byte| byte & 0xe0 == 0x20) {
            if first & 0x1f == 0x1f {
                while bytes.next()? & 0x80 != 0 {}
            }
        }
        match bytes.next()? {
            0x88 => Some(200),
            0x89 => Some(204),
            0x8b => Some(304),
            0x8c => Some(400),
            0x8d => Some(404),
            0x8e => Some(500),
            // Further ones are spelled out, maybe in the code of Huffman.
            _ => Some(0),
        }
    }

    /// The error code of what ends a stream or a connection.
    pub(crate) fn error(&self) -> Option<u32> {
        let place = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(place..place + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().unwrap()))
    }
}

/// A frame of this kind.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The header block of a request.
pub(crate) fn block<'h>(
    method: &'h str,
    path: &'h str,
    fields: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Vec<u8> {
    let mut bytes = vec![0x87];
    let pseudo = [(":method", method), (":path", path), (":authority", HOST)];
    for (name, value) in pseudo.into_iter().chain(fields) {
        bytes.push(0);
        for text in [name, value] {
            integer(&mut bytes, text.len());
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1), without the code of Huffman.
pub(crate) fn integer(bytes: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else {
        bytes.push(u8::try_from(value).unwrap());
        return;
    };
    bytes.push(127);
    while 128 <= rest {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// A connection whose frames are written by hand.
pub(crate) struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Bytes that came and are no whole frame yet.
    come: Vec<u8>,
    /// Whether the gate has ended the connection, or takes nothing more.
    pub(crate) has_ended: bool,
    /// Whether nothing more can be read: what the gate said before it ended may still be on its way.
    is_read_out: bool,
}

impl Wire {
    /// A connection without a preface.
    pub(crate) fn bare(gate: &Gate, authority: &Authority) -> Self {
        let tcp = TcpStream::connect(gate.address()).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let session = ClientConnection::new(authority.client("h2", false), ServerName::try_from(HOST).unwrap());
        let mut stream = StreamOwned::new(session.unwrap(), tcp);
        while stream.conn.is_handshaking() {
            // The read gives up soon, so that nobody waits where both could speak.
            match stream.conn.complete_io(&mut stream.sock) {
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Self {
            stream,
            come: Vec::new(),
            has_ended: false,
            is_read_out: false,
        }
    }

    /// A connection with these settings.
    pub(crate) fn open(gate: &Gate, authority: &Authority, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self::bare(gate, authority);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        wire.send(PREFACE);
        wire.send(&frame(SETTINGS, 0, 0, &payload));
        wire.send(&frame(SETTINGS, ACK, 0, &[]));
        wire
    }

    /// Sends these bytes, unless the gate takes no more.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.has_ended && self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_err() {
            self.has_ended = true;
        }
    }

    /// Sends the preface alone.
    pub(crate) fn send_preface(&mut self) {
        self.send(PREFACE);
    }

    /// Asks for the page that needs no token.
    pub(crate) fn ask_livez(&mut self, stream: u32) {
        self.send(&frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &block("GET", "/livez", []),
        ));
    }

    /// Sends the head of a call.
    pub(crate) fn begin(&mut self, stream: u32, path: &str, call: &Call) {
        let fields = call.headers.iter().map(|(name, value)| (&**name, &**value));
        self.send(&frame(HEADERS, END_HEADERS, stream, &block("POST", path, fields)));
    }

    /// Reads what is there, until `wanted` finds its frame, the connection ends, or the deadline passes.
    pub(crate) fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        self.within(DEADLINE, wanted)
    }

    /// The same with this deadline.
    pub(crate) fn within(&mut self, deadline: Duration, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let begun = Instant::now();
        loop {
            while let Some(frame) = self.next_frame() {
                if wanted(&frame) {
                    return Some(frame);
                }
            }
            if self.is_read_out || deadline < begun.elapsed() {
                return None;
            }
            let mut bytes = [0; 16 * 1024];
            match self.read_some(&mut bytes) {
                Ok(0) => self.read_out(),
                Ok(read) => self.come.extend(&bytes[..read]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => self.read_out(),
            }
        }
    }

    /// Reads what is there; after a failed write past the stream, which would try that again first.
    fn read_some(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if !self.has_ended {
            return self.stream.read(bytes);
        }
        let StreamOwned { conn, sock } = &mut self.stream;
        loop {
            match conn.reader().read(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if conn.read_tls(sock)? == 0 {
                return Ok(0);
            }
            conn.process_new_packets().map_err(std::io::Error::other)?;
        }
    }

    fn read_out(&mut self) {
        self.is_read_out = true;
        self.has_ended = true;
    }

    fn next_frame(&mut self) -> Option<Frame> {
        let [high, middle, low, kind, flags, stream @ ..] = *self.come.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let payload = self.come.get(9..9 + length)?.to_vec();
        self.come.drain(..9 + length);
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }
}

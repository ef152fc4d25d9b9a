//! The wrapper of a client's connection that bounds the arrival of a head.
//!
//! Owns the total deadline and the byte limit of a head that is still on its way: Pingora's own deadlines are per
//! read, and its limit is 1 MiB. Never looks at the bytes, and passes them on unchanged.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::clock;

/// Bytes of the HTTP/2 preface (RFC 9113 section 3.4): once it is here, the protocol's own limits hold.
const PREFACE_BYTES: usize = 24;

/// What the connection waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Waits {
    /// The first byte of a head, with the deadline running since the connection came.
    First,
    /// The first byte of a further head; it starts the deadline.
    Next,
    /// The rest of a head.
    Head,
    /// Nothing that this wrapper bounds.
    Open,
    /// The deadline has passed.
    TimedOut,
    /// The limit was exceeded before the head was whole.
    TooLarge,
}

impl Waits {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::First,
            1 => Self::Next,
            2 => Self::Head,
            3 => Self::Open,
            4 => Self::TimedOut,
            _ => Self::TooLarge,
        }
    }
}

/// Why a head did not arrive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// For another reason than the limits of this wrapper.
    Other,
    /// Not within the deadline.
    TimedOut,
    /// Not within the limit.
    TooLarge,
}

/// A client's connection with its head bounded.
#[derive(Debug)]
pub(crate) struct Guarded {
    inner: Stream,
    waits: AtomicU8,
    preface_only: bool,
    bytes: usize,
    bytes_max: usize,
    head_deadline: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the first byte of the head came, in ticks; zero before that.
    head_began_ns: AtomicU64,
}

impl Guarded {
    /// Wraps a connection; the deadline of its first head starts now.
    pub(crate) fn new(inner: Stream, head_deadline: Duration, bytes_max: usize) -> Self {
        Self {
            preface_only: matches!(inner.selected_alpn_proto(), Some(ALPN::H2)),
            inner,
            waits: AtomicU8::new(Waits::First as u8),
            bytes: 0,
            bytes_max,
            head_deadline,
            deadline: Some(Instant::now() + head_deadline),
            timer: None,
            head_began_ns: AtomicU64::new(0),
        }
    }

    /// The wrapper under an HTTP/1 session, if there is one.
    fn under(session: &ServerSession) -> Option<&Self> {
        session.stream().and_then(|stream| (**stream).as_any().downcast_ref())
    }

    /// Tells the connection that a head comes next.
    pub(super) fn head_comes(session: &ServerSession) {
        if let Some(guarded) = Self::under(session)
            && guarded.waits() == Waits::Open
        {
            guarded.waits.store(Waits::Next as u8, Ordering::Relaxed);
            guarded.head_began_ns.store(0, Ordering::Relaxed);
        }
    }

    /// Tells the connection that the head is whole.
    pub(super) fn head_came(session: &ServerSession) {
        if let Some(guarded) = Self::under(session) {
            guarded.waits.store(Waits::Open as u8, Ordering::Relaxed);
        }
    }

    /// When the first byte of the head came, in ticks; `None` under HTTP/2, and when it came together with the request
    /// before.
    pub(super) fn head_began_ns(session: &ServerSession) -> Option<u64> {
        let guarded = Self::under(session)?;
        Some(guarded.head_began_ns.load(Ordering::Relaxed)).filter(|began_ns| *began_ns != 0)
    }

    /// Why the head did not arrive, after reading it has failed.
    pub(super) fn failure(session: &ServerSession) -> Failure {
        match Self::under(session).map(Self::waits) {
            Some(Waits::TimedOut) => Failure::TimedOut,
            Some(Waits::TooLarge) => Failure::TooLarge,
            _ => Failure::Other,
        }
    }

    fn waits(&self) -> Waits {
        Waits::from_bits(self.waits.load(Ordering::Relaxed))
    }

    fn now_waits(&mut self, waits: Waits) {
        *self.waits.get_mut() = waits as u8;
    }

    /// Counts what was read; the first byte of a further head starts its deadline.
    fn count(&mut self, read: usize) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(read);
        let now = Instant::now();
        let began_ns = self.head_began_ns.get_mut();
        if *began_ns == 0 {
            *began_ns = clock::ticks_ns_at(now.into_std());
        }
        let deadline = *self.deadline.get_or_insert(now + self.head_deadline);
        if deadline <= now {
            return Err(self.timed_out());
        }
        let opens = self.preface_only && PREFACE_BYTES <= self.bytes;
        self.now_waits(if opens { Waits::Open } else { Waits::Head });
        Ok(())
    }

    fn timed_out(&mut self) -> io::Error {
        self.now_waits(Waits::TimedOut);
        io::Error::from(io::ErrorKind::TimedOut)
    }

    /// Waits for the deadline while the client is silent.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(self.timed_out()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.waits() {
            Waits::Open => return Pin::new(&mut this.inner).poll_read(context, buffer),
            Waits::Next if this.bytes != 0 => {
                this.bytes = 0;
                this.deadline = None;
                this.timer = None;
            }
            // The head was not whole with these bytes, else nobody would ask for more.
            _ if this.bytes_max < this.bytes => {
                this.now_waits(Waits::TooLarge);
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)));
            }
            _ => {}
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Pending => this.poll_deadline(context),
            Poll::Ready(Ok(())) => match buffer.filled().len().saturating_sub(before) {
                0 => Poll::Ready(Ok(())),
                read => Poll::Ready(this.count(read)),
            },
            failed => failed,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Guarded {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl Peek for Guarded {}

//! The wrapper of a client's connection that watches and bounds what comes over it.
//!
//! Owns the total deadline of what is begun (a head, the opening of HTTP/2, a header block) and the deadline of what
//! the client does not take: Pingora's own are per read, and for some writes there is none. Every byte goes past
//! [`Framing`] or [`Frames`] before the parser sees it, and is passed on unchanged; once they refuse it, nothing more of
//! it is. Answers nothing, but for the GOAWAY to a client that floods.

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
use portcullis_core::config::Limits;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::farewell::{Farewell, Outgoing};
use super::frames::Frames;
use super::framing::{Broken, Framing};
use crate::clock;

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
    /// Nothing that has a deadline here.
    Open,
    /// What came has no reading.
    Malformed,
    /// The deadline has passed.
    TimedOut,
    /// The bounds were exceeded before the head was whole.
    TooLarge,
}

impl Waits {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::First,
            1 => Self::Next,
            2 => Self::Head,
            3 => Self::Open,
            4 => Self::Malformed,
            5 => Self::TimedOut,
            _ => Self::TooLarge,
        }
    }
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// What came has no reading; what of it.
    Malformed(&'static str),
    /// For another reason than this wrapper's.
    Other,
    /// Not within the deadline.
    TimedOut,
    /// Not within the bounds; which.
    TooLarge(&'static str),
}

/// Who looks at what comes.
#[derive(Debug)]
enum Watch {
    Http1(Framing),
    Http2(Frames),
    /// Nobody: it was refused, and is read to be thrown away.
    Off,
}

/// How far the gate is with ending the connection itself.
#[derive(Debug)]
enum Ending {
    /// It goes on.
    No,
    /// The client is being told.
    Telling(Box<Farewell>),
    /// Nothing more is read or written.
    Over,
}

/// A client's connection under watch.
#[derive(Debug)]
pub(crate) struct Guarded {
    inner: Stream,
    waits: AtomicU8,
    watch: Watch,
    under_http2: bool,
    /// What is begun over HTTP/2, by its number.
    under_way: Option<u64>,
    /// Why the watch has refused.
    complaint: &'static str,
    head_deadline: Duration,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    write_deadline: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What goes out over HTTP/2.
    out: Outgoing,
    ending: Ending,
    /// When the first byte of the head came, in ticks; zero before that.
    head_began_ns: AtomicU64,
}

impl Guarded {
    /// Wraps a connection; the deadline of its first head starts now.
    pub(crate) fn new(inner: Stream, limits: &Limits) -> Self {
        let now = Instant::now();
        let under_http2 = matches!(inner.selected_alpn_proto(), Some(ALPN::H2));
        Self {
            watch: match under_http2 {
                true => Watch::Http2(Frames::new(now)),
                false => Watch::Http1(Framing::new(limits)),
            },
            under_http2,
            inner,
            waits: AtomicU8::new(Waits::First as u8),
            under_way: Some(0),
            complaint: "",
            head_deadline: limits.header_deadline,
            deadline: Some(now + limits.header_deadline),
            timer: None,
            write_deadline: limits.body_deadline,
            stalled: None,
            out: Outgoing::default(),
            ending: Ending::No,
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

    /// Why nothing more could be read from the connection.
    pub(super) fn failure(session: &ServerSession) -> Failure {
        let Some(guarded) = Self::under(session) else {
            return Failure::Other;
        };
        match guarded.waits() {
            Waits::Malformed => Failure::Malformed(guarded.complaint),
            Waits::TimedOut => Failure::TimedOut,
            Waits::TooLarge => Failure::TooLarge(guarded.complaint),
            Waits::First | Waits::Next | Waits::Head | Waits::Open => Failure::Other,
        }
    }

    fn waits(&self) -> Waits {
        Waits::from_bits(self.waits.load(Ordering::Relaxed))
    }

    fn now_waits(&mut self, waits: Waits) {
        *self.waits.get_mut() = waits as u8;
    }

    /// Looks at what was read.
    fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.watch {
            Watch::Http1(framing) => {
                let fed = framing.feed(bytes);
                fed.map_err(|broken| match broken {
                    Broken::Malformed(complaint) => self.refuse(Waits::Malformed, complaint),
                    Broken::TooLarge(complaint) => self.refuse(Waits::TooLarge, complaint),
                })?;
                match self.waits() {
                    Waits::First | Waits::Next | Waits::Head => self.count_head(),
                    _ => Ok(()),
                }
            }
            Watch::Http2(frames) => {
                let now = Instant::now();
                let fed = frames.feed(bytes, now);
                let under_way = frames.under_way();
                if fed.is_err() {
                    self.ending = Ending::Telling(Box::new(Farewell::enough(frames.last_stream())));
                    return Err(self.refuse(Waits::Malformed, "too many frames without a message"));
                }
                self.time_frames(under_way, now)
            }
            Watch::Off => Ok(()),
        }
    }

    /// Counts the time of an HTTP/1 head; the first byte of a further one starts its deadline.
    fn count_head(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let began_ns = self.head_began_ns.get_mut();
        if *began_ns == 0 {
            *began_ns = clock::ticks_ns_at(now.into_std());
        }
        if *self.deadline.get_or_insert(now + self.head_deadline) <= now {
            return Err(self.timed_out());
        }
        self.now_waits(Waits::Head);
        Ok(())
    }

    /// Times what is under way over HTTP/2, each on its own.
    fn time_frames(&mut self, under_way: Option<u64>, now: Instant) -> io::Result<()> {
        if under_way != self.under_way {
            self.under_way = under_way;
            self.deadline = under_way.map(|_| now + self.head_deadline);
            self.timer = None;
        }
        match self.deadline {
            Some(deadline) if deadline <= now => Err(self.timed_out()),
            _ => Ok(()),
        }
    }

    #[cold]
    fn refuse(&mut self, waits: Waits, complaint: &'static str) -> io::Error {
        self.watch = Watch::Off;
        self.complaint = complaint;
        self.now_waits(waits);
        io::Error::from(io::ErrorKind::InvalidData)
    }

    #[cold]
    fn timed_out(&mut self) -> io::Error {
        self.watch = Watch::Off;
        self.now_waits(Waits::TimedOut);
        io::Error::from(io::ErrorKind::TimedOut)
    }

    /// Makes ready for a further head, as often as it is asked for before that begins.
    fn expect_head(&mut self) {
        self.deadline = None;
        self.timer = None;
        if let Watch::Http1(framing) = &mut self.watch {
            framing.expect_request();
        }
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

    /// Whether what comes has a deadline now.
    fn is_timed(&self) -> bool {
        match (&self.watch, self.waits()) {
            (Watch::Off, _) => false,
            (Watch::Http2(_), _) => true,
            (Watch::Http1(_), waits) => matches!(waits, Waits::First | Waits::Next | Waits::Head),
        }
    }

    /// Tells the client of a flood that the connection ends, and then ends it.
    fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Ending::Telling(farewell) = &mut self.ending {
            ready!(farewell.poll(&mut self.inner, &self.out, context));
            self.ending = Ending::Over;
        }
        Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)))
    }

    /// Whether others may write: not within the last word, nor after it.
    fn poll_may_write(&self) -> Poll<io::Result<()>> {
        match &self.ending {
            Ending::Telling(farewell) if farewell.has_begun() => Poll::Pending,
            Ending::No | Ending::Telling(_) => Poll::Ready(Ok(())),
            Ending::Over => Poll::Ready(Err(io::Error::from(io::ErrorKind::BrokenPipe))),
        }
    }

    /// Follows the frames that go out over HTTP/2; `count` bytes were taken, of these at most all: how many it were.
    fn pass(&mut self, bytes: &[u8], count: usize) -> usize {
        let gone = bytes.get(..count).unwrap_or(bytes);
        if self.under_http2 {
            self.out.pass(gone);
        }
        gone.len()
    }

    /// Has the last word said as soon as a frame has ended.
    fn look_at_end(&self, context: &Context<'_>) {
        if matches!(self.ending, Ending::Telling(_)) && self.out.is_between_frames() {
            context.waker().wake_by_ref();
        }
    }

    /// Bounds how long a write makes no way.
    fn poll_written<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = self.write_deadline;
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(deadline)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waits() == Waits::Next {
            this.expect_head();
        }
        if !matches!(this.ending, Ending::No) {
            return this.poll_ending(context);
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.inner).poll_read(context, buffer) {
            Poll::Pending if this.is_timed() => this.poll_deadline(context),
            Poll::Ready(Ok(())) => match buffer.filled().get(before..) {
                None | Some([]) => Poll::Ready(Ok(())),
                Some(read) => {
                    let looked = this.look(read);
                    if matches!(this.ending, Ending::No) {
                        return Poll::Ready(looked);
                    }
                    buffer.set_filled(before);
                    this.poll_ending(context)
                }
            },
            other => other,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_may_write())?;
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            this.pass(bytes, *count);
            this.look_at_end(context);
        }
        this.poll_written(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        this.poll_written(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.inner).poll_shutdown(context);
        this.poll_written(shut, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_may_write())?;
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count)) = &written {
            let mut left = *count;
            for slice in slices {
                left = left.saturating_sub(this.pass(slice, left));
            }
            this.look_at_end(context);
        }
        this.poll_written(written, context)
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

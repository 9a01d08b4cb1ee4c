//! The progress of a socket with HTTP: the phase it is in, its deadlines, and whether it can be evicted to make room. It
//! ends with an upgrade, because a WebSocket has deadlines of its own. An event stream has them, too, until it ends: then the
//! rest of its response has to be written, and the socket is closed.
//!
//! ```text
//! accepted -> Handshake -> Head -- whole head --> Handling -- response --> Idle -- first byte --> Head
//!             read_timeout read_timeout           (handler_timeout)      idle_timeout
//!                                      |          |                      write_timeout, while something is unsent
//!                                      |          '-- too many others --> Queued -- permit --> Handling
//!                                      '-- an event stream --> Stream -- it ends --> Handling
//!                                                              (its own)             write_timeout
//! ```
//!
//! hyper's `header_read_timeout` is not used, because it counts the idle time between requests as time for a head.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use super::ServerOptions;
use crate::engine::stream::Stream;
use crate::engine::sync::Mutex;
use crate::handler::BoxFuture;
use crate::limits::gauge::Permit;
use crate::metrics::SocketCloseReason;

/// The state that the stream, the service and the deadlines of one socket share, all in its task, and that the pool of
/// pending sockets reads to choose one to evict.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<ProgressState>,
    /// Notified once, when the socket is evicted.
    evicted: Notify,
    /// Notified once, when its queued request is rejected.
    rejected: Notify,
}

#[derive(Debug)]
struct ProgressState {
    phase: Phase,
    /// The address of the client, if it is known and counts.
    address: Option<IpAddr>,
    /// The reason for which the socket was evicted.
    evicted_for: Option<SocketCloseReason>,
    /// The time since which a response, or the end of an event stream, has not been written completely.
    unsent: Option<Instant>,
    /// The response that is about to be written is the last one, and ends HTTP: 101 (Switching Protocols).
    is_upgrade: bool,
}

#[derive(Debug)]
enum Phase {
    /// The bytes before the first request are awaited: a PROXY header, and the TLS handshake.
    Handshake { since: Instant },
    /// The head of a request is awaited, or has been received in part.
    Head { since: Instant },
    /// A request is being handled.
    Handling,
    /// A request waits for a permit to be handled.
    Queued { since: Instant },
    /// The response is an event stream.
    Stream(StreamGuard),
    /// The response has been made; another request may follow.
    Idle { since: Instant },
}

/// The event that a socket waits for, and the time since when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WaitState {
    /// Another request, which the client need not send.
    Idle(Instant),
    /// The rest of what the client has begun to send or to receive.
    Client(Instant),
    /// A permit to handle its request.
    Queued(Instant),
    /// The end of a handler.
    Handling,
    /// The end of an event stream.
    Stream,
}

/// An event stream that is the response to a request. The socket is counted as a stream until this is dropped.
pub(super) struct StreamGuard {
    ended: BoxFuture<'static, ()>,
    _permit: Permit,
}

impl StreamGuard {
    pub(super) fn new(stream: &Arc<Stream>, permit: Permit) -> StreamGuard {
        let stream = Arc::clone(stream);
        StreamGuard { ended: Box::pin(async move { stream.ended().await }), _permit: permit }
    }
}

impl fmt::Debug for StreamGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamGuard").finish_non_exhaustive()
    }
}

impl Progress {
    pub(super) fn new() -> Arc<Progress> {
        let phase = Phase::Handshake { since: Instant::now() };
        let state =
            Mutex::new(ProgressState { phase, address: None, evicted_for: None, unsent: None, is_upgrade: false });
        Arc::new(Progress { state, evicted: Notify::new(), rejected: Notify::new() })
    }

    /// Sets the address to which the socket is counted.
    pub(super) fn set_address(&self, address: Option<IpAddr>) {
        self.state.lock().address = address;
    }

    /// The event that the socket waits for, and the address to which it is counted.
    pub(super) fn wait_state(&self) -> (WaitState, Option<IpAddr>) {
        let state = self.state.lock();
        let waiting = match (&state.phase, state.unsent) {
            (Phase::Handshake { since } | Phase::Head { since }, _) => WaitState::Client(*since),
            (Phase::Idle { .. }, Some(since)) => WaitState::Client(since),
            (Phase::Idle { since }, None) => WaitState::Idle(*since),
            (Phase::Queued { since }, _) => WaitState::Queued(*since),
            (Phase::Handling, _) => WaitState::Handling,
            (Phase::Stream(_), _) => WaitState::Stream,
        };
        (waiting, state.address)
    }

    /// Has the socket closed for this reason.
    pub(super) fn evict(&self, reason: SocketCloseReason) {
        self.state.lock().evicted_for = Some(reason);
        self.evicted.notify_one();
    }

    /// Completes when the socket is evicted, with the reason.
    pub(super) async fn evicted(&self) -> SocketCloseReason {
        self.evicted.notified().await;
        self.state.lock().evicted_for.unwrap_or(SocketCloseReason::EvictedIdle)
    }

    /// Has the queued request answered 503.
    pub(super) fn reject_queued(&self) {
        self.rejected.notify_one();
    }

    /// Completes when the queued request is rejected.
    pub(super) async fn rejected(&self) {
        self.rejected.notified().await;
    }

    /// The handshakes below HTTP are done.
    pub(super) fn on_handshake(&self) {
        self.state.lock().phase = Phase::Head { since: Instant::now() };
    }

    /// There is no permit for the request.
    pub(super) fn on_queued(&self) {
        self.state.lock().phase = Phase::Queued { since: Instant::now() };
    }

    /// The whole head of a request has been received, or a queued request goes on.
    pub(super) fn on_request(&self) {
        self.state.lock().phase = Phase::Handling;
    }

    /// The response has been made, and is about to be written.
    pub(super) fn on_response(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.phase = Phase::Idle { since: now };
        // Not restarted by further responses: otherwise a client that reads none would get more time by sending requests.
        state.unsent.get_or_insert(now);
    }

    /// The response that has been made is 101 (Switching Protocols).
    pub(super) fn on_upgrade(&self) {
        self.state.lock().is_upgrade = true;
        self.on_response();
    }

    fn is_upgrade(&self) -> bool {
        self.state.lock().is_upgrade
    }

    /// The response is an event stream.
    pub(super) fn on_stream(&self, stream: StreamGuard) {
        let mut state = self.state.lock();
        state.phase = Phase::Stream(stream);
        // The connection of the stream has a deadline for writes of its own (`write_wait`).
        state.unsent = None;
    }

    /// Completes when the response is an event stream that has ended, so that only the rest of it is to be written. To be
    /// polled after the connection, in its task.
    pub(super) async fn stream_ended(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            let Phase::Stream(stream) = &mut state.phase else { return Poll::Pending };
            ready!(stream.ended.as_mut().poll(cx));
            state.unsent = Some(Instant::now());
            let ended = std::mem::replace(&mut state.phase, Phase::Handling);
            // Its drop changes the count of streams: not under this lock.
            drop(state);
            drop(ended);
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Stream(_))
    }

    /// Returns `true` if the response to a received request has not been written completely.
    pub(super) fn has_request(&self) -> bool {
        let state = self.state.lock();
        state.unsent.is_some() || matches!(state.phase, Phase::Handling | Phase::Queued { .. } | Phase::Stream(_))
    }

    fn on_read(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Idle { .. }) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    fn on_flush(&self) {
        let mut state = self.state.lock();
        if state.unsent.take().is_some()
            && let Phase::Idle { since } = &mut state.phase
        {
            *since = Instant::now();
        }
    }

    /// The earliest deadline, with the reason for which the socket is closed then. A timeout too long for the clock has no
    /// deadline.
    fn deadline(&self, options: &ServerOptions) -> Option<(Instant, SocketCloseReason)> {
        let state = self.state.lock();
        let reading = match state.phase {
            Phase::Head { since } => Some((since.checked_add(options.read_timeout)?, SocketCloseReason::ReadTimeout)),
            Phase::Idle { since } if state.unsent.is_none() => {
                Some((since.checked_add(options.idle_timeout)?, SocketCloseReason::IdleTimeout))
            }
            _ => None,
        };
        let writing = state
            .unsent
            .and_then(|since| Some((since.checked_add(options.write_timeout)?, SocketCloseReason::WriteTimeout)));
        reading.into_iter().chain(writing).min_by_key(|(at, _)| *at)
    }
}

/// The deadlines of one socket, with the timer for the earliest.
#[derive(Debug)]
pub(super) struct HttpDeadlines<'a> {
    progress: &'a Progress,
    options: &'a ServerOptions,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<'a> HttpDeadlines<'a> {
    pub(super) fn new(progress: &'a Progress, options: &'a ServerOptions) -> Self {
        HttpDeadlines { progress, options, sleep: None }
    }

    /// Completes when a deadline has passed, with the reason for which the socket is closed. To be polled after the
    /// connection, in its task: only that moves the deadlines, so they are right whenever this is polled.
    pub(super) async fn missed(&mut self) -> SocketCloseReason {
        poll_fn(|cx| {
            let Some((at, reason)) = self.progress.deadline(self.options) else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            sleep.as_mut().poll(cx).map(|()| reason)
        })
        .await
    }
}

/// A stream that reports reads and flushes to its [`Progress`].
#[derive(Debug)]
pub(crate) struct ObservedStream<S> {
    stream: S,
    progress: Arc<Progress>,
    /// The head of the response to an upgrade, so far, if it is held back.
    held: Option<Vec<u8>>,
}

impl<S> ObservedStream<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> ObservedStream<S> {
        ObservedStream { stream, progress, held: None }
    }

    /// A stream that holds back the head of the response to an upgrade: the connection that follows sends it together with
    /// its first message. A write of its own would be one of three that a connection and a join take.
    pub(super) fn holding_upgrades(stream: S, progress: Arc<Progress>) -> ObservedStream<S> {
        ObservedStream { stream, progress, held: Some(Vec::new()) }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// The stream, and the bytes that were held back.
    pub(crate) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.held.unwrap_or_default())
    }

    /// Holds bytes back if they belong to the response to an upgrade. Returns `false` if they are to be written.
    fn hold<'a>(&mut self, bytes: impl Iterator<Item = &'a [u8]>) -> bool {
        let Some(held) = self.held.as_mut().filter(|_| self.progress.is_upgrade()) else { return false };
        bytes.for_each(|bytes| held.extend_from_slice(bytes));
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.progress.on_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hold([bytes].into_iter()) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.hold(slices.iter().map(|slice| &**slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all of a response, so the end of a flush is the end of the response.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.on_flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

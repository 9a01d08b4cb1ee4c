//! The progress of a socket with HTTP, by when it must go on, and whether it can be closed to make room. It matters
//! until the upgrade only: a WebSocket has other deadlines. So has an event stream, until it ends: then the rest of it
//! has to be written, and that was the last answer.
//!
//! ```text
//! accepted -> Handshake -> Head -- whole head --> InHand -- answered --> Idle -- first byte --> Head
//!             read_timeout read_timeout         (the handler's own)    idle_timeout
//!                                      |        |                      write_timeout, while something is unsent
//!                                      |        '-- too many others --> Queued -- its turn --> InHand
//!                                      '-- an event stream --> Stream -- it ends --> InHand
//!                                                              (its own)             write_timeout
//! ```
//!
//! hyper's `header_read_timeout` would count the idle time between requests as the time for a head.

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
use super::streaming::Streaming;
use crate::engine::sync::Mutex;
use crate::metrics::SocketCloseReason;

/// Shared by the stream, the service, and who watches the deadlines, all in one task; and by who makes room for others.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<ProgressState>,
    /// Told once, when the socket is to be closed to make room.
    evicted: Notify,
    /// Told once, when its request is not to wait for its turn any longer.
    rejected: Notify,
}

#[derive(Debug)]
struct ProgressState {
    reading: Reading,
    /// The address of its client, if that is known and counts.
    address: Option<IpAddr>,
    /// The reason why the socket is closed to make room.
    evicted_for: Option<SocketCloseReason>,
    /// The moment since which an answer, or the end of one, has not been written.
    unsent: Option<Instant>,
}

#[derive(Debug)]
enum Reading {
    /// The bytes before the first request: a PROXY header, and that of TLS.
    Handshake { since: Instant },
    /// Something of a request is awaited, or has been received.
    Head { since: Instant },
    /// The request is being answered.
    InHand,
    /// The request waits for its turn to be answered.
    Queued { since: Instant },
    /// The answer goes on for as long as its connection.
    Stream(Streaming),
    /// Another request may come or not: that is up to the client.
    Idle { since: Instant },
}

/// The thing that a socket waits for, and since when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WaitState {
    /// For another request, if its client wants one.
    Idle(Instant),
    /// For its client to go on with what it has begun.
    Client(Instant),
    /// For its turn.
    Turn(Instant),
    /// For nothing: its request is being answered.
    Nothing,
    /// It is an event stream.
    Stream,
}

impl Progress {
    pub(super) fn new() -> Arc<Progress> {
        let reading = Reading::Handshake { since: Instant::now() };
        let state = Mutex::new(ProgressState { reading, address: None, evicted_for: None, unsent: None });
        Arc::new(Progress { state, evicted: Notify::new(), rejected: Notify::new() })
    }

    /// The client is at this address.
    pub(super) fn comes_from(&self, address: Option<IpAddr>) {
        self.state.lock().address = address;
    }

    /// A request may come.
    pub(super) fn begun(&self) {
        self.state.lock().reading = Reading::Head { since: Instant::now() };
    }

    /// The thing that it waits for, and the address of its client.
    pub(super) fn standing(&self) -> (WaitState, Option<IpAddr>) {
        let state = self.state.lock();
        let waiting = match (&state.reading, state.unsent) {
            (Reading::Handshake { since } | Reading::Head { since }, _) => WaitState::Client(*since),
            (Reading::Idle { .. }, Some(since)) => WaitState::Client(since),
            (Reading::Idle { since }, None) => WaitState::Idle(*since),
            (Reading::Queued { since }, _) => WaitState::Turn(*since),
            (Reading::InHand, _) => WaitState::Nothing,
            (Reading::Stream(_), _) => WaitState::Stream,
        };
        (waiting, state.address)
    }

    /// Has the socket closed, for a reason.
    pub(super) fn evict(&self, reason: SocketCloseReason) {
        self.state.lock().evicted_for = Some(reason);
        self.evicted.notify_one();
    }

    /// Completes when the socket is to be closed.
    pub(super) async fn evicted(&self) -> SocketCloseReason {
        self.evicted.notified().await;
        self.state.lock().evicted_for.unwrap_or(SocketCloseReason::EvictedIdle)
    }

    pub(super) fn reject_queued(&self) {
        self.rejected.notify_one();
    }

    /// Completes when the request is not to wait any longer.
    pub(super) async fn rejected(&self) {
        self.rejected.notified().await;
    }

    /// The request has to wait for its turn.
    pub(super) fn queued(&self) {
        self.state.lock().reading = Reading::Queued { since: Instant::now() };
    }

    /// The whole head of a request is there.
    pub(super) fn requested(&self) {
        self.state.lock().reading = Reading::InHand;
    }

    /// The answer is known, and about to be written.
    pub(super) fn answered(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.reading = Reading::Idle { since: now };
        // A client that takes no answers does not get more time by asking more.
        state.unsent.get_or_insert(now);
    }

    /// The answer is an event stream.
    pub(super) fn streams(&self, streaming: Streaming) {
        let mut state = self.state.lock();
        state.reading = Reading::Stream(streaming);
        // From now on its connection watches what the client takes.
        state.unsent = None;
    }

    /// Completes when the event stream has ended, if there is one: all that is left of it is about to be written. To be
    /// polled after the connection, in its task.
    pub(super) async fn stream_ended(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            let Reading::Stream(streaming) = &mut state.reading else { return Poll::Pending };
            ready!(streaming.poll_ended(cx));
            state.unsent = Some(Instant::now());
            let ended = std::mem::replace(&mut state.reading, Reading::InHand);
            drop(state);
            drop(ended);
            Poll::Ready(())
        })
        .await;
    }

    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.state.lock().reading, Reading::Stream(_))
    }

    /// Returns `true` if a request has been received whose answer has not been written.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.unsent.is_some() || matches!(state.reading, Reading::InHand | Reading::Queued { .. } | Reading::Stream(_))
    }

    fn received(&self) {
        let mut state = self.state.lock();
        if matches!(state.reading, Reading::Idle { .. }) {
            state.reading = Reading::Head { since: Instant::now() };
        }
    }

    fn sent(&self) {
        let mut state = self.state.lock();
        if state.unsent.take().is_some()
            && let Reading::Idle { since } = &mut state.reading
        {
            *since = Instant::now();
        }
    }

    /// The earliest deadline, and what it is a deadline for. None of them is a time that no clock reaches.
    fn deadline(&self, options: &ServerOptions) -> Option<(Instant, SocketCloseReason)> {
        let state = self.state.lock();
        let reading = match state.reading {
            Reading::Head { since } => Some((since.checked_add(options.read_timeout)?, SocketCloseReason::ReadTimeout)),
            Reading::Idle { since } if state.unsent.is_none() => {
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

/// Watches the deadlines of one socket.
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

    /// Waits for a deadline to be missed; answers which. To be polled after the connection, in its
    /// task: nothing else makes progress.
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

/// A stream that tells what it does.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Watched<S> {
        Watched { stream, progress }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.progress.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written everything there is.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.sent();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

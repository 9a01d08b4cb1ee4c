//! The driver of a raw WebSocket, beside its handler: reads, writes, answers to pings, and deadlines.
//!
//! The driver and the handler are polled by one task, and share the state in [`SharedSocket`]. So pings are answered and a
//! silent peer is detected while the handler waits for something else; and the socket is closed when its peer has gone, even
//! if the handler keeps its [`WebSocket`](crate::WebSocket).
//!
//! ```text
//!  Open --(our close frame is queued, or the peer's has come)--> Closing --(both are through, or write_wait)--> Gone
//!    '--(end of stream, failure, silence, nothing taken)---------------------------------------------------------^
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use pondsocket_proto::channel::Assigns;
use pondsocket_proto::ws::{self, Decoder, Event, Opcode, ProtocolError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::endpoint::{EndpointInner, EndpointSettings};
use crate::engine::closing::Closure;
use crate::engine::handle::Identity;
use crate::engine::socket::{Io, Scratch};
use crate::engine::sync::Mutex;
use crate::engine::timer::WakeUp;
use crate::handler::BoxFuture;
use crate::limits::admission::Admission;
use crate::limits::memory::{MemoryWait, SHARE};
use crate::metrics::{CloseReason, ConnectionInfo, Limit};
use crate::websocket::{Message, SharedSocket, SocketStage, SocketState};

/// The number of reads in one poll, after which other tasks get their turn.
const READS: usize = 16;

/// The most pings without an answer that are kept.
const PINGS: usize = 16;

/// The longest payload of a ping or pong (RFC 6455 section 5.5).
const MAX_CONTROL: usize = 125;

/// The driver of one raw WebSocket.
pub(super) struct Driver {
    shared: Arc<SharedSocket>,
    /// `None` once it is closed.
    io: Option<Box<dyn Io>>,
    decoder: Decoder,
    /// Bytes that had been read before the connection was handed over.
    first: Vec<u8>,
    /// The payloads of the latest pings that are not answered. Earlier ones need no answer (RFC 6455 section 5.5.3), so
    /// a peer that pings and does not read costs no more than [`PINGS`] of them.
    pings: VecDeque<Vec<u8>>,
    /// The end of the connection by the peer. It waits for the application to take earlier messages, which it may still
    /// answer.
    pending_close: Option<PendingClose>,
    peer_closed: bool,
    /// True if the peer broke the protocol. Later bytes are dropped unread.
    broken: bool,
    opened: Instant,
    /// The time of the last read. It is not renewed while the application receives nothing, so that this ends at `pong_wait`,
    /// too.
    last_read: Instant,
    last_ping: Instant,
    /// The time since which the peer accepts no bytes.
    stalled: Option<Instant>,
    /// The time since which all frames are written and the peer has to close.
    closing: Option<Instant>,
    /// The wait for free memory before a read.
    memory: MemoryWait,
    /// True if the socket is not read because the memory limit is reached.
    waits_for_memory: bool,
    /// The time since which that is so while the connection itself holds much of the memory.
    out_of_memory: Option<Instant>,
    /// The number of messages that waited for the application at the last poll.
    waiting: usize,
    wake_up: WakeUp,
    /// Completes when the server shuts down; `None` once it has.
    draining: Option<BoxFuture<'static, Closure>>,
    endpoint: Arc<EndpointInner>,
    settings: Arc<EndpointSettings>,
    identity: Identity,
    /// Dropped with the socket.
    admission: Option<Admission>,
}

/// The parts of which a driver is made.
pub(super) struct DriverParts {
    pub(super) io: Box<dyn Io>,
    pub(super) first: Vec<u8>,
    pub(super) decoder: Decoder,
    pub(super) identity: Identity,
    pub(super) admission: Option<Admission>,
}

/// The end of the connection by the peer: by a close frame, or by breaking the protocol.
struct PendingClose {
    closure: Closure,
    /// The last frame of the server.
    answer: Vec<u8>,
    /// The time until which it can be delayed.
    deadline: Instant,
}

/// The action that a deadline asks for.
enum DueAction {
    /// The peer has accepted no bytes, or not closed, for `write_wait`.
    Stalled,
    /// The connection has held much of the exhausted memory for `write_wait`.
    OutOfMemory,
    /// Nothing was read for `pong_wait`.
    Silent,
    Ping,
}

/// The outcome of a read.
enum FrameOutcome {
    Data,
    Close(Option<u16>),
    Violation(ProtocolError),
}

impl Driver {
    pub(super) fn new(
        parts: DriverParts,
        shared: Arc<SharedSocket>,
        endpoint: Arc<EndpointInner>,
        settings: Arc<EndpointSettings>,
    ) -> Driver {
        let DriverParts { io, first, decoder, identity, admission } = parts;
        let now = Instant::now();
        let common = Arc::clone(&endpoint.common);
        let draining: BoxFuture<'static, Closure> = Box::pin(async move { common.drain.begun().await });
        let driver = Driver {
            shared,
            io: Some(io),
            decoder,
            first,
            pings: VecDeque::new(),
            pending_close: None,
            peer_closed: false,
            broken: false,
            opened: now,
            last_read: now,
            last_ping: now,
            stalled: None,
            closing: None,
            memory: MemoryWait::default(),
            waits_for_memory: false,
            out_of_memory: None,
            waiting: 0,
            wake_up: WakeUp::default(),
            draining: Some(draining),
            endpoint,
            settings,
            identity,
            admission,
        };
        driver.count(|metrics, me| metrics.connection_opened(me));
        let (path, Identity { id, ip, .. }) = (&*driver.endpoint.observer.endpoint, &driver.identity);
        tracing::debug!(target: "pondsocket::connection", endpoint = path, connection = %id, ?ip, "raw WebSocket opened");
        driver
    }

    /// Reads, writes and checks deadlines as far as possible. Ready when the socket is closed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Also when the socket is closed: the memory of messages that the application takes later is released here.
        self.shared.change(|state| state.register_driver(cx));
        let closed = self.proceed(cx);
        let (received, sent) = self.held();
        self.shared.account(received + sent);
        closed
    }

    /// The number of bytes that the application has not received yet, and of those that the peer has not accepted yet.
    fn held(&self) -> (usize, usize) {
        let pings: usize = self.pings.iter().map(Vec::len).sum();
        let (waiting, sent) = self.shared.change(|state| (state.received.bytes(), state.out.len()));
        (waiting + self.decoder.buffered() + self.first.len(), sent + pings)
    }

    fn proceed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.io.is_none() {
                return Poll::Ready(());
            }
            let now = Instant::now();
            self.poll_shutdown(cx);
            // Before the read, so that written bytes are released and do not make it pause; and again after it, for the
            // answers to pings and to a close.
            self.write(cx, now);
            self.read(cx, now);
            self.poll_pending_close(now);
            self.write(cx, now);
            if self.io.is_none() {
                return Poll::Ready(());
            }
            match self.poll_deadlines(now) {
                // An action was carried out. Its effects are handled in another round.
                deadline if deadline <= now => {}
                deadline => {
                    self.wake_up.set(self.endpoint.common.timer(), cx, now, deadline);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Closes the socket at once.
    pub(super) fn abort(&mut self) {
        self.disconnect("cut off", CloseReason::Lost);
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) {
        let Some(draining) = &mut self.draining else { return };
        if let Poll::Ready(closure) = draining.as_mut().poll(cx) {
            self.draining = None;
            self.shared.change(|state| state.close(closure));
        }
    }

    /// Writes queued frames, and proceeds with the close once all are written.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(io) = &mut self.io else { return };
        let (pings, stalled) = (&mut self.pings, &mut self.stalled);
        let flushed = self.shared.change(|state| write(state, io, pings, (stalled, now), cx));
        match flushed {
            Poll::Ready(Ok(SocketStage::Open)) => {}
            Poll::Ready(Ok(_)) if self.peer_closed => self.disconnect("closed", CloseReason::Client),
            Poll::Ready(Ok(_)) => {
                self.closing.get_or_insert(now);
                if let Some(io) = self.io.as_mut().filter(|_| self.broken) {
                    // Unread bytes at a close would make the kernel reset the connection, and the peer would lose the close
                    // frame. So the socket is read on, also if the shutdown is still pending.
                    let _ = Pin::new(io).poll_shutdown(cx);
                }
            }
            Poll::Ready(Err(error)) => self.disconnect(&error.to_string(), CloseReason::Lost),
            Poll::Pending => {}
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) {
        let waited_for_memory = std::mem::take(&mut self.waits_for_memory);
        for _ in 0..READS {
            let (is_open, is_full) = self
                .shared
                .change(|state| (state.stage == SocketStage::Open, state.received.is_full(self.shared.bounds())));
            if (is_open && is_full) || self.io.is_none() || self.pending_close.is_some() {
                return;
            }
            if is_open && !self.has_memory(cx, now, waited_for_memory) {
                return;
            }
            match Scratch::lend(|scratch| self.poll_read(cx, scratch)) {
                Poll::Ready(Ok(FrameOutcome::Data)) => self.last_read = now,
                Poll::Ready(Ok(FrameOutcome::Close(code))) => {
                    self.last_read = now;
                    self.peer_closed = true;
                    let mut answer = Vec::new();
                    match code {
                        Some(code) => ws::encode_close(code, "", &mut answer),
                        None => ws::encode(Opcode::Close, &[], &mut answer),
                    }
                    let code = code.unwrap_or(1005);
                    let closure = Closure { code, text: "".into(), reason: CloseReason::Client };
                    self.pending_close =
                        Some(PendingClose { closure, answer, deadline: now + self.settings.write_wait });
                }
                Poll::Ready(Ok(FrameOutcome::Violation(error))) => self.refuse(&error, now),
                Poll::Ready(Err(error)) => return self.disconnect(&error.to_string(), CloseReason::Lost),
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Returns whether the server has memory for more messages. A closed connection keeps none.
    fn has_memory(&mut self, cx: &Context<'_>, now: Instant, waited_for_memory: bool) -> bool {
        let (received, sent) = self.held();
        // Messages of earlier reads of this poll count at once.
        self.shared.account(received + sent);
        self.waits_for_memory =
            self.endpoint.common.memory.poll_room(cx, &mut self.memory, received + sent).is_pending();
        let waiting = self.shared.change(|state| state.received.len());
        let before = std::mem::replace(&mut self.waiting, waiting);
        if !self.waits_for_memory {
            return true;
        }
        if !waited_for_memory {
            self.reached(Limit::Memory);
        }
        if waiting == 0 || waiting < before {
            // While the peer is not read, its silence means nothing. Not so if the application receives nothing either.
            self.last_read = now;
        }
        false
    }

    /// Decodes kept bytes, or reads once.
    fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<FrameOutcome>> {
        if self.decoder.has_pending() {
            return Poll::Ready(Ok(self.decode(&mut [], &mut scratch.codec)));
        }
        let mut first = std::mem::take(&mut self.first);
        if !first.is_empty() {
            return Poll::Ready(Ok(self.decode(&mut first, &mut scratch.codec)));
        }
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let mut buffer = ReadBuf::new(&mut scratch.read);
        ready!(Pin::new(io).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled_mut();
        if bytes.is_empty() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "end of stream")));
        }
        Poll::Ready(Ok(if self.broken { FrameOutcome::Data } else { self.decode(bytes, &mut scratch.codec) }))
    }

    /// Decodes until the receive queue is full. The other bytes stay with the decoder.
    fn decode(&mut self, bytes: &mut [u8], codec: &mut ws::Scratch) -> FrameOutcome {
        let (shared, pings) = (&self.shared, &mut self.pings);
        let mut input = self.decoder.feed(bytes, codec);
        shared.change(|state| {
            while state.stage != SocketStage::Open || !state.received.is_full(shared.bounds()) {
                match input.next() {
                    Some(Ok(Event::Text(text))) if state.stage == SocketStage::Open => {
                        state.receive(Message::Text(text.to_owned()));
                    }
                    Some(Ok(Event::Binary(bytes))) if state.stage == SocketStage::Open => {
                        state.receive(Message::Binary(Bytes::copy_from_slice(bytes)));
                    }
                    Some(Ok(Event::Ping(payload))) => {
                        if pings.len() == PINGS {
                            pings.pop_front();
                        }
                        pings.push_back(payload.to_vec());
                    }
                    Some(Ok(Event::Text(_) | Event::Binary(_) | Event::Pong(_))) => {}
                    Some(Ok(Event::Close(frame))) => return FrameOutcome::Close(frame.map(|frame| frame.code)),
                    Some(Err(error)) => return FrameOutcome::Violation(error),
                    None => break,
                }
            }
            FrameOutcome::Data
        })
    }

    /// Answers the end by the peer, when the application has taken all earlier messages or the deadline has passed.
    fn poll_pending_close(&mut self, now: Instant) {
        let Some(pending) = &self.pending_close else { return };
        let is_due = now >= pending.deadline;
        if !self.shared.change(|state| is_due || state.stage != SocketStage::Open || state.received.is_empty()) {
            return;
        }
        if let Some(PendingClose { closure, answer, .. }) = self.pending_close.take() {
            self.shared.change(|state| state.finish(closure, &answer));
        }
    }

    /// Ends the connection of a peer that broke the WebSocket protocol, with a close frame that names the violation.
    fn refuse(&mut self, error: &ProtocolError, now: Instant) {
        self.broken = true;
        let (code, text) = (error.close_code(), error.to_string());
        self.count(|metrics, me| metrics.connection_error(me, &text));
        if matches!(error, ProtocolError::TooLarge { .. }) {
            self.reached(Limit::MessageSize);
        }
        let mut answer = Vec::new();
        ws::encode_close(code, &text, &mut answer);
        let closure = Closure { code, text: text.into(), reason: CloseReason::Protocol };
        self.pending_close = Some(PendingClose { closure, answer, deadline: now + self.settings.write_wait });
    }

    /// Carries out the due action, and returns the next deadline; `now` after an action, because others may follow from it.
    fn poll_deadlines(&mut self, now: Instant) -> Instant {
        let (is_open, is_unread, sent) = self.shared.change(|state| {
            let is_full = state.received.is_full(self.shared.bounds());
            let is_unread = is_full || (self.waits_for_memory && !state.received.is_empty());
            (state.stage == SocketStage::Open, is_unread, state.out.len())
        });
        let holds_much = is_open && self.waits_for_memory && self.decoder.buffered() + sent >= SHARE;
        self.out_of_memory = self.out_of_memory.or(Some(now)).filter(|_| holds_much);
        let deadlines = self.deadlines(is_open);
        let due = deadlines.iter().find(|(at, _)| at.is_some_and(|at| now >= at));
        let Some((_, due)) = due else {
            // There is always one: a connection that is closing either is stalled or waits for its peer.
            let next =
                deadlines.into_iter().filter_map(|(at, _)| at).chain(self.pending_close.as_ref().map(|it| it.deadline));
            return next.min().unwrap_or(now + self.settings.write_wait);
        };
        match due {
            DueAction::Stalled => self.disconnect("the peer takes no data", CloseReason::Stalled),
            DueAction::OutOfMemory => {
                self.out_of_memory = None;
                self.shared.change(|state| state.close(OUT_OF_MEMORY));
            }
            DueAction::Silent if is_unread => self.shared.change(|state| state.close(UNREAD)),
            DueAction::Silent => self.disconnect("no data received in time", CloseReason::Silent),
            DueAction::Ping => {
                self.last_ping = now;
                // A peer that accepts no bytes would not get the ping either.
                self.shared.change(|state| {
                    if state.out.is_empty() {
                        let mut ping = Vec::new();
                        ws::encode(Opcode::Ping, &[], &mut ping);
                        state.push_frame(&ping);
                    }
                });
            }
        }
        now
    }

    /// All deadlines. Those that end the connection come first.
    fn deadlines(&self, is_open: bool) -> [(Option<Instant>, DueAction); 5] {
        let after = |start: Option<Instant>, limit: Duration| start.map(|start| start + limit);
        let (settings, open) = (&self.settings, |start: Instant| is_open.then_some(start));
        [
            (after(self.stalled, settings.write_wait), DueAction::Stalled),
            (after(self.closing, settings.write_wait), DueAction::Stalled),
            (after(self.out_of_memory, settings.write_wait), DueAction::OutOfMemory),
            (after(open(self.last_read), settings.pong_wait), DueAction::Silent),
            (after(open(self.last_ping), settings.ping_interval), DueAction::Ping),
        ]
    }

    /// Closes the socket. The reason counts if there is none yet.
    fn disconnect(&mut self, why: &str, reason: CloseReason) {
        if self.io.take().is_none() {
            return;
        }
        self.admission = None;
        let closure = self.shared.change(|state| {
            state.disconnect(Closure { code: 1006, text: why.to_owned().into(), reason });
            state.closure.clone()
        });
        self.wake_up.clear(self.endpoint.common.timer());
        let Some(Closure { code, text, reason }) = closure else { return };
        let (path, id, lasted) = (&*self.endpoint.observer.endpoint, self.identity.id, self.opened.elapsed());
        tracing::debug!(target: "pondsocket::connection", endpoint = path, connection = %id, code, %reason, %text, ?lasted, "raw WebSocket closed");
        if reason == CloseReason::Lost {
            self.count(|metrics, me| metrics.connection_error(me, &text));
        }
        self.count(|metrics, me| metrics.connection_closed(me, lasted, code, reason));
    }

    fn reached(&self, limit: Limit) {
        let id = self.identity.id;
        tracing::debug!(target: "pondsocket::limit", connection = %id, %limit, "limit reached");
        self.endpoint.observer.count(|metrics, path| metrics.limit_reached(path, limit));
    }

    fn count(&self, count: impl FnOnce(&dyn crate::metrics::Metrics, &ConnectionInfo<'_>)) {
        let Identity { id, user, ip } = &self.identity;
        let assigns = Mutex::new(Assigns::default());
        let endpoint = &*self.endpoint.observer.endpoint;
        let info = ConnectionInfo { endpoint, id: *id, user, ip: *ip, assigns: &assigns };
        self.endpoint.observer.count(|metrics, _| count(metrics, &info));
    }
}

/// The application receives none of the queued messages.
const UNREAD: Closure =
    Closure { code: 1013, text: std::borrow::Cow::Borrowed("too many messages"), reason: CloseReason::TooManyMessages };

/// The memory limit is reached, and the connection holds much of the memory.
const OUT_OF_MEMORY: Closure =
    Closure { code: 1013, text: std::borrow::Cow::Borrowed("out of memory"), reason: CloseReason::Memory };

/// Writes queued frames, and returns the stage when all are written. The answer to a ping is queued behind them, at most one
/// at a time.
fn write(
    state: &mut SocketState,
    io: &mut Box<dyn Io>,
    pings: &mut VecDeque<Vec<u8>>,
    (stalled, now): (&mut Option<Instant>, Instant),
    cx: &mut Context<'_>,
) -> Poll<io::Result<SocketStage>> {
    loop {
        if state.out.is_empty() {
            if state.stage == SocketStage::Open
                && let Some(payload) = pings.pop_front()
            {
                let mut pong = Vec::with_capacity(MAX_CONTROL + 2);
                ws::encode(Opcode::Pong, &payload, &mut pong);
                state.push_frame(&pong);
                continue;
            }
            let Poll::Ready(flushed) = Pin::new(&mut *io).poll_flush(cx) else {
                stalled.get_or_insert(now);
                return Poll::Pending;
            };
            flushed?;
            *stalled = None;
            state.flushed();
            return Poll::Ready(Ok(state.stage));
        }
        match Pin::new(&mut *io).poll_write(cx, &state.out) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => {
                state.out.advance(written);
                *stalled = None;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                stalled.get_or_insert(now);
                return Poll::Pending;
            }
        }
    }
}

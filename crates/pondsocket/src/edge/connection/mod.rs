//! One client that speaks the PondSocket protocol, over a [`Transport`], driven by one task.
//!
//! The task reads, polls its own running handlers, and writes the frames that deliveries could not write at once. An idle
//! connection holds no buffer, no timer of its own and no channel.
//!
//! The states of a connection are drawn in [`closing`](crate::engine::closing). A connection that is not open any more is
//! in no channel. If the server ends it, its close frame waits until each of its channels has delivered the messages that
//! were queued for it. After the transport is closed the task goes on until all received messages have been handled.

mod catch_up;
mod deadlines;
mod departure;
mod handlers;
mod joins;
mod outcomes;
mod repeats;
mod replies;
mod running;
mod session;
mod subscription;

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pondsocket_proto::id::RequestId;
use pondsocket_proto::wire::{Action, GATEWAY, server};
use tokio::time::Instant;
use tracing::{Span, info_span};

use crate::endpoint::EndpointInner;
use crate::engine::closing::{Close, Closure, ConnectionState, TOO_SLOW};
use crate::engine::handle::{ConnectionHandle, Flushed};
use crate::engine::ids;
use crate::engine::socket::Io;
use crate::engine::timer::WakeUp;
use crate::limits::admission::Admission;
use crate::limits::arrivals::Steps;
use crate::limits::gauge::Permit;
use crate::limits::memory::{Account, MemoryWait, Pressure, SHARE};
use crate::metrics::{CloseReason, Limit};

pub(crate) use session::{ReadPause, Session};

use deadlines::{Condition, Deadlines, Due, Situation};

/// The transport of a connection: a WebSocket, or an event stream with the requests of its client. The rest of the
/// connection is the same for both.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// True if a live client answers the frames that keep the connection alive. Otherwise its silence means nothing.
    const ANSWERS: bool;

    /// Reads once. Messages go to the session while the connection is open, and are dropped later.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> Poll<io::Result<ReadOutcome>>;

    /// The socket, if the connection's task and not the outbox writes to it.
    fn as_writer(&mut self) -> Option<&mut dyn Io>;

    /// The number of bytes that are read but not passed to the session: parts of messages, and those behind a pause.
    fn buffered(&self) -> usize;

    /// Returns whether the peer has closed its side, so that the transport can be closed without waiting.
    fn has_peer_closed(&self) -> bool;

    /// Shuts down the side of the server, towards a client that breaks the protocol.
    fn shut_down(&mut self, cx: &mut Context<'_>);

    /// Closes the transport, and drops its buffers.
    fn close(&mut self);
}

/// The outcome of a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadOutcome {
    /// Bytes of the client.
    Data,
    /// The client ends the connection, by a close frame or by breaking the protocol. The state of the connection has
    /// changed.
    Ending,
    /// The client has closed an event stream by a request.
    Closed,
    /// The client of an event stream has gone: by itself, or because its network has failed.
    Gone,
    /// The end of the input.
    End,
}

/// A connection's task. It ends when the transport is closed and everything received has been handled.
pub(crate) struct ConnectionTask<T: Transport> {
    transport: T,
    session: Session,
    /// The turns of the client until it has joined a channel.
    steps: Steps,
    /// A copy, refreshed by [`observe`](Self::observe).
    state: ConnectionState,
    deadlines: Deadlines,
    wake_up: WakeUp,
    /// The reported memory, without that of the outbox.
    account: Account,
    /// The wait for free memory before a read.
    memory: MemoryWait,
    waits_for_memory: bool,
    /// See [`Permits`].
    admission: Option<Admission>,
    _permit: Permit,
    /// Boxed, because it is there only if the application subscribes to it.
    span: Option<Box<Span>>,
}

/// The permits that an accepted client holds.
pub(crate) struct Permits {
    /// Counts the client among the endpoint's connections. Dropped with the socket.
    pub(crate) admission: Option<Admission>,
    /// Counts the client among those that a shutdown waits for. Dropped when all its messages have been handled.
    pub(crate) permit: Permit,
}

impl<T: Transport> ConnectionTask<T> {
    pub(crate) fn new(
        transport: T,
        endpoint: Arc<EndpointInner>,
        handle: Arc<ConnectionHandle>,
        permits: Permits,
    ) -> Self {
        let now = Instant::now();
        let (drain, settings) = (&endpoint.common.drain, endpoint.settings());
        let path = &*endpoint.observer.endpoint;
        let span = info_span!(target: "pondsocket::connection", "connection", endpoint = path, connection = %handle.id(), user = %handle.user());
        endpoint.register(&handle);
        // After the registration: a shutdown that begins before it does not see the connection, but the connection sees the
        // shutdown here.
        if let Some(closure) = drain.closure() {
            handle.close(Close::Graceful(closure));
        }
        handle.count(|metrics, me| metrics.connection_opened(me));
        let (connection, user, ip) = (handle.id(), handle.user(), handle.identity.ip);
        tracing::debug!(target: "pondsocket::connection", parent: &span, %connection, %user, ?ip, "opened");
        ConnectionTask {
            transport,
            state: handle.state(),
            session: Session::new(endpoint, handle, settings),
            steps: Steps::default(),
            deadlines: Deadlines::new(now),
            wake_up: WakeUp::default(),
            account: Account::default(),
            memory: MemoryWait::default(),
            waits_for_memory: false,
            admission: permits.admission,
            _permit: permits.permit,
            span: (!span.is_disabled()).then(|| Box::new(span)),
        }
    }

    fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.session.handle
    }

    /// Waits for the turn of the next step of a client that has not joined a channel yet, behind others that arrive.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Session { endpoint, options, has_joined, .. } = &self.session;
        if *has_joined {
            return Poll::Ready(());
        }
        self.steps.poll_turn(cx, &endpoint.arrivals, options, &endpoint.observer)
    }

    /// Reads until there is no more input, or until reading has to pause. Returns `true` in the latter case.
    fn read_all(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.waits_for_memory &= self.state.is_open() && self.may_read();
        while self.may_read() && self.has_memory(cx) {
            self.session.note_pause();
            match self.transport.poll_read(cx, &mut self.session, self.state.is_open()) {
                Poll::Ready(Ok(ReadOutcome::Data)) => self.deadlines.read(now),
                Poll::Ready(Ok(ReadOutcome::Ending)) => {
                    self.deadlines.read(now);
                    // Before the next read: later messages are dropped, so reading does not have to pause any more.
                    self.state = self.handle().state();
                }
                Poll::Ready(Ok(outcome @ (ReadOutcome::Closed | ReadOutcome::Gone))) => {
                    self.session.is_lost = outcome == ReadOutcome::Gone;
                    // A client that closes its stream looks the same as one whose connection was lost.
                    self.disconnect(Closure { code: 1005, text: "".into(), reason: CloseReason::Client });
                }
                Poll::Ready(Ok(ReadOutcome::End)) => self.lose("end of stream"),
                Poll::Ready(Err(error)) => self.lose(&error.to_string()),
                Poll::Pending => return false,
            }
        }
        // While the client is not read, its silence means nothing.
        self.deadlines.read(now);
        self.session.note_pause();
        true
    }

    /// Returns whether the server has memory for more messages of this connection. A closed one keeps none.
    fn has_memory(&mut self, cx: &Context<'_>) -> bool {
        if !self.state.is_open() {
            return true;
        }
        let memory = &self.session.endpoint.common.memory;
        let held = if memory.pressure() == Pressure::None { 0 } else { self.held() + self.handle().depth().1 };
        let waits_for_memory = memory.poll_room(cx, &mut self.memory, held).is_pending();
        if waits_for_memory && !std::mem::replace(&mut self.waits_for_memory, waits_for_memory) {
            self.handle().reached(Limit::Memory);
        }
        self.waits_for_memory = waits_for_memory;
        !waits_for_memory
    }

    /// The number of received bytes that are not handled yet.
    fn held(&self) -> usize {
        self.session.held_bytes() + self.transport.buffered()
    }

    /// Reports the held memory, if it has changed by much.
    fn account(&mut self) {
        let (held, endpoint) = (self.held(), &self.session.endpoint);
        if let Some(change) = self.account.set(&endpoint.common.memory, held) {
            change.apply(&endpoint.received);
        }
    }

    fn may_read(&self) -> bool {
        if self.state.is_open() {
            return self.session.pause().is_none() && !self.session.must_pause();
        }
        // Messages are dropped now, so reading need not pause, and must not: the peer's close frame is expected.
        !self.state.is_closed()
    }

    /// Closes the transport. The closure counts if none was noted before.
    fn disconnect(&mut self, closure: Closure) {
        if self.state.is_closed() {
            return;
        }
        // Our close frame, which stands behind everything, was answered: everything has arrived.
        if self.state.awaits_peer_close() && self.transport.has_peer_closed() {
            self.session.prove();
        }
        self.transport.close();
        let closure = self.handle().disconnect(closure);
        self.state = self.handle().state();
        self.give_back_admission();
        if let Some(closure) = closure {
            self.report_closed(&closure);
        }
    }

    /// Closes a transport that has ended or failed.
    fn lose(&mut self, why: &str) {
        self.disconnect(Closure { code: 1006, text: why.to_owned().into(), reason: CloseReason::Lost });
    }

    /// Drops the admission of a closed connection when none of its messages is queued. Earlier, a client that reconnects again
    /// and again could queue any number of messages.
    fn give_back_admission(&mut self) {
        if self.state.is_closed() && !self.session.is_waiting() {
            self.admission = None;
        }
    }

    fn report_closed(&self, Closure { code, text, reason }: &Closure) {
        let (common, handle, lasted) =
            (&self.session.endpoint.common, self.handle(), self.deadlines.lasted(Instant::now()));
        let (connection, user, text) = (handle.id(), handle.user(), &**text);
        tracing::debug!(target: "pondsocket::connection", %connection, %user, code, %reason, text, ?lasted, "closed");
        if *reason == CloseReason::Lost {
            handle.count(|metrics, me| metrics.connection_error(me, text));
        }
        handle.count(|metrics, me| metrics.connection_closed(me, lasted, *code, *reason));
        common.hooks.notify(&common.meter, |hooks| hooks.on_disconnect(&handle.info(), lasted, *code, *reason));
    }

    /// Writes queued frames. Returns `true` if all are written.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.state.is_closed() {
            self.session.gap = None;
            return false;
        }
        let mut wrote = false;
        let flushed = loop {
            let flushed = self.session.handle.poll_flush(cx, self.transport.as_writer(), now, &mut wrote);
            let Poll::Ready(Ok(Flushed::UpTo(hole))) = flushed else { break flushed };
            if !self.session.fill(&hole, cx, now) {
                if let Some(io) = self.transport.as_writer() {
                    // What is ahead of the hole must not wait in a buffer of the stream. A failure is found by the next write.
                    let _ = Pin::new(io).poll_flush(cx);
                }
                // The client waits for the server.
                self.deadlines.clear(Condition::Stalled);
                return false;
            }
        };
        // Not at a hole: if there was a gap, the queue was discarded since.
        self.session.gap = None;
        match flushed {
            Poll::Ready(Err(error)) => {
                self.lose(&error.to_string());
                false
            }
            Poll::Ready(Ok(_)) => {
                self.deadlines.clear(Condition::Stalled);
                true
            }
            Poll::Pending => {
                self.handle().report_growth();
                if wrote {
                    // Each byte that the peer takes starts the time anew.
                    self.deadlines.clear(Condition::Stalled);
                }
                self.deadlines.set(Condition::Stalled, true, now);
                self.deadlines.clear(Condition::Closing);
                false
            }
        }
    }

    /// Copies the state, which other tasks may have changed, and leaves all channels if the connection is not open.
    fn observe(&mut self) {
        self.state = self.handle().state();
        if !self.state.is_open() {
            self.session.depart();
        }
    }

    /// Proceeds with the close of a connection whose frames are all written.
    fn proceed_closing(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.state.has_failed() {
            self.lose("the socket failed");
        } else if self.state.awaits_peer_close() && self.transport.has_peer_closed() {
            self.lose("closed");
        } else if self.state.refuses_peer() {
            self.handle().linger();
            self.transport.shut_down(cx);
        }
        if !self.state.is_open() {
            // From now on the peer has `write_wait` to close.
            self.deadlines.set(Condition::Closing, true, now);
        }
    }

    /// Carries out the due action, and returns the next deadline; `now` after an action, because others may follow from it.
    fn poll_deadlines(&mut self, now: Instant) -> Option<Instant> {
        if self.state.is_closed() {
            return self.session.next_deadline();
        }
        let lag = self.handle().lag();
        self.deadlines.set(Condition::OverBounds, lag.is_some(), now);
        if self.session.take_progress() {
            // A queue may stay full as long as its messages are being handled.
            self.deadlines.clear(Condition::QueueFull);
        }
        let is_open = self.state.is_open();
        let is_full = is_open && self.session.pause() == Some(ReadPause::Messages);
        self.deadlines.set(Condition::QueueFull, is_full, now);
        let holds_much = self.waits_for_memory && self.transport.buffered() + self.handle().withheld(now) >= SHARE;
        self.deadlines.set(Condition::OutOfMemory, holds_much, now);

        let situation = Situation { options: &self.session.options, answers: T::ANSWERS, is_open, lag };
        let due = match self.deadlines.next(situation, now) {
            Ok(next) => return next.into_iter().chain(self.session.next_deadline()).min(),
            Err(due) => due,
        };
        match due {
            Due::Silent => self.time_out("no data received in time", CloseReason::Silent),
            Due::Stalled => self.time_out("the peer takes no data", CloseReason::Stalled),
            Due::TooSlow => self.handle().close(Close::Immediate(TOO_SLOW)),
            Due::TooManyMessages => self.handle().close(Close::Immediate(TOO_MANY_MESSAGES)),
            Due::OutOfMemory => self.handle().close(Close::Immediate(OUT_OF_MEMORY)),
            Due::Ping => {
                self.deadlines.pinged(now);
                self.handle().send_keep_alive();
            }
            Due::Heartbeat => {
                self.deadlines.sent_heartbeat(now);
                self.send_heartbeat();
            }
        }
        Some(now)
    }

    /// Closes the transport of a peer that does not respond, without a close frame.
    fn time_out(&mut self, text: &'static str, reason: CloseReason) {
        self.disconnect(Closure { code: 1006, text: text.into(), reason });
    }

    /// Sends a message for pages, which cannot see pings (docs/protocol.md, Keep-alive).
    fn send_heartbeat(&self) {
        let id = RequestId::from_u128(ids::fresh());
        let mut text = Vec::new();
        server::message(&mut text, Action::System, "HEARTBEAT", GATEWAY, id.as_str(), "{}");
        self.handle().send_text(&text);
    }

    /// Drops all running handlers and closes the transport, at the end of a shutdown.
    fn abort(&mut self) {
        let handlers = self.session.abandon();
        self.lose("cut off");
        let (connection, user) = (self.handle().id(), self.handle().user());
        tracing::warn!(target: "pondsocket::connection", %connection, %user, handlers, "cut off");
    }
}

impl<T: Transport> Future for ConnectionTask<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        ready!(me.poll_turn(cx));
        let span = me.span.clone();
        let _entered = span.as_deref().map(Span::enter);
        let now = Instant::now();
        loop {
            if me.handle().state().is_aborted() {
                me.abort();
                return Poll::Ready(());
            }
            // Removes the channels that have room again, so that the connection is read.
            me.session.changed.flush(cx);
            // Corked for the whole turn, so that all of its answers go out in one write.
            me.handle().cork(cx.waker(), now);
            // Before the read: finished handlers make room in the queues.
            me.session.poll_running(cx, now);
            let paused = me.read_all(cx, now);
            me.observe();
            // Again after the read, for handlers that it has made ready or cancelled: their answers go out in the same write.
            me.session.poll_running(cx, now);
            // Before deliveries start: they queue at a corked outbox, and write to an open one.
            me.handle().uncork();
            me.session.changed.flush(cx);
            let flushed = me.flush(cx, now);
            me.observe();
            if flushed {
                me.proceed_closing(cx, now);
            }
            // Again, because the connection may have left its channels since.
            me.session.changed.flush(cx);
            me.give_back_admission();
            me.account();
            if paused && !me.waits_for_memory && me.may_read() {
                // The cause of the pause has gone meanwhile, and no other event would wake this task.
                continue;
            }
            if me.state.is_closed() && me.session.is_done() {
                return Poll::Ready(());
            }
            match me.poll_deadlines(now) {
                // An action was carried out. Its effects are handled in another round.
                Some(deadline) if deadline <= now => {}
                Some(deadline) => {
                    me.wake_up.set(me.session.endpoint.common.timer(), cx, now, deadline);
                    return Poll::Pending;
                }
                None => return Poll::Pending,
            }
        }
    }
}

impl<T: Transport> Drop for ConnectionTask<T> {
    fn drop(&mut self) {
        let span = self.span.clone();
        let _entered = span.as_deref().map(Span::enter);
        // Also when the runtime drops the task: no membership may stay without a connection.
        self.session.abandon();
        self.lose("its task has ended");
        self.account();
        self.session.endpoint.unregister(self.handle().id());
        self.wake_up.clear(self.session.endpoint.common.timer());
    }
}

/// The client sends faster than its handlers work (docs/protocol.md, Close codes).
const TOO_MANY_MESSAGES: Closure =
    Closure { code: 1013, text: Cow::Borrowed("too many messages"), reason: CloseReason::TooManyMessages };

/// The memory limit is reached, and the connection holds much of the memory (docs/protocol.md, Close codes).
const OUT_OF_MEMORY: Closure =
    Closure { code: 1013, text: Cow::Borrowed("out of memory"), reason: CloseReason::Memory };

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use pondsocket_proto::channel::{Assigns, SlowClient};
    use pondsocket_proto::id::{ConnectionId, UserId};
    use pondsocket_proto::ws::{Decoder, DecoderLimits};
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::edge::websocket::WebSocketTransport;
    use crate::engine::framing::Framing;
    use crate::engine::handle::{HandleOptions, Identity};
    use crate::engine::outbox::{Bounds, OutboxLimits};
    use crate::engine::pace::PacingLimits;
    use crate::engine::socket::Socket;
    use crate::{ConnectionContext, Error, EventContext, JoinContext, Joined, Options, PondSocket};

    #[derive(Default)]
    struct WakeCounter(AtomicUsize);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn send(stream: &mut DuplexStream, action: &str, event: &str) {
        let message = serde_json::json!({
            "action": action, "event": event, "channelName": "/room", "requestId": "q", "payload": {},
        });
        let text = message.to_string();
        // Final, text; masked with zeros, and so not changed by it (RFC 6455 section 5.2).
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short message");
        let head = [0x81, 0x80 | length, 0, 0, 0, 0];
        stream.write_all(&[&head, text.as_bytes()].concat()).await.expect("room for a frame");
    }

    fn connect(endpoint: &crate::Endpoint) -> (DuplexStream, ConnectionTask<WebSocketTransport>) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (socket, writer) = Socket::io(Box::new(theirs));
        let (id, user) = (ConnectionId::from_u128(1), UserId::new("ada").expect("valid"));
        let pacing = PacingLimits { wait: Duration::from_secs(2), rate: 128 * 1024 };
        let bounds = Bounds { frames: 64, bytes: 64 * 1024, policy: SlowClient::Disconnect, pacing };
        let limits = Arc::new(OutboxLimits { bounds, memory: Arc::clone(&endpoint.0.common.memory) });
        let options = HandleOptions { framing: Framing::Plain, limits, max_assigns: 1024, session: None };
        let observer = Arc::clone(&endpoint.0.observer);
        let handle =
            ConnectionHandle::new(Identity { id, user, ip: None }, observer, options, Assigns::default(), writer);
        let decoder = Decoder::new(DecoderLimits { max_message_size: 1024 }, None);
        let permits = Permits { admission: None, permit: endpoint.0.common.drain.admit().expect("it serves") };
        let frames = WebSocketTransport::new(socket, Vec::new(), decoder);
        (ours, ConnectionTask::new(frames, Arc::clone(&endpoint.0), handle, permits))
    }

    /// Its own deliveries run only when this test waits: until then the channel stays as full as it is.
    #[tokio::test]
    async fn a_connection_that_fills_a_channel_is_not_read_until_there_is_room() {
        let pond = PondSocket::with_options(Options::default().channel_queue(4)).expect("valid");
        let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
        let lobby = endpoint.create_channel("/room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
        lobby.on_event("flood", async |ctx: EventContext| {
            (0..4).try_for_each(|_| ctx.broadcast("flood", &serde_json::json!({})).map(drop))
        });
        let counted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&counted);
        lobby.on_event("count", move |_: EventContext| {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        });
        let (mut stream, mut connection) = connect(&endpoint);
        let woken = Arc::new(WakeCounter::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let mut poll =
            |connection: &mut ConnectionTask<WebSocketTransport>| assert!(Pin::new(connection).poll(cx).is_pending());

        send(&mut stream, "JOIN_CHANNEL", "JOIN_CHANNEL").await;
        poll(&mut connection);
        while endpoint.0.hub.get("/room").expect("joined").read(|channel| channel.has_queued()) {
            tokio::task::yield_now().await;
        }
        send(&mut stream, "BROADCAST", "flood").await;
        poll(&mut connection);
        send(&mut stream, "BROADCAST", "count").await;
        poll(&mut connection);
        assert_eq!(counted.load(Ordering::SeqCst), 0, "read although the channel is full");

        let before = woken.0.load(Ordering::SeqCst);
        while woken.0.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        poll(&mut connection);
        assert_eq!(counted.load(Ordering::SeqCst), 1, "not read although there is room again");
    }
}

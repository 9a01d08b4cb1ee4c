//! One client that speaks the PondSocket protocol, over whichever [`Transport`], driven by one task.
//!
//! The task reads, polls its own running handlers and writes what others could not write at once. While
//! nothing happens it holds no buffer, no timer of its own and no channel.
//!
//! The states of a connection are drawn in [`closing`](crate::engine::closing). From the moment when it is not open any
//! more the connection is in no channel. If it is the server that ends it, its close frame waits until every channel that
//! it was in has delivered what it had for it. Once the transport is closed the task goes on until the messages that it had
//! received have been handled.

mod deadlines;
mod handlers;
mod replies;
mod requests;
mod running;
mod session;
mod subscription;

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pondsocket_proto::id::RequestId;
use pondsocket_proto::wire::{Action, GATEWAY, server};
use tokio::time::Instant;
use tracing::{Span, info_span};

use crate::endpoint::EndpointInner;
use crate::engine::closing::{Close, Closure, ConnectionState, TOO_SLOW};
use crate::engine::handle::ConnectionHandle;
use crate::engine::ids;
use crate::engine::socket::Io;
use crate::engine::timer::WakeUp;
use crate::limits::admission::Admission;
use crate::limits::gauge::Permit;
use crate::limits::memory::{Account, MemoryWait, Pressure, SHARE};
use crate::metrics::{CloseReason, Limit};

pub(crate) use requests::ReadPause;
pub(crate) use session::Session;

use deadlines::{Condition, Deadlines, Due, Situation};

/// The client's end of a connection: a WebSocket, or an event stream with what is posted for it. The rest of the
/// connection does not know which.
pub(crate) trait Transport: Send + Unpin + 'static {
    /// Whether a client that is there answers what keeps the connection alive. If not, its silence means nothing.
    const ANSWERS: bool;

    /// Takes in what the client sends, once. What is a message goes to the session, as long as the connection is open.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        is_open: bool,
    ) -> Poll<io::Result<ReadOutcome>>;

    /// The socket that the connection's task writes to, if it is the one who writes.
    fn as_writer(&mut self) -> Option<&mut dyn Io>;

    /// Bytes of what has been read and is not handed to the session: parts of messages, and what is behind a pause.
    fn buffered(&self) -> usize;

    /// Returns `true` if the client can be left without waiting for its goodbye.
    fn has_peer_closed(&self) -> bool;

    /// Tells a client that breaks the protocol that nothing more comes.
    fn shut_down(&mut self, cx: &mut Context<'_>);

    /// Lets go of everything. It is not read any more.
    fn close(&mut self);
}

/// The outcome of reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ReadOutcome {
    /// Something of the client.
    Data,
    /// The client ends the connection, by a close frame or against the protocol; the state knows.
    Ending,
    /// The client has closed an event stream.
    Closed,
    /// Nothing more comes.
    End,
}

/// A connection's task. It ends when the transport is closed and everything received has been handled.
pub(crate) struct ConnectionTask<T: Transport> {
    transport: T,
    session: Session,
    /// As of the last look: see [`observe`](Self::observe).
    state: ConnectionState,
    opened: Instant,
    deadlines: Deadlines,
    wake_up: WakeUp,
    /// The memory that it has reported, but for what waits for the client.
    account: Account,
    /// Its wait for memory to read into.
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
    /// Among the endpoint's connections. Given back with the socket.
    pub(crate) admission: Option<Admission>,
    /// Among those for whom the server waits when it shuts down. Given back when everything has been handled.
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
        // In this order: a shutdown that begins before the registration does not see the connection, which sees the shutdown.
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
            opened: now,
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

    /// Reads while there is something to read and nothing has to pause. True if it has to.
    fn read_all(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        self.waits_for_memory &= self.state.is_open() && self.may_read();
        while self.may_read() && self.has_memory(cx) {
            self.session.note_pause();
            match self.transport.poll_read(cx, &mut self.session, self.state.is_open()) {
                Poll::Ready(Ok(ReadOutcome::Data)) => self.deadlines.read(now),
                Poll::Ready(Ok(ReadOutcome::Ending)) => {
                    self.deadlines.read(now);
                    // Before the next read: what follows is not handled, and so nothing pauses it.
                    self.state = self.handle().state();
                }
                // A client that has closed its stream cannot be told from one that was lost.
                Poll::Ready(Ok(ReadOutcome::Closed)) => {
                    self.disconnect(Closure { code: 1005, text: "".into(), reason: CloseReason::Client });
                }
                Poll::Ready(Ok(ReadOutcome::End)) => self.lose("end of stream"),
                Poll::Ready(Err(error)) => self.lose(&error.to_string()),
                Poll::Pending => return false,
            }
        }
        // A client that is not read cannot be silent.
        self.deadlines.read(now);
        self.session.note_pause();
        true
    }

    /// Returns whether the server has memory for what this connection sends. While it is closed nothing of that is
    /// kept.
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

    /// Bytes that the client has sent and that are not handled yet.
    fn held(&self) -> usize {
        self.session.held_bytes() + self.transport.buffered()
    }

    /// Says what it holds, if that has changed by much.
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
        // Nothing of it is kept, so nothing has to pause: the peer's close frame, or its end, is to be seen.
        !self.state.is_closed()
    }

    /// Closes the transport, for this reason if none was noted before.
    fn disconnect(&mut self, closure: Closure) {
        if self.state.is_closed() {
            return;
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

    /// A connection that has gone keeps its admission while messages wait that it has left: else a client that comes and
    /// goes could have any number of them wait.
    fn give_back_admission(&mut self) {
        if self.state.is_closed() && !self.session.is_waiting() {
            self.admission = None;
        }
    }

    fn report_closed(&self, Closure { code, text, reason }: &Closure) {
        let (common, handle, lasted) = (&self.session.endpoint.common, self.handle(), self.opened.elapsed());
        let (connection, user, text) = (handle.id(), handle.user(), &**text);
        tracing::debug!(target: "pondsocket::connection", %connection, %user, code, %reason, text, ?lasted, "closed");
        if *reason == CloseReason::Lost {
            handle.count(|metrics, me| metrics.connection_error(me, text));
        }
        handle.count(|metrics, me| metrics.connection_closed(me, lasted, *code, *reason));
        common.hooks.notify(&common.meter, |hooks| hooks.on_disconnect(&handle.info(), lasted, *code, *reason));
    }

    /// Writes what is queued. Returns `true` if everything is written.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.state.is_closed() {
            return false;
        }
        let mut wrote = false;
        let flushed = self.session.handle.poll_flush(cx, self.transport.as_writer(), &mut wrote);
        match flushed {
            Poll::Ready(Err(error)) => {
                self.lose(&error.to_string());
                false
            }
            Poll::Ready(Ok(())) => {
                self.deadlines.clear(Condition::Stalled);
                true
            }
            Poll::Pending => {
                if wrote {
                    // Its time begins anew with each byte that the peer takes.
                    self.deadlines.clear(Condition::Stalled);
                }
                self.deadlines.set(Condition::Stalled, true, now);
                self.deadlines.clear(Condition::Closing);
                false
            }
        }
    }

    /// Takes a copy of the state, which others, or the peer, may have changed, and leaves all channels if it is not open.
    fn observe(&mut self) {
        self.state = self.handle().state();
        if !self.state.is_open() {
            self.session.depart();
        }
    }

    /// Takes the steps to the end that are due once everything is written.
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
            // From now on it is the peer's turn.
            self.deadlines.set(Condition::Closing, true, now);
        }
    }

    /// Does what is due, and returns the next deadline; `now` if something was done, which may have consequences.
    fn poll_deadlines(&mut self, now: Instant) -> Option<Instant> {
        if self.state.is_closed() {
            return self.session.next_deadline();
        }
        let lag = self.handle().lag();
        self.deadlines.set(Condition::OverBounds, lag.is_some(), now);
        if self.session.take_progress() {
            // The queue may be full for as long as it moves.
            self.deadlines.clear(Condition::QueueFull);
        }
        let is_open = self.state.is_open();
        let is_full = is_open && self.session.pause() == Some(ReadPause::Messages);
        self.deadlines.set(Condition::QueueFull, is_full, now);
        let holds_much = self.waits_for_memory && self.transport.buffered() + self.handle().withheld(now) >= SHARE;
        self.deadlines.set(Condition::OutOfMemory, holds_much, now);

        let situation = Situation { options: &self.session.options, answers: T::ANSWERS, is_open, lag };
        let Some(due) = self.deadlines.due(situation, now) else {
            return self.deadlines.earliest(situation).into_iter().chain(self.session.next_deadline()).min();
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

    /// Closes the transport of a peer that cannot be told why any more.
    fn time_out(&mut self, text: &'static str, reason: CloseReason) {
        self.disconnect(Closure { code: 1006, text: text.into(), reason });
    }

    /// A message for pages that cannot see pings (docs/protocol.md, Keep-alive).
    fn send_heartbeat(&self) {
        let id = RequestId::from_u128(ids::fresh());
        let mut text = Vec::new();
        server::message(&mut text, Action::System, "HEARTBEAT", GATEWAY, id.as_str(), "{}");
        self.handle().send_text(&text);
    }

    /// Gives up everything: the server does not wait any longer.
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
        let span = me.span.clone();
        let _entered = span.as_deref().map(Span::enter);
        let now = Instant::now();
        loop {
            if me.handle().state().is_aborted() {
                me.abort();
                return Poll::Ready(());
            }
            // Channels that have room again are forgotten, so that the connection is read.
            me.session.changed.flush(cx);
            // Until all of this turn is done, so that one write has all of its answers.
            me.handle().cork(cx.waker());
            // Accepted work goes before new work, and makes room for it.
            me.session.poll_running(cx, now);
            let paused = me.read_all(cx, now);
            me.observe();
            // Handlers that the read has made ready, and those that the departure cancels: their answers go out in the same write.
            me.session.poll_running(cx, now);
            // Before deliveries start: one that finds the outbox corked would only queue.
            me.handle().uncork();
            me.session.changed.flush(cx);
            let flushed = me.flush(cx, now);
            me.observe();
            if flushed {
                me.proceed_closing(cx, now);
            }
            // The connection may have left its channels just now.
            me.session.changed.flush(cx);
            me.give_back_admission();
            me.account();
            if paused && !me.waits_for_memory && me.may_read() {
                // What made it pause has been delivered meanwhile: nothing else would wake it.
                continue;
            }
            if me.state.is_closed() && me.session.is_done() {
                return Poll::Ready(());
            }
            match me.poll_deadlines(now) {
                // Something was due and has been done: what follows from it is done in another round.
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
        // Also when the runtime ends in the midst of it: no membership stays without a connection.
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

/// The server holds as much as it may, and the client much of it (docs/protocol.md, Close codes).
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
        let options = HandleOptions { framing: Framing::Plain, limits, max_assigns: 1024 };
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

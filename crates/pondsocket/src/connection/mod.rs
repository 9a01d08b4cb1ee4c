//! One socket that speaks the PondSocket protocol, driven by one task.
//!
//! The task reads, decodes, polls its own running handlers and writes what others could not write at once. While
//! nothing happens it holds no buffer, no timer of its own and no channel.
//!
//! ```text
//!  Open --(our close frame is queued, or the peer's has come)--> Closing --(both are through)--> Gone
//!    |                                                              |
//!    |                                                       (the peer broke the protocol: it is
//!    |                                                        read on, so that it sees why)
//!    |                                                              v
//!    '--(end of stream, failure, nothing heard)----> Gone <---- Lingering
//! ```
//!
//! From the moment it leaves `Open` the connection is in no channel any more. Once it is `Gone` the task goes on
//! until the messages that it had received have been handled.

mod job;
mod room;
mod session;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pondsocket_proto::ws::{Decoder, Event, Opcode};
use tokio::time::Instant;

use crate::endpoint::EndpointInner;
use crate::link::Link;
use crate::live::{Scope, Settle};
use crate::outbox::{Closure, Phase};
use crate::timer::Key;
use crate::transport::{Scratch, Transport};

use session::Session;

/// See the module.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    Open,
    Closing,
    Lingering,
    Gone,
}

/// A connection's task. It ends when the socket is closed and everything received has been handled.
pub(crate) struct Connection {
    transport: Transport,
    decoder: Decoder,
    session: Session,
    stage: Stage,
    /// Bytes that had been read before the connection was handed over.
    first: Option<Box<[u8]>>,
    /// The peer's close frame has come.
    heard_close: bool,
    heard: Instant,
    pinged: Instant,
    alarm: Option<(Instant, Key)>,
    troubles: Option<Box<Troubles>>,
    /// Channels that this connection has filled up: it is not read until they have room.
    crowded: Vec<Box<dyn Settle>>,
}

/// Since when something has been wrong; each has its deadline.
#[derive(Default)]
struct Troubles {
    /// The peer takes nothing.
    stalled: Option<Instant>,
    /// More waits for the peer than may for long.
    over: Option<Instant>,
    /// The receive queue is full and does not move.
    full: Option<Instant>,
    /// The close handshake has begun.
    closing: Option<Instant>,
}

impl Connection {
    /// `first` are bytes that had been read before the connection was handed over.
    pub(crate) fn new(
        transport: Transport,
        first: Vec<u8>,
        decoder: Decoder,
        endpoint: Arc<EndpointInner>,
        link: Arc<Link>,
    ) -> Self {
        let now = Instant::now();
        endpoint.register(&link);
        let options = endpoint.current_options();
        Connection {
            transport,
            decoder,
            session: Session::new(endpoint, link, options),
            stage: Stage::Open,
            first: (!first.is_empty()).then(|| first.into_boxed_slice()),
            heard_close: false,
            heard: now,
            pinged: now,
            alarm: None,
            troubles: None,
            crowded: Vec::new(),
        }
    }

    fn link(&self) -> &Arc<Link> {
        &self.session.link
    }

    fn read_all(&mut self, cx: &mut Context<'_>, now: Instant) {
        self.crowded.retain(|channel| channel.poll_room(cx).is_pending());
        if let Some(mut first) = self.first.take() {
            Scratch::lend(|scratch| self.decode(&mut first, &mut scratch.codec, cx));
        }
        while self.may_read() {
            match Scratch::lend(|scratch| self.read_once(cx, scratch)) {
                Poll::Ready(true) => self.heard = now,
                Poll::Ready(false) => self.hang_up(),
                Poll::Pending => return,
            }
        }
        // Whoever is not read cannot be heard.
        self.heard = now;
    }

    fn may_read(&self) -> bool {
        match self.stage {
            Stage::Open => self.crowded.is_empty() && !self.session.is_full(),
            Stage::Closing | Stage::Lingering => true,
            Stage::Gone => false,
        }
    }

    /// False at the end of the stream.
    fn read_once(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<bool> {
        let Ok(read) = ready!(self.transport.poll_read(cx, &mut scratch.read)) else { return Poll::Ready(false) };
        if read > 0 && self.stage != Stage::Lingering {
            self.decode(&mut scratch.read[..read], &mut scratch.codec, cx);
        }
        Poll::Ready(read > 0)
    }

    fn decode(&mut self, bytes: &mut [u8], codec: &mut pondsocket_proto::ws::Scratch, cx: &mut Context<'_>) {
        let mut input = self.decoder.feed(bytes, codec);
        while let Some(event) = input.next() {
            match event {
                Ok(Event::Text(text)) if self.stage == Stage::Open => self.session.on_text(text, cx),
                Ok(Event::Binary(bytes)) if self.stage == Stage::Open => self.session.on_binary(bytes, cx),
                Ok(Event::Ping(payload)) => self.session.link.send_control(Opcode::Pong, payload),
                Ok(Event::Close(frame)) => {
                    self.heard_close = true;
                    self.session.link.answer_close(frame.map(|frame| frame.code));
                }
                Ok(Event::Text(_) | Event::Binary(_) | Event::Pong(_)) => {}
                Err(error) => {
                    tracing::debug!(connection = %self.session.link.id, %error, "protocol error");
                    self.session.link.close(error.close_code(), &error.to_string());
                    self.stage = Stage::Lingering;
                }
            }
        }
    }

    /// The socket is of no use any more.
    fn hang_up(&mut self) {
        self.stage = Stage::Gone;
        self.transport = Transport::None;
        drop(self.link().end());
    }

    /// Writes what is queued, and takes the steps that are due once everything is.
    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.stage == Stage::Gone {
            return;
        }
        let mut wrote = false;
        let flushed = self.session.link.poll_flush(cx, self.transport.as_writer(), &mut wrote);
        match flushed {
            Poll::Ready(Err(_)) => return self.hang_up(),
            Poll::Ready(Ok(())) => self.cure(|troubles| &mut troubles.stalled),
            Poll::Pending => {
                if wrote {
                    self.cure(|troubles| &mut troubles.stalled);
                }
                self.trouble(now, |troubles| &mut troubles.stalled);
                return;
            }
        }
        match (self.stage, self.link().phase()) {
            (Stage::Closing, _) if self.heard_close => self.hang_up(),
            (Stage::Lingering, Phase::Closing) => {
                // The peer learns why before its unread bytes make the kernel reset the connection.
                drop(self.link().end());
                let _ = self.transport.poll_shutdown(cx);
            }
            (_, Phase::Closed) if self.stage != Stage::Lingering => self.hang_up(),
            _ => {}
        }
    }

    /// Follows what others, or the peer, have done to the link.
    fn follow_link(&mut self, now: Instant) {
        if self.stage == Stage::Open && self.link().phase() != Phase::Open {
            self.stage = Stage::Closing;
        }
        if self.stage != Stage::Open {
            self.session.depart();
            self.trouble(now, |troubles| &mut troubles.closing);
        }
    }

    /// Does what is due, and says when the next thing will be.
    fn keep_time(&mut self, now: Instant, over: bool) -> Option<Instant> {
        if self.stage == Stage::Gone {
            return self.session.next_deadline();
        }
        self.watch(now, over, |troubles| &mut troubles.over);
        if self.session.take_moved() {
            // The queue may be full for as long as it moves.
            self.cure(|troubles| &mut troubles.full);
        }
        self.watch(now, self.stage == Stage::Open && self.session.is_full(), |troubles| &mut troubles.full);

        let options = Arc::clone(&self.session.options);
        let since = |of: fn(&Troubles) -> Option<Instant>| self.troubles.as_deref().and_then(of);
        let late = |start: Option<Instant>, limit: Duration| start.is_some_and(|start| now >= start + limit);
        let stalled = since(|troubles| troubles.stalled);
        let over = since(|troubles| troubles.over);
        let full = since(|troubles| troubles.full);
        let closing = since(|troubles| troubles.closing);

        if now >= self.heard + options.pong_wait
            || late(stalled, options.write_wait)
            || late(closing, options.write_wait)
        {
            tracing::debug!(connection = %self.link().id, stage = ?self.stage, "connection dropped: the peer is silent or takes nothing");
            self.hang_up();
            return Some(now);
        }
        if late(over, options.send_timeout) {
            self.link().give_up(&Closure { code: 1013, reason: "too slow" });
            return Some(now);
        }
        if late(full, options.write_wait) {
            self.link().give_up(&Closure { code: 1013, reason: "too many messages" });
            return Some(now);
        }
        if now >= self.pinged + options.ping_interval && self.stage == Stage::Open {
            self.pinged = now;
            self.link().send_control(Opcode::Ping, &[]);
            return Some(now);
        }
        let next = [
            Some(self.heard + options.pong_wait),
            (self.stage == Stage::Open).then(|| self.pinged + options.ping_interval),
            stalled.map(|start| start + options.write_wait),
            closing.map(|start| start + options.write_wait),
            over.map(|start| start + options.send_timeout),
            full.map(|start| start + options.write_wait),
            self.session.next_deadline(),
        ];
        next.into_iter().flatten().min()
    }

    fn watch(&mut self, now: Instant, wrong: bool, which: fn(&mut Troubles) -> &mut Option<Instant>) {
        if wrong {
            self.trouble(now, which);
        } else {
            self.cure(which);
        }
    }

    fn trouble(&mut self, now: Instant, which: fn(&mut Troubles) -> &mut Option<Instant>) {
        which(self.troubles.get_or_insert_default()).get_or_insert(now);
    }

    fn cure(&mut self, which: fn(&mut Troubles) -> &mut Option<Instant>) {
        if let Some(troubles) = &mut self.troubles {
            *which(troubles) = None;
        }
    }

    /// Makes sure that the task is woken at `deadline`; a later alarm that is set already is left to ring.
    fn arm(&mut self, cx: &Context<'_>, now: Instant, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        let timer = self.session.endpoint.common.timer();
        match self.alarm {
            Some((at, _)) if at <= deadline && at > now => return,
            Some((_, key)) => timer.disarm(key),
            None => {}
        }
        self.alarm = Some((deadline, timer.arm(deadline, cx.waker().clone())));
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        let now = Instant::now();
        loop {
            let scope = Scope::enter();
            me.link().cork(cx.waker());
            me.session.poll_jobs(cx, now);
            me.read_all(cx, now);
            me.follow_link(now);
            me.session.poll_jobs(cx, now);
            let over = me.link().uncork();
            let changed = scope.finish();
            me.crowded.extend(changed.into_iter().filter(|channel| channel.poll_room(cx).is_pending()));
            me.flush(cx, now);
            me.follow_link(now);
            if me.stage == Stage::Gone && me.session.is_done() {
                return Poll::Ready(());
            }
            match me.keep_time(now, over) {
                // Something was due and has been done: what follows from it is done in another round.
                Some(deadline) if deadline <= now => {}
                deadline => {
                    me.arm(cx, now, deadline);
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Also when the runtime ends in the midst of it: no ghost stays.
        self.session.depart();
        drop(self.session.link.end());
        if let Some((_, key)) = self.alarm {
            self.session.endpoint.common.timer().disarm(key);
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use pondsocket_proto::channel::Assigns;
    use pondsocket_proto::id::{ConnectionId, UserId};
    use pondsocket_proto::ws::Limits;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::framing::Framing;
    use crate::outbox::Bounds;
    use crate::{ConnectionContext, Error, EventContext, JoinContext, Joined, Options, PondSocket};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
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

    fn connect(endpoint: &crate::Endpoint) -> (DuplexStream, Connection) {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (transport, writer) = Transport::io(Box::new(theirs));
        let (user, bounds) = (UserId::new("ada").expect("valid"), Bounds { frames: 64, bytes: 64 * 1024 });
        let link = Link::new(ConnectionId::from_u128(1), user, Framing::Plain, bounds, Assigns::default(), writer);
        let decoder = Decoder::new(Limits { max_message_size: 1024 }, None);
        (ours, Connection::new(transport, Vec::new(), decoder, Arc::clone(&endpoint.0), link))
    }

    /// Its own deliveries run only when this test waits: until then the channel stays as full as it is.
    #[tokio::test]
    async fn who_fills_a_channel_is_not_read_until_it_has_room() {
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
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let mut poll = |connection: &mut Connection| assert!(Pin::new(connection).poll(cx).is_pending());

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

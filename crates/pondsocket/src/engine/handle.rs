//! The part of a connection that others hold: who it is, and its outbox.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use pondsocket_proto::channel::{Assigns, Run};
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::wire::Json;
use pondsocket_proto::ws::{self, Opcode};
use tokio::time::Instant;

use crate::engine::framing::Framing;
use crate::engine::live::{Reached, Recipient};
use crate::engine::outbox::{Bounds, Closure, Lag, Outbox, OutboxLimits, Phase, Pushed, Wait, Writer};
use crate::engine::socket::Io;
use crate::engine::sync::Mutex;
use crate::limits::memory::counted;
use crate::limits::stored::TooLarge;
use crate::metrics::{ConnectionInfo, DropReason, Limit, Metrics, Observer, Queue};

/// A connection as others see it. Everything here may be called from anywhere and returns at once.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    pub(crate) identity: Identity,
    pub(crate) observer: Arc<Observer>,
    framing: Framing,
    /// Of its endpoint.
    shared: Arc<OutboxLimits>,
    max_assigns: usize,
    assigns: Mutex<Assigns>,
    outbox: Mutex<Outbox>,
    /// The state of the outbox, for the connection's task to look at between two messages.
    congested: AtomicBool,
}

/// The identity of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: ConnectionId,
    pub(crate) user: UserId,
    pub(crate) ip: Option<IpAddr>,
}

/// The framing and the limits of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) framing: Framing,
    pub(crate) outboxes: Arc<OutboxLimits>,
    pub(crate) max_assigns: usize,
}

impl ConnectionHandle {
    pub(crate) fn new(
        identity: Identity,
        observer: Arc<Observer>,
        Terms { framing, outboxes: shared, max_assigns }: Terms,
        assigns: Assigns,
        writer: Writer,
    ) -> Arc<ConnectionHandle> {
        let outbox = Mutex::new(Outbox::new(writer, framing, shared.bounds.pace, Instant::now()));
        let (assigns, congested) = (Mutex::new(assigns), AtomicBool::new(false));
        Arc::new(ConnectionHandle { identity, observer, framing, shared, max_assigns, assigns, outbox, congested })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.identity.id
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.identity.user
    }

    pub(crate) fn info(&self) -> ConnectionInfo<'_> {
        let Identity { id, user, ip } = &self.identity;
        ConnectionInfo { endpoint: &self.observer.endpoint, id: *id, user, ip: *ip, assigns: &self.assigns }
    }

    /// Tells the application's metrics about this connection.
    pub(crate) fn count(&self, tell: impl FnOnce(&dyn Metrics, &ConnectionInfo<'_>)) {
        self.observer.meter.count(|metrics| tell(metrics, &self.info()));
    }

    /// The client has reached a limit: what it did is refused.
    pub(crate) fn reached(&self, limit: Limit) {
        let (connection, user) = (self.id(), self.user());
        tracing::debug!(target: "pondsocket::limit", %connection, %user, %limit, "limit reached");
        self.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
    }

    /// A copy of the connection's assigns; it shares the values.
    pub(crate) fn assigns(&self) -> Assigns {
        self.assigns.lock().clone()
    }

    /// # Errors
    /// 413 if there were more than may be; nothing is changed then.
    pub(crate) fn assign(&self, key: &str, value: Json) -> Result<(), TooLarge> {
        let mut assigns = self.assigns.lock();
        if assigns.size_with(key, &value) > self.max_assigns {
            drop(assigns);
            return Err(self.observer.too_large(TooLarge::Assigns));
        }
        assigns.set(key, value);
        Ok(())
    }

    /// Queues a message for this connection alone.
    pub(crate) fn send_text(&self, text: &[u8]) {
        self.queue_text(text)();
    }

    /// The same, but for what follows from it, which must not be done under a lock: it is given back.
    fn queue_text(&self, text: &[u8]) -> impl FnOnce() {
        let frame = counted(&self.shared.memory, self.framing.frame(text));
        let bytes = frame.len();
        let pushed = self.push(|outbox, bounds| Ok(outbox.send(frame, bounds, Instant::now)));
        move || self.follow(pushed, 1, bytes)
    }

    /// Answers a ping of a WebSocket.
    pub(crate) fn send_pong(&self, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 2);
        ws::encode(Opcode::Pong, payload, &mut frame);
        self.send_control(frame);
    }

    /// Queues what tells the client, and all between here and there, that the connection lives.
    pub(crate) fn keep_alive(&self) {
        self.send_control(self.framing.keep_alive());
    }

    fn send_control(&self, frame: Vec<u8>) {
        let pushed = self.push(|outbox, bounds| Ok(outbox.send(frame.into(), bounds, Instant::now)));
        self.follow(pushed, 0, 0);
    }

    /// Pushes into the outbox, and says whom to wake then.
    fn push(&self, push: impl FnOnce(&mut Outbox, Bounds) -> Result<Pushed, Closure>) -> Followed {
        let mut outbox = self.outbox.lock();
        let pushed = push(&mut outbox, self.shared.bounds);
        let wake = matches!(pushed, Ok(Pushed { wake: true, .. }));
        let (task, deliveries) = (outbox.waker.clone().filter(|_| wake), outbox.relieved(self.shared.bounds));
        self.look_at(&mut outbox);
        Followed { pushed, task, deliveries }
    }

    /// Under the outbox's lock, after each change of what waits.
    fn look_at(&self, outbox: &mut Outbox) {
        outbox.report(&self.shared.memory);
        self.congested.store(outbox.is_congested(self.shared.bounds), Ordering::Relaxed);
    }

    /// Returns `true` if so much waits for the client that it should not be read. Only the connection's task need see
    /// the truth, which is the one that reads and the one that makes most of what waits.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed)
    }

    /// Does what follows from a push of so many messages and bytes: under a lock nobody is woken and nothing counted.
    fn follow(&self, Followed { pushed, task, deliveries }: Followed, messages: usize, bytes: usize) {
        task.into_iter().chain(deliveries).for_each(Waker::wake);
        match pushed {
            Ok(pushed) => {
                if pushed.left_behind {
                    self.reached(Limit::Pacing);
                }
                if self.observer.meter.is_on() {
                    self.count_pushed(pushed, messages, bytes);
                }
            }
            Err(closure) => self.give_up(closure),
        }
    }

    fn count_pushed(&self, Pushed { accepted, dropped, depth, .. }: Pushed, messages: usize, bytes: usize) {
        if accepted && messages > 0 {
            self.count(|metrics, me| metrics.message_sent(me, messages, bytes));
        }
        if depth > 0 {
            self.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Outbox, depth));
        }
        let reasons = [
            (DropReason::Outdated, dropped.outdated),
            (DropReason::Oldest, dropped.oldest),
            (DropReason::Newest, dropped.newest),
        ];
        for (reason, messages) in reasons.into_iter().filter(|(_, messages)| *messages > 0) {
            self.count(|metrics, me| metrics.message_dropped(me, reason, messages));
        }
    }

    /// Ends the connection: its memberships first, and behind everything that its channels have for it a close frame.
    pub(crate) fn end(&self, closure: Closure) {
        self.wake_if(|outbox| outbox.begin_end(closure));
    }

    /// Ends the connection with a close frame at once, behind what is queued: there is nothing more to say to it.
    pub(crate) fn close(&self, closure: Closure) {
        let frame = self.framing.close(closure.code, &closure.text);
        self.wake_if(|outbox| {
            outbox.blame(closure);
            outbox.close(frame)
        });
    }

    /// Ends the connection with a close frame in place of what is queued: the client does not read it anyway.
    pub(crate) fn give_up(&self, closure: Closure) {
        let (connection, user, Closure { code, reason, .. }) = (self.id(), self.user(), &closure);
        tracing::debug!(target: "pondsocket::connection", %connection, %user, code, %reason, "given up");
        self.wake_if(|outbox| outbox.give_up(closure));
    }

    /// Ends the connection without another word, and its handlers with it.
    pub(crate) fn cut(&self) {
        self.wake_if(Outbox::cut);
    }

    /// Somebody who may have had something for this connection has nothing more.
    pub(crate) fn receive_flush_marker(&self) {
        self.wake_if(Outbox::receive_flush_marker);
    }

    /// A channel that has something for this connection, which is not in it any more, will say farewell.
    pub(crate) fn expect_flush_marker(&self) {
        self.outbox.lock().expect_flush_marker();
    }

    /// Answers a close frame, after what is queued. An empty answer to an empty question (RFC 6455 section 5.5.1).
    pub(crate) fn answer_close(&self, closure: Closure) {
        let mut frame = Vec::new();
        match closure.code {
            1005 => frame.extend_from_slice(&[0x88, 0]),
            code => ws::encode_close(code, "", &mut frame),
        }
        self.wake_if(|outbox| {
            outbox.blame(closure);
            outbox.close(Some(frame));
            // It is the connection's task that answers.
            false
        });
    }

    /// Unlocks before it wakes: the woken would wait for the lock.
    fn wake_if(&self, change: impl FnOnce(&mut Outbox) -> bool) {
        let mut outbox = self.outbox.lock();
        let task = if change(&mut outbox) { outbox.waker.clone() } else { None };
        let deliveries = outbox.relieved(self.shared.bounds);
        self.look_at(&mut outbox);
        drop(outbox);
        task.into_iter().chain(deliveries).for_each(Waker::wake);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.outbox.lock().phase()
    }

    /// Returns `true` if everything is to be given up.
    pub(crate) fn was_cut(&self) -> bool {
        self.outbox.lock().was_cut()
    }

    /// The reason of its end, once that is known.
    pub(crate) fn closure(&self) -> Option<Closure> {
        self.outbox.lock().closure().cloned()
    }

    /// Notes why it ends, unless that is known.
    pub(crate) fn blame(&self, closure: Closure) {
        self.outbox.lock().blame(closure);
    }

    /// Returns how many bytes wait for a client for which nobody waits any longer, because it takes too little.
    pub(crate) fn withheld(&self, now: Instant) -> usize {
        self.outbox.lock().withheld(now)
    }

    /// The number of frames that wait for the client, and of their bytes.
    pub(crate) fn depth(&self) -> (usize, usize) {
        self.outbox.lock().depth()
    }

    /// The connection's task begins to work: it will flush when it is done.
    pub(crate) fn cork(&self, waker: &Waker) {
        let mut outbox = self.outbox.lock();
        outbox.cork();
        if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            outbox.waker = Some(waker.clone());
        }
    }

    /// Lets others write again.
    pub(crate) fn uncork(&self) {
        self.outbox.lock().uncork();
    }

    /// The lag of the client, if more waits for it than may for long.
    pub(crate) fn lag(&self) -> Option<Lag> {
        self.outbox.lock().lag(self.shared.bounds)
    }

    /// Writes what is queued: with the socket that the outbox holds, or with `io` if only the connection's task
    /// can write; or tells the body that takes it. `Ok` once nothing is queued; while the peer takes nothing,
    /// `Pending`. `wrote` says whether it took anything.
    pub(crate) fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        mut io: Option<&mut dyn Io>,
        wrote: &mut bool,
    ) -> Poll<io::Result<()>> {
        let mut buffers = Vec::new();
        loop {
            // Held across the write, which does not wait: what is being written must not be dropped meanwhile.
            let mut outbox = self.outbox.lock();
            if outbox.is_empty() {
                drop(outbox);
                return match io {
                    Some(io) if *wrote => Pin::new(io).poll_flush(cx),
                    _ => Poll::Ready(Ok(())),
                };
            }
            if let Some((body, took)) = outbox.offer() {
                drop(outbox);
                *wrote |= took;
                body.into_iter().for_each(Waker::wake);
                return Poll::Pending;
            }
            buffers.clear();
            outbox.front(&mut buffers);
            let slices: Vec<_> = buffers.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let written = match (outbox.writer(), io.as_mut()) {
                (Writer::Socket(socket), _) => match socket.try_write_vectored(&slices) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let ready = socket.as_ref().poll_write_ready(cx);
                        drop(outbox);
                        ready!(ready)?;
                        continue;
                    }
                    other => other?,
                },
                (Writer::Task, Some(io)) => ready!(Pin::new(&mut **io).poll_write_vectored(cx, &slices))?,
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(written, self.shared.bounds, Instant::now());
            *wrote = true;
            let deliveries = outbox.relieved(self.shared.bounds);
            self.look_at(&mut outbox);
            drop(outbox);
            deliveries.into_iter().for_each(Waker::wake);
        }
    }

    /// Takes bytes of what is queued, for the body of an HTTP answer. `None` once nothing more comes.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut outbox = self.outbox.lock();
        let (taken, look) = outbox.take(cx.waker(), self.shared.bounds, Instant::now());
        let task = outbox.waker.clone().filter(|_| look);
        let deliveries = outbox.relieved(self.shared.bounds);
        self.look_at(&mut outbox);
        drop(outbox);
        task.into_iter().chain(deliveries).for_each(Waker::wake);
        taken
    }

    /// Lets the connection's task look around.
    pub(crate) fn wake(&self) {
        self.wake_if(|_| true);
    }

    /// Nothing more will be sent, and the peer can know.
    pub(crate) fn hang_up(&self) {
        let mut outbox = self.outbox.lock();
        let body = outbox.offer().and_then(|(body, _)| body);
        let writer = outbox.end();
        let deliveries = outbox.relieved(self.shared.bounds);
        self.look_at(&mut outbox);
        drop(outbox);
        // A TCP peer learns it from that.
        drop(writer);
        body.into_iter().chain(deliveries).for_each(Waker::wake);
    }
}

/// The outcome of a push into the outbox, and the tasks to be woken.
struct Followed {
    pushed: Result<Pushed, Closure>,
    task: Option<Waker>,
    /// Those who need not wait for room any more.
    deliveries: Vec<Waker>,
}

impl Recipient for Arc<ConnectionHandle> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn connection(&self) -> ConnectionId {
        self.id()
    }

    fn deliver(&self, channel: u64, runs: &[Run<Bytes>]) -> Reached {
        let followed = self.push(|outbox, bounds| outbox.deliver(channel, runs, bounds, Instant::now));
        let is_behind = matches!(followed.pushed, Ok(Pushed { behind: true, .. }));
        let messages = runs.iter().map(|run| run.frames as usize).sum();
        let bytes = runs.iter().map(|run| run.range.len()).sum();
        self.follow(followed, messages, bytes);
        if is_behind { Reached::Behind } else { Reached::Done }
    }

    fn wait(&self, waker: &Waker, until: Instant) -> Wait {
        let mut outbox = self.outbox.lock();
        let was_left_behind = outbox.is_left_behind();
        let wait = outbox.wait(waker, self.shared.bounds, until, Instant::now());
        let is_news = outbox.is_left_behind() && !was_left_behind;
        let task = outbox.waker.clone().filter(|_| is_news);
        drop(outbox);
        // Its deadline is an earlier one now.
        task.into_iter().for_each(Waker::wake);
        if is_news {
            self.reached(Limit::Pacing);
        }
        wait
    }

    fn send(&self, text: &[u8]) -> impl FnOnce() {
        self.queue_text(text)
    }

    fn expect_flush_marker(&self) {
        ConnectionHandle::expect_flush_marker(self);
    }

    fn receive_flush_marker(&self) {
        ConnectionHandle::receive_flush_marker(self);
    }
}

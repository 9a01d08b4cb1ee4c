//! The part of a connection that other tasks hold: its identity and its outbox.

mod flush;
mod recipient;
mod session;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;

use pondsocket_proto::channel::{Assigns, Proof};
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::wire::Json;
use pondsocket_proto::ws::{self, Opcode};
use tokio::time::Instant;

use crate::engine::closing::{Close, Closure, ConnectionState};
use crate::engine::framing::Framing;
use crate::engine::outbox::{Bounds, Lag, Outbox, OutboxLimits, Pushed, Writer};
use crate::engine::sessions::{Begun, ConnectionSession, SessionConnection};
use crate::engine::sync::Mutex;
use crate::limits::memory::counted;
use crate::limits::stored::TooLarge;
use crate::metrics::{CloseReason, ConnectionInfo, DropReason, Limit, Metrics, Observer, Queue};

pub(crate) use flush::Flushed;

/// A connection, for other tasks. All methods may be called from any task, and none waits.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    pub(crate) identity: Identity,
    pub(crate) observer: Arc<Observer>,
    framing: Framing,
    /// The limits of the endpoint.
    limits: Arc<OutboxLimits>,
    max_assigns: u32,
    assigns: Mutex<Assigns>,
    outbox: Mutex<Outbox>,
    /// The session that the client has named. Boxed, because most name none.
    pub(crate) session: Option<Box<ConnectionSession>>,
    /// True if the outbox is over its bounds. A copy, so that the connection's task can check it between two messages
    /// without the lock of the outbox.
    congested: AtomicBool,
}

/// The identity of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: ConnectionId,
    pub(crate) user: UserId,
    pub(crate) ip: Option<IpAddr>,
}

/// The framing and the limits of a connection, and its session.
#[derive(Debug)]
pub(crate) struct HandleOptions {
    pub(crate) framing: Framing,
    pub(crate) limits: Arc<OutboxLimits>,
    pub(crate) max_assigns: usize,
    pub(crate) session: Option<Box<ConnectionSession>>,
}

impl ConnectionHandle {
    pub(crate) fn new(
        identity: Identity,
        observer: Arc<Observer>,
        HandleOptions { framing, limits, max_assigns, session }: HandleOptions,
        assigns: Assigns,
        writer: Writer,
    ) -> Arc<ConnectionHandle> {
        let outbox = Outbox::new(writer, framing, limits.bounds, Instant::now());
        let (assigns, outbox, congested) = (Mutex::new(assigns), Mutex::new(outbox), AtomicBool::new(false));
        // 32 bits, like the flag and the framing beside it, keep the handle small.
        let max_assigns = u32::try_from(max_assigns).unwrap_or(u32::MAX);
        let handle =
            ConnectionHandle { identity, observer, framing, limits, max_assigns, assigns, outbox, session, congested };
        let handle = Arc::new(handle);
        if let Some(session) = &handle.session {
            let connection: Weak<dyn SessionConnection> = Arc::downgrade(&handle) as _;
            match session.begin(handle.id(), handle.user(), connection) {
                Begun::Kept => {}
                Begun::TooMany => handle.reached(Limit::Sessions),
                Begun::Outdated => handle.supersede(),
            }
        }
        handle
    }

    /// Returns `true` if the client has ended the connection for good: by a close frame with 1000 or without a code. A page that
    /// is reloaded sends 1001.
    pub(crate) fn is_closed_by_client(&self) -> bool {
        matches!(self.outbox.lock().close_reason(), Some((CloseReason::Client, 1000 | 1005)))
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

    /// Reports to the application's metrics about this connection.
    pub(crate) fn count(&self, tell: impl FnOnce(&dyn Metrics, &ConnectionInfo<'_>)) {
        self.observer.meter.count(|metrics| tell(metrics, &self.info()));
    }

    /// Logs and counts that the client has reached a limit.
    pub(crate) fn reached(&self, limit: Limit) {
        let (connection, user) = (self.id(), self.user());
        tracing::debug!(target: "pondsocket::limit", %connection, %user, %limit, "limit reached");
        self.observer.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
    }

    /// A copy of the connection's assigns.
    pub(crate) fn assigns(&self) -> Assigns {
        self.assigns.lock().clone()
    }

    /// # Errors
    /// 413 if the assigns would be too large; nothing is changed then.
    pub(crate) fn assign(&self, key: &str, value: Json) -> Result<(), TooLarge> {
        let mut assigns = self.assigns.lock();
        if assigns.size_with(key, &value) > self.max_assigns as usize {
            // Unlocked before the error is reported, because metrics run code of the application.
            drop(assigns);
            return Err(self.observer.too_large(TooLarge::Assigns));
        }
        assigns.set(key, &value);
        Ok(())
    }

    /// Queues the head of the HTTP response that the host has left to the connection, before any message is sent.
    pub(crate) fn send_head(&self, head: Vec<u8>) {
        if !head.is_empty() {
            self.outbox.lock().send_head(head.into(), Instant::now());
        }
    }

    /// Queues a message for this connection alone.
    pub(crate) fn send_text(&self, text: &[u8]) {
        self.queue_text(text)();
    }

    /// Queues a message, and returns the rest of the work (wakers and metrics), which must not run under a channel's lock.
    fn queue_text(&self, text: &[u8]) -> impl FnOnce() {
        let frame = counted(&self.limits.memory, self.framing.frame(text));
        let bytes = frame.len();
        let effects = self.push(|outbox, bounds| Ok(outbox.send(frame, bounds, Instant::now)));
        move || self.apply(effects, 1, bytes)
    }

    /// Answers a ping of a WebSocket.
    pub(crate) fn send_pong(&self, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 2);
        ws::encode(Opcode::Pong, payload, &mut frame);
        self.send_control(frame);
    }

    /// Queues a frame that keeps the connection alive at the client and at proxies on the way.
    pub(crate) fn send_keep_alive(&self) {
        let session = self.session.as_ref().filter(|_| self.proof_interval().is_some());
        let ping = session.and_then(|session| {
            let number = self.with_proof(|proof| proof.force_ping(session.now()))?;
            self.framing.numbered_ping(number)
        });
        self.send_control(ping.unwrap_or_else(|| self.framing.keep_alive()));
    }

    fn send_control(&self, frame: Vec<u8>) {
        let effects = self.push(|outbox, bounds| Ok(outbox.send(frame.into(), bounds, Instant::now)));
        self.apply(effects, 0, 0);
    }

    /// Pushes into the outbox, and returns the tasks to be woken after the lock is released.
    fn push(&self, push: impl FnOnce(&mut Outbox, Bounds) -> Result<Pushed, Closure>) -> PushEffects {
        let mut outbox = self.outbox.lock();
        let pushed = push(&mut outbox, self.limits.bounds);
        let wake = matches!(pushed, Ok(Pushed { wake: true, .. }));
        // Cloned only if it is needed: a clone writes the reference count of the task, which other threads use.
        let task = if wake { outbox.waker.clone() } else { None };
        let deliveries = outbox.take_relieved(self.limits.bounds);
        self.report(&mut outbox);
        PushEffects { pushed, task, deliveries }
    }

    /// Reports the queued bytes to the memory counter and to the connection's task. Called under the outbox's lock after each
    /// change, because without the lock an older report could come last and stay.
    fn report(&self, outbox: &mut Outbox) {
        outbox.report(&self.limits.memory);
        self.congested.store(outbox.is_congested(self.limits.bounds), Ordering::Relaxed);
    }

    /// Returns whether the outbox is over its bounds, so that the client should not be read. Relaxed is enough: the value
    /// guards no other data, and the connection's task, which reads it, also queues most of the frames.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed)
    }

    /// Wakes tasks and reports metrics after a push of some messages and bytes. Both may run code of the application, and so
    /// must not run under a lock.
    fn apply(&self, PushEffects { pushed, task, deliveries }: PushEffects, messages: usize, bytes: usize) {
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
            Err(closure) => self.close(Close::Immediate(closure)),
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

    /// Ends the connection, if it has not ended in another way (see [`closing`](crate::engine::closing)).
    pub(crate) fn close(&self, close: Close) {
        if let Close::Immediate(Closure { code, reason, .. }) = &close {
            let (connection, user) = (self.id(), self.user());
            tracing::debug!(target: "pondsocket::connection", %connection, %user, code, %reason, "queue discarded");
            // An answer to this close frame will not mean that what was queued has arrived.
            self.with_proof(Proof::lose);
        }
        self.change(|outbox| outbox.close(close));
    }

    /// Notes that a channel which the connection has left still has messages for it, and will send a flush marker behind
    /// them.
    pub(crate) fn expect_flush_marker(&self) {
        self.outbox.lock().expect_flush_marker();
    }

    /// Notes a flush marker: a channel, or the connection's task, has no more messages for this connection.
    pub(crate) fn receive_flush_marker(&self) {
        self.change(Outbox::receive_flush_marker);
    }

    /// Shuts down the server's side of the socket if the peer broke the protocol. Called by the connection's task when all
    /// frames are sent.
    pub(crate) fn linger(&self) {
        let writer = self.outbox.lock().linger();
        // The drop shuts the socket down for writing. It is a system call, and so not under the lock.
        drop(writer);
    }

    /// Notes that the connection's task has closed the transport. The closure counts only if there is none yet. Returns the
    /// one that counts at the first call, and `None` later.
    pub(crate) fn disconnect(&self, closure: Closure) -> Option<Closure> {
        let mut outbox = self.outbox.lock();
        let body = outbox.notify_body().and_then(|(body, _)| body);
        let (writer, closure) = outbox.disconnect(closure);
        let deliveries = outbox.take_relieved(self.limits.bounds);
        self.report(&mut outbox);
        // The writer last and without the lock: its drop may close the socket.
        drop(outbox);
        drop(writer);
        body.into_iter().chain(deliveries).for_each(Waker::wake);
        closure
    }

    /// A copy of the connection's state.
    pub(crate) fn state(&self) -> ConnectionState {
        self.outbox.lock().state()
    }

    /// Returns `true` if nothing has ended the connection.
    pub(crate) fn is_open(&self) -> bool {
        self.state().is_open()
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        self.change(|_| true);
    }

    /// Changes the outbox, and wakes the connection's task if the change returns `true`. The lock is released before,
    /// because a woken task would wait for it.
    fn change(&self, change: impl FnOnce(&mut Outbox) -> bool) {
        let mut outbox = self.outbox.lock();
        let task = if change(&mut outbox) { outbox.waker.clone() } else { None };
        let deliveries = outbox.take_relieved(self.limits.bounds);
        self.report(&mut outbox);
        drop(outbox);
        task.into_iter().chain(deliveries).for_each(Waker::wake);
    }

    /// The number of bytes that are queued for a client for which channels do not wait any more, because it is too slow.
    pub(crate) fn withheld(&self, now: Instant) -> usize {
        self.outbox.lock().withheld(now)
    }

    /// The number of queued frames, and of their bytes.
    pub(crate) fn depth(&self) -> (usize, usize) {
        self.outbox.lock().depth()
    }

    /// Corks the outbox while the connection's task works: frames are collected, and the task flushes them at its end.
    pub(crate) fn cork(&self, waker: &Waker, now: Instant) {
        let mut outbox = self.outbox.lock();
        outbox.cork(now);
        // A future may be polled with another waker each time, so the last one counts.
        if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            outbox.waker = Some(waker.clone());
        }
    }

    /// Ends the cork: deliveries write to the socket again.
    pub(crate) fn uncork(&self) {
        self.outbox.lock().uncork();
    }

    /// Reports the frames that were queued while the outbox was corked and that the client does not take at once.
    pub(crate) fn report_growth(&self) {
        if !self.observer.meter.is_on() {
            return;
        }
        let depth = self.outbox.lock().take_growth();
        if let Some(depth) = depth {
            self.observer.count(|metrics, endpoint| metrics.queue_depth(endpoint, Queue::Outbox, depth));
        }
    }

    /// The lag of the client, if its outbox is over its bounds.
    pub(crate) fn lag(&self) -> Option<Lag> {
        self.outbox.lock().lag(self.limits.bounds)
    }
}

/// The outcome of a push into the outbox, and the tasks to be woken.
struct PushEffects {
    pushed: Result<Pushed, Closure>,
    task: Option<Waker>,
    /// The deliveries that waited for room, and do not need to any more.
    deliveries: Vec<Waker>,
}

//! Raw WebSockets, without the PondSocket protocol, and the state that one shares with its connection's task.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::{Bytes, BytesMut};
use pondsocket_proto::ws::{self, Deflater, Opcode};

use crate::engine::closing::Closure;
use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::limits::memory::{Charge, Memory};
use crate::metrics::CloseReason;

/// A message of a raw WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// A raw WebSocket, without the PondSocket protocol, which a handler of
/// [`PondSocket::create_websocket`](crate::PondSocket::create_websocket) receives. Its drop closes the connection with 1000,
/// or with 1011 during a panic.
///
/// The connection's own task reads and writes, answers pings and closes, and watches the deadlines, even while the handler waits
/// for something else. The connection is ended if nothing is received for `pong_wait`, or if the peer accepts no bytes for
/// `write_wait` or does not answer a close in that time. Up to `receive_channel_buffer` messages or `max_message_size` bytes
/// wait for [`recv`](Self::recv); above that the peer is not read, and if the handler receives none for `pong_wait` the
/// connection is closed with 1013.
///
/// ```
/// # use pondsocket::{PondSocket, WebSocket};
/// let pond = PondSocket::new();
/// pond.create_websocket("/echo", async |mut socket: WebSocket| {
///     while let Some(message) = socket.recv().await {
///         if socket.send(message).await.is_err() {
///             break;
///         }
///     }
/// });
/// ```
pub struct WebSocket {
    shared: Arc<SharedSocket>,
    deflater: Option<Deflater>,
    subprotocols: Box<[Box<str>]>,
    agreed: Option<Box<str>>,
}

/// The subprotocols of a raw WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Subprotocols {
    pub(crate) offered: Box<[Box<str>]>,
    pub(crate) agreed: Option<Box<str>>,
}

impl WebSocket {
    pub(crate) fn new(shared: Arc<SharedSocket>, deflater: Option<Deflater>, subprotocols: Subprotocols) -> WebSocket {
        let Subprotocols { offered, agreed } = subprotocols;
        WebSocket { shared, deflater, subprotocols: offered, agreed }
    }

    /// The subprotocols that the client has offered, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.subprotocols.iter().map(|name| &**name)
    }

    /// The subprotocol that was selected, if any: see [`Options::subprotocols`](crate::Options::subprotocols).
    pub fn subprotocol(&self) -> Option<&str> {
        self.agreed.as_deref()
    }

    /// Receives the next message; `None` after the last one, when the connection has ended for any reason. When the server shuts
    /// down it sends a close frame, and this returns `None` after the peer's answer.
    ///
    /// Cancel-safe: a message is either returned or kept for the next call.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.shared.poll_recv(cx)).await
    }

    /// Sends a message, and returns when the operating system has accepted all of it.
    ///
    /// Not cancel-safe: a message that a dropped call has queued is sent all the same. While `outbox_bytes` are queued, the next
    /// call waits before it queues its own.
    ///
    /// # Errors
    /// 503 if the connection has ended, or has sent a close frame, as it does when the server shuts down. A peer that accepts no
    /// bytes for `write_wait` ends the connection.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        poll_fn(|cx| self.shared.poll_room(cx)).await?;
        let mut frame = Vec::new();
        let (opcode, payload) = match &message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, &bytes[..]),
        };
        match &mut self.deflater {
            Some(deflater) => deflater.encode(opcode, payload, &mut frame),
            None => ws::encode(opcode, payload, &mut frame),
        }
        let end = self.shared.queue(&frame)?;
        // The frame is queued as a copy. While the peer takes it, neither this nor the message needs to be in memory.
        drop((frame, message));
        poll_fn(|cx| self.shared.poll_sent(cx, end)).await
    }

    /// Sends a close frame with this code (RFC 6455 section 7.4) and waits until the peer has answered it or the connection has
    /// ended.
    pub async fn close(self, code: u16, reason: &str) {
        let closure = Closure { code, text: reason.to_owned().into(), reason: CloseReason::Server };
        self.shared.change(|state| state.close(closure));
        poll_fn(|cx| self.shared.poll_ended(cx)).await;
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let (code, text) = if thread::panicking() { (1011, "the handler has failed") } else { (1000, "") };
        let closure = Closure { code, text: text.into(), reason: CloseReason::Server };
        self.shared.change(|state| {
            state.close(closure);
            // They can no longer be received, and would count as memory in use.
            state.received = ReceiveQueue::default();
        });
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = self.shared.change(|state| state.stage);
        f.debug_struct("WebSocket").field("stage", &stage).finish_non_exhaustive()
    }
}

/// The state that a raw WebSocket shares with the task that reads and writes its connection.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    state: Mutex<SocketState>,
    bounds: SocketBounds,
    /// The bytes counted against `memory_limit`. Under a lock of its own, because a decrease wakes other connections; here and
    /// not in the task, because messages wait for the application even after the connection has ended.
    charge: Mutex<Charge>,
}

/// The limits of the queues in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketBounds {
    /// The most messages that wait for the application.
    pub(crate) messages: usize,
    /// The most bytes of these messages. A single message may be larger.
    pub(crate) message_bytes: usize,
    /// The most unsent bytes to which a further message is added.
    pub(crate) sent_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum SocketStage {
    #[default]
    Open,
    /// A close frame is queued: no frame follows it, and no message is received any more.
    Closing,
    Ended,
}

/// The state behind the lock of a [`SharedSocket`]. [`SharedSocket::change`] changes it, and wakes those that wait for the change.
#[derive(Debug, Default)]
pub(crate) struct SocketState {
    pub(crate) stage: SocketStage,
    /// The code and reason with which the connection ends: those of the side that ended it first.
    pub(crate) closure: Option<Closure>,
    pub(crate) received: ReceiveQueue,
    /// Frames that are not written yet. The first one may be written in part.
    pub(crate) out: BytesMut,
    /// The number of bytes that have been queued since the beginning.
    queued: u64,
    /// The number of these bytes that have been written.
    sent: u64,
    driver: Waiter,
    receiver: Waiter,
    sender: Waiter,
}

/// Messages that wait for the application.
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl ReceiveQueue {
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += size(&message);
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= size(&message);
        if self.messages.is_empty() {
            // An idle connection holds no buffer.
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_full(&self, bounds: &SocketBounds) -> bool {
        self.messages.len() >= bounds.messages || self.bytes >= bounds.message_bytes
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => bytes.len(),
    }
}

/// A task that waits for a change of the state. It is woken after the lock has been released, because waking may run code of the
/// application's executor.
#[derive(Debug, Default)]
struct Waiter {
    waker: Option<Waker>,
    due: bool,
}

impl Waiter {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn take_due(&mut self) -> Option<Waker> {
        if std::mem::take(&mut self.due) { self.waker.take() } else { None }
    }
}

impl SocketState {
    /// Queues a close frame behind the frames that are queued already, unless the connection is ending.
    pub(crate) fn close(&mut self, closure: Closure) {
        let mut frame = Vec::new();
        ws::encode_close(closure.code, &closure.text, &mut frame);
        self.finish(closure, &frame);
    }

    /// Does the same with another frame than that of the closure: the answer to a peer's close repeats the peer's code, while the
    /// closure says why the connection ended (RFC 6455 section 5.5.1).
    pub(crate) fn finish(&mut self, closure: Closure, frame: &[u8]) {
        if self.stage != SocketStage::Open {
            return;
        }
        self.stage = SocketStage::Closing;
        self.closure.get_or_insert(closure);
        self.push_frame(frame);
        self.driver.due = true;
        // A call of `send` that waits for room fails now.
        self.sender.due = true;
    }

    /// Ends the connection without further frames. The closure counts only if there is none yet.
    pub(crate) fn disconnect(&mut self, closure: Closure) {
        self.stage = SocketStage::Ended;
        self.closure.get_or_insert(closure);
        // Received messages stay: the application may still take them.
        self.out = BytesMut::new();
        (self.receiver.due, self.sender.due) = (true, true);
    }

    pub(crate) fn receive(&mut self, message: Message) {
        self.received.push(message);
        self.receiver.due = true;
    }

    pub(crate) fn push_frame(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
        self.queued += frame.len() as u64;
    }

    /// Records that all queued bytes have been written.
    pub(crate) fn flushed(&mut self) {
        if self.sent != self.queued {
            self.sent = self.queued;
            self.sender.due = true;
        }
        // A new buffer, because the old one keeps the capacity of the largest message.
        self.out = BytesMut::new();
    }

    /// Registers the connection's task. To be called before it reads the state, so that no change in between is missed.
    pub(crate) fn register_driver(&mut self, cx: &Context<'_>) {
        self.driver.wait(cx);
    }
}

impl SharedSocket {
    pub(crate) fn new(bounds: SocketBounds, memory: &Arc<Memory>) -> Arc<SharedSocket> {
        Arc::new(SharedSocket { state: Mutex::default(), bounds, charge: Mutex::new(Charge::new(memory)) })
    }

    /// Sets the number of bytes that count against `memory_limit`. To be called by the connection's task, which each change wakes.
    pub(crate) fn account(&self, bytes: usize) {
        self.charge.lock().set(bytes);
    }

    pub(crate) fn bounds(&self) -> &SocketBounds {
        &self.bounds
    }

    /// Changes the state under its lock, then wakes the tasks that wait for the change.
    pub(crate) fn change<A>(&self, change: impl FnOnce(&mut SocketState) -> A) -> A {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let due = [state.driver.take_due(), state.receiver.take_due(), state.sender.take_due()];
        drop(state);
        due.into_iter().flatten().for_each(Waker::wake);
        result
    }

    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        self.change(|state| {
            if let Some(message) = state.received.pop() {
                // The task may read on, or end if this was the last message.
                state.driver.due = true;
                return Poll::Ready(Some(message));
            }
            if state.stage == SocketStage::Ended {
                return Poll::Ready(None);
            }
            state.receiver.wait(cx);
            Poll::Pending
        })
    }

    /// Waits until a frame may be queued.
    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.change(|state| {
            if state.stage != SocketStage::Open {
                return Poll::Ready(Err(connection_ended()));
            }
            // By the bytes before this message, so that one of any size can be sent.
            if state.queued - state.sent < self.bounds.sent_bytes as u64 {
                return Poll::Ready(Ok(()));
            }
            state.sender.wait(cx);
            Poll::Pending
        })
    }

    /// Queues a frame, and returns the total number of queued bytes with it: the frame has been written when `sent` reaches that.
    fn queue(&self, frame: &[u8]) -> Result<u64> {
        self.change(|state| {
            if state.stage != SocketStage::Open {
                return Err(connection_ended());
            }
            state.push_frame(frame);
            state.driver.due = true;
            Ok(state.queued)
        })
    }

    /// Waits until the bytes up to this total number have been written.
    fn poll_sent(&self, cx: &Context<'_>, end: u64) -> Poll<Result<()>> {
        self.change(|state| {
            if state.sent >= end {
                return Poll::Ready(Ok(()));
            }
            if state.stage == SocketStage::Ended {
                return Poll::Ready(Err(connection_ended()));
            }
            state.sender.wait(cx);
            Poll::Pending
        })
    }

    fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        self.change(|state| {
            if state.stage == SocketStage::Ended {
                return Poll::Ready(());
            }
            // As the receiver: `close` owns the socket, so no call of `recv` waits at the same time.
            state.receiver.wait(cx);
            Poll::Pending
        })
    }
}

fn connection_ended() -> Error {
    Error::unavailable("the connection has ended")
}

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

/// A raw WebSocket, without the PondSocket protocol: what
/// [`PondSocket::create_websocket`](crate::PondSocket::create_websocket) hands to its handler. It is closed with 1000 when
/// it is dropped, and with 1011 if that is because of a panic.
///
/// Pings, closes and deadlines are seen to beside the handler, whatever that waits for. A peer is given up of which
/// nothing was heard for `pong_wait`, or which takes nothing for `write_wait`, or does not answer a close in that time.
/// Messages that are not taken wait, up to `receive_channel_buffer` of them or `max_message_size` bytes: then the peer is not
/// read, and a handler that takes none for `pong_wait` loses it with 1013.
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

    /// The one that was agreed to: see [`Options::subprotocols`](crate::Options::subprotocols).
    pub fn subprotocol(&self) -> Option<&str> {
        self.agreed.as_deref()
    }

    /// The next message; `None` once the connection has ended, for whatever reason, and all that came before has been
    /// taken. When the server shuts down the peer is told so, and this ends with its answer. Cancel-safe: a message is
    /// either returned or kept for the next call.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.shared.poll_take(cx)).await
    }

    /// Sends a message. It returns when the socket has taken all of it.
    ///
    /// # Errors
    /// 503 if the connection has ended, which it does if the peer takes nothing for `write_wait`. That is so, too, once
    /// the server shuts down: the peer has been told then.
    ///
    /// Not cancel-safe in the sense that a cancelled call may have queued the message: it is sent all the same. When
    /// `outbox_bytes` are queued like that, the next call waits before it adds to them.
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
        drop((frame, message));
        poll_fn(|cx| self.shared.poll_sent(cx, end)).await
    }

    /// Says goodbye with a close code (RFC 6455 section 7.4) and waits until the peer has answered or gone.
    pub async fn close(self, code: u16, reason: &str) {
        let closure = Closure { code, text: reason.to_owned().into(), reason: CloseReason::Server };
        self.shared.change(|state| state.close(closure));
        poll_fn(|cx| self.shared.poll_gone(cx)).await;
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let (code, text) = if thread::panicking() { (1011, "the handler has failed") } else { (1000, "") };
        let closure = Closure { code, text: text.into(), reason: CloseReason::Server };
        self.shared.change(|state| {
            state.close(closure);
            // Nobody will take them.
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

/// What a raw WebSocket and the task that reads and writes for it share.
#[derive(Debug)]
pub(crate) struct SharedSocket {
    state: Mutex<SocketState>,
    bounds: SocketBounds,
    /// What it takes of the server's memory. Apart from the state, because giving memory back wakes others; here and not
    /// with the task, because the application may hold messages for longer than there is a connection.
    charge: Mutex<Charge>,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketBounds {
    /// Messages that the application has not taken.
    pub(crate) messages: usize,
    /// The same in bytes. One message may be larger.
    pub(crate) message_bytes: usize,
    /// Bytes that the peer has not taken, of earlier messages than the one that is added.
    pub(crate) sent_bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum SocketStage {
    #[default]
    Open,
    /// A close frame is queued: nothing comes behind it, and no message is received any more.
    Closing,
    Gone,
}

/// See [`SharedSocket`]. It is changed by [`SharedSocket::change`], which wakes whoever is concerned.
#[derive(Debug, Default)]
pub(crate) struct SocketState {
    pub(crate) stage: SocketStage,
    /// How the connection ends, as whoever was the first to end it said.
    pub(crate) closure: Option<Closure>,
    pub(crate) received: ReceiveQueue,
    /// Whole frames that are not written yet, but for the first one.
    pub(crate) out: BytesMut,
    /// How many bytes have been queued in all, and how many of these are out.
    queued: u64,
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

/// Somebody who waits, and is to be woken when the lock is released.
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
    /// Ends the connection from our side, unless it has ended: behind what is queued already.
    pub(crate) fn close(&mut self, closure: Closure) {
        let mut frame = Vec::new();
        ws::encode_close(closure.code, &closure.text, &mut frame);
        self.end(closure, &frame);
    }

    /// The same with a close frame that says something else than the closure, as the answer to the peer's does.
    pub(crate) fn end(&mut self, closure: Closure, frame: &[u8]) {
        if self.stage != SocketStage::Open {
            return;
        }
        self.stage = SocketStage::Closing;
        self.closure.get_or_insert(closure);
        self.push_frame(frame);
        self.driver.due = true;
        // Those who wait for room learn that there will be none.
        self.sender.due = true;
    }

    /// The connection is of no use any more, for this reason if there is none yet.
    pub(crate) fn lose(&mut self, closure: Closure) {
        self.stage = SocketStage::Gone;
        self.closure.get_or_insert(closure);
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

    /// All that was queued is out.
    pub(crate) fn flushed(&mut self) {
        if self.sent != self.queued {
            self.sent = self.queued;
            self.sender.due = true;
        }
        self.out = BytesMut::new();
    }

    /// To be called by the task that reads and writes, before it looks.
    pub(crate) fn register_driver(&mut self, cx: &Context<'_>) {
        self.driver.wait(cx);
    }
}

impl SharedSocket {
    pub(crate) fn new(bounds: SocketBounds, memory: &Arc<Memory>) -> Arc<SharedSocket> {
        Arc::new(SharedSocket { state: Mutex::default(), bounds, charge: Mutex::new(Charge::new(memory)) })
    }

    /// Says how much is held. To be called by the task that reads and writes, which is woken by each change.
    pub(crate) fn account(&self, bytes: usize) {
        self.charge.lock().set(bytes);
    }

    pub(crate) fn bounds(&self) -> &SocketBounds {
        &self.bounds
    }

    /// Changes the state, and wakes whoever waits for what has changed once the lock is released: a waker may be the
    /// application's.
    pub(crate) fn change<A>(&self, with: impl FnOnce(&mut SocketState) -> A) -> A {
        let mut state = self.state.lock();
        let answer = with(&mut state);
        let due = [state.driver.take_due(), state.receiver.take_due(), state.sender.take_due()];
        drop(state);
        due.into_iter().flatten().for_each(Waker::wake);
        answer
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Message>> {
        self.change(|state| {
            if let Some(message) = state.received.pop() {
                // It may be read on, or end.
                state.driver.due = true;
                return Poll::Ready(Some(message));
            }
            if state.stage == SocketStage::Gone {
                return Poll::Ready(None);
            }
            state.receiver.wait(cx);
            Poll::Pending
        })
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.change(|state| {
            if state.stage != SocketStage::Open {
                return Poll::Ready(Err(ended()));
            }
            if state.queued - state.sent < self.bounds.sent_bytes as u64 {
                return Poll::Ready(Ok(()));
            }
            state.sender.wait(cx);
            Poll::Pending
        })
    }

    /// Queues a frame; where it ends, among all that was ever queued.
    fn queue(&self, frame: &[u8]) -> Result<u64> {
        self.change(|state| {
            if state.stage != SocketStage::Open {
                return Err(ended());
            }
            state.push_frame(frame);
            state.driver.due = true;
            Ok(state.queued)
        })
    }

    fn poll_sent(&self, cx: &Context<'_>, end: u64) -> Poll<Result<()>> {
        self.change(|state| {
            if state.sent >= end {
                return Poll::Ready(Ok(()));
            }
            if state.stage == SocketStage::Gone {
                return Poll::Ready(Err(ended()));
            }
            state.sender.wait(cx);
            Poll::Pending
        })
    }

    fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        self.change(|state| {
            if state.stage == SocketStage::Gone {
                return Poll::Ready(());
            }
            state.receiver.wait(cx);
            Poll::Pending
        })
    }
}

fn ended() -> Error {
    Error::unavailable("the connection has ended")
}

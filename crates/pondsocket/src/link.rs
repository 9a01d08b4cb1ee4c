//! The part of a connection that others hold: who it is, and its outbox.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use pondsocket_proto::channel::{Assigns, Run};
use pondsocket_proto::id::{ConnectionId, UserId};
use pondsocket_proto::wire::Json;
use pondsocket_proto::ws::{self, Opcode};

use crate::framing::Framing;
use crate::live::Recipient;
use crate::outbox::{Attention, Bounds, Closure, Outbox, Phase, Writer};
use crate::sync::Mutex;
use crate::transport::Io;

/// How many queued buffers one write takes.
const BUFFERS_PER_WRITE: usize = 64;

/// A connection as others see it. Everything here may be called from anywhere and returns at once.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    pub(crate) user: UserId,
    framing: Framing,
    bounds: Bounds,
    assigns: Mutex<Assigns>,
    outbox: Mutex<Outbox>,
}

impl Link {
    pub(crate) fn new(
        id: ConnectionId,
        user: UserId,
        framing: Framing,
        bounds: Bounds,
        assigns: Assigns,
        writer: Writer,
    ) -> Arc<Link> {
        let (assigns, outbox) = (Mutex::new(assigns), Mutex::new(Outbox::new(writer)));
        Arc::new(Link { id, user, framing, bounds, assigns, outbox })
    }

    /// A copy of the connection's assigns; it shares the values.
    pub(crate) fn assigns(&self) -> Assigns {
        self.assigns.lock().clone()
    }

    pub(crate) fn assign(&self, key: &str, value: Json) {
        self.assigns.lock().set(key, value);
    }

    /// Queues a message for this connection alone.
    pub(crate) fn send_text(&self, text: &[u8]) {
        self.send_frame(self.framing.frame(text));
    }

    /// Queues a control frame.
    pub(crate) fn send_control(&self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 2);
        ws::encode(opcode, payload, &mut frame);
        self.send_frame(frame);
    }

    fn send_frame(&self, frame: Vec<u8>) {
        let mut outbox = self.outbox.lock();
        let verdict = outbox.send(frame.into(), self.bounds);
        self.attend(outbox, verdict);
    }

    /// Ends the connection with a close frame, behind what is queued.
    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.close_with(code, reason, false);
    }

    /// Ends the connection with a close frame in place of what is queued: the client does not read it anyway.
    pub(crate) fn give_up(&self, closure: &Closure) {
        tracing::debug!(connection = %self.id, user = %self.user, code = closure.code, reason = closure.reason, "client given up");
        self.close_with(closure.code, closure.reason, true);
    }

    fn close_with(&self, code: u16, reason: &str, discard: bool) {
        let mut frame = Vec::new();
        ws::encode_close(code, reason, &mut frame);
        let mut outbox = self.outbox.lock();
        let news = outbox.close(frame.into(), discard);
        self.attend(outbox, Ok(if news { Attention::Wake } else { Attention::None }));
    }

    /// Answers a close frame, after what is queued. An empty answer to an empty question (RFC 6455 section 5.5.1).
    pub(crate) fn answer_close(&self, code: Option<u16>) {
        match code {
            Some(code) => self.close(code, ""),
            None => {
                self.outbox.lock().close(Bytes::from_static(&[0x88, 0]), false);
            }
        }
    }

    /// Unlocks, then does what the push asks for. Waking under the lock would make the woken wait for it.
    fn attend(&self, outbox: impl std::ops::Deref<Target = Outbox>, verdict: Result<Attention, Closure>) {
        let waker = match verdict {
            Ok(Attention::Wake) => outbox.waker.clone(),
            Ok(Attention::None) => None,
            Err(closure) => {
                drop(outbox);
                return self.give_up(&closure);
            }
        };
        drop(outbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.outbox.lock().phase()
    }

    /// The connection's task begins to work: it will flush when it is done.
    pub(crate) fn cork(&self, waker: &Waker) {
        let mut outbox = self.outbox.lock();
        outbox.cork();
        if !outbox.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            outbox.waker = Some(waker.clone());
        }
    }

    /// Lets others write again. True if more waits for the client than may for long.
    pub(crate) fn uncork(&self) -> bool {
        let mut outbox = self.outbox.lock();
        outbox.uncork();
        outbox.is_over(self.bounds)
    }

    /// Writes what is queued: with the socket that the outbox holds, or with `io` if only the connection's task
    /// can write. `Ok(progress)` once nothing is queued; while the peer takes nothing, `Pending`.
    pub(crate) fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        mut io: Option<&mut dyn Io>,
        wrote: &mut bool,
    ) -> Poll<io::Result<()>> {
        let mut buffers = Vec::new();
        loop {
            let outbox = self.outbox.lock();
            if outbox.is_empty() {
                drop(outbox);
                return match io {
                    Some(io) if *wrote => Pin::new(io).poll_flush(cx),
                    _ => Poll::Ready(Ok(())),
                };
            }
            buffers.clear();
            outbox.front(&mut buffers, BUFFERS_PER_WRITE);
            let slices: Vec<_> = buffers.iter().map(|bytes| IoSlice::new(bytes)).collect();
            let written = match (outbox.writer(), io.as_mut()) {
                (Writer::Socket(socket), _) => {
                    // While something is queued nobody but this task writes.
                    match socket.try_write_vectored(&slices) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            let ready = socket.as_ref().poll_write_ready(cx);
                            drop(outbox);
                            ready!(ready)?;
                            continue;
                        }
                        other => other?,
                    }
                }
                (Writer::Task, Some(io)) => {
                    drop(outbox);
                    let written = ready!(Pin::new(&mut **io).poll_write_vectored(cx, &slices))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    *wrote = true;
                    self.outbox.lock().advance(written);
                    continue;
                }
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            let mut outbox = outbox;
            outbox.advance(written);
            *wrote = true;
        }
    }

    /// Nothing more will be sent. Dropping what this returns tells a TCP peer so.
    pub(crate) fn end(&self) -> Writer {
        self.outbox.lock().end()
    }
}

impl Recipient for Arc<Link> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn deliver(&self, runs: &[Run<'_, Bytes>]) {
        let mut outbox = self.outbox.lock();
        let verdict = outbox.deliver(runs, self.bounds);
        self.attend(outbox, verdict);
    }

    fn send(&self, text: &[u8]) {
        self.send_text(text);
    }
}

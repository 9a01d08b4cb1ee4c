//! The way of queued frames to the client: to its socket, or to the body of an HTTP response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use pondsocket_proto::channel::{CatchUpLimits, Run};
use tokio::time::Instant;

use super::ConnectionHandle;
use crate::engine::outbox::{Bounds, CaughtUp, Hole, Writer};
use crate::engine::socket::Io;
use crate::limits::memory::counted;

/// The outcome of a flush.
#[derive(Debug)]
pub(crate) enum Flushed {
    /// Everything is written.
    All,
    /// Everything ahead of this hole is.
    UpTo(Hole),
}

impl ConnectionHandle {
    /// Writes the queued frames: to the socket that the outbox holds, or to `io` if only the connection's task can write. If
    /// the body of a response takes them, wakes the body instead. Ready when nothing is queued; pending while the peer
    /// accepts nothing. A hole at the front is for the caller to fill. `wrote` is set if the peer has accepted bytes. `now` is
    /// the time at which the task was polled.
    pub(crate) fn poll_flush(
        &self,
        cx: &mut Context<'_>,
        mut io: Option<&mut dyn Io>,
        now: Instant,
        wrote: &mut bool,
    ) -> Poll<io::Result<Flushed>> {
        loop {
            // Held across the write, which does not wait: a drop policy must not drop a frame while it is being written.
            let mut outbox = self.outbox.lock();
            if outbox.is_empty() {
                drop(outbox);
                return match io {
                    Some(io) if *wrote => Pin::new(io).poll_flush(cx).map_ok(|()| Flushed::All),
                    _ => Poll::Ready(Ok(Flushed::All)),
                };
            }
            if let Some(hole) = outbox.hole() {
                return Poll::Ready(Ok(Flushed::UpTo(hole)));
            }
            if let Some((body, took)) = outbox.notify_body() {
                drop(outbox);
                *wrote |= took;
                body.into_iter().for_each(Waker::wake);
                return Poll::Pending;
            }
            let written = match (outbox.writer(), io.as_mut()) {
                (Writer::Socket(socket), _) => match outbox.try_write_to(socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        let ready = socket.as_ref().poll_write_ready(cx);
                        drop(outbox);
                        ready!(ready)?;
                        continue;
                    }
                    other => other?,
                },
                (Writer::Task, Some(io)) => ready!(Pin::new(&mut **io).poll_write_vectored(cx, &outbox.next_slices()))?,
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            outbox.advance(written, self.limits.bounds, now);
            *wrote = true;
            let deliveries = outbox.take_relieved(self.limits.bounds);
            self.report(&mut outbox);
            drop(outbox);
            deliveries.into_iter().for_each(Waker::wake);
        }
    }

    /// The most that fills a hole at once: half of what may wait.
    pub(crate) fn catch_up_limits(&self) -> CatchUpLimits {
        let Bounds { frames, bytes, .. } = self.limits.bounds;
        CatchUpLimits { messages: frames / 2, bytes: bytes / 2 }
    }

    /// Puts messages in the place of those of the front hole up to an offset. Called by the connection's task alone.
    pub(crate) fn fill(&self, hole: &Hole, up_to: u64, messages: &[CaughtUp]) {
        let run = |part: &[CaughtUp]| {
            let mut frames = Vec::new();
            part.iter().for_each(|message| self.framing.encode(&message.text, &mut frames));
            let buffer = counted(&self.limits.memory, frames);
            let CaughtUp { drop_policy, position, .. } = part[0];
            Run { range: 0..buffer.len(), buffer, frames: part.len() as u32, drop_policy, kept: position }
        };
        let runs: Vec<_> = messages.chunk_by(CaughtUp::is_followed_by).map(run).collect();
        let mut outbox = self.outbox.lock();
        outbox.fill(hole, up_to, &runs);
        self.report(&mut outbox);
    }

    /// Takes queued bytes, for the body of an HTTP response. `None` at the end of the stream.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut outbox = self.outbox.lock();
        let (taken, look) = outbox.take(cx.waker(), self.limits.bounds, Instant::now());
        let task = if look { outbox.waker.clone() } else { None };
        let deliveries = outbox.take_relieved(self.limits.bounds);
        self.report(&mut outbox);
        drop(outbox);
        task.into_iter().chain(deliveries).for_each(Waker::wake);
        taken
    }
}

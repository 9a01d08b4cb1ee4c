//! The way out of an outbox: the socket, the connection's task, or the body of an HTTP answer.

use std::io::{self, IoSlice};
use std::task::Waker;

use bytes::Bytes;
use pondsocket_proto::channel::Run;
use tokio::net::tcp::OwnedWriteHalf;

/// The writer of what is queued.
#[derive(Debug)]
pub(crate) enum Writer {
    /// A plain TCP socket: each delivery may write, as long as nothing is queued.
    Socket(OwnedWriteHalf),
    /// Only the connection's task can write.
    Task,
    /// The body of an HTTP answer takes what is queued, whenever its host has room for it.
    Body(BodyReader),
    /// The connection has closed its side.
    Gone,
}

/// A body, as the outbox knows it.
#[derive(Debug, Default)]
pub(crate) struct BodyReader {
    /// There while the body waits for something.
    waker: Option<Waker>,
    /// The body has taken something since the connection's task asked.
    took: bool,
}

impl BodyReader {
    /// Lets the body be woken when there is something for it.
    pub(super) fn wait(&mut self, body: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(body)) {
            self.waker = Some(body.clone());
        }
    }

    /// Notes that the body has taken something.
    pub(super) fn note_taken(&mut self) {
        self.took = true;
    }

    /// The body's waker, if it waits, and `true` if it has taken something since the last call.
    pub(super) fn notify(&mut self) -> (Option<Waker>, bool) {
        (self.waker.take(), std::mem::take(&mut self.took))
    }
}

/// A writer, and the cork in it.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) writer: Writer,
    /// The connection's task is at work and will flush when it is done: one write in place of one for each answer.
    pub(super) corked: bool,
}

impl Output {
    pub(super) fn new(writer: Writer) -> Output {
        Output { writer, corked: false }
    }

    /// Writes runs of frames past the queue, which is empty. 0 if the connection's task writes, or the socket takes nothing now.
    pub(super) fn try_write(&self, runs: &[Run<Bytes>]) -> io::Result<usize> {
        let Writer::Socket(socket) = &self.writer else { return Ok(0) };
        if self.corked {
            return Ok(0);
        }
        let written = match runs {
            [run] => socket.try_write(run.bytes()),
            runs => {
                let slices: Vec<_> = runs.iter().map(|run| IoSlice::new(run.bytes())).collect();
                socket.try_write_vectored(&slices)
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }
}

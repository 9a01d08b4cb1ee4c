//! The writer of an outbox: the socket, the connection's task, or the body of an HTTP response.

use std::io::{self, IoSlice};
use std::task::Waker;

use bytes::Bytes;
use pondsocket_proto::channel::Run;
use tokio::net::tcp::OwnedWriteHalf;

/// The writer of queued frames.
#[derive(Debug)]
pub(crate) enum Writer {
    /// A plain TCP socket. A delivery may write to it while the queue is empty.
    Socket(OwnedWriteHalf),
    /// Only the connection's task can write.
    Task,
    /// The body of an HTTP response, which takes queued frames when its host has room. Boxed, because most writers are sockets.
    Body(Box<BodyReader>),
    /// None: the side of the server is closed.
    Gone,
}

/// The body of an event stream, for its outbox.
#[derive(Debug, Default)]
pub(crate) struct BodyReader {
    /// Set while the body waits for frames.
    waker: Option<Waker>,
    /// True if the body has taken bytes since the connection's task last asked.
    took: bool,
}

impl BodyReader {
    /// Registers the waker of a body that waits for frames.
    pub(super) fn wait(&mut self, body: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(body)) {
            self.waker = Some(body.clone());
        }
    }

    /// Notes that the body has taken bytes.
    pub(super) fn note_taken(&mut self) {
        self.took = true;
    }

    /// Takes the waker of a body that waits, and returns whether it has taken bytes since the last call.
    pub(super) fn notify(&mut self) -> (Option<Waker>, bool) {
        (self.waker.take(), std::mem::take(&mut self.took))
    }
}

/// A writer with its cork.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) writer: Writer,
    /// True while the connection's task works. It flushes at the end, so that all answers go out in one write.
    pub(super) corked: bool,
    /// True if frames were queued meanwhile.
    pub(super) grew: bool,
}

impl Output {
    pub(super) fn new(writer: Writer) -> Output {
        Output { writer, corked: false, grew: false }
    }

    /// Writes runs of frames past the empty queue. Returns 0 if only the connection's task can write, or the socket accepts
    /// nothing now.
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

//! What waits for one client: whole frames, bounded, in order.
//!
//! The outbox is a plain struct behind one short lock (see [`Link`](crate::link::Link)), which is held across a
//! non-blocking write but never across a wait. While it is empty, whoever delivers writes to the socket itself; what
//! the socket does not take is queued, and from then on the connection's task writes it out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::Waker;

use bytes::{Buf, Bytes};
use pondsocket_proto::channel::Run;
use tokio::net::tcp::OwnedWriteHalf;

/// A rest of a batch that is shorter than this is copied: a slice would keep the whole batch in memory.
const COPY_BELOW: usize = 4 * 1024;

/// How many frames may wait, and how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
}

/// How much over its bounds an outbox may be for a moment before its client is given up.
const HARD_FACTOR: usize = 4;

/// Who writes what is queued.
#[derive(Debug)]
pub(crate) enum Writer {
    /// A plain TCP socket: whoever delivers may write, as long as nothing is queued.
    Socket(OwnedWriteHalf),
    /// Only the connection's task can write.
    Task,
    /// Nobody: the connection has gone.
    Gone,
}

/// Where the connection is in its life, as far as sending goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Frames are accepted.
    Open,
    /// A close frame is queued as the last one, or was sent.
    Closing,
    /// Nothing more will be sent.
    Closed,
}

/// Why a connection is to be closed from our side.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Closure {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// What the connection's task has to be told after a push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Attention {
    /// Nothing: all was written, or the task knows already.
    None,
    /// Something is queued, or the connection must end.
    Wake,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Bytes>,
    frames: usize,
    bytes: usize,
    /// Bytes of the first queued frame that are still to be written, once its beginning was; 0 at a boundary.
    started: usize,
    /// The connection's task is at work and will flush when it is done.
    corked: bool,
    phase: Phase,
    writer: Writer,
    pub(crate) waker: Option<Waker>,
}

impl Outbox {
    pub(crate) fn new(writer: Writer) -> Self {
        Outbox {
            queue: VecDeque::new(),
            frames: 0,
            bytes: 0,
            started: 0,
            corked: false,
            phase: Phase::Open,
            writer,
            waker: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Whether more waits than may for long.
    pub(crate) fn is_over(&self, bounds: Bounds) -> bool {
        self.frames > bounds.frames || self.bytes > bounds.bytes
    }

    fn is_far_over(&self, bounds: Bounds) -> bool {
        self.frames > bounds.frames * HARD_FACTOR || self.bytes > bounds.bytes * HARD_FACTOR
    }

    /// Holds back writing until [`uncork`](Self::uncork): the connection's task is handling input and will flush
    /// once at the end.
    pub(crate) fn cork(&mut self) {
        self.corked = true;
    }

    pub(crate) fn uncork(&mut self) {
        self.corked = false;
    }

    /// Sends runs of frames that belong together: at once if nothing waits and the socket takes them.
    /// `Err` if the client is to be given up: it is too far behind.
    pub(crate) fn deliver(&mut self, runs: &[Run<'_, Bytes>], bounds: Bounds) -> Result<Attention, Closure> {
        if self.phase != Phase::Open {
            return Ok(Attention::None);
        }
        let written = match &self.writer {
            Writer::Socket(socket) if self.queue.is_empty() && !self.corked => try_write(socket, runs),
            _ => Ok(0),
        };
        let Ok(written) = written else {
            // The socket is broken: the connection's task finds out by reading.
            self.phase = Phase::Closed;
            return Ok(Attention::Wake);
        };
        if written == runs.iter().map(|run| run.range.len()).sum::<usize>() {
            return Ok(Attention::None);
        }
        let was_quiet = self.queue.is_empty() && !self.corked;
        let was_over = self.is_over(bounds);
        for run in runs {
            self.push(run.buffer.slice(run.range.clone()), run.frames as usize);
        }
        self.advance(written);
        self.own_small_rest();
        self.verdict(bounds, was_quiet || !was_over && self.is_over(bounds))
    }

    /// Queues one frame of our own making. It is written by the connection's task.
    pub(crate) fn send(&mut self, frame: Bytes, bounds: Bounds) -> Result<Attention, Closure> {
        if self.phase != Phase::Open {
            return Ok(Attention::None);
        }
        let was_quiet = self.queue.is_empty() && !self.corked;
        self.push(frame, 1);
        self.verdict(bounds, was_quiet)
    }

    fn verdict(&self, bounds: Bounds, news: bool) -> Result<Attention, Closure> {
        if self.is_far_over(bounds) {
            return Err(Closure { code: 1013, reason: "too slow" });
        }
        Ok(if news { Attention::Wake } else { Attention::None })
    }

    /// Queues a close frame as the last one. `discard`: what waits is thrown away first, but for the rest of a
    /// frame whose beginning was written.
    pub(crate) fn close(&mut self, frame: Bytes, discard: bool) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        if discard {
            self.discard();
        }
        self.push(frame, 1);
        self.phase = Phase::Closing;
        true
    }

    /// Nothing more is sent. Dropping a socket's write half tells the peer so.
    pub(crate) fn end(&mut self) -> Writer {
        self.phase = Phase::Closed;
        self.queue = VecDeque::new();
        (self.frames, self.bytes, self.started) = (0, 0, 0);
        std::mem::replace(&mut self.writer, Writer::Gone)
    }

    /// The next buffers to write, and how many of `out` they fill.
    pub(crate) fn front(&self, out: &mut Vec<Bytes>, most: usize) {
        out.extend(self.queue.iter().take(most).cloned());
    }

    /// Takes off what was written.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.bytes -= written.min(self.bytes);
        while written > 0 {
            let Some(head) = self.queue.front_mut() else { return };
            if self.started == 0 {
                self.started = frame_len(head);
            }
            let step = written.min(self.started).min(head.len());
            head.advance(step);
            self.started -= step;
            written -= step;
            if self.started == 0 {
                self.frames -= 1;
            }
            if head.is_empty() {
                self.queue.pop_front();
            }
        }
        if self.queue.is_empty() {
            // An idle connection holds no buffer.
            self.queue = VecDeque::new();
        }
    }

    fn push(&mut self, frames: Bytes, count: usize) {
        self.bytes += frames.len();
        self.frames += count;
        self.queue.push_back(frames);
    }

    fn own_small_rest(&mut self) {
        if self.bytes < COPY_BELOW {
            let rest: Vec<u8> = self.queue.iter().flat_map(|bytes| bytes.iter().copied()).collect();
            self.queue = VecDeque::from([rest.into()]);
        }
    }

    fn discard(&mut self) {
        let rest = self.queue.front().filter(|_| self.started > 0).map(|head| head.slice(..self.started));
        self.queue = VecDeque::new();
        (self.bytes, self.frames) = (self.started, usize::from(rest.is_some()));
        self.queue.extend(rest.map(|rest| Bytes::copy_from_slice(&rest)));
    }
}

fn try_write(socket: &OwnedWriteHalf, runs: &[Run<'_, Bytes>]) -> io::Result<usize> {
    let written = match runs {
        [run] => socket.try_write(&run.buffer[run.range.clone()]),
        runs => {
            let slices: Vec<_> = runs.iter().map(|run| IoSlice::new(&run.buffer[run.range.clone()])).collect();
            socket.try_write_vectored(&slices)
        }
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// The length of the frame that `bytes` begins with, header included: we made it, so it is well formed, and a
/// server's frames are not masked (RFC 6455 section 5.2).
fn frame_len(bytes: &[u8]) -> usize {
    let extended =
        |from: usize, to: usize| bytes[from..to].iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
    match bytes[1] {
        126 => 4 + extended(2, 4),
        127 => 10 + extended(2, 10),
        len => 2 + usize::from(len),
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::ws::{self, Opcode};

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 4, bytes: 1000 };

    fn frame(text: &str) -> Bytes {
        let mut out = Vec::new();
        ws::encode(Opcode::Text, text.as_bytes(), &mut out);
        out.into()
    }

    fn outbox() -> Outbox {
        Outbox::new(Writer::Task)
    }

    fn queued(outbox: &Outbox) -> Vec<u8> {
        outbox.queue.iter().flatten().copied().collect()
    }

    #[test]
    fn only_the_first_frame_wakes_the_task() {
        let mut outbox = outbox();
        assert_eq!(outbox.send(frame("a"), BOUNDS), Ok(Attention::Wake));
        assert_eq!(outbox.send(frame("b"), BOUNDS), Ok(Attention::None));
        outbox.advance(6);
        assert!(outbox.is_empty());
        outbox.cork();
        assert_eq!(outbox.send(frame("c"), BOUNDS), Ok(Attention::None));
    }

    #[test]
    fn written_bytes_are_counted_frame_by_frame() {
        let mut outbox = outbox();
        let two = [frame("hello"), frame("world")].concat();
        outbox.push(two.into(), 2);
        outbox.advance(3);
        assert_eq!((outbox.frames, outbox.bytes), (2, 11));
        outbox.advance(4);
        assert_eq!((outbox.frames, outbox.bytes), (1, 7));
        outbox.advance(7);
        assert_eq!((outbox.frames, outbox.bytes, outbox.started), (0, 0, 0));
    }

    #[test]
    fn far_over_its_bounds_the_client_is_given_up() {
        let mut outbox = outbox();
        let verdicts: Vec<_> = (0..17).map(|_| outbox.send(frame("x"), BOUNDS)).collect();
        assert!(verdicts[..16].iter().all(Result::is_ok));
        assert_eq!(verdicts[16], Err(Closure { code: 1013, reason: "too slow" }));
    }

    #[test]
    fn giving_up_keeps_the_rest_of_a_started_frame_so_that_the_close_frame_is_one() {
        let mut outbox = outbox();
        outbox.push([frame("hello"), frame("world")].concat().into(), 2);
        outbox.advance(4);
        let mut close = Vec::new();
        ws::encode_close(1013, "too slow", &mut close);
        assert!(outbox.close(close.clone().into(), true));
        assert_eq!(queued(&outbox), [b"llo".as_slice(), &close].concat());
        assert_eq!(outbox.frames, 2);
        assert!(!outbox.close(close.into(), true), "closing twice");
        assert_eq!(outbox.send(frame("late"), BOUNDS), Ok(Attention::None));
        outbox.advance(3);
        assert_eq!(outbox.frames, 1);
    }

    #[test]
    fn an_emptied_outbox_holds_no_buffer() {
        let mut outbox = outbox();
        for _ in 0..10 {
            outbox.push(frame("x"), 1);
        }
        outbox.advance(30);
        assert_eq!(outbox.queue.capacity(), 0);
    }
}

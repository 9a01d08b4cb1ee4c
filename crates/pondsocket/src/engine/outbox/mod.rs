//! The outbox of one client: its queue of frames, the limits of the queue, and the writer.
//!
//! An outbox is a plain struct behind one short lock (see [`ConnectionHandle`](crate::engine::handle::ConnectionHandle)),
//! which is held across a non-blocking write but never across a wait. While the outbox is empty, a delivery writes to the
//! socket itself; bytes that the socket does not accept are queued, and the connection's task writes them later. The frames
//! of an event stream are taken by the body of its HTTP response.
//!
//! | file | owns |
//! |---|---|
//! | `queue` | the queued frames, their bounds, their memory |
//! | `on_demand` | the memory of an empty queue: none |
//! | `shed` | the drop policies |
//! | `holes` | the places of kept messages, which the client gets later |
//! | `backpressure` | the channels that wait for room, and the client's credit with them |
//! | `writer` | the writer, and its cork |
//! | [`closing`](crate::engine::closing) | the state of the connection, and its close frame |

mod backpressure;
#[cfg(all(test, not(pond_loom)))]
mod fixture;
mod holes;
mod on_demand;
mod queue;
mod shed;
mod writer;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use pondsocket_proto::channel::{HistoryGap, Run};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use crate::engine::closing::{Close, Closure, ConnectionState, Effect, Lifecycle, TOO_SLOW};
use crate::engine::framing::Framing;
use crate::limits::memory::Memory;
use crate::metrics::CloseReason;

use backpressure::Backpressure;
use on_demand::OnDemand;
use writer::Output;

pub(crate) use backpressure::{Lag, RoomWait};
pub(crate) use holes::{CaughtUp, Hole};
pub(crate) use queue::{Bounds, Source};
pub(crate) use shed::Dropped;
pub(crate) use writer::Writer;

/// The most bytes that a body takes at once, unless one frame has more. The slow-client policy cannot drop taken bytes.
const BODY_TAKES: usize = 64 * 1024;

/// The limits that the outboxes of an endpoint's connections share.
#[derive(Debug)]
pub(crate) struct OutboxLimits {
    pub(crate) bounds: Bounds,
    /// The memory counter of the server.
    pub(crate) memory: Arc<Memory>,
}

/// The outbox of one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: OnDemand,
    lifecycle: Lifecycle,
    output: Output,
    backpressure: Backpressure,
    /// Wakes the connection's task.
    pub(crate) waker: Option<Waker>,
}

/// The outcome of a push.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// True if the frames are written or queued. A connection that ends accepts none.
    pub(crate) accepted: bool,
    /// True if the connection's task must be woken: frames are queued, or the connection has to end.
    pub(crate) wake: bool,
    /// True if nothing was accepted because the queue is over its bounds, and the caller should wait for room.
    pub(crate) behind: bool,
    /// True if channels have just stopped to wait for room.
    pub(crate) left_behind: bool,
    /// The frames that were dropped to make room.
    pub(crate) dropped: Dropped,
    /// The number of queued frames; 0 while the outbox is corked, because the task may still write them at once.
    pub(crate) depth: usize,
}

/// The fill level before a push.
#[derive(Clone, Copy, Debug)]
struct FillLevel {
    /// True if the queue was empty.
    empty: bool,
    /// True if the queue was over its bounds.
    over: bool,
}

impl Outbox {
    pub(crate) fn new(writer: Writer, framing: Framing, bounds: Bounds, now: Instant) -> Self {
        Outbox {
            queue: OnDemand::new(framing),
            lifecycle: Lifecycle::new(),
            output: Output::new(writer),
            backpressure: Backpressure::new(bounds, now),
            waker: None,
        }
    }

    /// Reports the bytes that this outbox alone holds to the memory counter.
    pub(crate) fn report(&mut self, memory: &Arc<Memory>) {
        self.queue.report(memory);
    }

    /// The number of queued frames, and of their bytes.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.queue.frames(), self.queue.bytes())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.output.writer
    }

    /// Queues all frames until [`uncork`](Self::uncork), while the connection's task handles input. It flushes once at the
    /// end. Frames that are queued meanwhile wait from `now` on, which saves a call to the clock for each answer.
    pub(crate) fn cork(&mut self, now: Instant) {
        (self.output.corked, self.output.grew) = (true, false);
        if self.queue.is_empty() {
            self.backpressure.begin(now);
        }
    }

    pub(crate) fn uncork(&mut self) {
        self.output.corked = false;
    }

    /// The number of queued frames, if some of them were queued while the outbox was last corked, and this was not called since.
    pub(crate) fn take_growth(&mut self) -> Option<usize> {
        std::mem::take(&mut self.output.grew).then(|| self.queue.frames()).filter(|frames| *frames > 0)
    }
}

/// Pushing.
impl Outbox {
    /// Sends runs of frames that belong together, at once if the queue is empty and the socket accepts them. Does nothing if
    /// the client is behind and channels wait for it. `Err` if the client is so far behind that it has to be disconnected.
    pub(crate) fn deliver(
        &mut self,
        source: Source<'_>,
        runs: &[Run<Bytes>],
        bounds: Bounds,
        now: impl Fn() -> Instant,
    ) -> Result<Pushed, Closure> {
        if !self.accepts() {
            return Ok(Pushed::default());
        }
        let (mut made_room, mut left_behind) = (Dropped::default(), false);
        if self.queue.is_over(bounds) {
            // Dropping comes before waiting: a delivery does not wait for droppable messages.
            made_room = self.queue.shed(bounds);
            if self.queue.is_over(bounds) {
                let was_left_behind = self.backpressure.is_left_behind();
                if self.backpressure.is_waited_for(now()) {
                    return Ok(Pushed { behind: true, dropped: made_room, ..Pushed::default() });
                }
                left_behind = !was_left_behind;
            }
        }
        let before = self.fill_level(bounds);
        // Past the queue only while it is empty, because these frames must not overtake queued ones.
        let written = if before.empty { self.output.try_write(runs) } else { Ok(0) };
        let Ok(written) = written else {
            // Only noted here, because only the connection's task closes the transport.
            self.lifecycle.fail();
            return Ok(Pushed { wake: true, ..Pushed::default() });
        };
        self.backpressure.wrote(written, bounds);
        if written == runs.iter().map(|run| run.range.len()).sum::<usize>() {
            return Ok(Pushed { accepted: true, dropped: made_room, ..Pushed::default() });
        }
        if before.empty && !self.output.corked {
            self.backpressure.begin(now());
        }
        self.queue.push_runs(source, runs, written);
        let mut pushed = self.pushed(bounds, before);
        if before.over && self.queue.is_far_over(bounds) {
            return Err(TOO_SLOW);
        }
        pushed.left_behind = left_behind;
        // The connection's task has an earlier deadline now.
        pushed.wake |= left_behind;
        pushed.dropped.add(made_room);
        Ok(pushed)
    }

    /// Queues one frame of the server's own. The connection's task writes it, at once if the queue is over its bounds.
    pub(crate) fn send(&mut self, frame: Bytes, bounds: Bounds, now: impl Fn() -> Instant) -> Pushed {
        if !self.accepts() {
            return Pushed::default();
        }
        let before = self.fill_level(bounds);
        if before.empty && !self.output.corked {
            self.backpressure.begin(now());
        }
        self.queue.push_own(frame);
        if self.output.corked && self.queue.is_over(bounds) && self.write(bounds, now).is_err() {
            self.lifecycle.fail();
            return Pushed { wake: true, ..Pushed::default() };
        }
        self.pushed(bounds, before)
    }

    /// Queues the head of the HTTP response, ahead of the first frame.
    pub(crate) fn send_head(&mut self, head: Bytes, now: Instant) {
        self.backpressure.begin(now);
        self.queue.push_head(head);
    }

    fn fill_level(&self, bounds: Bounds) -> FillLevel {
        FillLevel { empty: self.queue.is_empty(), over: self.queue.is_over(bounds) }
    }

    fn pushed(&mut self, bounds: Bounds, before: FillLevel) -> Pushed {
        // A client whose queue was empty has kept up. One large batch must not make it lose frames or its connection.
        let must_shed = !before.empty && self.queue.is_over(bounds);
        let dropped = if must_shed { self.queue.shed(bounds) } else { Dropped::default() };
        // A task with queued frames was woken before. It is woken again when the queue passes its bounds, because a deadline
        // begins then.
        let corked = self.output.corked;
        let wake = before.empty && !corked || !before.over && self.queue.is_over(bounds);
        self.output.grew |= corked;
        let depth = if corked { 0 } else { self.queue.frames() };
        Pushed { accepted: true, wake, dropped, depth, ..Pushed::default() }
    }
}

/// Writing.
impl Outbox {
    /// Writes as much as the socket accepts, if deliveries may write.
    fn write(&mut self, bounds: Bounds, now: impl Fn() -> Instant) -> io::Result<()> {
        while !self.is_empty() && self.hole().is_none() {
            let Writer::Socket(socket) = &self.output.writer else { return Ok(()) };
            match self.try_write_to(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                written => self.advance(written?, bounds, now()),
            }
        }
        Ok(())
    }

    /// The hole at the front of the queue: nothing can be written before it is filled.
    pub(crate) fn hole(&self) -> Option<Hole> {
        self.queue.front_hole()
    }

    /// Leaves a hole that nothing fills: the history of a channel has begun anew.
    pub(crate) fn leave_gap(&mut self, source: Source<'_>, gap: HistoryGap) -> Pushed {
        if !self.accepts() {
            return Pushed::default();
        }
        self.queue.push_gap(source, gap);
        // Only the connection's task can tell the client.
        Pushed { accepted: true, wake: true, ..Pushed::default() }
    }

    /// Fills the front hole up to an offset (see [`FrameQueue::fill`](queue::FrameQueue::fill)).
    pub(crate) fn fill(&mut self, hole: &Hole, up_to: u64, runs: &[Run<Bytes>]) {
        self.queue.fill(hole, up_to, runs);
    }

    /// The next buffers to write.
    pub(crate) fn next_slices(&self) -> Vec<IoSlice<'_>> {
        self.queue.next_slices()
    }

    /// Writes as much as the socket accepts now.
    pub(crate) fn try_write_to(&self, socket: &OwnedWriteHalf) -> io::Result<usize> {
        match self.queue.only_buffer() {
            // One buffer is the usual case, and `write` costs less than `writev`.
            Some(buffer) => socket.try_write(buffer),
            None => socket.try_write_vectored(&self.next_slices()),
        }
    }

    /// Removes bytes that the client has taken.
    pub(crate) fn advance(&mut self, written: usize, bounds: Bounds, now: Instant) {
        self.backpressure.took(written, bounds, now);
        self.queue.remove_written(written);
        if self.queue.is_below_half(bounds) {
            self.backpressure.caught_up();
        }
    }

    /// If a body takes the frames, returns its waker, so that it can be woken for new frames, and whether it has taken bytes
    /// since the last call.
    pub(crate) fn notify_body(&mut self) -> Option<(Option<Waker>, bool)> {
        let Writer::Body(body) = &mut self.output.writer else { return None };
        Some(body.notify())
    }

    /// Takes bytes for a body, or registers its waker; `None` at the end of the stream. Also returns whether the
    /// connection's task has to be woken.
    pub(crate) fn take(&mut self, body: &Waker, bounds: Bounds, now: Instant) -> (Poll<Option<Bytes>>, bool) {
        let was_over = self.queue.is_over(bounds);
        let Writer::Body(reader) = &mut self.output.writer else { return (Poll::Ready(None), false) };
        // Whole frames only, so that the body can end after any of them.
        let Some(taken) = self.queue.front_frames(BODY_TAKES) else {
            reader.wait(body);
            // Only the task can fill a hole.
            return (Poll::Pending, !self.queue.is_empty());
        };
        reader.note_taken();
        self.advance(taken.len(), bounds, now);
        // The task ends a stream that is closing when all is taken, and measures the lag of one that is over its bounds.
        let look = was_over || !self.is_empty() || !self.accepts();
        (Poll::Ready(Some(taken)), look)
    }
}

/// Waiting for the client.
impl Outbox {
    /// The number of queued bytes if channels do not wait for the client any more, because it is too slow; otherwise 0.
    pub(crate) fn withheld(&mut self, now: Instant) -> usize {
        if self.backpressure.is_waited_for(now) { 0 } else { self.queue.bytes() }
    }

    /// Returns whether the queue is so long that the client should not be read.
    pub(crate) fn is_congested(&self, bounds: Bounds) -> bool {
        self.accepts() && self.queue.is_congested(bounds)
    }

    /// The lag of the client, if the queue is over its bounds. `None` behind a close frame: nothing is added then, and a client
    /// that reads may take the rest.
    pub(crate) fn lag(&self, bounds: Bounds) -> Option<Lag> {
        (self.accepts() && self.queue.is_over(bounds)).then(|| self.backpressure.lag())
    }

    /// Returns whether channels do not wait for room any more.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.backpressure.is_left_behind()
    }

    /// Waits for room on behalf of a channel, until `until` at most.
    pub(crate) fn wait(&mut self, waker: &Waker, bounds: Bounds, until: Instant, now: Instant) -> RoomWait {
        match self.must_wait(bounds) {
            true => self.backpressure.wait(waker, until, now),
            false => RoomWait::Room,
        }
    }

    /// Takes the wakers of deliveries that need not wait for room any more.
    pub(crate) fn take_relieved(&mut self, bounds: Bounds) -> Vec<Waker> {
        if !self.backpressure.has_waiting() || self.must_wait(bounds) {
            return Vec::new();
        }
        self.backpressure.take_waiting()
    }

    fn must_wait(&self, bounds: Bounds) -> bool {
        self.accepts() && self.queue.is_over(bounds)
    }
}

/// Closing. Methods that return `bool` return `true` if the connection's task has to be woken.
impl Outbox {
    pub(crate) fn state(&self) -> ConnectionState {
        self.lifecycle.state()
    }

    /// The reason of the connection's end and its code, once they are known.
    pub(crate) fn close_reason(&self) -> Option<(CloseReason, u16)> {
        self.lifecycle.reason()
    }

    /// Returns whether frames are accepted.
    fn accepts(&self) -> bool {
        self.state().accepts_frames()
    }

    pub(crate) fn close(&mut self, close: Close) -> bool {
        let effect = self.lifecycle.close(close, self.queue.framing());
        self.apply(effect)
    }

    pub(crate) fn expect_flush_marker(&mut self) {
        self.lifecycle.expect_flush_marker();
    }

    pub(crate) fn receive_flush_marker(&mut self) -> bool {
        let effect = self.lifecycle.receive_flush_marker(self.queue.framing());
        self.apply(effect)
    }

    fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::None => false,
            Effect::Wake => true,
            Effect::Finish { frame, instead, wake } => {
                if instead {
                    self.queue.clear_unstarted();
                }
                // Not through `send`, which accepts nothing in this state.
                if let Some(frame) = frame {
                    self.queue.push_own(frame.into());
                }
                wake
            }
        }
    }

    /// Takes the writer, if all frames are sent to a peer that broke the protocol. Its drop shuts down the server's side.
    pub(crate) fn linger(&mut self) -> Option<Writer> {
        self.lifecycle.linger().then(|| self.take_writer())
    }

    /// Notes that the transport is closed. Returns the writer, to be dropped, and at the first call the closure that counts.
    pub(crate) fn disconnect(&mut self, closure: Closure) -> (Writer, Option<Closure>) {
        let closure = self.lifecycle.disconnect(closure);
        (self.take_writer(), closure)
    }

    fn take_writer(&mut self) -> Writer {
        self.queue.clear();
        std::mem::replace(&mut self.output.writer, Writer::Gone)
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::channel::{DropPolicy, SlowClient};
    use pondsocket_proto::ws;
    use proptest::prelude::*;
    use std::time::Duration;

    use super::fixture::{
        BOUNDS, PACING, Step, advance, any_step, deliver, deliver_at, event, frame, outbox, outbox_of_a_body, queued,
        send, source, start, take,
    };
    use super::*;
    use crate::metrics::CloseReason;

    #[test]
    fn only_the_first_frame_wakes_the_task() {
        let mut outbox = outbox();
        assert!(send(&mut outbox, frame("a")).wake);
        assert!(!send(&mut outbox, frame("b")).wake);
        advance(&mut outbox, 6);
        assert!(outbox.is_empty());
        outbox.cork(start());
        assert!(!send(&mut outbox, frame("c")).wake);
    }

    #[test]
    fn a_client_whose_answers_exceed_the_bounds_is_not_read_and_not_closed() {
        let mut outbox = outbox();
        let congested: Vec<_> = (0..40)
            .map(|_| {
                assert!(send(&mut outbox, frame("x")).accepted);
                outbox.is_congested(BOUNDS)
            })
            .collect();
        assert_eq!(congested.iter().position(|congested| *congested), Some(2 * BOUNDS.frames));
        outbox.advance(32 * frame("x").len(), BOUNDS, start());
        assert!(!outbox.is_congested(BOUNDS));
    }

    #[test]
    fn a_large_batch_alone_closes_no_connection() {
        let (mut outbox, policy) = (outbox(), SlowClient::Disconnect);
        let texts = ["x"; 64];
        assert!(deliver(&mut outbox, 1, &texts, DropPolicy::SlowClient(None), policy).wake);
        assert!(deliver_at(&mut outbox, "y", start()).expect("it will catch up").behind);
        let late = start() + PACING.wait;
        assert_eq!(deliver_at(&mut outbox, "y", late), Err(TOO_SLOW), "but nothing was taken of it");
    }

    #[test]
    fn a_close_frame_waits_for_every_flush_marker() {
        let mut outbox = outbox();
        let closure = Closure { code: 1001, text: "bye".into(), reason: CloseReason::Shutdown };
        assert!(outbox.close(Close::Graceful(closure)));
        outbox.expect_flush_marker();
        assert!(!outbox.receive_flush_marker());
        send(&mut outbox, frame("last"));
        assert!(outbox.receive_flush_marker());
        let mut close = Vec::new();
        ws::encode_close(1001, "bye", &mut close);
        assert_eq!(queued(&outbox), [frame("last").to_vec(), close].concat());
    }

    #[test]
    fn a_body_takes_all_queued_events_and_waits_for_more() {
        let mut outbox = outbox_of_a_body();
        assert_eq!(take(&mut outbox), (Poll::Pending, false));
        assert!(send(&mut outbox, event("a")).wake);
        send(&mut outbox, event("b"));
        assert!(matches!(outbox.notify_body(), Some((Some(_), false))), "it waits, and has taken nothing");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("a"))), true), "there is more");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("b"))), false));
        assert_eq!((outbox.queue.frames(), outbox.queue.bytes()), (0, 0));
        assert!(matches!(outbox.notify_body(), Some((None, true))));
        assert!(matches!(outbox.notify_body(), Some((None, false))), "nothing since");
        drop(outbox.disconnect(TOO_SLOW));
        assert_eq!(take(&mut outbox), (Poll::Ready(None), false));
    }

    #[test]
    fn a_body_takes_whole_events_up_to_its_limit() {
        let mut outbox = outbox_of_a_body();
        let (large, small) = ("x".repeat(2 * BODY_TAKES), "x".repeat(BODY_TAKES / 3));
        let buffer: Bytes = [event(&large), event(&small), event(&small), event(&small)].concat().into();
        let run = Run { range: 0..buffer.len(), buffer, frames: 4, drop_policy: DropPolicy::Never, kept: None };
        outbox.deliver(source(1), &[run], BOUNDS, start).expect("not given up");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event(&large))), true));
        assert_eq!(take(&mut outbox), (Poll::Ready(Some([event(&small), event(&small)].concat().into())), true));
        assert!(outbox.close(Close::Immediate(TOO_SLOW)));
        assert_eq!(queued(&outbox), b"", "there is no close frame");
    }

    #[test]
    fn a_stream_is_closed_without_a_frame() {
        let mut outbox = outbox_of_a_body();
        send(&mut outbox, event("last"));
        outbox.close(Close::Graceful(Closure { code: 1001, text: "bye".into(), reason: CloseReason::Shutdown }));
        assert!(outbox.receive_flush_marker());
        assert_eq!((outbox.state().awaits_peer_close(), queued(&outbox)), (true, event("last").to_vec()));
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("last"))), true), "its task ends it");
    }

    proptest! {
        /// A body gets whole events, and one without droppable events gets all of them in order, until the client is
        /// disconnected or the connection ends.
        #[test]
        fn a_body_ends_between_two_events_wherever_it_ends(
            steps in prop::collection::vec((any_step(), 0..3000u64), 1..25),
            large in prop_oneof![Just(0usize), Just(BODY_TAKES / 4), Just(BODY_TAKES + 1)],
            given_up in any::<bool>(),
            takes_the_rest in any::<bool>(),
        ) {
            let (mut outbox, bounds) = (outbox_of_a_body(), Bounds { frames: 8, bytes: 3 * BODY_TAKES, ..BOUNDS });
            let (mut sent, mut read, mut now) = (Vec::new(), Vec::new(), start());
            let filler = "x".repeat(large);
            let take = |outbox: &mut Outbox, read: &mut Vec<u8>, now| match outbox.take(Waker::noop(), bounds, now).0 {
                Poll::Ready(Some(bytes)) => {
                    read.extend_from_slice(&bytes);
                    true
                }
                _ => false,
            };
            for (step, pause) in steps {
                now += Duration::from_millis(pause);
                match step {
                    Step::Deliver { frames, .. } => {
                        let events: Vec<u8> =
                            (sent.len()..sent.len() + frames).flat_map(|number| event(&format!("{number} {filler}"))).collect();
                        let run = Run { range: 0..events.len(), buffer: events.into(), frames: frames as u32, drop_policy: DropPolicy::Never, kept: None };
                        match outbox.deliver(source(1), &[run], bounds, || now) {
                            Ok(pushed) if pushed.accepted => sent.extend(sent.len()..sent.len() + frames),
                            Ok(pushed) => prop_assert!(pushed.behind),
                            Err(closure) => {
                                outbox.close(Close::Immediate(closure));
                                break;
                            }
                        }
                    }
                    Step::Send => {
                        outbox.send(event(&sent.len().to_string()), bounds, || now);
                        sent.push(sent.len());
                    }
                    Step::Take(_) => {
                        take(&mut outbox, &mut read, now);
                    }
                }
            }
            if given_up {
                outbox.close(Close::Immediate(TOO_SLOW));
            }
            while takes_the_rest && take(&mut outbox, &mut read, now) {}
            drop(outbox.disconnect(TOO_SLOW));
            let text = String::from_utf8(read).expect("text");
            prop_assert!(text.is_empty() || text.ends_with("\n\n"));
            let numbers = text.split_terminator("\n\n").map(|event| {
                let text = event.strip_prefix("data: ").expect("an event");
                text.split(' ').next().expect("a number").parse::<usize>().expect("a number")
            });
            let numbers: Vec<_> = numbers.collect();
            prop_assert!(sent.starts_with(&numbers), "{:?} of {:?}", numbers, sent);
        }
    }
}

//! The queue of one client: whole frames, bounded, in order.
//!
//! The outbox is a plain struct behind one short lock (see [`ConnectionHandle`](crate::engine::handle::ConnectionHandle)), which is held across a
//! non-blocking write but never across a wait. While it is empty, whoever delivers writes to the socket itself; what
//! the socket does not take is queued, and from then on the connection's task writes it out. What is meant for an event
//! stream is taken by the body of its HTTP answer.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Poll, Waker};

use bytes::{Buf, Bytes};
use pondsocket_proto::channel::{DropPolicy, Run, SlowClient};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::Instant;

use crate::engine::framing::Framing;
use crate::engine::pace::{self, Credit};
use crate::limits::memory::{Account, Memory};
use crate::metrics::CloseReason;

/// A rest of a batch that is shorter than this is copied: a slice would keep the whole batch in memory.
const COPY_BELOW: usize = 4 * 1024;

/// The most that a body takes at once, unless one frame has more: it is out of reach of the slow-client policy then.
const BODY_TAKES: usize = 64 * 1024;

/// The frames and the bytes that may wait, and the policy when more do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) policy: SlowClient,
    /// For how long channels wait for room before they do as the policy says.
    pub(crate) pace: pace::Terms,
}

/// The limits that the outboxes of an endpoint's connections share.
#[derive(Debug)]
pub(crate) struct OutboxLimits {
    pub(crate) bounds: Bounds,
    /// The server's counter, to which they report what they hold.
    pub(crate) memory: Arc<Memory>,
}

/// The factor over its bounds at which the outbox of a client that nobody waits for is given up at once.
const HARD_FACTOR: usize = 4;

/// The same for the count of frames: many small ones cost little, and a burst of them is nobody's fault.
const HARD_FRAMES_FACTOR: usize = 16;

/// The factor over its bounds at which an outbox's client is not read any more: what it sends has answers.
const READ_FACTOR: usize = 2;

/// The most queued buffers that one write takes.
const BUFFERS_PER_WRITE: usize = 64;

/// The writer of what is queued.
#[derive(Debug)]
pub(crate) enum Writer {
    /// A plain TCP socket: whoever delivers may write, as long as nothing is queued.
    Socket(OwnedWriteHalf),
    /// Only the connection's task can write.
    Task,
    /// Nobody: the body of an HTTP answer takes what is queued, whenever its host has room for it.
    Body(Taker),
    /// Nobody: the connection has gone.
    Gone,
}

/// A body, as the outbox knows it.
#[derive(Debug, Default)]
pub(crate) struct Taker {
    /// There while it waits for something.
    waker: Option<Waker>,
    /// It has taken something since the connection's task asked.
    took: bool,
}

/// The stage of the connection's life, as far as sending goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Frames are accepted.
    Open,
    /// It is to be closed by us: frames that its channels have for it are still accepted, then comes a close frame.
    Ending,
    /// A close frame is queued as the last one, or was sent.
    Closing,
    /// Nothing more will be sent.
    Closed,
}

/// The reason of a connection's end: the close code, a text for the peer, and a reason for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Closure {
    pub(crate) code: u16,
    pub(crate) text: Cow<'static, str>,
    pub(crate) reason: CloseReason,
}

/// The client does not keep up (docs/protocol.md, Close codes).
pub(crate) const TOO_SLOW: Closure =
    Closure { code: 1013, text: Cow::Borrowed("too slow"), reason: CloseReason::TooSlow };

/// The outcome of a push.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pushed {
    /// It is written, or queued; nothing more is accepted by a connection that ends.
    pub(crate) accepted: bool,
    /// The connection's task has to be told: something is queued, or the connection must end.
    pub(crate) wake: bool,
    /// Nothing was accepted: more waits than may, and there will be room.
    pub(crate) behind: bool,
    /// Nobody waits for room any more, since just now.
    pub(crate) left_behind: bool,
    /// The frames that were dropped to make room.
    pub(crate) dropped: Dropped,
    /// The number of frames that wait now.
    pub(crate) depth: usize,
}

/// The number of frames that were dropped to make room, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Dropped {
    pub(crate) outdated: usize,
    pub(crate) oldest: usize,
    pub(crate) newest: usize,
}

impl Dropped {
    fn add(&mut self, more: Dropped) {
        self.outdated += more.outdated;
        self.oldest += more.oldest;
        self.newest += more.newest;
    }
}

/// The outcome of waiting for room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wait {
    /// There is room, or nothing is accepted any more.
    Room,
    /// There will be none in time: from now on the slow-client policy applies.
    InVain,
    /// Look again when the waker is woken, and then.
    Until(Instant),
}

/// The lag of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// The moment when it last took something, or when something began to wait for it.
    pub(crate) since: Instant,
    /// Channels do not wait for it any more.
    pub(crate) left_behind: bool,
}

/// The state before something was pushed.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// Nothing waited.
    empty: bool,
    /// More waited than may for long.
    over: bool,
}

/// Frames that wait, one behind the other in one buffer.
#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    frames: usize,
    drop_policy: DropPolicy,
    channel: u64,
    /// Its bytes are of this outbox alone. Those of a buffer that several share are counted with the buffer.
    own: bool,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Entry>,
    frames: usize,
    bytes: usize,
    /// Bytes that are of this outbox alone.
    own_bytes: usize,
    /// The part of them that has been reported.
    account: Account,
    /// Bytes of the first queued frame that are still to be written, once its beginning was; 0 at a boundary.
    started: usize,
    /// The connection's task is at work and will flush when it is done.
    corked: bool,
    phase: Phase,
    /// The connection's task is to give everything up.
    was_cut: bool,
    /// The reason of its end, once that is known.
    closure: Option<Box<Closure>>,
    /// The number of those that have to send a flush marker before a close frame of ours: the channels that it has left, or
    /// that had an answer for it, and the connection's task.
    expected: u32,
    framing: Framing,
    writer: Writer,
    pub(crate) waker: Option<Waker>,
    credit: Credit,
    /// Deliveries that wait for room. Boxed, because hardly any outbox ever has some.
    #[expect(clippy::box_collection, reason = "8 bytes of each idle connection in place of 24")]
    waiting: Option<Box<Vec<Waker>>>,
}

impl Outbox {
    pub(crate) fn new(writer: Writer, framing: Framing, pace: pace::Terms, now: Instant) -> Self {
        Outbox {
            queue: VecDeque::new(),
            frames: 0,
            bytes: 0,
            own_bytes: 0,
            account: Account::default(),
            started: 0,
            corked: false,
            phase: Phase::Open,
            was_cut: false,
            closure: None,
            expected: 1,
            framing,
            writer,
            waker: None,
            credit: Credit::new(pace, now),
            waiting: None,
        }
    }

    /// Reports to the server's counter how much this outbox alone holds.
    pub(crate) fn report(&mut self, memory: &Arc<Memory>) {
        self.account.set_locked(memory, self.own_bytes + self.queue.len() * size_of::<Entry>());
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// The reason of its end, once that is known.
    pub(crate) fn closure(&self) -> Option<&Closure> {
        self.closure.as_deref()
    }

    /// Notes why it ends, unless that is known.
    pub(crate) fn blame(&mut self, closure: Closure) {
        self.closure.get_or_insert_with(|| Box::new(closure));
    }

    /// A channel that has something for this connection, which is not in it any more, will send a flush marker.
    pub(crate) fn expect_flush_marker(&mut self) {
        self.expected += 1;
    }

    /// The number of frames that wait, and of their bytes.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// Returns how many bytes wait, if the client takes less than pays for others' waiting; else 0.
    pub(crate) fn withheld(&mut self, now: Instant) -> usize {
        if self.credit.holds(now) { 0 } else { self.bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Returns `true` if more waits than may for long.
    pub(crate) fn is_over(&self, bounds: Bounds) -> bool {
        self.frames > bounds.frames || self.bytes > bounds.bytes
    }

    fn is_far_over(&self, bounds: Bounds) -> bool {
        self.frames > bounds.frames.saturating_mul(HARD_FRAMES_FACTOR)
            || self.bytes > bounds.bytes.saturating_mul(HARD_FACTOR)
    }

    /// Returns whether so much waits that its client should not be read.
    pub(crate) fn is_congested(&self, bounds: Bounds) -> bool {
        let is_far = self.frames > bounds.frames.saturating_mul(READ_FACTOR)
            || self.bytes > bounds.bytes.saturating_mul(READ_FACTOR);
        self.accepts() && is_far
    }

    /// The lag of the client, if more waits than may for long. Behind a close frame nothing is added, and a client
    /// that reads may have the rest.
    pub(crate) fn lag(&self, bounds: Bounds) -> Option<Lag> {
        let lag = || Lag { since: self.credit.since(), left_behind: self.credit.is_left_behind() };
        (self.accepts() && self.is_over(bounds)).then(lag)
    }

    /// Holds back writing until [`uncork`](Self::uncork): the connection's task is handling input and will flush
    /// once at the end.
    pub(crate) fn cork(&mut self) {
        self.corked = true;
    }

    pub(crate) fn uncork(&mut self) {
        self.corked = false;
    }

    /// Sends runs of frames that belong together: at once if nothing waits and the socket takes them. Nothing is done
    /// if the client is behind and will catch up: it is waited for then. `Err` if it is to be given up: it is too far
    /// behind.
    pub(crate) fn deliver(
        &mut self,
        channel: u64,
        runs: &[Run<Bytes>],
        bounds: Bounds,
        now: impl Fn() -> Instant,
    ) -> Result<Pushed, Closure> {
        if !self.accepts() {
            return Ok(Pushed::default());
        }
        let (mut made_room, mut left_behind) = (Dropped::default(), false);
        if self.is_over(bounds) {
            // What may be dropped need not be waited for.
            made_room = self.shed(bounds);
            if self.is_over(bounds) {
                let was_left_behind = self.credit.is_left_behind();
                if self.credit.holds(now()) {
                    return Ok(Pushed { behind: true, dropped: made_room, ..Pushed::default() });
                }
                left_behind = !was_left_behind;
            }
        }
        let before = self.before(bounds);
        let written = match &self.writer {
            Writer::Socket(socket) if before.empty && !self.corked => try_write(socket, runs),
            _ => Ok(0),
        };
        let Ok(written) = written else {
            // The socket is broken: the connection's task finds out by reading.
            self.phase = Phase::Closed;
            return Ok(Pushed { wake: true, ..Pushed::default() });
        };
        self.credit.earn(written, bounds.pace);
        if written == runs.iter().map(|run| run.range.len()).sum::<usize>() {
            return Ok(Pushed { accepted: true, dropped: made_room, ..Pushed::default() });
        }
        if before.empty {
            self.credit.begin(now());
        }
        let waiting = self.queue.len();
        for run in runs {
            let bytes = run.buffer.slice(run.range.clone());
            self.push(Entry { bytes, frames: run.frames as usize, drop_policy: run.drop_policy, channel, own: false });
        }
        self.take_off(written);
        for entry in self.queue.range_mut(waiting..) {
            if entry.bytes.len() < COPY_BELOW {
                entry.bytes = Bytes::copy_from_slice(&entry.bytes);
                entry.own = true;
                self.own_bytes += entry.bytes.len();
            }
        }
        let mut pushed = self.verdict(bounds, before);
        if before.over && self.is_far_over(bounds) {
            return Err(TOO_SLOW);
        }
        pushed.left_behind = left_behind;
        // Its deadline is an earlier one now.
        pushed.wake |= left_behind;
        pushed.dropped.add(made_room);
        Ok(pushed)
    }

    /// Queues one frame of our own making. It is written by the connection's task, which does so at once if it has made
    /// more than may wait.
    pub(crate) fn send(&mut self, frame: Bytes, bounds: Bounds, now: impl Fn() -> Instant) -> Pushed {
        if !self.accepts() {
            return Pushed::default();
        }
        let before = self.before(bounds);
        if before.empty {
            self.credit.begin(now());
        }
        self.push_own(frame);
        if self.corked && self.is_over(bounds) && self.write(bounds, now).is_err() {
            self.phase = Phase::Closed;
            return Pushed { wake: true, ..Pushed::default() };
        }
        self.verdict(bounds, before)
    }

    /// Writes what the socket takes, if whoever has something may write.
    fn write(&mut self, bounds: Bounds, now: impl Fn() -> Instant) -> io::Result<()> {
        while !self.is_empty() {
            let Writer::Socket(socket) = &self.writer else { return Ok(()) };
            let slices: Vec<_> =
                self.queue.iter().take(BUFFERS_PER_WRITE).map(|entry| IoSlice::new(&entry.bytes)).collect();
            match socket.try_write_vectored(&slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                written => self.advance(written?, bounds, now()),
            }
        }
        Ok(())
    }

    /// Returns `true` if anything may be added.
    pub(crate) fn accepts(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Ending)
    }

    fn verdict(&mut self, bounds: Bounds, before: Before) -> Pushed {
        // One batch alone, however large, says nothing of a client that had taken what was there before: for that,
        // nothing is dropped and nobody given up.
        let dropped = if !before.empty && self.is_over(bounds) { self.shed(bounds) } else { Dropped::default() };
        let wake = before.empty && !self.corked || !before.over && self.is_over(bounds);
        Pushed { accepted: true, wake, dropped, depth: self.frames, ..Pushed::default() }
    }

    /// Returns whether nobody waits for room any more.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.credit.is_left_behind()
    }

    /// Waits for room on behalf of a channel, which does not wait longer than this.
    pub(crate) fn wait(&mut self, waker: &Waker, bounds: Bounds, until: Instant, now: Instant) -> Wait {
        if !self.accepts() || !self.is_over(bounds) {
            return Wait::Room;
        }
        if now >= until {
            self.credit.leave_behind();
        }
        if !self.credit.holds(now) {
            return Wait::InVain;
        }
        let waiting = self.waiting.get_or_insert_default();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        Wait::Until(self.credit.ends().min(until))
    }

    /// Those who need not wait for room any more.
    pub(crate) fn relieved(&mut self, bounds: Bounds) -> Vec<Waker> {
        if self.waiting.is_none() || self.accepts() && self.is_over(bounds) {
            return Vec::new();
        }
        self.waiting.take().map(|waiting| *waiting).unwrap_or_default()
    }

    fn before(&self, bounds: Bounds) -> Before {
        Before { empty: self.queue.is_empty(), over: self.is_over(bounds) }
    }

    /// Drops what may be dropped until no more waits than may: outdated presence, then the oldest broadcasts with
    /// that policy, then the newest with that. A frame whose beginning was written stays.
    fn shed(&mut self, bounds: Bounds) -> Dropped {
        self.set_begun_apart();
        let all = self.frames;
        if bounds.policy != SlowClient::Disconnect {
            self.shed_outdated();
        }
        let current = self.frames;
        self.shed_oldest(bounds);
        let wanted = self.frames;
        self.shed_newest(bounds);
        self.queue.retain(|entry| entry.frames > 0);
        Dropped { outdated: all - current, oldest: current - wanted, newest: wanted - self.frames }
    }

    /// Makes the frame whose beginning was written, if there is one, an entry of its own that is not dropped.
    fn set_begun_apart(&mut self) {
        let started = self.started;
        let Some(head) = self.queue.front_mut().filter(|_| started > 0) else { return };
        let bytes = head.bytes.split_off(started);
        let rest = Entry { bytes, frames: head.frames - 1, ..*head };
        (head.frames, head.drop_policy) = (1, DropPolicy::Never);
        if rest.frames > 0 {
            self.queue.insert(1, rest);
        }
    }

    fn policy(&self, at: usize, bounds: Bounds) -> Option<SlowClient> {
        match self.queue[at].drop_policy {
            DropPolicy::SlowClient(policy) => Some(policy.unwrap_or(bounds.policy)),
            DropPolicy::Never | DropPolicy::Outdated | DropPolicy::Partial => None,
        }
    }

    /// Drops presence that a newer whole list of the same channel follows.
    fn shed_outdated(&mut self) {
        let mut newer = Vec::new();
        for at in (0..self.queue.len()).rev() {
            let Entry { drop_policy, channel, .. } = self.queue[at];
            let has_newer = newer.contains(&channel);
            let keep = match drop_policy {
                DropPolicy::Outdated => usize::from(!has_newer),
                DropPolicy::Partial if has_newer => 0,
                DropPolicy::Partial | DropPolicy::Never | DropPolicy::SlowClient(_) => continue,
            };
            while self.queue[at].frames > keep {
                self.drop_first_frame(at);
            }
            if drop_policy == DropPolicy::Outdated && !has_newer {
                newer.push(channel);
            }
        }
    }

    fn shed_oldest(&mut self, bounds: Bounds) {
        for at in 0..self.queue.len() {
            if self.policy(at, bounds) == Some(SlowClient::DropOldest) {
                while self.is_over(bounds) && self.queue[at].frames > 0 {
                    self.drop_first_frame(at);
                }
            }
        }
    }

    fn shed_newest(&mut self, bounds: Bounds) {
        for at in (0..self.queue.len()).rev() {
            if self.is_over(bounds) && self.policy(at, bounds) == Some(SlowClient::DropNewest) {
                self.drop_last_frames(at, bounds);
            }
        }
    }

    fn drop_first_frame(&mut self, at: usize) {
        let entry = &mut self.queue[at];
        let len = self.framing.frame_len(&entry.bytes);
        entry.bytes.advance(len);
        entry.frames -= 1;
        self.own_bytes -= if entry.own { len } else { 0 };
        self.frames -= 1;
        self.bytes -= len;
    }

    /// Drops frames off the end of an entry until no more waits than may.
    fn drop_last_frames(&mut self, at: usize, bounds: Bounds) {
        let (bytes, framing) = (self.queue[at].bytes.clone(), self.framing);
        let next =
            |start: &usize| Some(*start + framing.frame_len(&bytes[*start..])).filter(|next| *next < bytes.len());
        let mut starts: Vec<_> = std::iter::successors(Some(0), next).collect();
        while self.is_over(bounds)
            && let Some(start) = starts.pop()
        {
            let entry = &mut self.queue[at];
            let len = entry.bytes.len() - start;
            self.own_bytes -= if entry.own { len } else { 0 };
            self.bytes -= len;
            self.frames -= 1;
            entry.bytes.truncate(start);
            entry.frames -= 1;
        }
    }

    /// The memberships are to end, and then the connection. False if it is ending already.
    pub(crate) fn begin_end(&mut self, closure: Closure) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        self.phase = Phase::Ending;
        self.closure = Some(Box::new(closure));
        true
    }

    /// One of those who may still have something for this connection has nothing more; the last one lets the close
    /// frame follow.
    pub(crate) fn receive_flush_marker(&mut self) -> bool {
        self.expected -= 1;
        if self.expected > 0 || self.phase != Phase::Ending {
            return false;
        }
        let Some(Closure { code, text, .. }) = self.closure.as_deref() else { return false };
        let frame = self.framing.close(*code, text);
        self.close(frame)
    }

    /// Queues a close frame as the last one, where there is such a thing.
    pub(crate) fn close(&mut self, frame: Option<Vec<u8>>) -> bool {
        if !self.accepts() {
            return false;
        }
        if let Some(frame) = frame {
            self.push_own(frame.into());
        }
        self.phase = Phase::Closing;
        true
    }

    /// Closes at once: what waits is thrown away, but for the rest of a frame whose beginning was written.
    pub(crate) fn give_up(&mut self, closure: Closure) -> bool {
        if !self.accepts() {
            return false;
        }
        self.discard();
        let frame = self.framing.close(closure.code, &closure.text);
        self.closure = Some(Box::new(closure));
        self.close(frame)
    }

    /// Ends at once, without another word; the connection's task is to give everything up.
    pub(crate) fn cut(&mut self) -> bool {
        self.was_cut = true;
        true
    }

    pub(crate) fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// Nothing more is sent. Dropping a socket's write half tells the peer so.
    pub(crate) fn end(&mut self) -> Writer {
        self.phase = Phase::Closed;
        self.queue = VecDeque::new();
        (self.frames, self.bytes, self.own_bytes, self.started) = (0, 0, 0, 0);
        std::mem::replace(&mut self.writer, Writer::Gone)
    }

    /// If it is a body that takes what waits: whom to tell that there is something, and whether it has taken anything
    /// since the last call.
    pub(crate) fn offer(&mut self) -> Option<(Option<Waker>, bool)> {
        let Writer::Body(taker) = &mut self.writer else { return None };
        Some((taker.waker.take(), std::mem::take(&mut taker.took)))
    }

    /// Takes bytes for a body, or lets it be woken when there are some; `None` once nothing more comes. And whether the
    /// connection's task is to look at what is left.
    pub(crate) fn take(&mut self, body: &Waker, bounds: Bounds, now: Instant) -> (Poll<Option<Bytes>>, bool) {
        let was_over = self.is_over(bounds);
        let Writer::Body(taker) = &mut self.writer else { return (Poll::Ready(None), false) };
        let Some(head) = self.queue.front() else {
            if !taker.waker.as_ref().is_some_and(|known| known.will_wake(body)) {
                taker.waker = Some(body.clone());
            }
            return (Poll::Pending, false);
        };
        // Whole frames: wherever the body has to end, it ends between two of them.
        let taken = head.bytes.slice(..whole_frames(self.framing, &head.bytes, BODY_TAKES));
        taker.took = true;
        self.advance(taken.len(), bounds, now);
        let look = was_over || !self.is_empty() || self.phase == Phase::Closing;
        (Poll::Ready(Some(taken)), look)
    }

    /// The next buffers to write.
    pub(crate) fn front(&self, out: &mut Vec<Bytes>) {
        out.extend(self.queue.iter().take(BUFFERS_PER_WRITE).map(|entry| entry.bytes.clone()));
    }

    /// Takes off what the client has taken.
    pub(crate) fn advance(&mut self, written: usize, bounds: Bounds, now: Instant) {
        self.credit.take(written, bounds.pace, now);
        self.take_off(written);
        if self.frames <= bounds.frames / 2 && self.bytes <= bounds.bytes / 2 {
            self.credit.catch_up();
        }
    }

    fn take_off(&mut self, mut written: usize) {
        self.bytes -= written.min(self.bytes);
        while written > 0 {
            let Some(head) = self.queue.front_mut() else { return };
            if self.started == 0 && written >= head.bytes.len() {
                // All of its frames: there is no need to look for where they end.
                written -= head.bytes.len();
                self.own_bytes -= if head.own { head.bytes.len() } else { 0 };
                self.frames -= head.frames;
                self.queue.pop_front();
                continue;
            }
            if self.started == 0 {
                self.started = self.framing.frame_len(&head.bytes);
            }
            let step = written.min(self.started);
            head.bytes.advance(step);
            self.own_bytes -= if head.own { step } else { 0 };
            self.started -= step;
            written -= step;
            if self.started == 0 {
                head.frames -= 1;
                self.frames -= 1;
            }
            if head.bytes.is_empty() {
                self.queue.pop_front();
            }
        }
        if self.queue.is_empty() {
            // An idle connection holds no buffer.
            self.queue = VecDeque::new();
        }
    }

    /// Queues a frame that nobody else has. A large one is counted with its buffer.
    fn push_own(&mut self, bytes: Bytes) {
        let own = bytes.len() < COPY_BELOW;
        self.own_bytes += if own { bytes.len() } else { 0 };
        self.push(Entry { bytes, frames: 1, drop_policy: DropPolicy::Never, channel: 0, own });
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes.len();
        self.frames += entry.frames;
        self.queue.push_back(entry);
    }

    fn discard(&mut self) {
        let rest = self.queue.front().filter(|_| self.started > 0).map(|head| head.bytes.slice(..self.started));
        self.queue = VecDeque::new();
        (self.bytes, self.own_bytes, self.frames) = (0, 0, 0);
        if let Some(rest) = rest {
            let bytes = Bytes::copy_from_slice(&rest);
            self.own_bytes = bytes.len();
            self.push(Entry { bytes, frames: 1, drop_policy: DropPolicy::Never, channel: 0, own: true });
        }
    }
}

/// The number of these bytes that are whole frames, no more than `most` bytes, but one at least.
fn whole_frames(framing: Framing, bytes: &[u8], most: usize) -> usize {
    if bytes.len() <= most {
        return bytes.len();
    }
    let mut end = framing.frame_len(bytes);
    while end < bytes.len() {
        let next = end + framing.frame_len(&bytes[end..]);
        if next > most {
            break;
        }
        end = next;
    }
    end
}

fn try_write(socket: &OwnedWriteHalf, runs: &[Run<Bytes>]) -> io::Result<usize> {
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

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::ws::{self, Opcode};
    use proptest::prelude::*;

    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;

    const PACE: pace::Terms = pace::Terms { wait: Duration::from_secs(2), rate: 1000 };
    const BOUNDS: Bounds = Bounds { frames: 4, bytes: 1000, policy: SlowClient::Disconnect, pace: PACE };

    fn frame(text: &str) -> Bytes {
        let mut out = Vec::new();
        ws::encode(Opcode::Text, text.as_bytes(), &mut out);
        out.into()
    }

    /// The moment at which everything happens, where nothing else is said.
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    fn start() -> Instant {
        *START
    }

    fn outbox() -> Outbox {
        Outbox::new(Writer::Task, Framing::Plain, PACE, start())
    }

    fn send(outbox: &mut Outbox, frame: Bytes) -> Pushed {
        outbox.send(frame, BOUNDS, start)
    }

    fn advance(outbox: &mut Outbox, written: usize) {
        outbox.advance(written, BOUNDS, start());
    }

    /// Delivers texts as one run.
    fn deliver(
        outbox: &mut Outbox,
        channel: u64,
        texts: &[&str],
        drop_policy: DropPolicy,
        policy: SlowClient,
    ) -> Pushed {
        let buffer: Bytes = texts.iter().flat_map(|text| frame(text)).collect::<Vec<_>>().into();
        let run = Run { range: 0..buffer.len(), buffer, frames: texts.len() as u32, drop_policy };
        outbox.deliver(channel, &[run], Bounds { policy, ..BOUNDS }, start).expect("not given up")
    }

    fn queued(outbox: &Outbox) -> Vec<u8> {
        outbox.queue.iter().flat_map(|entry| entry.bytes.to_vec()).collect()
    }

    /// The texts of the whole frames that wait.
    fn texts(outbox: &Outbox) -> String {
        let bytes = queued(outbox);
        let mut rest = &bytes[outbox.started..];
        let mut texts = Vec::new();
        while !rest.is_empty() {
            let len = Framing::Plain.frame_len(rest);
            texts.push(String::from_utf8(rest[2..len].to_vec()).expect("text"));
            rest = &rest[len..];
        }
        texts.join(" ")
    }

    #[test]
    fn only_the_first_frame_wakes_the_task() {
        let mut outbox = outbox();
        assert!(send(&mut outbox, frame("a")).wake);
        assert!(!send(&mut outbox, frame("b")).wake);
        advance(&mut outbox, 6);
        assert!(outbox.is_empty());
        outbox.cork();
        assert!(!send(&mut outbox, frame("c")).wake);
    }

    #[test]
    fn written_bytes_are_counted_frame_by_frame() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["hello", "world"], DropPolicy::Never, SlowClient::Disconnect);
        advance(&mut outbox, 3);
        assert_eq!((outbox.frames, outbox.bytes), (2, 11));
        advance(&mut outbox, 4);
        assert_eq!((outbox.frames, outbox.bytes), (1, 7));
        advance(&mut outbox, 7);
        assert_eq!((outbox.frames, outbox.bytes, outbox.started), (0, 0, 0));
    }

    /// Delivers one frame at this time.
    fn deliver_at(outbox: &mut Outbox, text: &str, now: Instant) -> Result<Pushed, Closure> {
        let buffer = frame(text);
        let run = Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy: DropPolicy::SlowClient(None) };
        outbox.deliver(1, &[run], BOUNDS, || now)
    }

    #[test]
    fn who_has_as_much_waiting_as_it_may_is_waited_for_until_there_is_room() {
        let mut outbox = outbox();
        let late = start() + Duration::from_secs(9);
        for _ in 0..5 {
            assert!(deliver_at(&mut outbox, "x", start()).expect("room").accepted);
        }
        let behind = deliver_at(&mut outbox, "y", start()).expect("it will catch up");
        assert!(behind.behind && !behind.accepted);
        assert_eq!(outbox.depth().0, 5, "nothing is added");
        let until = start() + PACE.wait;
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, late, start()), Wait::Until(until));
        assert!(outbox.relieved(BOUNDS).is_empty());
        advance(&mut outbox, frame("x").len());
        assert_eq!(outbox.relieved(BOUNDS).len(), 1);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, late, start()), Wait::Room);
        assert!(deliver_at(&mut outbox, "y", start()).expect("room").accepted);
    }

    #[test]
    fn who_is_waited_for_in_vain_is_given_up_far_over_its_bounds() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let now = start() + PACE.wait;
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, now, now), Wait::InVain);
        assert!(outbox.lag(BOUNDS).is_some_and(|lag| lag.left_behind && lag.since == start()));
        let verdicts: Vec<_> = (0..60).map(|_| deliver_at(&mut outbox, "y", now)).collect();
        assert!(verdicts[..59].iter().all(|verdict| verdict.as_ref().is_ok_and(|pushed| pushed.accepted)));
        assert_eq!(verdicts[59], Err(TOO_SLOW), "sixteen times as many frames");
        let mut outbox = self::outbox();
        let large = "x".repeat(600);
        let later = now + PACE.wait;
        let verdicts: Vec<_> =
            (0..7).map(|count| deliver_at(&mut outbox, &large, if count < 2 { now } else { later })).collect();
        assert!(verdicts[..6].iter().all(|verdict| verdict.as_ref().is_ok_and(|pushed| pushed.accepted)));
        assert_eq!(verdicts[6], Err(TOO_SLOW), "four times as many bytes");
    }

    #[test]
    fn who_was_left_behind_is_waited_for_again_when_it_has_caught_up() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let now = start() + PACE.wait;
        let pushed = deliver_at(&mut outbox, "y", now).expect("not far over");
        assert!(pushed.accepted && pushed.left_behind && pushed.wake);
        outbox.advance(3 * frame("x").len(), BOUNDS, now);
        assert!(outbox.is_left_behind(), "three of four wait");
        outbox.advance(frame("x").len(), BOUNDS, now);
        assert!(!outbox.is_left_behind());
    }

    #[test]
    fn a_channel_does_not_wait_longer_than_it_may() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let until = start() + Duration::from_millis(100);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, until, start()), Wait::Until(until));
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, until, until), Wait::InVain);
    }

    #[test]
    fn nobody_waits_for_whoever_goes() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        assert!(matches!(outbox.wait(Waker::noop(), BOUNDS, start() + PACE.wait, start()), Wait::Until(_)));
        assert!(outbox.give_up(TOO_SLOW));
        assert_eq!(outbox.relieved(BOUNDS).len(), 1);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, start() + PACE.wait, start()), Wait::Room);
    }

    #[test]
    fn who_makes_too_much_for_itself_is_not_read_and_not_given_up() {
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
    fn a_large_batch_alone_ends_nobody() {
        let (mut outbox, policy) = (outbox(), SlowClient::Disconnect);
        let texts = ["x"; 64];
        assert!(deliver(&mut outbox, 1, &texts, DropPolicy::SlowClient(None), policy).wake);
        assert!(deliver_at(&mut outbox, "y", start()).expect("it will catch up").behind);
        let late = start() + PACE.wait;
        assert_eq!(deliver_at(&mut outbox, "y", late), Err(TOO_SLOW), "but nothing was taken of it");
    }

    #[test]
    fn presence_without_the_whole_list_makes_nothing_outdated() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["p1"], DropPolicy::Partial, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["whole"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["p2", "p3", "p4"], DropPolicy::Partial, SlowClient::DropNewest);
        let pushed = deliver(&mut outbox, 2, &["p5"], DropPolicy::Partial, SlowClient::DropNewest);
        assert_eq!(pushed.dropped, Dropped::default());
        assert_eq!(texts(&outbox), "whole p2 p3 p4 p5", "what was before the list is outdated by it");
    }

    #[test]
    fn a_client_that_had_taken_everything_loses_nothing_of_a_large_batch() {
        for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
            let mut outbox = outbox();
            let pushed = deliver(&mut outbox, 1, &["x"; 40], DropPolicy::SlowClient(None), policy);
            assert_eq!((pushed.dropped, pushed.depth), (Dropped::default(), 40));
            let pushed = deliver(&mut outbox, 1, &["y"], DropPolicy::SlowClient(None), policy);
            let Dropped { oldest, newest, .. } = pushed.dropped;
            assert_eq!((oldest + newest, pushed.depth), (37, 4), "but what comes behind it finds it waiting");
        }
    }

    #[test]
    fn the_oldest_broadcasts_make_room_but_not_what_a_client_needs() {
        let (mut outbox, oldest) = (outbox(), DropPolicy::SlowClient(Some(SlowClient::DropOldest)));
        send(&mut outbox, frame("ack"));
        deliver(&mut outbox, 1, &["1", "2"], oldest, SlowClient::Disconnect);
        let pushed = deliver(&mut outbox, 1, &["3", "4", "5"], DropPolicy::SlowClient(None), SlowClient::DropOldest);
        let dropped = Dropped { oldest: 2, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped, pushed.depth), ("ack 3 4 5", dropped, 4));
        send(&mut outbox, frame("reply"));
        assert_eq!(texts(&outbox), "ack 3 4 5 reply", "those have no policy of their own, and this is not dropped");
    }

    #[test]
    fn the_newest_broadcast_is_dropped_while_the_outbox_is_full() {
        let (mut outbox, newest) = (outbox(), DropPolicy::SlowClient(Some(SlowClient::DropNewest)));
        deliver(&mut outbox, 1, &["1", "2"], newest, SlowClient::Disconnect);
        let pushed = deliver(&mut outbox, 1, &["3", "4", "5"], newest, SlowClient::Disconnect);
        let dropped = Dropped { newest: 1, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped), ("1 2 3 4", dropped));
        deliver(&mut outbox, 1, &["6"], newest, SlowClient::Disconnect);
        assert_eq!(texts(&outbox), "1 2 3 4");
        advance(&mut outbox, frame("1").len());
        deliver(&mut outbox, 1, &["7"], newest, SlowClient::Disconnect);
        assert_eq!(texts(&outbox), "2 3 4 7");
    }

    #[test]
    fn presence_is_dropped_only_if_a_newer_list_of_its_channel_follows() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["a1", "a2"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 2, &["b1"], DropPolicy::Outdated, SlowClient::DropNewest);
        deliver(&mut outbox, 1, &["x"], DropPolicy::SlowClient(None), SlowClient::DropNewest);
        assert_eq!(texts(&outbox), "a1 a2 b1 x", "nothing is dropped while there is room");
        let pushed = deliver(&mut outbox, 1, &["a3"], DropPolicy::Outdated, SlowClient::DropNewest);
        let dropped = Dropped { outdated: 2, ..Dropped::default() };
        assert_eq!((texts(&outbox).as_str(), pushed.dropped), ("b1 x a3", dropped));
    }

    #[test]
    fn a_frame_that_was_begun_is_not_dropped() {
        for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
            let mut outbox = outbox();
            let broadcast = DropPolicy::SlowClient(None);
            deliver(&mut outbox, 1, &["1", "2", "3", "4"], broadcast, policy);
            advance(&mut outbox, 1);
            deliver(&mut outbox, 1, &["5"], broadcast, policy);
            let expected = if policy == SlowClient::DropOldest { "3 4 5" } else { "2 3 4" };
            assert_eq!((texts(&outbox).as_str(), outbox.started), (expected, 2));
            advance(&mut outbox, 2);
            assert_eq!((texts(&outbox).as_str(), outbox.frames), (expected, 3));
        }
    }

    #[test]
    fn giving_up_keeps_the_rest_of_a_started_frame_so_that_the_close_frame_is_one() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["hello", "world"], DropPolicy::Never, SlowClient::Disconnect);
        advance(&mut outbox, 4);
        let mut close = Vec::new();
        ws::encode_close(1013, "too slow", &mut close);
        assert!(outbox.give_up(TOO_SLOW));
        assert_eq!(queued(&outbox), [b"llo".as_slice(), &close].concat());
        assert_eq!(outbox.frames, 2);
        assert!(!outbox.give_up(TOO_SLOW), "closing twice");
        assert_eq!(send(&mut outbox, frame("late")), Pushed::default());
        advance(&mut outbox, 3);
        assert_eq!(outbox.frames, 1);
    }

    #[test]
    fn a_close_frame_waits_for_every_flush_marker() {
        let mut outbox = outbox();
        let closure = Closure { code: 1001, text: "bye".into(), reason: CloseReason::Shutdown };
        assert!(outbox.begin_end(closure));
        outbox.expect_flush_marker();
        assert!(!outbox.receive_flush_marker());
        send(&mut outbox, frame("last"));
        assert!(outbox.receive_flush_marker());
        let mut close = Vec::new();
        ws::encode_close(1001, "bye", &mut close);
        assert_eq!(queued(&outbox), [frame("last").to_vec(), close].concat());
    }

    fn event(text: &str) -> Bytes {
        Framing::Events.frame(text.as_bytes()).into()
    }

    fn outbox_of_a_body() -> Outbox {
        Outbox::new(Writer::Body(Taker::default()), Framing::Events, PACE, start())
    }

    /// The bytes that a body takes, and whether the connection's task is to look at what is left.
    fn take(outbox: &mut Outbox) -> (Poll<Option<Bytes>>, bool) {
        outbox.take(Waker::noop(), BOUNDS, start())
    }

    #[test]
    fn a_body_takes_what_waits_and_waits_for_more() {
        let mut outbox = outbox_of_a_body();
        assert_eq!(take(&mut outbox), (Poll::Pending, false));
        assert!(send(&mut outbox, event("a")).wake);
        send(&mut outbox, event("b"));
        assert!(matches!(outbox.offer(), Some((Some(_), false))), "it waits, and has taken nothing");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("a"))), true), "there is more");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("b"))), false));
        assert_eq!((outbox.frames, outbox.bytes), (0, 0));
        assert!(matches!(outbox.offer(), Some((None, true))));
        assert!(matches!(outbox.offer(), Some((None, false))), "nothing since");
        drop(outbox.end());
        assert_eq!(take(&mut outbox), (Poll::Ready(None), false));
    }

    #[test]
    fn a_body_takes_no_more_at_once_than_it_may_but_never_a_part_of_an_event() {
        let mut outbox = outbox_of_a_body();
        let (large, small) = ("x".repeat(2 * BODY_TAKES), "x".repeat(BODY_TAKES / 3));
        let buffer: Bytes = [event(&large), event(&small), event(&small), event(&small)].concat().into();
        let run = Run { range: 0..buffer.len(), buffer, frames: 4, drop_policy: DropPolicy::Never };
        outbox.deliver(1, &[run], BOUNDS, start).expect("not given up");
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event(&large))), true));
        assert_eq!(take(&mut outbox), (Poll::Ready(Some([event(&small), event(&small)].concat().into())), true));
        assert!(outbox.give_up(TOO_SLOW));
        assert_eq!(queued(&outbox), b"", "there is no close frame");
    }

    #[test]
    fn a_stream_is_closed_without_a_frame() {
        let mut outbox = outbox_of_a_body();
        send(&mut outbox, event("last"));
        outbox.begin_end(Closure { code: 1001, text: "bye".into(), reason: CloseReason::Shutdown });
        assert!(outbox.receive_flush_marker());
        assert_eq!((outbox.phase(), queued(&outbox)), (Phase::Closing, event("last").to_vec()));
        assert_eq!(take(&mut outbox), (Poll::Ready(Some(event("last"))), true), "its task ends it");
    }

    #[test]
    fn events_are_dropped_whole_like_frames() {
        let mut outbox = outbox_of_a_body();
        for text in ["1", "22", "333", "4444", "55555"] {
            let (buffer, drop_policy) = (event(text), DropPolicy::SlowClient(Some(SlowClient::DropOldest)));
            outbox
                .deliver(1, &[Run { range: 0..buffer.len(), buffer, frames: 1, drop_policy }], BOUNDS, start)
                .expect("not given up");
        }
        let expected: Vec<_> = ["22", "333", "4444", "55555"].iter().flat_map(|text| event(text).to_vec()).collect();
        assert_eq!((outbox.frames, queued(&outbox)), (4, expected));
    }

    #[test]
    fn an_emptied_outbox_holds_no_buffer() {
        let mut outbox = outbox();
        for _ in 0..10 {
            send(&mut outbox, frame("x"));
        }
        advance(&mut outbox, 30);
        assert_eq!(outbox.queue.capacity(), 0);
    }

    /// A step that changes an outbox.
    #[derive(Clone, Debug)]
    enum Step {
        /// Several frames of one channel arrive.
        Deliver { channel: u64, frames: usize, drop_policy: DropPolicy },
        /// An answer arrives.
        Send,
        /// The client takes so many of a thousand bytes of what waits.
        Take(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let policy = prop_oneof![
            Just(None),
            Just(Some(SlowClient::Disconnect)),
            Just(Some(SlowClient::DropOldest)),
            Just(Some(SlowClient::DropNewest)),
        ];
        let drop_policy = prop_oneof![
            Just(DropPolicy::Never),
            Just(DropPolicy::Outdated),
            Just(DropPolicy::Partial),
            policy.prop_map(DropPolicy::SlowClient)
        ];
        prop_oneof![
            4 => (1..3u64, 1..5usize, drop_policy).prop_map(|(channel, frames, drop_policy)| Step::Deliver { channel, frames, drop_policy }),
            1 => Just(Step::Send),
            2 => (0..1000usize).prop_map(Step::Take),
        ]
    }

    /// The frames that a step delivers, with the numbers of what was sent, which are noted.
    fn numbered(
        sent: &mut Vec<(u64, DropPolicy)>,
        channel: u64,
        frames: usize,
        drop_policy: DropPolicy,
        framing: Framing,
    ) -> Run<Bytes> {
        let first = sent.len();
        sent.extend((0..frames).map(|_| (channel, drop_policy)));
        let bytes: Vec<u8> =
            (first..sent.len()).flat_map(|number| framing.frame(number.to_string().as_bytes())).collect();
        Run { range: 0..bytes.len(), buffer: bytes.into(), frames: frames as u32, drop_policy }
    }

    proptest! {
        /// Whatever is dropped for whom: the client reads whole frames, in their order; none is missing that must not
        /// be, and of presence none without a newer whole list of the same channel behind it.
        #[test]
        fn what_arrives_is_whole_and_in_order_and_lacks_only_what_may_be_dropped(
            steps in prop::collection::vec(any_step(), 1..60),
            policy in prop_oneof![Just(SlowClient::DropOldest), Just(SlowClient::DropNewest)],
        ) {
            let (mut outbox, bounds) = (outbox(), Bounds { frames: 8, bytes: 200, policy, ..BOUNDS });
            let (mut sent, mut read, mut dropped, mut now) = (Vec::new(), Vec::new(), 0, start());
            for step in steps {
                // Nobody waits for this client.
                now += PACE.wait;
                let pushed = match step {
                    Step::Deliver { channel, frames, drop_policy } => {
                        let run = numbered(&mut sent, channel, frames, drop_policy, Framing::Plain);
                        outbox.deliver(channel, &[run], bounds, || now)
                    }
                    Step::Send => {
                        sent.push((0, DropPolicy::Never));
                        Ok(outbox.send(frame(&(sent.len() - 1).to_string()), bounds, || now))
                    }
                    Step::Take(share) => {
                        let bytes = queued(&outbox);
                        let taken = bytes.len() * share / 1000;
                        read.extend_from_slice(&bytes[..taken]);
                        outbox.advance(taken, bounds, now);
                        Ok(Pushed::default())
                    }
                };
                let Ok(Pushed { dropped: lost, behind, .. }) = pushed else { return Ok(()) };
                prop_assert!(!behind);
                dropped += lost.outdated + lost.oldest + lost.newest;
                prop_assert_eq!(outbox.bytes, queued(&outbox).len());
                prop_assert_eq!(outbox.frames, outbox.queue.iter().map(|entry| entry.frames).sum::<usize>());
            }
            read.extend(queued(&outbox));
            let mut arrived = Vec::new();
            let mut rest = &read[..];
            while !rest.is_empty() {
                let len = Framing::Plain.frame_len(rest);
                arrived.push(str::from_utf8(&rest[2..len]).expect("text").parse::<usize>().expect("a number"));
                rest = &rest[len..];
            }
            prop_assert!(arrived.is_sorted_by(|a, b| a < b), "{:?}", arrived);
            prop_assert_eq!(arrived.len() + dropped, sent.len());
            for (number, (channel, drop_policy)) in sent.iter().enumerate().filter(|(number, _)| !arrived.contains(number)) {
                let has_newer = || arrived.iter().any(|other| *other > number && sent[*other] == (*channel, DropPolicy::Outdated));
                match drop_policy {
                    DropPolicy::Never | DropPolicy::SlowClient(Some(SlowClient::Disconnect)) => prop_assert!(false, "{} is lost", number),
                    DropPolicy::Outdated | DropPolicy::Partial => prop_assert!(has_newer(), "{} was not outdated", number),
                    DropPolicy::SlowClient(_) => {}
                }
            }
        }

        /// Whatever comes, waits and is taken, and whenever the client is given up, or its connection ends without
        /// waiting for it: a body gets whole events, and one that may miss nothing gets all of them up to then, in
        /// order.
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
                        let run = Run { range: 0..events.len(), buffer: events.into(), frames: frames as u32, drop_policy: DropPolicy::Never };
                        match outbox.deliver(1, &[run], bounds, || now) {
                            Ok(pushed) if pushed.accepted => sent.extend(sent.len()..sent.len() + frames),
                            Ok(pushed) => prop_assert!(pushed.behind),
                            Err(closure) => {
                                outbox.give_up(closure);
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
                outbox.give_up(TOO_SLOW);
            }
            while takes_the_rest && take(&mut outbox, &mut read, now) {}
            drop(outbox.end());
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

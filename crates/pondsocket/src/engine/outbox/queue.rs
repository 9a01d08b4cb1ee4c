//! The queued frames of one client: whole frames in order, counted, and reported to the memory counter of the server.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use pondsocket_proto::channel::{DropPolicy, Run, SlowClient};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::position::Position;

use crate::engine::framing::Framing;
use crate::engine::pace::PacingLimits;
use crate::limits::memory::{Account, Memory};

/// The length below which the rest of a batch is copied, because a slice would keep the whole batch in memory.
const COPY_BELOW: usize = 4 * 1024;

/// The most queued buffers in one write.
const BUFFERS_PER_WRITE: usize = 64;

/// The factor over the bounds at which a client that no channel waits for is disconnected at once.
const HARD_FACTOR: usize = 4;

/// The same factor for the number of frames. It is larger, because small frames cost little, and a burst of them is not a
/// fault of the client.
const HARD_FRAMES_FACTOR: usize = 16;

/// The factor over the bounds at which the client is not read any more, because its messages cause answers.
const READ_FACTOR: usize = 2;

/// The most queued frames and bytes, and the policy over these bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) policy: SlowClient,
    /// The time for which channels wait for room before the policy applies.
    pub(crate) pacing: PacingLimits,
}

/// The channel that frames come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) name: &'a ChannelName,
    /// The number of the live channel.
    pub(crate) serial: u64,
}

/// Queued frames that follow each other in one buffer, or a hole, which has none (see `holes`).
#[derive(Debug)]
pub(super) struct QueuedFrames {
    pub(super) bytes: Bytes,
    pub(super) frames: u32,
    pub(super) drop_policy: DropPolicy,
    /// The number of the live channel; 0 for frames of the server's own, and for those that were sent past the queue of
    /// their channel.
    pub(super) channel: u64,
    /// The messages, if they are kept in the history of the channel. Boxed, because most are not.
    pub(super) kept: Option<Box<KeptFrames>>,
    /// True if this outbox counts the bytes. Those of a buffer that several outboxes share are counted with the buffer.
    pub(super) own: bool,
}

/// The messages of an entry, which the history of the channel keeps.
#[derive(Clone, Debug)]
pub(super) struct KeptFrames {
    pub(super) name: ChannelName,
    /// The position of the first one.
    pub(super) first: Position,
    /// The offset of the last one. Frames are at successive offsets; between those of a hole are offsets of messages that are
    /// not for this client.
    pub(super) last: u64,
    /// In a hole: the position at which the history goes on behind it, if it has begun anew.
    pub(super) next: Option<Position>,
}

/// The queue of frames.
#[derive(Debug)]
pub(super) struct FrameQueue {
    pub(super) entries: VecDeque<QueuedFrames>,
    bytes: usize,
    /// The bytes that this outbox counts.
    own_bytes: usize,
    /// The part of them that has been reported.
    account: Account,
    /// The unwritten bytes of a frame whose beginning was written; 0 at a boundary of frames.
    pub(super) started: usize,
    frames: u32,
    pub(super) framing: Framing,
}

impl FrameQueue {
    pub(super) const fn new(framing: Framing) -> FrameQueue {
        FrameQueue {
            entries: VecDeque::new(),
            bytes: 0,
            own_bytes: 0,
            account: Account::none(),
            started: 0,
            frames: 0,
            framing,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn frames(&self) -> usize {
        self.frames as usize
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether the queue is over its bounds.
    pub(super) fn is_over(&self, bounds: Bounds) -> bool {
        self.frames() > bounds.frames || self.bytes > bounds.bytes
    }

    /// Returns whether the queue is so long that its client is disconnected.
    pub(super) fn is_far_over(&self, bounds: Bounds) -> bool {
        self.frames() > bounds.frames.saturating_mul(HARD_FRAMES_FACTOR)
            || self.bytes > bounds.bytes.saturating_mul(HARD_FACTOR)
    }

    /// Returns whether the queue is so long that its client is not read.
    pub(super) fn is_congested(&self, bounds: Bounds) -> bool {
        self.frames() > bounds.frames.saturating_mul(READ_FACTOR)
            || self.bytes > bounds.bytes.saturating_mul(READ_FACTOR)
    }

    /// Returns whether the queue is at most half full: the client has caught up.
    pub(super) fn is_below_half(&self, bounds: Bounds) -> bool {
        self.frames() <= bounds.frames / 2 && self.bytes <= bounds.bytes / 2
    }

    /// Reports the bytes that this outbox counts.
    pub(super) fn report(&mut self, memory: &Arc<Memory>) {
        self.account.set_locked(memory, self.own_bytes + self.entries.len() * size_of::<QueuedFrames>());
    }

    /// Queues a frame that no other outbox has.
    pub(super) fn push_own(&mut self, bytes: Bytes) {
        // A large frame comes from `counted`, which has reported its buffer.
        let own = bytes.len() < COPY_BELOW;
        self.own_bytes += if own { bytes.len() } else { 0 };
        self.push(QueuedFrames { bytes, frames: 1, drop_policy: DropPolicy::Never, channel: 0, kept: None, own });
    }

    /// Queues the head of the HTTP response behind which the frames begin. It counts as the rest of a frame whose beginning was
    /// written: whatever drops frames leaves it, because no frame can precede it.
    pub(super) fn push_head(&mut self, head: Bytes) {
        self.started = head.len();
        self.push_own(head);
    }

    /// Queues runs of frames of a batch, of which `written` bytes have been written.
    pub(super) fn push_runs(&mut self, source: Source<'_>, runs: &[Run<Bytes>], written: usize) {
        let before = self.entries.len();
        for run in runs {
            self.push(QueuedFrames::new(source, run));
        }
        // Bytes are written past the queue only while it is empty, so the written ones are at its front.
        self.remove_written(written);
        for entry in self.entries.range_mut(before..) {
            self.own_bytes += entry.copy_small();
        }
    }

    /// Queues an entry ahead of all others.
    pub(super) fn push_front(&mut self, mut entry: QueuedFrames) {
        self.own_bytes += entry.copy_small();
        self.bytes += entry.bytes.len();
        self.frames += entry.frames;
        self.entries.push_front(entry);
    }

    pub(super) fn push(&mut self, entry: QueuedFrames) {
        self.bytes += entry.bytes.len();
        self.frames += entry.frames;
        self.entries.push_back(entry);
    }

    /// The next buffers to write.
    pub(super) fn next_slices(&self) -> Vec<IoSlice<'_>> {
        let ready = self.entries.iter().take_while(|entry| !entry.is_hole());
        ready.take(BUFFERS_PER_WRITE).map(|entry| IoSlice::new(&entry.bytes)).collect()
    }

    /// The queued buffer, if there is only one. Not a hole: the caller has asked for that.
    pub(super) fn only_buffer(&self) -> Option<&Bytes> {
        self.entries.front().filter(|_| self.entries.len() == 1).map(|entry| &entry.bytes)
    }

    /// Whole frames from the front, `most` bytes at most but at least one frame; `None` if there is none at the front.
    pub(super) fn front_frames(&self, most: usize) -> Option<Bytes> {
        let head = &self.entries.front().filter(|head| !head.is_hole())?.bytes;
        Some(head.slice(..whole_frames(self.framing, head, most)))
    }

    /// Removes bytes that the client has taken from the front.
    pub(super) fn remove_written(&mut self, mut written: usize) {
        self.bytes -= written.min(self.bytes);
        while written > 0 {
            let Some(head) = self.entries.front_mut() else { return };
            if self.started == 0 && written >= head.bytes.len() {
                // The whole entry, so the ends of its frames need not be found.
                written -= head.bytes.len();
                self.own_bytes -= if head.own { head.bytes.len() } else { 0 };
                self.frames -= head.frames;
                self.entries.pop_front();
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
                if let Some(kept) = &mut head.kept {
                    kept.first.offset += 1;
                }
            }
            if head.bytes.is_empty() {
                self.entries.pop_front();
            }
        }
    }

    /// Drops `frames` frames of `bytes` bytes off the front of an entry.
    pub(super) fn drop_front(&mut self, at: usize, frames: u32, bytes: usize) {
        self.entries[at].bytes.advance(bytes);
        self.uncount(at, frames, bytes);
    }

    /// Drops `frames` frames of `bytes` bytes off the end of an entry.
    pub(super) fn drop_back(&mut self, at: usize, frames: u32, bytes: usize) {
        let entry = &mut self.entries[at].bytes;
        entry.truncate(entry.len() - bytes);
        self.uncount(at, frames, bytes);
    }

    fn uncount(&mut self, at: usize, frames: u32, bytes: usize) {
        let entry = &mut self.entries[at];
        entry.frames -= frames;
        self.own_bytes -= if entry.own { bytes } else { 0 };
        self.frames -= frames;
        self.bytes -= bytes;
    }

    /// Moves a frame whose beginning was written into an entry of its own that is never dropped. Without its rest the client
    /// could not find the next frame.
    pub(super) fn split_started_frame(&mut self) {
        let started = self.started;
        let Some(head) = self.entries.front_mut().filter(|_| started > 0) else { return };
        let bytes = head.bytes.split_off(started);
        let (frames, drop_policy, channel) = (head.frames - 1, head.drop_policy, head.channel);
        let kept = head.kept.take().map(|mut kept| {
            kept.first.offset += 1;
            kept
        });
        let rest = QueuedFrames { bytes, frames, drop_policy, channel, kept, own: head.own };
        (head.frames, head.drop_policy) = (1, DropPolicy::Never);
        if rest.frames > 0 {
            self.entries.insert(1, rest);
        }
    }

    /// Removes entries that have no frame left, and are no holes.
    pub(super) fn remove_empty(&mut self) {
        self.entries.retain(|entry| entry.frames > 0 || entry.is_hole());
    }

    /// Drops all frames, except the rest of one whose beginning was written: a close frame can follow only a whole frame.
    pub(super) fn clear_unstarted(&mut self) {
        let started = self.started;
        let rest =
            self.entries.front().filter(|_| started > 0).map(|head| Bytes::copy_from_slice(&head.bytes[..started]));
        self.clear();
        if let Some(bytes) = rest {
            (self.started, self.own_bytes) = (started, started);
            let drop_policy = DropPolicy::Never;
            self.push(QueuedFrames { bytes, frames: 1, drop_policy, channel: 0, kept: None, own: true });
        }
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        (self.frames, self.bytes, self.own_bytes, self.started) = (0, 0, 0, 0);
    }
}

impl QueuedFrames {
    /// The frames of a run, in the buffer that it shares with other outboxes.
    pub(super) fn new(source: Source<'_>, run: &Run<Bytes>) -> QueuedFrames {
        let kept = run.kept.filter(|_| run.frames > 0).map(|first| {
            let last = first.offset + u64::from(run.frames) - 1;
            Box::new(KeptFrames { name: source.name.clone(), first, last, next: None })
        });
        let (bytes, channel) = (run.buffer.slice(run.range.clone()), source.serial);
        QueuedFrames { bytes, frames: run.frames, drop_policy: run.drop_policy, channel, kept, own: false }
    }

    /// Copies the frames if they are few bytes. Returns the bytes that the outbox alone holds with it.
    fn copy_small(&mut self) -> usize {
        if self.own || self.bytes.len() >= COPY_BELOW {
            return 0;
        }
        self.bytes = Bytes::copy_from_slice(&self.bytes);
        self.own = true;
        self.bytes.len()
    }
}

/// The length of the whole frames at the front of `bytes`, `most` bytes at most but at least one frame.
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

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use pondsocket_proto::ws;

    use super::*;
    use crate::engine::closing::{Close, TOO_SLOW};
    use crate::engine::outbox::Pushed;
    use crate::engine::outbox::fixture::{advance, deliver, frame, outbox, queued, send, start};

    #[test]
    fn the_head_of_the_response_stays_ahead_of_a_close_frame_that_replaces_all_messages() {
        let (mut outbox, head) = (outbox(), b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        outbox.send_head(Bytes::from_static(head), start());
        send(&mut outbox, frame("lost"));
        advance(&mut outbox, 9);
        outbox.close(Close::Immediate(TOO_SLOW));
        let left = queued(&outbox);
        let close = left.strip_prefix(&head[9..]).expect("the rest of the head");
        assert_eq!(close[0], 0x88, "a close frame");
        assert!(!close.ends_with(b"lost"));
        advance(&mut outbox, left.len());
        assert!(outbox.is_empty());
    }

    #[test]
    fn written_bytes_are_counted_frame_by_frame() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["hello", "world"], DropPolicy::Never, SlowClient::Disconnect);
        advance(&mut outbox, 3);
        assert_eq!((outbox.queue.frames(), outbox.queue.bytes()), (2, 11));
        advance(&mut outbox, 4);
        assert_eq!((outbox.queue.frames(), outbox.queue.bytes()), (1, 7));
        advance(&mut outbox, 7);
        assert_eq!((outbox.queue.frames(), outbox.queue.bytes(), outbox.queue.started), (0, 0, 0));
    }

    #[test]
    fn discarding_the_queue_keeps_the_rest_of_a_started_frame() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["hello", "world"], DropPolicy::Never, SlowClient::Disconnect);
        advance(&mut outbox, 4);
        let mut close = Vec::new();
        ws::encode_close(1013, "too slow", &mut close);
        assert!(outbox.close(Close::Immediate(TOO_SLOW)));
        assert_eq!(queued(&outbox), [b"llo".as_slice(), &close].concat());
        assert_eq!(outbox.queue.frames(), 2);
        assert!(!outbox.close(Close::Immediate(TOO_SLOW)), "closing twice");
        assert_eq!(send(&mut outbox, frame("late")), Pushed::default());
        advance(&mut outbox, 3);
        assert_eq!(outbox.queue.frames(), 1);
    }

    #[test]
    fn an_emptied_outbox_holds_no_buffer() {
        let (mut outbox, memory) = (outbox(), Arc::new(Memory::new(0)));
        for _ in 0..10 {
            send(&mut outbox, frame("x"));
            outbox.report(&memory);
        }
        assert!(outbox.queue.entries.capacity() > 0);
        advance(&mut outbox, 30);
        outbox.report(&memory);
        assert_eq!((outbox.queue.entries.capacity(), memory.used()), (0, 0));
        drop(outbox.disconnect(TOO_SLOW));
        assert_eq!(outbox.queue.entries.capacity(), 0, "nor one whose connection has ended");
    }
}

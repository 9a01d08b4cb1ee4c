//! Holes: the places of kept messages that an outbox has no room for.
//!
//! If a slow-client policy would drop messages that the history of their channel keeps, their frames are removed, and an
//! entry without frames stays in their place. When everything ahead of it is written, the connection's task reads the
//! messages from the history again (*catch-up*). Frames behind a hole wait until then, so the client gets everything in the
//! order in which it was sent. Memory is bounded: between two holes of a channel there is always a frame.

use bytes::Bytes;
use pondsocket_proto::channel::{DropPolicy, HistoryGap, Run, SlowClient};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::position::Position;

use super::queue::{Bounds, FrameQueue, KeptFrames, QueuedFrames, Source};

/// The hole at the front of an outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Hole {
    pub(crate) name: ChannelName,
    /// The number of the live channel.
    pub(crate) serial: u64,
    /// The position of the first message.
    pub(crate) first: Position,
    /// The offset of the last one.
    pub(crate) last: u64,
    /// The position at which the history goes on behind it, if it has begun anew.
    pub(crate) next: Option<Position>,
}

/// A message in the place of a hole.
#[derive(Debug)]
pub(crate) struct CaughtUp {
    pub(crate) text: Vec<u8>,
    pub(crate) drop_policy: DropPolicy,
    /// Its position, if it is kept.
    pub(crate) position: Option<Position>,
}

impl CaughtUp {
    /// Returns whether another message can be in one run with this one.
    pub(crate) fn is_followed_by(&self, next: &CaughtUp) -> bool {
        let follows = self.position.map(|Position { epoch, offset }| Position { epoch, offset: offset + 1 });
        self.drop_policy == next.drop_policy && next.position == follows
    }
}

impl QueuedFrames {
    pub(super) fn is_hole(&self) -> bool {
        self.frames == 0 && self.kept.is_some()
    }

    fn hole(channel: u64, kept: Box<KeptFrames>) -> QueuedFrames {
        let drop_policy = DropPolicy::SlowClient(None);
        QueuedFrames { bytes: Bytes::new(), frames: 0, drop_policy, channel, kept: Some(kept), own: false }
    }
}

impl FrameQueue {
    /// The hole at the front.
    pub(super) fn front_hole(&self) -> Option<Hole> {
        let front = self.entries.front().filter(|front| front.is_hole())?;
        let KeptFrames { name, first, last, next } = front.kept.as_deref()?.clone();
        Some(Hole { name, serial: front.channel, first, last, next })
    }

    /// Appends a hole that nothing fills.
    pub(super) fn push_gap(&mut self, source: Source<'_>, gap: HistoryGap) {
        let HistoryGap { missed, next } = gap;
        let kept = KeptFrames { name: source.name.clone(), first: missed, last: missed.offset, next: Some(next) };
        self.push(QueuedFrames::hole(source.serial, Box::new(kept)));
    }

    /// Puts frames in the place of the messages of the front hole up to an offset. Does nothing if the hole is gone.
    pub(super) fn fill(&mut self, hole: &Hole, up_to: u64, runs: &[Run<Bytes>]) {
        // The hole may have grown at its end since it was looked at.
        if self.front_hole().is_none_or(|front| (front.serial, front.first) != (hole.serial, hole.first)) {
            return;
        }
        if let Some(mut rest) = self.entries.pop_front().and_then(|front| front.kept)
            && rest.last > up_to
        {
            rest.first.offset = up_to + 1;
            self.push_front(QueuedFrames::hole(hole.serial, rest));
        }
        let source = Source { name: &hole.name, serial: hole.serial };
        for run in runs.iter().rev() {
            self.push_front(QueuedFrames::new(source, run));
        }
    }

    /// Leaves holes in the place of kept messages until the queue is within its bounds, beginning with the newest: the oldest
    /// ones are written next. Returns the number of frames.
    pub(super) fn defer_kept(&mut self, bounds: Bounds) -> usize {
        let before = self.frames();
        for at in (0..self.entries.len()).rev() {
            if !self.is_over(bounds) {
                break;
            }
            // Entries behind this one may have been removed. This one is still there.
            if self.is_deferrable(at, bounds) {
                self.defer_last_frames(at, bounds);
            }
        }
        before - self.frames()
    }

    /// Returns whether a slow-client policy may drop the frames of an entry that are kept.
    fn is_deferrable(&self, at: usize, bounds: Bounds) -> bool {
        let entry = &self.entries[at];
        let DropPolicy::SlowClient(policy) = entry.drop_policy else { return false };
        entry.kept.is_some() && entry.frames > 0 && policy.unwrap_or(bounds.policy) != SlowClient::Disconnect
    }

    fn defer_last_frames(&mut self, at: usize, bounds: Bounds) {
        self.drop_last_frames(at, bounds);
        let entry = &mut self.entries[at];
        let (left, channel) = (entry.frames, entry.channel);
        let Some(kept) = &mut entry.kept else { return };
        if left == 0 {
            let kept = kept.clone();
            // The buffer, which the entry has shared, is let go.
            self.entries[at] = QueuedFrames::hole(channel, kept);
            self.join_holes(at);
        } else {
            let mut hole = kept.clone();
            hole.first.offset += u64::from(left);
            kept.last = hole.first.offset - 1;
            if hole.first.offset <= hole.last {
                self.entries.insert(at + 1, QueuedFrames::hole(channel, hole));
                self.join_holes(at + 1);
            }
        }
    }

    /// Makes one hole of this one, the next and the previous one of the channel, if nothing of the channel is between them.
    fn join_holes(&mut self, at: usize) {
        let channel = self.entries[at].channel;
        // The channels of the server's own frames are not known. There is no order between two channels.
        let of_channel = |entry: &QueuedFrames| entry.channel == channel || entry.channel == 0;
        let next = (at + 1..self.entries.len()).find(|at| of_channel(&self.entries[*at]));
        let previous = (0..at).rev().find(|at| of_channel(&self.entries[*at]));
        if let Some(next) = next {
            self.join_two_holes(at, next);
        }
        if let Some(previous) = previous {
            self.join_two_holes(previous, at);
        }
    }

    fn join_two_holes(&mut self, at: usize, next: usize) {
        let (Some(first), Some(second)) = (self.hole_at(at), self.hole_at(next)) else { return };
        if first.first.epoch == second.first.epoch && first.next.is_none() {
            let (last, goes_on_at) = (second.last, second.next);
            if let Some(kept) = &mut self.entries[at].kept {
                (kept.last, kept.next) = (last, goes_on_at);
            }
            self.entries.remove(next);
        }
    }

    fn hole_at(&self, at: usize) -> Option<&KeptFrames> {
        self.entries[at].kept.as_deref().filter(|_| self.entries[at].is_hole())
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::time::Duration;

    use pondsocket_proto::position::Epoch;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::framing::Framing;
    use crate::engine::outbox::Outbox;
    use crate::engine::outbox::fixture::{
        BOUNDS, PACING, event, frame, outbox, outbox_of_a_body, queued, source, start, texts,
    };

    const DROP: DropPolicy = DropPolicy::SlowClient(Some(SlowClient::DropOldest));

    fn at(channel: u64, offset: u64) -> Position {
        Position { epoch: Epoch::new(channel as u32), offset }
    }

    fn run(channel: u64, offset: u64, texts: &[String], drop_policy: DropPolicy, framing: Framing) -> Run<Bytes> {
        let frames: Vec<_> = texts.iter().flat_map(|text| framing.frame(text.as_bytes())).collect();
        let kept = Some(at(channel, offset));
        Run { range: 0..frames.len(), buffer: frames.into(), frames: texts.len() as u32, drop_policy, kept }
    }

    fn deliver(outbox: &mut Outbox, offset: u64, texts: &[&str]) {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let run = run(1, offset, &texts, DROP, Framing::Plain);
        let pushed = outbox.deliver(source(1), &[run], BOUNDS, start).expect("not given up");
        assert_eq!((pushed.accepted, pushed.dropped.oldest, pushed.dropped.newest), (true, 0, 0));
    }

    fn fill(outbox: &mut Outbox, up_to: u64, offset: u64, texts: &[&str]) {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        let hole = outbox.hole().expect("one is at the front");
        outbox.fill(&hole, up_to, &[run(1, offset, &texts, DROP, Framing::Plain)]);
    }

    fn holes(outbox: &Outbox) -> Vec<(u64, u64, u64)> {
        let holes = outbox.queue.entries.iter().filter(|entry| entry.is_hole());
        let range = |entry: &QueuedFrames| {
            let KeptFrames { first, last, .. } = entry.kept.as_deref().expect("a hole").clone();
            (entry.channel, first.offset, last)
        };
        holes.map(range).collect()
    }

    #[test]
    fn the_newest_kept_messages_leave_one_hole_that_grows() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["1", "2", "3"]);
        deliver(&mut outbox, 4, &["4", "5", "6"]);
        assert_eq!((texts(&outbox).as_str(), holes(&outbox)), ("1 2 3 4", vec![(1, 5, 6)]));
        deliver(&mut outbox, 7, &["7"]);
        assert_eq!((texts(&outbox).as_str(), holes(&outbox), outbox.depth().0), ("1 2 3 4", vec![(1, 5, 7)], 4));
        assert_eq!(outbox.hole(), None, "not before everything ahead of it is written");
        outbox.advance(queued(&outbox).len(), BOUNDS, start());
        let hole = outbox.hole().expect("at the front");
        assert_eq!((hole.serial, hole.first.offset, hole.last, outbox.is_empty()), (1, 5, 7, false));
        fill(&mut outbox, 6, 5, &["5", "6"]);
        assert_eq!((texts(&outbox).as_str(), holes(&outbox)), ("5 6", vec![(1, 7, 7)]));
    }

    #[test]
    fn what_is_not_kept_stays_in_its_place_behind_a_hole() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["1", "2", "3", "4"]);
        outbox.send(frame("a"), BOUNDS, start);
        deliver(&mut outbox, 5, &["5"]);
        assert_eq!((texts(&outbox).as_str(), holes(&outbox)), ("1 2 3 a", vec![(1, 4, 4), (1, 5, 5)]));
        outbox.advance(3 * frame("1").len(), BOUNDS, start());
        assert!(outbox.next_slices().is_empty(), "nothing overtakes a hole");
        fill(&mut outbox, 4, 4, &["4"]);
        assert_eq!(texts(&outbox), "4 a");
        deliver(&mut outbox, 6, &["6"]);
        assert_eq!((texts(&outbox).as_str(), holes(&outbox)), ("4 a 6", vec![(1, 5, 5)]));
    }

    #[test]
    fn a_hole_that_is_discarded_meanwhile_is_not_filled() {
        let mut outbox = outbox();
        deliver(&mut outbox, 1, &["1", "2", "3", "4"]);
        deliver(&mut outbox, 5, &["5"]);
        outbox.advance(queued(&outbox).len(), BOUNDS, start());
        let hole = outbox.hole().expect("at the front");
        assert!(outbox.close(crate::engine::closing::Close::Immediate(crate::engine::closing::TOO_SLOW)));
        outbox.fill(&hole, 5, &[run(1, 5, &["5".to_owned()], DROP, Framing::Plain)]);
        assert_eq!((outbox.depth().0, holes(&outbox)), (1, Vec::new()), "only the close frame is there");
    }

    #[test]
    fn a_policy_that_drops_nothing_leaves_no_hole() {
        let mut outbox = outbox();
        for offset in 1..6 {
            let run = run(1, offset, &[offset.to_string()], DropPolicy::SlowClient(None), Framing::Plain);
            let late = start() + PACING.wait;
            outbox.deliver(source(1), &[run], BOUNDS, || late).expect("not far over");
        }
        assert_eq!((texts(&outbox).as_str(), holes(&outbox)), ("1 2 3 4 5", Vec::new()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Kept messages of a channel.
        Keep { channel: u64, messages: usize },
        /// One of a channel that is not for this client.
        Exclude { channel: u64 },
        /// A message of a channel that is neither kept nor dropped.
        Other { channel: u64 },
        /// A frame of the server's own.
        Send,
        /// The client takes this part, in thousandths, of the bytes that wait.
        Take(usize),
        /// The front hole is looked at.
        Look,
        /// The front hole that was last looked at is filled with this number of messages. It may have grown, or be filled, since.
        Fill(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (1..3u64, 1..6usize).prop_map(|(channel, messages)| Step::Keep { channel, messages }),
            1 => (1..3u64).prop_map(|channel| Step::Exclude { channel }),
            2 => (1..3u64).prop_map(|channel| Step::Other { channel }),
            1 => Just(Step::Send),
            3 => (0..1100usize).prop_map(Step::Take),
            2 => Just(Step::Look),
            3 => (1..5usize).prop_map(Step::Fill),
        ]
    }

    /// The number that a text ends with.
    fn number(text: &str) -> usize {
        text.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }

    proptest! {
        /// Whatever is deferred, the client reads all messages of a channel and of the server in the order in which they were
        /// sent, each once, and the queue stays small.
        #[test]
        fn a_client_reads_everything_once_and_in_order(
            steps in prop::collection::vec(any_step(), 1..150),
            is_stream in any::<bool>(),
        ) {
            let bounds = Bounds { frames: 6, bytes: 200, policy: SlowClient::DropNewest, ..BOUNDS };
            let (mut outbox, framing) =
                if is_stream { (outbox_of_a_body(), Framing::Events { ids: false }) } else { (outbox(), Framing::Plain) };
            // What was sent, by number: its channel. The messages that are kept, by channel and offset.
            let (mut sent, mut kept): (Vec<u64>, [Vec<Option<usize>>; 3]) = (Vec::new(), Default::default());
            let (mut read, mut now) = (Vec::new(), start());
            let others = steps.iter().filter(|step| matches!(step, Step::Other { .. } | Step::Send)).count();
            let drain = std::iter::repeat_n([Step::Take(1000), Step::Look, Step::Fill(3)], 400).flatten();
            let mut seen = None;
            for step in steps.into_iter().chain(drain) {
                now += PACING.wait + Duration::from_millis(1);
                match step {
                    Step::Keep { channel, messages } => {
                        let offset = kept[channel as usize].len() as u64 + 1;
                        let numbers: Vec<_> = (sent.len()..sent.len() + messages).collect();
                        kept[channel as usize].extend(numbers.iter().copied().map(Some));
                        sent.extend(numbers.iter().map(|_| channel));
                        let texts: Vec<_> = numbers.iter().map(|number| format!("kept {number}")).collect();
                        let run = run(channel, offset, &texts, DropPolicy::SlowClient(None), framing);
                        outbox.deliver(source(channel), &[run], bounds, || now).expect("not far over");
                    }
                    Step::Exclude { channel } => kept[channel as usize].push(None),
                    Step::Other { channel } => {
                        let buffer = Bytes::from(framing.frame(format!("other {}", sent.len()).as_bytes()));
                        sent.push(channel);
                        let range = 0..buffer.len();
                        let run = Run { range, buffer, frames: 1, drop_policy: DropPolicy::Never, kept: None };
                        let Ok(pushed) = outbox.deliver(source(channel), &[run], bounds, || now) else { return Ok(()) };
                        prop_assert!(pushed.accepted);
                    }
                    Step::Send => {
                        let text = format!("own {}", sent.len());
                        sent.push(0);
                        let frame = if is_stream { event(&text) } else { frame(&text) };
                        outbox.send(frame, bounds, || now);
                    }
                    Step::Take(share) => {
                        let ready: Vec<u8> = outbox.next_slices().iter().flat_map(|slice| slice.to_vec()).collect();
                        let taken = ready.len() * share.min(1000) / 1000;
                        read.extend_from_slice(&ready[..taken]);
                        outbox.advance(taken, bounds, now);
                    }
                    Step::Look => seen = outbox.hole(),
                    Step::Fill(messages) => {
                        let Some(hole) = seen.clone() else { continue };
                        let ring = &kept[hole.serial as usize];
                        let up_to = hole.last.min(hole.first.offset + messages as u64 - 1);
                        let runs: Vec<_> = (hole.first.offset..=up_to)
                            .filter_map(|offset| Some((offset, ring[offset as usize - 1]?)))
                            .map(|(offset, number)| {
                                run(hole.serial, offset, &[format!("kept {number}")], DropPolicy::SlowClient(None), framing)
                            })
                            .collect();
                        outbox.fill(&hole, up_to, &runs);
                    }
                }
                let bytes: usize = outbox.queue.entries.iter().map(|entry| entry.bytes.len()).sum();
                prop_assert_eq!(outbox.queue.bytes(), bytes);
                // Kept messages take no room beyond the bounds, and between two holes of a channel there is a frame.
                prop_assert!(outbox.queue.frames() <= bounds.frames + others + 6);
                for channel in 1..3 {
                    let of_channel = holes(&outbox).iter().filter(|(of, ..)| *of == channel).count();
                    prop_assert!(of_channel <= outbox.queue.frames() + 1, "{}", of_channel);
                }
            }
            prop_assert!(outbox.is_empty());
            let (mut rest, mut arrived) = (&read[..], Vec::new());
            while !rest.is_empty() {
                let len = framing.frame_len(rest);
                let text = String::from_utf8_lossy(&rest[..len]).trim_end().to_owned();
                arrived.push(number(&text));
                rest = &rest[len..];
            }
            for channel in 0..3 {
                // The order of the server's own frames towards those of a channel is kept, too.
                let of = |number: &usize| sent[*number] == channel || sent[*number] == 0;
                let expected: Vec<_> = (0..sent.len()).filter(of).collect();
                let got: Vec<_> = arrived.iter().copied().filter(of).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }
}

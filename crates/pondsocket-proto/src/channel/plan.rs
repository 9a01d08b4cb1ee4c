use std::ops::Range;

use super::batch::{HistoryGap, Op};
use super::{Audience, Batch, DropPolicy, Reception, Recipients, Slot};
use crate::position::Position;

/// The shared part of a batch that a recipient gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Broadcasts.
    All,
    /// Broadcasts and presence.
    Tracked,
}

impl Class {
    fn of<R>(reception: &Reception<R>) -> Class {
        if reception.tracked { Class::Tracked } else { Class::All }
    }
}

/// A run of frames that one recipient gets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// The messages between two operations that every recipient of the class gets.
    Shared(Class, Range<u32>),
    /// The message of one operation that is not for all recipients of a class.
    Private(u32),
    /// Kept messages, by their numbers among those that the batch replays, behind this operation.
    Replay(u32, Range<u32>),
    /// No message, but the notice that the recipient misses kept messages. It is the only piece of its part.
    Gap(u32, HistoryGap),
    /// No message, but the notice that all messages queued for the recipient have been delivered.
    FlushMarker(u32),
}

/// A recipient with its own part of the batch: it joined, left, got a reply, or was excluded from a message.
#[derive(Debug)]
pub struct Private<R> {
    /// The recipient.
    pub to: R,
    /// The pieces for this recipient, in order.
    pub pieces: Vec<Piece>,
    /// `true` if the recipient is in the channel behind the batch, and so has all of it with these pieces.
    pub stays: bool,
}

impl<R> Private<R> {
    fn start(&self) -> u32 {
        match self.pieces.first() {
            Some(Piece::Shared(_, ops)) => ops.start,
            Some(Piece::Private(op) | Piece::FlushMarker(op) | Piece::Replay(op, _) | Piece::Gap(op, _)) => *op,
            None => 0,
        }
    }
}

/// The parts of one batch by recipient. A recipient that is not in `private` gets the whole part of its class.
#[derive(Debug)]
pub struct Plan<R> {
    /// The recipients with their own parts.
    pub private: Vec<Private<R>>,
    /// The slots with marks, sorted: `mark` yields them in this order, and a search in a list needs no hashing.
    marked: Vec<Slot>,
    /// By [`Class`]: `true` if there is a message for every recipient of the class.
    shared: [bool; 2],
}

impl<R: Clone> Plan<R> {
    /// Works out the parts and brings `recipients` to the state after the batch. The cost is O(operations + marks), and
    /// does not depend on the number of recipients.
    pub fn new(batch: &Batch<R>, recipients: &mut Recipients<R>) -> Plan<R> {
        let mut plan = Plan { private: Vec::new(), marked: Vec::new(), shared: [false; 2] };
        let marks = plan.mark(batch);
        // Sorted by slot, so each chunk has all marks of one slot.
        for of_slot in marks.chunk_by(|a, b| a.0 == b.0) {
            plan.walk(batch, of_slot, recipients);
            plan.marked.push(of_slot[0].0);
        }
        // Within one batch a connection may be an outsider before its join or after its leave, and so have several
        // parts. They are sorted by their first operation, so that it receives them in the order of the queue.
        plan.private.sort_by_key(Private::start);
        plan
    }

    /// Returns `true` if recipients of this class outside `private` get messages.
    pub fn visits(&self, class: Class) -> bool {
        self.shared[class as usize]
    }

    /// Returns `true` if the connection in `slot` has its own part.
    pub fn is_marked(&self, slot: Slot) -> bool {
        self.marked.binary_search(&slot).is_ok()
    }

    /// Returns each slot with each operation at which the recipient's part differs from that of its class, sorted by
    /// slot.
    fn mark(&mut self, batch: &Batch<R>) -> Vec<(Slot, u32)> {
        let mut marks = Vec::new();
        for (at, op) in (0u32..).zip(&batch.ops) {
            match op {
                Op::Join { slot, .. } | Op::Leave { slot, .. } | Op::Replay { slot, .. } => marks.push((*slot, at)),
                Op::FlushMarker { to } => {
                    self.private.push(Private { to: to.clone(), pieces: vec![Piece::FlushMarker(at)], stays: false });
                }
                Op::Track { seats, .. } | Op::Gap { seats, .. } => {
                    marks.extend(seats.as_slice().iter().map(|slot| (*slot, at)))
                }
                Op::Send { to, .. } | Op::Presence { to, .. } => match to {
                    Audience::All => self.shared = [true; 2],
                    Audience::Tracked => self.shared[Class::Tracked as usize] = true,
                    // A message for all, which the excluded slots skip: their marks cut it out of the shared part.
                    Audience::Except(seats) => {
                        self.shared = [true; 2];
                        marks.extend(seats.as_slice().iter().map(|slot| (*slot, at)));
                    }
                    Audience::Only(seats) => marks.extend(seats.as_slice().iter().map(|slot| (*slot, at))),
                    Audience::Outsider(to) => {
                        self.private.push(Private { to: to.clone(), pieces: vec![Piece::Private(at)], stays: false });
                    }
                },
            }
        }
        // By slot, then by operation: `walk` follows each slot once, in the order of its operations.
        marks.sort_unstable();
        marks
    }

    /// Follows one slot through the batch, whose marks cut the shared part into pieces.
    fn walk(&mut self, batch: &Batch<R>, marks: &[(Slot, u32)], recipients: &mut Recipients<R>) {
        let slot = marks[0].0;
        // The state of the slot before the batch. It is updated by the operations, and stored at the end.
        let mut entry = recipients.get(slot).cloned();
        let mut pieces = Vec::new();
        let mut from = 0;
        for &(_, at) in marks {
            let before = |entry: &Option<Reception<R>>, pieces: &mut Vec<Piece>| {
                if let Some(reception) = entry.as_ref().filter(|_| from < at) {
                    pieces.push(Piece::Shared(Class::of(reception), from..at));
                }
            };
            before(&entry, &mut pieces);
            // The operation at the mark is not part of a shared piece: it is private, or not for this slot, or no
            // message.
            from = at + 1;
            match &batch.ops[at as usize] {
                Op::Join { recipient, .. } => {
                    // Within one batch the slot may have had another connection before. Its part ends here.
                    self.finish(entry.take(), std::mem::take(&mut pieces), false);
                    entry = Some(Reception { to: recipient.clone(), tracked: false });
                }
                Op::Leave { .. } => self.finish(entry.take(), std::mem::take(&mut pieces), false),
                Op::Track { on, .. } => {
                    if let Some(reception) = &mut entry {
                        reception.tracked = *on;
                    }
                }
                Op::Send { to: Audience::Only(_), .. } => pieces.push(Piece::Private(at)),
                Op::Replay { offsets, .. } => pieces.push(Piece::Replay(at, batch.replayed(offsets))),
                Op::Gap { gap, .. } => pieces.push(Piece::Gap(at, *gap)),
                // An excluded slot: the cut in the shared part is all that is needed.
                Op::Send { .. } | Op::Presence { .. } | Op::FlushMarker { .. } => {}
            }
        }
        // The number fits in 32 bits: a channel refuses messages long before its queue has 2^32 operations.
        let end = batch.ops.len() as u32;
        if let Some(reception) = entry.as_ref().filter(|_| from < end) {
            pieces.push(Piece::Shared(Class::of(reception), from..end));
        }
        self.finish(entry.clone(), pieces, true);
        recipients.put(slot, entry);
    }

    fn finish(&mut self, entry: Option<Reception<R>>, pieces: Vec<Piece>, stays: bool) {
        if let Some(reception) = entry.filter(|_| !pieces.is_empty()) {
            self.private.push(Private { to: reception.to, pieces, stays });
        }
    }
}

/// The frames of a batch in one wire encoding. Every message is framed once for all its recipients.
#[derive(Debug)]
pub struct Encoded<B> {
    all: Track<B>,
    tracked: Option<Track<B>>,
    private: Track<B>,
    /// The messages that are replayed.
    replayed: Option<Track<B>>,
}

/// Frames one behind the other, with the end of each operation's frame.
#[derive(Debug)]
struct Track<B> {
    buffer: B,
    /// The position behind each operation.
    ends: Vec<End>,
    /// The place in the history of each operation's message. Empty if none is kept.
    kept: Vec<Option<Position>>,
    /// The runs of the whole track.
    whole: Vec<Run<B>>,
}

#[derive(Clone, Copy, Debug)]
struct End {
    bytes: u32,
    frames: u32,
    /// The drop policy of the operation's own message.
    drop_policy: DropPolicy,
}

/// A run of whole frames within one buffer which share one drop policy. Either none of them is kept, or all are, at
/// successive positions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run<B> {
    /// The buffer, shared by all recipients.
    pub buffer: B,
    /// The run within it, in bytes.
    pub range: Range<usize>,
    /// The number of frames.
    pub frames: u32,
    /// The drop policy of the frames.
    pub drop_policy: DropPolicy,
    /// The position of the first frame, if the frames are kept in the history of the channel.
    pub kept: Option<Position>,
}

impl<B: AsRef<[u8]>> Run<B> {
    /// The frames.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_ref()[self.range.clone()]
    }
}

impl<B: AsRef<[u8]> + Clone> Encoded<B> {
    /// Frames the broadcasts of the batch once with `frame`, and of the messages that are not for a whole class those
    /// for which `is_wanted` returns `true`, by the number of their operation. `share` makes a finished buffer cheap to
    /// hand out.
    pub fn new<R>(
        batch: &Batch<R>,
        mut frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Encoded<B> {
        let all =
            Track::new(batch, &mut frame, &share, None, |_, to| matches!(to, Audience::All | Audience::Except(_)));
        let private = Track::new(batch, &mut frame, &share, None, |op, to| {
            matches!(to, Audience::Only(_) | Audience::Outsider(_)) && is_wanted(op)
        });
        Encoded { all, tracked: None, private, replayed: None }
    }

    /// Frames presence, too, ahead of the first part of a tracked recipient. Messages of the others are not framed a
    /// second time.
    pub fn add_presence<R>(
        &mut self,
        batch: &Batch<R>,
        frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
    ) {
        // Without presence both classes get the same frames, and share one track.
        let has_presence = || batch.ops.iter().any(|op| matches!(op, Op::Send { to: Audience::Tracked, .. }));
        if self.tracked.is_none() && has_presence() {
            let is_presence = |_, to: &Audience<R>| matches!(to, Audience::Tracked);
            self.tracked = Some(Track::new(batch, frame, share, Some(&self.all), is_presence));
        }
    }

    /// Frames the messages that are replayed, too, ahead of the first part with a replay.
    pub fn add_replays<R>(
        &mut self,
        batch: &Batch<R>,
        frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
    ) {
        if self.replayed.is_none()
            && let Some(replays) = &batch.replays
        {
            self.replayed = Some(Track::of_texts(replays.texts(), frame, share));
        }
    }

    /// The frames of one piece.
    pub fn piece(&self, piece: &Piece) -> impl Iterator<Item = Run<B>> {
        let (track, from, to) = match piece {
            // Without its track, which the caller adds first, a replay would have no frames.
            Piece::Replay(_, texts) => match &self.replayed {
                Some(track) => (track, texts.start as usize, texts.end as usize),
                None => (&self.private, 0, 0),
            },
            Piece::Shared(class, ops) => (self.shared(*class), ops.start as usize, ops.end as usize),
            Piece::Private(op) => (&self.private, *op as usize, *op as usize + 1),
            // An empty range: a marker has no frames.
            Piece::FlushMarker(_) | Piece::Gap(..) => (&self.private, 0, 0),
        };
        track.runs(from, to)
    }

    /// All frames for a class.
    pub fn whole(&self, class: Class) -> &[Run<B>] {
        &self.shared(class).whole
    }

    fn shared(&self, class: Class) -> &Track<B> {
        match class {
            Class::All => &self.all,
            Class::Tracked => self.tracked.as_ref().unwrap_or(&self.all),
        }
    }
}

impl<B: AsRef<[u8]> + Clone> Track<B> {
    /// Frames the wanted messages of a batch. Those in `framed` are copied from there: framing them again would compress
    /// them again.
    fn new<R>(
        batch: &Batch<R>,
        mut frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
        framed: Option<&Track<B>>,
        is_wanted: impl Fn(u32, &Audience<R>) -> bool,
    ) -> Track<B> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(batch.ops.len()));
        let mut frames = 0;
        for (index, op) in batch.ops.iter().enumerate() {
            let mut drop_policy = DropPolicy::Never;
            if let Op::Send { to, text, policy, .. } = op {
                drop_policy = policy.drop_policy;
                if let Some(same) = framed.map(|framed| framed.of(index)).filter(|same| !same.is_empty()) {
                    bytes.extend_from_slice(same);
                    frames += 1;
                } else if is_wanted(index as u32, to) {
                    frame(&batch.text[text.start as usize..text.end as usize], &mut bytes);
                    frames += 1;
                }
            }
            // For every operation, also without a frame: a piece is found by the numbers of its operations.
            ends.push(End { bytes: bytes.len() as u32, frames, drop_policy });
        }
        let position = |op: &Op<R>| if let Op::Send { position, .. } = op { *position } else { None };
        let keeps = batch.ops.iter().any(|op| position(op).is_some());
        let kept = if keeps { batch.ops.iter().map(position).collect() } else { Vec::new() };
        let mut track = Track { buffer: share(bytes), ends, kept, whole: Vec::new() };
        track.whole = track.runs(0, track.ends.len()).collect();
        track
    }

    /// Frames texts which are never dropped.
    fn of_texts<'a>(
        texts: impl Iterator<Item = &'a [u8]>,
        mut frame: impl FnMut(&[u8], &mut Vec<u8>),
        share: impl Fn(Vec<u8>) -> B,
    ) -> Track<B> {
        let mut bytes = Vec::new();
        let ends = (1..).zip(texts).map(|(frames, text)| {
            frame(text, &mut bytes);
            End { bytes: bytes.len() as u32, frames, drop_policy: DropPolicy::Never }
        });
        let ends = ends.collect();
        Track { buffer: share(bytes), ends, kept: Vec::new(), whole: Vec::new() }
    }

    /// The frames of the operations from the `from`-th up to, not including, the `to`-th.
    fn runs(&self, mut from: usize, to: usize) -> impl Iterator<Item = Run<B>> {
        std::iter::from_fn(move || {
            let (bytes, frames) = self.before(from);
            // Operations without a frame in this track have no policy that matters, and do not end a run.
            let first = (from..to).find(|op| self.before(op + 1).0 > bytes)?;
            let drop_policy = self.ends[first].drop_policy;
            let kept = self.position(first);
            let mut follows = kept;
            let other = |op: &usize| {
                if self.before(*op).0 == self.before(op + 1).0 {
                    return false;
                }
                follows = follows.map(|Position { epoch, offset }| Position { epoch, offset: offset + 1 });
                self.ends[*op].drop_policy != drop_policy || self.position(*op) != follows
            };
            let next = (first + 1..to).find(other).unwrap_or(to);
            let (end, last) = self.before(next);
            from = next;
            Some(Run { buffer: self.buffer.clone(), range: bytes..end, frames: last - frames, drop_policy, kept })
        })
    }

    /// The place in the history of the message of an operation.
    fn position(&self, op: usize) -> Option<Position> {
        self.kept.get(op).copied().flatten()
    }

    /// The frame of one operation, or nothing.
    fn of(&self, op: usize) -> &[u8] {
        &self.buffer.as_ref()[self.before(op).0..self.before(op + 1).0]
    }

    /// The bytes and the frames before an operation.
    fn before(&self, op: usize) -> (usize, u32) {
        op.checked_sub(1).map_or((0, 0), |last| (self.ends[last].bytes as usize, self.ends[last].frames))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::channel::{DeliveryPolicy, Seats, SlowClient};

    fn send(batch: &mut Batch<char>, to: Audience<char>, text: &str) {
        batch.send(to, DeliveryPolicy::BROADCAST, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn join(slot: u32, recipient: char) -> Op<char> {
        Op::Join { slot: Slot(slot), recipient }
    }

    fn leave(slot: u32) -> Op<char> {
        Op::Leave { slot: Slot(slot), last: None }
    }

    fn seat(slot: u32) -> Seats {
        Seats::One(Slot(slot))
    }

    /// Recipients `a`, `b`, `c` in the first slots; `c` is tracked.
    fn three() -> Recipients<char> {
        let mut recipients = Recipients::default();
        for (slot, to) in (0..).zip(['a', 'b', 'c']) {
            recipients.put(Slot(slot), Some(Reception { to, tracked: to == 'c' }));
        }
        recipients
    }

    /// The frames of each recipient with its own part.
    fn parts(batch: &Batch<char>, plan: &Plan<char>) -> Vec<(char, String)> {
        let encoded = framed(batch);
        let part = |private: &Private<char>| {
            let runs = private.pieces.iter().flat_map(|piece| encoded.piece(piece));
            (private.to, runs.map(|run| text(&run)).collect())
        };
        plan.private.iter().map(part).collect()
    }

    /// Each message becomes one frame in brackets.
    fn framed(batch: &Batch<char>) -> Encoded<Rc<[u8]>> {
        let frame = |text: &[u8], out: &mut Vec<u8>| out.extend([b"<", text, b">"].concat());
        let mut encoded = Encoded::new(batch, frame, Rc::from, |_| true);
        encoded.add_presence(batch, frame, Rc::from);
        encoded
    }

    fn text(run: &Run<Rc<[u8]>>) -> String {
        String::from_utf8(run.bytes().to_vec()).expect("text")
    }

    fn whole(encoded: &Encoded<Rc<[u8]>>, class: Class) -> Vec<(String, u32)> {
        encoded.whole(class).iter().map(|run| (text(run), run.frames)).collect()
    }

    #[test]
    fn a_broadcast_marks_no_slot() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        send(&mut batch, Audience::All, "2");
        let plan = Plan::new(&batch, &mut three());
        assert!(plan.private.is_empty());
        assert!(plan.visits(Class::All) && plan.visits(Class::Tracked));
        assert_eq!(whole(&framed(&batch), Class::All), [("<1><2>".into(), 2)]);
    }

    #[test]
    fn a_batch_of_answers_visits_no_other_recipient() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::Only(seat(1)), "1");
        let plan = Plan::new(&batch, &mut three());
        assert!(!plan.visits(Class::All) && !plan.visits(Class::Tracked));
        assert_eq!(parts(&batch, &plan), [('b', "<1>".into())]);
    }

    #[test]
    fn presence_is_between_the_broadcasts_of_tracked_recipients() {
        let mut batch = Batch::default();
        for (to, text) in [(Audience::All, "1"), (Audience::Tracked, "p"), (Audience::All, "2")] {
            send(&mut batch, to, text);
        }
        let encoded = framed(&batch);
        assert_eq!(whole(&encoded, Class::All), [("<1><2>".into(), 2)]);
        assert_eq!(whole(&encoded, Class::Tracked), [("<1><p><2>".into(), 3)]);
    }

    #[test]
    fn frames_with_different_drop_policies_are_separate_runs() {
        let mut batch = Batch::default();
        let newest = DeliveryPolicy {
            drop_policy: DropPolicy::SlowClient(Some(SlowClient::DropNewest)),
            ..DeliveryPolicy::BROADCAST
        };
        for (policy, text) in
            [(DeliveryPolicy::BROADCAST, "1"), (newest, "2"), (newest, "3"), (DeliveryPolicy::CONTROL, "4")]
        {
            batch.send(Audience::All, policy, |out| out.extend_from_slice(text.as_bytes()));
            batch.push(Op::Track { seats: seat(9), on: false });
        }
        let encoded = framed(&batch);
        let runs: Vec<_> =
            encoded.whole(Class::All).iter().map(|run| (text(run), run.frames, run.drop_policy)).collect();
        let expected = [
            ("<1>".into(), 1, DropPolicy::SlowClient(None)),
            ("<2><3>".into(), 2, newest.drop_policy),
            ("<4>".into(), 1, DropPolicy::Never),
        ];
        assert_eq!(runs, expected);
    }

    #[test]
    fn a_flush_marker_comes_behind_everything_that_was_queued() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        batch.push(leave(0));
        batch.push(Op::FlushMarker { to: 'a' });
        send(&mut batch, Audience::All, "2");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!(parts(&batch, &plan), [('a', "<1>".into()), ('a', String::new())]);
        assert_eq!(plan.private[1].pieces, [Piece::FlushMarker(2)]);
    }

    #[test]
    fn without_presence_both_classes_share_one_buffer() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        let encoded = framed(&batch);
        let buffer = |class| encoded.whole(class)[0].buffer.as_ptr();
        assert_eq!(buffer(Class::All), buffer(Class::Tracked));
    }

    #[test]
    fn a_joining_connection_gets_later_messages_and_a_leaving_one_earlier_messages() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        batch.push(join(3, 'd'));
        send(&mut batch, Audience::All, "2");
        batch.push(leave(0));
        send(&mut batch, Audience::All, "3");
        let mut recipients = three();
        let plan = Plan::new(&batch, &mut recipients);
        assert_eq!(parts(&batch, &plan), [('a', "<1><2>".into()), ('d', "<2><3>".into())]);
        assert_eq!(recipients.iter().map(|(_, reception)| reception.to).collect::<String>(), "bcd");
    }

    #[test]
    fn a_slot_may_be_reused_within_a_batch() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::Only(seat(0)), "1");
        batch.push(leave(0));
        send(&mut batch, Audience::All, "2");
        batch.push(join(0, 'd'));
        send(&mut batch, Audience::Only(seat(0)), "3");
        let mut recipients = three();
        let plan = Plan::new(&batch, &mut recipients);
        assert_eq!(parts(&batch, &plan), [('a', "<1>".into()), ('d', "<3>".into())]);
        assert_eq!(recipients.get(Slot(0)).map(|reception| reception.to), Some('d'));
    }

    #[test]
    fn the_next_connection_in_a_slot_is_not_tracked() {
        let mut batch = Batch::default();
        batch.push(leave(2));
        batch.push(join(2, 'd'));
        send(&mut batch, Audience::Tracked, "p");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!(parts(&batch, &plan), [('d', String::new())]);
    }

    #[test]
    fn tracking_cuts_the_part_in_two_classes() {
        let mut batch = Batch::default();
        for on in [true, false] {
            send(&mut batch, Audience::Tracked, "p");
            batch.push(Op::Track { seats: seat(0), on });
        }
        send(&mut batch, Audience::Tracked, "p");
        send(&mut batch, Audience::All, "1");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!(parts(&batch, &plan), [('a', "<p><1>".into())]);
    }

    #[test]
    fn an_excluded_recipient_gets_all_other_messages() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        send(&mut batch, Audience::Except(Seats::Many(Box::new(vec![Slot(0), Slot(2)]))), "2");
        send(&mut batch, Audience::All, "3");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!(parts(&batch, &plan), [('a', "<1><3>".into()), ('c', "<1><3>".into())]);
        assert!(!plan.is_marked(Slot(1)));
    }

    #[test]
    fn an_outsider_is_answered_between_its_memberships() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        batch.push(leave(0));
        send(&mut batch, Audience::Outsider('a'), "no");
        batch.push(join(0, 'a'));
        send(&mut batch, Audience::All, "2");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!(parts(&batch, &plan), [('a', "<1>".into()), ('a', "<no>".into()), ('a', "<2>".into())]);
    }

    #[test]
    fn a_run_may_begin_behind_an_operation_without_a_frame() {
        let mut batch = Batch::default();
        batch.push(leave(9));
        send(&mut batch, Audience::All, "1");
        let encoded = framed(&batch);
        let pieces = [Piece::Shared(Class::All, 0..2), Piece::Shared(Class::All, 1..2)];
        for piece in &pieces {
            let runs: Vec<_> = encoded.piece(piece).map(|run| (text(&run), run.frames, run.drop_policy)).collect();
            assert_eq!(runs, [("<1>".to_owned(), 1, DropPolicy::SlowClient(None))], "{piece:?}");
        }
        assert_eq!(encoded.piece(&Piece::Shared(Class::All, 0..1)).count(), 0);
        assert_eq!(encoded.piece(&Piece::FlushMarker(1)).count(), 0);
    }

    #[test]
    fn recipients_without_messages_are_not_visited() {
        let mut batch = Batch::default();
        batch.push(leave(0));
        batch.push(Op::Track { seats: Seats::Many(Box::new(vec![Slot(1), Slot(7)])), on: true });
        send(&mut batch, Audience::Only(seat(7)), "to a vacant seat");
        send(&mut batch, Audience::Only(seat(2)), "1");
        batch.push(join(3, 'd'));
        let mut recipients = three();
        let plan = Plan::new(&batch, &mut recipients);
        let parts: Vec<_> = plan.private.iter().map(|private| (private.to, &private.pieces[..])).collect();
        let before = Piece::Shared(Class::Tracked, 0..3);
        let behind = Piece::Shared(Class::Tracked, 4..5);
        let of_b = [Piece::Shared(Class::All, 0..1), Piece::Shared(Class::Tracked, 2..5)];
        assert_eq!(parts, [('b', &of_b[..]), ('c', &[before, Piece::Private(3), behind])]);
        let all: Vec<_> = recipients.iter().map(|(_, reception)| (reception.to, reception.tracked)).collect();
        assert_eq!(all, [('b', true), ('c', true), ('d', false)]);
    }

    #[test]
    fn only_slots_with_a_part_of_their_own_are_marked() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::Only(Seats::Many(Box::new(vec![Slot(2), Slot(0)]))), "1");
        send(&mut batch, Audience::Tracked, "p");
        let plan = Plan::new(&batch, &mut three());
        assert_eq!([0, 1, 2, 3].map(|slot| plan.is_marked(Slot(slot))), [true, false, true, false]);
        assert!(!plan.visits(Class::All) && plan.visits(Class::Tracked));
    }
}

//! The frames of a batch in one wire encoding.

use std::ops::Range;

use super::{Class, Piece};
use crate::channel::batch::Op;
use crate::channel::{Audience, Batch, DropPolicy};
use crate::position::Position;

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
    use super::*;
    use crate::channel::plan::fixture::{framed, leave, seat, send, text, whole};
    use crate::channel::{DeliveryPolicy, SlowClient};

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
    fn without_presence_both_classes_share_one_buffer() {
        let mut batch = Batch::default();
        send(&mut batch, Audience::All, "1");
        let encoded = framed(&batch);
        let buffer = |class| encoded.whole(class)[0].buffer.as_ptr();
        assert_eq!(buffer(Class::All), buffer(Class::Tracked));
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
}

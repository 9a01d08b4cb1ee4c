//! The parts of a batch by recipient.

mod encoded;
#[cfg(test)]
mod fixture;

use std::ops::Range;

use super::batch::{HistoryGap, Op};
use super::{Audience, Batch, Reception, Recipients, Slot};

pub use encoded::{Encoded, Run};

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

#[cfg(test)]
mod tests {
    use super::fixture::{framed, join, leave, seat, send, text, whole};
    use super::*;
    use crate::channel::Seats;

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

use std::collections::VecDeque;

use super::batch::Op;
use super::{Audience, Batch, Listener, Treatment};

/// What waits for delivery, in one order, in the portions that are delivered each in its own way: messages that an
/// outgoing handler decides about apart from the rest. So taking a portion costs nothing for those behind it.
#[derive(Debug)]
pub(super) struct Queue<R> {
    portions: VecDeque<Batch<R>>,
    ops: usize,
    bytes: usize,
    /// Portions that an outgoing handler decides about.
    filtered: usize,
    /// Those who leave, and for whom something of these portions is meant.
    leavers: usize,
}

impl<R> Default for Queue<R> {
    fn default() -> Self {
        Queue { portions: VecDeque::new(), ops: 0, bytes: 0, filtered: 0, leavers: 0 }
    }
}

impl<R> Queue<R> {
    pub(super) fn is_empty(&self) -> bool {
        self.portions.is_empty()
    }

    /// How many operations wait.
    pub(super) fn len(&self) -> usize {
        self.ops
    }

    /// How much text waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an outgoing handler is yet to decide about something.
    pub(super) fn is_filtered(&self) -> bool {
        self.filtered > 0
    }

    pub(super) fn push(&mut self, op: Op<R>) {
        self.ops += 1;
        self.leavers += usize::from(op.is_leaver());
        self.portion(false).push(op);
    }

    /// Appends a message whose text `write` produces.
    pub(super) fn send(&mut self, to: Audience<R>, treatment: Treatment, write: impl FnOnce(&mut Vec<u8>)) {
        let portion = self.portion(treatment.filtered);
        let before = portion.bytes();
        portion.send(to, treatment, write);
        let bytes = portion.bytes() - before;
        self.ops += 1;
        self.bytes += bytes;
    }

    /// Whether the first portion shows a presence list.
    pub(super) fn shows_presence(&self) -> bool {
        self.portions.front().is_some_and(|portion| portion.presences > 0)
    }

    /// Takes the first portion, but of presence changes no more than `most_presences`.
    pub(super) fn take(&mut self, most_presences: usize) -> Batch<R> {
        let Some(mut portion) = self.portions.pop_front() else { return Batch::default() };
        let rest = portion.split_behind(most_presences);
        if rest.is_empty() {
            self.filtered -= usize::from(portion.is_filtered());
        } else {
            self.portions.push_front(rest);
        }
        self.ops -= portion.len();
        self.bytes -= portion.bytes();
        self.leavers -= portion.ops.iter().filter(|op| op.is_leaver()).count();
        portion
    }

    /// Seats those who leave where they sit before.
    pub(super) fn seat_leavers(&self, listeners: &mut [Option<Listener>]) {
        if self.leavers == 0 {
            return;
        }
        // Of several who leave the same seat, the first one is meant.
        for op in self.portions.iter().rev().flat_map(|portion| portion.ops.iter().rev()) {
            if let Op::Leave { slot, last: Some(last) } = op {
                listeners[slot.index()] = Some(Listener::clone(last));
            }
        }
    }

    /// The last portion, if it is of this kind, or a new one.
    fn portion(&mut self, filtered: bool) -> &mut Batch<R> {
        if self.portions.back().is_none_or(|last| last.is_filtered() != filtered) {
            self.filtered += usize::from(filtered);
            self.portions.push_back(Batch { filtered, ..Batch::default() });
        }
        self.portions.back_mut().expect("just made, if there was none")
    }
}

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

#[cfg(test)]
mod tests {
    use super::super::batch::tests::{op, word};
    use super::super::{Assigns, Slot};
    use super::*;
    use crate::id::{ConnectionId, UserId};

    const FILTERED: Treatment = Treatment { filtered: true, ..Treatment::BROADCAST };

    /// A queue from a word: a letter is a message that says it, filtered if it is a capital; `+` is a presence change
    /// and `-` an operation that says nothing.
    fn queue(word: &str) -> Queue<()> {
        let mut queue = Queue::default();
        for letter in word.chars() {
            let treatment = if letter.is_uppercase() { FILTERED } else { Treatment::BROADCAST };
            match op(letter) {
                Some(op) => queue.push(op),
                None => queue.send(Audience::All, treatment, |out| out.push(letter as u8)),
            }
        }
        queue
    }

    /// All portions of a queue, each filtered as its letters say, and what is left is counted right at each step.
    fn portions(all: &str, most_presences: usize) -> Vec<String> {
        let (mut queue, mut portions, mut left) = (queue(all), Vec::new(), all);
        loop {
            assert_eq!((queue.is_empty(), queue.len()), (left.is_empty(), left.len()), "{all}: {left}");
            assert_eq!(queue.bytes(), left.chars().filter(char::is_ascii_alphabetic).count(), "{all}: {left}");
            assert_eq!(queue.is_filtered(), left.chars().any(char::is_uppercase), "{all}: {left}");
            if left.is_empty() {
                return portions;
            }
            let shows = queue.shows_presence();
            let portion = queue.take(most_presences);
            let taken = word(&portion);
            assert_eq!(shows, taken.contains('+'), "{all}: {taken}");
            assert_eq!(portion.is_filtered(), taken.chars().any(char::is_uppercase), "{all}: {taken}");
            left = left.strip_prefix(&taken).expect("in order");
            portions.push(taken);
        }
    }

    #[test]
    fn what_is_filtered_is_taken_apart_from_the_rest() {
        assert_eq!(portions("abc", usize::MAX), ["abc"]);
        assert_eq!(portions("abC", usize::MAX), ["ab", "C"]);
        assert_eq!(portions("ABcD", usize::MAX), ["AB", "c", "D"]);
        assert_eq!(portions("a-B-+cD", usize::MAX), ["a-", "B", "-+c", "D"]);
        assert_eq!(queue("").take(1).len(), 0);
    }

    #[test]
    fn no_more_presence_changes_are_taken_than_may_be_but_one_at_least() {
        assert_eq!(portions("a+b+c", 2), ["a+b+c"]);
        assert_eq!(portions("a+b+c", 1), ["a+", "b+c"]);
        assert_eq!(portions("++a+", 2), ["++", "a+"]);
        assert_eq!(portions("a+B+", 1), ["a+", "B", "+"]);
        assert_eq!(portions("AB++", 1), ["AB", "+", "+"]);
    }

    #[test]
    fn of_several_who_leave_a_seat_the_first_is_seated_until_it_is_taken() {
        let leave = |name: &str| {
            let (user, assigns) = (UserId::new(name).expect("valid"), Assigns::default());
            let last = Listener { connection: ConnectionId::from_u128(1), user, assigns, presence: None };
            Op::Leave { slot: Slot(0), last: Some(Box::new(last)) }
        };
        let mut queue = queue("A");
        queue.push(leave("ada"));
        queue.send(Audience::All, FILTERED, |out| out.push(b'B'));
        queue.push(leave("bob"));
        let seated = |queue: &Queue<()>| {
            let mut listeners = vec![None];
            queue.seat_leavers(&mut listeners);
            listeners[0].take().map(|listener: Listener| listener.user.to_string())
        };
        let mut at_each_step = vec![seated(&queue)];
        while !queue.is_empty() {
            queue.take(1);
            at_each_step.push(seated(&queue));
        }
        let (ada, bob) = (Some("ada".to_owned()), Some("bob".to_owned()));
        assert_eq!(at_each_step, [ada.clone(), ada, bob.clone(), bob, None]);
    }
}

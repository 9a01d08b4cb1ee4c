use std::collections::VecDeque;

use bytes::Bytes;
use pondsocket_proto::cluster::message::Envelope;

use crate::cluster::Publish;

/// How many messages wait for the bus at the most, and how many bytes of them.
const MAX_MESSAGES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;

/// How long a message waits while the bus is down, in milliseconds: what is older is of no use to anybody.
const MAX_AGE: u64 = 2000;

/// How much is given to the bus at once.
const BATCH_MESSAGES: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// What is to be published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A message for users elsewhere: it waits for the bus for a while.
    Message,
    /// What this node says of itself. It is said anew when the bus comes back, so it never waits for that.
    State,
}

/// One message on its way to the bus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) publish: Publish,
    pub(super) kind: Kind,
    /// When it was said.
    pub(super) at: u64,
    /// What it consists of, as long as the node does not know which life of its name it is.
    pub(super) unsigned: Option<Box<Envelope>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.publish.topic.as_str().len() + self.publish.data.len()
    }
}

/// What waits for the bus, in the order in which it was said.
///
/// While the bus is up everything waits for its turn. While it is down only messages do, for two seconds. Over the bounds
/// a new message is refused; what a node says of itself is always taken while the bus is up: it is bounded by what happens
/// here, and leaving out any of it would have to be mended by all others.
#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    entries: VecDeque<Entry>,
    bytes: usize,
    is_up: bool,
    dropped: Dropped,
}

/// Messages that were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Dropped {
    /// They waited for too long.
    pub(super) expired: u64,
    /// Too much waited already.
    pub(super) full: u64,
}

impl PublishQueue {
    /// Appends something; false if it was refused.
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let taken = match entry.kind {
            Kind::State => self.is_up,
            Kind::Message => self.has_room(entry.at),
        };
        self.dropped.full += u64::from(!taken && entry.kind == Kind::Message);
        if taken {
            self.bytes += entry.bytes();
            self.entries.push_back(entry);
        }
        taken
    }

    /// Signs what was queued before the node knew which life of its name it is.
    pub(super) fn sign(&mut self, mut encode: impl FnMut(&mut Envelope) -> Bytes) {
        for entry in &mut self.entries {
            if let Some(mut message) = entry.unsigned.take() {
                self.bytes -= entry.bytes();
                entry.publish.data = encode(&mut message);
                self.bytes += entry.bytes();
            }
        }
    }

    /// Whether a message would be taken now.
    pub(super) fn has_room(&mut self, now: u64) -> bool {
        self.expire(now);
        self.entries.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// The bus has come, or gone.
    pub(super) fn set_up(&mut self, is_up: bool) {
        self.is_up = is_up;
        if !is_up {
            self.entries.retain(|entry| entry.kind == Kind::Message);
            self.bytes = self.entries.iter().map(Entry::bytes).sum();
        }
    }

    /// What is to be given to the bus next: nothing while it is down.
    pub(super) fn take(&mut self, now: u64) -> Vec<Entry> {
        self.expire(now);
        let (mut batch, mut bytes) = (Vec::with_capacity(self.entries.len().min(BATCH_MESSAGES)), 0);
        while self.is_up && batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(entry) = self.entries.pop_front() else { break };
            bytes += entry.bytes();
            batch.push(entry);
        }
        self.bytes -= bytes;
        batch
    }

    /// The bus certainly did not take these: messages among them wait again, ahead of all others.
    pub(super) fn give_back(&mut self, entries: Vec<Entry>) {
        for entry in entries.into_iter().rev().filter(|entry| entry.kind == Kind::Message) {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
    }

    /// What has been dropped since the last time.
    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// How many wait, and how many bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    fn expire(&mut self, now: u64) {
        while !self.is_up && self.entries.front().is_some_and(|entry| entry.at + MAX_AGE < now) {
            let gone = self.entries.pop_front().expect("there is a first one");
            self.bytes -= gone.bytes();
            self.dropped.expired += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, data: &str, at: u64) -> Entry {
        Entry { publish: Publish::new("t", data.to_owned()), kind, at, unsigned: None }
    }

    fn message(data: &str, at: u64) -> Entry {
        entry(Kind::Message, data, at)
    }

    fn data(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| std::str::from_utf8(&entry.publish.data).expect("text")).collect()
    }

    fn up() -> PublishQueue {
        PublishQueue { is_up: true, ..PublishQueue::default() }
    }

    #[test]
    fn everything_leaves_in_the_order_in_which_it_was_said() {
        let mut queue = up();
        for (kind, text) in [(Kind::Message, "a"), (Kind::State, "b"), (Kind::Message, "c")] {
            assert!(queue.push(entry(kind, text, 0)));
        }
        assert_eq!(data(&queue.take(0)), ["a", "b", "c"]);
        assert_eq!(queue.depth(), (0, 0));
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_size() {
        let mut queue = up();
        (0..200).for_each(|_| assert!(queue.push(message("x", 0))));
        assert_eq!([queue.take(0).len(), queue.take(0).len(), queue.take(0).len()], [128, 72, 0]);
        (0..3).for_each(|_| assert!(queue.push(message(&"x".repeat(BATCH_BYTES / 2), 0))));
        assert_eq!([queue.take(0).len(), queue.take(0).len()], [2, 1]);
    }

    #[test]
    fn while_the_bus_is_down_messages_wait_and_nothing_else_does() {
        let mut queue = up();
        queue.push(message("a", 0));
        queue.push(entry(Kind::State, "b", 0));
        queue.set_up(false);
        assert!(!queue.push(entry(Kind::State, "c", 1)));
        assert!(queue.push(message("d", 1)));
        assert!(queue.take(2).is_empty());
        queue.set_up(true);
        assert_eq!(data(&queue.take(2)), ["a", "d"]);
    }

    #[test]
    fn a_message_that_waited_for_two_seconds_is_dropped_and_counted() {
        let mut queue = PublishQueue::default();
        queue.push(message("old", 0));
        queue.push(message("new", 1500));
        queue.set_up(false);
        assert!(queue.take(MAX_AGE + 1).is_empty());
        assert_eq!(queue.take_dropped(), Dropped { expired: 1, full: 0 });
        assert_eq!((queue.take_dropped(), queue.depth()), (Dropped::default(), (1, 4)));
        queue.set_up(true);
        assert_eq!(data(&queue.take(9999)), ["new"], "while the bus is up nothing grows too old");
    }

    #[test]
    fn over_its_bounds_a_message_is_refused_and_a_state_is_not() {
        let mut queue = up();
        (0..MAX_MESSAGES).for_each(|_| assert!(queue.push(message("x", 0))));
        assert!(!queue.has_room(0));
        assert!(!queue.push(message("x", 0)));
        assert_eq!(queue.take_dropped(), Dropped { expired: 0, full: 1 });
        assert!(queue.push(entry(Kind::State, "x", 0)));
        queue.take(0);
        assert!(queue.push(message("x", 0)));
    }

    #[test]
    fn what_the_bus_did_not_take_goes_first_again() {
        let mut queue = up();
        ["a", "b", "c"].iter().for_each(|text| assert!(queue.push(message(text, 0))));
        let mut batch = queue.take(0);
        batch.push(entry(Kind::State, "s", 0));
        queue.push(message("d", 0));
        queue.give_back(batch);
        assert_eq!(data(&queue.take(0)), ["a", "b", "c", "d"]);
    }
}

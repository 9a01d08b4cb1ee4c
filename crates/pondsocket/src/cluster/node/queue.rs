use std::collections::VecDeque;

use bytes::Bytes;
use pondsocket_proto::cluster::message::Envelope;

use crate::cluster::Publish;

/// The most messages that wait for the bus, and the most bytes. They bound the memory while the bus is slow or down.
const MAX_MESSAGES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;

/// The longest wait of a message while the bus is down, in milliseconds. Users no longer expect an older one.
const MAX_AGE: u64 = 2000;

/// The most messages and bytes of one batch. Larger ones cost hardly less for each message, and delay the first
/// outcome.
pub(super) const BATCH_MESSAGES: usize = 128;
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// The kind of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PublishKind {
    /// A message for users of other nodes. It waits for a while for the bus to come back.
    Message,
    /// A message of the cluster itself. It never waits for the bus to come back, because the core then sends the
    /// present state anew.
    State,
}

/// One message on its way to the bus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct QueuedPublish {
    pub(super) publish: Publish,
    pub(super) kind: PublishKind,
    /// The time at which it was queued, in milliseconds.
    pub(super) at: u64,
    /// The message itself, until the incarnation of the node has its number: then it is signed anew.
    pub(super) unsigned: Option<Box<Envelope>>,
    /// Its place among all that this node sends.
    pub(super) order: u64,
}

impl QueuedPublish {
    pub(super) fn bytes(&self) -> usize {
        self.publish.topic.as_str().len() + self.publish.data.len()
    }
}

/// The messages that wait for the bus, in order.
///
/// While the bus is down only messages for users wait, for two seconds. Over the bounds a new message for users is
/// refused. A message of the cluster is always queued while the bus is up: their number is bounded by the changes on
/// this node, and every other node would have to repair the loss of one.
#[derive(Debug, Default)]
pub(super) struct PublishQueue {
    entries: VecDeque<QueuedPublish>,
    bytes: usize,
    is_up: bool,
    dropped: DroppedPublishes,
}

/// Messages that were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct DroppedPublishes {
    /// Messages that waited for too long.
    pub(super) expired: u64,
    /// Messages that were refused because the queue was full.
    pub(super) full: u64,
}

impl PublishQueue {
    /// Appends a message. Returns `false` if it was refused.
    pub(super) fn push(&mut self, entry: QueuedPublish) -> bool {
        let taken = match entry.kind {
            PublishKind::State => self.is_up,
            PublishKind::Message => self.has_room(entry.at),
        };
        self.dropped.full += u64::from(!taken && entry.kind == PublishKind::Message);
        if taken {
            self.bytes += entry.bytes();
            self.entries.push_back(entry);
        }
        taken
    }

    /// Signs the messages that were queued before the incarnation of the node had its number.
    pub(super) fn sign(&mut self, mut encode: impl FnMut(&mut Envelope) -> Bytes) {
        for entry in &mut self.entries {
            if let Some(mut message) = entry.unsigned.take() {
                self.bytes -= entry.bytes();
                entry.publish.data = encode(&mut message);
                self.bytes += entry.bytes();
            }
        }
    }

    /// Returns `true` if a message for users would be queued.
    pub(super) fn has_room(&mut self, now: u64) -> bool {
        self.expire(now);
        self.entries.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// Sets the state of the bus.
    pub(super) fn set_up(&mut self, is_up: bool) {
        self.is_up = is_up;
        if !is_up {
            self.entries.retain(|entry| entry.kind == PublishKind::Message);
            self.bytes = self.entries.iter().map(QueuedPublish::bytes).sum();
        }
    }

    /// Takes the next batch, which is empty while the bus is down.
    pub(super) fn take(&mut self, now: u64) -> Vec<QueuedPublish> {
        self.expire(now);
        let (mut batch, mut bytes) = (Vec::with_capacity(self.entries.len().min(BATCH_MESSAGES)), 0);
        while self.is_up && batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let Some(entry) = self.pop() else { break };
            bytes += entry.bytes();
            batch.push(entry);
        }
        batch
    }

    /// The place of the first message; `None` if there is none, or the bus is down.
    pub(super) fn next(&self) -> Option<u64> {
        self.entries.front().filter(|_| self.is_up).map(|entry| entry.order)
    }

    /// Takes the first message.
    pub(super) fn pop(&mut self) -> Option<QueuedPublish> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// Returns messages that were certainly not sent. Those for users wait again, ahead of all others.
    pub(super) fn give_back(&mut self, entries: Vec<QueuedPublish>) {
        // From the last to the first, so that the order stays. The bounds are not checked: these messages were
        // accepted, and one batch is the most that comes back.
        for entry in entries.into_iter().rev().filter(|entry| entry.kind == PublishKind::Message) {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
    }

    /// Takes the numbers of messages that were dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> DroppedPublishes {
        std::mem::take(&mut self.dropped)
    }

    /// The numbers of messages and bytes that wait.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// Drops what has waited for too long.
    pub(super) fn expire(&mut self, now: u64) {
        while !self.is_up && self.entries.front().is_some_and(|entry| entry.at + MAX_AGE < now) {
            let gone = self.entries.pop_front().expect("the loop condition has found it");
            self.bytes -= gone.bytes();
            self.dropped.expired += 1;
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    fn entry(kind: PublishKind, data: &str, at: u64) -> QueuedPublish {
        QueuedPublish { publish: Publish::new("t", data.to_owned()), kind, at, unsigned: None, order: 0 }
    }

    fn message(data: &str, at: u64) -> QueuedPublish {
        entry(PublishKind::Message, data, at)
    }

    fn data(entries: &[QueuedPublish]) -> Vec<&str> {
        entries.iter().map(|entry| std::str::from_utf8(&entry.publish.data).expect("text")).collect()
    }

    fn up() -> PublishQueue {
        PublishQueue { is_up: true, ..PublishQueue::default() }
    }

    #[test]
    fn messages_are_taken_in_the_order_in_which_they_were_queued() {
        let mut queue = up();
        for (kind, text) in [(PublishKind::Message, "a"), (PublishKind::State, "b"), (PublishKind::Message, "c")] {
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
    fn while_the_bus_is_down_only_messages_wait() {
        let mut queue = up();
        queue.push(message("a", 0));
        queue.push(entry(PublishKind::State, "b", 0));
        queue.set_up(false);
        assert!(!queue.push(entry(PublishKind::State, "c", 1)));
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
        assert_eq!(queue.take_dropped(), DroppedPublishes { expired: 1, full: 0 });
        assert_eq!((queue.take_dropped(), queue.depth()), (DroppedPublishes::default(), (1, 4)));
        queue.set_up(true);
        assert_eq!(data(&queue.take(9999)), ["new"], "while the bus is up nothing grows too old");
    }

    #[test]
    fn over_its_bounds_a_message_is_refused_and_a_state_is_not() {
        let mut queue = up();
        (0..MAX_MESSAGES).for_each(|_| assert!(queue.push(message("x", 0))));
        assert!(!queue.has_room(0));
        assert!(!queue.push(message("x", 0)));
        assert_eq!(queue.take_dropped(), DroppedPublishes { expired: 0, full: 1 });
        assert!(queue.push(entry(PublishKind::State, "x", 0)));
        queue.take(0);
        assert!(queue.push(message("x", 0)));
    }

    #[test]
    fn messages_that_the_bus_did_not_accept_are_first_in_the_next_batch() {
        let mut queue = up();
        ["a", "b", "c"].iter().for_each(|text| assert!(queue.push(message(text, 0))));
        let mut batch = queue.take(0);
        batch.push(entry(PublishKind::State, "s", 0));
        queue.push(message("d", 0));
        queue.give_back(batch);
        assert_eq!(data(&queue.take(0)), ["a", "b", "c", "d"]);
    }
}

use std::collections::{HashSet, VecDeque};

use pondsocket_proto::channel::AppendedMessage;
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{UserMessage, kept};

use super::history::Instance;

/// The most messages that wait for the store, and the most bytes of their payloads.
const MAX_MESSAGES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;

/// The messages that wait for the store, in order. Over the bounds broadcasts are refused before they reach it; what a join
/// handler chains is not, because the number of connections bounds it.
#[derive(Debug, Default)]
pub(super) struct AppendQueue {
    entries: VecDeque<QueuedAppend>,
    bytes: usize,
}

/// One message on its way to the store.
#[derive(Debug)]
pub(super) struct QueuedAppend {
    pub(super) key: ChannelKey,
    pub(super) of: Instance,
    pub(super) number: u64,
    pub(super) message: UserMessage,
    /// The time at which it was queued, in milliseconds.
    pub(super) at: u64,
    /// The time of the first attempt.
    pub(super) tried_at: Option<u64>,
    /// `true` if its channel goes on without the store: an attempt that is under way is the last one.
    pub(super) is_given_up: bool,
    /// `true` if the outcome of an earlier attempt is unknown.
    pub(super) is_repeated: bool,
    /// The form of the first attempt: the store recognises a repeated message by a part of its text.
    pub(super) is_short: Option<bool>,
    /// Its place among all that this node sends.
    pub(super) order: u64,
}

impl QueuedAppend {
    pub(super) fn new(key: ChannelKey, serial: u64, message: AppendedMessage, at: u64) -> QueuedAppend {
        let AppendedMessage { number, mut message } = message;
        // The store writes the position in its place.
        message.request_id = kept::PLACEHOLDER.to_owned();
        message.position = kept::PLACEHOLDER.parse().ok();
        let of = Instance { channel: key.channel.clone(), serial };
        let (tried_at, is_given_up, is_repeated, is_short, order) = (None, false, false, None, 0);
        QueuedAppend { key, of, number, message, at, tried_at, is_given_up, is_repeated, is_short, order }
    }

    /// The event of the message.
    #[cfg(all(test, not(pond_loom)))]
    pub(super) fn event(&self) -> &str {
        &self.message.event
    }

    fn bytes(&self) -> usize {
        self.message.payload.as_str().len() + self.message.event.len()
    }
}

impl AppendQueue {
    /// The most messages of one batch.
    pub(super) const BATCH: usize = 128;

    pub(super) fn push(&mut self, entry: QueuedAppend) {
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// Removes the messages of channels, by the serials of their instances.
    pub(super) fn drop_channels(&mut self, serials: &HashSet<u64>) {
        self.entries.retain(|entry| !serials.contains(&entry.of.serial));
        self.bytes = self.entries.iter().map(QueuedAppend::bytes).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The place of the first message.
    pub(super) fn next(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.order)
    }

    /// The time at which the first message was queued. All behind it were queued later.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.at)
    }

    /// The messages that were queued until then.
    pub(super) fn queued_until(&self, time: u64) -> impl Iterator<Item = &QueuedAppend> {
        self.entries.iter().take_while(move |entry| entry.at <= time)
    }

    /// Takes the first message.
    pub(super) fn pop(&mut self) -> Option<QueuedAppend> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// Takes the next batch.
    pub(super) fn take(&mut self) -> Vec<QueuedAppend> {
        std::iter::from_fn(|| self.pop()).take(AppendQueue::BATCH).collect()
    }

    /// Puts messages back, ahead of all others.
    pub(super) fn give_back(&mut self, entries: Vec<QueuedAppend>) {
        for entry in entries.into_iter().rev() {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
    }
}

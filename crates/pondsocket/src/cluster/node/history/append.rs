//! The messages of this node on their way into the store, and the positions on their way back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::AppendedMessage;
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, UserMessage, kept, short};
use tokio::time::sleep;

use super::super::sender::is_passing;
use super::super::{Node, USUAL_SIZE};
use super::host::Instance;
use crate::cluster::{Append, Appended, BusError};
use crate::engine::ids;
use crate::metrics::ClusterEvent;

/// The most messages that wait for the store, and the most bytes of their payloads.
const MAX_MESSAGES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;

/// The most messages of one batch.
const BATCH: usize = 128;

/// The pause after a batch that the store did not take whole.
const PAUSE: Duration = Duration::from_millis(50);

/// The messages that wait for the store, in order. Over the bounds broadcasts are refused before they reach it; what a join
/// handler chains is not, because the number of connections bounds it.
#[derive(Debug, Default)]
pub(super) struct AppendQueue {
    entries: VecDeque<QueuedAppend>,
    bytes: usize,
}

#[derive(Debug)]
struct QueuedAppend {
    key: ChannelKey,
    of: Instance,
    number: u64,
    message: UserMessage,
    /// The time at which it was queued, in milliseconds.
    at: u64,
    /// `true` if the outcome of an earlier attempt is unknown.
    is_repeated: bool,
    /// The form of the first attempt: the store recognises a repeated message by a part of its text.
    is_short: Option<bool>,
}

impl QueuedAppend {
    fn bytes(&self) -> usize {
        self.message.payload.as_str().len() + self.message.event.len()
    }
}

impl AppendQueue {
    pub(super) fn push(&mut self, key: ChannelKey, serial: u64, message: AppendedMessage, at: u64) {
        let AppendedMessage { number, mut message } = message;
        // The store writes the position in its place.
        message.request_id = kept::PLACEHOLDER.to_owned();
        message.position = kept::PLACEHOLDER.parse().ok();
        let of = Instance { channel: key.channel.clone(), serial };
        let entry = QueuedAppend { key, of, number, message, at, is_repeated: false, is_short: None };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    /// Removes the messages of a channel.
    pub(super) fn drop_channel(&mut self, key: &ChannelKey) {
        self.entries.retain(|entry| entry.key != *key);
        self.bytes = self.entries.iter().map(QueuedAppend::bytes).sum();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn take(&mut self) -> Vec<QueuedAppend> {
        let batch: Vec<_> = self.entries.drain(..self.entries.len().min(BATCH)).collect();
        self.bytes -= batch.iter().map(QueuedAppend::bytes).sum::<usize>();
        batch
    }

    /// Puts messages back, ahead of all others.
    fn give_back(&mut self, entries: Vec<QueuedAppend>) {
        for entry in entries.into_iter().rev() {
            self.bytes += entry.bytes();
            self.entries.push_front(entry);
        }
    }
}

/// Appends the messages of this node, one batch after the other, for ever. Meanwhile the next batch grows. One batch at a time
/// keeps the order when messages are appended again.
pub(in super::super) async fn run(node: Arc<Node>) {
    let Some(store) = node.bus.history() else { return };
    loop {
        let mut batch = node.histories.appends.lock().take();
        if batch.is_empty() {
            node.histories.appended.notified().await;
            continue;
        }
        // The node signs no message before it has its number.
        let outcomes = match node.has_identity() {
            true => store.append(batch.iter_mut().map(|entry| node.append_of(entry)).collect()).await,
            false => Vec::new(),
        };
        if node.apply_appended(batch, outcomes) {
            sleep(PAUSE).await;
        }
    }
}

impl Node {
    /// The request to the store.
    fn append_of(&self, entry: &mut QueuedAppend) -> Append {
        let is_short = *entry.is_short.get_or_insert_with(|| self.may_shorten());
        let QueuedAppend { key, of, number, message, is_repeated, .. } = entry;
        let topic = self.topics.channel(key);
        let identity = self.identity();
        let id = message_id(of, *number);
        let mut data = Vec::with_capacity(USUAL_SIZE);
        if !is_short || !short::write(&mut data, &identity.source, &id, key, message) {
            let envelope = Envelope {
                id: format!("{}-{id}", identity.source).into(),
                source: Arc::clone(&identity.source),
                channel: Some(key.clone()),
                timestamp: self.clock.now(),
                body: Body::UserMessage(message.clone()),
                ext: Some(Ext::new(identity.id.clone())),
            };
            envelope.encode(&mut data);
        }
        let id = kept::signature(str::from_utf8(&data).expect("an encoded message is text")).into();
        let (head, tail) = kept::divide(&data).expect("the request id is the placeholder");
        let (head, tail) = (Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail));
        let (messages, ttl) = self.histories.open.lock().bounds(&topic);
        Append { topic, head, tail, id, is_repeated: *is_repeated, epoch: ids::fresh_epoch(), messages, ttl }
    }

    /// Applies the outcomes of a batch. Without outcomes nothing was sent. Returns `true` if messages are to be appended again.
    fn apply_appended(&self, batch: Vec<QueuedAppend>, outcomes: Vec<Appended>) -> bool {
        let (mut again, mut late) = (Vec::new(), Vec::new());
        let mut appended = 0;
        let mut outcomes = outcomes.into_iter();
        for mut entry in batch {
            let position = match outcomes.next() {
                Some(Appended::At(position)) => Some(position),
                Some(Appended::NotSent(error)) if !is_passing(error.kind()) => {
                    warn_refused(&entry.key, &error);
                    None
                }
                outcome => {
                    entry.is_repeated |= matches!(outcome, Some(Appended::Unknown(_)));
                    if self.is_given_up(entry.at) {
                        late.push((entry.key.clone(), entry.of.clone()));
                    }
                    again.push(entry);
                    continue;
                }
            };
            appended += u64::from(position.is_some());
            if let Some(host) = self.host(&entry.key.endpoint)
                && host.place(&entry.of, entry.number, position)
            {
                self.read_soon(&entry.key);
            }
        }
        if appended > 0 {
            self.count(ClusterEvent::HistoryAppended(appended));
        }
        let fails = !again.is_empty();
        self.histories.appends.lock().give_back(again);
        late.dedup_by(|a, b| a.0 == b.0);
        for (key, of) in late {
            self.detach(&key, &of);
            self.read_later(&key);
        }
        fails
    }
}

fn warn_refused(key: &ChannelKey, error: &BusError) {
    let (endpoint, channel) = (&*key.endpoint, key.channel.as_str());
    tracing::warn!(target: "pondsocket::bus", endpoint, channel, %error, "the store refused a message: other nodes do not get it");
}

/// The id of a message among those of its source.
fn message_id(of: &Instance, number: u64) -> String {
    format!("h{:x}.{number:x}", of.serial)
}

/// The number of a message of this instance, by its id.
pub(super) fn number_of(of: &Instance, id: &str) -> Option<u64> {
    let (serial, number) = id.strip_prefix('h')?.split_once('.')?;
    let serial = u64::from_str_radix(serial, 16).ok()?;
    u64::from_str_radix(number, 16).ok().filter(|_| serial == of.serial)
}

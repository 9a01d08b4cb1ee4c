//! The messages of this node on their way into the store, and the positions on their way back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::HistoryRules;
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, kept, short};

use super::super::append_queue::QueuedAppend;
use super::super::sender::{is_passing, with_outcomes};
use super::super::{Node, USUAL_SIZE};
use super::host::Instance;
use crate::cluster::{Append, Appended, BoxFuture, BusError, BusErrorKind, HistoryStore};
use crate::engine::ids;
use crate::metrics::ClusterEvent;

/// The most bytes by which the text of a message is longer in the store than the one for clients, if names are of the usual length.
const ENVELOPE: usize = 512;

/// The messages, bytes and milliseconds of a history that has no rules: as by default.
const WITHOUT_RULES: (usize, usize, u64) = (256, 384 * 1024, 120_000);

/// The least bytes of a text for clients.
const LEAST_TEXT: usize = 64;

impl Node {
    /// Gives a batch to the store.
    pub(in super::super) fn append_batch<'a>(
        &self,
        store: &'a dyn HistoryStore,
        batch: &mut [QueuedAppend],
    ) -> BoxFuture<'a, Vec<Appended>> {
        match self.has_identity() {
            true => store.append(batch.iter_mut().map(|entry| self.append_of(entry)).collect()),
            // The node signs no message before it has its number.
            false => {
                let refused = || Appended::NotSent(BusError::new(BusErrorKind::Closed, "the node has no number yet"));
                Box::pin(std::future::ready(batch.iter().map(|_| refused()).collect()))
            }
        }
    }

    /// The request to the store.
    fn append_of(&self, entry: &mut QueuedAppend) -> Append {
        entry.tried_at.get_or_insert_with(|| self.clock.now());
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
        // A channel that has closed has no rules here any more: then those of other nodes must not lose what they have.
        let rules = self.histories.open.lock().rules(&topic);
        let bounds = |rules: Arc<HistoryRules>| (rules.messages, stored_bytes(&rules), rules.ttl);
        let (messages, bytes, ttl) = rules.map_or(WITHOUT_RULES, bounds);
        let (ttl, epoch) = (Duration::from_millis(ttl), ids::fresh_epoch());
        Append { topic, head, tail, id, is_repeated: *is_repeated, epoch, messages, bytes, ttl }
    }

    /// Applies the outcomes of runs of messages. The silence of the store before `counts_from` does not count.
    pub(in super::super) fn apply_appended(
        &self,
        runs: Vec<(Vec<QueuedAppend>, Vec<Appended>)>,
        counts_from: u64,
    ) -> Applied {
        let (mut again, mut late) = (Vec::new(), HashMap::new());
        let (mut appended, mut fails) = (0, false);
        let outcomes = runs.into_iter().flat_map(|(run, outcomes)| with_outcomes(run, outcomes));
        for (mut entry, outcome) in outcomes {
            let position = match outcome {
                Some(Appended::At(position)) => Some(position),
                Some(Appended::NotSent(error)) if !is_passing(error.kind()) => {
                    warn_refused(&entry.key, &error);
                    None
                }
                outcome => {
                    fails = true;
                    if entry.is_given_up {
                        // Its channel has delivered it.
                        continue;
                    }
                    entry.is_repeated |= !matches!(outcome, Some(Appended::NotSent(_)));
                    // Not since it was queued: the store may have been busy with those ahead of it.
                    if self.is_given_up(entry.tried_at.unwrap_or(entry.at).max(counts_from)) {
                        late.insert(entry.of.serial, (entry.key.clone(), entry.of.clone()));
                    }
                    again.push(entry);
                    continue;
                }
            };
            appended += u64::from(position.is_some());
            if let Some(host) = self.host(&entry.key.endpoint)
                && host.place(&entry.of, entry.number, position)
            {
                self.read_if_stuck(&entry.key);
            }
        }
        if appended > 0 {
            self.count(ClusterEvent::HistoryAppended(appended));
        }
        self.outgoing.lock().appends.give_back(again);
        self.give_up_channels(late);
        Applied { fails, answers: appended > 0 }
    }

    /// Gives up the messages that were queued until then, because the store has answered nothing since: their channels go on without
    /// it, with all that waits for it, `under_way` or not.
    pub(in super::super) fn give_up_until<'a>(&self, time: u64, under_way: impl Iterator<Item = &'a mut QueuedAppend>) {
        let under_way: Vec<_> = under_way.collect();
        let mut silent = HashMap::new();
        let mut note = |entry: &QueuedAppend| {
            silent.entry(entry.of.serial).or_insert_with(|| (entry.key.clone(), entry.of.clone()));
        };
        under_way.iter().filter(|entry| entry.at <= time && !entry.is_given_up).for_each(|entry| note(entry));
        self.outgoing.lock().appends.queued_until(time).for_each(note);
        for entry in under_way {
            entry.is_given_up |= silent.contains_key(&entry.of.serial);
        }
        self.give_up_channels(silent);
    }

    /// Lets channels go on without the store, by the serials of their instances.
    fn give_up_channels(&self, channels: HashMap<u64, (ChannelKey, Instance)>) {
        if channels.is_empty() {
            return;
        }
        // At once: they may be as many as the messages.
        self.outgoing.lock().appends.drop_channels(&channels.keys().copied().collect());
        for (key, of) in channels.into_values() {
            self.detach(&key, &of);
            self.read_later(&key);
        }
    }
}

/// The result of an attempt to append messages.
pub(in super::super) struct Applied {
    /// `true` if the store has not taken some of the messages.
    pub(in super::super) fails: bool,
    /// `true` if it has taken some.
    pub(in super::super) answers: bool,
}

fn warn_refused(key: &ChannelKey, error: &BusError) {
    let (endpoint, channel) = (&*key.endpoint, key.channel.as_str());
    tracing::warn!(target: "pondsocket::bus", endpoint, channel, %error, "the store refused a message: other nodes do not get it");
}

/// The bytes that the store is to keep, so that it has all messages that the nodes keep. Their texts there are longer than those for
/// clients, by the parts that only nodes read.
fn stored_bytes(rules: &HistoryRules) -> usize {
    let messages = rules.messages.min(rules.bytes / LEAST_TEXT);
    rules.bytes.saturating_add(messages.saturating_mul(ENVELOPE))
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

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    fn stored(messages: usize, bytes: usize) -> usize {
        let (ttl, replay_messages, replay_bytes) = (1, 1, 1);
        let rules =
            HistoryRules { messages, bytes, ttl, replay_messages, replay_bytes, stamp: None, replies_overtake: false };
        stored_bytes(&rules)
    }

    #[test]
    fn the_store_keeps_what_the_nodes_keep_and_a_multiple_of_it_at_most() {
        assert_eq!(stored(256, 256 * 1024), WITHOUT_RULES.1);
        assert_eq!(stored(2, 1 << 30), (1 << 30) + 2 * 512);
        assert_eq!(stored(usize::MAX, 64_000), 9 * 64_000);
        assert_eq!(stored(usize::MAX, usize::MAX), usize::MAX);
    }
}

//! The messages of this node on their way into the store, and the positions on their way back.

use std::sync::Arc;

use bytes::Bytes;
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, kept, short};

use super::super::append_queue::QueuedAppend;
use super::super::sender::is_passing;
use super::super::{Node, USUAL_SIZE};
use super::host::Instance;
use crate::cluster::{Append, Appended, BoxFuture, BusError, HistoryStore};
use crate::engine::ids;
use crate::metrics::ClusterEvent;

impl Node {
    /// Gives a batch to the store. Without outcomes nothing was sent.
    pub(in super::super) fn append_batch<'a>(
        &self,
        store: &'a dyn HistoryStore,
        batch: &mut [QueuedAppend],
    ) -> BoxFuture<'a, Vec<Appended>> {
        match self.has_identity() {
            true => store.append(batch.iter_mut().map(|entry| self.append_of(entry)).collect()),
            // The node signs no message before it has its number.
            false => Box::pin(std::future::ready(Vec::new())),
        }
    }

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

    /// Applies the outcomes of runs of messages. Returns `true` if messages are to be appended again.
    pub(in super::super) fn apply_appended(&self, runs: Vec<(Vec<QueuedAppend>, Vec<Appended>)>) -> bool {
        let (mut again, mut late) = (Vec::new(), Vec::new());
        let mut appended = 0;
        let outcomes = runs.into_iter().flat_map(|(run, outcomes)| {
            run.into_iter().zip(outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None)))
        });
        for (mut entry, outcome) in outcomes {
            let position = match outcome {
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
        self.outgoing.lock().appends.give_back(again);
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

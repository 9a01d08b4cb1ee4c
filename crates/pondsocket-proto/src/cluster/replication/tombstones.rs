use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::record::{At, Record};
use crate::cluster::ChannelKey;

/// The channels that closed here lately, and the last known state of other nodes in them, so that nothing older comes back
/// when a channel opens again.
#[derive(Debug)]
pub(super) struct Tombstones {
    channels: BTreeMap<ChannelKey, Tombstone>,
    /// In the order in which they closed; channels that have opened again since are still in it.
    order: VecDeque<(u64, ChannelKey)>,
    time: u64,
    most: usize,
}

#[derive(Debug)]
struct Tombstone {
    since: u64,
    nodes: Vec<(Arc<str>, At)>,
}

impl Tombstones {
    pub(super) fn new(time: u64, most: usize) -> Tombstones {
        Tombstones { channels: BTreeMap::new(), order: VecDeque::new(), time, most }
    }

    /// Remembers a channel that closes.
    pub(super) fn keep(&mut self, channel: ChannelKey, records: BTreeMap<Arc<str>, Record>, now: u64) {
        let nodes = records.into_iter().map(|(name, record)| (name, record.at())).collect();
        self.channels.insert(channel.clone(), Tombstone { since: now, nodes });
        self.order.push_back((now, channel));
        self.expire(now);
    }

    /// Takes back what is remembered of a channel that opens.
    pub(super) fn recall(&mut self, channel: &ChannelKey) -> BTreeMap<Arc<str>, Record> {
        let nodes = self.channels.remove(channel).map_or_else(Vec::new, |tombstone| tombstone.nodes);
        nodes.into_iter().map(|(name, at)| (name, Record::remembered(at))).collect()
    }

    /// All channels that are remembered.
    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelKey> {
        self.channels.keys()
    }

    /// Drops the channels that are too old, or too many.
    pub(super) fn expire(&mut self, now: u64) {
        let (time, most) = (self.time, self.most);
        let is_over = |since: u64, len: usize| len > most || now >= since + time;
        while let Some((since, _)) = self.order.front().filter(|(since, _)| is_over(*since, self.order.len())) {
            let since = *since;
            let (_, channel) = self.order.pop_front().expect("just looked at");
            if self.channels.get(&channel).is_some_and(|tombstone| tombstone.since == since) {
                self.channels.remove(&channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChannelName;

    fn key(name: &str) -> ChannelKey {
        ChannelKey { endpoint: "e".into(), channel: ChannelName::new(name, 100).expect("valid") }
    }

    fn records(version: u64) -> BTreeMap<Arc<str>, Record> {
        [("a".into(), Record::remembered(At { incarnation: 1, version }))].into()
    }

    #[test]
    fn what_was_known_of_a_channel_is_there_when_it_opens_again_and_only_then() {
        let mut tombstones = Tombstones::new(600, 8);
        tombstones.keep(key("x"), records(5), 0);
        assert_eq!(tombstones.recall(&key("y")), BTreeMap::new());
        assert_eq!(tombstones.recall(&key("x")), records(5));
        assert_eq!(tombstones.recall(&key("x")), BTreeMap::new());
    }

    #[test]
    fn it_is_not_kept_for_ever_but_from_the_last_time_on() {
        let mut tombstones = Tombstones::new(600, 8);
        tombstones.keep(key("x"), records(5), 0);
        tombstones.recall(&key("x"));
        tombstones.keep(key("x"), records(6), 100);
        tombstones.expire(650);
        assert_eq!(tombstones.recall(&key("x")), records(6));
        tombstones.keep(key("x"), records(7), 700);
        tombstones.expire(1300);
        assert_eq!(tombstones.recall(&key("x")), BTreeMap::new());
    }

    #[test]
    fn of_too_many_channels_the_first_is_dropped() {
        let mut tombstones = Tombstones::new(600, 1);
        tombstones.keep(key("x"), records(5), 0);
        tombstones.keep(key("y"), records(6), 1);
        assert_eq!(tombstones.recall(&key("x")), BTreeMap::new());
        assert_eq!(tombstones.recall(&key("y")), records(6));
    }
}

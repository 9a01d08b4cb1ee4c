use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::record::{At, Record};
use crate::cluster::ChannelKey;

/// The channels that closed here recently, with the last known position of other nodes in each, so that no late message
/// restores users when a channel opens again.
#[derive(Debug)]
pub(super) struct Tombstones {
    channels: BTreeMap<ChannelKey, Tombstone>,
    /// In the order in which they closed. Channels that have opened again since are still in it: removing them would
    /// take a search, and `since` shows that an entry is outdated.
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

    /// Takes what is remembered of a channel that opens.
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
            let (_, channel) = self.order.pop_front().expect("the loop condition has found it");
            // The channel may have opened and closed again since: then a later entry of `order` is its own.
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
    fn the_known_versions_of_a_channel_are_returned_once_when_it_opens_again() {
        let mut tombstones = Tombstones::new(600, 8);
        tombstones.keep(key("x"), records(5), 0);
        assert_eq!(tombstones.recall(&key("y")), BTreeMap::new());
        assert_eq!(tombstones.recall(&key("x")), records(5));
        assert_eq!(tombstones.recall(&key("x")), BTreeMap::new());
    }

    #[test]
    fn the_time_of_a_tombstone_counts_from_the_last_close() {
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
    fn over_the_limit_the_oldest_tombstone_is_dropped() {
        let mut tombstones = Tombstones::new(600, 1);
        tombstones.keep(key("x"), records(5), 0);
        tombstones.keep(key("y"), records(6), 1);
        assert_eq!(tombstones.recall(&key("x")), BTreeMap::new());
        assert_eq!(tombstones.recall(&key("y")), records(6));
    }
}

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::ChannelKey;
use super::record::{At, Record};

/// The channels that closed here lately, and how far other nodes had got there, so that nothing older comes back when one
/// opens again.
#[derive(Debug)]
pub(super) struct Memory {
    channels: BTreeMap<ChannelKey, Marks>,
    /// In the order in which they closed; channels that have opened again since are still in it.
    order: VecDeque<(u64, ChannelKey)>,
    time: u64,
    most: usize,
}

#[derive(Debug)]
struct Marks {
    since: u64,
    nodes: Vec<(Arc<str>, At)>,
}

impl Memory {
    pub(super) fn new(time: u64, most: usize) -> Memory {
        Memory { channels: BTreeMap::new(), order: VecDeque::new(), time, most }
    }

    /// A channel closes.
    pub(super) fn keep(&mut self, channel: ChannelKey, records: BTreeMap<Arc<str>, Record>, now: u64) {
        let nodes = records.into_iter().map(|(name, record)| (name, record.at())).collect();
        self.channels.insert(channel.clone(), Marks { since: now, nodes });
        self.order.push_back((now, channel));
        self.age(now);
    }

    /// A channel opens.
    pub(super) fn recall(&mut self, channel: &ChannelKey) -> BTreeMap<Arc<str>, Record> {
        let nodes = self.channels.remove(channel).map_or_else(Vec::new, |marks| marks.nodes);
        nodes.into_iter().map(|(name, at)| (name, Record::remembered(at))).collect()
    }

    /// All channels that are remembered.
    pub(super) fn channels(&self) -> impl Iterator<Item = &ChannelKey> {
        self.channels.keys()
    }

    /// Drops what is too old, or too much.
    pub(super) fn age(&mut self, now: u64) {
        let (time, most) = (self.time, self.most);
        let is_over = |since: u64, len: usize| len > most || now >= since + time;
        while let Some((since, _)) = self.order.front().filter(|(since, _)| is_over(*since, self.order.len())) {
            let since = *since;
            let (_, channel) = self.order.pop_front().expect("just looked at");
            if self.channels.get(&channel).is_some_and(|marks| marks.since == since) {
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
        let mut memory = Memory::new(600, 8);
        memory.keep(key("x"), records(5), 0);
        assert_eq!(memory.recall(&key("y")), BTreeMap::new());
        assert_eq!(memory.recall(&key("x")), records(5));
        assert_eq!(memory.recall(&key("x")), BTreeMap::new());
    }

    #[test]
    fn it_is_not_kept_for_ever_but_from_the_last_time_on() {
        let mut memory = Memory::new(600, 8);
        memory.keep(key("x"), records(5), 0);
        memory.recall(&key("x"));
        memory.keep(key("x"), records(6), 100);
        memory.age(650);
        assert_eq!(memory.recall(&key("x")), records(6));
        memory.keep(key("x"), records(7), 700);
        memory.age(1300);
        assert_eq!(memory.recall(&key("x")), BTreeMap::new());
    }

    #[test]
    fn of_too_many_channels_the_first_is_dropped() {
        let mut memory = Memory::new(600, 1);
        memory.keep(key("x"), records(5), 0);
        memory.keep(key("y"), records(6), 1);
        assert_eq!(memory.recall(&key("x")), BTreeMap::new());
        assert_eq!(memory.recall(&key("y")), records(6));
    }
}

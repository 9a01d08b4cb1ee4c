//! Incarnations that claim a larger number than one that holds a lease (docs/cluster.md, Incarnations of one name).
//! They may be genuine, stray or forged. The table of leases is queried; until it lists them, their messages change no
//! users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::ChannelKey;

/// The most channels that are remembered for one name, since the sender may be forged and name any number of them. With
/// more, all channels count as concerned.
const MAX_CHANNELS: usize = 64;

/// The channels about which incarnations have published something before they were valid.
#[derive(Debug, Default)]
pub(super) struct Contested {
    /// By the name of a node that is known, so that there are no more entries than such nodes.
    missed: BTreeMap<Arc<str>, MissedChannels>,
    /// The time of the last query of the table of leases.
    asked: Option<u64>,
}

/// The channels in which messages of an incarnation were not applied.
#[derive(Debug, Default, Eq, PartialEq)]
pub(in crate::cluster) struct MissedChannels {
    pub(in crate::cluster) channels: BTreeSet<ChannelKey>,
    /// True if there were more channels than are remembered: then all may be concerned.
    pub(in crate::cluster) more: bool,
}

impl Contested {
    /// Begins to remember the channels of messages of this name.
    pub(super) fn begin(&mut self, name: Arc<str>) {
        self.missed.entry(name).or_default();
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.missed.contains_key(name)
    }

    /// Notes a message about these channels, of an incarnation of this name that is not valid.
    pub(super) fn note(&mut self, name: &str, channels: impl IntoIterator<Item = ChannelKey>) {
        let Some(missed) = self.missed.get_mut(name) else { return };
        missed.channels.extend(channels);
        missed.more |= missed.channels.len() > MAX_CHANNELS;
        while missed.channels.len() > MAX_CHANNELS {
            missed.channels.pop_last();
        }
    }

    /// Takes what was remembered for this name, and remembers no more.
    pub(super) fn take(&mut self, name: &str) -> Option<MissedChannels> {
        self.missed.remove(name)
    }

    /// Returns whether the table of leases may be queried again: once in a beat. Otherwise a flood of forged messages
    /// would become a flood of renewals at the broker.
    pub(super) fn may_ask(&mut self, now: u64, beat: u64) -> bool {
        let may = self.asked.is_none_or(|asked| now >= asked + beat);
        if may {
            self.asked = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChannelName;

    fn key(number: usize) -> ChannelKey {
        ChannelKey { endpoint: "e".into(), channel: ChannelName::new(&format!("/{number:03}"), 9).expect("valid") }
    }

    #[test]
    fn channels_are_remembered_for_contested_names_only() {
        let mut contested = Contested::default();
        contested.note("a", [key(1)]);
        assert_eq!(contested.take("a"), None);
        contested.begin("a".into());
        contested.note("a", [key(1), key(2)]);
        assert!(contested.contains("a") && !contested.contains("b"));
        assert_eq!(contested.take("a"), Some(MissedChannels { channels: [key(1), key(2)].into(), more: false }));
        assert!(!contested.contains("a"));
    }

    #[test]
    fn more_channels_than_the_limit_are_noted_as_more() {
        let mut contested = Contested::default();
        contested.begin("a".into());
        contested.note("a", (0..100).map(key));
        let missed = contested.take("a").expect("contested");
        assert_eq!((missed.channels.len(), missed.more), (MAX_CHANNELS, true));
    }

    #[test]
    fn the_table_is_queried_once_in_a_beat() {
        let mut contested = Contested::default();
        assert_eq!([0, 999, 1000, 1500].map(|now| contested.may_ask(now, 1000)), [true, false, true, false]);
    }
}

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::replication::digest;

/// The ids of recently received messages. A bus may deliver a message twice (docs/cluster-bus.md), and a message may be
/// sent both to a channel's topic and to an inbox.
///
/// Sources are kept in two generations: when the younger one is full it becomes the older one, and the previous older
/// one is dropped. So a source is dropped only after messages of many others, without a time or a list of recent use
/// for each.
#[derive(Debug)]
pub(super) struct Recent {
    most_messages: usize,
    most_sources: usize,
    young: BTreeMap<Arc<str>, Window>,
    old: BTreeMap<Arc<str>, Window>,
}

/// The last messages of one source. Ids are kept as digests of 64 bits, because a foreign id may be 256 bytes long.
#[derive(Debug, Default)]
struct Window {
    known: HashSet<u64, BuildHasherDefault<DigestHasher>>,
    /// In the order of arrival, to drop the oldest.
    order: VecDeque<u64>,
}

/// The hasher of digests: they are evenly distributed already. A sender that chooses ids with colliding digests slows
/// down the look-ups in its own window only, and the window is small.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used for digests, and right for anything else.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Recent {
    pub(super) fn new(most_messages: usize, most_sources: usize) -> Recent {
        Recent { most_messages, most_sources, young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// Remembers a message. Returns whether it is new.
    pub(super) fn is_new(&mut self, source: &str, id: &str) -> bool {
        let most = self.most_messages;
        self.window(source).is_new(digest::of_text(id), most)
    }

    fn window(&mut self, source: &str) -> &mut Window {
        if !self.young.contains_key(source) {
            let window = self.old.remove(source).unwrap_or_default();
            if self.young.len() >= self.most_sources {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(source.into(), window);
        }
        self.young.get_mut(source).expect("present, or inserted just now")
    }
}

impl Window {
    fn is_new(&mut self, id: u64, most: usize) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > most {
            let oldest = self.order.pop_front().expect("not empty: an id was pushed just now");
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once_for_each_source() {
        let mut recent = Recent::new(2, 2);
        let (a, b) = ("a", "b");
        assert!(recent.is_new(a, "1"));
        assert!(!recent.is_new(a, "1"));
        assert!(recent.is_new(b, "1"));
    }

    #[test]
    fn of_each_source_the_last_messages_are_remembered() {
        let mut recent = Recent::new(2, 2);
        let a = "a";
        assert!(["1", "2", "3"].iter().all(|id| recent.is_new(a, id)));
        assert!(!recent.is_new(a, "2"));
        assert!(recent.is_new(a, "1"));
    }

    #[test]
    fn a_source_is_dropped_after_messages_of_many_others() {
        let mut recent = Recent::new(2, 2);
        let sources = ["a", "b", "c", "d", "e"];
        for source in &sources[..4] {
            assert!(recent.is_new(source, "1"));
        }
        assert!(!recent.is_new(sources[0], "1"), "it is in the older generation");
        assert!(recent.is_new(sources[4], "1"));
        assert!(recent.is_new(sources[1], "1"));
    }
}

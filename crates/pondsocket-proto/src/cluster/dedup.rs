use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use super::replication::digest;

/// The messages that were received lately, so that one that comes twice is taken in once.
///
/// Sources are kept in two generations: when the younger one is full it becomes the older one, and what was that is
/// dropped. So a source is forgotten only when many others have spoken since it did.
#[derive(Debug)]
pub(super) struct Recent {
    most_messages: usize,
    most_sources: usize,
    young: BTreeMap<Arc<str>, Window>,
    old: BTreeMap<Arc<str>, Window>,
}

/// The last messages of one source, by the digests of their ids.
#[derive(Debug, Default)]
struct Window {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    pub(super) fn new(most_messages: usize, most_sources: usize) -> Recent {
        Recent { most_messages, most_sources, young: BTreeMap::new(), old: BTreeMap::new() }
    }

    /// Remembers a message. Returns whether it is new.
    pub(super) fn is_new(&mut self, source: &Arc<str>, id: &str) -> bool {
        let most = self.most_messages;
        self.window(source).is_new(digest::of_text(id), most)
    }

    fn window(&mut self, source: &Arc<str>) -> &mut Window {
        if !self.young.contains_key(source) {
            let window = self.old.remove(source).unwrap_or_default();
            if self.young.len() >= self.most_sources {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(source.clone(), window);
        }
        self.young.get_mut(source).expect("just put there, if it was not")
    }
}

impl Window {
    fn is_new(&mut self, id: u64, most: usize) -> bool {
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > most {
            let oldest = self.order.pop_front().expect("longer than nothing");
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
        let (a, b) = ("a".into(), "b".into());
        assert!(recent.is_new(&a, "1"));
        assert!(!recent.is_new(&a, "1"));
        assert!(recent.is_new(&b, "1"));
    }

    #[test]
    fn of_each_source_the_last_messages_are_remembered() {
        let mut recent = Recent::new(2, 2);
        let a = "a".into();
        assert!(["1", "2", "3"].iter().all(|id| recent.is_new(&a, id)));
        assert!(!recent.is_new(&a, "2"));
        assert!(recent.is_new(&a, "1"));
    }

    #[test]
    fn a_source_is_forgotten_when_many_others_have_spoken_since() {
        let mut recent = Recent::new(2, 2);
        let sources: Vec<Arc<str>> = ["a", "b", "c", "d", "e"].into_iter().map(Arc::from).collect();
        for source in &sources[..4] {
            assert!(recent.is_new(source, "1"));
        }
        assert!(!recent.is_new(&sources[0], "1"), "it is in the older generation");
        assert!(recent.is_new(&sources[4], "1"));
        assert!(recent.is_new(&sources[1], "1"));
    }
}

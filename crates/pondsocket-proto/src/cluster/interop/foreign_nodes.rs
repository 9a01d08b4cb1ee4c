use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The live foreign nodes, by the ids with which they sign, with the time of the last message of each.
#[derive(Debug)]
pub(super) struct ForeignNodes {
    heard: BTreeMap<Arc<str>, u64>,
    lifetime: u64,
    most: usize,
}

impl ForeignNodes {
    pub(super) fn new(lifetime: u64, most: usize) -> ForeignNodes {
        ForeignNodes { heard: BTreeMap::new(), lifetime, most }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// Notes a message of a node. If there are too many nodes, returns the one that has been silent for longest, which
    /// counts as dead.
    pub(super) fn heard(&mut self, source: &Arc<str>, now: u64) -> Option<Arc<str>> {
        if let Some(heard) = self.heard.get_mut(source) {
            *heard = now;
            return None;
        }
        let is_full = self.heard.len() >= self.most;
        let dead = if is_full { self.most_silent() } else { None };
        if let Some(dead) = &dead {
            self.heard.remove(dead);
        }
        self.heard.insert(source.clone(), now);
        dead
    }

    fn most_silent(&self) -> Option<Arc<str>> {
        self.heard.iter().min_by_key(|(_, heard)| **heard).map(|(source, _)| source.clone())
    }

    /// Removes and returns the nodes that have been silent for too long.
    pub(super) fn expire(&mut self, now: u64) -> BTreeSet<Arc<str>> {
        let is_dead = |heard: u64| now >= heard + self.lifetime;
        let dead: BTreeSet<_> =
            self.heard.iter().filter(|(_, at)| is_dead(**at)).map(|(name, _)| name.clone()).collect();
        self.heard.retain(|source, _| !dead.contains(source));
        dead
    }

    /// Restarts the measurement of the silence of all nodes: their messages could not arrive before.
    pub(super) fn suspend_detection(&mut self, now: u64) {
        self.heard.values_mut().for_each(|heard| *heard = now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Arc<str> {
        name.into()
    }

    fn dead(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| node(name)).collect()
    }

    #[test]
    fn a_silent_node_is_dead_and_over_the_limit_the_longest_silent_one() {
        let mut nodes = ForeignNodes::new(90, 2);
        assert_eq!(nodes.heard(&node("a"), 0), None);
        assert_eq!(nodes.heard(&node("b"), 1), None);
        assert_eq!(nodes.heard(&node("a"), 2), None);
        assert_eq!(nodes.heard(&node("c"), 3), Some(node("b")));
        assert_eq!(nodes.expire(91), dead(&[]));
        assert_eq!(nodes.expire(92), dead(&["a"]));
        nodes.suspend_detection(92);
        assert_eq!(nodes.expire(100), dead(&[]));
        assert!(!nodes.is_empty());
    }
}

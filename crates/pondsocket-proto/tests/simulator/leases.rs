//! The table of leases that Redis keeps, by its own clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondsocket_proto::cluster::{Lease, NodeId};

/// How long a lease runs.
pub(crate) const LIFETIME: u64 = 4000;

/// Who beat when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    beats: BTreeMap<NodeId, u64>,
    /// The last life of each name.
    lives: BTreeMap<Arc<str>, u64>,
}

impl Leases {
    /// Gives the next life of a name its number, and a lease, as the script does it in one step.
    pub(crate) fn begin(&mut self, name: &Arc<str>, now: u64) -> NodeId {
        let held = self.beats.keys().filter(|id| id.name == *name).map(|id| id.incarnation);
        let last = held.chain(self.lives.get(name).copied()).max();
        let incarnation = last.map_or(0, |last| last + 1).max(super::node::EPOCH + now);
        self.lives.insert(name.clone(), incarnation);
        let id = NodeId { name: name.clone(), incarnation };
        self.beats.insert(id.clone(), now);
        id
    }

    /// One beat, as the script does it in one step. `first` is whether this life has never beaten before.
    pub(crate) fn beat(&mut self, me: &NodeId, first: bool, now: u64) -> Lease {
        let runs = |beat: u64| now.saturating_sub(beat) <= LIFETIME;
        let was_expired = !first && !self.beats.get(me).is_some_and(|beat| runs(*beat));
        self.beats.insert(me.clone(), now);
        let last = self.lives.entry(me.name.clone()).or_default();
        *last = me.incarnation.max(*last);
        let expired: Vec<_> = self.beats.iter().filter(|(_, beat)| !runs(**beat)).map(|(id, _)| id.clone()).collect();
        self.beats.retain(|id, _| !expired.contains(id));
        Lease { alive: self.beats.keys().cloned().collect(), expired, was_expired }
    }

    pub(crate) fn bye(&mut self, me: &NodeId) {
        self.beats.remove(me);
    }

    pub(crate) fn clear(&mut self) {
        *self = Leases::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_who_has_expired_and_the_others_that_it_is_not_there() {
        let id = |name: &str| NodeId { name: name.into(), incarnation: 1 };
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let mut leases = Leases::default();
        leases.beat(&a, true, 0);
        leases.beat(&b, true, 1000);
        assert_eq!(leases.beat(&c, true, 4000).alive, [a.clone(), b.clone(), c.clone()]);
        let told = leases.beat(&b, false, 4500);
        assert_eq!((told.expired, told.alive, told.was_expired), (vec![a.clone()], vec![b.clone(), c.clone()], false));
        assert!(leases.beat(&c, false, 4501).expired.is_empty());
        assert!(leases.beat(&a, false, 5000).was_expired);
        leases.clear();
        assert!(leases.beat(&b, false, 5001).was_expired);
        leases.bye(&b);
        assert!(!leases.beat(&b, true, 5002).was_expired);
    }
}

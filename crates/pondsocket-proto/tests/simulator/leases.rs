//! The table of leases that Redis keeps, by its own clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondsocket_proto::cluster::{Lease, NodeId};

/// The length of a lease.
pub(crate) const LIFETIME: u64 = 4000;

/// The table of leases: the time of each node's last renewal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    renewals: BTreeMap<NodeId, u64>,
    /// The last incarnation of each name.
    incarnations: BTreeMap<Arc<str>, u64>,
}

impl Leases {
    /// Numbers the next incarnation of a name and gives it a lease, in one step as the script does.
    pub(crate) fn begin(&mut self, name: &Arc<str>, now: u64) -> NodeId {
        let held = self.renewals.keys().filter(|id| id.name == *name).map(|id| id.incarnation);
        let last = held.chain(self.incarnations.get(name).copied()).max();
        let incarnation = last.map_or(0, |last| last + 1).max(super::node::EPOCH + now);
        self.incarnations.insert(name.clone(), incarnation);
        let id = NodeId { name: name.clone(), incarnation };
        self.renewals.insert(id.clone(), now);
        id
    }

    /// Renews a lease, in one step as the script does. `first` is whether this incarnation has never renewed it before.
    pub(crate) fn renew(&mut self, me: &NodeId, first: bool, now: u64) -> Lease {
        let runs = |beat: u64| now.saturating_sub(beat) <= LIFETIME;
        let was_expired = !first && !self.renewals.get(me).is_some_and(|renewed| runs(*renewed));
        self.renewals.insert(me.clone(), now);
        let last = self.incarnations.entry(me.name.clone()).or_default();
        *last = me.incarnation.max(*last);
        let expired: Vec<_> =
            self.renewals.iter().filter(|(_, renewed)| !runs(**renewed)).map(|(id, _)| id.clone()).collect();
        self.renewals.retain(|id, _| !expired.contains(id));
        Lease { alive: self.renewals.keys().cloned().collect(), expired, was_expired }
    }

    pub(crate) fn release(&mut self, me: &NodeId) {
        self.renewals.remove(me);
    }

    pub(crate) fn clear(&mut self) {
        *self = Leases::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_lease_is_reported_to_one_node_and_missing_for_the_others() {
        let id = |name: &str| NodeId { name: name.into(), incarnation: 1 };
        let (a, b, c) = (id("a"), id("b"), id("c"));
        let mut leases = Leases::default();
        leases.renew(&a, true, 0);
        leases.renew(&b, true, 1000);
        assert_eq!(leases.renew(&c, true, 4000).alive, [a.clone(), b.clone(), c.clone()]);
        let told = leases.renew(&b, false, 4500);
        assert_eq!((told.expired, told.alive, told.was_expired), (vec![a.clone()], vec![b.clone(), c.clone()], false));
        assert!(leases.renew(&c, false, 4501).expired.is_empty());
        assert!(leases.renew(&a, false, 5000).was_expired);
        leases.clear();
        assert!(leases.renew(&b, false, 5001).was_expired);
        leases.release(&b);
        assert!(!leases.renew(&b, true, 5002).was_expired);
    }
}

//! Other nodes that run under the name of this one, as after a copy of a deployment. Every other node takes the youngest
//! for the one that lives, so the users of the rest are not seen. This node can only report it.

use std::collections::BTreeSet;

use crate::cluster::NodeId;

/// The number of lives that are reported at most. More of them say nothing new.
const MOST: usize = 64;

/// The lives of this node's name that were reported.
#[derive(Debug, Default)]
pub(super) struct NameConflicts {
    known: BTreeSet<u64>,
    /// The time before which an older life may just have ended: its messages may be on their way, and its lease may run.
    patient_until: u64,
}

impl NameConflicts {
    /// Notes that this life begins.
    pub(super) fn begin(&mut self, now: u64, lifetime: u64) {
        self.patient_until = now + 2 * lifetime;
    }

    /// Notes a life that was heard, or that holds a lease. Returns whether it is to be reported: once, if it has the name of
    /// this node and lives beside it.
    pub(super) fn is_news(&mut self, me: &NodeId, other: &NodeId, now: u64) -> bool {
        if other.name != me.name || other == me {
            return false;
        }
        let is_alive = other.incarnation > me.incarnation || now >= self.patient_until;
        is_alive && self.known.len() < MOST && self.known.insert(other.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(incarnation: u64) -> NodeId {
        NodeId { name: "a".into(), incarnation }
    }

    #[test]
    fn a_younger_life_is_told_of_at_once_and_an_older_one_if_it_goes_on() {
        let (mut conflicts, me) = (NameConflicts::default(), life(5));
        conflicts.begin(100, 10);
        assert!(!conflicts.is_news(&me, &life(4), 119), "it may just have ended");
        assert!(conflicts.is_news(&me, &life(6), 100));
        assert!(!conflicts.is_news(&me, &life(6), 200), "once is enough");
        assert!(conflicts.is_news(&me, &life(7), 200), "this is another one");
        assert!(conflicts.is_news(&me, &life(4), 120));
    }

    #[test]
    fn this_life_and_other_names_are_no_conflict() {
        let (mut conflicts, me) = (NameConflicts::default(), life(5));
        assert!(!conflicts.is_news(&me, &me, 0));
        assert!(!conflicts.is_news(&me, &NodeId { name: "b".into(), incarnation: 6 }, 0));
    }

    #[test]
    fn so_many_are_told_of() {
        let (mut conflicts, me) = (NameConflicts::default(), life(0));
        assert_eq!((1..1000).filter(|n| conflicts.is_news(&me, &life(*n), 0)).count(), MOST);
    }
}

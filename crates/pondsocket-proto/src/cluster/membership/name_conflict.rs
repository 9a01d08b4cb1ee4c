//! Other nodes that run under the name of this one, as after a deployment was copied. Every other node takes the latest
//! incarnation for the valid one and shows its users only. This node cannot resolve the conflict; it reports it.

use std::collections::BTreeSet;

use crate::cluster::NodeId;

/// The most incarnations that are reported. Forged messages could otherwise grow the set, and the log, without end.
const MAX_REPORTED: usize = 64;

/// The incarnations of this node's name that were reported.
#[derive(Debug, Default)]
pub(super) struct NameConflicts {
    known: BTreeSet<u64>,
    /// The time before which an earlier incarnation is not reported: it may just have ended, with messages still in
    /// flight and a lease that has not expired.
    patient_until: u64,
}

impl NameConflicts {
    /// Notes that this incarnation starts.
    pub(super) fn begin(&mut self, now: u64, lifetime: u64) {
        self.patient_until = now + 2 * lifetime;
    }

    /// Notes an incarnation that has sent a message or holds a lease. Returns whether it is to be reported: once, if it
    /// has the name of this node and runs at the same time.
    pub(super) fn is_news(&mut self, me: &NodeId, other: &NodeId, now: u64) -> bool {
        if other.name != me.name || other == me {
            return false;
        }
        // A later incarnation was started after this one, so it cannot be the remains of a restart.
        let is_alive = other.incarnation > me.incarnation || now >= self.patient_until;
        is_alive && self.known.len() < MAX_REPORTED && self.known.insert(other.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(incarnation: u64) -> NodeId {
        NodeId { name: "a".into(), incarnation }
    }

    #[test]
    fn a_later_incarnation_is_reported_at_once_and_an_earlier_one_if_it_goes_on() {
        let (mut conflicts, me) = (NameConflicts::default(), id(5));
        conflicts.begin(100, 10);
        assert!(!conflicts.is_news(&me, &id(4), 119), "it may just have ended");
        assert!(conflicts.is_news(&me, &id(6), 100));
        assert!(!conflicts.is_news(&me, &id(6), 200), "once is enough");
        assert!(conflicts.is_news(&me, &id(7), 200), "this is another one");
        assert!(conflicts.is_news(&me, &id(4), 120));
    }

    #[test]
    fn this_incarnation_and_other_names_are_no_conflict() {
        let (mut conflicts, me) = (NameConflicts::default(), id(5));
        assert!(!conflicts.is_news(&me, &me, 0));
        assert!(!conflicts.is_news(&me, &NodeId { name: "b".into(), incarnation: 6 }, 0));
    }

    #[test]
    fn reports_are_limited() {
        let (mut conflicts, me) = (NameConflicts::default(), id(0));
        assert_eq!((1..1000).filter(|n| conflicts.is_news(&me, &id(*n), 0)).count(), MAX_REPORTED);
    }
}

//! The nodes of our kind that this node considers alive (docs/cluster.md, Liveness). This decides whose users are
//! shown. It is never replicated, so that a wrong decision of one node cannot spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::known_nodes::{KnownNode, KnownNodes, NodeState};
use super::transition::NodeTransition;
use crate::cluster::{Lease, NodeId, Settings};

/// The known nodes of our kind except this one, with the state of each.
#[derive(Debug)]
pub(super) struct Liveness {
    me: Arc<str>,
    nodes: KnownNodes,
    /// The time of the last answer of the table of leases. `None` means that there is no table: then silence decides.
    leases: Option<u64>,
    /// The time before which neither silence nor the lack of a lease hides a node: the fault may be on this node.
    detect_from: u64,
    /// The time from which on every node that is alive should be known here.
    known_from: u64,
    beat: u64,
    lifetime: u64,
}

impl Liveness {
    pub(super) fn new(settings: &Settings) -> Liveness {
        Liveness {
            me: settings.node.name.clone(),
            nodes: KnownNodes::new(settings),
            leases: None,
            detect_from: 0,
            // Before the bus is up no node can be known.
            known_from: u64::MAX,
            beat: settings.beat,
            lifetime: settings.lifetime,
        }
    }

    /// The name of this node.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Returns whether this incarnation of a node is alive, so that its users are shown.
    pub(super) fn is_up(&self, name: &str, incarnation: u64) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|(_, node)| node.incarnation == incarnation && matches!(node.state, NodeState::Up { .. }))
    }

    /// Returns whether this is the valid incarnation of its name, and has published its `Bye`.
    pub(super) fn has_left(&self, id: &NodeId) -> bool {
        let known = self.nodes.get(&id.name).filter(|(_, node)| node.incarnation == id.incarnation);
        known.is_some_and(|(_, node)| matches!(node.state, NodeState::Gone { .. }))
    }

    /// The nodes that are alive, by name.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        let up = self.nodes.iter().filter(|(_, node)| matches!(node.state, NodeState::Up { .. }));
        up.map(|(name, node)| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// The valid incarnation of a node, if it is alive.
    pub(super) fn living(&self, name: &str) -> Option<NodeId> {
        let (name, node) = self.nodes.get(name)?;
        matches!(node.state, NodeState::Up { .. }).then(|| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// Returns whether this is the valid incarnation of its name, whose messages may change state. That is neither an
    /// earlier incarnation nor a node for which there was no room.
    pub(super) fn counts(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|(_, node)| node.incarnation == id.incarnation)
    }

    /// Notes that the bus is up. Within two beats a message of every live node arrives, or the table of leases lists
    /// it.
    pub(super) fn linked(&mut self, now: u64) {
        // Without leases a node publishes `Hello` once in a beat. The second beat covers jitter and the time on the
        // bus.
        self.known_from = now + 2 * self.beat;
    }

    /// Returns whether all live nodes should be known by now.
    pub(super) fn are_all_known(&self, now: u64) -> bool {
        now >= self.known_from
    }

    /// Returns whether nodes publish `Hello` in each beat, because there is no table of leases.
    pub(super) fn beats(&self) -> bool {
        self.leases.is_none()
    }

    /// Returns and resets the number of times that a node was refused or evicted.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.nodes.take_refused()
    }

    /// Returns whether this incarnation has a larger number than the valid one.
    pub(super) fn may_follow(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|(_, node)| node.incarnation < id.incarnation)
    }

    /// Notes a message of a node. A message alone does not bring back a hidden node: it may have been in flight since
    /// before the node died.
    pub(super) fn heard(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        // Another incarnation of this node's own name is a name conflict, never a peer.
        if id.name == self.me {
            return Vec::new();
        }
        let has_leases = self.leases.is_some();
        match self.nodes.get_mut(&id.name) {
            None => self.nodes.admit(id, now, false),
            Some(node) if node.incarnation < id.incarnation => {
                // The number is only a claim. If it hid a node that holds a lease, one stray or forged message would.
                if has_leases && matches!(node.state, NodeState::Up { leased: true, .. }) {
                    return vec![NodeTransition::Contested(id.clone())];
                }
                node.follow(id, now)
            }
            Some(node) => {
                if let (true, NodeState::Up { heard, .. }) = (node.incarnation == id.incarnation, &mut node.state) {
                    *heard = now;
                }
                Vec::new()
            }
        }
    }

    /// Notes a message of the valid incarnation of a node. Returns `false` if it is another one, or the node unknown.
    pub(super) fn heard_again(&mut self, name: &str, incarnation: u64, now: u64) -> bool {
        let node = self.nodes.get_mut(name).filter(|node| node.incarnation == incarnation);
        let is_known = node.is_some();
        if let Some(KnownNode { state: NodeState::Up { heard, .. }, .. }) = node {
            *heard = now;
        }
        is_known
    }

    /// Notes a `Hello`. With leases it counts as any message, because the table decides. Without them it also brings
    /// back a hidden node, or an incarnation with a smaller number.
    pub(super) fn hello(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let mut transitions = self.heard(id, now);
        if self.leases.is_none() {
            transitions.extend(self.revive(id, now, false));
            transitions.extend(self.fall_back_to(id, now));
        }
        transitions
    }

    /// Makes an incarnation with a smaller number the valid one, if the one with the larger is not alive. This happens
    /// when the larger number came from a clock that was ahead. An incarnation that ever held a lease has one lifetime
    /// to renew it, since it may only have missed a renewal.
    fn fall_back_to(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let Some(node) = self.nodes.get_mut(&id.name).filter(|node| node.incarnation > id.incarnation) else {
            return Vec::new();
        };
        let (NodeState::Hidden { since, .. } | NodeState::Gone { since, .. }) = node.state else { return Vec::new() };
        let grace = if node.was_leased || self.leases.is_none() { self.lifetime } else { 0 };
        if now < since + grace { Vec::new() } else { node.follow(id, now) }
    }

    /// Notes the `Bye` of a node that stops.
    pub(super) fn leave(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        self.end(id, NodeState::Gone { since: now, expired: false })
    }

    /// Notes that the lease of a node has expired.
    pub(super) fn down(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        self.end(id, NodeState::Hidden { since: now, expired: false })
    }

    fn end(&mut self, id: &NodeId, end: NodeState) -> Vec<NodeTransition> {
        let Some(node) = self.nodes.get_mut(&id.name).filter(|node| node.incarnation == id.incarnation) else {
            return Vec::new();
        };
        match (node.state, end) {
            (NodeState::Up { .. }, _) => {
                node.state = end;
                vec![NodeTransition::Down(id.clone())]
            }
            // A `Bye` that arrives late still ends the incarnation. Its users were hidden before, and expire by that
            // time.
            (NodeState::Hidden { since, expired }, NodeState::Gone { .. }) => {
                node.state = NodeState::Gone { since, expired };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Applies an answer of the table of leases. A node that is new in it, or back, is alive; one that is no longer in
    /// it is not.
    pub(super) fn lease(&mut self, lease: &Lease, now: u64) -> Vec<NodeTransition> {
        // After a longer pause than a lease lasts this node could not read or renew leases, and others may have had the
        // same trouble: their missing leases then tell of the table, not of the nodes.
        let late = self.leases.is_some_and(|last| now > last + self.lifetime);
        self.leases = Some(now);
        // The table lists every live node, so all are known with its first answer.
        self.known_from = self.known_from.min(now);
        if late || lease.was_expired {
            self.suspend_detection(now);
        }
        let mut transitions = Vec::new();
        let alive = self.latest(&lease.alive);
        // Live nodes first: each takes the place of another incarnation, or of a node without a lease, before any is
        // hidden.
        for id in alive.values() {
            match self.nodes.get_mut(&id.name) {
                None => transitions.extend(self.nodes.admit(id, now, true)),
                Some(node) if node.incarnation < id.incarnation => transitions.extend(node.follow(id, now)),
                Some(_) => transitions.extend(self.heard(id, now)),
            }
            transitions.extend(self.revive(id, now, true));
        }
        if now >= self.detect_from {
            lease.expired.iter().for_each(|id| transitions.extend(self.down(id, now)));
            let lifetime = self.lifetime;
            // An incarnation without a lease beside another one that holds a lease is not valid. But it may be about to
            // take its lease: its message can overtake the answer of the table, though not by as much as half a
            // lifetime.
            let has_lost = |id: &NodeId, since: u64| {
                alive.get(&id.name).is_some_and(|other| other != id) && now >= since + lifetime / 2
            };
            transitions.extend(self.hide_dead(now, |id, (since, heard), leased| {
                // Only a lease that was seen before can be missing. Without one the node may not have taken its first
                // yet.
                !lease.alive.contains(id) && (leased || now > heard + lifetime || has_lost(id, since))
            }));
            alive.values().for_each(|id| transitions.extend(self.fall_back_to(id, now)));
            // Marks the incarnations that have just become valid as leased; they are up already.
            alive.values().for_each(|id| drop(self.revive(id, now, true)));
        }
        transitions.extend(self.nodes.limit_dead());
        transitions
    }

    /// The incarnation with the largest number of each name except this node's.
    fn latest(&self, incarnations: &[NodeId]) -> BTreeMap<Arc<str>, NodeId> {
        // Two leases of one name: the node was restarted and its earlier lease has not expired, or the name is used
        // twice.
        let mut latest = BTreeMap::<Arc<str>, NodeId>::new();
        for id in incarnations.iter().filter(|id| id.name != self.me) {
            if latest.get(&id.name).is_none_or(|known| known.incarnation < id.incarnation) {
                latest.insert(id.name.clone(), id.clone());
            }
        }
        latest
    }

    /// Hides the nodes that have been silent for too long, where there are no leases.
    pub(super) fn check_silence(&mut self, now: u64) -> Vec<NodeTransition> {
        // With leases silence means nothing: a node without changes publishes little, and its lease shows that it is
        // alive.
        if self.leases.is_some() || now < self.detect_from {
            return Vec::new();
        }
        let lifetime = self.lifetime;
        let mut transitions = self.hide_dead(now, |_, (_, heard), _| now >= heard + lifetime);
        transitions.extend(self.nodes.limit_dead());
        transitions
    }

    /// Hides the live nodes for which `is_dead` is true, given the times of their first and last message and their
    /// lease.
    fn hide_dead(&mut self, now: u64, is_dead: impl Fn(&NodeId, (u64, u64), bool) -> bool) -> Vec<NodeTransition> {
        let mut transitions = Vec::new();
        for (name, node) in self.nodes.iter_mut() {
            let id = NodeId { name: name.clone(), incarnation: node.incarnation };
            if let NodeState::Up { since, heard, leased } = node.state
                && is_dead(&id, (since, heard), leased)
            {
                node.state = NodeState::Hidden { since: now, expired: false };
                transitions.push(NodeTransition::Down(id));
            }
        }
        transitions
    }

    /// Brings back a hidden node. The cause must be newer than its death: a lease (`sure`), or a `Hello` without
    /// leases.
    fn revive(&mut self, id: &NodeId, now: u64, sure: bool) -> Option<NodeTransition> {
        let node = self.nodes.get_mut(&id.name).filter(|node| node.incarnation == id.incarnation)?;
        node.was_leased |= sure;
        match &mut node.state {
            NodeState::Up { leased, .. } => {
                *leased |= sure;
                None
            }
            NodeState::Hidden { .. } => {
                node.state = NodeState::Up { since: now, heard: now, leased: sure };
                Some(NodeTransition::Up(id.clone()))
            }
            // A node that stops publishes `Bye` and renews its lease no more. If the lease outlives the longest time
            // that it can still run (a lifetime, and a beat until it is read), the node has not stopped: the `Bye` was
            // forged.
            NodeState::Gone { since, .. } if sure && now > *since + self.lifetime + self.beat => {
                node.state = NodeState::Up { since: now, heard: now, leased: true };
                Some(NodeTransition::Up(id.clone()))
            }
            NodeState::Gone { .. } => None,
        }
    }

    /// Drops nodes that have been hidden or gone for long: first their users, later the nodes themselves.
    pub(super) fn expire(&mut self, now: u64) -> Vec<NodeTransition> {
        self.nodes.expire(now)
    }

    /// Suspends the detection of dead nodes, because this node was disconnected or suspended, or the table of leases has
    /// lost entries. Within two lifetimes of a lease every live node has a lease again, and a message of it arrives.
    pub(super) fn suspend_detection(&mut self, now: u64) {
        self.detect_from = now + 2 * self.lifetime;
        // Silence before now counts for no node, also after the suspension.
        for (_, node) in self.nodes.iter_mut() {
            if let NodeState::Up { heard, .. } = &mut node.state {
                *heard = (*heard).max(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Topics;

    fn id(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    fn nodes() -> Liveness {
        Liveness::new(&Settings::new(id("me", 1), Topics::new("p", "n")))
    }

    fn lease(alive: &[NodeId]) -> Lease {
        Lease { alive: alive.to_vec(), ..Lease::default() }
    }

    #[test]
    fn a_node_is_up_at_first_sight_and_hidden_when_its_lease_is_gone() {
        let mut nodes = nodes();
        let a = id("a", 5);
        assert_eq!(nodes.heard(&a, 0), [NodeTransition::Up(a.clone())]);
        assert_eq!(nodes.lease(&lease(&[id("me", 1), a.clone()]), 1000), []);
        assert_eq!(nodes.lease(&lease(&[]), 2000), [NodeTransition::Down(a.clone())]);
        assert!(!nodes.is_up("a", 5));
        assert_eq!(nodes.heard(&a, 2100), [], "the message may have been sent before");
        assert_eq!(nodes.hello(&a, 2100), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 3000), [NodeTransition::Up(a)]);
    }

    #[test]
    fn a_node_without_a_lease_is_hidden_only_after_a_lifetime_of_silence() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(&[]), 0);
        nodes.heard(&a, 10);
        assert_eq!(nodes.lease(&lease(&[]), 4000), []);
        assert_eq!(nodes.lease(&lease(&[]), 5000), [NodeTransition::Down(a)]);
    }

    #[test]
    fn a_newer_incarnation_replaces_the_older_one_and_an_older_one_is_not_valid() {
        let mut nodes = nodes();
        let (old, new) = (id("a", 5), id("a", 6));
        nodes.heard(&old, 0);
        let transitions =
            [NodeTransition::Down(old.clone()), NodeTransition::Replaced(new.clone()), NodeTransition::Up(new.clone())];
        assert_eq!(nodes.heard(&new, 1), transitions);
        assert_eq!(nodes.heard(&old, 2), []);
        assert!(nodes.counts(&new) && !nodes.counts(&old));
        assert_eq!(nodes.down(&old, 3), []);
        assert!(nodes.is_up("a", 6) && !nodes.is_up("a", 5));
    }

    #[test]
    fn a_bye_ends_the_incarnation() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.heard(&a, 0);
        assert_eq!(nodes.leave(&a, 1), [NodeTransition::Down(a.clone())]);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 2), []);
        assert_eq!(nodes.hello(&a, 3), []);
        assert_eq!(nodes.heard(&id("a", 6), 4), [NodeTransition::Replaced(id("a", 6)), NodeTransition::Up(id("a", 6))]);
    }

    #[test]
    fn without_leases_silence_decides_and_a_hello_brings_back() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.hello(&a, 0);
        nodes.heard(&a, 1000);
        assert_eq!(nodes.check_silence(4999), []);
        assert_eq!(nodes.check_silence(5000), [NodeTransition::Down(a.clone())]);
        assert_eq!(nodes.heard(&a, 5001), []);
        assert_eq!(nodes.hello(&a, 5002), [NodeTransition::Up(a)]);
    }

    #[test]
    fn a_node_that_was_disconnected_hides_no_other_for_two_lifetimes() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        assert_eq!(nodes.lease(&lease(&[]), 10_000), [], "this node's own renewal was late");
        let expired = Lease { expired: vec![a.clone()], ..Lease::default() };
        assert_eq!(nodes.lease(&expired, 11_000), []);
        for now in (12_000..18_000).step_by(1000) {
            assert_eq!(nodes.lease(&lease(&[]), now), []);
        }
        assert_eq!(nodes.lease(&lease(&[]), 18_000), [NodeTransition::Down(a)]);
    }

    #[test]
    fn a_table_that_lost_the_lease_of_this_node_hides_no_other() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        assert_eq!(nodes.lease(&Lease { was_expired: true, ..Lease::default() }, 1000), []);
        assert!(nodes.is_up("a", 5));
    }

    #[test]
    fn the_users_of_a_hidden_node_are_kept_for_a_while_and_its_incarnation_longer() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.heard(&a, 0);
        nodes.down(&a, 1000);
        assert_eq!(nodes.expire(60_999), []);
        assert_eq!(nodes.expire(61_000), [NodeTransition::Expired("a".into())]);
        assert_eq!(nodes.expire(600_999), []);
        assert!(nodes.counts(&a));
        assert_eq!(nodes.expire(601_000), [NodeTransition::Dropped("a".into())]);
        assert!(!nodes.counts(&a));
    }

    #[test]
    fn all_nodes_are_known_two_beats_after_the_bus_is_up_or_with_the_first_leases() {
        let mut nodes = nodes();
        assert!(!nodes.are_all_known(0));
        nodes.linked(0);
        assert!(!nodes.are_all_known(1999) && nodes.are_all_known(2000));
        nodes.linked(3000);
        nodes.lease(&lease(&[]), 3500);
        assert!(!nodes.are_all_known(3499) && nodes.are_all_known(3500));
    }

    #[test]
    fn a_node_without_a_lease_takes_nothing_from_one_that_holds_a_lease() {
        let mut nodes = nodes();
        let (a, forged) = (id("a", 5), id("a", 9_000_000_000_000));
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        for now in (10..20_000).step_by(10) {
            assert_eq!(nodes.hello(&forged, now), [NodeTransition::Contested(forged.clone())]);
            if now % 1000 == 0 {
                assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), now), []);
            }
            assert!(nodes.is_up("a", 5) && !nodes.counts(&forged));
        }
        let transitions = [
            NodeTransition::Down(a.clone()),
            NodeTransition::Replaced(forged.clone()),
            NodeTransition::Up(forged.clone()),
        ];
        assert_eq!(nodes.lease(&lease(&[a, forged]), 20_000), transitions, "the table lists it");
    }

    #[test]
    fn an_incarnation_with_a_lease_replaces_a_larger_number_without_one() {
        let mut nodes = nodes();
        let (a, forged) = (id("a", 5), id("a", 9_000_000_000_000));
        assert_eq!(nodes.heard(&forged, 0), [NodeTransition::Up(forged.clone())], "no lease is known yet");
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 1999), [], "it may take its lease just now");
        let transitions =
            [NodeTransition::Down(forged), NodeTransition::Replaced(a.clone()), NodeTransition::Up(a.clone())];
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 2000), transitions);
        assert_eq!(nodes.lease(&lease(&[]), 3000), [NodeTransition::Down(a)], "its lease is known to have been there");
    }

    #[test]
    fn a_smaller_number_is_valid_when_the_lease_of_the_larger_has_been_gone_for_a_lifetime() {
        for with_bye in [false, true] {
            let mut nodes = nodes();
            let (ahead, right) = (id("a", 65_000), id("a", 9000));
            nodes.lease(&lease(std::slice::from_ref(&ahead)), 0);
            if with_bye {
                nodes.leave(&ahead, 1000);
            } else {
                assert_eq!(nodes.lease(&lease(&[]), 1000), [NodeTransition::Down(ahead.clone())]);
            }
            for now in [2000, 3000, 4000] {
                assert_eq!(nodes.lease(&lease(std::slice::from_ref(&right)), now), []);
            }
            let transitions = [NodeTransition::Replaced(right.clone()), NodeTransition::Up(right.clone())];
            assert_eq!(nodes.lease(&lease(std::slice::from_ref(&right)), 5000), transitions);
        }
    }

    #[test]
    fn without_leases_a_smaller_number_is_valid_when_the_larger_has_been_hidden_for_a_lifetime() {
        let mut nodes = nodes();
        let (ahead, right) = (id("a", 65_000), id("a", 9000));
        nodes.hello(&ahead, 0);
        assert_eq!(nodes.check_silence(4000), [NodeTransition::Down(ahead)]);
        assert_eq!(nodes.hello(&right, 7999), []);
        assert_eq!(nodes.hello(&right, 8000), [NodeTransition::Replaced(right.clone()), NodeTransition::Up(right)]);
    }

    #[test]
    fn a_forged_bye_does_not_last() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        nodes.leave(&a, 0);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5000), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5001), [NodeTransition::Up(a)]);
    }

    fn nodes_up_to(most: usize) -> Liveness {
        Liveness::new(&Settings { max_nodes: most, ..Settings::new(id("me", 1), Topics::new("p", "n")) })
    }

    #[test]
    fn a_node_without_a_lease_makes_room_for_one_with_a_lease() {
        let mut nodes = nodes_up_to(3);
        nodes.lease(&lease(&[id("a", 5)]), 0);
        for (now, name) in [(1, "x"), (2, "y")] {
            nodes.heard(&id(name, 1), now);
        }
        assert_eq!(nodes.heard(&id("z", 1), 2000), [], "all nodes have published just now");
        assert!(!nodes.counts(&id("z", 1)));
        let transitions =
            [NodeTransition::Down(id("x", 1)), NodeTransition::Dropped("x".into()), NodeTransition::Up(id("z", 1))];
        assert_eq!(nodes.heard(&id("z", 1), 2001), transitions);
        let transitions =
            [NodeTransition::Down(id("y", 1)), NodeTransition::Dropped("y".into()), NodeTransition::Up(id("b", 5))];
        assert_eq!(nodes.lease(&lease(&[id("a", 5), id("b", 5)]), 2002), transitions);
        let leased = [id("a", 5), id("b", 5), id("c", 5), id("d", 5)];
        nodes.lease(&lease(&leased), 2003);
        assert!(nodes.is_up("c", 5) && !nodes.is_up("d", 5), "nodes with leases replace no others with leases");
        assert_eq!(nodes.take_refused(), 5);
    }

    #[test]
    fn dead_nodes_take_no_room_and_as_many_of_them_are_remembered() {
        let mut nodes = nodes_up_to(2);
        for number in 0..5 {
            let invented = id(&format!("x{number}"), 1);
            assert_eq!(nodes.heard(&invented, number * 10_000), [NodeTransition::Up(invented)]);
            nodes.check_silence(number * 10_000 + 5000);
        }
        assert_eq!(nodes.nodes.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["x3", "x4"]);
        assert_eq!(nodes.take_refused(), 0);
    }
}

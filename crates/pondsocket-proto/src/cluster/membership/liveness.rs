//! The nodes of ours that live, in the opinion of this node (docs/cluster.md, Liveness). It filters what is shown and is
//! never told to others as state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::known_node::{KnownNode, NodeState};
use super::transition::NodeTransition;
use crate::cluster::{Lease, NodeId, Settings};

/// The nodes of ours that are known, but for this one, and which of them live.
#[derive(Debug)]
pub(super) struct Liveness {
    me: Arc<str>,
    nodes: BTreeMap<Arc<str>, KnownNode>,
    /// The time of the last answer of the table of leases. Without any, silence decides.
    leases: Option<u64>,
    /// The time before which silence, or the lack of a lease, says nothing: the fault may be on this node.
    judge_from: u64,
    /// The time from which on all nodes that live should have been heard of.
    known_from: u64,
    beat: u64,
    lifetime: u64,
    expire_after: u64,
    remember: u64,
    most: usize,
    /// The number of times that a node was kept out, or had to make room.
    refused: u64,
}

impl Liveness {
    pub(super) fn new(settings: &Settings) -> Liveness {
        Liveness {
            me: settings.node.name.clone(),
            nodes: BTreeMap::new(),
            leases: None,
            judge_from: 0,
            known_from: u64::MAX,
            beat: settings.beat,
            lifetime: settings.lifetime,
            expire_after: settings.expire_after,
            remember: settings.remember,
            most: settings.max_nodes,
            refused: 0,
        }
    }

    /// The name of this node.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Returns whether this life of a node lives, so that its users are shown.
    pub(super) fn is_up(&self, name: &str, incarnation: u64) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|node| node.incarnation == incarnation && matches!(node.state, NodeState::Up { .. }))
    }

    /// The nodes that live, by name.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        let up = self.nodes.iter().filter(|(_, node)| matches!(node.state, NodeState::Up { .. }));
        up.map(|(name, node)| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// The present life of a node, if it lives.
    pub(super) fn living(&self, name: &str) -> Option<NodeId> {
        let (name, node) = self.nodes.get_key_value(name)?;
        matches!(node.state, NodeState::Up { .. }).then(|| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// Returns whether messages of this life count: it is the one that is known of its name. Neither a life that is over is,
    /// nor a node for which there was no room.
    pub(super) fn counts(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|node| node.incarnation == id.incarnation)
    }

    /// Notes that the bus is up: every node that lives is heard within two beats, or is in the table of leases.
    pub(super) fn linked(&mut self, now: u64) {
        self.known_from = now + 2 * self.beat;
    }

    /// Returns whether all nodes that live should be known by now.
    pub(super) fn are_all_known(&self, now: u64) -> bool {
        now >= self.known_from
    }

    /// Returns whether nodes tell each other that they live, because nothing is known of leases.
    pub(super) fn beats(&self) -> bool {
        self.leases.is_none()
    }

    /// Returns and resets the number of times that a node was kept out, or had to make room.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Returns whether this life calls itself newer than the one that counts.
    pub(super) fn may_follow(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|node| node.incarnation < id.incarnation)
    }

    /// Notes a message of a node. A hidden node does not come back by that alone: the message may be older than its death.
    pub(super) fn heard(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        if id.name == self.me {
            return Vec::new();
        }
        let has_leases = self.leases.is_some();
        match self.nodes.get_mut(&id.name) {
            None => self.admit(id, now, false),
            Some(node) if node.incarnation < id.incarnation => {
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

    /// Notes that a node says that it lives. Where there are leases they know better.
    pub(super) fn hello(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let mut transitions = self.heard(id, now);
        if self.leases.is_none() {
            transitions.extend(self.revive(id, now, false));
            transitions.extend(self.fall_back_to(id, now));
        }
        transitions
    }

    /// Takes in a node that is not known yet, if there is room. Nodes that do not live take none. A node without a lease
    /// makes room for one that holds a lease; for any other, only a node does that has been silent for two beats, so that
    /// unknown nodes drive out none that lives.
    fn admit(&mut self, id: &NodeId, now: u64, leased: bool) -> Vec<NodeTransition> {
        let mut transitions = Vec::new();
        let up = self.nodes.iter().filter_map(|(name, node)| match node.state {
            NodeState::Up { heard, leased, .. } => Some((leased, heard, name)),
            _ => None,
        });
        if up.clone().count() >= self.most {
            self.refused += 1;
            let silence = 2 * self.beat;
            let gives_way = |holds: bool, heard: u64| !holds && (leased || now >= heard + silence);
            let longest_silent = up.filter(|(holds, heard, _)| gives_way(*holds, *heard)).min();
            let Some(name) = longest_silent.map(|(_, _, name)| name.clone()) else { return transitions };
            transitions.extend(self.drop_node(&name));
        }
        self.nodes.insert(id.name.clone(), KnownNode::new(id.incarnation, now));
        transitions.push(NodeTransition::Up(id.clone()));
        transitions
    }

    fn drop_node(&mut self, name: &Arc<str>) -> Vec<NodeTransition> {
        let Some(node) = self.nodes.remove(name) else { return Vec::new() };
        let id = NodeId { name: name.clone(), incarnation: node.incarnation };
        let down = matches!(node.state, NodeState::Up { .. }).then_some(NodeTransition::Down(id));
        down.into_iter().chain([NodeTransition::Dropped(name.clone())]).collect()
    }

    /// Drops nodes that do not live, those gone longest first, until no more are remembered than may live.
    fn limit_remembered(&mut self) -> Vec<NodeTransition> {
        let gone = |node: &KnownNode| match node.state {
            NodeState::Up { .. } => None,
            NodeState::Hidden { since, .. } | NodeState::Gone { since, .. } => Some(since),
        };
        let mut gone: Vec<_> = self.nodes.iter().filter_map(|(name, node)| Some((gone(node)?, name.clone()))).collect();
        let excess = gone.len().saturating_sub(self.most);
        if excess == 0 {
            return Vec::new();
        }
        gone.sort();
        gone.truncate(excess);
        gone.iter().flat_map(|(_, name)| self.drop_node(name)).collect()
    }

    /// Makes a life with a smaller number the present one, if that with the larger does not live. A life whose lease was
    /// seen is waited for first, since it may have lost its lease only.
    fn fall_back_to(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let Some(node) = self.nodes.get_mut(&id.name).filter(|node| node.incarnation > id.incarnation) else {
            return Vec::new();
        };
        let (NodeState::Hidden { since, .. } | NodeState::Gone { since, .. }) = node.state else { return Vec::new() };
        let patience = if node.was_leased || self.leases.is_none() { self.lifetime } else { 0 };
        if now < since + patience { Vec::new() } else { node.follow(id, now) }
    }

    /// Notes that a node goes, in good order.
    pub(super) fn leave(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        self.end(id, NodeState::Gone { since: now, expired: false })
    }

    /// Notes that the lease of a node was found to have run out.
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
            (NodeState::Hidden { since, expired }, NodeState::Gone { .. }) => {
                node.state = NodeState::Gone { since, expired };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Takes in the table of leases. A node that is new there, or back, lives; one that is not there any more does not.
    pub(super) fn lease(&mut self, lease: &Lease, now: u64) -> Vec<NodeTransition> {
        let late = self.leases.is_some_and(|last| now > last + self.lifetime);
        self.leases = Some(now);
        self.known_from = self.known_from.min(now);
        if late || lease.was_expired {
            self.excuse_silence(now);
        }
        let mut transitions = Vec::new();
        let alive = self.latest(&lease.alive);
        for id in alive.values() {
            match self.nodes.get_mut(&id.name) {
                None => transitions.extend(self.admit(id, now, true)),
                Some(node) if node.incarnation < id.incarnation => transitions.extend(node.follow(id, now)),
                Some(_) => transitions.extend(self.heard(id, now)),
            }
            transitions.extend(self.revive(id, now, true));
        }
        if now >= self.judge_from {
            lease.expired.iter().for_each(|id| transitions.extend(self.down(id, now)));
            let patience = self.lifetime;
            // A life without a lease while another life of its name holds one: its messages may have been on their way for
            // longer than the answer of the table, but not for much longer.
            let has_lost = |id: &NodeId, since: u64| {
                alive.get(&id.name).is_some_and(|other| other != id) && now >= since + patience / 2
            };
            transitions.extend(self.hide_dead(now, |id, (since, heard), leased| {
                !lease.alive.contains(id) && (leased || now > heard + patience || has_lost(id, since))
            }));
            alive.values().for_each(|id| transitions.extend(self.fall_back_to(id, now)));
            alive.values().for_each(|id| drop(self.revive(id, now, true)));
        }
        transitions.extend(self.limit_remembered());
        transitions
    }

    /// The latest life of each name but that of this node.
    fn latest(&self, lives: &[NodeId]) -> BTreeMap<Arc<str>, NodeId> {
        let mut latest = BTreeMap::<Arc<str>, NodeId>::new();
        for id in lives.iter().filter(|id| id.name != self.me) {
            if latest.get(&id.name).is_none_or(|known| known.incarnation < id.incarnation) {
                latest.insert(id.name.clone(), id.clone());
            }
        }
        latest
    }

    /// Hides the nodes that have been silent for too long, where there are no leases.
    pub(super) fn check_silence(&mut self, now: u64) -> Vec<NodeTransition> {
        if self.leases.is_some() || now < self.judge_from {
            return Vec::new();
        }
        let patience = self.lifetime;
        let mut transitions = self.hide_dead(now, |_, (_, heard), _| now >= heard + patience);
        transitions.extend(self.limit_remembered());
        transitions
    }

    /// Hides the nodes that are up and of which `is_dead` says so.
    fn hide_dead(&mut self, now: u64, is_dead: impl Fn(&NodeId, (u64, u64), bool) -> bool) -> Vec<NodeTransition> {
        let mut transitions = Vec::new();
        for (name, node) in &mut self.nodes {
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

    /// Brings back a hidden node by a sign of life that cannot be older than its death; `sure` is true for a lease.
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
            // A goodbye comes before the end of the lease. If the lease goes on, another node has said the goodbye.
            NodeState::Gone { since, .. } if sure && now > *since + self.lifetime + self.beat => {
                node.state = NodeState::Up { since: now, heard: now, leased: true };
                Some(NodeTransition::Up(id.clone()))
            }
            NodeState::Gone { .. } => None,
        }
    }

    /// Forgets, in two steps, nodes that have been gone for long.
    pub(super) fn expire(&mut self, now: u64) -> Vec<NodeTransition> {
        let (expire_after, remember) = (self.expire_after, self.remember);
        let mut transitions = Vec::new();
        self.nodes.retain(|name, node| match &mut node.state {
            NodeState::Up { .. } => true,
            NodeState::Hidden { since, .. } | NodeState::Gone { since, .. } if now >= *since + remember => {
                transitions.push(NodeTransition::Dropped(name.clone()));
                false
            }
            NodeState::Hidden { since, expired } | NodeState::Gone { since, expired } => {
                if !*expired && now >= *since + expire_after {
                    *expired = true;
                    transitions.push(NodeTransition::Expired(name.clone()));
                }
                true
            }
        });
        transitions
    }

    /// Judges no node for a while: this one was cut off, or asleep, or the table of leases has lost entries. Two lifetimes
    /// of a lease are enough for every node to take a lease again, and to be heard.
    pub(super) fn excuse_silence(&mut self, now: u64) {
        self.judge_from = now + 2 * self.lifetime;
        for node in self.nodes.values_mut() {
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
        assert_eq!(nodes.heard(&a, 2100), [], "it may have been said before");
        assert_eq!(nodes.hello(&a, 2100), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 3000), [NodeTransition::Up(a)]);
    }

    #[test]
    fn who_has_spoken_but_has_no_lease_yet_is_given_time() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(&[]), 0);
        nodes.heard(&a, 10);
        assert_eq!(nodes.lease(&lease(&[]), 4000), []);
        assert_eq!(nodes.lease(&lease(&[]), 5000), [NodeTransition::Down(a)]);
    }

    #[test]
    fn a_newer_life_ends_the_older_one_and_an_older_one_does_not_count() {
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
    fn a_goodbye_is_final() {
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
    fn who_was_cut_off_judges_nobody_for_two_lifetimes() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        assert_eq!(nodes.lease(&lease(&[]), 10_000), [], "its own question came late");
        let expired = Lease { expired: vec![a.clone()], ..Lease::default() };
        assert_eq!(nodes.lease(&expired, 11_000), []);
        for now in (12_000..18_000).step_by(1000) {
            assert_eq!(nodes.lease(&lease(&[]), now), []);
        }
        assert_eq!(nodes.lease(&lease(&[]), 18_000), [NodeTransition::Down(a)]);
    }

    #[test]
    fn a_table_that_lost_our_own_lease_is_not_believed() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        assert_eq!(nodes.lease(&Lease { was_expired: true, ..Lease::default() }, 1000), []);
        assert!(nodes.is_up("a", 5));
    }

    #[test]
    fn the_users_of_the_hidden_are_kept_for_a_while_and_their_life_longer() {
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
    fn all_are_known_two_beats_after_the_bus_is_there_or_with_the_first_leases() {
        let mut nodes = nodes();
        assert!(!nodes.are_all_known(0));
        nodes.linked(0);
        assert!(!nodes.are_all_known(1999) && nodes.are_all_known(2000));
        nodes.linked(3000);
        nodes.lease(&lease(&[]), 3500);
        assert!(!nodes.are_all_known(3499) && nodes.are_all_known(3500));
    }

    #[test]
    fn who_holds_no_lease_takes_nothing_from_who_holds_one() {
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
        assert_eq!(nodes.lease(&lease(&[a, forged]), 20_000), transitions, "the table names it");
    }

    #[test]
    fn a_life_with_a_lease_ends_one_of_the_future_that_has_none() {
        let mut nodes = nodes();
        let (a, forged) = (id("a", 5), id("a", 9_000_000_000_000));
        assert_eq!(nodes.heard(&forged, 0), [NodeTransition::Up(forged.clone())], "nobody knows better yet");
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 1999), [], "it may take its lease just now");
        let transitions =
            [NodeTransition::Down(forged), NodeTransition::Replaced(a.clone()), NodeTransition::Up(a.clone())];
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 2000), transitions);
        assert_eq!(nodes.lease(&lease(&[]), 3000), [NodeTransition::Down(a)], "its lease is known to have been there");
    }

    #[test]
    fn a_life_with_a_smaller_number_counts_when_the_lease_of_the_other_has_been_gone_for_long() {
        for goodbye in [false, true] {
            let mut nodes = nodes();
            let (ahead, right) = (id("a", 65_000), id("a", 9000));
            nodes.lease(&lease(std::slice::from_ref(&ahead)), 0);
            if goodbye {
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
    fn without_leases_a_life_with_a_smaller_number_counts_when_the_other_has_been_silent_for_long() {
        let mut nodes = nodes();
        let (ahead, right) = (id("a", 65_000), id("a", 9000));
        nodes.hello(&ahead, 0);
        assert_eq!(nodes.check_silence(4000), [NodeTransition::Down(ahead)]);
        assert_eq!(nodes.hello(&right, 7999), []);
        assert_eq!(nodes.hello(&right, 8000), [NodeTransition::Replaced(right.clone()), NodeTransition::Up(right)]);
    }

    #[test]
    fn a_goodbye_that_others_have_said_does_not_last() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        nodes.leave(&a, 0);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5000), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5001), [NodeTransition::Up(a)]);
    }

    #[test]
    fn who_holds_no_lease_makes_room_for_who_does() {
        let mut nodes = nodes();
        nodes.most = 3;
        nodes.lease(&lease(&[id("a", 5)]), 0);
        for (now, name) in [(1, "x"), (2, "y")] {
            nodes.heard(&id(name, 1), now);
        }
        assert_eq!(nodes.heard(&id("z", 1), 2000), [], "those have just spoken");
        let transitions =
            [NodeTransition::Down(id("x", 1)), NodeTransition::Dropped("x".into()), NodeTransition::Up(id("z", 1))];
        assert_eq!(nodes.heard(&id("z", 1), 2001), transitions);
        let transitions =
            [NodeTransition::Down(id("y", 1)), NodeTransition::Dropped("y".into()), NodeTransition::Up(id("b", 5))];
        assert_eq!(nodes.lease(&lease(&[id("a", 5), id("b", 5)]), 2002), transitions);
        let leased = [id("a", 5), id("b", 5), id("c", 5), id("d", 5)];
        nodes.lease(&lease(&leased), 2003);
        assert!(nodes.is_up("c", 5) && !nodes.is_up("d", 5), "of those with leases the first are known");
        assert_eq!(nodes.refused, 5);
    }

    #[test]
    fn those_that_do_not_live_take_no_room_and_as_many_are_remembered() {
        let mut nodes = nodes();
        nodes.most = 2;
        for number in 0..5 {
            let stranger = id(&format!("x{number}"), 1);
            assert_eq!(nodes.heard(&stranger, number * 10_000), [NodeTransition::Up(stranger)]);
            nodes.check_silence(number * 10_000 + 5000);
        }
        assert_eq!(nodes.nodes.keys().map(|name| &**name).collect::<Vec<_>>(), ["x3", "x4"]);
        assert_eq!(nodes.refused, 0);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut nodes = nodes();
        nodes.most = 1;
        nodes.heard(&id("a", 5), 0);
        assert_eq!(nodes.heard(&id("b", 5), 0), []);
        assert!(!nodes.counts(&id("b", 5)));
    }
}

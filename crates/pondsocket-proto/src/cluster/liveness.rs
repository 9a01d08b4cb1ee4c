//! Which nodes of ours live (docs/cluster.md, Who lives).
//!
//! This is an opinion of this node alone. It filters what is shown and is never told to others as state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Lease, NodeId, Settings};

/// What has come of a sign of life, or of its absence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// It lives; it was not known to.
    Up(NodeId),
    /// It does not.
    Down(NodeId),
    /// It lives another life, and whatever was known of others is void.
    Reborn(NodeId),
    /// It calls itself newer than the life that holds a lease, and holds none as far as is known.
    Contested(NodeId),
    /// It has been gone for so long that its users need not be kept.
    Forgotten(Arc<str>),
    /// It is unknown from now on.
    Dropped(Arc<str>),
}

/// ```text
///             lease, Hello                    60 s                        10 min
///   UP <--------------------------- HIDDEN ---------> HIDDEN, forgotten --------> unknown
///   | |                               ^                                             ^
///   | +-- lease ran out, silence, Down+                                             |
///   +-------------------- Bye -----------------------> GONE ------------------------+
/// ```
///
/// Another life of the same name begins in UP, whatever the one before was. Of lives that hold a lease the one with the
/// largest number is the node; one that holds none takes nothing from one that does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// It lives.
    Up {
        /// When it was first heard of, or came back.
        since: u64,
        /// When the last sign of life came.
        heard: u64,
        /// Whether its lease has been seen, so that its absence means something.
        leased: bool,
    },
    /// It seems dead, and may come back.
    Hidden { since: u64, forgotten: bool },
    /// It has said goodbye: this life does not come back.
    Gone { since: u64, forgotten: bool },
}

#[derive(Debug)]
struct Node {
    incarnation: u64,
    state: State,
    /// True if this life has ever been seen to hold a lease.
    was_leased: bool,
}

/// All nodes of ours that are known, but for this one.
#[derive(Debug)]
pub(super) struct Nodes {
    me: Arc<str>,
    nodes: BTreeMap<Arc<str>, Node>,
    /// When leases were last heard of. If they never were, silence decides.
    leases: Option<u64>,
    /// Before that time nobody is judged for being silent, or without a lease: it may be us.
    judge_from: u64,
    /// From that time on all nodes that live should have been heard of.
    known_from: u64,
    beat: u64,
    lifetime: u64,
    forget_after: u64,
    remember: u64,
    most: usize,
    /// How often a node has been kept out, or has had to make room.
    pub(super) refused: u64,
}

impl Nodes {
    pub(super) fn new(settings: &Settings) -> Nodes {
        Nodes {
            me: settings.node.name.clone(),
            nodes: BTreeMap::new(),
            leases: None,
            judge_from: 0,
            known_from: u64::MAX,
            beat: settings.beat,
            lifetime: settings.lifetime,
            forget_after: settings.forget_after,
            remember: settings.remember,
            most: settings.max_nodes,
            refused: 0,
        }
    }

    /// Whether this life of a node is to be shown.
    pub(super) fn is_up(&self, name: &str, incarnation: u64) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|node| node.incarnation == incarnation && matches!(node.state, State::Up { .. }))
    }

    /// All nodes that live, by name.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        let up = self.nodes.iter().filter(|(_, node)| matches!(node.state, State::Up { .. }));
        up.map(|(name, node)| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// The life of a node that lives.
    pub(super) fn living(&self, name: &str) -> Option<NodeId> {
        let (name, node) = self.nodes.get_key_value(name)?;
        matches!(node.state, State::Up { .. }).then(|| NodeId { name: name.clone(), incarnation: node.incarnation })
    }

    /// Whether what this life of a node says counts: it is not this node, no life that is over, and there is room.
    pub(super) fn counts(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|node| node.incarnation == id.incarnation)
    }

    /// The bus is there: whoever lives is heard within two beats, or is in the table of leases.
    pub(super) fn linked(&mut self, now: u64) {
        self.known_from = now + 2 * self.beat;
    }

    /// Whether all nodes that live should be known.
    pub(super) fn are_all_known(&self, now: u64) -> bool {
        now >= self.known_from
    }

    /// Whether nodes say by themselves that they live, because nothing is known of leases.
    pub(super) fn beats(&self) -> bool {
        self.leases.is_none()
    }

    /// Returns whether this life calls itself newer than the one that counts.
    pub(super) fn may_follow(&self, id: &NodeId) -> bool {
        self.nodes.get(&id.name).is_some_and(|node| node.incarnation < id.incarnation)
    }

    /// It has said something. A node that was hidden does not come back by that alone: it may have been said before.
    pub(super) fn heard(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        if id.name == self.me {
            return Vec::new();
        }
        let has_leases = self.leases.is_some();
        match self.nodes.get_mut(&id.name) {
            None => self.admit(id, now, false),
            Some(node) if node.incarnation < id.incarnation => {
                if has_leases && matches!(node.state, State::Up { leased: true, .. }) {
                    return vec![Turn::Contested(id.clone())];
                }
                node.follow(id, now)
            }
            Some(node) => {
                if let (true, State::Up { heard, .. }) = (node.incarnation == id.incarnation, &mut node.state) {
                    *heard = now;
                }
                Vec::new()
            }
        }
    }

    /// It says that it lives. Where there are leases they know better.
    pub(super) fn hello(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        let mut turns = self.heard(id, now);
        if self.leases.is_none() {
            turns.extend(self.rise(id, now, false));
            turns.extend(self.stand_in(id, now));
        }
        turns
    }

    /// A node that is not known yet: it is, if there is room. Nodes that do not live take none. One that holds no lease
    /// makes room for one that does; else only who has been silent for two beats does, so that nobody who lives is driven
    /// out by strangers.
    fn admit(&mut self, id: &NodeId, now: u64, leased: bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        let up = self.nodes.iter().filter_map(|(name, node)| match node.state {
            State::Up { heard, leased, .. } => Some((leased, heard, name)),
            _ => None,
        });
        if up.clone().count() >= self.most {
            self.refused += 1;
            let silence = 2 * self.beat;
            let gives_way = |holds: bool, heard: u64| !holds && (leased || now >= heard + silence);
            let longest_silent = up.filter(|(holds, heard, _)| gives_way(*holds, *heard)).min();
            let Some(name) = longest_silent.map(|(_, _, name)| name.clone()) else { return turns };
            turns.extend(self.drop_node(&name));
        }
        self.nodes.insert(id.name.clone(), Node::new(id.incarnation, now));
        turns.push(Turn::Up(id.clone()));
        turns
    }

    fn drop_node(&mut self, name: &Arc<str>) -> Vec<Turn> {
        let Some(node) = self.nodes.remove(name) else { return Vec::new() };
        let id = NodeId { name: name.clone(), incarnation: node.incarnation };
        let down = matches!(node.state, State::Up { .. }).then_some(Turn::Down(id));
        down.into_iter().chain([Turn::Dropped(name.clone())]).collect()
    }

    /// Of those that do not live as many are remembered as may live: those that have been gone longest are forgotten.
    fn limit_remembered(&mut self) -> Vec<Turn> {
        let gone = |node: &Node| match node.state {
            State::Up { .. } => None,
            State::Hidden { since, .. } | State::Gone { since, .. } => Some(since),
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

    /// A life with a smaller number lives, and the one with the larger does not: it is the node. A life whose lease was seen
    /// is waited for before, since its lease may have been lost and not its life.
    fn stand_in(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        let Some(node) = self.nodes.get_mut(&id.name).filter(|node| node.incarnation > id.incarnation) else {
            return Vec::new();
        };
        let (State::Hidden { since, .. } | State::Gone { since, .. }) = node.state else { return Vec::new() };
        let patience = if node.was_leased || self.leases.is_none() { self.lifetime } else { 0 };
        if now < since + patience { Vec::new() } else { node.follow(id, now) }
    }

    /// It goes, in good order.
    pub(super) fn bye(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        self.end(id, State::Gone { since: now, forgotten: false })
    }

    /// Somebody has found that its lease has run out.
    pub(super) fn down(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        self.end(id, State::Hidden { since: now, forgotten: false })
    }

    fn end(&mut self, id: &NodeId, end: State) -> Vec<Turn> {
        let Some(node) = self.nodes.get_mut(&id.name).filter(|node| node.incarnation == id.incarnation) else {
            return Vec::new();
        };
        match (node.state, end) {
            (State::Up { .. }, _) => {
                node.state = end;
                vec![Turn::Down(id.clone())]
            }
            (State::Hidden { since, forgotten }, State::Gone { .. }) => {
                node.state = State::Gone { since, forgotten };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// What the table of leases says. Who is new there, or back, lives; who has gone from there does not.
    pub(super) fn lease(&mut self, lease: &Lease, now: u64) -> Vec<Turn> {
        let late = self.leases.is_some_and(|last| now > last + self.lifetime);
        self.leases = Some(now);
        self.known_from = self.known_from.min(now);
        if late || lease.was_expired {
            self.doubt(now);
        }
        let mut turns = Vec::new();
        let alive = self.latest(&lease.alive);
        for id in alive.values() {
            match self.nodes.get_mut(&id.name) {
                None => turns.extend(self.admit(id, now, true)),
                Some(node) if node.incarnation < id.incarnation => turns.extend(node.follow(id, now)),
                Some(_) => turns.extend(self.heard(id, now)),
            }
            turns.extend(self.rise(id, now, true));
        }
        if now >= self.judge_from {
            lease.expired.iter().for_each(|id| turns.extend(self.down(id, now)));
            let patience = self.lifetime;
            // A life without a lease, of a name that holds one for another: what it says may have been on its way for
            // longer than the answer of the table, but not for much longer.
            let has_lost = |id: &NodeId, since: u64| {
                alive.get(&id.name).is_some_and(|other| other != id) && now >= since + patience / 2
            };
            turns.extend(self.bury(now, |id, (since, heard), leased| {
                !lease.alive.contains(id) && (leased || now > heard + patience || has_lost(id, since))
            }));
            alive.values().for_each(|id| turns.extend(self.stand_in(id, now)));
            alive.values().for_each(|id| drop(self.rise(id, now, true)));
        }
        turns.extend(self.limit_remembered());
        turns
    }

    /// The latest life of each name but ours.
    fn latest(&self, lives: &[NodeId]) -> BTreeMap<Arc<str>, NodeId> {
        let mut latest = BTreeMap::<Arc<str>, NodeId>::new();
        for id in lives.iter().filter(|id| id.name != self.me) {
            if latest.get(&id.name).is_none_or(|known| known.incarnation < id.incarnation) {
                latest.insert(id.name.clone(), id.clone());
            }
        }
        latest
    }

    /// Judges by silence, where there are no leases.
    pub(super) fn judge(&mut self, now: u64) -> Vec<Turn> {
        if self.leases.is_some() || now < self.judge_from {
            return Vec::new();
        }
        let patience = self.lifetime;
        let mut turns = self.bury(now, |_, (_, heard), _| now >= heard + patience);
        turns.extend(self.limit_remembered());
        turns
    }

    fn bury(&mut self, now: u64, is_dead: impl Fn(&NodeId, (u64, u64), bool) -> bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (name, node) in &mut self.nodes {
            let id = NodeId { name: name.clone(), incarnation: node.incarnation };
            if let State::Up { since, heard, leased } = node.state
                && is_dead(&id, (since, heard), leased)
            {
                node.state = State::Hidden { since: now, forgotten: false };
                turns.push(Turn::Down(id));
            }
        }
        turns
    }

    /// A sign of life that is sure brings back who was hidden.
    fn rise(&mut self, id: &NodeId, now: u64, sure: bool) -> Option<Turn> {
        let node = self.nodes.get_mut(&id.name).filter(|node| node.incarnation == id.incarnation)?;
        node.was_leased |= sure;
        match &mut node.state {
            State::Up { leased, .. } => {
                *leased |= sure;
                None
            }
            State::Hidden { .. } => {
                node.state = State::Up { since: now, heard: now, leased: sure };
                Some(Turn::Up(id.clone()))
            }
            // Its goodbye came first, and the end of its lease soon after. If it does not come others have said the goodbye.
            State::Gone { since, .. } if sure && now > *since + self.lifetime + self.beat => {
                node.state = State::Up { since: now, heard: now, leased: true };
                Some(Turn::Up(id.clone()))
            }
            State::Gone { .. } => None,
        }
    }

    /// Forgets, in two steps, those who have been gone for long.
    pub(super) fn age(&mut self, now: u64) -> Vec<Turn> {
        let (forget_after, remember) = (self.forget_after, self.remember);
        let mut turns = Vec::new();
        self.nodes.retain(|name, node| match &mut node.state {
            State::Up { .. } => true,
            State::Hidden { since, .. } | State::Gone { since, .. } if now >= *since + remember => {
                turns.push(Turn::Dropped(name.clone()));
                false
            }
            State::Hidden { since, forgotten } | State::Gone { since, forgotten } => {
                if !*forgotten && now >= *since + forget_after {
                    *forgotten = true;
                    turns.push(Turn::Forgotten(name.clone()));
                }
                true
            }
        });
        turns
    }

    /// This node was cut off, or asleep, or the table of leases is not what it was: for a while, silence of others means
    /// nothing. Two lifetimes are enough for everybody to take a lease again, and to be heard.
    pub(super) fn doubt(&mut self, now: u64) {
        self.judge_from = now + 2 * self.lifetime;
        for node in self.nodes.values_mut() {
            if let State::Up { heard, .. } = &mut node.state {
                *heard = (*heard).max(now);
            }
        }
    }
}

impl Node {
    fn new(incarnation: u64, now: u64) -> Node {
        Node { incarnation, state: State::Up { since: now, heard: now, leased: false }, was_leased: false }
    }

    /// Another life of its name takes its place.
    fn follow(&mut self, id: &NodeId, now: u64) -> Vec<Turn> {
        let before = NodeId { name: id.name.clone(), incarnation: self.incarnation };
        let down = matches!(self.state, State::Up { .. }).then_some(Turn::Down(before));
        *self = Node::new(id.incarnation, now);
        down.into_iter().chain([Turn::Reborn(id.clone()), Turn::Up(id.clone())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Topics;
    use super::*;

    fn id(name: &str, incarnation: u64) -> NodeId {
        NodeId { name: name.into(), incarnation }
    }

    fn nodes() -> Nodes {
        Nodes::new(&Settings::new(id("me", 1), Topics::new("p", "n")))
    }

    fn lease(alive: &[NodeId]) -> Lease {
        Lease { alive: alive.to_vec(), ..Lease::default() }
    }

    #[test]
    fn a_node_is_up_at_first_sight_and_hidden_when_its_lease_is_gone() {
        let mut nodes = nodes();
        let a = id("a", 5);
        assert_eq!(nodes.heard(&a, 0), [Turn::Up(a.clone())]);
        assert_eq!(nodes.lease(&lease(&[id("me", 1), a.clone()]), 1000), []);
        assert_eq!(nodes.lease(&lease(&[]), 2000), [Turn::Down(a.clone())]);
        assert!(!nodes.is_up("a", 5));
        assert_eq!(nodes.heard(&a, 2100), [], "it may have been said before");
        assert_eq!(nodes.hello(&a, 2100), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 3000), [Turn::Up(a)]);
    }

    #[test]
    fn who_has_spoken_but_has_no_lease_yet_is_given_time() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(&[]), 0);
        nodes.heard(&a, 10);
        assert_eq!(nodes.lease(&lease(&[]), 4000), []);
        assert_eq!(nodes.lease(&lease(&[]), 5000), [Turn::Down(a)]);
    }

    #[test]
    fn a_newer_life_ends_the_older_one_and_an_older_one_does_not_count() {
        let mut nodes = nodes();
        let (old, new) = (id("a", 5), id("a", 6));
        nodes.heard(&old, 0);
        let turns = [Turn::Down(old.clone()), Turn::Reborn(new.clone()), Turn::Up(new.clone())];
        assert_eq!(nodes.heard(&new, 1), turns);
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
        assert_eq!(nodes.bye(&a, 1), [Turn::Down(a.clone())]);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 2), []);
        assert_eq!(nodes.hello(&a, 3), []);
        assert_eq!(nodes.heard(&id("a", 6), 4), [Turn::Reborn(id("a", 6)), Turn::Up(id("a", 6))]);
    }

    #[test]
    fn without_leases_silence_decides_and_a_hello_brings_back() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.hello(&a, 0);
        nodes.heard(&a, 1000);
        assert_eq!(nodes.judge(4999), []);
        assert_eq!(nodes.judge(5000), [Turn::Down(a.clone())]);
        assert_eq!(nodes.heard(&a, 5001), []);
        assert_eq!(nodes.hello(&a, 5002), [Turn::Up(a)]);
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
        assert_eq!(nodes.lease(&lease(&[]), 18_000), [Turn::Down(a)]);
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
        assert_eq!(nodes.age(60_999), []);
        assert_eq!(nodes.age(61_000), [Turn::Forgotten("a".into())]);
        assert_eq!(nodes.age(600_999), []);
        assert!(nodes.counts(&a));
        assert_eq!(nodes.age(601_000), [Turn::Dropped("a".into())]);
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
            assert_eq!(nodes.hello(&forged, now), [Turn::Contested(forged.clone())]);
            if now % 1000 == 0 {
                assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), now), []);
            }
            assert!(nodes.is_up("a", 5) && !nodes.counts(&forged));
        }
        let turns = [Turn::Down(a.clone()), Turn::Reborn(forged.clone()), Turn::Up(forged.clone())];
        assert_eq!(nodes.lease(&lease(&[a, forged]), 20_000), turns, "the table names it");
    }

    #[test]
    fn a_life_with_a_lease_ends_one_of_the_future_that_has_none() {
        let mut nodes = nodes();
        let (a, forged) = (id("a", 5), id("a", 9_000_000_000_000));
        assert_eq!(nodes.heard(&forged, 0), [Turn::Up(forged.clone())], "nobody knows better yet");
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 1999), [], "it may take its lease just now");
        let turns = [Turn::Down(forged), Turn::Reborn(a.clone()), Turn::Up(a.clone())];
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 2000), turns);
        assert_eq!(nodes.lease(&lease(&[]), 3000), [Turn::Down(a)], "its lease is known to have been there");
    }

    #[test]
    fn a_life_with_a_smaller_number_counts_when_the_lease_of_the_other_has_been_gone_for_long() {
        for goodbye in [false, true] {
            let mut nodes = nodes();
            let (ahead, right) = (id("a", 65_000), id("a", 9000));
            nodes.lease(&lease(std::slice::from_ref(&ahead)), 0);
            if goodbye {
                nodes.bye(&ahead, 1000);
            } else {
                assert_eq!(nodes.lease(&lease(&[]), 1000), [Turn::Down(ahead.clone())]);
            }
            for now in [2000, 3000, 4000] {
                assert_eq!(nodes.lease(&lease(std::slice::from_ref(&right)), now), []);
            }
            let turns = [Turn::Reborn(right.clone()), Turn::Up(right.clone())];
            assert_eq!(nodes.lease(&lease(std::slice::from_ref(&right)), 5000), turns);
        }
    }

    #[test]
    fn without_leases_a_life_with_a_smaller_number_counts_when_the_other_has_been_silent_for_long() {
        let mut nodes = nodes();
        let (ahead, right) = (id("a", 65_000), id("a", 9000));
        nodes.hello(&ahead, 0);
        assert_eq!(nodes.judge(4000), [Turn::Down(ahead)]);
        assert_eq!(nodes.hello(&right, 7999), []);
        assert_eq!(nodes.hello(&right, 8000), [Turn::Reborn(right.clone()), Turn::Up(right)]);
    }

    #[test]
    fn a_goodbye_that_others_have_said_does_not_last() {
        let mut nodes = nodes();
        let a = id("a", 5);
        nodes.lease(&lease(std::slice::from_ref(&a)), 0);
        nodes.bye(&a, 0);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5000), []);
        assert_eq!(nodes.lease(&lease(std::slice::from_ref(&a)), 5001), [Turn::Up(a)]);
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
        let turns = [Turn::Down(id("x", 1)), Turn::Dropped("x".into()), Turn::Up(id("z", 1))];
        assert_eq!(nodes.heard(&id("z", 1), 2001), turns);
        let turns = [Turn::Down(id("y", 1)), Turn::Dropped("y".into()), Turn::Up(id("b", 5))];
        assert_eq!(nodes.lease(&lease(&[id("a", 5), id("b", 5)]), 2002), turns);
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
            assert_eq!(nodes.heard(&stranger, number * 10_000), [Turn::Up(stranger)]);
            nodes.judge(number * 10_000 + 5000);
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

//! The known nodes of our kind, in a table with bounds. A sender that invents names could otherwise fill the memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::transition::NodeTransition;
use crate::cluster::{NodeId, Settings};

/// The state of one incarnation of a node.
///
/// ```text
///             lease, Hello                    60 s                        10 min
///   UP <--------------------------- HIDDEN ---------> HIDDEN, expired ----------> unknown
///   | |                               ^                                             ^
///   | +-- lease expired, silence, Down+                                             |
///   +-------------------- Bye -----------------------> GONE ------------------------+
/// ```
///
/// Another incarnation of the same name begins in UP, with any state of the one before. Of incarnations that hold
/// leases the one with the largest number is valid. An incarnation without a lease replaces none that holds one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodeState {
    /// The node is alive.
    Up {
        /// The time at which it became known, or came back.
        since: u64,
        /// The time of its last message, or of the last answer of the table of leases that lists it.
        heard: u64,
        /// True if its lease has been seen, so that the absence of the lease means something.
        leased: bool,
    },
    /// The node seems dead, and may come back. `expired` is true once its users are dropped.
    Hidden { since: u64, expired: bool },
    /// The node has published `Bye`: this incarnation does not come back, unless its lease shows that the `Bye` was
    /// forged.
    Gone { since: u64, expired: bool },
}

/// The one incarnation of a node that is known.
#[derive(Debug)]
pub(super) struct KnownNode {
    pub(super) incarnation: u64,
    pub(super) state: NodeState,
    /// True if this incarnation was ever listed in the table of leases.
    pub(super) was_leased: bool,
}

impl KnownNode {
    pub(super) fn new(incarnation: u64, now: u64) -> KnownNode {
        KnownNode { incarnation, state: NodeState::Up { since: now, heard: now, leased: false }, was_leased: false }
    }

    /// Replaces this incarnation with another one of the same name. The transitions are in the order in which users
    /// change: those of the old incarnation are hidden and dropped before the new one is up.
    pub(super) fn follow(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let before = NodeId { name: id.name.clone(), incarnation: self.incarnation };
        let down = matches!(self.state, NodeState::Up { .. }).then_some(NodeTransition::Down(before));
        *self = KnownNode::new(id.incarnation, now);
        down.into_iter().chain([NodeTransition::Replaced(id.clone()), NodeTransition::Up(id.clone())]).collect()
    }
}

/// The known nodes by name. Each method returns the transitions of the nodes that it adds or drops.
#[derive(Debug)]
pub(super) struct KnownNodes {
    nodes: BTreeMap<Arc<str>, KnownNode>,
    /// The most live nodes, and the most others.
    most: usize,
    /// The silence after which a node without a lease can be replaced.
    silence: u64,
    expire_after: u64,
    remember: u64,
    /// The number of times that a node was refused or evicted for lack of room.
    refused: u64,
}

impl KnownNodes {
    pub(super) fn new(settings: &Settings) -> KnownNodes {
        KnownNodes {
            nodes: BTreeMap::new(),
            most: settings.max_nodes,
            // A live node publishes in each beat. The second one covers jitter and the time on the bus.
            silence: 2 * settings.beat,
            expire_after: settings.expire_after,
            remember: settings.remember,
            refused: 0,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<(&Arc<str>, &KnownNode)> {
        self.nodes.get_key_value(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut KnownNode> {
        self.nodes.get_mut(name)
    }

    /// The nodes in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &KnownNode)> {
        self.nodes.iter()
    }

    /// The nodes in the order of their names.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut KnownNode)> {
        self.nodes.iter_mut()
    }

    /// Returns and resets the number of times that a node was refused or evicted.
    pub(super) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Adds an unknown node, if there is room. Only live nodes count. A node with a lease (`leased`) replaces the node
    /// without a lease that has been silent for longest; a node without a lease replaces it only after two beats of
    /// silence, so that a flood of unknown names evicts no live node.
    pub(super) fn admit(&mut self, id: &NodeId, now: u64, leased: bool) -> Vec<NodeTransition> {
        let mut transitions = Vec::new();
        let up = self.nodes.iter().filter_map(|(name, node)| match node.state {
            NodeState::Up { heard, leased, .. } => Some((leased, heard, name)),
            _ => None,
        });
        if up.clone().count() >= self.most {
            self.refused += 1;
            let is_replaceable = |holds: bool, heard: u64| !holds && (leased || now >= heard + self.silence);
            // Replaceable nodes hold no lease, so the minimum is that of the time of the last message.
            let longest_silent = up.filter(|(holds, heard, _)| is_replaceable(*holds, *heard)).min();
            let Some(name) = longest_silent.map(|(_, _, name)| name.clone()) else { return transitions };
            transitions.extend(self.remove(&name));
        }
        self.nodes.insert(id.name.clone(), KnownNode::new(id.incarnation, now));
        transitions.push(NodeTransition::Up(id.clone()));
        transitions
    }

    fn remove(&mut self, name: &Arc<str>) -> Vec<NodeTransition> {
        let Some(node) = self.nodes.remove(name) else { return Vec::new() };
        let id = NodeId { name: name.clone(), incarnation: node.incarnation };
        let down = matches!(node.state, NodeState::Up { .. }).then_some(NodeTransition::Down(id));
        down.into_iter().chain([NodeTransition::Dropped(name.clone())]).collect()
    }

    /// Drops nodes that are not alive, the longest hidden or gone first, until as many are left as live nodes are
    /// allowed.
    pub(super) fn limit_dead(&mut self) -> Vec<NodeTransition> {
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
        gone.iter().flat_map(|(_, name)| self.remove(name)).collect()
    }

    /// Drops nodes that have been hidden or gone for long, in two steps: first their users, which cost most, and later
    /// what keeps late messages from bringing them back.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Topics;

    fn id(name: &str) -> NodeId {
        NodeId { name: name.into(), incarnation: 1 }
    }

    fn nodes(most: usize) -> KnownNodes {
        let settings = Settings::new(id("me"), Topics::new("p", "n"));
        KnownNodes::new(&Settings { max_nodes: most, ..settings })
    }

    /// The transitions when `new` replaces `old`.
    fn replacement(old: &str, new: &str) -> [NodeTransition; 3] {
        [NodeTransition::Down(id(old)), NodeTransition::Dropped(old.into()), NodeTransition::Up(id(new))]
    }

    #[test]
    fn a_node_over_the_limit_is_refused_until_another_is_silent_for_two_beats() {
        let mut nodes = nodes(2);
        nodes.admit(&id("a"), 1, false);
        nodes.admit(&id("b"), 2, false);
        assert_eq!(nodes.admit(&id("z"), 2000, false), []);
        assert!(nodes.get("z").is_none());
        assert_eq!(nodes.admit(&id("z"), 2001, false), replacement("a", "z"), "the longest silent one is replaced");
        assert_eq!(nodes.take_refused(), 2);
        assert_eq!(nodes.take_refused(), 0);
    }

    #[test]
    fn a_node_with_a_lease_replaces_at_once_one_without_and_never_one_with() {
        let mut nodes = nodes(2);
        for name in ["a", "b"] {
            nodes.admit(&id(name), 0, false);
        }
        let leased = NodeState::Up { since: 0, heard: 0, leased: true };
        nodes.get_mut("a").expect("known").state = leased;
        assert_eq!(nodes.admit(&id("c"), 0, true), replacement("b", "c"));
        nodes.get_mut("c").expect("known").state = leased;
        assert_eq!(nodes.admit(&id("d"), 9000, true), []);
        assert!(nodes.get("d").is_none());
    }

    #[test]
    fn dead_nodes_do_not_count_and_are_limited_by_themselves() {
        let mut nodes = nodes(2);
        for number in 0..5 {
            let name = format!("x{number}");
            assert_eq!(nodes.admit(&id(&name), number, false), [NodeTransition::Up(id(&name))]);
            nodes.get_mut(&name).expect("known").state = NodeState::Hidden { since: number, expired: false };
        }
        let dropped = ["x0", "x1", "x2"].map(|name| NodeTransition::Dropped(name.into()));
        assert_eq!(nodes.limit_dead(), dropped, "the longest hidden ones");
        assert_eq!(nodes.limit_dead(), []);
        assert_eq!(nodes.take_refused(), 0);
    }
}

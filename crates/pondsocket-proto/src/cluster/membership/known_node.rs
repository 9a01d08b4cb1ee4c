use super::transition::NodeTransition;
use crate::cluster::NodeId;

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
/// Another incarnation of the same name begins in UP, whatever the state of the one before. Of incarnations that hold
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

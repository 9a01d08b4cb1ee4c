use super::transition::NodeTransition;
use crate::cluster::NodeId;

/// The state of one life of a node.
///
/// ```text
///             lease, Hello                    60 s                        10 min
///   UP <--------------------------- HIDDEN ---------> HIDDEN, expired ----------> unknown
///   | |                               ^                                             ^
///   | +-- lease ran out, silence, Down+                                             |
///   +-------------------- Bye -----------------------> GONE ------------------------+
/// ```
///
/// Another life of the same name begins in UP, whatever the one before was. Of lives that hold a lease the one with the
/// largest number is the node; one that holds none takes nothing from one that does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NodeState {
    /// The node lives.
    Up {
        /// The time when it was first heard of, or came back.
        since: u64,
        /// The time of the last sign of life.
        heard: u64,
        /// True if its lease has been seen, so that the absence of the lease means something.
        leased: bool,
    },
    /// The node seems dead, and may come back.
    Hidden { since: u64, expired: bool },
    /// The node has said goodbye: this life does not come back.
    Gone { since: u64, expired: bool },
}

/// One life of a node that is known.
#[derive(Debug)]
pub(super) struct KnownNode {
    pub(super) incarnation: u64,
    pub(super) state: NodeState,
    /// True if this life has ever been seen to hold a lease.
    pub(super) was_leased: bool,
}

impl KnownNode {
    pub(super) fn new(incarnation: u64, now: u64) -> KnownNode {
        KnownNode { incarnation, state: NodeState::Up { since: now, heard: now, leased: false }, was_leased: false }
    }

    /// Lets another life of the same name take the place of this one.
    pub(super) fn follow(&mut self, id: &NodeId, now: u64) -> Vec<NodeTransition> {
        let before = NodeId { name: id.name.clone(), incarnation: self.incarnation };
        let down = matches!(self.state, NodeState::Up { .. }).then_some(NodeTransition::Down(before));
        *self = KnownNode::new(id.incarnation, now);
        down.into_iter().chain([NodeTransition::Replaced(id.clone()), NodeTransition::Up(id.clone())]).collect()
    }
}

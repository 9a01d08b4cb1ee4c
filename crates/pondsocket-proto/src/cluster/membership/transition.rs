use std::sync::Arc;

use crate::cluster::NodeId;

/// A change of the state of another node, as this one sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) enum NodeTransition {
    /// The incarnation is alive; it was not before. Its users are shown.
    Up(NodeId),
    /// The incarnation is no longer alive. Its users are hidden.
    Down(NodeId),
    /// Another incarnation of the name is valid: the users of all others are dropped.
    Replaced(NodeId),
    /// The node has been hidden or gone for so long that its users are dropped.
    Expired(Arc<str>),
    /// The node is unknown from now on.
    Dropped(Arc<str>),
    /// The incarnation has a larger number than the valid one, which holds a lease, and is not known to hold one
    /// itself. It is not valid until the table of leases lists it.
    Contested(NodeId),
}

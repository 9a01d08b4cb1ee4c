use std::sync::Arc;

use crate::cluster::NodeId;

/// A change of what this node thinks of another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::cluster) enum NodeTransition {
    /// The life is up; it was not before.
    Up(NodeId),
    /// The life is down; it was up before.
    Down(NodeId),
    /// The name has another life: what is known of the users of others is void.
    Replaced(NodeId),
    /// The node has been gone for so long that its users need not be kept.
    Expired(Arc<str>),
    /// The node is unknown from now on.
    Dropped(Arc<str>),
    /// The life calls itself newer than the one that holds a lease, and holds none as far as is known. It does not count
    /// until the table of leases names it.
    Contested(NodeId),
}

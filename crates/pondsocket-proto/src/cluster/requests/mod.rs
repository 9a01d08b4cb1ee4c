//! Requests between nodes (docs/cluster.md, Operations): those of this node to others, and the commands of other nodes
//! for users of this one.

mod commands;
mod outgoing;

pub(super) use commands::{Commands, lookup};
pub(super) use outgoing::Requests;

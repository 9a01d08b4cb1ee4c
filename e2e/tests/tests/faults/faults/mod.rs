//! Faults of nodes, of Redis, and of the network between them.

pub(crate) mod mixed;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod redis;
pub(crate) mod sentinel;

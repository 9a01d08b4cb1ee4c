//! What is done to nodes, Redis, and what is between them.

pub(crate) mod mixed;
pub(crate) mod node;
pub(crate) mod redis;
pub(crate) mod sentinel;
pub(crate) mod way;

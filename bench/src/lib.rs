//! What the runner and the programs that it compares have in common.

pub mod wire;

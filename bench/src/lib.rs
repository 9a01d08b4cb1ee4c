//! Code shared by the runner and the programs that it compares.

pub mod wire;

//! The little of the protocols that load needs: frames made once, and read by looking at bytes.

pub mod client;
pub mod dialect;
mod frame;
pub mod server;

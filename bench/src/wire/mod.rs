//! The part of the protocols that the load needs. Frames are encoded once, and read by single bytes.

pub mod client;
pub mod dialect;
mod frame;
pub mod server;

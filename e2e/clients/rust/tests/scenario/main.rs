//! The published Rust client against the contract server.

mod connection;
mod join;
mod messages;
mod presence;
mod reconnect;
mod resume;

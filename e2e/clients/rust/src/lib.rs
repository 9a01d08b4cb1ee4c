//! The published Rust client as a test peer. The tests are in `tests/scenario`; here is what they talk through.

mod peer;
mod proxy;
mod server;
mod wait;

pub use peer::Peer;
pub use proxy::Proxy;
pub use server::{chat_room, history_room, plain_room, server};
pub use wait::{settle, until};

//! The server under test, and names of channels that no other test uses.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The WebSocket endpoint under test.
pub fn server() -> String {
    std::env::var("POND_SERVER").expect("POND_SERVER: start the tests with ./run ws://127.0.0.1:PORT/api/socket")
}

/// A channel with presence that no other test has used.
pub fn chat_room() -> String {
    format!("/chat/{}", fresh())
}

/// A channel without presence that no other test has used.
pub fn plain_room() -> String {
    format!("/plain/{}", fresh())
}

/// A channel with a history that no other test has used.
pub fn history_room() -> String {
    format!("/history/{}", fresh())
}

fn fresh() -> String {
    static ROOMS: AtomicUsize = AtomicUsize::new(1);
    format!("rust-{}-{}", std::process::id(), ROOMS.fetch_add(1, Ordering::Relaxed))
}

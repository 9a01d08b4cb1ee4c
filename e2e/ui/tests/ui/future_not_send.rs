//! A lock that is held while the handler waits.

use std::sync::Mutex;

use pondsocket::{EventContext, Lobby, Result};

static COUNT: Mutex<u32> = Mutex::new(0);

async fn message(ctx: EventContext) -> Result<()> {
    let mut count = COUNT.lock().expect("whole");
    *count += 1;
    ctx.evict("ada", "spam").await
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", message);
}

fn main() {}

//! A lock that is held while the handler waits, of a handler that is called by a closure.

use std::sync::Mutex;

use pondsocket::{EventContext, Lobby, Result};

static COUNT: Mutex<u32> = Mutex::new(0);

async fn message(ctx: EventContext) -> Result<()> {
    let mut count = COUNT.lock().expect("whole");
    *count += 1;
    ctx.evict("ada", "spam").await
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", async |ctx: EventContext| message(ctx).await);
}

fn main() {}

//! A layer that has nothing to go on with.

use pondsocket::{EventContext, Lobby, Result};

async fn timed(_: EventContext) -> Result<()> {
    Ok(())
}

fn register(lobby: &Lobby) {
    lobby.layer(timed);
}

fn main() {}

//! A layer around joins is none around events.

use pondsocket::{JoinContext, Joined, Lobby, Next, Result};

async fn checked(ctx: JoinContext, next: Next<JoinContext>) -> Result<Joined> {
    next.run(ctx).await
}

fn register(lobby: &Lobby) {
    lobby.layer(checked);
}

fn main() {}

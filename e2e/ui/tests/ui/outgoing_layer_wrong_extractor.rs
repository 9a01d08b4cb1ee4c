//! The same of a layer around outgoing messages, which has no presence of a sender.

use pondsocket::{Lobby, Outgoing, OutgoingContext, OutgoingNext, Presence, Result};

fn layer(ctx: &OutgoingContext, Presence(_): Presence<String>, next: OutgoingNext) -> Result<Outgoing> {
    next.run(ctx)
}

fn register(lobby: &Lobby) {
    lobby.layer_outgoing(layer);
}

fn main() {}

//! An outgoing handler that would wait.

use pondsocket::{Lobby, Outgoing, OutgoingContext};

async fn filter(_: &OutgoingContext) -> Outgoing {
    Outgoing::Pass
}

fn register(lobby: &Lobby) {
    lobby.on_outgoing("message", filter);
}

fn main() {}

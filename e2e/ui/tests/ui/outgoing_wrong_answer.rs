//! An outgoing handler that answers as no outgoing handler can.

use pondsocket::{Lobby, OutgoingContext};

fn filter(_: &OutgoingContext) -> bool {
    true
}

fn register(lobby: &Lobby) {
    lobby.on_outgoing("message", filter);
}

fn main() {}

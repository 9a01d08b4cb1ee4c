//! A layer around outgoing messages that has nothing to go on with.

use pondsocket::{Lobby, Outgoing, OutgoingContext};

fn nothing(_: &OutgoingContext) -> Outgoing {
    Outgoing::Block
}

fn register(lobby: &Lobby) {
    lobby.layer_outgoing(nothing);
}

fn main() {}

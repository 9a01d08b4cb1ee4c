//! An outgoing message has no assigns of its own: those of its recipient are in the context.

use pondsocket::{Assigns, Lobby, Outgoing, OutgoingContext};

fn filter(_: &OutgoingContext, Assigns(_): Assigns<String>) -> Outgoing {
    Outgoing::Pass
}

fn register(lobby: &Lobby) {
    lobby.on_outgoing("message", filter);
}

fn main() {}

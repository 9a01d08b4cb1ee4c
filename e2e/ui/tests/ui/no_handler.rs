//! A handler that does not take the context first.

use pondsocket::{Lobby, Payload};

async fn message(Payload(_): Payload<String>) {}

fn register(lobby: &Lobby) {
    lobby.on_event("message", message);
}

fn main() {}

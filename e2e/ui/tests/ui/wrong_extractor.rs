//! A leave has no payload.

use pondsocket::{LeaveContext, Lobby, Payload};

async fn left(_: LeaveContext, Payload(_): Payload<String>) {}

fn register(lobby: &Lobby) {
    lobby.on_leave(left);
}

fn main() {}

//! A payload of a type that cannot be read.

use pondsocket::{EventContext, Lobby, Payload};

struct Message {
    text: String,
}

async fn message(_: EventContext, Payload(message): Payload<Message>) {
    println!("{}", message.text);
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", message);
}

fn main() {}

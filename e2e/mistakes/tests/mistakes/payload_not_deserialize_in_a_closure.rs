//! A payload of a type that cannot be read, of a handler that is called by a closure.

use pondsocket::{EventContext, Lobby, Payload};

struct Message {
    text: String,
}

async fn message(_: EventContext, Payload(message): Payload<Message>) {
    println!("{}", message.text);
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", async |ctx: EventContext, payload: Payload<Message>| message(ctx, payload).await);
}

fn main() {}

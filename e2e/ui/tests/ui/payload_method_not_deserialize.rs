//! The same without an extractor.

use pondsocket::{EventContext, Lobby, Result};

struct Message {
    text: String,
}

async fn message(ctx: EventContext) -> Result<()> {
    let message: Message = ctx.payload()?;
    println!("{}", message.text);
    Ok(())
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", message);
}

fn main() {}

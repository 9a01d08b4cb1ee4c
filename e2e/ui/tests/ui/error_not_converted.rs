//! An error without a conversion, so that its code is not known.

use pondsocket::{EventContext, Lobby, Result};

async fn message(ctx: EventContext) -> Result<()> {
    let text = std::fs::read_to_string("greeting.txt")?;
    ctx.reply("greeting", &[("text", text)].into_iter().collect::<std::collections::BTreeMap<_, _>>())
}

fn register(lobby: &Lobby) {
    lobby.on_event("message", message);
}

fn main() {}

//! A value for one thread in a handler that is a closure.

use std::rc::Rc;

use pondsocket::{EventContext, Lobby};

fn register(lobby: &Lobby) {
    lobby.on_event("message", async |ctx: EventContext| {
        let user = Rc::new("ada");
        ctx.evict(&user, "spam").await
    });
}

fn main() {}

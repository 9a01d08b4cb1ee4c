//! A layer that holds a value for one thread while the handler runs.

use std::rc::Rc;

use pondsocket::{EventContext, Lobby, Next, Result};

async fn timed(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    let name = Rc::new(ctx.event().to_owned());
    let outcome = next.run(ctx).await;
    println!("{name} is done");
    outcome
}

fn register(lobby: &Lobby) {
    lobby.layer(timed);
}

fn main() {}

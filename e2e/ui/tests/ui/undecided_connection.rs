//! A connection handler that decides nothing.

use pondsocket::{ConnectionContext, PondSocket};

async fn connect(ctx: ConnectionContext) {
    println!("{} is at the door", ctx.connection_id());
}

fn register(pond: &PondSocket) {
    pond.create_endpoint("/", connect);
}

fn main() {}

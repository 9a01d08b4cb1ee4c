//! A join handler that decides nothing.

use pondsocket::{Endpoint, JoinContext, Result};

async fn join(ctx: JoinContext) -> Result<()> {
    ctx.set_assign("seen", &true)
}

fn register(endpoint: &Endpoint) {
    endpoint.create_channel("/room", join);
}

fn main() {}

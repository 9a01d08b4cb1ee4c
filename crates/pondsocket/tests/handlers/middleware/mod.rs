//! Layers around handlers: their order and their effects.

mod events;
mod extractors;
mod failures;
mod order;
mod passing_on;

use std::pin::Pin;

use pondsocket::handler::Context;
use pondsocket::testing::{Client, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EventContext, JoinContext, Joined, Lobby, Next, PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::Log;

type Answering<C> = Pin<Box<dyn Future<Output = Result<<C as Context>::Answer>> + Send>>;

/// A layer that records when it is entered and left.
fn noting<C: Context>(log: &Log, name: &'static str) -> impl Fn(C, Next<C>) -> Answering<C> + Send + Sync + 'static {
    let log = log.clone();
    move |ctx, next| {
        let log = log.clone();
        Box::pin(async move {
            log.note(format!("{name} in"));
            let answer = next.run(ctx).await;
            log.note(format!("{name} out"));
            answer
        })
    }
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("ada"))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

async fn echo(ctx: EventContext) -> Result<()> {
    ctx.reply("echo", &ctx.payload::<Value>()?)
}

/// Handlers and layers take the log as their state.
fn logged() -> (PondSocket, Log) {
    let log = Log::default();
    (PondSocket::new().state(log.clone()), log)
}

fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby.on_event("echo", echo);
    (pond, endpoint, lobby, log)
}

async fn enter(pond: &PondSocket) -> (Client, Room) {
    let client = pond.test_client().connect("/").await.expect("let in");
    let room = client.join("/c/1", json!({})).await.expect("joined");
    (client, room)
}

/// A value that a layer adds to the context.
#[derive(Clone, Debug, PartialEq)]
struct Tenant(&'static str);

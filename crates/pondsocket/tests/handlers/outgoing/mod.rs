//! Outgoing handlers: their decisions for each recipient, and the messages that they never see.

mod compression;
mod decisions;
mod order;
mod patterns;

use std::time::Duration;

use pondsocket::metrics::Component;
use pondsocket::testing::{Client, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Lobby, Metrics, OutgoingContext,
    Payload, PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::Log;
use tokio::time::timeout;

/// Counts blocked messages by their reasons.
struct OutgoingLog(Log);

impl Metrics for OutgoingLog {
    fn message_blocked(&self, endpoint: &str, event: &str) {
        self.0.note(format!("blocked {event} at {endpoint}"));
    }

    fn error(&self, component: Component, error: &Error) {
        self.0.note(format!("{component}: {error}"));
    }
}

/// Users are named in the query.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&user))
}

/// A join may bring a role, which is an assign of the membership, and a mood, which is shown.
async fn join(ctx: JoinContext, Payload(payload): Payload<Value>) -> Result<Joined> {
    let joined = ctx.accept().assign("role", &payload["role"]);
    Ok(match payload.get("mood") {
        Some(mood) => joined.track(&json!({ "mood": mood })),
        None => joined,
    })
}

/// Sends an event of the same name, in the way that the payload selects.
async fn send(ctx: EventContext, Payload(payload): Payload<Value>) -> Result<()> {
    ctx.broadcast(ctx.event(), &payload).map(drop)
}

fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone()).metrics(OutgoingLog(log.clone()));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby.on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Value>| ctx.reply("echo", &payload));
    lobby.on_event("say/*", send);
    (pond, endpoint, lobby, log)
}

async fn enter(pond: &PondSocket, user: &str, payload: Value) -> (Client, Room) {
    let client = pond.test_client().connect(&format!("/?user={user}")).await.expect("let in");
    let room = client.join("/c/1", payload).await.expect("joined");
    (client, room)
}

/// The names of the received events, once no more arrive.
async fn heard(room: &mut Room) -> Vec<String> {
    room.request("echo", json!({})).await.expect("a reply, behind everything");
    let mut heard = Vec::new();
    while let Ok(Ok(message)) = timeout(Duration::from_millis(1), room.next_message()).await {
        heard.push(message.event);
    }
    heard
}

fn role(ctx: &OutgoingContext) -> String {
    ctx.recipient().assign("role").unwrap_or_default()
}

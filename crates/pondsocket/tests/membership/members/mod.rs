//! Users in a channel: their connections, assigns, presence, messages and ends.

mod changes;
mod connections;
mod late_handlers;
mod presence;
mod reading;

use std::collections::HashMap;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, EventContext, JoinContext, Joined, Lobby, Payload, PondSocket, Result,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Profile {
    who: String,
    mood: String,
}

/// Users are named in the query.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&user).assign("level", &1))
}

/// A join may have a mood, which becomes the presence.
async fn join(ctx: JoinContext, Payload(payload): Payload<HashMap<String, String>>) -> Result<Joined> {
    let who = ctx.user_id().to_owned();
    let joined = ctx.accept().assign("joined", &true);
    Ok(match payload.get("mood") {
        Some(mood) => joined.track(&Profile { who, mood: mood.clone() }),
        None => joined,
    })
}

fn pond() -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::new().state(7_u32);
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:n", join);
    lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    (pond, endpoint, lobby)
}

/// The members' moods in a presence message, sorted.
fn moods(message: &Value) -> Vec<String> {
    let list = message["payload"]["presence"].as_array().expect("a list");
    let mut moods: Vec<_> = list.iter().map(|entry| entry["mood"].as_str().expect("a mood").to_owned()).collect();
    moods.sort();
    moods
}

fn change(message: &Value) -> (&str, &str, &str) {
    let text = |value: &'static str| message["payload"][value].as_str().expect("text");
    (
        message["event"].as_str().expect("an event"),
        text("userId"),
        message["payload"]["changed"]["mood"].as_str().expect("a mood"),
    )
}

//! The events of every channel.

use std::collections::HashMap;
use std::time::Duration;

use pondsocket::{Delivery, Endpoint, Error, EventContext, Lobby, Payload, Result};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

pub(crate) fn register(endpoint: &Endpoint, lobby: &Lobby) {
    let endpoint = endpoint.clone();
    lobby
        .on_event("message", message)
        .on_event("typing", typing)
        .on_event("others", others)
        .on_event("private", private)
        .on_event("echo", echo)
        .on_event("status", status)
        .on_event("untrack", async |ctx: EventContext| ctx.untrack())
        .on_event("assign", assign)
        .on_event("evict", evict)
        .on_event("remove", remove)
        .on_event("user", move |ctx: EventContext, query: Payload<UserQuery>| user(endpoint.clone(), ctx, query))
        .on_event("state", state)
        .on_event("slow", slow)
        .on_event("later", later)
        .on_event("fail", async |_: EventContext| -> Result<()> { Err(Error::new(422, "told to fail")) })
        .on_event("panic", async |_: EventContext| -> () { panic!("told to panic") });
}

/// Broadcasts the payload unchanged.
async fn message(ctx: EventContext, Payload(payload): Payload<Box<RawValue>>) -> Result<Delivery> {
    ctx.broadcast("message", &payload)
}

async fn typing(ctx: EventContext, Payload(payload): Payload<Box<RawValue>>) -> Result<Delivery> {
    ctx.broadcast_from("typing", &payload)
}

/// Broadcasts to all but the sender, as `typing` does; channels with a history keep it.
async fn others(ctx: EventContext, Payload(payload): Payload<Box<RawValue>>) -> Result<Delivery> {
    ctx.broadcast_from("others", &payload)
}

#[derive(Deserialize)]
struct Private {
    to: String,
    text: Value,
}

async fn private(ctx: EventContext, Payload(private): Payload<Private>) -> Result<Delivery> {
    let message = json!({ "from": ctx.user_id(), "text": private.text });
    ctx.broadcast_to([private.to], "private", &message)
}

async fn echo(ctx: EventContext, Payload(payload): Payload<Box<RawValue>>) -> Result<()> {
    ctx.reply("echo", &payload)
}

#[derive(Deserialize)]
struct Status {
    status: Value,
}

async fn status(ctx: EventContext, Payload(Status { status }): Payload<Status>) -> Result<()> {
    let mut presence: Map<String, Value> = ctx.presence()?;
    presence.insert("status".into(), status);
    ctx.update_presence(&presence)
}

#[derive(Deserialize)]
struct Assign {
    key: String,
    value: Value,
    /// The member whose assigns change; by default the sender.
    #[serde(rename = "userId")]
    user_id: Option<String>,
}

async fn assign(ctx: EventContext, Payload(Assign { key, value, user_id }): Payload<Assign>) -> Result<()> {
    match user_id {
        Some(user) => ctx.channel().update_assigns(&user, &key, &value).await,
        None => ctx.set_assign(&key, &value),
    }
}

#[derive(Deserialize)]
struct Evict {
    #[serde(rename = "userId")]
    user_id: String,
    #[serde(default)]
    reason: String,
}

async fn evict(ctx: EventContext, Payload(Evict { user_id, reason }): Payload<Evict>) -> Result<()> {
    ctx.evict(&user_id, &reason).await
}

async fn remove(ctx: EventContext, Payload(Evict { user_id, reason }): Payload<Evict>) -> Result<()> {
    ctx.remove(&user_id, &reason).await
}

#[derive(Deserialize)]
struct UserQuery {
    #[serde(rename = "userId")]
    user_id: String,
    /// The channel of the user; by default that of the message.
    channel: Option<String>,
}

/// Replies with a member of any node.
async fn user(endpoint: Endpoint, ctx: EventContext, Payload(query): Payload<UserQuery>) -> Result<()> {
    let channel = query.channel.map_or_else(|| Ok(ctx.channel()), |name| endpoint.channel(&name))?;
    let user = channel.user(&query.user_id).await?;
    ctx.reply("user", &json!({ "id": user.id(), "assigns": user.assigns::<Value>()? }))
}

async fn state(ctx: EventContext) -> Result<()> {
    let presence: HashMap<String, Value> = ctx.all_presence()?;
    let assigns: HashMap<String, Value> = ctx.all_assigns()?;
    ctx.reply("state", &json!({ "self": ctx.user_id(), "presence": presence, "assigns": assigns }))
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

async fn slow(ctx: EventContext, Payload(Slow { ms }): Payload<Slow>) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ctx.reply("slow", &json!({ "ms": ms }))
}

#[derive(Deserialize)]
struct Later {
    ms: u64,
    payload: Box<RawValue>,
}

/// Broadcasts the payload after a delay.
async fn later(ctx: EventContext, Payload(Later { ms, payload }): Payload<Later>) -> Result<Delivery> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ctx.broadcast("later", &payload)
}

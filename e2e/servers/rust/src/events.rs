//! The events of the chat: those of the contract server that the matrix needs.

use async_trait::async_trait;
use pondsocket::channel::EventHandler;
use pondsocket::contexts::EventContext;
use pondsocket::errors::Result;
use pondsocket::lobby::Lobby;
use serde_json::{Value, json};

pub(crate) async fn register(lobby: &Lobby) {
    let events = ["message", "typing", "private", "status", "untrack", "assign", "evict", "remove", "state"];
    for event in events {
        lobby.on_message(event, Events).await;
    }
}

struct Events;

#[async_trait]
impl EventHandler for Events {
    async fn call(&self, ctx: &mut EventContext) -> Result<()> {
        let payload = ctx.event.payload.clone();
        match ctx.event.event.as_str() {
            "message" => ctx.broadcast("message", payload).await,
            "typing" => ctx.broadcast_from("typing", payload).await,
            "private" => private(ctx, &payload).await,
            "status" => status(ctx, &payload).await,
            "untrack" => ctx.untrack().await,
            "assign" => assign(ctx, &payload).await,
            "evict" => ctx.evict(&text(&payload["reason"]), &[text(&payload["userId"])]).await,
            "remove" => ctx.channel.remove_user(&text(&payload["userId"]), &text(&payload["reason"])).await,
            _ => state(ctx).await,
        }
    }
}

async fn private(ctx: &EventContext, payload: &Value) -> Result<()> {
    let message = json!({ "from": ctx.user.id, "text": payload["text"] });
    ctx.broadcast_to("private", message, &[text(&payload["to"])]).await
}

async fn status(ctx: &EventContext, payload: &Value) -> Result<()> {
    let mut presence = ctx.user.presence.clone().unwrap_or_default();
    presence.insert("status".to_owned(), payload["status"].clone());
    ctx.update_presence(Value::Object(presence)).await
}

/// Of oneself, unless `userId` says whose.
async fn assign(ctx: &EventContext, payload: &Value) -> Result<()> {
    let user = payload["userId"].as_str().unwrap_or(&ctx.user.id);
    ctx.channel.update_assign(user, &text(&payload["key"]), payload["value"].clone()).await
}

async fn state(ctx: &mut EventContext) -> Result<()> {
    let presence = ctx.channel.get_presence().await;
    let assigns = ctx.channel.get_assigns().await;
    ctx.reply("state", json!({ "self": ctx.user.id, "presence": presence, "assigns": assigns })).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

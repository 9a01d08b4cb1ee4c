use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Payload, PondSocket, Result, State,
};
use serde::Deserialize;
use serde_json::json;

use crate::database::Database;

#[derive(Deserialize)]
struct Say {
    text: String,
}

/// Creates a pond with one endpoint, `/ws/socket?token=token-of-NAME`, and one room behind it, `/room`.
pub fn pond(database: &Database) -> PondSocket {
    let pond = PondSocket::new().state(database.clone());
    let room = pond.create_endpoint("/ws/socket", connect).create_channel("/room", join);
    room.on_event("say", say);
    pond
}

async fn connect(ctx: ConnectionContext, State(database): State<Database>) -> Result<Connected> {
    let user = ctx.query("token").and_then(|token| database.user_of(token));
    let user = user.ok_or_else(|| Error::unauthorized("who are you?"))?;
    let address = ctx.client_ip();
    Ok(ctx.accept().user_id(&user).assign("address", &address))
}

/// Accepts each join, with presence. The reply contains the address of the client.
async fn join(ctx: JoinContext) -> Result<Joined> {
    let (user, address) = (ctx.user_id().to_owned(), ctx.assign::<Option<String>>("address")?);
    Ok(ctx.accept().track(&json!({ "name": user })).reply("welcome", &json!({ "address": address })))
}

async fn say(ctx: EventContext, Payload(say): Payload<Say>, State(database): State<Database>) -> Result<()> {
    database.add(ctx.user_id(), &say.text);
    ctx.broadcast("said", &json!({ "from": ctx.user_id(), "text": say.text }))?;
    Ok(())
}

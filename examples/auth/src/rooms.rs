//! The rooms: the handlers of joins and of each event.

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, Handler, JoinContext, Joined, Payload, PondSocket,
    Result, State,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::guards::{CLAIMS, claims, may_write, unauthorized, valid_event, valid_join};
use crate::rights::{Right, right};
use crate::tokens::{Claims, Tokens};

/// The longest message, in characters.
const MAX_TEXT: usize = 500;

/// Creates the endpoint and its rooms.
pub(crate) fn create(pond: &PondSocket) -> Endpoint {
    let endpoint = pond.create_endpoint("/api/socket", connect);
    endpoint.layer_joins(valid_join).layer_events(valid_event);
    let rooms = endpoint.create_channel("/rooms/:room", join);
    rooms.on_event("message", message.layer(may_write)).on_event("renew", renew);
    endpoint
}

/// A browser sends no headers with a WebSocket, so the token comes in the query; other clients may use the header.
async fn connect(ctx: ConnectionContext, State(tokens): State<Tokens>) -> Result<Connected> {
    let claims = tokens.check(ctx.query("token").or_else(|| ctx.bearer_token())).map_err(unauthorized)?;
    Ok(ctx.accept().user_id(&claims.sub).assign(CLAIMS, &claims))
}

/// A member as others see it.
#[derive(Serialize)]
struct Shown {
    id: String,
    name: String,
    role: crate::accounts::Role,
}

impl From<Claims> for Shown {
    fn from(claims: Claims) -> Shown {
        Shown { id: claims.sub, name: claims.name, role: claims.role }
    }
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let claims = claims(&ctx.connection())?;
    let room = ctx.param("room")?.to_owned();
    match right(claims.role, &room) {
        None => Err(Error::not_found("there is no such room")),
        Some(Right::None) => {
            Err(Error::forbidden("your role may not enter this room").with_details(&json!({ "reason": "right" })))
        }
        Some(right) => {
            let welcome = json!({ "room": room, "right": right, "expiresAt": claims.exp });
            Ok(ctx.accept().track(&Shown::from(claims)).reply("welcome", &welcome))
        }
    }
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

async fn message(ctx: EventContext, Payload(message): Payload<Message>) -> Result<()> {
    let text = message.text.trim();
    if text.is_empty() || text.chars().count() > MAX_TEXT {
        return Err(Error::bad_request("a message has 1 to 500 characters"));
    }
    let from = Shown::from(claims(&ctx.connection())?);
    ctx.broadcast("message", &json!({ "from": from, "text": text })).map(drop)
}

#[derive(Deserialize)]
struct Renew {
    token: String,
}

/// Replaces the token of the connection. The new one must be for the same account, because the user of a connection never
/// changes.
async fn renew(ctx: EventContext, Payload(renew): Payload<Renew>, State(tokens): State<Tokens>) -> Result<()> {
    let new = tokens.check(Some(&renew.token)).map_err(unauthorized)?;
    if new.sub != ctx.user_id() {
        return Err(Error::forbidden("this token is for another account"));
    }
    ctx.connection().set_assign(CLAIMS, &new)?;
    ctx.reply("renewed", &json!({ "expiresAt": new.exp }))
}

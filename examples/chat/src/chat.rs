//! What happens in the chat.

use pondsocket::{Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, PondSocket, Result, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::history::History;
use crate::messages::{Kick, Message, Problem, Say, Shown, Status, StatusUpdate, Typing, Whisper, checked};
use crate::users::{Role, User, Users};

/// The longest name of a room, in bytes.
const MAX_ROOM: usize = 32;

/// Creates the endpoint and its rooms.
pub(crate) fn create(pond: &PondSocket) {
    let socket = pond.create_endpoint("/api/socket", connect);
    let rooms = socket.create_channel("/chat/:roomId", join);
    rooms
        .on_event("message", message)
        .on_event("typing", typing)
        .on_event("status_update", status_update)
        .on_event("private_message", private_message)
        .on_event("kick", kick);
}

async fn connect(ctx: ConnectionContext, State(users): State<Users>) -> Result<Connected> {
    let token = ctx.query("token").ok_or_else(|| Error::unauthorized("sign in first"))?;
    let user = users.authenticate(token).ok_or_else(|| Error::unauthorized("sign in again"))?;
    Ok(ctx.accept().user_id(&user.id).assign("user", &user))
}

async fn join(ctx: JoinContext, State(history): State<History>) -> Result<Joined> {
    let user: User = ctx.assign("user")?;
    let room = ctx.param("roomId").to_owned();
    if room.len() > MAX_ROOM || !room.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err(Error::not_found("There is no such room."));
    }
    let welcome = json!({
        "messages": history.of(&room),
        "room": { "id": room, "members": ctx.channel().member_count() + 1 },
        "user": user,
    });
    let shown = shown(&user, Status::Online);
    Ok(ctx.accept().assign("room", &room).track(&shown).reply("welcome", &welcome))
}

async fn message(ctx: EventContext, State(history): State<History>) -> Result<()> {
    let text = match read::<Say>(&ctx).and_then(|say| checked(&say.text)) {
        Ok(text) => text,
        Err(problem) => return ctx.reply("message", &problem),
    };
    let message = Message::new(&ctx.assign("user")?, text);
    history.add(&ctx.assign::<String>("room")?, message.clone());
    ctx.broadcast("message", &message)?;
    ctx.reply("message", &json!({ "ok": true, "id": message.id }))
}

async fn typing(ctx: EventContext) -> Result<()> {
    let typing = match read::<Typing>(&ctx) {
        Ok(typing) => typing,
        Err(problem) => return ctx.reply("typing", &problem),
    };
    let user: User = ctx.assign("user")?;
    ctx.broadcast_from("typing", &json!({ "user": user, "isTyping": typing.is_typing })).map(drop)
}

async fn status_update(ctx: EventContext) -> Result<()> {
    match read::<StatusUpdate>(&ctx) {
        Ok(update) => {
            ctx.update_presence(&shown(&ctx.assign("user")?, update.status))?;
            ctx.reply("status_update", &json!({ "ok": true, "status": update.status }))
        }
        Err(problem) => ctx.reply("status_update", &problem),
    }
}

async fn private_message(ctx: EventContext) -> Result<()> {
    let whisper = match read::<Whisper>(&ctx) {
        Ok(whisper) => whisper,
        Err(problem) => return ctx.reply("private_message", &problem),
    };
    let text = match checked(&whisper.text) {
        Ok(text) => text,
        Err(problem) => return ctx.reply("private_message", &problem),
    };
    let Ok(target) = ctx.channel().user(&whisper.to).await else {
        return ctx.reply("private_message", &Problem::nobody(&whisper.to));
    };
    let message = Message::new(&ctx.assign("user")?, text);
    let private = Private { message: &message, to: &target.assign::<User>("user")? };
    // To both, so that each of their windows shows it.
    ctx.broadcast_to([whisper.to.as_str(), ctx.user_id()], "private_message", &private)?;
    ctx.reply("private_message", &json!({ "ok": true, "id": message.id }))
}

#[derive(Serialize)]
struct Private<'a> {
    #[serde(flatten)]
    message: &'a Message,
    to: &'a User,
}

async fn kick(ctx: EventContext) -> Result<()> {
    let kick = match read::<Kick>(&ctx) {
        Ok(kick) => kick,
        Err(problem) => return ctx.reply("kick", &problem),
    };
    if ctx.assign::<User>("user")?.role != Role::Admin {
        return ctx.reply("kick", &Problem::forbidden("Only an admin can remove people."));
    }
    let reason = if kick.reason.is_empty() { "removed by an admin" } else { &kick.reason };
    match ctx.evict(&kick.user_id, reason).await {
        Ok(()) => ctx.reply("kick", &json!({ "ok": true })),
        Err(_) => ctx.reply("kick", &Problem::nobody(&kick.user_id)),
    }
}

/// The payload, or what to answer when it is of a wrong shape.
fn read<T: DeserializeOwned>(ctx: &EventContext) -> Result<T, Problem> {
    ctx.payload().map_err(|error| Problem::malformed(&error))
}

fn shown(user: &User, status: Status) -> Shown {
    Shown { id: user.id.clone(), username: user.username.clone(), role: user.role, status }
}

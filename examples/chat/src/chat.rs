//! The handlers of the chat: for connections, joins and each event.

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Joined, Payload, PondSocket, Result, State,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::messages::{
    Enter, Kick, Message, PrivateMessage, Room, Say, Shown, StatusUpdate, Typing, Welcome, Whisper, checked_text,
};
use crate::problem::{Problem, Refusal};
use crate::users::{Role, User, Users};

/// The longest name of a room.
const MAX_ROOM: usize = 32;

/// The number of messages that a new member is shown.
const SHOWN: usize = 50;

/// The time for which messages are kept.
const KEPT: Duration = Duration::from_secs(60 * 60);

/// Creates the endpoint and its rooms.
pub(crate) fn create(pond: &PondSocket) {
    let socket = pond.create_endpoint("/api/socket", connect);
    let rooms = socket.create_channel("/chat/:roomId", join);
    // A page that was away gets all that it missed, and not only the last messages.
    rooms.history(History::new().messages(500).ttl(KEPT).stamp("_pos").without(["typing"]));
    rooms
        .on_event("message", message)
        .on_event("private_message", private_message)
        .on_event("typing", typing)
        .on_event("status_update", status_update)
        .on_event("kick", kick);
}

/// Accepts a connection with a valid token. Its user is the one of the token, for all handlers.
async fn connect(ctx: ConnectionContext, State(users): State<Users>) -> Result<Connected> {
    let token = ctx.query("token").ok_or_else(|| Error::unauthorized("sign in first"))?;
    let user = users.authenticate(token).ok_or_else(|| Error::unauthorized("sign in again"))?;
    Ok(ctx.accept().user_id(&user.id).assign("user", &user))
}

async fn join(ctx: JoinContext, Payload(enter): Payload<Enter>) -> Result<Joined> {
    let user: User = ctx.assign("user")?;
    let id = ctx.param("roomId")?.to_owned();
    if !is_room(&id) {
        return Err(Error::not_found("there is no such room"));
    }
    let room = Room { id: id.clone(), members: ctx.channel().member_count() + 1 };
    let welcome = Welcome { room, user: user.clone() };
    let shown = Shown::new(user, enter.status);
    Ok(ctx.accept().assign("room", &id).track(&shown).reply("welcome", &welcome).replay_last(SHOWN))
}

async fn message(ctx: EventContext) -> Result<()> {
    let sent = async {
        let text = checked_text(&read::<Say>(&ctx)?.text)?;
        let message = Message::new(ctx.assign("user")?, text);
        ctx.broadcast("message", &message)?;
        Ok(json!({ "id": message.id }))
    };
    answer(&ctx, sent.await)
}

async fn private_message(ctx: EventContext) -> Result<()> {
    let sent = async {
        let whisper: Whisper = read(&ctx)?;
        let text = checked_text(&whisper.text)?;
        let target = ctx.channel().user(&whisper.to).await.map_err(|_| Problem::not_in_room(&whisper.to))?;
        let message = Message::new(ctx.assign("user")?, text);
        let private = PrivateMessage { message, to: target.assign("user")? };
        // To the sender as well, so that each of its windows shows it.
        ctx.broadcast_to([&private.to.id, &private.message.from.id], "private_message", &private)?;
        Ok(json!({ "id": private.message.id }))
    };
    answer(&ctx, sent.await)
}

/// Broadcasts that the sender is typing. There is a reply only to an invalid message, because this event is frequent.
async fn typing(ctx: EventContext) -> Result<()> {
    match read::<Typing>(&ctx) {
        Ok(Typing { is_typing }) => {
            let user: User = ctx.assign("user")?;
            ctx.broadcast_from("typing", &json!({ "user": user, "isTyping": is_typing })).map(drop)
        }
        Err(problem) => ctx.reply("typing", &problem),
    }
}

async fn status_update(ctx: EventContext) -> Result<()> {
    let updated = async {
        let StatusUpdate { status } = read(&ctx)?;
        ctx.update_presence(&Shown::new(ctx.assign("user")?, status))?;
        Ok(json!({ "status": status }))
    };
    answer(&ctx, updated.await)
}

async fn kick(ctx: EventContext) -> Result<()> {
    let kicked = async {
        let kick: Kick = read(&ctx)?;
        if ctx.assign::<User>("user")?.role != Role::Admin {
            return Err(Problem::admins_only().into());
        }
        ctx.evict(&kick.user_id, &kick.reason()).await.map_err(|_| Problem::not_in_room(&kick.user_id))?;
        Ok(json!({ "userId": kick.user_id }))
    };
    answer(&ctx, kicked.await)
}

/// Decodes the payload, or returns the answer to a malformed one.
fn read<T: DeserializeOwned>(ctx: &EventContext) -> Result<T, Problem> {
    ctx.payload().map_err(|error| Problem::malformed(&error))
}

/// Replies to the sender with the result or the problem, under the name of its event.
fn answer(ctx: &EventContext, outcome: Result<Value, Refusal>) -> Result<()> {
    match outcome {
        Ok(done) => ctx.reply(ctx.event(), &done),
        Err(Refusal::Problem(problem)) => ctx.reply(ctx.event(), &problem),
        Err(Refusal::Failure(error)) => Err(error),
    }
}

/// Returns whether this is the name of a room. Any short word is one: a room exists while it has members, or its messages are
/// kept.
fn is_room(id: &str) -> bool {
    (1..=MAX_ROOM).contains(&id.len()) && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_short_words() {
        assert!(["general", "team-7", &"a".repeat(32)].into_iter().all(is_room));
        assert!(!["", "General", "a b", "é", "a/b", &"a".repeat(33)].into_iter().any(is_room));
    }
}

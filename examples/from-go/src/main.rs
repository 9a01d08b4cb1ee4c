//! The complete type-safe program that the README of the Go server shows, in Rust: one endpoint that knows its users, one
//! channel with typed assigns, presence and payloads, and the errors of both.
//!
//! `cargo run --release -p from-go`, then connect any PondSocket client to `ws://127.0.0.1:8080/api/socket?token=ada-secret`.

use anyhow::Result as Anyhow;
use clap::Parser;
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, LeaveContext, Payload, PondSocket, Result,
    Server, Shutdown,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// The longest message, in characters.
const MAX_TEXT: usize = 500;

/// A user: an assign of the connection, and so of each of its memberships.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct User {
    id: String,
    username: String,
    role: Role,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Admin,
    User,
}

/// A member as others see it.
#[derive(Debug, Deserialize, Serialize)]
struct Presence {
    username: String,
    status: Status,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    #[default]
    Online,
    Away,
    Busy,
}

/// The payloads of a join and of the events.
#[derive(Deserialize)]
struct Enter {
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Message {
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typing {
    is_typing: bool,
}

#[derive(Deserialize)]
struct StatusUpdate {
    status: Status,
}

#[derive(Deserialize)]
struct PrivateMessage {
    to: String,
    text: String,
}

/// Creates the endpoint, its channel, and the handlers of its events.
fn create(pond: &PondSocket) {
    let socket = pond.create_endpoint("/api/socket", connect);
    socket
        .create_channel("/chat/:roomId", join)
        .on_event("message", message)
        .on_event("typing", typing)
        .on_event("status_update", status_update)
        .on_event("private_message", private_message)
        .on_event("room_info", room_info)
        .on_leave(leave);
}

/// The token comes in the query, as browsers must send it, or in the header `Authorization: Bearer`.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let token =
        ctx.query("token").or_else(|| ctx.bearer_token()).ok_or_else(|| Error::unauthorized("a token is needed"))?;
    let user = user_of(token).ok_or_else(|| Error::forbidden("this token is not valid"))?;
    // Private messages find users by this id.
    Ok(ctx.accept().user_id(&user.id).assign("user", &user))
}

async fn join(ctx: JoinContext, Payload(enter): Payload<Enter>) -> Result<Joined> {
    let user: User = ctx.assign("user")?;
    let room = ctx.param("roomId")?.to_owned();
    if room == "staff" && user.role != Role::Admin {
        return Err(Error::forbidden("this room is for admins").with_details(&json!({ "room": room })));
    }
    let members = ctx.channel().member_count() + 1;
    let presence = Presence { username: user.username.clone(), status: enter.status };
    Ok(ctx
        .accept()
        .assign("room", &room)
        .track(&presence)
        .reply("welcome", &json!({ "room": room, "members": members, "user": user }))
        .broadcast_from("user_joined", &json!({ "user": user })))
}

async fn message(ctx: EventContext, Payload(message): Payload<Message>) -> Result<()> {
    let text = checked(&message.text)?;
    ctx.broadcast("message", &json!({ "from": ctx.assign::<User>("user")?, "text": text }))?;
    Ok(())
}

async fn typing(ctx: EventContext, Payload(typing): Payload<Typing>) -> Result<()> {
    let user: User = ctx.assign("user")?;
    ctx.broadcast_from("typing", &json!({ "user": user, "isTyping": typing.is_typing }))?;
    Ok(())
}

async fn status_update(ctx: EventContext, Payload(update): Payload<StatusUpdate>) -> Result<()> {
    let User { username, .. } = ctx.assign("user")?;
    ctx.update_presence(&Presence { username, status: update.status })?;
    ctx.reply("status_updated", &json!({ "status": update.status }))
}

async fn private_message(ctx: EventContext, Payload(message): Payload<PrivateMessage>) -> Result<()> {
    let text = checked(&message.text)?;
    let to: User = match ctx.channel().user(&message.to).await {
        Ok(member) => member.assign("user")?,
        Err(_) => return Err(Error::not_found("nobody of this id is here").with_details(&json!({ "to": message.to }))),
    };
    ctx.broadcast_to([&to.id], "private_message", &json!({ "from": ctx.assign::<User>("user")?, "text": text }))?;
    ctx.reply("private_message_sent", &json!({ "to": to }))
}

async fn room_info(ctx: EventContext) -> Result<()> {
    let people = ctx.all_presence::<Presence>()?;
    let room: String = ctx.assign("room")?;
    ctx.reply("room_info", &json!({ "room": room, "members": people.len(), "people": people }))
}

/// Runs once for each user, when its last connection has left.
async fn leave(ctx: LeaveContext) -> Result<()> {
    let user: User = ctx.assign("user")?;
    ctx.channel().broadcast("user_left", &json!({ "user": user, "reason": ctx.reason().to_string() }))?;
    Ok(())
}

/// Fails with an error that the sender gets: its code, its message and its details.
fn checked(text: &str) -> Result<&str> {
    match text.trim() {
        "" => Err(Error::bad_request("a message has at least one character")),
        text if text.chars().count() > MAX_TEXT => Err(Error::too_large("a message has 500 characters at the most")),
        text => Ok(text),
    }
}

/// Stands for a database.
fn user_of(token: &str) -> Option<User> {
    let (id, username, role) = match token {
        "ada-secret" => ("1", "Ada", Role::Admin),
        "bob-secret" => ("2", "Bob", Role::User),
        "eve-secret" => ("3", "Eve", Role::User),
        _ => return None,
    };
    Some(User { id: id.to_owned(), username: username.to_owned(), role })
}

/// Serves one channel-based chat, without a page.
#[derive(Parser)]
struct Args {
    /// The port, on 127.0.0.1; 0 picks a free port.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
}

#[tokio::main]
async fn main() -> Anyhow<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_env_filter("info").init();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);

    let pond = PondSocket::new();
    create(&pond);
    // `Server::listen` does all of what follows, and prints nothing.
    let mut server = Server::new(pond);
    server.start(&format!("127.0.0.1:{}", args.port)).await?;
    println!("the server is at http://{}", server.local_addr().map(|address| address.to_string()).unwrap_or_default());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    server.stop(Shutdown::within(std::time::Duration::from_secs(5))).await;
    Ok(())
}

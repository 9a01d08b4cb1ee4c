//! The handlers of the chat: for connections, joins and each event. Nothing here depends on the number of nodes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Joined, Payload, PondSocket, RateLimit,
    Result, State,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::store::Store;

/// The longest message and the longest id of one, in bytes.
const MAX_TEXT: usize = 1000;
const MAX_ID: usize = 64;

/// The number of messages that are kept, and the time for which they are.
const KEPT: usize = 50;
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The longest name, in characters, and the shortest and the longest token, in bytes.
const MAX_NAME: usize = 24;
const TOKEN: std::ops::RangeInclusive<usize> = 16..=64;

/// The messages that a user may send per second, and at once: a page that reconnects sends what has waited.
const MESSAGES: f64 = 20.0;
const BURST: u32 = 100;

/// The name of this node.
#[derive(Clone)]
struct NodeName(Arc<str>);

/// A member as all nodes show it.
#[derive(Clone, Deserialize, Serialize)]
struct Person {
    id: String,
    name: String,
    node: String,
}

/// A message as all members get it, with the node of its sender.
#[derive(Serialize)]
struct Message {
    id: String,
    from: Person,
    text: String,
    at: u64,
}

/// A message as the page sends it. It draws the id, by which it recognises the message.
#[derive(Deserialize)]
struct Say {
    id: String,
    text: String,
}

#[derive(Deserialize)]
struct Typing {
    #[serde(rename = "isTyping")]
    is_typing: bool,
}

/// Creates the endpoint and its channel.
pub(crate) fn create(pond: PondSocket, node: &str, store: Store) -> PondSocket {
    let pond = pond.state(NodeName(node.into())).state(store);
    let lobby = pond.create_endpoint("/api/socket", connect).create_channel("/pond", join);
    lobby.on_event("message", message).on_event("typing", typing).layer(RateLimit::per_user(MESSAGES, BURST));
    // Redis keeps the messages, in one order for all nodes: a page that comes back to any of them gets what it has missed.
    lobby.history(History::new().messages(KEPT).ttl(KEPT_FOR).stamp("_pos").without(["typing"]));
    pond
}

/// The name is the user, and belongs to the token of its first connection. A real application asks for a password, and checks
/// a token that it has signed.
async fn connect(
    ctx: ConnectionContext,
    State(NodeName(node)): State<NodeName>,
    State(store): State<Store>,
) -> Result<Connected> {
    let told = |parameter| ctx.query(parameter).unwrap_or_default();
    let (name, token) = (told("name").trim().to_owned(), told("token").to_owned());
    let is_name = (1..=MAX_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !is_name || !TOKEN.contains(&token.len()) {
        return Err(Error::unauthorized(format!(
            "a name has 1 to {MAX_NAME} ordinary characters, a token 16 to 64 bytes"
        )));
    }
    let id = name.to_lowercase();
    // Without Redis no name can be checked: the page tries again.
    let is_owner = store.reserve(&id, &token).await.map_err(|error| {
        tracing::warn!("a name cannot be checked: {error:#}");
        Error::unavailable("names cannot be checked now")
    })?;
    // A browser hides the reason of a refused connection, and not that of a declined join.
    if !is_owner {
        return Ok(ctx.accept());
    }
    let person = Person { id, name, node: node.to_string() };
    Ok(ctx.accept().user_id(&person.id).assign("person", &person))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let person: Person = ctx.assign("person").map_err(|_| Error::conflict("this name is in use"))?;
    Ok(ctx.accept().track(&person).replay_last(KEPT))
}

async fn message(ctx: EventContext, Payload(say): Payload<Say>) -> Result<()> {
    if say.text.trim().is_empty() || say.text.len() > MAX_TEXT || say.id.len() > MAX_ID {
        return Err(Error::bad_request(format!("a message has 1 to {MAX_TEXT} bytes")));
    }
    let message = Message { id: say.id, from: ctx.assign("person")?, text: say.text, at: now() };
    // To all members on all nodes, including the sender: its page learns so that the message was sent.
    ctx.broadcast("message", &message).map(drop)
}

async fn typing(ctx: EventContext, Payload(Typing { is_typing }): Payload<Typing>) -> Result<()> {
    let Person { id, name, .. } = ctx.assign("person")?;
    ctx.broadcast_from("typing", &json!({ "user": { "id": id, "name": name }, "isTyping": is_typing })).map(drop)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

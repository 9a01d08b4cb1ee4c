//! A chat whose clients resume by their sessions.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, History, Hooks, JoinContext, Joined, Lobby, Options,
    Payload, PondSocket, Recovery, Result,
};
use serde_json::{Value, json};

use crate::{EventPeer, Peer, eventually};

/// The key of a session.
pub const SESSION_KEY: &str = "6f1e6b1c-session-of-bob";

/// The path at which the user Bob connects with this session. What is appended to it makes it another one.
pub const BOB: &str = "/?user=bob&key=6f1e6b1c-session-of-bob";

/// A server with one endpoint at `/`, whose clients name their user and the key of their session in the query, and with rooms
/// `/chat/:room` that keep their messages. A message `ask` is answered with its payload.
#[derive(Debug)]
pub struct SessionChat {
    /// The server.
    pub pond: PondSocket,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The rooms.
    pub lobby: Lobby,
    recoveries: Arc<Mutex<Vec<(String, Recovery)>>>,
}

impl SessionChat {
    /// Creates the server, which is not served yet.
    pub fn new(options: Options, history: History) -> SessionChat {
        SessionChat::on(PondSocket::with_options(options).expect("valid options"), history)
    }

    /// The same with hooks.
    pub fn with_hooks(options: Options, history: History, hooks: impl Hooks) -> SessionChat {
        SessionChat::on(PondSocket::with_options(options).expect("valid options").hooks(hooks), history)
    }

    fn on(pond: PondSocket, history: History) -> SessionChat {
        let endpoint = pond.create_endpoint("/", connect_session);
        let recoveries = Arc::<Mutex<Vec<_>>>::default();
        let noted = Arc::clone(&recoveries);
        let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
            let join = (ctx.user_id().to_owned(), ctx.recovery());
            noted.lock().unwrap_or_else(PoisonError::into_inner).push(join);
            async { Ok::<Joined, Error>(ctx.accept()) }
        });
        lobby.history(history);
        lobby.on_event("ask", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("answered", &value));
        SessionChat { pond, endpoint, lobby, recoveries }
    }

    /// Broadcasts these numbers in the room `/chat/a`.
    pub fn say(&self, numbers: Range<u64>) {
        let channel = self.endpoint.channel("/chat/a").expect("a name");
        for n in numbers {
            channel.broadcast("said", &json!({ "n": n })).expect("room");
        }
    }

    /// The recovery of the last client that joined, as the join handler has seen it.
    pub fn recovery(&self) -> Recovery {
        self.joins().last().expect("a join").1
    }

    /// The users that have joined, each with the recovery that the join handler has seen.
    pub fn joins(&self) -> Vec<(String, Recovery)> {
        self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.pond.snapshot().endpoints[0].connections
    }

    /// Waits until the server has no connections.
    pub async fn is_empty(&self) {
        eventually("the loss is noticed", || self.connections() == 0).await;
    }
}

/// The recovery of a client that has missed this many messages; the first of them may have arrived.
pub fn resumed(missed: usize, may_repeat: usize) -> Recovery {
    Recovery::Resumed { missed, may_repeat }
}

impl Peer {
    /// The numbers of the next messages, all of which must be those of [`SessionChat::say`].
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(number(&self.next().await));
        }
        numbers
    }
}

impl EventPeer {
    /// The numbers of the next messages, all of which must be those of [`SessionChat::say`].
    pub async fn numbers(&mut self, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(number(&self.next().await));
        }
        numbers
    }
}

fn number(message: &Value) -> u64 {
    assert_eq!(message["event"], "said", "{message}");
    message["payload"]["n"].as_u64().expect("a number")
}

/// Accepts a client with the session `key` of its query, and with the user id `user`, if there is one.
pub async fn connect_session(ctx: ConnectionContext) -> Result<Connected> {
    let (user, key) = (ctx.query("user").map(str::to_owned), ctx.query("key").unwrap_or_default().to_owned());
    let accepted = ctx.accept().session(&key);
    Ok(match user {
        Some(user) => accepted.user_id(&user),
        None => accepted,
    })
}

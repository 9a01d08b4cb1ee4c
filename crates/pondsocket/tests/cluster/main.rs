//! Several servers that share channels, through their clients. The servers are connected
//! in memory, so that tests control the failures between them.

mod event_streams;
mod faults;
mod foreign_nodes;
mod grace;
mod histories;
mod incarnations;
mod joining;
mod limits;
mod messages;
mod one_order;
mod operations;
mod operator;
mod outcomes;
mod patience;
mod presence;
mod repeats;
mod sessions;
mod stubborn;

use std::sync::Arc;

use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::testing::{Client, Room};
use pondsocket::{
    Connected, ConnectionContext, Delivery, Endpoint, Error, EventContext, JoinContext, Joined, Options, Payload,
    PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::{Recorder, eventually, within};

/// One server among others.
struct Node {
    pond: PondSocket,
    endpoint: Endpoint,
    bus: Arc<MemoryBus>,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    Ok(ctx.accept().user_id(&name).assign("name", &name))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let name = ctx.user_id().to_owned();
    Ok(ctx.accept().track(&json!({ "name": name, "mood": "new" })))
}

fn delivery(delivery: Delivery) -> Value {
    json!({ "local": delivery.local, "remote": format!("{:?}", delivery.remote) })
}

impl Node {
    async fn start(hub: &MemoryHub, name: &str) -> Node {
        Node::with(hub, name, Options::default(), Recorder::default()).await
    }

    async fn with(hub: &MemoryHub, name: &str, options: Options, counted: Recorder) -> Node {
        let bus = hub.node();
        let options = options.bus(Arc::clone(&bus)).node_name(name.to_owned());
        let pond = PondSocket::with_options(options).expect("valid options").metrics(counted);
        let endpoint = pond.create_endpoint("/api/socket", connect);
        let lobby = endpoint.create_channel("/chat/:room", join);
        endpoint.create_channel("/plain/:room", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
        lobby.on_event("say", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.reply("say", &delivery(ctx.broadcast("said", &payload)?))
        });
        lobby.on_event("say-others", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.reply("say-others", &delivery(ctx.broadcast_from("said", &payload)?))
        });
        lobby.on_event("mood", async |ctx: EventContext, Payload(mood): Payload<Value>| {
            ctx.update_presence(&json!({ "name": ctx.user_id(), "mood": mood["mood"] }))?;
            ctx.reply("mood", &json!({}))
        });
        lobby.on_event("hide", async |ctx: EventContext| {
            ctx.untrack()?;
            ctx.reply("hide", &json!({}))
        });
        Node { pond, endpoint, bus }
    }

    async fn connect(&self, name: &str) -> Client {
        self.pond.test_client().connect(&format!("/api/socket?name={name}")).await.expect("let in")
    }

    /// Joins a user to a channel of this node. The connection lasts as long as the client value.
    async fn join(&self, name: &str, channel: &str) -> (Client, Room) {
        let client = self.connect(name).await;
        let room = client.join(channel, json!({})).await.expect("let in");
        (client, room)
    }

    fn channel(&self, name: &str) -> pondsocket::Channel {
        self.endpoint.channel(name).expect("a channel")
    }

    /// The tracked users of a channel, as this node sees it.
    fn shown(&self, channel: &str) -> Vec<String> {
        let presence = self.channel(channel).presence::<Value>().expect("objects");
        let mut names: Vec<_> = presence.into_keys().collect();
        names.sort_unstable();
        names
    }
}

/// Two nodes that know each other.
async fn pair() -> (MemoryHub, Node, Node) {
    let hub = MemoryHub::new();
    let (one, two) = (Node::start(&hub, "one").await, Node::start(&hub, "two").await);
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two)
}

//! A node: one endpoint, one lobby, and the bus that joins it to the others. Nothing here knows how many there are.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Options, Payload, PondSocket, Server, State,
};
use pondsocket_redis::{RedisBus, RedisOptions};
use serde::{Deserialize, Serialize};

use crate::child::told_to_end;

/// Apart from whatever else uses the same Redis.
const NAMESPACE: &str = "cluster-example";

/// How long clients may take to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest message, and the longest name and id, in bytes.
const MAX_TEXT: usize = 1000;
const MAX_NAME: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What it is called.
    #[arg(long)]
    name: String,
    /// Where it meets the others.
    #[arg(long)]
    redis: String,
    /// Where to listen, on 127.0.0.1; 0 picks a free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// The name of this node.
#[derive(Clone)]
struct Here(Arc<str>);

/// Somebody in the lobby, as all nodes show them.
#[derive(Clone, Deserialize, Serialize)]
struct Person {
    id: String,
    name: String,
    node: String,
}

/// What a page sends. It draws the id, by which it knows the message again.
#[derive(Deserialize)]
struct Say {
    id: String,
    text: String,
}

/// What pages get. It says from which node it comes.
#[derive(Serialize)]
struct Said {
    id: String,
    from: Person,
    text: String,
    at: u64,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let bus = RedisBus::new(RedisOptions::url(&args.redis)?.namespace(NAMESPACE))?;
    let options = Options::default().bus(Arc::new(bus)).node_name(args.name.clone());
    let pond = PondSocket::with_options(options)?.state(Here(args.name.into()));
    let lobby = pond.create_endpoint("/api/socket", connect).create_channel("/pond", join);
    lobby.on_event("message", message);

    let mut server = Server::new(pond);
    server.start(&format!("127.0.0.1:{}", args.port)).await?;
    println!("ws://{}/api/socket", server.local_addr().context("it has just been started")?);
    told_to_end().await;
    server.stop(PATIENCE).await;
    Ok(())
}

/// Whoever comes is believed. A real application asks for a token that all nodes can check.
async fn connect(ctx: ConnectionContext, State(Here(node)): State<Here>) -> pondsocket::Result<Connected> {
    let told = |what| ctx.query(what).filter(|told| (1..=MAX_NAME).contains(&told.len())).map(str::to_owned);
    let (Some(id), Some(name)) = (told("id"), told("name")) else {
        return Err(Error::unauthorized("who are you?"));
    };
    let person = Person { id, name, node: node.to_string() };
    Ok(ctx.accept().user_id(&person.id).assign("person", &person))
}

async fn join(ctx: JoinContext) -> pondsocket::Result<Joined> {
    let person: Person = ctx.assign("person")?;
    Ok(ctx.accept().track(&person))
}

async fn message(ctx: EventContext, Payload(say): Payload<Say>) -> pondsocket::Result<()> {
    if say.text.trim().is_empty() || say.text.len() > MAX_TEXT || say.id.len() > MAX_NAME {
        return Err(Error::bad_request(format!("a message has 1 to {MAX_TEXT} bytes")));
    }
    let said = Said { id: say.id, from: ctx.assign("person")?, text: say.text, at: now() };
    // To everybody on every node, also to who has said it: that is how a page knows that it was sent.
    ctx.broadcast("message", &said).map(drop)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

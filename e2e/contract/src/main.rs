//! The contract server, which has the endpoints, channels and events that the end-to-end tests expect, and uses only the public API.
//!
//! It listens on `PORT`, or on a free port if that is 0, at the address `HOST`, by default 127.0.0.1. When it is ready it prints
//! `listening PORT`. Inherited sockets take precedence. If `PROXY_PROTOCOL_FROM` is set, addresses separated by commas, only these
//! proxies can connect, with a PROXY header.
//!
//! With `REDIS_URL` it is a node of the cluster on this Redis. With `REDIS_SENTINELS`, as `HOST:PORT,HOST:PORT`, it uses the primary
//! that these sentinels know as `REDIS_PRIMARY`, by default `main`. `NODE_NAME` is the name of the node, and `NAMESPACE` that of
//! the cluster, by default `default`. `HEARTBEAT_MS` and `HEARTBEAT_TIMEOUT_MS` are the interval of heartbeats for servers in other
//! languages and the timeout for theirs.
//!
//! Pages of `POND_PAGE_ORIGIN` may use event streams with credentials. `TRUSTED_PROXIES` are addresses separated by commas,
//! `PING_INTERVAL_MS` the interval of pings, `PONG_WAIT_MS` the longest wait for an answer. `MAX_CHANNEL_PRESENCE` and `MAX_PRESENCE_LIST` are the options of these names, in
//! bytes. `COMPRESSION=on` accepts compression. `TLS_CERTIFICATE` and `TLS_KEY`, PEM files, turn TLS on.
//!
//! `SHARDS` is the number of shards, and `REUSE_PORT=on` lets another process listen on the same port. `GLOBAL_QUEUE_INTERVAL`
//! and `EVENT_INTERVAL` are the settings of tokio's runtime with these names, also `LIFO_SLOT=off` if it is built with
//! `RUSTFLAGS="--cfg tokio_unstable"`.
//!
//! `PLAIN_HISTORY=on` keeps the messages of `/plain/:roomId`. A client may name its session, with `session` in its query; with
//! `SESSIONS=on` all others have one each, too.
//!
//! Channels `/chat/:roomId` and `/presence/:roomId` track their members, `/plain/:roomId` does not, and `/slow/:roomId` accepts after
//! 50 ms. `/history/:roomId` keeps its messages but for `typing`, with the stamp `_pos`: by default 256 for two minutes, otherwise
//! `HISTORY_MESSAGES` for `HISTORY_TTL_MS`. All histories together have at most `HISTORY_BYTES`. `ARRIVALS_PER_ROUND` is the option of
//! this name. Histories and sessions outlive the
//! server in `HISTORY_FILE`. A join with `{"last": N}` gets the last N of them unless it resumes. Its handler replies
//! `history {recovery: "new" | "resumed" | "gap", missed, may_repeat, gap, position}`. `/watched/:roomId` is the same with tracked
//! members and a presence grace of ten seconds, and without `last`. All joins need a `username`, and all channels have the same
//! events (`events.rs`).
//!
//! It serves `/health`, `/ready` and `/metrics` for Prometheus unless `METRICS=off`. SIGINT and SIGTERM stop it after `DRAIN_DELAY_MS`. At SIGUSR1 it
//! prints `snapshot JSON`, with the snapshot of the pond and the number of its tasks.

mod events;
mod history;
mod metrics;
mod node;
mod options;

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, EndpointOptions, Error, History, JoinContext, Joined, Listener, Options, Payload,
    PondSocket, Result, Server, Shutdown, WebSocket,
};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<()> {
    options::runtime()?.block_on(serve())
}

async fn serve() -> Result<()> {
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut snapshot = listen(SignalKind::user_defined1())?;
    let setting = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let address = format!("{}:{}", setting("HOST", "127.0.0.1"), setting("PORT", "0"));
    let recorder = metrics::recorder()?;
    let pond = pond(recorder.is_some())?;
    let mut server = Server::with_options(pond.clone(), options::of_server(metrics::server_options(&pond, recorder))?)?;
    let mut listeners = Listener::inherited()?;
    if listeners.is_empty() {
        listeners.push(match setting("REUSE_PORT", "off").as_str() {
            "on" => Listener::bind_reuse_port(&address).await?,
            _ => Listener::bind(&address).await?,
        });
    }
    if let Ok(proxies) = std::env::var("PROXY_PROTOCOL_FROM") {
        let proxied = listeners.into_iter().map(|listener| listener.proxy_protocol(proxies.split(',')));
        listeners = proxied.collect::<Result<_>>()?;
    }
    server.start_on(listeners)?;
    if let Some(address) = server.local_addr() {
        println!("listening {}", address.port());
    }
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = snapshot.recv() => print_snapshot(&pond),
        }
    }
    let delay = setting("DRAIN_DELAY_MS", "0").parse().map(Duration::from_millis).map_err(Error::internal)?;
    server.stop(Shutdown::within(Duration::from_secs(10)).delay(delay)).await;
    Ok(())
}

fn print_snapshot(pond: &PondSocket) {
    let tasks = Handle::current().metrics().num_alive_tasks();
    println!("snapshot {}", json!({ "tasks": tasks, "pond": pond.snapshot() }));
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(Error::internal)
}

fn pond(has_metrics: bool) -> Result<PondSocket> {
    let options = options::from_environment(Options::default().max_message_size(1024 * 1024))?;
    let pond = PondSocket::with_options(node::with_bus(options)?)?;
    let pond = if has_metrics { metrics::with_metrics(pond) } else { pond };
    let socket = pond.create_endpoint("/api/socket", connect);
    events::register(&socket, &socket.create_channel("/chat/:roomId", join_tracked));
    events::register(&socket, &socket.create_channel("/presence/:roomId", join_tracked));
    let plain = socket.create_channel("/plain/:roomId", join);
    events::register(&socket, &plain);
    if options::is_on("PLAIN_HISTORY") {
        plain.history(History::new());
    }
    events::register(&socket, &socket.create_channel("/slow/:roomId", join_slowly));
    let kept = socket.create_channel("/history/:roomId", history::join);
    events::register(&socket, &kept);
    kept.history(history::history()?);
    let watched = socket.create_channel("/watched/:roomId", history::join_tracked);
    events::register(&socket, &watched);
    watched.history(history::history()?).presence_grace(Duration::from_secs(10));
    let _address = pond.create_endpoint("/api/address", respond_with_address);
    let token = pond.create_endpoint("/api/token", connect_by_token);
    events::register(&token, &token.create_channel("/plain/:roomId", join));
    let large = EndpointOptions {
        subprotocols: Some(vec!["pond".into()]),
        max_message_size: Some(16 * 1024 * 1024),
        enable_compression: Some(true),
        ..EndpointOptions::default()
    };
    let _echo = pond.create_websocket("/echo", echo).options(large);
    Ok(pond)
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    match ctx.query("token") {
        None | Some("") => Err(Error::unauthorized("token required")),
        Some(_) => {
            let session = match ctx.query("session") {
                None if options::is_on("SESSIONS") => ctx.connection_id(),
                session => session.unwrap_or_default().to_owned(),
            };
            Ok(ctx.accept().session(&session))
        }
    }
}

/// Accepts clients with a token, in a subprotocol `token.…` or as a bearer token, which is also the user id.
async fn connect_by_token(ctx: ConnectionContext) -> Result<Connected> {
    let offered = ctx.subprotocols().find_map(|name| name.strip_prefix("token."));
    let token = offered.or(ctx.bearer_token()).ok_or(Error::unauthorized("token required"))?.to_owned();
    let pond = ctx.subprotocols().any(|name| name == "pond");
    let connected = ctx.accept().user_id(&token).reply("HELLO", &json!({ "user": token }));
    Ok(if pond { connected.subprotocol("pond") } else { connected })
}

/// Declines all clients, with their address as the text.
async fn respond_with_address(ctx: ConnectionContext) -> Result<Connected> {
    Err(Error::forbidden(ctx.client_ip().map_or_else(|| "unknown".into(), |address| address.to_string())))
}

#[derive(Deserialize)]
struct JoinRequest {
    username: Option<String>,
}

async fn join(ctx: JoinContext, Payload(request): Payload<JoinRequest>) -> Result<Joined> {
    let username = username(request.username)?;
    let room = ctx.param("roomId")?.to_owned();
    Ok(ctx.accept().assign("username", &username).assign("room", &room))
}

/// Joins after a delay, as if it had to query a database.
async fn join_slowly(ctx: JoinContext, payload: Payload<JoinRequest>) -> Result<Joined> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    join(ctx, payload).await
}

async fn join_tracked(ctx: JoinContext, Payload(request): Payload<JoinRequest>) -> Result<Joined> {
    let username = username(request.username)?;
    let (id, room) = (ctx.user_id().to_owned(), ctx.param("roomId")?.to_owned());
    let presence = json!({ "id": id, "username": username, "status": "online" });
    Ok(ctx.accept().assign("username", &username).assign("room", &room).track(&presence))
}

fn username(name: Option<String>) -> Result<String> {
    name.filter(|name| !name.is_empty()).ok_or(Error::forbidden("username required"))
}

async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

//! The contract server: what outside test suites expect of a PondSocket server, on the public API alone.
//!
//! `PORT` says where to listen on 127.0.0.1; 0 picks a free port. `listening PORT` is printed when it is ready. With
//! `REDIS_URL` it is a node among those that share this Redis; `NODE_NAME` is its name among them.
//! Pages of `POND_PAGE_ORIGIN` may use event streams, with credentials. `TRUSTED_PROXIES`, addresses with commas between, are
//! believed what they say of their clients. `PING_INTERVAL_MS` says how often it pings.
//! SIGINT and SIGTERM stop it. At SIGUSR1 it prints `snapshot JSON`: what it holds, and how many tasks it has.

mod events;

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, EndpointOptions, Error, JoinContext, Joined, Options, Payload, PondSocket, Result,
    Server, WebSocket,
};
use pondsocket_redis::{RedisBus, RedisOptions};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // With many delivery tasks the default lets some of them wait for long.
        .global_queue_interval(1)
        .build()
        .map_err(Error::internal)?;
    runtime.block_on(serve())
}

async fn serve() -> Result<()> {
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut look = listen(SignalKind::user_defined1())?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "0".into());
    let pond = pond()?;
    let mut server = Server::new(pond.clone());
    server.start(&format!("127.0.0.1:{port}")).await?;
    if let Some(address) = server.local_addr() {
        println!("listening {}", address.port());
    }
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = look.recv() => print_snapshot(&pond),
        }
    }
    server.stop(Duration::from_secs(10)).await;
    Ok(())
}

fn print_snapshot(pond: &PondSocket) {
    let tasks = Handle::current().metrics().num_alive_tasks();
    println!("snapshot {}", json!({ "tasks": tasks, "pond": pond.snapshot() }));
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(Error::internal)
}

fn pond() -> Result<PondSocket> {
    let options = Options::default().max_message_size(1024 * 1024);
    let options = behind_proxies(open_to_page(options))?;
    let pond = PondSocket::with_options(among_others(options)?)?;
    let socket = pond.create_endpoint("/api/socket", connect);
    events::register(&socket, &socket.create_channel("/chat/:roomId", join_tracked));
    events::register(&socket, &socket.create_channel("/presence/:roomId", join_tracked));
    events::register(&socket, &socket.create_channel("/plain/:roomId", join));
    let _address = pond.create_endpoint("/api/address", tell_address);
    let large = EndpointOptions {
        max_message_size: Some(16 * 1024 * 1024),
        enable_compression: Some(true),
        ..EndpointOptions::default()
    };
    let _echo = pond.create_websocket("/echo", echo).options(large);
    Ok(pond)
}

fn open_to_page(options: Options) -> Options {
    let Ok(origin) = std::env::var("POND_PAGE_ORIGIN") else { return options };
    options.cors_allow_origin(origin).cors_allow_credentials(true)
}

fn behind_proxies(mut options: Options) -> Result<Options> {
    if let Ok(proxies) = std::env::var("TRUSTED_PROXIES") {
        options = options.trusted_proxies(proxies.split(',').map(str::to_owned).collect());
    }
    if let Ok(interval) = std::env::var("PING_INTERVAL_MS") {
        options = options.ping_interval(Duration::from_millis(interval.parse().map_err(Error::internal)?));
    }
    Ok(options)
}

fn among_others(options: Options) -> Result<Options> {
    let Ok(url) = std::env::var("REDIS_URL") else { return Ok(options) };
    let bus = RedisOptions::url(&url).and_then(RedisBus::new).map_err(Error::internal)?;
    Ok(options.bus(bus).node_name(std::env::var("NODE_NAME").unwrap_or_default()))
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    match ctx.query("token") {
        None | Some("") => Err(Error::unauthorized("token required")),
        Some(_) => Ok(ctx.accept()),
    }
}

/// Lets nobody in, and tells all from where they have come.
async fn tell_address(ctx: ConnectionContext) -> Result<Connected> {
    Err(Error::forbidden(ctx.client_ip().map_or_else(|| "unknown".into(), |address| address.to_string())))
}

#[derive(Deserialize)]
struct JoinRequest {
    username: Option<String>,
}

async fn join(ctx: JoinContext, Payload(request): Payload<JoinRequest>) -> Result<Joined> {
    let username = username(request)?;
    let room = ctx.param("roomId").to_owned();
    Ok(ctx.accept().assign("username", &username).assign("room", &room))
}

async fn join_tracked(ctx: JoinContext, Payload(request): Payload<JoinRequest>) -> Result<Joined> {
    let username = username(request)?;
    let (id, room) = (ctx.user_id().to_owned(), ctx.param("roomId").to_owned());
    let presence = json!({ "id": id, "username": username, "status": "online" });
    Ok(ctx.accept().assign("username", &username).assign("room", &room).track(&presence))
}

fn username(request: JoinRequest) -> Result<String> {
    request.username.filter(|name| !name.is_empty()).ok_or(Error::forbidden("username required"))
}

async fn echo(mut socket: WebSocket) {
    while let Some(message) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

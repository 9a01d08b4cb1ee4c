//! Event streams: the features of a WebSocket over requests and a streamed response.

mod admission;
mod hosts;
mod pages;
mod posts;
mod server;
mod sessions;
mod shared;
mod slow;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby, Options,
    Payload, PondSocket, Result, Server, ServerOptions, State,
};
use serde_json::{Value, json};
use testkit::{Log, Recorder, serve_with};
use tokio::sync::Semaphore;

/// A served pond with one endpoint at `/`, whose clients are named in the query, and rooms with presence.
struct StreamServer {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    /// The payloads of `note`, and the users that left.
    log: Log,
    /// Lets handlers of `hold` continue.
    release: Arc<Semaphore>,
    counted: Recorder,
    server: Server,
    address: SocketAddr,
}

async fn served() -> StreamServer {
    served_with(Options::default()).await
}

async fn served_with(options: Options) -> StreamServer {
    served_by(options, ServerOptions::default()).await
}

async fn served_by(options: Options, server: ServerOptions) -> StreamServer {
    let (log, release, counted) = (Log::default(), Arc::new(Semaphore::new(0)), Recorder::default());
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let pond = pond.state(log.clone()).state(Arc::clone(&release));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("say", async |ctx: EventContext, Payload(said): Payload<Value>| ctx.broadcast("said", &said));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    lobby.on_event("note", async |_: EventContext, Payload(value): Payload<Value>, State(log): State<Log>| {
        log.note(value["n"].to_string())
    });
    lobby.on_event("hold", async |_: EventContext, State(release): State<Arc<Semaphore>>| {
        release.acquire().await.expect("it is not closed").forget();
    });
    lobby.on_leave(async |ctx: LeaveContext, State(log): State<Log>| log.note(format!("{} left", ctx.user().id())));
    let (server, address) = serve_with(&pond, server).await;
    StreamServer { pond, endpoint, lobby, log, release, counted, server, address }
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    Ok(ctx.accept().user_id(&name).reply("hello", &json!({ "name": name })))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    let name = ctx.user_id().to_owned();
    Ok(ctx.accept().track(&json!({ "name": name })))
}

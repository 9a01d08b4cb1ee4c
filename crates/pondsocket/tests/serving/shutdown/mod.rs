//! The shutdown of a server: its close frames, last messages, waits and deadlines. Over in-memory streams with
//! the clock paused; tests of order use real sockets.

mod admission;
mod closing;
mod handlers;
mod last_messages;
mod raw_websockets;
mod repeated;
mod slow_clients;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::testing::{Client, ConnectError, Room};
use pondsocket::{
    ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Lobby, Options, PondSocket, Shutdown,
    ShutdownReport,
};
use serde_json::{Value, json};
use testkit::{Message, connect_in_memory};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

/// Deadlines that lie close together are served by one wake-up, so that anything may be this late.
const GRAIN: Duration = Duration::from_millis(20);

/// A pond with these options, and one lobby that accepts every join.
fn pond_with(options: Options) -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    (pond, endpoint, lobby)
}

fn pond() -> (PondSocket, Endpoint, Lobby) {
    pond_with(Options::default())
}

/// A client that reads all the time, and so answers pings and closes, in its room.
async fn member(pond: &PondSocket) -> (Client, Room) {
    let client = pond.test_client().deadline(600 * SECOND).connect("/").await.expect("let in");
    let room = client.join("/room/1", json!({})).await.expect("let in");
    (client, room)
}

/// Connects in another task.
fn connect(pond: &PondSocket, path: &'static str) -> JoinHandle<Result<Client, ConnectError>> {
    let connector = pond.test_client();
    tokio::spawn(async move { connector.connect(path).await })
}

/// The close code that a client receives, and the time.
fn closed(client: Client) -> JoinHandle<(Option<u16>, Instant)> {
    tokio::spawn(async move { (client.closed().await.expect("it ends").code, Instant::now()) })
}

/// The events that a room has received, once its connection has ended.
async fn events(room: &mut Room) -> Vec<String> {
    let mut events = Vec::new();
    while let Ok(message) = room.next_message().await {
        events.push(message.event);
    }
    events
}

fn begin(pond: &PondSocket, how: impl Into<Shutdown>) -> JoinHandle<ShutdownReport> {
    let (pond, how) = (pond.clone(), how.into());
    tokio::spawn(async move { pond.shutdown(how).await })
}

/// The connections that were closed, cut and abandoned.
fn counts(report: ShutdownReport) -> (usize, usize, usize) {
    (report.closed, report.cut, report.abandoned)
}

#[track_caller]
fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed <= expected + GRAIN, "{elapsed:?} in place of {expected:?}");
}

async fn pass(gate: &Semaphore) {
    timeout(60 * SECOND, gate.acquire()).await.expect("in time").expect("never closed").forget();
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// A lobby whose messages `work` take some time, and are then broadcast.
fn works(lobby: &Lobby, takes: Duration) {
    lobby.on_event("work", move |ctx: EventContext| async move {
        sleep(takes).await;
        ctx.broadcast("worked", &json!({ "by": ctx.user_id() }))?;
        ctx.reply("work", &json!({}))
    });
}

type Raw = WebSocketStream<DuplexStream>;

/// A joined client that reads only on request of the test. The stream holds this many bytes each way.
async fn narrow(pond: &PondSocket, capacity: usize) -> Raw {
    let mut socket = connect_in_memory(pond, "/", capacity).await;
    send(&mut socket, "/room/1", "JOIN_CHANNEL", "JOIN_CHANNEL").await;
    while next(&mut socket).await.expect("open")["event"] != "ACKNOWLEDGE" {}
    socket
}

async fn send(socket: &mut Raw, channel: &str, action: &str, event: &str) {
    socket.send(message(channel, action, event)).await.expect("open");
}

fn message(channel: &str, action: &str, event: &str) -> Message {
    let message =
        json!({ "action": action, "event": event, "channelName": channel, "requestId": event, "payload": {} });
    Message::text(message.to_string())
}

/// The next message, or the code of the close frame; `None` if there is neither.
async fn next(socket: &mut Raw) -> Result<Value, Option<u16>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

fn broadcast(endpoint: &Endpoint, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    for number in 0..count {
        channel.broadcast("news", &json!({ "number": number })).expect("there is room");
    }
}

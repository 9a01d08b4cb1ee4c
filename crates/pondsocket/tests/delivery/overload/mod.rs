//! Overload: a client that reads misses nothing and stays connected; a publisher is
//! slowed down; a client that does not read delays the others for a stated time only. Over real sockets, with readers as
//! tasks; tests of durations in seconds use in-memory streams with the clock paused.

mod answers;
mod broadcasts;
mod pacing;
mod presence;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Options, Payload, PondSocket,
    Result,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Message, Peer, Recorder, connect_in_memory};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

/// The time limit for a reader, which leaves a reserve for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

struct RoomServer {
    pond: PondSocket,
    endpoint: Endpoint,
    counted: Recorder,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    Ok(ctx.accept().user_id(&name))
}

#[derive(Deserialize)]
struct PresenceSize {
    #[serde(default)]
    size: Option<usize>,
}

/// Presence with the name of the user, and padding of the size in the query, if there is one.
async fn join(ctx: JoinContext, Payload(PresenceSize { size }): Payload<PresenceSize>) -> Result<Joined> {
    let name = ctx.user_id().to_owned();
    let joined = ctx.accept();
    Ok(match size {
        Some(size) => joined.track(&presence(&name, 0, size)),
        None => joined,
    })
}

fn presence(name: &str, number: usize, size: usize) -> Value {
    json!({ "name": name, "number": number, "filler": "x".repeat(size) })
}

#[derive(Deserialize)]
struct Change {
    number: usize,
    size: usize,
}

/// Options with long timeouts, because a busy machine may stop a reader for a while.
fn patient() -> Options {
    Options::default().pacing_wait(60 * SECOND).send_timeout(60 * SECOND).write_wait(60 * SECOND)
}

fn served(options: Options) -> RoomServer {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("say", async |ctx: EventContext, Payload(said): Payload<Value>| ctx.broadcast("said", &said));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    lobby.on_event("show", async |ctx: EventContext, Payload(change): Payload<Change>| {
        ctx.update_presence(&presence(ctx.user_id(), change.number, change.size))
    });
    RoomServer { pond, endpoint, counted }
}

impl RoomServer {
    /// The connections that the server has closed, with the reasons.
    fn given_up(&self) -> Vec<String> {
        let mut closed = self.counted.of("connection_closed");
        closed.retain(|line| !line.ends_with(" client") && !line.ends_with(" lost"));
        closed
    }
}

/// One message of a client in a frame, masked with zeros, and so not changed by it (RFC 6455 section 5.2).
fn frame(event: &str, id: usize, payload: &Value) -> Vec<u8> {
    let message = json!({
        "action": "BROADCAST", "event": event, "channelName": "/room/1", "requestId": format!("r{id}"), "payload": payload,
    });
    let text = message.to_string();
    let mut frame = vec![0x81];
    match text.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("a short message").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A summary of the messages that a member has read.
#[derive(Debug, Default)]
struct ReadSummary {
    /// The numbers of the changes of each user, in the order of their arrival.
    changes: HashMap<String, Vec<usize>>,
    /// The last whole list: its users, with the number of each.
    list: HashMap<String, usize>,
    /// The entries of the longest list.
    longest: usize,
    /// The number of messages without the whole list.
    partial: usize,
    said: Vec<usize>,
}

impl ReadSummary {
    fn note(&mut self, message: &Value) {
        let payload = &message["payload"];
        let number = |value: &Value| value["number"].as_u64().expect("a number") as usize;
        let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
        if message["action"] == "PRESENCE" {
            let changed = &payload["changed"];
            if message["event"] != "LEAVE" {
                self.changes.entry(name(changed)).or_default().push(number(changed));
            }
            let list = payload["presence"].as_array().expect("checked");
            self.longest = self.longest.max(list.len());
            if payload["partial"] == true {
                self.partial += 1;
                let shown: &[Value] = if message["event"] == "LEAVE" { &[] } else { std::slice::from_ref(changed) };
                assert_eq!(list, shown, "nothing but the change");
            } else {
                self.list = list.iter().map(|entry| (name(entry), number(entry))).collect();
            }
        } else if message["event"] == "said" {
            self.said.push(number(payload));
        }
    }
}

/// Reads until the test ends it, or fails.
fn reader(mut peer: Peer) -> JoinHandle<(ReadSummary, Peer)> {
    tokio::spawn(async move {
        let mut heard = ReadSummary::default();
        let reading = async {
            loop {
                match peer.message().await {
                    Ok(message) if message["event"] == "stop" => return,
                    Ok(message) => heard.note(&message),
                    Err(closed) => panic!("{} was thrown out: {closed:?}", peer.id),
                }
            }
        };
        timeout(TIMEOUT, reading).await.expect("everything comes in time");
        (heard, peer)
    })
}

async fn member(address: SocketAddr, name: &str, shown: Option<usize>) -> Peer {
    let mut peer = Peer::connect(address, &format!("/?name={name}")).await;
    peer.join("/room/1", json!({ "size": shown })).await;
    peer
}

/// Broadcasts the end of the messages to all members, as soon as the channel's queue has room.
async fn stop(endpoint: &Endpoint) {
    let channel = endpoint.channel("/room/1").expect("ours");
    while channel.broadcast("stop", &json!({})).is_err() {
        channel.ready().await;
    }
}

fn said(number: usize, filler: &str) -> Value {
    json!({ "number": number, "filler": filler })
}

/// The next text; `None` at the end.
async fn text(socket: &mut WebSocketStream<DuplexStream>) -> Option<String> {
    loop {
        match timeout(TIMEOUT, socket.next()).await.expect("something in time") {
            Some(Ok(Message::Text(text))) => return Some(text.to_string()),
            Some(Ok(Message::Ping(_))) => {}
            _ => return None,
        }
    }
}

/// A member over a stream in memory.
struct PausedMember {
    socket: WebSocketStream<DuplexStream>,
}

impl PausedMember {
    /// Joins `/room/1`; the stream holds `capacity` bytes each way.
    async fn join(pond: &PondSocket, name: &str, capacity: usize, shown: Option<usize>) -> PausedMember {
        let socket = connect_in_memory(pond, &format!("/?name={name}"), capacity).await;
        let mut local = PausedMember { socket };
        let message = json!({
            "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/room/1", "requestId": "join",
            "payload": { "size": shown },
        });
        local.socket.send(Message::text(message.to_string())).await.expect("open");
        while local.next().await.expect("let in")["event"] != "ACKNOWLEDGE" {}
        local
    }

    /// The next message, or the code of the close frame; `None` if there is neither.
    async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

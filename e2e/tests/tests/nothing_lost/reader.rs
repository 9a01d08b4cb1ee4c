//! The kinds of readers, and raw WebSockets that bring their positions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::log::{At, Entry, Log, Number};

/// A kind of readers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// A WebSocket that brings its position, and checks what the server tells it.
    Raw,
    /// The published JavaScript client with `resume.js`.
    Page,
    /// The same over an event stream.
    Stream,
    /// The published JavaScript client, which knows nothing of positions, with a session.
    Stock,
    /// The published Rust client with a session. Its caller connects again.
    Rust,
    /// The published Python client with a session. It tries to connect once after a loss.
    Python,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw, resumes",
            Kind::Page => "JavaScript, resumes",
            Kind::Stream => "event stream, resumes",
            Kind::Stock => "JavaScript, session",
            Kind::Rust => "Rust, session",
            Kind::Python => "Python, session",
        }
    }

    /// Returns `true` if the server has to know what has arrived.
    pub(crate) fn resumes_by_session(self) -> bool {
        matches!(self, Kind::Stock | Kind::Rust | Kind::Python)
    }
}

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(address: &str, session: &str) -> Result<Socket, Box<Error>> {
    Ok(connect_async(format!("ws://{address}/api/socket?token=t&session={session}")).await?.0)
}

/// Asks to join from a position.
pub(crate) async fn join(socket: &mut Socket, room: &str, name: &str, position: &str) -> Result<(), Box<Error>> {
    let params = json!({ "username": name, "$resume": position });
    Ok(socket.send(Message::text(text("JOIN_CHANNEL", "JOIN_CHANNEL", room, "join", &params))).await?)
}

/// A message of a client.
pub(crate) fn text(action: &str, event: &str, room: &str, id: &str, payload: &Value) -> String {
    json!({ "action": action, "event": event, "channelName": room, "requestId": id, "payload": payload }).to_string()
}

/// Follows a room over raw WebSockets, for ever.
pub(crate) fn follow(log: Arc<Log>, address: String, room: String, session: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut position = String::new();
        loop {
            // The end of a connection does not matter: the next one says what is missing.
            let _ = read(&log, &address, &room, &session, &mut position).await;
            log.push(Entry::Lost);
            sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn read(log: &Log, address: &str, room: &str, session: &str, position: &mut String) -> Result<(), Box<Error>> {
    let mut socket = connect(address, session).await?;
    join(&mut socket, room, &log.name, position).await?;
    while let Some(message) = socket.next().await {
        let Message::Text(text) = message? else { continue };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        let payload = &message["payload"];
        match message["event"].as_str().expect("a name") {
            "message" | "others" => {
                let id = message["requestId"].as_str().expect("text");
                let at = At::read(id);
                if at.is_some() {
                    id.clone_into(position);
                }
                if payload["_pos"].as_str() != at.is_some().then_some(id) {
                    log.push(Entry::Trouble(format!("the stamp is not the position: {text}")));
                }
                log.push(Entry::Message { at, number: number(&payload["n"]) });
            }
            "ACKNOWLEDGE" | "RESYNC" => {
                let told = payload["position"].as_str().expect("text");
                let follow = payload["missed"].as_u64().unwrap_or(0);
                let at = At::read(told).expect("a position");
                if payload["recovered"] == true
                    && At::read(position).is_some_and(|mine| mine.offset + follow != at.offset)
                {
                    log.push(Entry::Trouble(format!("{position} does not fit to {text}")));
                }
                let gap = payload["gap"].as_str().map(str::to_owned);
                if gap.is_some() || follow == 0 {
                    told.clone_into(position);
                }
                log.push(Entry::Told { at: Some(at), gap });
            }
            change @ ("JOIN" | "LEAVE") => {
                let who = payload["changed"]["username"].as_str().expect("a name").to_owned();
                log.push(Entry::Presence { change: change.to_owned(), who });
            }
            "CONNECTION" | "history" | "UPDATE" => {}
            _ => log.push(Entry::Trouble(format!("unexpected: {text}"))),
        }
    }
    Ok(())
}

/// The numbers that are in a payload.
pub(crate) fn number(value: &Value) -> Number {
    let number = |at: usize| value[at].as_u64().unwrap_or_else(|| panic!("no number: {value}"));
    Number { publisher: number(0) as usize, connection: number(1), nth: number(2) }
}

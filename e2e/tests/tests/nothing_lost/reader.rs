//! The readers: raw WebSockets that bring their positions, and the published JavaScript client with `resume.js`.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::log::{At, Entry, Log, Number};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(address: &str) -> Result<Socket, Box<Error>> {
    Ok(connect_async(format!("ws://{address}/api/socket?token=t")).await?.0)
}

/// Asks to join from a position.
pub(crate) async fn join(socket: &mut Socket, room: &str, name: &str, position: &str) -> Result<(), Box<Error>> {
    let params = json!({ "username": name, "$resume": position });
    Ok(socket.send(Message::text(text("JOIN_CHANNEL", "JOIN_CHANNEL", room, &params))).await?)
}

/// A message of a client.
pub(crate) fn text(action: &str, event: &str, room: &str, payload: &Value) -> String {
    json!({ "action": action, "event": event, "channelName": room, "requestId": "r", "payload": payload }).to_string()
}

/// Follows a room over raw WebSockets, for ever.
pub(crate) fn follow(log: Arc<Log>, address: String, room: String) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut position = String::new();
        loop {
            // The end of a connection does not matter: the next one says what is missing.
            let _ = read(&log, &address, &room, &mut position).await;
            sleep(Duration::from_millis(50)).await;
        }
    })
}

async fn read(log: &Log, address: &str, room: &str, position: &mut String) -> Result<(), Box<Error>> {
    let mut socket = connect(address).await?;
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
            "CONNECTION" | "history" => {}
            _ => log.push(Entry::Trouble(format!("unexpected: {text}"))),
        }
    }
    Ok(())
}

/// The numbers that are in a payload.
fn number(value: &Value) -> Number {
    let number = |at: usize| value[at].as_u64().unwrap_or_else(|| panic!("no number: {value}"));
    Number { publisher: number(0) as usize, connection: number(1), nth: number(2) }
}

/// The published clients, in a process of Node.
#[derive(Debug)]
pub(crate) struct Published {
    _process: Child,
    reading: JoinHandle<()>,
}

impl Published {
    /// Starts a client for each of these logs, at these URLs. The scheme decides the transport.
    pub(crate) fn start(logs: Vec<(Arc<Log>, String)>, room: &str) -> Published {
        let clients: Vec<_> = logs.iter().map(|(log, url)| json!({ "name": log.name, "url": url })).collect();
        let mut node = Command::new("node");
        node.args(["../clients/js/support/follow.mjs", room, &json!(clients).to_string()]);
        let mut process = node.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("these tests need Node");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let logs: HashMap<_, _> = logs.into_iter().map(|(log, _)| (log.name.clone(), log)).collect();
        let reading = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.expect("text") {
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                logs[line["client"].as_str().expect("a name")].push(entry(&line));
            }
        });
        Published { _process: process, reading }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn entry(line: &Value) -> Entry {
    let at = line["position"].as_str().and_then(At::read);
    match &line["n"] {
        Value::Null => Entry::Told { at, gap: line["gap"].as_str().map(str::to_owned) },
        n => Entry::Message { at, number: number(n) },
    }
}

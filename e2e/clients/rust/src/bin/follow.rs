//! Follows rooms with published clients that have sessions, and prints what each of them receives, one JSON object in a line. The
//! clients are one JSON array on the standard input:
//!
//!     [{"name": "ada", "url": "ws://127.0.0.1:8080/api/socket", "room": "/history/1", "session": "..."}, ...]
//!
//! This client does not connect again by itself: its caller does, as soon as it has lost its connection.

use std::time::Duration;

use pondsocket_client::{Channel, ConnectionState, PondClient};
use pondsocket_common::{ChannelEvent, PresenceEventType};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

/// The interval in which a caller looks after its connection.
const INTERVAL: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() {
    let clients: Vec<Value> = serde_json::from_reader(std::io::stdin()).expect("an array");
    let following: Vec<_> = clients.into_iter().map(|client| tokio::spawn(follow(client))).collect();
    for client in following {
        client.await.expect("it follows for ever");
    }
}

async fn follow(of: Value) {
    let name = of["name"].as_str().expect("text");
    loop {
        let (client, channel, mut events) = connect(&of).await;
        channel.join().await;
        while client.state() == ConnectionState::Connected {
            print_events(name, &mut events).await;
        }
        // What it has received before belongs ahead of the loss.
        print_events(name, &mut events).await;
        report(name, json!({ "lost": true }));
    }
}

/// Connects with a new client, because one that could not connect does not try again.
async fn connect(of: &Value) -> (PondClient, Channel, Receiver<ChannelEvent>) {
    let text = |key: &str| of[key].as_str().expect("text");
    loop {
        let query = object(json!({ "token": "t", "session": text("session") }));
        let client = PondClient::new(text("url"), Some(query)).expect("a WebSocket address");
        let channel = client.create_channel(text("room"), Some(object(json!({ "username": text("name") })))).await;
        let events = channel.subscribe_events();
        if client.connect().await.is_ok() {
            return (client, channel, events);
        }
        sleep(INTERVAL).await;
    }
}

/// Prints all events until none comes for an interval.
async fn print_events(name: &str, events: &mut Receiver<ChannelEvent>) {
    while let Ok(event) = timeout(INTERVAL, events.recv()).await {
        print(name, event);
    }
}

fn print(name: &str, event: Result<ChannelEvent, RecvError>) {
    match event {
        Ok(ChannelEvent::Message(message)) if message.payload.contains_key("n") => {
            report(name, json!({ "n": message.payload["n"], "position": message.payload.get("_pos") }));
        }
        Ok(ChannelEvent::Message(message)) if message.event == "history" => report(name, Value::Object(message.payload)),
        Ok(ChannelEvent::Message(_)) => {}
        Ok(ChannelEvent::Presence(presence)) => {
            let kind = match presence.event {
                PresenceEventType::Join => "JOIN",
                PresenceEventType::Leave => "LEAVE",
                _ => return,
            };
            report(name, json!({ "presence": kind, "who": presence.payload.changed["username"] }));
        }
        Err(RecvError::Lagged(lost)) => report(name, json!({ "lagged": lost })),
        Err(RecvError::Closed) => panic!("{name}: the channel has ended"),
    }
}

fn report(name: &str, mut line: Value) {
    line["client"] = json!(name);
    println!("{line}");
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

//! One user of the published client: a connection, a channel, and a record of the reports of the channel.

use std::sync::{Arc, Mutex};

use pondsocket_client::{Channel, PondClient};
use pondsocket_common::{ChannelEvent, ChannelState, PresenceEventType, PresenceMessage, ServerMessage};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use crate::{chat_room, server, until};

pub struct Peer {
    pub name: String,
    pub client: PondClient,
    pub channel: Channel,
    events: Arc<Mutex<Vec<ChannelEvent>>>,
}

impl Peer {
    /// A peer that has chosen `room` but neither connected nor joined.
    pub async fn new(name: &str, url: &str, room: &str) -> Peer {
        Peer::with_params(name, url, room, json!({ "username": name })).await
    }

    /// As [`Peer::new`], with other join parameters.
    pub async fn with_params(name: &str, url: &str, room: &str, params: Value) -> Peer {
        let client = PondClient::new(url, Some(object(json!({ "token": "t" })))).expect("a WebSocket address");
        let channel = client.create_channel(room, Some(object(params))).await;
        let events = record(&channel);
        Peer { name: name.to_owned(), client, channel, events }
    }

    pub async fn joined(name: &str, room: &str) -> Peer {
        Peer::joined_at(name, &server(), room).await
    }

    pub async fn joined_at(name: &str, url: &str, room: &str) -> Peer {
        let peer = Peer::new(name, url, room).await;
        peer.client.connect().await.expect("the server lets us in");
        peer.channel.join().await;
        peer.reaches(ChannelState::Joined).await;
        peer
    }

    /// Peers in one fresh room, each of whom has seen all the others.
    pub async fn joined_peers<const N: usize>(names: [&str; N]) -> [Peer; N] {
        let room = chat_room();
        let mut peers = Vec::new();
        for name in names {
            peers.push(Peer::joined(name, &room).await);
        }
        for peer in &peers {
            peer.sees(&names).await;
        }
        peers.try_into().ok().expect("one peer a name")
    }

    /// Takes another channel of the same client, and begins a new record.
    pub async fn choose(&mut self, room: &str) {
        self.channel = self.client.create_channel(room, Some(object(json!({ "username": self.name })))).await;
        self.events = record(&self.channel);
    }

    pub async fn reaches(&self, state: ChannelState) {
        until(&format!("{} is {state:?}", self.name), || self.channel.state() == state).await;
    }

    pub async fn send(&self, event: &str, payload: Value) {
        self.channel.send_message(event, Some(object(payload))).await;
    }

    /// The reply to a request; the client waits five seconds for it.
    pub async fn ask(&self, event: &str, payload: Value) -> Value {
        let reply = self.channel.send_for_response(event, Some(object(payload)), None).await;
        Value::Object(reply.expect("a reply"))
    }

    pub async fn user_id(&self) -> String {
        self.ask("state", json!({})).await["self"].as_str().expect("an id").to_owned()
    }

    /// The payloads received under one event name.
    pub fn received(&self, event: &str) -> Vec<Value> {
        let is_asked = |message: &ServerMessage| message.event == event;
        self.messages().into_iter().filter(is_asked).map(|message| Value::Object(message.payload)).collect()
    }

    /// The same, each with its request id.
    pub fn received_with_ids(&self, event: &str) -> Vec<(String, Value)> {
        let is_asked = |message: &ServerMessage| message.event == event;
        let messages = self.messages().into_iter().filter(is_asked);
        messages.map(|message| (message.request_id, Value::Object(message.payload))).collect()
    }

    pub async fn receives(&self, event: &str, count: usize) {
        let what = format!("{} receives {count} {event}", self.name);
        until(&what, || self.received(event).len() >= count).await;
    }

    /// The changes of the presence events of one kind.
    pub fn changed(&self, kind: PresenceEventType) -> Vec<Value> {
        let is_asked = |message: &PresenceMessage| message.event == kind;
        let presence = self.presence_events().into_iter().filter(is_asked);
        presence.map(|message| Value::Object(message.payload.changed)).collect()
    }

    /// The same, by user name.
    pub fn names(&self, kind: PresenceEventType) -> Vec<Value> {
        self.changed(kind).into_iter().map(|changed| changed["username"].clone()).collect()
    }

    /// Waits until the client's presence list holds exactly these users.
    pub async fn sees(&self, names: &[&str]) {
        let mut expected: Vec<Value> = names.iter().map(|name| json!(name)).collect();
        expected.sort_by_key(Value::to_string);
        until(&format!("{} sees {names:?}", self.name), || self.present() == expected).await;
    }

    /// The user names in the newest presence list, sorted.
    fn present(&self) -> Vec<Value> {
        let list = self.presence_events().pop().map(|message| message.payload.presence).unwrap_or_default();
        let mut names: Vec<Value> = list.into_iter().map(|presence| presence["username"].clone()).collect();
        names.sort_by_key(Value::to_string);
        names
    }

    fn messages(&self) -> Vec<ServerMessage> {
        let events = self.events.lock().expect("no recorder panicked");
        let message = |event: &ChannelEvent| match event {
            ChannelEvent::Message(message) => Some(message.clone()),
            ChannelEvent::Presence(_) => None,
        };
        events.iter().filter_map(message).collect()
    }

    fn presence_events(&self) -> Vec<PresenceMessage> {
        let events = self.events.lock().expect("no recorder panicked");
        let presence = |event: &ChannelEvent| match event {
            ChannelEvent::Presence(message) => Some(message.clone()),
            ChannelEvent::Message(_) => None,
        };
        events.iter().filter_map(presence).collect()
    }
}

fn record(channel: &Channel) -> Arc<Mutex<Vec<ChannelEvent>>> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let (recorder, mut source) = (events.clone(), channel.subscribe_events());
    tokio::spawn(async move {
        loop {
            match source.recv().await {
                Ok(event) => recorder.lock().expect("no reader panicked").push(event),
                // The client keeps 100 events for us; the record would have a hole that the server did not make.
                Err(RecvError::Lagged(lost)) => panic!("the recorder was too slow for {lost} events"),
                Err(RecvError::Closed) => return,
            }
        }
    });
    events
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}

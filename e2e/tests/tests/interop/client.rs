//! A client in a room of a node, with all messages that it has received.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer};
use tokio::time::{Instant, sleep};

use crate::node::NodeAddress;

pub(crate) struct Client {
    peer: Peer,
    node: NodeAddress,
    room: String,
    received: Vec<Value>,
    pub(crate) identity: Identity,
}

/// A user as others see it: some servers show the id, some the name, some both.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Identity {
    fn is(&self, shown: &Value) -> bool {
        shown["username"] == *self.name || shown["id"] == *self.id || shown["userId"] == *self.id
    }
}

impl Client {
    pub(crate) async fn join(node: NodeAddress, room: &str, name: &str) -> Client {
        let peer = Peer::connect(node.address, "/api/socket?token=t").await;
        let identity = Identity { id: peer.id.clone(), name: name.to_owned() };
        let mut client = Client { peer, node, room: room.to_owned(), received: Vec::new(), identity };
        let join = client.peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", room, json!({ "username": name })).await;
        client.until(|client| client.answer(&join).is_some()).await;
        assert_eq!(client.answer(&join).expect("received")["event"], "ACKNOWLEDGE", "{name} joins");
        client
    }

    /// Sends an event to its node.
    pub(crate) async fn send(&mut self, event: &str, payload: Value) {
        self.peer.event(&self.room, event, payload).await;
    }

    /// Sends an event and waits for the answer.
    pub(crate) async fn request(&mut self, event: &str, payload: Value) -> Value {
        let request = self.peer.event(&self.room, event, payload).await;
        self.until(|client| client.answer(&request).is_some()).await;
        self.answer(&request).expect("received")["payload"].clone()
    }

    /// Leaves the room, but keeps its connection.
    pub(crate) async fn leave(&mut self) {
        self.peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &self.room, json!({})).await;
    }

    /// Resets the connection, without a close frame.
    pub(crate) fn reset(self) {
        self.peer.reset();
    }

    /// Waits for the first message with this event name, and returns its payload.
    pub(crate) async fn receives(&mut self, event: &str) -> Value {
        self.until(|client| !client.messages(event).is_empty()).await;
        self.messages(event)[0].clone()
    }

    /// Waits for this many messages with this event name, and returns their payloads in order.
    pub(crate) async fn receives_many(&mut self, count: usize, event: &str) -> Vec<Value> {
        self.until(|client| client.messages(event).len() >= count).await;
        self.messages(event).into_iter().cloned().collect()
    }

    /// Waits for the message about its eviction with this reason. Servers write its event in capitals or not.
    pub(crate) async fn is_evicted(&mut self, reason: &str) {
        let is_it = |frame: &Value| {
            let event = frame["event"].as_str().expect("checked");
            event.eq_ignore_ascii_case("evicted") && frame["payload"]["reason"] == reason
        };
        self.until(|client| client.received.iter().any(is_it)).await;
    }

    /// The payloads of all messages with this event name received so far, except presence.
    pub(crate) fn messages(&self, event: &str) -> Vec<&Value> {
        let messages = self.received.iter().filter(|frame| frame["action"] != "PRESENCE");
        messages.filter(|frame| frame["event"] == event).map(|frame| &frame["payload"]).collect()
    }

    /// Waits for such a change of a user's presence, and returns the list that was sent with it.
    pub(crate) async fn sees(&mut self, change: &str, user: &Identity) -> Vec<Value> {
        self.until(|client| !client.changes(change, user).is_empty()).await;
        self.changes(change, user)[0]["presence"].as_array().expect("a list").clone()
    }

    /// Waits until the list of such a change satisfies a condition.
    pub(crate) async fn is_shown(&mut self, change: &str, user: &Identity, what: impl Fn(&[Value]) -> bool) {
        let shows = |payload: &Value| what(payload["presence"].as_array().expect("a list"));
        self.until(|client| client.changes(change, user).into_iter().any(shows)).await;
    }

    /// All such changes received so far.
    pub(crate) fn changes(&self, change: &str, user: &Identity) -> Vec<&Value> {
        let changes = self.received.iter().filter(|frame| frame["action"] == "PRESENCE" && frame["event"] == change);
        changes.map(|frame| &frame["payload"]).filter(|payload| user.is(&payload["changed"])).collect()
    }

    /// The state of the room at its node.
    pub(crate) async fn state(&mut self) -> Value {
        self.request("state", json!({})).await
    }

    /// Requests the state of the room until it satisfies a condition.
    pub(crate) async fn knows(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
        self.knows_within(DEADLINE, what, is).await;
    }

    pub(crate) async fn knows_within(&mut self, limit: Duration, what: &str, is: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + limit;
        loop {
            let state = self.state().await;
            if is(&state) {
                return;
            }
            assert!(Instant::now() < deadline, "{} waits for {what}, and has {state}", self.identity.name);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads until a condition is satisfied.
    async fn until(&mut self, is: impl Fn(&Client) -> bool) {
        while !is(self) {
            let frame = self.next().await;
            self.received.push(frame);
        }
    }

    /// Reads the next message. Messages of this server must satisfy a strict client, even if they are passed on from other nodes.
    /// Other servers send further fields.
    async fn next(&mut self) -> Value {
        if self.node.is_ours {
            return self.peer.next().await;
        }
        loop {
            match self.peer.frame().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("no text message but {other:?}"),
            }
        }
    }

    fn answer(&self, request: &str) -> Option<&Value> {
        self.received.iter().find(|frame| frame["requestId"] == request && frame["action"] == "SYSTEM")
    }
}

/// Returns `true` if a presence list shows exactly these users.
pub(crate) fn are_listed(presence: &[Value], user: &[&Identity]) -> bool {
    presence.len() == user.len() && user.iter().all(|user| presence.iter().any(|shown| user.is(shown)))
}

//! A client in a room of some node, who remembers all that it was told.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer};
use tokio::time::{Instant, sleep};

use crate::node::Place;

pub(crate) struct Client {
    peer: Peer,
    node: Place,
    room: String,
    heard: Vec<Value>,
    pub(crate) who: Who,
}

/// Somebody, as others know them: some servers show the id, some the name, some both.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Who {
    fn is(&self, shown: &Value) -> bool {
        shown["username"] == *self.name || shown["id"] == *self.id || shown["userId"] == *self.id
    }
}

impl Client {
    pub(crate) async fn join(node: Place, room: &str, name: &str) -> Client {
        let peer = Peer::connect(node.address, "/api/socket?token=t").await;
        let who = Who { id: peer.id.clone(), name: name.to_owned() };
        let mut client = Client { peer, node, room: room.to_owned(), heard: Vec::new(), who };
        let join = client.peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", room, json!({ "username": name })).await;
        client.until(|client| client.answer(&join).is_some()).await;
        assert_eq!(client.answer(&join).expect("heard")["event"], "ACKNOWLEDGE", "{name} is let in");
        client
    }

    /// Says something to its node.
    pub(crate) async fn say(&mut self, event: &str, payload: Value) {
        self.peer.event(&self.room, event, payload).await;
    }

    /// Asks its node for something and waits for the answer.
    pub(crate) async fn ask(&mut self, event: &str, payload: Value) -> Value {
        let request = self.peer.event(&self.room, event, payload).await;
        self.until(|client| client.answer(&request).is_some()).await;
        self.answer(&request).expect("heard")["payload"].clone()
    }

    /// Leaves the room, but keeps its connection.
    pub(crate) async fn leave(&mut self) {
        self.peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", &self.room, json!({})).await;
    }

    /// Is gone without a word: the connection is reset.
    pub(crate) fn cut(self) {
        self.peer.reset();
    }

    /// The payload of the first message with this name, as soon as there is one.
    pub(crate) async fn hears(&mut self, event: &str) -> Value {
        self.until(|client| !client.messages(event).is_empty()).await;
        self.messages(event)[0].clone()
    }

    /// As many messages with this name as there must be, in their order.
    pub(crate) async fn hears_many(&mut self, count: usize, event: &str) -> Vec<Value> {
        self.until(|client| client.messages(event).len() >= count).await;
        self.messages(event).into_iter().cloned().collect()
    }

    /// Waits until it is told that it was taken out, and why; servers call that in capitals or not.
    pub(crate) async fn is_told(&mut self, reason: &str) {
        let is_it = |frame: &Value| {
            let event = frame["event"].as_str().expect("checked");
            event.eq_ignore_ascii_case("evicted") && frame["payload"]["reason"] == reason
        };
        self.until(|client| client.heard.iter().any(is_it)).await;
    }

    /// All that others have said under this name until now.
    pub(crate) fn messages(&self, event: &str) -> Vec<&Value> {
        let messages = self.heard.iter().filter(|frame| frame["action"] != "PRESENCE");
        messages.filter(|frame| frame["event"] == event).map(|frame| &frame["payload"]).collect()
    }

    /// Waits until somebody's presence has changed in this way; the list that came with it.
    pub(crate) async fn sees(&mut self, change: &str, who: &Who) -> Vec<Value> {
        self.until(|client| !client.changes(change, who).is_empty()).await;
        self.changes(change, who)[0]["presence"].as_array().expect("a list").clone()
    }

    /// Waits until a list that came with such a change shows this.
    pub(crate) async fn is_shown(&mut self, change: &str, who: &Who, what: impl Fn(&[Value]) -> bool) {
        let shows = |payload: &Value| what(payload["presence"].as_array().expect("a list"));
        self.until(|client| client.changes(change, who).into_iter().any(shows)).await;
    }

    /// All such changes that it has seen until now.
    pub(crate) fn changes(&self, change: &str, who: &Who) -> Vec<&Value> {
        let changes = self.heard.iter().filter(|frame| frame["action"] == "PRESENCE" && frame["event"] == change);
        changes.map(|frame| &frame["payload"]).filter(|payload| who.is(&payload["changed"])).collect()
    }

    /// The state of the room as its node knows it.
    pub(crate) async fn state(&mut self) -> Value {
        self.ask("state", json!({})).await
    }

    /// Asks for the state of the room until `is` holds.
    pub(crate) async fn knows(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
        self.knows_within(DEADLINE, what, is).await;
    }

    pub(crate) async fn knows_within(&mut self, patience: Duration, what: &str, is: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + patience;
        loop {
            let state = self.state().await;
            if is(&state) {
                return;
            }
            assert!(Instant::now() < deadline, "{} waits for {what}, and has {state}", self.who.name);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads until that is so.
    async fn until(&mut self, is: impl Fn(&Client) -> bool) {
        while !is(self) {
            let frame = self.next().await;
            self.heard.push(frame);
        }
    }

    /// Reads the next message. Messages from our nodes must satisfy a strict client, whatever node they come from.
    /// Other nodes send more fields.
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
        self.heard.iter().find(|frame| frame["requestId"] == request && frame["action"] == "SYSTEM")
    }
}

/// Returns `true` if a presence list shows exactly these users.
pub(crate) fn are_listed(presence: &[Value], who: &[&Who]) -> bool {
    presence.len() == who.len() && who.iter().all(|who| presence.iter().any(|shown| who.is(shown)))
}

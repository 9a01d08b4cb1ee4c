//! A scripted node, which sends messages as a server of its language does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Flavour, strict};
use crate::node::OUR_NAMES;
use crate::redis::Redis;

const HEARTBEAT: &str = "__heartbeat__";

pub(crate) struct ForeignNode {
    redis: Arc<Redis>,
    flavour: Flavour,
    /// The node's id. In Go each channel of a process has another one.
    node: String,
    room: String,
}

impl ForeignNode {
    pub(crate) fn new(redis: &Arc<Redis>, flavour: Flavour, room: &str) -> ForeignNode {
        static NODES: AtomicU64 = AtomicU64::new(1);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let node = match flavour {
            Flavour::JavaScript => format!("lmlr919g{number:03}"),
            Flavour::Go => format!("5f0c1e7a-93d2-4c3b-8f6e-{number:012x}"),
        };
        ForeignNode { redis: Arc::clone(redis), flavour, node, room: room.to_owned() }
    }

    /// Publishes a message of this type about the room.
    pub(crate) async fn send(&self, kind: &str, fields: Value) {
        let topic = format!("pondsocket:v1:default:api/socket:{}", self.room);
        self.redis.publish(&topic, &self.message(kind, &self.room, &fields)).await;
    }

    pub(crate) async fn send_heartbeat(&self) {
        let topic = format!("pondsocket:v1:default:{HEARTBEAT}");
        let message = self.message("NODE_HEARTBEAT", HEARTBEAT, &json!({ "nodeId": self.node }));
        self.redis.publish(&topic, &message).await;
    }

    /// Adds a user of this node to the room, with a presence.
    pub(crate) async fn add_user(&self, user: &str) {
        self.send("USER_JOINED", json!({ "userId": user, "presence": {}, "assigns": { "username": user } })).await;
        self.update_presence(user, "JOIN", "online").await;
    }

    /// Publishes a change of presence. Go adds its own list of the room, which receivers must ignore.
    pub(crate) async fn update_presence(&self, user: &str, event: &str, status: &str) {
        let mut fields = json!({ "userId": user, "presence": { "username": user, "status": status } });
        if self.flavour == Flavour::Go {
            fields["presenceEvent"] = json!(event);
            fields["presenceList"] = json!([{ "username": "nobody" }]);
        }
        self.send("PRESENCE_UPDATE", fields).await;
    }

    pub(crate) async fn untrack(&self, user: &str) {
        let mut fields = json!({ "userId": user });
        if self.flavour == Flavour::Go {
            fields["presenceEvent"] = json!("LEAVE");
        }
        self.send("PRESENCE_REMOVED", fields).await;
    }

    /// Removes a user of this node from the room. JavaScript does not untrack it first.
    pub(crate) async fn remove_user(&self, user: &str) {
        if self.flavour == Flavour::Go {
            self.untrack(user).await;
        }
        self.send("USER_LEFT", json!({ "userId": user })).await;
    }

    /// Publishes a changed assign of a user on another node. In Go the message has only that one.
    pub(crate) async fn update_remote_assign(&self, user: &str, others: Value, key: &str, value: Value) {
        let mut assigns = if self.flavour == Flavour::Go { json!({}) } else { others };
        assigns[key] = value;
        self.send("ASSIGNS_UPDATE", json!({ "userId": user, "assigns": assigns })).await;
    }

    /// Waits for a message of this type by this server, about the room or no channel, which this node must accept.
    pub(crate) async fn receives(&self, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
        let received = self.redis.receives(kind, |received| {
            let message = &received.message;
            message["type"] == kind
                && message["sourceNodeId"].as_str().is_some_and(|source| source.starts_with(OUR_NAMES))
                && (message["channelName"] == *self.room || message["channelName"] == HEARTBEAT)
                && is(message)
        });
        let received = received.await;
        strict::check(self.flavour, &received).unwrap_or_else(|fault| panic!("{fault}: {}", received.message));
        received.message
    }

    fn message(&self, kind: &str, channel: &str, fields: &Value) -> Value {
        let mut message = match self.flavour {
            Flavour::JavaScript => captured(kind),
            Flavour::Go => None,
        };
        let is_captured = message.is_some();
        let message = message.get_or_insert_with(|| self.envelope(kind, channel));
        message["sourceNodeId"] = json!(self.node);
        message["channelName"] = json!(channel);
        for (name, value) in fields.as_object().expect("an object") {
            assert!(!is_captured || !message[name].is_null(), "no {kind} with {name} was captured");
            message[name] = value.clone();
        }
        message.take()
    }

    fn envelope(&self, kind: &str, channel: &str) -> Value {
        static MESSAGES: AtomicU64 = AtomicU64::new(1);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis();
        json!({
            "protocol": "pondsocket.distributed",
            "version": 1,
            "type": kind,
            "messageId": format!("7d4b0a52-0000-4000-8000-{:012x}", MESSAGES.fetch_add(1, Ordering::Relaxed)),
            "endpointName": if channel == HEARTBEAT { HEARTBEAT } else { "api/socket" },
            "timestamp": u64::try_from(now).expect("before the end of time"),
        })
    }
}

/// A message of this type captured from a JavaScript node. Some types are too rare to have been captured.
fn captured(kind: &str) -> Option<Value> {
    static MESSAGES: AtomicU64 = AtomicU64::new(1);
    let captured = include_str!("../../../../../crates/pondsocket-proto/tests/messages/captured.jsonl");
    let lines = captured.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut of_javascript = lines.filter(|line| line["from"] == "javascript").map(|mut line| line["message"].take());
    let mut message = of_javascript.find(|message| message["type"] == kind)?;
    message["messageId"] = json!(format!("mwsjs4rr-{:011}", MESSAGES.fetch_add(1, Ordering::Relaxed)));
    Some(message)
}

//! A node of another language, which says what it is told to, in the way of its language.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::{Flavour, strict};
use crate::node::OUR_NAMES;
use crate::redis::Redis;

const HEARTBEAT: &str = "__heartbeat__";

pub(crate) struct Stranger {
    redis: Arc<Redis>,
    flavour: Flavour,
    /// In Go each channel of a process has one of its own.
    node: String,
    room: String,
}

impl Stranger {
    pub(crate) fn new(redis: &Arc<Redis>, flavour: Flavour, room: &str) -> Stranger {
        static NODES: AtomicU64 = AtomicU64::new(1);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let node = match flavour {
            Flavour::JavaScript => format!("lmlr919g{number:03}"),
            Flavour::Go => format!("5f0c1e7a-93d2-4c3b-8f6e-{number:012x}"),
        };
        Stranger { redis: Arc::clone(redis), flavour, node, room: room.to_owned() }
    }

    /// Says something about the room.
    pub(crate) async fn says(&self, kind: &str, fields: Value) {
        let topic = format!("pondsocket:v1:default:api/socket:{}", self.room);
        self.redis.publish(&topic, &self.message(kind, &self.room, &fields)).await;
    }

    pub(crate) async fn says_that_it_lives(&self) {
        let topic = format!("pondsocket:v1:default:{HEARTBEAT}");
        let message = self.message("NODE_HEARTBEAT", HEARTBEAT, &json!({ "nodeId": self.node }));
        self.redis.publish(&topic, &message).await;
    }

    /// A user of this node becomes a member, and shows something.
    pub(crate) async fn lets_in(&self, user: &str) {
        self.says("USER_JOINED", json!({ "userId": user, "presence": {}, "assigns": { "username": user } })).await;
        self.shows(user, "JOIN", "online").await;
    }

    /// Sends a change of presence. Go adds its own view of the room, which receivers must not believe.
    pub(crate) async fn shows(&self, user: &str, event: &str, status: &str) {
        let mut fields = json!({ "userId": user, "presence": { "username": user, "status": status } });
        if self.flavour == Flavour::Go {
            fields["presenceEvent"] = json!(event);
            fields["presenceList"] = json!([{ "username": "nobody" }]);
        }
        self.says("PRESENCE_UPDATE", fields).await;
    }

    pub(crate) async fn hides(&self, user: &str) {
        let mut fields = json!({ "userId": user });
        if self.flavour == Flavour::Go {
            fields["presenceEvent"] = json!("LEAVE");
        }
        self.says("PRESENCE_REMOVED", fields).await;
    }

    /// JavaScript does not hide users first.
    pub(crate) async fn lets_go(&self, user: &str) {
        if self.flavour == Flavour::Go {
            self.hides(user).await;
        }
        self.says("USER_LEFT", json!({ "userId": user })).await;
    }

    /// This node changes an assign of a user on another one. In Go only that is in the message.
    pub(crate) async fn assigns_elsewhere(&self, user: &str, others: Value, key: &str, value: Value) {
        let mut assigns = if self.flavour == Flavour::Go { json!({}) } else { others };
        assigns[key] = value;
        self.says("ASSIGNS_UPDATE", json!({ "userId": user, "assigns": assigns })).await;
    }

    /// A message of ours of this type, about the room or about no channel, which this node would take.
    pub(crate) async fn hears(&self, kind: &str, is: impl Fn(&Value) -> bool) -> Value {
        let heard = self.redis.hears(kind, |heard| {
            let message = &heard.message;
            message["type"] == kind
                && message["sourceNodeId"].as_str().is_some_and(|source| source.starts_with(OUR_NAMES))
                && (message["channelName"] == *self.room || message["channelName"] == HEARTBEAT)
                && is(message)
        });
        let heard = heard.await;
        strict::check(self.flavour, &heard).unwrap_or_else(|fault| panic!("{fault}: {}", heard.message));
        heard.message
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

/// The captured message of this type from a JavaScript node. Some types are too rare to have been captured.
fn captured(kind: &str) -> Option<Value> {
    static MESSAGES: AtomicU64 = AtomicU64::new(1);
    let captured = include_str!("../../../../../crates/pondsocket-proto/tests/messages/captured.jsonl");
    let lines = captured.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut of_javascript = lines.filter(|line| line["from"] == "javascript").map(|mut line| line["message"].take());
    let mut message = of_javascript.find(|message| message["type"] == kind)?;
    message["messageId"] = json!(format!("mwsjs4rr-{:011}", MESSAGES.fetch_add(1, Ordering::Relaxed)));
    Some(message)
}

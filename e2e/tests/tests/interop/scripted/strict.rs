//! The rules for messages that nodes of other languages accept, as strict as those of the strictest.

use serde_json::Value;

use super::{Flavour, MESSAGE_TYPES};
use crate::redis::BusMessage;

/// The type that a field must have.
#[derive(Clone, Copy)]
enum FieldType {
    Text,
    Object,
    Recipients,
    Users,
}

/// The fields of a message of this type beside the envelope.
fn fields(kind: &str) -> &'static [(&'static str, FieldType)] {
    match kind {
        "USER_MESSAGE" => &[
            ("fromUserId", FieldType::Text),
            ("event", FieldType::Text),
            ("payload", FieldType::Object),
            ("requestId", FieldType::Text),
            ("recipientDescriptor", FieldType::Recipients),
        ],
        "PRESENCE_UPDATE" => &[("userId", FieldType::Text), ("presence", FieldType::Object)],
        "ASSIGNS_UPDATE" => &[("userId", FieldType::Text), ("assigns", FieldType::Object)],
        "EVICT_USER" => &[("userId", FieldType::Text), ("reason", FieldType::Text)],
        "USER_GET_REQUEST" => {
            &[("userId", FieldType::Text), ("requestId", FieldType::Text), ("fromNode", FieldType::Text)]
        }
        "USER_GET_RESPONSE" => &[
            ("userId", FieldType::Text),
            ("requestId", FieldType::Text),
            ("assigns", FieldType::Object),
            ("presence", FieldType::Object),
        ],
        "USER_JOINED" => {
            &[("userId", FieldType::Text), ("presence", FieldType::Object), ("assigns", FieldType::Object)]
        }
        "STATE_REQUEST" => &[("fromNode", FieldType::Text)],
        "STATE_RESPONSE" => &[("users", FieldType::Users)],
        "NODE_HEARTBEAT" => &[("nodeId", FieldType::Text)],
        _ => &[("userId", FieldType::Text)],
    }
}

/// Checks that a node of this language would read a message correctly. Messages of types that only this server has are ignored by
/// others.
pub(crate) fn check(flavour: Flavour, received: &BusMessage) -> Result<(), String> {
    let BusMessage { topic, message } = received;
    if topic.contains(":__cluster__") || topic.contains(":__node__:") {
        return Ok(());
    }
    if flavour == Flavour::Go {
        decodes_in_go(message)?;
    }
    envelope(topic, message)?;
    let kind = message["type"].as_str().ok_or("no type")?;
    if kind.starts_with("X_") {
        return Ok(());
    }
    if !MESSAGE_TYPES.iter().any(|known| known.name == kind) {
        return Err(format!("unknown type {kind}"));
    }
    for &(name, is) in fields(kind) {
        if !is.matches(&message[name]) {
            return Err(format!("{name} of {kind}"));
        }
    }
    // JavaScript gives some events a meaning of their own, and Python some events and payloads.
    let betrays = kind.starts_with("PRESENCE_") && ["event", "payload"].iter().any(|name| !message[*name].is_null());
    if betrays { Err(format!("event or payload of {kind}")) } else { Ok(()) }
}

/// JavaScript drops a message without all eight of these.
fn envelope(topic: &str, message: &Value) -> Result<(), String> {
    if message["protocol"] != "pondsocket.distributed" || message["version"].as_u64() != Some(1) {
        return Err("protocol or version".into());
    }
    for name in ["type", "messageId", "sourceNodeId", "endpointName", "channelName"] {
        if !message[name].is_string() {
            return Err(name.into());
        }
    }
    // Go's decoder requires an integer.
    if !message["timestamp"].is_u64() {
        return Err("timestamp".into());
    }
    let (endpoint, channel) = (message["endpointName"].as_str(), message["channelName"].as_str());
    let expected = match (endpoint.unwrap_or_default(), channel.unwrap_or_default()) {
        ("__heartbeat__", "__heartbeat__") => "pondsocket:v1:default:__heartbeat__".to_owned(),
        (endpoint, channel) => format!("pondsocket:v1:default:{endpoint}:{channel}"),
    };
    if *topic == expected { Ok(()) } else { Err(format!("topic {topic}")) }
}

/// Go checks the types of all fields for every type of message, and ignores the case of their names.
fn decodes_in_go(message: &Value) -> Result<(), String> {
    const TEXTS: [&str; 8] =
        ["fromUserId", "event", "requestId", "userId", "presenceEvent", "reason", "fromNode", "nodeId"];
    const LISTS: [&str; 2] = ["presenceList", "users"];
    const ANY: [&str; 4] = ["payload", "presence", "assigns", "recipientDescriptor"];
    for (name, value) in message.as_object().ok_or("no object")? {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let known = TEXTS.iter().chain(&LISTS).chain(&ANY).find(|known| is(known));
        if known.is_some_and(|known| known != name) {
            return Err(format!("{name} in other letters"));
        }
        let fits = match value {
            Value::Null => true,
            _ if TEXTS.iter().any(|known| is(known)) => value.is_string(),
            _ if is("users") => FieldType::Users.matches(value),
            _ if LISTS.iter().any(|known| is(known)) => value.is_array(),
            _ => true,
        };
        if !fits {
            return Err(format!("the type of {name}"));
        }
    }
    Ok(())
}

impl FieldType {
    fn matches(self, value: &Value) -> bool {
        match self {
            FieldType::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            FieldType::Object => value.is_object(),
            FieldType::Recipients => match value.as_array() {
                Some(users) => !users.is_empty() && users.iter().all(Value::is_string),
                None => value == "ALL_USERS" || value == "ALL_EXCEPT_SENDER",
            },
            FieldType::Users => value.as_array().is_some_and(|users| users.iter().all(is_user)),
        }
    }
}

fn is_user(user: &Value) -> bool {
    user["id"].is_string() && user["assigns"].is_object() && user["presence"].is_object()
}

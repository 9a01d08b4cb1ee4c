//! The rules of the strictest foreign nodes (docs/cluster.md, Sent messages), for tests and tools that check published
//! messages.

use serde_json::{Map, Value};

use super::read::Entries;

/// A field, and whether a value fits it.
type FieldRule = (&'static str, fn(&Value) -> bool);

/// The fields of every message: some nodes drop a message that lacks any of them.
const ENVELOPE: [FieldRule; 8] = [
    ("protocol", |value| value == "pondsocket.distributed"),
    // As an integer literal: some nodes do not accept `1.0`.
    ("version", |value| value.as_u64() == Some(1)),
    ("type", Value::is_string),
    ("messageId", filled),
    ("sourceNodeId", filled),
    ("endpointName", Value::is_string),
    ("channelName", Value::is_string),
    ("timestamp", Value::is_u64),
];

/// Fields that must have this kind in messages of every type: nodes that decode into one struct drop the message
/// otherwise.
const TYPED: [FieldRule; 11] = [
    ("fromUserId", Value::is_string),
    ("event", Value::is_string),
    ("requestId", Value::is_string),
    ("userId", Value::is_string),
    ("presenceEvent", |value| value == "JOIN" || value == "UPDATE" || value == "LEAVE"),
    ("reason", Value::is_string),
    ("fromNode", Value::is_string),
    ("nodeId", Value::is_string),
    ("key", Value::is_string),
    ("presenceList", Value::is_array),
    ("users", |value| value.as_array().is_some_and(|users| users.iter().all(user))),
];

const USER: FieldRule = ("userId", filled);
const PRESENCE: FieldRule = ("presence", Value::is_object);
const ASSIGNS: FieldRule = ("assigns", Value::is_object);
const REQUEST: FieldRule = ("requestId", filled);
const EXT: FieldRule = ("ext", Value::is_object);

/// The fields that a type needs beside the envelope.
fn needed(kind: &str) -> Option<&'static [FieldRule]> {
    Some(match kind {
        "USER_MESSAGE" => &[
            ("fromUserId", filled),
            ("event", Value::is_string),
            ("payload", Value::is_object),
            REQUEST,
            ("recipientDescriptor", recipients),
        ],
        "PRESENCE_UPDATE" => &[USER, PRESENCE],
        "ASSIGNS_UPDATE" => &[USER, ASSIGNS],
        "PRESENCE_REMOVED" | "USER_REMOVE" | "USER_LEFT" => &[USER],
        "EVICT_USER" => &[USER, ("reason", Value::is_string)],
        "USER_GET_REQUEST" => &[USER, REQUEST, ("fromNode", Value::is_string)],
        "USER_GET_RESPONSE" => &[USER, REQUEST, ASSIGNS, PRESENCE],
        "USER_JOINED" => &[USER, PRESENCE, ASSIGNS],
        "STATE_REQUEST" => &[("fromNode", Value::is_string)],
        "STATE_RESPONSE" => &[("users", Value::is_array)],
        "NODE_HEARTBEAT" => &[("nodeId", filled)],
        "X_STATE" | "X_REPAIR" | "X_DIGEST" | "X_ACK" | "X_NODE" => &[EXT],
        _ => return None,
    })
}

/// Checks one message as the strictest node of each language does. Types of our own nodes only need a valid envelope:
/// foreign nodes ignore their content.
///
/// # Errors
/// The part of the message that some node would reject or misread.
pub fn check(text: &str) -> Result<(), String> {
    if text.contains(['\n', '\r']) {
        return Err("a line break".into());
    }
    let Entries(entries) = serde_json::from_str(text).map_err(|error| format!("no object: {error}"))?;
    // Some nodes match names without regard to case, so two names must not differ in case alone.
    let mut names: Vec<_> = entries.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("`{}` is there twice", pair[0]));
    }
    let message: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    present(&message, &ENVELOPE)?;
    let kind = message["type"].as_str().unwrap_or_default();
    present(&message, needed(kind).ok_or_else(|| format!("the type `{kind}`"))?)?;
    for (name, fits) in TYPED {
        if message.get(name).is_some_and(|value| !fits(value)) {
            return Err(format!("`{name}` is of a wrong kind"));
        }
    }
    // Some nodes use these instead of the presence beside them.
    match ["payload", "event"].into_iter().find(|name| kind.starts_with("PRESENCE_") && message.contains_key(*name)) {
        Some(name) => Err(format!("`{name}` in a message about presence")),
        None => Ok(()),
    }
}

fn present(message: &Map<String, Value>, fields: &[FieldRule]) -> Result<(), String> {
    match fields.iter().find(|(name, fits)| !message.get(*name).is_some_and(fits)) {
        Some((name, _)) => Err(format!("`{name}` is missing or wrong")),
        None => Ok(()),
    }
}

fn filled(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn recipients(value: &Value) -> bool {
    match value {
        Value::Array(users) => users.iter().all(filled),
        descriptor => descriptor == "ALL_USERS" || descriptor == "ALL_EXCEPT_SENDER",
    }
}

/// A user of a list.
fn user(value: &Value) -> bool {
    let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
    filled(field("id")) && field("assigns").is_object() && field("presence").is_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(fields: &str) -> Result<(), String> {
        check(&format!(
            r#"{{"protocol":"pondsocket.distributed","version":1,"messageId":"m","sourceNodeId":"n","endpointName":"",
            "channelName":"/c",{fields}}}"#
        )
        .replace('\n', ""))
    }

    #[test]
    fn the_part_that_some_node_would_reject_is_named() {
        assert_eq!(message(r#""timestamp":1,"type":"USER_LEFT","userId":"u""#), Ok(()));
        for (fields, fault) in [
            (r#""timestamp":1.0,"type":"USER_LEFT","userId":"u""#, "`timestamp` is missing or wrong"),
            (r#""timestamp":1,"type":"USER_LEFT""#, "`userId` is missing or wrong"),
            (r#""timestamp":1,"type":"USER_STAYS""#, "the type `USER_STAYS`"),
            (r#""timestamp":1,"type":"USER_LEFT","userId":"u","UserID":"u""#, "`userid` is there twice"),
            (r#""timestamp":1,"type":"USER_LEFT","userId":"u","reason":5"#, "`reason` is of a wrong kind"),
            (
                r#""timestamp":1,"type":"USER_LEFT","userId":"u","presenceEvent":"GONE""#,
                "`presenceEvent` is of a wrong kind",
            ),
            (
                r#""timestamp":1,"type":"PRESENCE_REMOVED","userId":"u","event":"e""#,
                "`event` in a message about presence",
            ),
            (r#""timestamp":1,"type":"USER_LEFT","userId":"""#, "`userId` is missing or wrong"),
            (
                r#""timestamp":1,"type":"USER_MESSAGE","fromUserId":"u","event":"e","payload":{},"requestId":"r",
                "recipientDescriptor":"SOME""#,
                "`recipientDescriptor` is missing or wrong",
            ),
        ] {
            assert_eq!(message(fields), Err(fault.into()), "{fields}");
        }
        for user in
            [r#"{"id":"u","assigns":{}}"#, r#"{"id":"u","presence":{}}"#, r#"{"assigns":{},"presence":{}}"#, "5"]
        {
            let fields = format!(r#""timestamp":1,"type":"STATE_RESPONSE","users":[{user}]"#);
            assert_eq!(message(&fields), Err("`users` is of a wrong kind".into()), "{user}");
        }
        assert_eq!(check("{\n}"), Err("a line break".into()));
        assert!(check("[]").is_err());
    }
}

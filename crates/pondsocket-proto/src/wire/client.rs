//! What clients send (docs/protocol.md, Client messages).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::vet::{Unsafe, vet};

/// A message of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// It wants to join a channel.
    Join(Envelope<'a>),
    /// It leaves a channel.
    Leave(Envelope<'a>),
    /// A message of the application.
    Event(Envelope<'a>),
    /// Some clients say so from time to time, with nothing else in the message. There is no answer.
    Ping,
}

/// The fields that all messages but a ping have. None of the texts is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope<'a> {
    /// What it is about.
    pub event: Cow<'a, str>,
    /// The exact channel name.
    pub channel: Cow<'a, str>,
    /// What answers refer to.
    pub request_id: Cow<'a, str>,
    /// The text of any JSON value that is safe to pass on; `{}` if it was absent or null.
    pub payload: &'a str,
}

/// A text that is no message of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed {
    /// What is wrong.
    pub reason: Reason,
    /// The code to answer with: 404 for an unknown action, else 400.
    pub code: u16,
    /// The request id, if one can be made out.
    pub request_id: Option<String>,
    /// The channel name, if one can be made out.
    pub channel: Option<String>,
}

/// What is wrong with a text.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// It is not JSON, or not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A field is missing, empty or of a wrong type.
    #[error("`{0}` must be a string that is not empty")]
    Field(&'static str),
    /// The same field twice.
    #[error("a field is repeated")]
    Repeated,
    /// There is no such action.
    #[error("unknown action")]
    Action(String),
    /// It cannot be passed on.
    #[error(transparent)]
    Payload(#[from] Unsafe),
}

impl Malformed {
    /// Details for the answer, as the text of a JSON object.
    pub fn details(&self) -> Option<String> {
        match &self.reason {
            Reason::Action(action) => Some(serde_json::json!({ "eventType": action }).to_string()),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    action: Text<'a>,
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow, rename = "channelName")]
    channel: Text<'a>,
    #[serde(borrow, rename = "requestId")]
    request_id: Text<'a>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// serde borrows a `Cow` only through a wrapper.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one message.
///
/// # Errors
/// What is wrong, and what an answer can refer to.
pub fn decode(text: &str) -> Result<ClientMessage<'_>, Malformed> {
    // serde would take an array of the fields' values for a struct, too.
    let object = text.trim_start().starts_with('{');
    let raw: Raw<'_> = match serde_json::from_str(text) {
        Ok(raw) if object => raw,
        _ => return explain(text),
    };
    if raw.event.0.is_empty() || raw.channel.0.is_empty() || raw.request_id.0.is_empty() {
        return explain(text);
    }
    let payload = raw.payload.map_or("{}", RawValue::get);
    let action = raw.action.0;
    let envelope = Envelope { event: raw.event.0, channel: raw.channel.0, request_id: raw.request_id.0, payload };
    if let Err(reason) = vet(payload) {
        return Err(malformed(Reason::Payload(reason), &envelope.request_id, &envelope.channel));
    }
    match &*action {
        "BROADCAST" => Ok(ClientMessage::Event(envelope)),
        "JOIN_CHANNEL" => Ok(ClientMessage::Join(envelope)),
        "LEAVE_CHANNEL" => Ok(ClientMessage::Leave(envelope)),
        action if action.eq_ignore_ascii_case("ping") => Ok(ClientMessage::Ping),
        action => Err(malformed(Reason::Action(action.to_owned()), &envelope.request_id, &envelope.channel)),
    }
}

fn malformed(reason: Reason, request_id: &str, channel: &str) -> Malformed {
    let code = if matches!(reason, Reason::Action(_)) { 404 } else { 400 };
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Malformed { reason, code, request_id: known(request_id), channel: known(channel) }
}

/// Looks again at a text that is no message, for what exactly is wrong, and for what the answer can refer to.
fn explain(text: &str) -> Result<ClientMessage<'_>, Malformed> {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return Err(malformed(Reason::NotAnObject, "", ""));
    };
    let field = |name| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("action").eq_ignore_ascii_case("ping") {
        return Ok(ClientMessage::Ping);
    }
    let missing = ["action", "event", "channelName", "requestId"].into_iter().find(|name| field(name).is_empty());
    let reason = missing.map_or(Reason::Repeated, Reason::Field);
    Err(malformed(reason, field("requestId"), field("channelName")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u16, Option<String>, Option<String>, String) {
        let malformed = decode(text).expect_err("malformed");
        (malformed.code, malformed.request_id, malformed.channel, malformed.reason.to_string())
    }

    #[test]
    fn the_three_messages() {
        let text =
            r#"{"action":"BROADCAST","event":"e","channelName":"/c","requestId":"r","payload":{"a": 1},"more":[]}"#;
        let Ok(ClientMessage::Event(message)) = decode(text) else { panic!("an event") };
        assert_eq!((&*message.event, &*message.channel, &*message.request_id), ("e", "/c", "r"));
        assert_eq!(message.payload, r#"{"a": 1}"#);
        let join =
            r#"{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/c","requestId":"r","payload":null}"#;
        assert!(matches!(decode(join), Ok(ClientMessage::Join(Envelope { payload: "{}", .. }))));
        let leave = r#"{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":"/\u0063","requestId":"r"}"#;
        let Ok(ClientMessage::Leave(message)) = decode(leave) else { panic!("a leave") };
        assert_eq!((&*message.channel, message.payload), ("/c", "{}"));
    }

    #[test]
    fn a_ping_needs_no_other_field() {
        assert_eq!(decode(r#"{"action":"ping"}"#), Ok(ClientMessage::Ping));
        assert_eq!(decode(r#"{"action":"PING","payload":5}"#), Ok(ClientMessage::Ping));
    }

    #[test]
    fn payloads_may_be_of_any_kind() {
        for payload in ["5", "\"x\"", "[1]", "true"] {
            let text = format!(
                r#"{{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{payload}}}"#
            );
            let Ok(ClientMessage::Event(message)) = decode(&text) else { panic!("an event") };
            assert_eq!(message.payload, payload);
        }
    }

    #[test]
    fn mistakes_are_named_and_can_be_answered() {
        let nothing = (400, None, None, "not a JSON object".to_owned());
        for text in ["", "{\"action\":", "42", "[]", "null", "\"BROADCAST\"", r#"["BROADCAST","e","c","r",{}]"#] {
            assert_eq!(refused(text), nothing, "{text}");
        }
        assert_eq!(refused(r#"{"action":"BROADCAST"}"#).3, "`event` must be a string that is not empty");
        let bad_event = r#"{"action":"BROADCAST","event":5,"channelName":"c","requestId":"r"}"#;
        let named = "`event` must be a string that is not empty".to_owned();
        assert_eq!(refused(bad_event), (400, Some("r".into()), Some("c".into()), named));
        let empty = r#"{"action":"BROADCAST","event":"e","channelName":"","requestId":"r"}"#;
        let named = "`channelName` must be a string that is not empty".to_owned();
        assert_eq!(refused(empty), (400, Some("r".into()), None, named));
        let empty = r#"{"action":"BROADCAST","event":"e","channelName":"c","requestId":""}"#;
        let named = "`requestId` must be a string that is not empty".to_owned();
        assert_eq!(refused(empty), (400, None, Some("c".into()), named));
        let dance = r#"{"action":"DANCE","event":"e","channelName":"c","requestId":"r"}"#;
        assert_eq!(refused(dance), (404, Some("r".into()), Some("c".into()), "unknown action".into()));
        let details = decode(dance).expect_err("unknown").details();
        assert_eq!(details.as_deref(), Some(r#"{"eventType":"DANCE"}"#));
        let twice = r#"{"action":"BROADCAST","event":"e","event":"f","channelName":"c","requestId":"r"}"#;
        assert_eq!(refused(twice).3, "a field is repeated");
        let half = r#"{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{"x":"\ud800"}}"#;
        assert_eq!(refused(half), (400, Some("r".into()), Some("c".into()), Unsafe::Surrogate.to_string()));
    }
}

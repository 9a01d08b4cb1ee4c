//! The messages that clients send (docs/protocol.md, Client messages).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ClientText;
use super::salvage::{FIELDS, Salvaged, salvage};
use super::vet::{Unsafe, vet};

/// A message of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// A request to join a channel.
    Join(ClientEnvelope<'a>),
    /// A request to leave a channel.
    Leave(ClientEnvelope<'a>),
    /// A message of the application.
    Event(ClientEnvelope<'a>),
    /// A keep-alive that some clients send, with no other field. There is no answer.
    Ping,
}

/// The fields that all messages but a ping have. None of the texts is empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientEnvelope<'a> {
    /// The name of the event.
    pub event: Cow<'a, str>,
    /// The exact channel name.
    pub channel: Cow<'a, str>,
    /// The id that answers carry.
    pub request_id: Cow<'a, str>,
    /// The text of any JSON value that is safe to pass on; `{}` if it was absent or null.
    pub payload: &'a str,
}

/// A text that is not a valid client message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MalformedMessage {
    /// The fault in the text.
    pub reason: Reason,
    /// The code to answer with: 404 for an unknown action, else 400.
    pub code: u16,
    /// The request id, if there is one.
    pub request_id: Option<ClientText<'static>>,
    /// The channel name, if there is one. The name in a join may be empty: the client matches the decline to its
    /// channel by that name.
    pub channel: Option<ClientText<'static>>,
    /// `true` if the text asks to join: then the answer must be one that ends a join.
    pub is_join: bool,
}

/// The faults of a text that is not a valid client message.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The text is not JSON, or not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A field is missing, empty or of a wrong type.
    #[error("`{0}` must be a string that is not empty")]
    Field(&'static str),
    /// A field contains half a surrogate pair.
    #[error("`{0}` contains an unpaired surrogate")]
    Surrogate(&'static str),
    /// A binary message that is not UTF-8.
    #[error("a binary message that is not UTF-8")]
    NotUtf8,
    /// A field that occurs twice.
    #[error("a field is repeated")]
    Repeated,
    /// An action that the protocol does not have.
    #[error("unknown action")]
    Action(String),
    /// A payload that cannot be forwarded to other clients.
    #[error(transparent)]
    Payload(#[from] Unsafe),
}

impl MalformedMessage {
    /// The size of the texts, in bytes.
    pub fn bytes(&self) -> usize {
        let texts = [&self.request_id, &self.channel];
        texts.into_iter().flatten().map(|text| text.to_lossy().len()).sum()
    }

    /// Details for the answer, as the text of a JSON object.
    pub fn details(&self) -> Option<String> {
        match &self.reason {
            Reason::Action(action) => Some(serde_json::json!({ "eventType": action }).to_string()),
            _ => None,
        }
    }
}

// Additional fields are ignored (docs/protocol.md, Client messages), so `deny_unknown_fields` is not set.
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
    // Kept as text, because a payload is forwarded as the client wrote it. An absent payload and `null` both become
    // `None`, since clients send an empty payload in either way.
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// A string of a message. serde borrows a `Cow` only through a wrapper like this one.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one message.
///
/// # Errors
/// The fault, and the fields that an answer carries.
pub fn decode(text: &str) -> Result<ClientMessage<'_>, MalformedMessage> {
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
    let envelope = ClientEnvelope { event: raw.event.0, channel: raw.channel.0, request_id: raw.request_id.0, payload };
    // The payload of a leave is not used, so no payload may keep the client in the channel.
    if action != LEAVE
        && let Err(reason) = vet(payload)
    {
        return Err(of_envelope(reason.into(), &action, &envelope));
    }
    match &*action {
        "BROADCAST" => Ok(ClientMessage::Event(envelope)),
        JOIN => Ok(ClientMessage::Join(envelope)),
        LEAVE => Ok(ClientMessage::Leave(envelope)),
        // The keep-alive of one client, which may carry all fields, too. A ping with the action alone gets here by
        // `explain`.
        action if action.eq_ignore_ascii_case("ping") => Ok(ClientMessage::Ping),
        unknown => {
            let reason = Reason::Action(unknown.to_owned());
            Err(of_envelope(reason, unknown, &envelope))
        }
    }
}

/// Reads the fields of a binary message that is not UTF-8, for the answer.
pub fn not_utf8(bytes: &[u8]) -> MalformedMessage {
    of_salvaged(Reason::NotUtf8, &salvage(&String::from_utf8_lossy(bytes)))
}

const JOIN: &str = "JOIN_CHANNEL";
const LEAVE: &str = "LEAVE_CHANNEL";

fn of_envelope(reason: Reason, action: &str, envelope: &ClientEnvelope<'_>) -> MalformedMessage {
    let code = if matches!(reason, Reason::Action(_)) { 404 } else { 400 };
    let known = |text: &str| Some(text.to_owned().into());
    let (request_id, channel) = (known(&envelope.request_id), known(&envelope.channel));
    MalformedMessage { reason, code, request_id, channel, is_join: action == JOIN }
}

/// Finds the exact fault of a text that is no message, and the fields that the answer carries. This is a second pass,
/// so that a valid message costs one.
fn explain(text: &str) -> Result<ClientMessage<'_>, MalformedMessage> {
    let found = salvage(text);
    // A ping needs no other field, so serde has rejected it above.
    if found.is_object && found.text("action").eq_ignore_ascii_case("ping") {
        return Ok(ClientMessage::Ping);
    }
    // A field that is missing is reported before one with half a surrogate pair. If no field has a fault and the object
    // is valid JSON, serde can have rejected it only for a repeated field.
    let missing = || FIELDS.into_iter().find(|name| found.text(name).is_empty());
    let broken = || FIELDS.into_iter().find(|name| found.get(name).is_some_and(|field| !field.is_exact()));
    let reason = match found.is_object {
        false => Reason::NotAnObject,
        true => missing().map(Reason::Field).or_else(|| broken().map(Reason::Surrogate)).unwrap_or(Reason::Repeated),
    };
    Err(of_salvaged(reason, &found))
}

fn of_salvaged(reason: Reason, found: &Salvaged) -> MalformedMessage {
    let is_join = found.text("action") == JOIN;
    let is_known = |field: &&ClientText<'_>| !field.to_lossy().is_empty();
    let request_id = found.get("requestId").filter(is_known).cloned();
    // Only the decline of a join repeats an empty name (docs/protocol.md, Declining); all other answers name the
    // gateway.
    let channel = found.get("channelName").filter(|field| is_join || is_known(field)).cloned();
    MalformedMessage { reason, code: 400, request_id, channel, is_join }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (u16, Option<String>, Option<String>, String) {
        let malformed = decode(text).expect_err("malformed");
        assert!(!malformed.is_join);
        let lossy = |text: Option<ClientText<'_>>| text.map(|text| text.to_lossy().to_owned());
        (malformed.code, lossy(malformed.request_id), lossy(malformed.channel), malformed.reason.to_string())
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
        assert!(matches!(decode(join), Ok(ClientMessage::Join(ClientEnvelope { payload: "{}", .. }))));
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
    fn faults_are_named_and_the_answer_has_the_fields_that_were_read() {
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
        let half = r#"{"action":"BROADCAST","event":"\ud800","channelName":"c","requestId":"\udc00r"}"#;
        let named = "`event` contains an unpaired surrogate".to_owned();
        assert_eq!(refused(half), (400, Some("\u{fffd}r".into()), Some("c".into()), named));
    }

    #[test]
    fn a_malformed_join_is_recognised_as_a_join() {
        let join = |channel: &str, payload: &str| {
            let text = format!(
                r#"{{"action":"JOIN_CHANNEL","event":"e","payload":{payload},"channelName":{channel},"requestId":"r"}}"#
            );
            let malformed = decode(&text).expect_err("malformed");
            assert_eq!((malformed.is_join, malformed.request_id), (true, Some(ClientText::from("r"))), "{text}");
            malformed.channel.map(|channel| channel.to_lossy().to_owned())
        };
        for payload in [r#""\ud800""#, "1e999", "NaN", &("[".repeat(101) + &"]".repeat(101)), "1,\"payload\":2"] {
            assert_eq!(join("\"/c\"", payload).as_deref(), Some("/c"), "{payload}");
        }
        assert_eq!(join("\"\"", "{}").as_deref(), Some(""));
        assert_eq!(join("5", "{}"), None);
        let latin = b"{\"action\":\"JOIN_CHANNEL\",\"channelName\":\"/c\",\"requestId\":\"r\",\"payload\":\"\xe9\"}";
        let malformed = not_utf8(latin);
        assert_eq!((malformed.is_join, malformed.channel), (true, Some(ClientText::from("/c"))));
    }

    #[test]
    fn a_leave_with_any_payload_is_accepted() {
        let leave = r#"{"action":"LEAVE_CHANNEL","event":"e","channelName":"c","requestId":"r","payload":"\ud800"}"#;
        assert!(matches!(decode(leave), Ok(ClientMessage::Leave(_))));
    }
}

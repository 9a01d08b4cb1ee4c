//! The messages that clients send (docs/protocol.md, Client messages).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ClientText;
use super::fields::{Values, fields};
use super::salvage::{FIELDS, Salvaged, salvage};
use super::scan::vet;
use super::vet::Unsafe;

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
    MessageField(&'static str),
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
    match scan(text) {
        Some((action, envelope)) => of_action(&action, envelope),
        None => decode_any(text),
    }
}

fields! {
    /// The fields of a message.
    MessageField {
        scalar: Action "action", Event "event", ChannelName "channelName", RequestId "requestId";
        raw: Payload "payload";
    }
}

/// Finds the action and the envelope of a valid message in one pass. Returns `None` for all others,
/// which are left to [`decode_any`].
fn scan(text: &str) -> Option<(Cow<'_, str>, ClientEnvelope<'_>)> {
    let mut values = Values::<{ MessageField::COUNT }>::default();
    values.read::<MessageField>(text).ok()?;
    let text = |field| values.get(field)?.as_text().filter(|text| !text.is_empty());
    let payload = match values.get(MessageField::Payload) {
        Some(payload) if payload.fault().is_some() => return None,
        payload => payload.map_or("{}", |payload| payload.text),
    };
    let (event, channel) = (text(MessageField::Event)?, text(MessageField::ChannelName)?);
    Some((
        text(MessageField::Action)?,
        ClientEnvelope { event, channel, request_id: text(MessageField::RequestId)?, payload },
    ))
}

/// Reads a message of any form, in several passes.
fn decode_any(text: &str) -> Result<ClientMessage<'_>, MalformedMessage> {
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
    of_action(&action, envelope)
}

fn of_action<'a>(action: &str, envelope: ClientEnvelope<'a>) -> Result<ClientMessage<'a>, MalformedMessage> {
    match action {
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
        true => {
            missing().map(Reason::MessageField).or_else(|| broken().map(Reason::Surrogate)).unwrap_or(Reason::Repeated)
        }
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
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> (u16, Option<String>, Option<String>, String) {
        let malformed = decode(text).expect_err("malformed");
        assert!(!malformed.is_join);
        let lossy = |text: Option<ClientText<'_>>| text.map(|text| text.to_lossy().to_owned());
        (malformed.code, lossy(malformed.request_id), lossy(malformed.channel), malformed.reason.to_string())
    }

    /// Texts that are messages, and texts that nearly are.
    fn any_text() -> impl Strategy<Value = String> {
        let string = prop_oneof![
            4 => "[a-z/é0-9]{0,12}",
            1 => r#"(\\["\\/bfnrtu]|\\u[0-9a-fA-Fdc]{3,4}|[\x00-\x20"\\]|x|😀){0,6}"#,
        ];
        let string = string.prop_map(|inside| format!("\"{inside}\""));
        let number = r"(-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?|[-+.0-9eE]{1,6})";
        let leaf = prop_oneof![string.clone(), number, "(true|false|null|nul|tru)"];
        let value = leaf.prop_recursive(3, 16, 4, |inner| {
            let space = || "[ \t\n\r]{0,2}";
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..4), space())
                    .prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!("{space},")))),
                (prop::collection::vec((".{0,2}", inner), 0..4), space()).prop_map(|(entries, space)| {
                    let entries: Vec<_> =
                        entries.iter().map(|(key, value)| format!("{key:?}{space}:{value}")).collect();
                    format!("{{{}}}{space}", entries.join(","))
                }),
            ]
        });
        let known = prop::sample::select(vec!["action", "event", "channelName", "requestId", "payload"]);
        let key = prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-z]{0,3}"];
        let field = (key, prop_oneof![4 => string, 1 => value.clone()], value).prop_map(|(key, text, value)| {
            let value = if key == "payload" { value } else { text };
            format!("\"{key}\":{value}")
        });
        let common = r#""action":"BROADCAST","event":"e","channelName":"/c","requestId":"r""#;
        let parts = (prop::collection::vec(field, 0..4), any::<bool>(), any::<prop::sample::Index>(), 0..8u8);
        parts.prop_map(move |(fields, whole, at, damage)| {
            let fields = fields.join(",");
            let comma = if fields.is_empty() { "" } else { "," };
            let mut text = if whole { format!("{{{common}{comma}{fields}}}") } else { format!("{{{fields}}}") };
            let at = at.index(text.len() + 1);
            if damage == 0 && text.is_char_boundary(at) {
                text.truncate(at);
            } else if damage == 1 && text.is_char_boundary(at) {
                text.insert(at, ',');
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The single pass accepts nothing that serde does not, and finds the same fields.
        #[test]
        fn a_text_is_decoded_in_one_pass_as_in_several(text in any_text()) {
            if scan(&text).is_some() {
                prop_assert_eq!(decode(&text), decode_any(&text));
            }
        }
    }

    #[test]
    fn valid_messages_are_decoded_in_one_pass() {
        let fields = r#""action":"BROADCAST","event":"é","channelName":"/\u0063","requestId":"r\"""#;
        for payload in [
            "{}",
            r#"{"text":"hello \"you\" \ud83d\ude00 ünd","n":[1,-2.5e3,0,true,false,null,{}],"o":{"k" : [ ] }}"#,
            "[[],{}]",
            "\"x\"",
            "-0.5",
            "null",
        ] {
            let text = format!(" {{ {fields} , \"payload\" : {payload}\n, \"more\":[1] }} ");
            let (_, found) = scan(&text).expect("a message");
            assert_eq!(found.payload, if payload == "null" { "{}" } else { payload });
            assert_eq!(decode(&text), decode_any(&text));
        }
        assert_eq!(scan(&format!("{{{fields}}}")).expect("a message").1.payload, "{}");
    }

    #[test]
    fn faults_are_left_to_serde() {
        let fields = r#""action":"BROADCAST","event":"e","channelName":"/c","requestId":"r""#;
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let faults = ["01", "1.", "-", "1e", "1e999", r#""\ud800""#, r#""\x""#, "[1,]", r#"{"a"}"#, "{,}", "nul"];
        for payload in faults.into_iter().chain([&*deep(101), r#"1,"payload":2"#]) {
            assert_eq!(scan(&format!("{{{fields},\"payload\":{payload}}}")), None, "{payload}");
        }
        assert!(scan(&format!("{{{fields},\"payload\":{}}}", deep(100))).is_some());
        let repeated = format!("{{{fields},\"event\":\"f\"}}");
        for text in ["", "{", "{}", "[]", r#"{"action":"ping"}"#, &format!("{{{fields}}}x"), &repeated] {
            assert_eq!(scan(text), None, "{text}");
        }
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

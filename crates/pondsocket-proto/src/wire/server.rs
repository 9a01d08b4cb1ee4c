//! What we send (docs/protocol.md, Server messages): one function a message. Each appends one compact JSON object
//! without line breaks, with exactly the five fields that clients check.

use super::write::{put, string};

/// What kind of message it is. Clients reject any other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Presence of the channel's members.
    Presence,
    /// From the server itself: acknowledgements, replies, errors.
    System,
    /// From the application to the members.
    Broadcast,
    /// An error that is not tied to the PondSocket protocol.
    Error,
    /// The first message of a connection.
    Connect,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Presence => "PRESENCE",
            Action::System => "SYSTEM",
            Action::Broadcast => "BROADCAST",
            Action::Error => "ERROR",
            Action::Connect => "CONNECT",
        }
    }
}

/// What happened to a member's presence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceKind {
    /// It is shown.
    Join,
    /// It has changed.
    Update,
    /// It is hidden.
    Leave,
}

impl PresenceKind {
    fn as_str(self) -> &'static str {
        match self {
            PresenceKind::Join => "JOIN",
            PresenceKind::Update => "UPDATE",
            PresenceKind::Leave => "LEAVE",
        }
    }
}

/// What an error message says.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPayload<'a> {
    /// HTTP-like, 400 to 599.
    pub code: u16,
    /// For people.
    pub message: &'a str,
    /// The text of a JSON object.
    pub details: Option<&'a str>,
    /// The channel it concerns, or [`GATEWAY`](super::GATEWAY).
    pub channel: &'a str,
}

/// Any message. `payload` is the text of a JSON object without line breaks.
pub fn message(out: &mut Vec<u8>, action: Action, event: &str, channel: &str, request_id: &str, payload: &str) {
    begin(out, action, event, channel, request_id);
    out.extend_from_slice(payload.as_bytes());
    out.push(b'}');
}

/// The first message of a connection (docs/protocol.md, Connecting).
pub fn connection(out: &mut Vec<u8>, connection_id: &str, request_id: &str) {
    begin(out, Action::Connect, "CONNECTION", super::GATEWAY, request_id);
    put(out, &[r#"{"connectionId":"#]);
    string(out, connection_id);
    put(out, &[r#","id":"#]);
    string(out, connection_id);
    put(out, &["}}"]);
}

/// A join was accepted (docs/protocol.md, Joining).
pub fn acknowledge(out: &mut Vec<u8>, channel: &str, request_id: &str) {
    message(out, Action::System, "ACKNOWLEDGE", channel, request_id, "{}");
}

/// A leave was carried out (docs/protocol.md, Leaving).
pub fn exit_acknowledge(out: &mut Vec<u8>, channel: &str, request_id: &str) {
    message(out, Action::System, "EXIT_ACKNOWLEDGE", channel, request_id, "{}");
}

/// A join was declined (docs/protocol.md, Declining). Its details carry the code once more, as `statusCode`.
pub fn join_declined(out: &mut Vec<u8>, request_id: &str, error: &ErrorPayload<'_>) {
    begin(out, Action::System, "UNAUTHORIZED", error.channel, request_id);
    let code = error.code.to_string();
    begin_error(out, error);
    put(out, &[r#","statusCode":"#, &code, r#","details":{"statusCode":"#, &code]);
    // The details of the application follow within the same object; its own `statusCode` would win in a client.
    if let Some(inner) = error.details.and_then(|details| details.strip_prefix('{')).filter(|rest| rest.trim() != "}") {
        put(out, &[",", inner]);
    } else {
        put(out, &["}"]);
    }
    put(out, &["}}"]);
}

/// There is no such channel, event or action (docs/protocol.md, Errors).
pub fn not_found(out: &mut Vec<u8>, request_id: &str, error: &ErrorPayload<'_>) {
    failure(out, "NOT_FOUND", request_id, error);
}

/// A message failed (docs/protocol.md, Errors).
pub fn internal_error(out: &mut Vec<u8>, request_id: &str, error: &ErrorPayload<'_>) {
    failure(out, "INTERNAL_ERROR", request_id, error);
}

/// A user was taken out (docs/protocol.md, Eviction): the event names are `evicted` and `EVICTED` for itself,
/// `user_evicted` for the others.
pub fn evicted(out: &mut Vec<u8>, event: &str, channel: &str, request_id: &str, user_id: &str, reason: &str) {
    begin(out, Action::System, event, channel, request_id);
    put(out, &[r#"{"reason":"#]);
    string(out, reason);
    put(out, &[r#","userId":"#]);
    string(out, user_id);
    put(out, &["}}"]);
}

/// A presence change (docs/protocol.md, Presence). `changed` is the text of a JSON object, `list` that of an array
/// of objects: the presence of all tracked users after the change.
pub fn presence(
    out: &mut Vec<u8>,
    kind: PresenceKind,
    channel: &str,
    request_id: &str,
    user_id: &str,
    changed: &str,
    list: &str,
) {
    begin(out, Action::Presence, kind.as_str(), channel, request_id);
    put(out, &[r#"{"event":""#, kind.as_str(), r#"","userId":"#]);
    string(out, user_id);
    put(out, &[r#","changed":"#, changed, r#","presence":"#, list, "}}"]);
}

/// The same without the whole list: it shows nothing but `changed`, and says so.
pub fn partial_presence(
    out: &mut Vec<u8>,
    kind: PresenceKind,
    channel: &str,
    request_id: &str,
    user_id: &str,
    changed: &str,
) {
    let shown = if kind == PresenceKind::Leave { "" } else { changed };
    begin(out, Action::Presence, kind.as_str(), channel, request_id);
    put(out, &[r#"{"event":""#, kind.as_str(), r#"","userId":"#]);
    string(out, user_id);
    put(out, &[r#","changed":"#, changed, r#","presence":["#, shown, r#"],"partial":true}}"#]);
}

fn failure(out: &mut Vec<u8>, event: &str, request_id: &str, error: &ErrorPayload<'_>) {
    begin(out, Action::System, event, error.channel, request_id);
    begin_error(out, error);
    if let Some(details) = error.details {
        put(out, &[r#","details":"#, details]);
    }
    put(out, &["}}"]);
}

fn begin(out: &mut Vec<u8>, action: Action, event: &str, channel: &str, request_id: &str) {
    put(out, &[r#"{"action":""#, action.as_str(), r#"","event":"#]);
    string(out, event);
    put(out, &[r#","channelName":"#]);
    string(out, channel);
    put(out, &[r#","requestId":"#]);
    string(out, request_id);
    put(out, &[r#","payload":"#]);
}

/// The fields that every error has, in an object that is left open.
fn begin_error(out: &mut Vec<u8>, error: &ErrorPayload<'_>) {
    let code = error.code.to_string();
    put(out, &[r#"{"code":"#, &code, r#","status":"#, &code, r#","message":"#]);
    string(out, error.message);
    let temporary = if matches!(error.code, 503 | 504) { "true" } else { "false" };
    put(out, &[r#","temporary":"#, temporary, r#","channelName":"#]);
    string(out, error.channel);
}

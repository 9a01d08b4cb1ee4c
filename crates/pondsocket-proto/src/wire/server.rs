//! The messages that the server sends (docs/protocol.md, Server messages), one function for each. Every function
//! appends one compact JSON object without line breaks, with exactly the five fields that clients check.

use super::client::MalformedMessage;
use super::write::{put, string};
use super::{ClientText, GATEWAY};
use crate::id::RequestId;
use crate::position::Position;

/// The kind of a message. Clients reject all other kinds.
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

/// The kind of a change of a member's presence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceKind {
    /// The presence is shown.
    Join,
    /// The presence has changed.
    Update,
    /// The presence is hidden.
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

/// The contents of an error message.
#[derive(Clone, Copy, Debug)]
pub struct ErrorPayload<'a, T: ?Sized = str> {
    /// HTTP-like, 400 to 599.
    pub code: u16,
    /// A text for people.
    pub message: &'a str,
    /// The text of a JSON object.
    pub details: Option<&'a str>,
    /// The channel that the error concerns, or [`GATEWAY`].
    pub channel: &'a T,
}

/// A text that becomes a JSON string literal.
trait Literal {
    fn write(&self, out: &mut Vec<u8>);
}

impl Literal for str {
    fn write(&self, out: &mut Vec<u8>) {
        string(out, self);
    }
}

impl Literal for ClientText<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        ClientText::write(self, out);
    }
}

/// Appends any message. `payload` is the text of a JSON object without line breaks.
pub fn message(out: &mut Vec<u8>, action: Action, event: &str, channel: &str, request_id: &str, payload: &str) {
    // Reserved at once: the buffer of the first message of a client is empty, and would grow with each part.
    out.reserve(LITERALS + event.len() + channel.len() + request_id.len() + payload.len());
    begin(out, action, event, channel, request_id);
    out.extend_from_slice(payload.as_bytes());
    out.push(b'}');
}

/// The first message of a connection (docs/protocol.md, Connecting).
pub fn connection(out: &mut Vec<u8>, connection_id: &str, request_id: &str) {
    out.reserve(2 * LITERALS + request_id.len() + 2 * connection_id.len());
    begin(out, Action::Connect, "CONNECTION", GATEWAY, request_id);
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

/// The outcome of a request to resume, as the acknowledgement of the join carries it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ResumeOutcome {
    /// The client had received nothing before.
    Nothing {
        /// The number of messages that are replayed to it nevertheless.
        replayed: usize,
    },
    /// The client gets all messages that it missed.
    Recovered {
        /// The number of them.
        missed: usize,
    },
    /// The client does not get all messages that it missed.
    Gap {
        /// The reason.
        reason: &'static str,
        /// The number of messages that are replayed to it nevertheless.
        replayed: usize,
    },
}

/// A join with a request to resume was accepted (docs/protocol.md, Positions). `position` is that of the last message
/// before the join.
pub fn acknowledge_resume(out: &mut Vec<u8>, channel: &str, request_id: &str, position: Position, of: ResumeOutcome) {
    begin(out, Action::System, "ACKNOWLEDGE", channel, request_id);
    put(out, &[r#"{"position":""#, RequestId::from(position).as_str(), r#"","recovered":"#]);
    match of {
        ResumeOutcome::Nothing { .. } => put(out, &["false"]),
        ResumeOutcome::Recovered { missed } => put(out, &[r#"true,"missed":"#, &missed.to_string()]),
        ResumeOutcome::Gap { reason, .. } => put(out, &[r#"false,"gap":""#, reason, "\""]),
    }
    match of {
        // Until the first of them has arrived, the client has no position to resume from.
        ResumeOutcome::Nothing { replayed } | ResumeOutcome::Gap { replayed, .. } if replayed > 0 => {
            put(out, &[r#","replayed":"#, &replayed.to_string()]);
        }
        _ => {}
    }
    put(out, &["}}"]);
}

/// Messages up to this position are missing, for this reason, in a channel that the client is in (docs/protocol.md, Gaps).
pub fn resync(out: &mut Vec<u8>, channel: &str, request_id: &str, position: Position, gap: &str) {
    begin(out, Action::System, "RESYNC", channel, request_id);
    put(out, &[r#"{"position":""#, RequestId::from(position).as_str(), r#"","gap":""#, gap, r#""}}"#]);
}

/// A broadcast that is kept (docs/protocol.md, Positions). The payload carries the position under the key `stamp`, if there
/// is one: behind its other entries, because of entries of the same key parsers take the last one, and the others may come
/// from a client whose payload is passed on.
pub fn kept(out: &mut Vec<u8>, event: &str, channel: &str, position: Position, stamp: Option<&str>, payload: &str) {
    let id = RequestId::from(position);
    begin(out, Action::Broadcast, event, channel, id.as_str());
    match (stamp, payload.trim_end().strip_suffix('}')) {
        (Some(stamp), Some(entries)) => {
            // No value ends with an opening brace, so this is that of the payload.
            let is_empty = entries.trim_end().ends_with('{');
            put(out, &[entries, if is_empty { "" } else { "," }]);
            string(out, stamp);
            // No escapes are needed: a position consists of letters, digits and a point.
            put(out, &[":\"", id.as_str(), "\"}}"]);
        }
        _ => put(out, &[payload, "}"]),
    }
}

/// A member has joined again, perhaps by a message that cannot be read (docs/protocol.md, Declining).
pub fn acknowledge_again(out: &mut Vec<u8>, channel: &str, request_id: &ClientText<'_>) {
    begin(out, Action::System, "ACKNOWLEDGE", channel, request_id);
    put(out, &["{}}"]);
}

/// A leave was carried out (docs/protocol.md, Leaving).
pub fn exit_acknowledge(out: &mut Vec<u8>, channel: &str, request_id: &str) {
    message(out, Action::System, "EXIT_ACKNOWLEDGE", channel, request_id, "{}");
}

/// A join was declined (docs/protocol.md, Declining). Its details carry the code once more, as `statusCode`.
pub fn join_declined(out: &mut Vec<u8>, request_id: &str, error: &ErrorPayload<'_>) {
    declined(out, request_id, error);
}

/// The answer to a text that is not a valid message: a decline if it asks to join, else an error. `fresh_id` replaces a
/// missing request id. The channel name and the request id are repeated as the client sent them, also halves of
/// surrogate pairs.
pub fn malformed(out: &mut Vec<u8>, malformed: &MalformedMessage, fresh_id: &str) {
    let (message, details) = (malformed.reason.to_string(), malformed.details());
    let (fresh_id, gateway) = (ClientText::from(fresh_id), ClientText::from(GATEWAY));
    let request_id = malformed.request_id.as_ref().unwrap_or(&fresh_id);
    let channel = malformed.channel.as_ref().unwrap_or(&gateway);
    let error = ErrorPayload { code: malformed.code, message: &message, details: details.as_deref(), channel };
    match malformed.code {
        // Checked first: a client takes nothing but a decline as the end of its join, whatever the fault is.
        _ if malformed.is_join => declined(out, request_id, &error),
        404 => failure(out, "NOT_FOUND", request_id, &error),
        _ => failure(out, "INTERNAL_ERROR", request_id, &error),
    }
}

fn declined<T: Literal + ?Sized>(out: &mut Vec<u8>, request_id: &T, error: &ErrorPayload<'_, T>) {
    begin(out, Action::System, "UNAUTHORIZED", error.channel, request_id);
    // The code is repeated in each place in which some client looks for it (docs/protocol.md, Declining).
    let code = error.code.to_string();
    begin_error(out, error);
    put(out, &[r#","statusCode":"#, &code, r#","details":{"statusCode":"#, &code]);
    // The details of the application follow in the same object. If they have a `statusCode` of their own, clients read
    // that one, because it is the later one.
    if let Some(inner) = error.details.and_then(|details| details.strip_prefix('{')).filter(|rest| rest.trim() != "}") {
        // `inner` still has the closing brace of the details.
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

/// A presence change without the whole list: it shows `changed` alone, and is marked as partial.
pub fn partial_presence(
    out: &mut Vec<u8>,
    kind: PresenceKind,
    channel: &str,
    request_id: &str,
    user_id: &str,
    changed: &str,
) {
    // A user that left or was hidden has no entry in the list any more (docs/protocol.md, Presence).
    let shown = if kind == PresenceKind::Leave { "" } else { changed };
    begin(out, Action::Presence, kind.as_str(), channel, request_id);
    put(out, &[r#"{"event":""#, kind.as_str(), r#"","userId":"#]);
    string(out, user_id);
    put(out, &[r#","changed":"#, changed, r#","presence":["#, shown, r#"],"partial":true}}"#]);
}

fn failure<T: Literal + ?Sized>(out: &mut Vec<u8>, event: &str, request_id: &T, error: &ErrorPayload<'_, T>) {
    begin(out, Action::System, event, error.channel, request_id);
    begin_error(out, error);
    if let Some(details) = error.details {
        put(out, &[r#","details":"#, details]);
    }
    put(out, &["}}"]);
}

/// The room for the parts of a message that are the same in all messages.
const LITERALS: usize = 80;

fn begin<C: Literal + ?Sized, I: Literal + ?Sized>(
    out: &mut Vec<u8>,
    action: Action,
    event: &str,
    channel: &C,
    request_id: &I,
) {
    put(out, &[r#"{"action":""#, action.as_str(), r#"","event":"#]);
    string(out, event);
    put(out, &[r#","channelName":"#]);
    channel.write(out);
    put(out, &[r#","requestId":"#]);
    request_id.write(out);
    put(out, &[r#","payload":"#]);
}

/// The fields that every error has, in an object that is left open.
fn begin_error<T: Literal + ?Sized>(out: &mut Vec<u8>, error: &ErrorPayload<'_, T>) {
    let code = error.code.to_string();
    put(out, &[r#"{"code":"#, &code, r#","status":"#, &code, r#","message":"#]);
    string(out, error.message);
    // docs/protocol.md, Errors: a repetition of the request may succeed.
    let temporary = if matches!(error.code, 503 | 504) { "true" } else { "false" };
    put(out, &[r#","temporary":"#, temporary, r#","channelName":"#]);
    error.channel.write(out);
}

//! Received messages and presence changes.

use pondsocket_proto::wire::strict;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message that a client has received.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Received {
    /// The kind of the message, which says whether the server, the application or presence has sent it.
    pub kind: Kind,
    /// The event's name.
    pub event: String,
    /// The channel's name; `GATEWAY` if it concerns the connection.
    pub channel: String,
    /// The id of the request that this message answers; otherwise an id of its own.
    pub request_id: String,
    /// The payload, which is always an object.
    pub payload: Value,
}

/// The kind of a message: the `action` on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The first message of a connection.
    Connect,
    /// A message of the server itself: an acknowledgement, a reply, an error, an eviction.
    System,
    /// A message of the application to the members of a channel.
    Broadcast,
    /// A change of the presence in a channel.
    Presence,
    /// A kind that clients know, but that this server never sends.
    Error,
}

/// A change of one user's presence.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PresenceChange<T = Value> {
    /// The kind of change.
    pub change: Change,
    /// The user whose presence has changed.
    pub user_id: String,
    /// The user's presence after the change; after a leave, the last one.
    pub changed: T,
    /// The presence of all tracked users, in no particular order.
    pub list: Vec<T>,
    /// `true` if `list` has no more than the changed presence. The complete list follows in a later message, unless it is too
    /// large to be sent at all.
    pub partial: bool,
}

/// The kind of a presence change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// The user is tracked from now on.
    Join,
    /// The user was tracked with another presence before.
    Update,
    /// The user is not tracked any more.
    Leave,
}

/// The envelope of a message (docs/protocol.md, Envelope).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    action: String,
    event: String,
    channel_name: String,
    request_id: String,
    payload: Value,
}

/// The payload of a presence message (docs/protocol.md, Presence).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresencePayload<T> {
    user_id: String,
    changed: T,
    presence: Vec<T>,
    #[serde(default)]
    partial: bool,
}

impl Received {
    /// Parses a frame with the rules of the strictest client. The error is the rule that is broken.
    pub(super) fn parse(text: &str) -> Result<Received, String> {
        strict::check(text)?;
        let envelope: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let kind = match envelope.action.as_str() {
            "CONNECT" => Kind::Connect,
            "SYSTEM" => Kind::System,
            "BROADCAST" => Kind::Broadcast,
            "PRESENCE" => Kind::Presence,
            _ => Kind::Error,
        };
        let Envelope { event, channel_name: channel, request_id, payload, .. } = envelope;
        Ok(Received { kind, event, channel, request_id, payload })
    }

    /// A short description for the text of a failure.
    pub(super) fn summary(&self) -> String {
        format!("{:?} `{}` {}", self.kind, self.event, self.payload)
    }

    pub(super) fn is_presence(&self) -> bool {
        self.kind == Kind::Presence
    }

    pub(super) fn is_system(&self, event: &str) -> bool {
        self.kind == Kind::System && self.event == event
    }

    /// Returns `true` for an error. Its event names are reserved for the server: no application can send them.
    pub(super) fn is_error(&self) -> bool {
        ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"].iter().any(|event| self.is_system(event))
    }

    /// Parses a presence message.
    pub(super) fn presence<T: DeserializeOwned>(self) -> Result<PresenceChange<T>, serde_json::Error> {
        let change = match self.event.as_str() {
            "JOIN" => Change::Join,
            "UPDATE" => Change::Update,
            _ => Change::Leave,
        };
        let PresencePayload { user_id, changed, presence: list, partial } = serde_json::from_value(self.payload)?;
        Ok(PresenceChange { change, user_id, changed, list, partial })
    }
}

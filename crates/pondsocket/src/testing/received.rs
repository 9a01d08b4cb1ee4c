use pondsocket_proto::wire::strict;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message that a client has received.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Received {
    /// Who speaks.
    pub kind: Kind,
    /// What it is about.
    pub event: String,
    /// The channel's name; `GATEWAY` if it concerns the connection.
    pub channel: String,
    /// That of the message which it answers, else a fresh one.
    pub request_id: String,
    /// An object, always.
    pub payload: Value,
}

/// What kind of message it is: the `action` on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// The first message of a connection.
    Connect,
    /// From the server itself: acknowledgements, replies, errors, evictions.
    System,
    /// From the application to the members.
    Broadcast,
    /// Presence of the channel's members.
    Presence,
    /// Clients know it; no PondSocket of ours sends it.
    Error,
}

/// Somebody's presence has changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PresenceChange<T = Value> {
    /// How.
    pub change: Change,
    /// Whose.
    pub user_id: String,
    /// What the user shows now; when it leaves, what it showed last.
    pub changed: T,
    /// What all tracked users show, in no particular order.
    pub list: Vec<T>,
}

/// How presence changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// It is shown.
    Join,
    /// It is another.
    Update,
    /// It is hidden.
    Leave,
}

/// The envelope (docs/protocol.md, Envelope).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    action: String,
    event: String,
    channel_name: String,
    request_id: String,
    payload: Value,
}

/// The payload of presence (docs/protocol.md, Presence).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresencePayload<T> {
    user_id: String,
    changed: T,
    presence: Vec<T>,
}

impl Received {
    /// Reads a frame as the strictest client does, or says what that would reject.
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

    /// In short, for people.
    pub(super) fn summary(&self) -> String {
        format!("{:?} `{}` {}", self.kind, self.event, self.payload)
    }

    pub(super) fn is_presence(&self) -> bool {
        self.kind == Kind::Presence
    }

    pub(super) fn is_system(&self, event: &str) -> bool {
        self.kind == Kind::System && self.event == event
    }

    /// Whether it is an error. These names are the server's own: no application can send them.
    pub(super) fn is_error(&self) -> bool {
        ["UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR"].iter().any(|event| self.is_system(event))
    }

    /// What it says if it is presence.
    pub(super) fn presence<T: DeserializeOwned>(self) -> Result<PresenceChange<T>, serde_json::Error> {
        let change = match self.event.as_str() {
            "JOIN" => Change::Join,
            "UPDATE" => Change::Update,
            _ => Change::Leave,
        };
        let PresencePayload { user_id, changed, presence: list } = serde_json::from_value(self.payload)?;
        Ok(PresenceChange { change, user_id, changed, list })
    }
}

use super::write::{self, ObjectWriter};
use super::{Body, Envelope, PROTOCOL, PresenceEvent, Target, UserMessage, VERSION, ext, users};
use crate::cluster::topic::{CLUSTER, HEARTBEAT, NODE};
use crate::wire::Object;
use crate::wire::write::string;

impl Envelope {
    /// The bytes with which every message of this source begins, as [`encode`](Self::encode) writes it. A bus returns a
    /// node's own messages on topics that the node subscribes to; the node recognises them by these bytes, without
    /// parsing.
    pub fn beginning(source: &str) -> Vec<u8> {
        let mut out = Vec::new();
        ObjectWriter::object(&mut out, |fields| begin(fields, source));
        // Without the closing brace, since further fields follow in a message.
        out.pop();
        out
    }

    /// Appends the message as one JSON object without line breaks.
    pub fn encode(&self, out: &mut Vec<u8>) {
        ObjectWriter::object(out, |fields| {
            begin(fields, &self.source);
            fields.text("type", self.body.kind());
            fields.text("messageId", &self.id);
            let (endpoint, channel) = match &self.channel {
                Some(key) => (&*key.endpoint, key.channel.as_str()),
                None => (self.body.place(), self.body.place()),
            };
            fields.text("endpointName", endpoint);
            fields.text("channelName", channel);
            fields.number("timestamp", self.timestamp);
            self.body.write(fields);
            match &self.ext {
                Some(ext) => fields.field("ext", |out| ext::write(out, ext, &self.body)),
                None if self.body.is_kept() => fields.field("ext", ext::write_publisher),
                None => {}
            }
        });
    }
}

/// Adds the first fields. Their order is part of `beginning`.
fn begin(fields: &mut ObjectWriter<'_>, source: &str) {
    fields.text("protocol", PROTOCOL);
    fields.number("version", VERSION);
    fields.text("sourceNodeId", source);
}

impl Body {
    fn kind(&self) -> &'static str {
        match self {
            Body::UserMessage(_) => "USER_MESSAGE",
            Body::PresenceUpdate { .. } => "PRESENCE_UPDATE",
            Body::PresenceRemoved { .. } => "PRESENCE_REMOVED",
            Body::AssignsUpdate { .. } => "ASSIGNS_UPDATE",
            Body::EvictUser { .. } => "EVICT_USER",
            Body::UserRemove { .. } => "USER_REMOVE",
            Body::UserGetRequest { .. } => "USER_GET_REQUEST",
            Body::UserGetResponse { .. } => "USER_GET_RESPONSE",
            Body::UserJoined { .. } => "USER_JOINED",
            Body::UserLeft { .. } => "USER_LEFT",
            Body::StateRequest { .. } => "STATE_REQUEST",
            Body::StateResponse { .. } => "STATE_RESPONSE",
            Body::NodeHeartbeat { .. } => "NODE_HEARTBEAT",
            Body::State(_) => "X_STATE",
            Body::Repair(_) => "X_REPAIR",
            Body::Digest { .. } => "X_DIGEST",
            Body::Ack { .. } => "X_ACK",
            Body::Node(_) => "X_NODE",
        }
    }

    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Body::UserMessage(UserMessage { position: Some(_), .. }))
    }

    /// The word in place of the names of endpoint and channel, in a message that concerns no channel.
    fn place(&self) -> &'static str {
        match self {
            Body::NodeHeartbeat { .. } => HEARTBEAT,
            Body::Node(_) => CLUSTER,
            _ => NODE,
        }
    }

    fn write(&self, fields: &mut ObjectWriter<'_>) {
        match self {
            Body::UserMessage(message) => write_user_message(fields, message),
            // No `payload` and no `event` beside presence: servers in Python would use them instead.
            Body::PresenceUpdate { user, presence, event } => {
                fields.text("userId", user);
                fields.json("presence", presence.as_str());
                if let Some(event) = event {
                    fields.text("presenceEvent", event.name());
                }
            }
            Body::PresenceRemoved { user } => {
                fields.text("userId", user);
                // Without it some Go servers send their clients an update.
                fields.text("presenceEvent", "LEAVE");
            }
            Body::AssignsUpdate { user, assigns, delta } => {
                fields.text("userId", user);
                if let Some(assigns) = assigns {
                    fields.json("assigns", &assigns.to_json());
                }
                if let Some((key, value)) = delta {
                    fields.text("key", key);
                    fields.json("value", value.as_str());
                }
            }
            Body::UserRemove { user } | Body::UserLeft { user } => fields.text("userId", user),
            Body::EvictUser { user, reason } => {
                fields.text("userId", user);
                fields.text("reason", reason);
            }
            Body::UserGetRequest { user, request, from_node } => {
                fields.text("userId", user);
                fields.text("requestId", request);
                fields.text("fromNode", from_node);
            }
            Body::UserGetResponse { user, request, assigns, presence } => {
                fields.text("userId", user);
                fields.text("requestId", request);
                fields.json("assigns", &assigns.to_json());
                fields.json("presence", presence.as_ref().map_or("{}", Object::as_str));
            }
            Body::UserJoined { user, presence, assigns } => {
                fields.text("userId", user);
                fields.json("presence", presence.as_ref().map_or("{}", Object::as_str));
                fields.json("assigns", &assigns.to_json());
            }
            Body::StateRequest { from_node } => fields.text("fromNode", from_node),
            Body::StateResponse { users } => fields.field("users", |out| users::write(out, users)),
            Body::NodeHeartbeat { node } => fields.text("nodeId", node),
            // The content of our own types is in `ext`.
            Body::State(_) | Body::Repair(_) | Body::Digest { .. } | Body::Ack { .. } | Body::Node(_) => {}
        }
    }
}

impl PresenceEvent {
    fn name(self) -> &'static str {
        match self {
            PresenceEvent::Join => "JOIN",
            PresenceEvent::Update => "UPDATE",
        }
    }
}

fn write_user_message(fields: &mut ObjectWriter<'_>, message: &UserMessage) {
    let UserMessage { from, event, payload, request_id, to, position: _ } = message;
    fields.text("fromUserId", from);
    fields.text("event", event);
    fields.json("payload", payload.as_str());
    fields.text("requestId", request_id);
    fields.field("recipientDescriptor", |out| match to {
        Target::All => string(out, "ALL_USERS"),
        // Foreign nodes leave out the whole sender. For our nodes `ext` distinguishes the two.
        Target::ExceptUser(_) | Target::ExceptConnection(()) => string(out, "ALL_EXCEPT_SENDER"),
        Target::Users(users) => write::list(out, users, |out, user| string(out, user)),
    });
}

use std::sync::Arc;

use super::read::{self, Scalar};
use super::{
    Body, Envelope, Fault, Malformed, PROTOCOL, PresenceEvent, SERVER, Target, UserMessage, VERSION, ext, users,
};
use crate::cluster::ChannelKey;
use crate::cluster::topic::{CLUSTER, HEARTBEAT, NODE};
use crate::model::Assigns;
use crate::wire::Object;
use crate::wire::fields::{Value, Values, fields};
use crate::wire::scan::ScanError;

fields! {
    /// The fields of all types. Those that a type does not need are ignored, whatever their values.
    EnvelopeField {
        scalar: Protocol "protocol", Version "version", Type "type", MessageId "messageId", SourceNodeId "sourceNodeId",
            EndpointName "endpointName", ChannelName "channelName", Timestamp "timestamp", FromUserId "fromUserId",
            Event "event", RequestId "requestId", UserId "userId", PresenceEvent "presenceEvent", Key "key",
            Reason "reason", FromNode "fromNode", NodeId "nodeId";
        raw: Payload "payload", Recipients "recipientDescriptor", Presence "presence", Assigns "assigns", Value "value",
            Users "users", Ext "ext";
    }
}

/// The values of a message, as slices of its text.
#[derive(Default)]
struct MessageFields<'a>(Values<'a, { EnvelopeField::COUNT }>);

impl Envelope {
    /// Decodes a message.
    ///
    /// The result has valid names of users, channels and nodes, and text that may reach clients is validated as if a
    /// client had sent it. Fields that the type does not need are ignored, and dispensable fields may be missing
    /// (docs/cluster.md, Accepted messages).
    ///
    /// # Errors
    /// The first fault that makes the message invalid.
    pub fn decode(bytes: &[u8]) -> Result<Envelope, Malformed> {
        let mut fields = MessageFields::default();
        fields.read(bytes)?;
        let id = fields.scalar(EnvelopeField::MessageId).id("messageId")?;
        let source = fields.scalar(EnvelopeField::SourceNodeId).id("sourceNodeId")?;
        let channel = fields.channel()?;
        let sent = fields.text(EnvelopeField::Ext).and_then(ext::open);
        // Repeated messages are detected by the source, and users are changed by `ext`: the two have to agree.
        if sent.as_ref().is_some_and(|sent| !sent.is_signed_as(&source)) {
            return Err(Malformed::Field("ext.n", Fault::Signature));
        }
        let body = fields.body(&id, &source, sent.as_ref())?;
        if channel.is_none() && !body.may_lack_channel() {
            return Err(read::kind("channelName"));
        }
        let ext = sent.map(|sent| sent.ext()).transpose()?;
        // Not used, so an invalid one is no reason to refuse the message.
        let timestamp = fields.scalar(EnvelopeField::Timestamp).integer("timestamp").unwrap_or(0);
        Ok(Envelope { id, source, channel, timestamp, body, ext })
    }
}

impl<'a> MessageFields<'a> {
    fn read(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotAnObject)?;
        self.0.read::<EnvelopeField>(text).map_err(|error| match error {
            ScanError::Syntax => Malformed::NotAnObject,
            ScanError::Repeated => Malformed::Repeated,
        })?;
        let ours = matches!(self.scalar(EnvelopeField::Protocol), Scalar::Text(protocol) if protocol == PROTOCOL);
        if ours && self.scalar(EnvelopeField::Version) == Scalar::Integer(VERSION) {
            Ok(())
        } else {
            Err(Malformed::Foreign)
        }
    }

    fn scalar(&self, field: EnvelopeField) -> Scalar<'a> {
        self.0.scalar(field)
    }

    /// The text of a value.
    fn text(&self, field: EnvelopeField) -> Option<&'a str> {
        self.0.get(field).map(|value| value.text)
    }

    fn channel(&self) -> Result<Option<ChannelKey>, Malformed> {
        let (endpoint, channel) = (self.scalar(EnvelopeField::EndpointName), self.scalar(EnvelopeField::ChannelName));
        let none = matches!(&channel, Scalar::Text(name) if [HEARTBEAT, CLUSTER, NODE].contains(&&**name));
        // Both fields, because a channel may have such a name, but an endpoint may not.
        if none && endpoint == channel {
            return Ok(None);
        }
        read::channel(&endpoint, &channel, "endpointName", "channelName").map(Some)
    }

    fn body(&self, id: &Arc<str>, source: &Arc<str>, sent: Option<&ext::Sent<'_>>) -> Result<Body, Malformed> {
        let leaves_out_connection = sent.is_some_and(ext::Sent::leaves_out_connection);
        let is_kept = match sent {
            Some(sent) => sent.is_kept(),
            None => self.text(EnvelopeField::Ext).is_some_and(ext::is_of_publisher),
        };
        let sent = sent.ok_or(Malformed::UnknownType);
        Ok(match self.scalar(EnvelopeField::Type).text("type")? {
            "USER_MESSAGE" => {
                let mut message = self.user_message(id)?;
                if leaves_out_connection && matches!(message.to, Target::ExceptUser(_)) {
                    message.to = Target::ExceptConnection(());
                }
                if is_kept && !matches!(message.to, Target::Users(_)) {
                    message.position = message.request_id.parse().ok();
                }
                Body::UserMessage(message)
            }
            "PRESENCE_UPDATE" => Body::PresenceUpdate {
                user: self.user()?,
                presence: self.presence()?.unwrap_or_else(nothing),
                event: self.presence_event(),
            },
            "PRESENCE_REMOVED" => Body::PresenceRemoved { user: self.user()? },
            "ASSIGNS_UPDATE" => self.assigns_update()?,
            "EVICT_USER" => {
                let reason = self.scalar(EnvelopeField::Reason).optional_text("reason")?.unwrap_or_default().to_owned();
                Body::EvictUser { user: self.user()?, reason }
            }
            "USER_REMOVE" => Body::UserRemove { user: self.user()? },
            "USER_GET_REQUEST" => {
                Body::UserGetRequest { user: self.user()?, request: self.request()?, from_node: self.asker(source)? }
            }
            "USER_GET_RESPONSE" => Body::UserGetResponse {
                user: self.user()?,
                request: self.request()?,
                assigns: self.assigns()?.unwrap_or_default(),
                presence: self.presence()?.filter(|presence| !presence.is_empty()),
            },
            "USER_JOINED" => Body::UserJoined {
                user: self.user()?,
                presence: self.presence()?.filter(|presence| !presence.is_empty()),
                assigns: self.assigns()?.unwrap_or_default(),
            },
            "USER_LEFT" => Body::UserLeft { user: self.user()? },
            "STATE_REQUEST" => Body::StateRequest { from_node: self.asker(source)? },
            "STATE_RESPONSE" => Body::StateResponse { users: users::read_response(self.text(EnvelopeField::Users))? },
            "NODE_HEARTBEAT" => Body::NodeHeartbeat { node: self.node(source)? },
            "X_STATE" => sent?.state()?,
            "X_REPAIR" => sent?.repair()?,
            "X_DIGEST" => sent?.digest()?,
            "X_ACK" => sent?.ack()?,
            "X_NODE" => sent?.node_event()?,
            _ => return Err(Malformed::UnknownType),
        })
    }

    fn user_message(&self, id: &Arc<str>) -> Result<UserMessage, Malformed> {
        let from = match &self.scalar(EnvelopeField::FromUserId) {
            Scalar::Absent => SERVER.into(),
            Scalar::Text(text) if text == SERVER => SERVER.into(),
            user => user.user("fromUserId")?,
        };
        // Clients of some languages require a request id, so the id of the message takes its place.
        let request_id = self.scalar(EnvelopeField::RequestId);
        let request_id = match request_id.optional_text("requestId")? {
            None | Some("") => id,
            Some(request) => request,
        };
        let to = self.target(&from)?;
        Ok(UserMessage {
            from,
            event: self.scalar(EnvelopeField::Event).text("event")?.to_owned(),
            payload: self.payload()?,
            request_id: request_id.to_owned(),
            to,
            position: None,
        })
    }

    /// The kind of a change of presence. Our nodes do not use it, so any other value counts as none.
    fn presence_event(&self) -> Option<PresenceEvent> {
        match &self.scalar(EnvelopeField::PresenceEvent) {
            Scalar::Text(event) if event == "JOIN" => Some(PresenceEvent::Join),
            Scalar::Text(event) if event == "UPDATE" => Some(PresenceEvent::Update),
            _ => None,
        }
    }

    /// Reads the payload. Clients of some languages throw an error for a payload that is not an object, so another
    /// value becomes the member `data` of one.
    fn payload(&self) -> Result<Object, Malformed> {
        let Some(value) = self.0.get(EnvelopeField::Payload) else { return Ok(nothing()) };
        if value.text.starts_with('{') {
            return object(value, "payload");
        }
        // Validated behind the wrapping, which adds one level to the depth.
        read::object(&format!("{{\"data\":{}}}", value.text), "payload")
    }

    /// Reads the recipients. An unknown descriptor means all users. Invalid user ids are left out: no user here has
    /// one.
    fn target(&self, from: &str) -> Result<Target, Malformed> {
        let Some(text) = self.text(EnvelopeField::Recipients) else { return Ok(Target::All) };
        // The two forms of our own nodes; others may use escapes.
        match text {
            "\"ALL_USERS\"" => return Ok(Target::All),
            "\"ALL_EXCEPT_SENDER\"" => return Ok(Target::ExceptUser(from.to_owned())),
            _ => {}
        }
        if text.starts_with('[') {
            let users: Vec<Scalar<'_>> = read::shaped(text, "recipientDescriptor")?;
            let users = users.iter().filter_map(|user| user.user("recipientDescriptor").ok());
            return Ok(Target::Users(users.map(|user| user.to_string()).collect()));
        }
        let whom: Scalar<'_> = read::shaped(text, "recipientDescriptor")?;
        let except_sender = matches!(whom, Scalar::Text(text) if text == "ALL_EXCEPT_SENDER");
        Ok(if except_sender { Target::ExceptUser(from.to_owned()) } else { Target::All })
    }

    fn assigns_update(&self) -> Result<Body, Malformed> {
        let key = self.scalar(EnvelopeField::Key);
        let delta = match key.optional_text("key")? {
            None => None,
            // JavaScript leaves out a value that is not set.
            Some(key) => {
                Some((key.to_owned(), read::json(self.text(EnvelopeField::Value).unwrap_or("null"), "value")?))
            }
        };
        Ok(Body::AssignsUpdate { user: self.user()?, assigns: self.assigns()?, delta })
    }

    fn user(&self) -> Result<Arc<str>, Malformed> {
        self.scalar(EnvelopeField::UserId).user("userId")
    }

    fn presence(&self) -> Result<Option<Object>, Malformed> {
        self.0.get(EnvelopeField::Presence).map(|value| object(value, "presence")).transpose()
    }

    fn assigns(&self) -> Result<Option<Assigns>, Malformed> {
        self.text(EnvelopeField::Assigns).map(|text| read::assigns(text, "assigns")).transpose()
    }

    fn request(&self) -> Result<String, Malformed> {
        self.scalar(EnvelopeField::RequestId).id("requestId").map(|id| id.to_string())
    }

    fn asker(&self, source: &Arc<str>) -> Result<String, Malformed> {
        Ok(self.scalar(EnvelopeField::FromNode).optional_text("fromNode")?.unwrap_or(source).to_owned())
    }

    fn node(&self, source: &Arc<str>) -> Result<Arc<str>, Malformed> {
        match self.scalar(EnvelopeField::NodeId) {
            Scalar::Absent => Ok(source.clone()),
            node => node.id("nodeId"),
        }
    }
}

impl Body {
    /// Returns whether a message of this type may concern no channel.
    fn may_lack_channel(&self) -> bool {
        matches!(self, Body::NodeHeartbeat { .. } | Body::State(_) | Body::Repair(_) | Body::Ack { .. } | Body::Node(_))
    }
}

/// Takes an object that may reach clients. The pass over the message has validated it.
fn object(value: Value<'_>, name: &'static str) -> Result<Object, Malformed> {
    if let Some(fault) = value.fault() {
        return Err(Malformed::Field(name, fault.into()));
    }
    match value.text {
        text if !text.starts_with('{') => Err(read::kind(name)),
        text if value.has_breaks() => Object::from_value(text).ok_or(read::kind(name)),
        text => Ok(Object::from_valid(text)),
    }
}

fn nothing() -> Object {
    Object::encode(&()).expect("the unit value is encoded as `{}`")
}

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::read::{self, Scalar};
use super::{Body, Envelope, Fault, Malformed, PROTOCOL, PresenceEvent, Target, UserMessage, VERSION, ext, users};
use crate::cluster::ChannelKey;
use crate::cluster::topic::{CLUSTER, HEARTBEAT, NODE};
use crate::model::Assigns;
use crate::wire::Object;

/// The sender of messages of the server itself.
const SERVER: &str = "CHANNEL";

/// The fields of all types. Those that a type does not need are ignored, whatever their values.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MessageFields<'a> {
    #[serde(borrow)]
    protocol: Scalar<'a>,
    #[serde(borrow)]
    version: Scalar<'a>,
    #[serde(borrow)]
    r#type: Scalar<'a>,
    #[serde(borrow)]
    message_id: Scalar<'a>,
    #[serde(borrow)]
    source_node_id: Scalar<'a>,
    #[serde(borrow)]
    endpoint_name: Scalar<'a>,
    #[serde(borrow)]
    channel_name: Scalar<'a>,
    #[serde(borrow)]
    timestamp: Scalar<'a>,

    #[serde(borrow)]
    from_user_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Scalar<'a>,
    #[serde(borrow)]
    recipient_descriptor: Option<&'a RawValue>,
    #[serde(borrow)]
    user_id: Scalar<'a>,
    #[serde(borrow)]
    presence: Option<&'a RawValue>,
    #[serde(borrow)]
    presence_event: Scalar<'a>,
    #[serde(borrow)]
    assigns: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Scalar<'a>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Scalar<'a>,
    #[serde(borrow)]
    from_node: Scalar<'a>,
    #[serde(borrow)]
    users: Option<&'a RawValue>,
    #[serde(borrow)]
    node_id: Scalar<'a>,

    #[serde(borrow)]
    ext: Option<&'a RawValue>,
}

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
        let fields = MessageFields::read(bytes)?;
        let id = fields.message_id.id("messageId")?;
        let source = fields.source_node_id.id("sourceNodeId")?;
        let channel = fields.channel()?;
        let sent = fields.ext.and_then(ext::open);
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
        let timestamp = fields.timestamp.integer("timestamp").unwrap_or(0);
        Ok(Envelope { id, source, channel, timestamp, body, ext })
    }
}

impl<'a> MessageFields<'a> {
    fn read(bytes: &'a [u8]) -> Result<MessageFields<'a>, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::NotAnObject)?;
        // The derived code of serde would accept an array of the fields' values, too.
        if !text.trim_start().starts_with('{') {
            return Err(Malformed::NotAnObject);
        }
        let fields: MessageFields<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
            // Every field accepts any value, so the only error of this category is a repeated field.
            Category::Data => Malformed::Repeated,
            Category::Syntax | Category::Eof | Category::Io => Malformed::NotAnObject,
        })?;
        let ours = matches!(&fields.protocol, Scalar::Text(protocol) if protocol == PROTOCOL);
        if ours && fields.version == Scalar::Integer(VERSION) { Ok(fields) } else { Err(Malformed::Foreign) }
    }

    fn channel(&self) -> Result<Option<ChannelKey>, Malformed> {
        let none = matches!(&self.channel_name, Scalar::Text(name) if [HEARTBEAT, CLUSTER, NODE].contains(&&**name));
        // Both fields, because a channel may have such a name, but an endpoint may not.
        if none && self.endpoint_name == self.channel_name {
            return Ok(None);
        }
        read::channel(&self.endpoint_name, &self.channel_name, "endpointName", "channelName").map(Some)
    }

    fn body(&self, id: &Arc<str>, source: &Arc<str>, sent: Option<&ext::Sent<'_>>) -> Result<Body, Malformed> {
        let leaves_out_connection = sent.is_some_and(ext::Sent::leaves_out_connection);
        let sent = sent.ok_or(Malformed::UnknownType);
        Ok(match self.r#type.text("type")? {
            "USER_MESSAGE" => {
                let mut message = self.user_message(id)?;
                if leaves_out_connection && matches!(message.to, Target::ExceptUser(_)) {
                    message.to = Target::ExceptConnection(());
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
                let reason = self.reason.optional_text("reason")?.unwrap_or_default().to_owned();
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
            "STATE_RESPONSE" => Body::StateResponse { users: users::read_response(self.users)? },
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
        let from = match &self.from_user_id {
            Scalar::Absent => SERVER.into(),
            Scalar::Text(text) if text == SERVER => SERVER.into(),
            user => user.user("fromUserId")?,
        };
        // Clients of some languages require a request id, so the id of the message takes its place.
        let request_id = match self.request_id.optional_text("requestId")? {
            None | Some("") => id,
            Some(request) => request,
        };
        let to = self.target(&from)?;
        Ok(UserMessage {
            from,
            event: self.event.text("event")?.to_owned(),
            payload: self.payload()?,
            request_id: request_id.to_owned(),
            to,
        })
    }

    /// The kind of a change of presence. Our nodes do not use it, so any other value counts as none.
    fn presence_event(&self) -> Option<PresenceEvent> {
        match &self.presence_event {
            Scalar::Text(event) if event == "JOIN" => Some(PresenceEvent::Join),
            Scalar::Text(event) if event == "UPDATE" => Some(PresenceEvent::Update),
            _ => None,
        }
    }

    /// Reads the payload. Clients of some languages throw an error for a payload that is not an object, so another
    /// value becomes the member `data` of one.
    fn payload(&self) -> Result<Object, Malformed> {
        #[derive(Serialize)]
        struct Wrapped<'a> {
            data: &'a RawValue,
        }

        let Some(raw) = self.payload else { return Ok(nothing()) };
        if raw.get().starts_with('{') {
            return read::object(raw, "payload");
        }
        // Validated behind the wrapping, which adds one level to the depth.
        let wrapped = Object::encode(&Wrapped { data: raw }).expect("a struct is an object");
        read::vetted(wrapped.as_str(), "payload")?;
        Ok(wrapped)
    }

    /// Reads the recipients. An unknown descriptor means all users. Invalid user ids are left out: no user here has
    /// one.
    fn target(&self, from: &str) -> Result<Target, Malformed> {
        let Some(raw) = self.recipient_descriptor else { return Ok(Target::All) };
        if raw.get().starts_with('[') {
            let users: Vec<Scalar<'_>> = read::shaped(raw, "recipientDescriptor")?;
            let users = users.iter().filter_map(|user| user.user("recipientDescriptor").ok());
            return Ok(Target::Users(users.map(|user| user.to_string()).collect()));
        }
        let whom: Scalar<'_> = read::shaped(raw, "recipientDescriptor")?;
        let except_sender = matches!(whom, Scalar::Text(text) if text == "ALL_EXCEPT_SENDER");
        Ok(if except_sender { Target::ExceptUser(from.to_owned()) } else { Target::All })
    }

    fn assigns_update(&self) -> Result<Body, Malformed> {
        let delta = match self.key.optional_text("key")? {
            None => None,
            // JavaScript leaves out a value that is not set.
            Some(key) => Some((key.to_owned(), read::json(self.value.unwrap_or(RawValue::NULL), "value")?)),
        };
        Ok(Body::AssignsUpdate { user: self.user()?, assigns: self.assigns()?, delta })
    }

    fn user(&self) -> Result<Arc<str>, Malformed> {
        self.user_id.user("userId")
    }

    fn presence(&self) -> Result<Option<Object>, Malformed> {
        self.presence.map(|raw| read::object(raw, "presence")).transpose()
    }

    fn assigns(&self) -> Result<Option<Assigns>, Malformed> {
        self.assigns.map(|raw| read::assigns(raw, "assigns")).transpose()
    }

    fn request(&self) -> Result<String, Malformed> {
        self.request_id.text("requestId").map(str::to_owned)
    }

    fn asker(&self, source: &Arc<str>) -> Result<String, Malformed> {
        Ok(self.from_node.optional_text("fromNode")?.unwrap_or(source).to_owned())
    }

    fn node(&self, source: &Arc<str>) -> Result<Arc<str>, Malformed> {
        if self.node_id == Scalar::Absent { Ok(source.clone()) } else { self.node_id.id("nodeId") }
    }
}

impl Body {
    /// Returns whether a message of this type may concern no channel.
    fn may_lack_channel(&self) -> bool {
        matches!(self, Body::NodeHeartbeat { .. } | Body::State(_) | Body::Repair(_) | Body::Ack { .. } | Body::Node(_))
    }
}

fn nothing() -> Object {
    Object::encode(&()).expect("the unit value is encoded as `{}`")
}

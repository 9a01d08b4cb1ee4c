use std::sync::Arc;

use crate::position::Position;
use crate::wire::Object;

/// The recipients of a message in a channel. `C` identifies one connection: on its own node by its slot in the channel,
/// between nodes by `()`, because no other node has that connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target<C = ()> {
    /// Every member.
    All,
    /// The members with these user ids. Ids of others are ignored.
    Users(Vec<String>),
    /// Every member but this user, with all its connections. Between nodes the user is always the sender.
    ExceptUser(String),
    /// Every connection but this one: other connections of its user get the message.
    ExceptConnection(C),
}

/// A message between nodes for the users of a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserMessage {
    /// The sender: a user id, or `CHANNEL` for the server itself.
    pub from: Arc<str>,
    /// The event.
    pub event: String,
    /// The payload.
    pub payload: Object,
    /// The request id that clients receive. Some clients require one.
    pub request_id: String,
    /// The recipients. Nodes of other languages leave out the whole user instead of one connection.
    pub to: Target,
    /// The position of the message in the history that nodes share, if it is kept there. It is the request id, too.
    pub position: Option<Position>,
}

/// A [`UserMessage`] whose texts are slices of another text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserMessageRef<'a> {
    /// The sender.
    pub from: &'a str,
    /// The event.
    pub event: &'a str,
    /// The payload: the text of a JSON object that may reach clients.
    pub payload: &'a str,
    /// The request id that clients receive.
    pub request_id: &'a str,
    /// The recipients.
    pub to: &'a Target,
    /// The position in the history that nodes share, if the message is kept there.
    pub position: Option<Position>,
}

impl UserMessage {
    /// The message by reference.
    pub fn as_ref(&self) -> UserMessageRef<'_> {
        let UserMessage { from, event, payload, request_id, to, position } = self;
        UserMessageRef { from, event, payload: payload.as_str(), request_id, to, position: *position }
    }
}

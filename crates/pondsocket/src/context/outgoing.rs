use std::fmt;
use std::sync::{Arc, OnceLock};

use pondsocket_proto::id::{ChannelName, ConnectionId};
use pondsocket_proto::pattern::{Match, Pattern};
use pondsocket_proto::wire::Object;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::route::{Routed, route_methods};
use crate::error::{InCall, Result, encoding};
use crate::handler::{Context, sealed};
use crate::json::decode;
use crate::pond::states::States;
use crate::user::User;

/// A broadcast or reply on its way to one recipient, for an outgoing handler.
///
/// Outgoing handlers see messages of the application, never those of the protocol: acknowledgements, presence, errors
/// and evictions. They run during the delivery of the channel, once for each recipient and in order, so they must not
/// wait, and their cost is multiplied by the number of recipients. Work that needs I/O belongs into the event handler.
#[derive(Clone, Debug)]
pub struct OutgoingContext {
    pub(crate) message: Arc<OutgoingMessage>,
    pub(crate) recipient: User,
    pub(crate) connection: ConnectionId,
    pub(crate) route: Match,
}

/// The part of a context that all recipients of one message share.
#[derive(Debug)]
pub(crate) struct OutgoingMessage {
    pub(crate) channel: ChannelName,
    pub(crate) event: Box<str>,
    pub(crate) payload: Box<str>,
    pub(crate) states: States,
    /// The channel's pattern.
    pub(crate) pattern: Arc<Pattern>,
    /// The match of that pattern in the channel's name. It is computed once for all recipients, if a handler asks for
    /// it.
    pub(crate) channel_route: OnceLock<Match>,
}

route_methods!(OutgoingContext: event);

impl OutgoingContext {
    /// The name of the event.
    pub fn event(&self) -> &str {
        &self.message.event
    }

    /// The payload.
    ///
    /// # Errors
    /// 500 if it is of another type.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        decode::from_server("payload", &self.message.payload).in_call("ctx.payload")
    }

    /// The recipient, with its assigns and presence as of this delivery, or, if it has left since the message was sent, as
    /// of its leave.
    pub fn recipient(&self) -> &User {
        &self.recipient
    }

    /// The id of the connection that the message is sent to: a user may have several.
    pub fn connection_id(&self) -> String {
        self.connection.to_string()
    }

    /// The exact name of the channel.
    pub fn channel_name(&self) -> &str {
        self.message.channel.as_str()
    }
}

impl Routed for OutgoingContext {
    fn own(&self) -> &Match {
        &self.route
    }

    fn of_channel(&self) -> Option<&Match> {
        let OutgoingMessage { channel, pattern, channel_route, .. } = &*self.message;
        // The pattern matched when the channel was joined, so the default is never used.
        Some(channel_route.get_or_init(|| pattern.matches(channel.as_str()).unwrap_or_default()))
    }
}

impl sealed::Sealed for OutgoingContext {}

impl Context for OutgoingContext {
    type Answer = Outgoing;

    fn states(&self) -> &States {
        &self.message.states
    }
}

/// The decision about a message for one recipient.
#[derive(Clone)]
pub enum Outgoing {
    /// The message is sent unchanged.
    Pass,
    /// This recipient does not get the message.
    Block,
    /// This recipient gets another payload: see [`replace`](Self::replace).
    Replace(Replacement),
}

/// Another payload for one recipient.
#[derive(Clone)]
pub struct Replacement(pub(crate) Object);

impl Outgoing {
    /// This recipient gets another payload.
    ///
    /// # Errors
    /// 500 if it does not serialise to a JSON object.
    pub fn replace<T: Serialize + ?Sized>(payload: &T) -> Result<Outgoing> {
        let payload = Object::encode(payload).map_err(encoding).in_call("Outgoing::replace");
        payload.map(|payload| Outgoing::Replace(Replacement(payload)))
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outgoing::Pass => f.write_str("Pass"),
            Outgoing::Block => f.write_str("Block"),
            Outgoing::Replace(replacement) => write!(f, "Replace({})", replacement.0.as_str()),
        }
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

use std::fmt;
use std::sync::Arc;

use pondsocket_proto::channel::GapReason;
use pondsocket_proto::id::{ChannelName, RequestId};
use pondsocket_proto::pattern::Match;
use pondsocket_proto::position::Position;
use serde::Serialize;

use super::route::{Routed, route_methods};
use crate::channel::Channel;
use crate::endpoint::{Connection, EndpointInner};
use crate::engine::handle::ConnectionHandle;
use crate::engine::ids;
use crate::engine::sync::Mutex;
use crate::error::{Error, InCall, Result};
use crate::handler::{Context, sealed};
use crate::json::encode::with_reply;
use crate::json::received::ReceivedPayload;
use crate::pond::states::States;
use crate::user::User;

/// A member that cannot get some messages of a channel which it is in: it read so slowly that its outbox had no room for
/// them, and by now the history of the channel does not keep them any more (docs/protocol.md, Gaps).
///
/// Until the handler has finished the client gets nothing more, of any channel. What the handler sends takes the place of the
/// missing messages, ahead of those behind [`position`](Self::position).
pub struct GapContext {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) handle: Arc<ConnectionHandle>,
    pub(crate) name: ChannelName,
    pub(crate) route: Match,
    pub(crate) reason: GapReason,
    pub(crate) position: Position,
    pub(crate) sent: Arc<GapMessages>,
}

/// The messages of a gap handler: each event with its text. `None` once the handler has ended.
pub(crate) type GapMessages = Mutex<Option<Vec<(String, Vec<u8>)>>>;

route_methods!(GapContext: own "channel");

impl GapContext {
    /// The reason for which the messages are missing.
    pub fn reason(&self) -> GapReason {
        self.reason
    }

    /// The position of the last message that is missing. Those behind it follow.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Sends a message to this connection alone, in the place of those that are missing. It is queued when the handler has
    /// succeeded. An outgoing handler of its event decides about it.
    ///
    /// # Errors
    /// 500 if the payload does not serialise to a JSON object, the event name is reserved, or the handler has ended.
    pub fn send<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<()> {
        let id = RequestId::from_u128(ids::fresh());
        let sent = with_reply(self.name.as_str(), event, id.as_str(), payload, |text| match &mut *self.sent.lock() {
            Some(messages) => {
                messages.push((event.to_owned(), text.to_vec()));
                Ok(())
            }
            None => Err(Error::internal("the gap handler has ended")),
        });
        let sent = sent.map_err(|error| error.explain(&ReceivedPayload::default(), payload)).in_call("ctx.send")?;
        sent.in_call("ctx.send")
    }

    /// The id of the user.
    pub fn user_id(&self) -> &str {
        self.handle.user().as_str()
    }

    /// The user as a member of the channel; without assigns and presence if it has just left.
    pub fn user(&self) -> User {
        let none = || User { id: self.handle.user().clone(), assigns: Default::default(), presence: None };
        let member = self.channel().member(self.user_id());
        member.map_or_else(none, |member| User::of(self.handle.user().clone(), member))
    }

    /// The id of the connection.
    pub fn connection_id(&self) -> String {
        self.handle.id().to_string()
    }

    /// The connection, to disconnect it for example.
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.handle))
    }

    /// The channel. The handle is not bound to a membership.
    pub fn channel(&self) -> Channel {
        Channel::new(&self.endpoint, self.name.clone())
    }
}

impl fmt::Debug for GapContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, user) = (self.name.as_str(), self.user_id());
        let mut out = f.debug_struct("GapContext");
        out.field("channel", &channel).field("user", &user).field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl Routed for GapContext {
    fn own(&self) -> &Match {
        &self.route
    }
}

impl sealed::Sealed for GapContext {}

impl Context for GapContext {
    type Answer = ();

    fn states(&self) -> &States {
        self.endpoint.states()
    }
}

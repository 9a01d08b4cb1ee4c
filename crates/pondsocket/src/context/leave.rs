use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use pondsocket_proto::id::ChannelName;
use pondsocket_proto::pattern::Match;
use serde::de::DeserializeOwned;

use super::route::{Routed, route_methods};
use crate::channel::{BoundMembership, Channel, Lossy};
use crate::endpoint::EndpointInner;
use crate::error::{InCall, Result};
use crate::handler::{Context, sealed};
use crate::lobby::LobbyInner;
use crate::pond::states::States;
use crate::user::User;

/// The reason of a membership's end.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// The client asked to leave. Displayed as `explicit_leave`.
    Left,
    /// The connection ended, closed by either side. Displayed as `connection_closed`.
    Closed,
    /// The user was evicted, with this reason. Displayed as `evicted:<reason>`.
    Evicted(String),
    /// The user was removed, with this reason, which is displayed.
    Removed(String),
    /// The user's node has died, and the user has not come back within the presence grace of the channel
    /// ([`Lobby::presence_grace`](crate::Lobby::presence_grace)). The handler runs on one of the other nodes that have members in the
    /// channel, at most once. Displayed as `expired`.
    Expired,
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaveReason::Left => f.write_str("explicit_leave"),
            LeaveReason::Closed => f.write_str("connection_closed"),
            LeaveReason::Evicted(reason) => write!(f, "evicted:{reason}"),
            LeaveReason::Removed(reason) => f.write_str(reason),
            LeaveReason::Expired => f.write_str("expired"),
        }
    }
}

impl LeaveReason {
    /// The reason without the text that the application gave: one of few values, so that it can be the label of a
    /// metric.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            LeaveReason::Left => "explicit_leave",
            LeaveReason::Closed => "connection_closed",
            // The text of the reason is left out: it may have any number of values.
            LeaveReason::Evicted(_) => "evicted",
            LeaveReason::Removed(_) => "removed",
            LeaveReason::Expired => "expired",
        }
    }
}

/// A user that has left a channel, with its last connection there.
///
/// The handler runs once per membership: when the last messages of the connection have been handled; if the member was
/// evicted or removed, at once; or at the end of the presence grace of a user that has not come back.
#[derive(Debug)]
pub struct LeaveContext {
    pub(crate) endpoint: Arc<EndpointInner>,
    pub(crate) name: ChannelName,
    pub(crate) user: User,
    pub(crate) reason: LeaveReason,
    pub(crate) lobby: Arc<LobbyInner>,
    /// The match of the channel's pattern in its name. It is computed only for handlers that ask for it.
    pub(crate) route: OnceLock<Match>,
}

route_methods!(LeaveContext: own "channel");

impl LeaveContext {
    /// The reason of the leave.
    pub fn reason(&self) -> &LeaveReason {
        &self.reason
    }

    /// The user that left.
    pub fn user_id(&self) -> &str {
        self.user.id()
    }

    /// The user as it was when it left.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// One assign, as it was.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it is of another type.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.user.assign(key).in_call("ctx.assign")
    }

    /// All assigns, as they were.
    ///
    /// # Errors
    /// 500 if they do not fit the type.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<T> {
        self.user.assigns().in_call("ctx.assigns")
    }

    /// The presence, as it was.
    ///
    /// # Errors
    /// 404 if it was not tracked, 500 if it is of another type.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<T> {
        self.user.presence().in_call("ctx.presence")
    }

    /// The number of members that the channel has now.
    pub fn remaining(&self) -> usize {
        self.channel().member_count()
    }

    /// Returns `true` if the user is a member nevertheless: it has joined again since, or is a member on another node,
    /// as far as that is known here. The handler runs after the last messages of the membership, and so possibly after
    /// the next join.
    ///
    /// ```
    /// # use pondsocket::{LeaveContext, Result};
    /// # use serde_json::json;
    /// async fn left(ctx: LeaveContext) -> Result<()> {
    ///     if !ctx.returned() {
    ///         ctx.channel().broadcast("gone", &json!({ "who": ctx.user_id() }))?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn returned(&self) -> bool {
        self.channel().is_known(self.user_id())
    }

    /// The channel, to notify the members that remain. The membership has ended, so calls that would change the user
    /// that left fail with 404, also if it has joined again. See [`Channel::unbound`].
    pub fn channel(&self) -> Channel {
        // Bound to no membership: a call that names the user must not change the one of its next join.
        let own = BoundMembership { user: self.user.id.clone(), membership: None };
        Channel::new(&self.endpoint, self.name.clone()).bound(own)
    }

    /// The presence of the tracked members, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn all_presence<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        self.channel().presence().in_call("ctx.all_presence")
    }

    /// The members' assigns, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn all_assigns<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        self.channel().assigns().in_call("ctx.all_assigns")
    }

    /// The same as [`all_presence`](Self::all_presence), without the members whose presence is of another type. For
    /// channels in which clients choose their presence: no client can make the call fail for all.
    pub fn all_presence_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        self.channel().presence_lossy()
    }

    /// The same as [`all_assigns`](Self::all_assigns), without the members whose assigns are of another type.
    pub fn all_assigns_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        self.channel().assigns_lossy()
    }
}

impl Routed for LeaveContext {
    fn own(&self) -> &Match {
        // Not computed at the leave, because most handlers do not ask for it.
        self.route.get_or_init(|| self.lobby.channel_route(&self.name))
    }
}

impl sealed::Sealed for LeaveContext {}

impl Context for LeaveContext {
    type Answer = ();

    fn states(&self) -> &States {
        self.endpoint.states()
    }
}

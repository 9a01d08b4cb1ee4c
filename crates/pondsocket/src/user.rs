//! A copy of a user's assigns and presence.

use pondsocket_proto::channel::{Assigns, Departure, Member};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Object;
use serde::de::DeserializeOwned;

use crate::error::{Error, InCall, Result};
use crate::json::decode;

/// A user's id, assigns and presence in a channel, or the assigns of its connection, as of the call that returned it. Later
/// changes do not show in it.
#[derive(Clone, Debug)]
pub struct User {
    pub(crate) id: UserId,
    pub(crate) assigns: Assigns,
    pub(crate) presence: Option<Object>,
}

impl User {
    pub(crate) fn of(id: UserId, member: Member) -> User {
        User { id, assigns: member.assigns, presence: member.presence }
    }

    /// A user as it was when it left.
    pub(crate) fn departed(Departure { user, member }: Departure) -> User {
        User::of(user, member)
    }

    /// The user id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// One assign.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it cannot be decoded as `T`.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        decode::assign(key, self.assigns.get(key)).in_call("user.assign")
    }

    /// All assigns, decoded as a struct or a map.
    ///
    /// # Errors
    /// 500 if they cannot be decoded as `T`; the log has the keys that are set.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<T> {
        decode::assigns(&self.assigns).in_call("user.assigns")
    }

    /// The user's presence.
    ///
    /// # Errors
    /// 404 if the user is not tracked, 500 if the presence cannot be decoded as `T`.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<T> {
        let presence = self.presence.as_ref().ok_or_else(|| Error::not_found("not tracked"));
        presence.and_then(|presence| decode::from_server("presence", presence.as_str())).in_call("user.presence")
    }
}

use pondsocket_proto::channel::{Assigns, Member};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Object;
use serde::de::DeserializeOwned;

use crate::error::{Error, InCall, Result};
use crate::json::decode;

/// A user as it was when it was asked for: its id, and what a channel (or its connection) holds of it.
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

    /// The user id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// One assign.
    ///
    /// # Errors
    /// 404 if it is not set, 500 if it is of another type.
    pub fn assign<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        decode::assign(key, self.assigns.get(key)).in_call("user.assign")
    }

    /// All assigns, as a struct or map.
    ///
    /// # Errors
    /// 500 if they don't fit: the log says which keys there are.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<T> {
        decode::assigns(&self.assigns).in_call("user.assigns")
    }

    /// What the user shows of itself.
    ///
    /// # Errors
    /// 404 if it is not tracked, 500 if its presence is of another type.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<T> {
        let presence = self.presence.as_ref().ok_or_else(|| Error::not_found("not tracked"));
        presence.and_then(|presence| decode::from_server("presence", presence.as_str())).in_call("user.presence")
    }
}

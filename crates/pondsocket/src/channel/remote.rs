//! Operations on the members of a channel on other nodes.

use pondsocket_proto::channel::RemoteMember;
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest};
use pondsocket_proto::id::UserId;

use super::{Channel, no_such_member, user_id};
use crate::error::{Error, Result};
use crate::user::User;

impl Channel {
    /// Has other nodes do what was done, or could not be done, here. A user that is here alone concerns nobody else,
    /// and one that is here and elsewhere is one user.
    pub(super) async fn apply_remote(
        &self,
        here: Result<()>,
        user: &str,
        ask: impl FnOnce(ChannelKey, UserId) -> ClusterRequest,
    ) -> Result<()> {
        let is_missing = match &here {
            Ok(()) => false,
            Err(error) if error.code() == 404 => true,
            Err(_) => return here,
        };
        if is_missing && self.own.as_ref().is_some_and(|own| own.user.as_str() == user) {
            // The membership has ended. What the user has elsewhere is another one.
            return here;
        }
        let Some(node) = self.endpoint.node() else { return here };
        if !is_missing && !self.is_remote(user) {
            return here;
        }
        match node.ask(ask(self.endpoint.key(&self.name), user_id(user)?)).await {
            Answer::Confirmed => Ok(()),
            Answer::NotFound => here,
            Answer::Refused => Err(Error::too_large("a limit of the user's node forbids it")),
            Answer::Unavailable => Err(Error::unavailable("the bus is down: other nodes do not hear of it")),
            _ => Err(Error::timeout("another node did not confirm it")),
        }
    }

    /// A user that is not here.
    pub(super) async fn remote_user(&self, user: &str) -> Result<User> {
        let node = self.endpoint.node().ok_or_else(no_such_member)?;
        let id = user_id(user)?;
        if let Some(shown) = self.remote_member(user) {
            return Ok(user_of(id, shown));
        }
        match node.ask(ClusterRequest::Get { channel: self.endpoint.key(&self.name), user: id.clone() }).await {
            Answer::Found(shown) => Ok(user_of(id, shown)),
            Answer::NotFound => Err(no_such_member()),
            Answer::Unavailable => Err(Error::unavailable("the bus is down: other nodes can't be asked")),
            _ => Err(Error::timeout("another node did not answer")),
        }
    }

    /// The users of a channel that nobody here is in, and whether all nodes have answered.
    pub(super) async fn remote_users(&self) -> (Vec<User>, bool) {
        let Some(node) = self.endpoint.node() else { return (Vec::new(), true) };
        match node.ask(ClusterRequest::Users { channel: self.endpoint.key(&self.name) }).await {
            Answer::Users { users, complete } => {
                (users.into_iter().map(|(id, shown)| user_of(id, shown)).collect(), complete)
            }
            _ => (Vec::new(), false),
        }
    }

    fn is_remote(&self, user: &str) -> bool {
        self.remote_member(user).is_some()
    }

    fn remote_member(&self, user: &str) -> Option<RemoteMember> {
        let live = self.endpoint.hub.get(self.name.as_str())?;
        live.read(|channel| channel.remote_member(user).cloned())
    }
}

fn user_of(id: UserId, shown: RemoteMember) -> User {
    User { id, assigns: shown.assigns, presence: shown.presence }
}

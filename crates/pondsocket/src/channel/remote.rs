//! Operations on the members of a channel on other nodes.

use pondsocket_proto::channel::{NotMember, RemoteMember};
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest};
use pondsocket_proto::id::UserId;

use super::error::{LookupError, MemberError, RemoteChangeError};
use super::{Channel, user_id};
use crate::user::User;

impl Channel {
    /// Requests a change from other nodes, after it was tried on this node with the result `here`. A user of this node
    /// alone needs no request; a user of several nodes is one user, so the change is made on each of them.
    pub(super) async fn apply_remote<E: Into<MemberError>>(
        &self,
        here: Result<(), E>,
        user: &str,
        ask: impl FnOnce(ChannelKey, UserId) -> ClusterRequest,
    ) -> Result<(), RemoteChangeError> {
        let here = here.map_err(Into::into);
        let is_missing = match &here {
            Ok(()) => false,
            Err(MemberError::NotMember) => true,
            // Refused by a limit of this node. The user is one user, so other nodes do not make the change either.
            Err(MemberError::TooLarge(_) | MemberError::NoRoom(_)) => return here.map_err(RemoteChangeError::Here),
        };
        let here = here.map_err(RemoteChangeError::Here);
        if is_missing && self.own.as_ref().is_some_and(|own| own.user.as_str() == user) {
            // The bound membership was of this node, and has ended. The user's membership on another node is another
            // one.
            return here;
        }
        let Some(node) = self.endpoint.node() else { return here };
        // Known from the members that other nodes have announced. A user that is missing here may be on a node that has
        // not announced it yet, so then the request is made.
        if !is_missing && !self.is_remote(user) {
            return here;
        }
        let user = user_id(user).map_err(|error| RemoteChangeError::Here(error.into()))?;
        match node.ask(ask(self.endpoint.key(&self.name), user)).await {
            Answer::Confirmed => Ok(()),
            // No other node has the user, so the outcome of this node is the result.
            Answer::NotFound => here,
            Answer::Refused => Err(RemoteChangeError::Refused),
            Answer::Unavailable => Err(RemoteChangeError::BusDown),
            // The other answers are for other requests.
            Answer::Unconfirmed | Answer::Found(_) | Answer::Users { .. } => Err(RemoteChangeError::Unconfirmed),
        }
    }

    /// A user that is not a member on this node.
    pub(super) async fn remote_user(&self, user: &str) -> Result<User, LookupError> {
        let node = self.endpoint.node().ok_or(LookupError::NotMember)?;
        let id = user_id(user).map_err(|NotMember| LookupError::NotMember)?;
        // Open channels know the members of other nodes, and need no request.
        if let Some(shown) = self.remote_member(user) {
            return Ok(user_of(id, shown));
        }
        match node.ask(ClusterRequest::Get { channel: self.endpoint.key(&self.name), user: id.clone() }).await {
            Answer::Found(shown) => Ok(user_of(id, shown)),
            Answer::NotFound => Err(LookupError::NotMember),
            Answer::Unavailable => Err(LookupError::BusDown),
            // The other answers are for other requests.
            Answer::Unconfirmed | Answer::Confirmed | Answer::Refused | Answer::Users { .. } => {
                Err(LookupError::Unanswered)
            }
        }
    }

    /// The users of a channel without members on this node, and whether all nodes have answered.
    pub(super) async fn remote_users(&self) -> (Vec<User>, bool) {
        let Some(node) = self.endpoint.node() else { return (Vec::new(), true) };
        match node.ask(ClusterRequest::Users { channel: self.endpoint.key(&self.name) }).await {
            Answer::Users { users, complete } => {
                (users.into_iter().map(|(id, shown)| user_of(id, shown)).collect(), complete)
            }
            // No answer, or no bus: nothing is known, and the list is incomplete.
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

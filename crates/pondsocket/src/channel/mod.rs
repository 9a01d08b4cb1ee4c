pub(crate) mod error;
pub(crate) mod evictions;
mod history;
mod local;
mod remote;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Weak};

use pondsocket_proto::channel::{Channel as Core, LocalTarget, Member, Membership, NotMember};
use pondsocket_proto::cluster::ClusterRequest;
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::wire::{Json, Object};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::error::{LookupError, MemberError};
pub use self::history::KeptMessage;
use crate::context::Call;
use crate::delivery::Delivery;
use crate::endpoint::{Broadcast, BroadcastSource, EndpointInner, disconnected};
use crate::engine::closing::Close;
use crate::engine::live::GraceEnd;
use crate::error::{InCall, Result, encoding};
use crate::json::decode;
use crate::json::received::{ReceivedPayload, ReceivedPayloadRef};
use crate::user::User;

/// A handle to a channel by its name, usable from anywhere. It is cheap to clone and to keep: the live channel of that
/// name is looked up at each call, so a handle outlives channels and keeps none alive. A handle that a context returns
/// is bound to the membership of that context: see [`unbound`](Self::unbound).
///
/// ```
/// # use pondsocket::{Endpoint, Result};
/// # use serde_json::json;
/// fn announce(endpoint: &Endpoint) -> Result<()> {
///     let delivery = endpoint.channel("/chat/42")?.broadcast("news", &json!({ "text": "closing soon" }))?;
///     println!("{} members", delivery.local);
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    endpoint: Arc<EndpointInner>,
    name: ChannelName,
    /// The membership of the context that returned the handle; `None` for an unbound handle.
    own: Option<BoundMembership>,
    /// The payload of the message of that context. The reference is weak, because a handle may be kept for long.
    received: ReceivedPayloadRef,
    /// The call of the handler, while it runs: its connection flushes the channels that the handler changes.
    call: Weak<Call>,
}

/// The membership that a handle is bound to. Through the handle the user's other memberships are not changed.
#[derive(Clone, Debug)]
pub(crate) struct BoundMembership {
    pub(crate) user: UserId,
    /// The serial of the live channel, and the membership there; `None` if it has ended.
    pub(crate) membership: Option<(u64, Membership)>,
}

impl Channel {
    pub(crate) fn new(endpoint: &Arc<EndpointInner>, name: ChannelName) -> Channel {
        Channel {
            endpoint: Arc::clone(endpoint),
            name,
            own: None,
            received: ReceivedPayloadRef::default(),
            call: Weak::new(),
        }
    }

    pub(crate) fn bound(self, own: BoundMembership) -> Channel {
        Channel { own: Some(own), ..self }
    }

    pub(crate) fn answering(self, received: &ReceivedPayload) -> Channel {
        Channel { received: received.downgrade(), ..self }
    }

    /// The same channel, for the handler of a message in it.
    pub(crate) fn handling(self, call: &Arc<Call>) -> Channel {
        Channel { call: Arc::downgrade(call), ..self }
    }

    /// The same channel without a bound membership: calls apply to the membership that a user has at the time of the
    /// call. A handle from the context of an event or a leave changes the user of that context only until the end of
    /// the membership in which the message was sent: a late handler does nothing to a user that has left and joined
    /// again. All other handles are unbound.
    #[must_use]
    pub fn unbound(self) -> Channel {
        Channel { own: None, ..self }
    }

    /// The exact name, as clients join it.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Sends to all members.
    ///
    /// # Errors
    /// 500 if the payload does not serialise to a JSON object or the event name is reserved; 503 if the channel's
    /// queue is full: nothing was enqueued, [`ready`](Self::ready) waits for room.
    pub fn broadcast<T: Serialize + ?Sized>(&self, event: &str, payload: &T) -> Result<Delivery> {
        self.send(&LocalTarget::All, event, payload).in_call("channel.broadcast")
    }

    /// Sends to these users. Ids of users that are not members are ignored.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to<T, I, U>(&self, users: I, event: &str, payload: &T) -> Result<Delivery>
    where
        T: Serialize + ?Sized,
        I: IntoIterator<Item = U>,
        U: AsRef<str>,
    {
        let users = users.into_iter().map(|user| user.as_ref().to_owned()).collect();
        self.send(&LocalTarget::Users(users), event, payload).in_call("channel.broadcast_to")
    }

    /// Sends to all members except this user, with all its connections.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from<T: Serialize + ?Sized>(&self, user: &str, event: &str, payload: &T) -> Result<Delivery> {
        self.send(&LocalTarget::ExceptUser(user.to_owned()), event, payload).in_call("channel.broadcast_from")
    }

    fn send<T: Serialize + ?Sized>(&self, to: &LocalTarget, event: &str, payload: &T) -> Result<Delivery> {
        let call = self.call.upgrade();
        let source = BroadcastSource { call: call.as_deref(), ..BroadcastSource::default() };
        let sent = Broadcast { endpoint: &self.endpoint, channel: &self.name, source, to, event }.send(payload);
        sent.map_err(|error| error.explain(&self.received.upgrade(), payload))
    }

    /// Waits until the channel's delivery queue has room. Cancel-safe.
    pub async fn ready(&self) {
        if let Some(live) = self.endpoint.hub.get(self.name.as_str()) {
            poll_fn(|cx| live.poll_room(cx)).await;
        }
    }

    /// Shows a member of this node to the other tracked members.
    ///
    /// # Errors
    /// 404 if it is no member, 409 if it is tracked already, 500 if the value is no JSON object, 413 if it is larger
    /// than `max_presence_size` or all would show more than `max_channel_presence`, 503 if the channel's queue is full.
    pub fn track<T: Serialize + ?Sized>(&self, user: &str, presence: &T) -> Result<()> {
        let presence = self.encode_presence(presence).in_call("channel.track")?;
        self.track_local(user, presence).in_call("channel.track")
    }

    /// Replaces the presence of a member of any node. A member that is not tracked becomes tracked.
    ///
    /// # Errors
    /// 404 if it is no member, 500 if the value is no JSON object, 413 if it is larger than `max_presence_size` or all
    /// would show more than `max_channel_presence`, 503 if the channel's queue is full; for a member on another node
    /// also 503 if the bus is down, 504 if that node did not confirm the change, which may have been made.
    pub async fn update_presence<T: Serialize + ?Sized>(&self, user: &str, presence: &T) -> Result<()> {
        let presence = self.encode_presence(presence).in_call("channel.update_presence")?;
        // The result of this node decides whether other nodes are asked at all: see `apply_remote`.
        let here = self.show_local(user, presence.clone());
        let shown =
            self.apply_remote(here, user, |channel, user| ClusterRequest::Presence { channel, user, presence }).await;
        shown.in_call("channel.update_presence")
    }

    fn encode_presence<T: Serialize + ?Sized>(&self, presence: &T) -> Result<Object> {
        Object::encode(presence).map_err(|error| self.received.upgrade().explain(presence, error))
    }

    /// Hides a member. Nothing happens if it is not tracked.
    ///
    /// # Errors
    /// 404 if it is no member.
    pub fn untrack(&self, user: &str) -> Result<()> {
        self.untrack_local(user).map_err(MemberError::from).in_call("channel.untrack")
    }

    /// The presence of the tracked members of all nodes, by user id. It is empty for a channel without members on this
    /// node, which then knows nothing of the channel: see [`users`](Self::users).
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        let decode = |user: User| {
            let presence = user.presence.as_ref()?;
            Some(decode::from_server("presence", presence.as_str()).map(|value| (user.id.to_string(), value)))
        };
        self.known().into_iter().filter_map(decode).collect::<Result<_>>().in_call("channel.presence")
    }

    /// The assigns of the members of all nodes, by user id. It is empty for a channel without members on this node,
    /// which then knows nothing of the channel: see [`users`](Self::users).
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        let decode = |user: User| Ok((user.id().to_owned(), user.assigns()?));
        self.known().into_iter().map(decode).collect::<Result<_>>().in_call("channel.assigns")
    }

    /// The same as [`presence`](Self::presence), without the members whose presence is of another type. For channels in
    /// which clients choose their presence: no client can make the call fail for all.
    pub fn presence_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        let shown = self.known().into_iter().filter(|user| user.presence.is_some());
        Lossy::of(shown.map(|user| (user.id().to_owned(), user.presence())))
    }

    /// The same as [`assigns`](Self::assigns), without the members whose assigns are of another type.
    pub fn assigns_lossy<T: DeserializeOwned>(&self) -> Lossy<T> {
        Lossy::of(self.known().into_iter().map(|user| (user.id().to_owned(), user.assigns())))
    }

    /// Sets one assign of a member, of any node.
    ///
    /// # Errors
    /// 404 if it is no member, 500 if the value does not serialise, 413 if the assigns would be larger than
    /// `max_assigns_size`; for a member on another node also 503 if the bus is down, 504 if that node did not confirm
    /// the change, which may have been made.
    pub async fn update_assigns<T: Serialize + ?Sized>(&self, user: &str, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding).in_call("channel.update_assigns")?;
        let here = self.assign_local(user, key, value.clone());
        let ask = |channel, user| ClusterRequest::Assign { channel, user, key: key.to_owned(), value };
        self.apply_remote(here, user, ask).await.in_call("channel.update_assigns")
    }

    /// A member, of any node, as it is now.
    ///
    /// # Errors
    /// 404 if it is no member; 503 if the bus is down and it is no member on this node, 504 if a node that may have it
    /// did not answer.
    pub async fn user(&self, user: &str) -> Result<User> {
        match self.member(user) {
            Some(member) => user_id(user).map(|id| User::of(id, member)).map_err(|NotMember| LookupError::NotMember),
            None => self.remote_user(user).await,
        }
        .in_call("channel.user")
    }

    /// All members, of all nodes. If the channel has members on this node, all are known here; otherwise the other
    /// nodes are asked, which takes at most half a second.
    pub async fn users(&self) -> Users {
        if self.is_open_local() {
            // While the bus is down, nodes may have changed without a message to this one.
            let complete = self.endpoint.node().is_none_or(|node| node.is_up());
            return Users { users: self.known(), complete };
        }
        let (users, complete) = self.remote_users().await;
        Users { users, complete }
    }

    /// Returns `true` if the channel has members on this node.
    fn is_open_local(&self) -> bool {
        let live = self.endpoint.hub.get(self.name.as_str());
        live.is_some_and(|live| live.read(|channel| channel.local_members().member_count() > 0))
    }

    /// Returns `true` if the user is a member on any node, as far as is known here.
    pub(crate) fn is_known(&self, user: &str) -> bool {
        let live = self.endpoint.hub.get(self.name.as_str());
        live.is_some_and(|live| {
            live.read(|channel| channel.local_members().member(user).is_some() || channel.remote_member(user).is_some())
        })
    }

    pub(crate) fn member(&self, user: &str) -> Option<Member> {
        let live = self.endpoint.hub.get(self.name.as_str())?;
        live.read(|channel| channel.local_members().member(user).cloned())
    }

    /// The members of all nodes that are known here. A member of this node and of others has the assigns of this node.
    fn known(&self) -> Vec<User> {
        let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return Vec::new() };
        live.read(|channel| {
            let here = channel.local_members().members().map(|(user, member)| {
                let presence = channel.presence(user.as_str()).cloned();
                User { id: user.clone(), assigns: member.assigns.clone(), presence }
            });
            let others =
                channel.remote_members().filter(|(user, _)| channel.local_members().member(user.as_str()).is_none());
            let others = others.map(|(user, shown)| User {
                id: user.clone(),
                assigns: shown.assigns.clone(),
                presence: shown.presence.clone(),
            });
            here.chain(others).collect()
        })
    }

    /// The number of members, of all nodes. It is 0 for a channel without members on this node, which then knows
    /// nothing of the channel.
    pub fn member_count(&self) -> usize {
        self.endpoint.hub.get(self.name.as_str()).map_or(0, |live| live.read(Core::member_count))
    }

    /// Evicts a member of any node. The member receives the reason, in its last messages of this channel, then the
    /// others receive a notice. Its leave handler runs on the member's node, with `evicted:<reason>`; if that has died and the
    /// member is in its presence grace, on another one.
    ///
    /// # Errors
    /// 404 if there is no such member; for one on another node also 503 if the bus is down, 504 if that node did not
    /// confirm the eviction, which may have been made. If that node is dead, the call waits until this node has noticed it, for
    /// 6 s at most, and succeeds.
    pub async fn evict(&self, user: &str, reason: &str) -> Result<()> {
        let here = self.evict_local(user, reason);
        let ask = |channel, user| ClusterRequest::Evict { channel, user, reason: reason.to_owned() };
        self.apply_remote(here, user, ask).await.in_call("channel.evict")
    }

    /// Removes a member of any node without a message to it. Its leave handler runs with `reason`; on another node with
    /// `removed`.
    ///
    /// # Errors
    /// As [`evict`](Self::evict).
    pub async fn remove(&self, user: &str, reason: &str) -> Result<()> {
        let here = self.remove_local(user, reason);
        self.apply_remote(here, user, |channel, user| ClusterRequest::Remove { channel, user })
            .await
            .in_call("channel.remove")
    }

    /// Closes the *connections* of all members, with close code 1000: their memberships, here and in other
    /// channels, end at once. Earlier broadcasts reach the clients that read. Members in their presence grace leave.
    pub fn close(&self) {
        let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return };
        // Collected first, so that no connection is looked up or closed under the channel's lock.
        let connections: Vec<_> = live.read(|channel| channel.local_members().connections().collect());
        for connection in connections {
            if let Some(handle) = self.endpoint.connection(connection) {
                handle.close(Close::Graceful(disconnected("the channel was closed")));
            }
        }
        self.endpoint.hub.end_ghosts_of(&live, GraceEnd::All);
    }
}

/// The values of the requested type, and the number of all others.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lossy<T> {
    /// By user id.
    pub members: HashMap<String, T>,
    /// The number of members that were left out, because their value is of another type.
    pub skipped: usize,
}

impl<T> Lossy<T> {
    fn of(all: impl Iterator<Item = (String, Result<T>)>) -> Lossy<T> {
        let (mut members, mut skipped) = (HashMap::new(), 0);
        for (user, value) in all {
            match value {
                Ok(value) => drop(members.insert(user, value)),
                Err(_) => skipped += 1,
            }
        }
        Lossy { members, skipped }
    }
}

/// The members of a channel.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Users {
    /// The members, in no particular order.
    pub users: Vec<User>,
    /// `true` if all nodes that are alive have sent their users.
    pub complete: bool,
}

/// Parses a user id. A text that is not valid cannot be the id of a member.
fn user_id(user: &str) -> Result<UserId, NotMember> {
    UserId::new(user).map_err(|_| NotMember)
}

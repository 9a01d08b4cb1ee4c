use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;

use pondsocket_proto::channel::{Channel as Core, Member, NotMember, Removal, To};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::wire::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::LeaveReason;
use crate::delivery::Delivery;
use crate::endpoint::{EndpointInner, Live, disconnected};
use crate::engine::link::Link;
use crate::error::{Error, Result, encoding};
use crate::json::decode;
use crate::metrics::Limit;
use crate::user::User;

/// A channel by its name, to act on from anywhere. Cheap to clone and to keep: the live channel of that name is
/// looked up at each call, so a handle outlives channels and keeps none alive.
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
}

impl Channel {
    pub(crate) fn new(endpoint: &Arc<EndpointInner>, name: ChannelName) -> Channel {
        Channel { endpoint: Arc::clone(endpoint), name }
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
        self.send(&To::All, event, payload)
    }

    /// Sends to these users; ids that are no members are ignored.
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
        self.send(&To::Users(users), event, payload)
    }

    /// Sends to all members but this user, with all its connections.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from<T: Serialize + ?Sized>(&self, user: &str, event: &str, payload: &T) -> Result<Delivery> {
        self.send(&To::ExceptUser(user.to_owned()), event, payload)
    }

    fn send<T: Serialize + ?Sized>(&self, to: &To, event: &str, payload: &T) -> Result<Delivery> {
        self.endpoint.broadcast(None, self.name.as_str(), to, event, payload)
    }

    /// Waits until the channel's delivery queue has room. Cancel-safe.
    pub async fn ready(&self) {
        if let Some(live) = self.endpoint.hub.get(self.name.as_str()) {
            poll_fn(|cx| live.poll_room(cx)).await;
        }
    }

    /// Shows a member to the other tracked members.
    ///
    /// # Errors
    /// 404 if it is no member, 409 if it is tracked already, 500 if the value is no JSON object, 413 if it is larger than
    /// `max_presence_size`.
    pub fn track<T: Serialize + ?Sized>(&self, user: &str, presence: &T) -> Result<()> {
        let presence = self.endpoint.presence(presence)?;
        self.change(|channel| {
            let member = channel.state().member(user).ok_or_else(no_such_member)?;
            if member.presence.is_some() {
                return Err(Error::conflict("tracked already"));
            }
            channel.set_presence(user, presence).map_err(not_found)
        })
    }

    /// Replaces what a member, of any node, shows of itself; shows it, if it was not tracked.
    ///
    /// # Errors
    /// 404 if it is no member, 500 if the value is no JSON object, 413 if it is larger than `max_presence_size`.
    pub async fn update_presence<T: Serialize + ?Sized>(&self, user: &str, presence: &T) -> Result<()> {
        self.update_presence_local(user, presence)
    }

    pub(crate) fn update_presence_local<T: Serialize + ?Sized>(&self, user: &str, presence: &T) -> Result<()> {
        let presence = self.endpoint.presence(presence)?;
        self.change(|channel| channel.set_presence(user, presence).map_err(not_found))
    }

    /// Hides a member. Nothing happens if it is not tracked.
    ///
    /// # Errors
    /// 404 if it is no member.
    pub fn untrack(&self, user: &str) -> Result<()> {
        self.change(|channel| channel.untrack(user).map(drop).map_err(not_found))
    }

    /// What the tracked members show of themselves, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn presence<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        let decode = |(user, member): (UserId, Member)| {
            let presence = member.presence?;
            Some(decode::from_server("presence", presence.as_str()).map(|value| (user.to_string(), value)))
        };
        self.members().into_iter().filter_map(decode).collect()
    }

    /// The members' assigns, by user id.
    ///
    /// # Errors
    /// 500 if one is of another type.
    pub fn assigns<T: DeserializeOwned>(&self) -> Result<HashMap<String, T>> {
        let decode = |(user, member): (UserId, Member)| {
            Ok((user.to_string(), decode::from_server("assigns", &member.assigns.to_json())?))
        };
        self.members().into_iter().map(decode).collect()
    }

    /// Sets one assign of a member, of any node.
    ///
    /// # Errors
    /// 404 if it is no member, 500 if the value does not serialise, 413 if the assigns would be larger than
    /// `max_assigns_size`.
    pub async fn update_assigns<T: Serialize + ?Sized>(&self, user: &str, key: &str, value: &T) -> Result<()> {
        self.set_assign_local(user, key, value)
    }

    pub(crate) fn set_assign_local<T: Serialize + ?Sized>(&self, user: &str, key: &str, value: &T) -> Result<()> {
        let value = Json::encode(value).map_err(encoding)?;
        let most = self.endpoint.settings().max_assigns_size;
        let fits = self.change(|channel| {
            let member = channel.state().member(user).ok_or_else(no_such_member)?;
            if member.assigns.size_with(key, &value) > most {
                return Ok(false);
            }
            channel.assign(user, key, value).map_err(not_found)?;
            Ok(true)
        })?;
        if fits { Ok(()) } else { Err(self.endpoint.observer.too_large(Limit::Assigns, "assigns")) }
    }

    /// A member, of any node, as it is now.
    ///
    /// # Errors
    /// 404 if it is no member.
    pub async fn user(&self, user: &str) -> Result<User> {
        let member = self.member(user).ok_or_else(no_such_member)?;
        Ok(User::of(user_id(user)?, member))
    }

    pub(crate) fn member(&self, user: &str) -> Option<Member> {
        let live = self.endpoint.hub.get(self.name.as_str())?;
        live.read(|channel| channel.state().member(user).cloned())
    }

    fn members(&self) -> Vec<(UserId, Member)> {
        let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return Vec::new() };
        live.read(|channel| channel.state().members().map(|(user, member)| (user.clone(), member.clone())).collect())
    }

    /// How many users are members.
    pub fn member_count(&self) -> usize {
        self.endpoint.hub.get(self.name.as_str()).map_or(0, |live| live.read(|channel| channel.state().member_count()))
    }

    /// Takes a member out and tells it why, with the last messages that it gets of this channel; then the others
    /// are told. Its leave handler runs with `evicted:<reason>`.
    ///
    /// # Errors
    /// 404 if there is no such member.
    pub async fn evict(&self, user: &str, reason: &str) -> Result<()> {
        self.take_out(user, LeaveReason::Evicted(reason.to_owned()), |channel, user| channel.evict(user, reason))
    }

    /// Takes a member out without a word to it. Its leave handler runs with `reason`.
    ///
    /// # Errors
    /// 404 if there is no such member.
    pub async fn remove(&self, user: &str, reason: &str) -> Result<()> {
        self.take_out(user, LeaveReason::Removed(reason.to_owned()), |channel, user| channel.remove(user))
    }

    fn take_out(
        &self,
        user: &str,
        reason: LeaveReason,
        take: impl FnOnce(&mut Core<Arc<Link>>, &UserId) -> Result<Removal, NotMember>,
    ) -> Result<()> {
        let user = user_id(user)?;
        let (live, removal) = self.change_live(|channel| take(channel, &user).map_err(not_found))?;
        self.endpoint.spawn_leave(self.name.clone(), live.lobby, removal.departure, reason);
        Ok(())
    }

    /// Closes the *connections* of all members, with close code 1000: their memberships, here and in other
    /// channels, end at once. What was broadcast before reaches those who read.
    pub fn close(&self) {
        let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return };
        let connections: Vec<_> = live.read(|channel| channel.state().connections().collect());
        for connection in connections {
            if let Some(link) = self.endpoint.connection(connection) {
                link.end(disconnected("the channel was closed"));
            }
        }
    }

    /// Changes the live channel, or fails with 404 if there is none: nobody is a member then.
    fn change<T>(&self, change: impl FnOnce(&mut Core<Arc<Link>>) -> Result<T>) -> Result<T> {
        self.change_live(change).map(|(_, answer)| answer)
    }

    /// The same, with the live channel that was changed.
    fn change_live<T>(&self, mut change: impl FnOnce(&mut Core<Arc<Link>>) -> Result<T>) -> Result<(Arc<Live>, T)> {
        loop {
            let Some(live) = self.endpoint.hub.get(self.name.as_str()) else { return Err(no_such_member()) };
            match live.change(change) {
                Ok(answer) => return answer.map(|answer| (live, answer)),
                Err(again) => {
                    change = again;
                    self.endpoint.hub.remove(&live);
                }
            }
        }
    }
}

fn user_id(user: &str) -> Result<UserId> {
    UserId::new(user).map_err(|_| no_such_member())
}

fn no_such_member() -> Error {
    Error::not_found("no such member")
}

fn not_found(_: NotMember) -> Error {
    no_such_member()
}

use super::batch::Lists;
use super::history::SharedOrder;
use super::local_members::{LocalMembers, NotMember, Slot};
use super::outbound::{Log, Outbound};
use super::queue::Queue;
use super::remote_members::RemoteMembers;
use super::{Batch, RemoteMember, Ring};
use crate::id::{ChannelName, ConnectionId, UserId};

mod ahead;
#[cfg(test)]
mod fixture;
mod ghosts;
mod history;
mod membership;
mod messages;
mod presence;
mod shared;

pub use ghosts::SavedGhost;
pub use history::{CatchUp, CatchUpLimits};
pub use membership::{Accepted, Join, Removal, Step};
pub use messages::{LocalTarget, Published};
pub use shared::{StoredMessage, StoredMessages};

/// The bytes at which a broadcast is refused, also if the configured limits are higher: offsets within a batch have 32
/// bits. The half of that range above this bound is for answers, which are not refused.
const MAX_BYTES: usize = 1 << 31;

/// The limits of a channel: of its delivery queue and of its presence. Over the soft limit of the queue the connections
/// that publish should not be read; over the hard limit broadcasts, replies and changes of presence are refused.
#[derive(Clone, Copy, Debug)]
pub struct ChannelLimits {
    /// Messages at which readers pause.
    pub soft_messages: usize,
    /// Bytes at which readers pause.
    pub soft_bytes: usize,
    /// The hard limit as a multiple of the soft limit.
    pub hard_factor: usize,
    /// The most bytes of JSON in the presence of all members here together.
    pub presence_bytes: usize,
    /// The limits of presence lists.
    pub lists: Lists,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        ChannelLimits {
            soft_messages: 4096,
            soft_bytes: 4 << 20,
            hard_factor: 4,
            presence_bytes: 512 << 10,
            lists: Lists::default(),
        }
    }
}

/// The hard queue limit is reached: nothing was enqueued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the channel's delivery queue is full")]
pub struct Full;

/// The reason for which a change was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The user or connection is not a member.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The hard limit of the queue is reached.
    #[error(transparent)]
    Full(#[from] Full),
    /// The presence of all members here would be over its limit.
    #[error("the presence of all members would be over the limit")]
    PresenceLimit,
}

/// A channel: its members, and the queue of the messages for them.
///
/// `R` is the type of a recipient, to which the server delivers.
#[derive(Debug)]
pub struct Channel<R> {
    name: ChannelName,
    local: LocalMembers,
    remote: RemoteMembers,
    outbound: Log,
    queue: Queue<R>,
    /// Boxed, because most channels keep none.
    history: Option<Box<Ring>>,
    /// The order of the history among nodes, if they share it.
    shared: Option<Box<SharedOrder>>,
    limits: ChannelLimits,
    /// A parameter, because protocol logic has no source of randomness of its own, and tests need known ids.
    fresh_id: fn() -> u128,
}

impl<R> Channel<R> {
    /// An empty channel. `fresh_id` draws the request ids of messages that answer no request.
    pub fn new(name: ChannelName, limits: ChannelLimits, fresh_id: fn() -> u128) -> Self {
        let (local, remote, outbound) = (LocalMembers::default(), RemoteMembers::default(), Log::default());
        let (queue, history, shared) = (Queue::default(), None, None);
        Channel { name, local, remote, outbound, queue, history, shared, limits, fresh_id }
    }

    /// The same channel on a node among others: from now on it logs changes and messages for them, for
    /// [`take_outbound`](Self::take_outbound).
    #[must_use]
    pub fn replicated(self) -> Self {
        Channel { outbound: Log::open(), ..self }
    }

    /// Takes what was logged for other nodes since the last call, in order.
    pub fn take_outbound(&mut self) -> Vec<Outbound> {
        self.outbound.take()
    }

    /// The members on this node.
    pub fn local_members(&self) -> &LocalMembers {
        &self.local
    }

    /// The members on other nodes.
    pub fn remote_members(&self) -> impl Iterator<Item = (&UserId, &RemoteMember)> {
        self.remote.iter()
    }

    /// A member on other nodes.
    pub fn remote_member(&self, user: &str) -> Option<&RemoteMember> {
        self.remote.get(user)
    }

    /// The number of members on all nodes.
    pub fn member_count(&self) -> usize {
        // A user of this node and of others is one member.
        let others = self.remote.iter().filter(|(user, _)| self.local.member(user.as_str()).is_none());
        self.local.member_count() + others.count()
    }

    /// Returns `true` if anything waits for delivery.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The number of operations that wait for delivery, and roughly the bytes that one recipient gets of them.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes() + self.queued_lists())
    }

    /// The bytes of presence lists that one recipient gets with the changes that wait.
    fn queued_lists(&self) -> usize {
        let Lists { max_bytes, repeated_bytes, .. } = self.limits.lists;
        let list = self.list_bytes();
        if list > max_bytes || self.queue.presences() == 0 {
            return 0;
        }
        // As `Batch::resolve` does: repetitions up to `repeated_bytes`, or one list with the last change.
        list.saturating_mul(self.queue.presences()).min(repeated_bytes + list)
    }

    /// The size of the presence list in bytes, roughly.
    fn list_bytes(&self) -> usize {
        self.local.presence_bytes() + self.remote.presence_bytes()
    }

    /// Returns `true` over the soft limit: connections that publish into the channel should not be read.
    pub fn is_crowded(&self) -> bool {
        self.exceeds(1)
    }

    /// Returns `true` if the first portion of the queue has presence changes of a large channel: an interval has to pass
    /// between two of these.
    pub fn paces_presence(&self) -> bool {
        self.queue.shows_presence() && self.is_large()
    }

    /// Returns `true` if the channel has more members than those whose list is sent with each change. A user of this
    /// node and of others counts twice.
    fn is_large(&self) -> bool {
        self.local.member_count() + self.remote.len() > self.limits.lists.members
    }

    /// Takes the first portion of the queue. Filtered messages come in batches of their own. Presence messages get the
    /// list of this moment (docs/protocol.md, Presence).
    pub fn take(&mut self) -> Batch<R> {
        // `list_bytes` is an estimate from above: the entry of a user that is on this node and on others is counted
        // twice, and listed once. So only a list whose estimate is far over the limit is not built; the exact size
        // decides in `Batch::resolve`.
        let is_sent = self.list_bytes() / 2 <= self.limits.lists.max_bytes;
        let list = match self.queue.shows_presence() && is_sent {
            true => Some(self.remote.presence_list(&self.local)),
            false => None,
        };
        // The list is built first, from the state of this moment, which is never older than any change in the batch.
        let mut batch = self.queue.take();
        let mut lists = self.limits.lists;
        if self.is_large() {
            lists.repeated_bytes = 0;
        }
        batch.resolve(list.as_deref(), lists, self.name.as_str());
        if let Some(ring) = &mut self.history {
            batch.copy_replays(ring);
        }
        if batch.is_filtered() {
            // Copied under the lock, because outgoing handlers run without it. Only a filtered batch pays for the copy.
            batch.listeners = self.local.listeners();
            self.queue.seat_leavers(&mut batch.listeners);
        }
        batch
    }

    fn seated(&self, slot: Slot, connection: ConnectionId) -> Result<(), NotMember> {
        if self.local.is_seated(slot, connection) { Ok(()) } else { Err(NotMember) }
    }

    fn exceeds(&self, factor: usize) -> bool {
        let ChannelLimits { soft_messages, soft_bytes, .. } = self.limits;
        self.queue.len() >= soft_messages.saturating_mul(factor)
            // `>=`: at the limit the queue counts as full. The message that reaches the limit is still enqueued whole.
            || self.queued().1 >= soft_bytes.saturating_mul(factor).min(MAX_BYTES)
    }
}

/// The id of a member. The ids of members were checked when they connected.
fn member_id(user: &str) -> UserId {
    UserId::new(user).expect("a member's id is valid")
}

#[cfg(test)]
mod tests {
    use super::fixture::*;
    use super::*;
    use crate::channel::{DeliveryPolicy, DropPolicy};
    use crate::wire::{Json, Object};

    #[test]
    fn filtered_messages_are_taken_with_present_and_departed_listeners() {
        let mut channel = channel(ChannelLimits::default());
        let filtered = DeliveryPolicy { filtered: true, ..BROADCAST };
        let slot = join(&mut channel, "a1", vec![Step::Assign("role".into(), Json::encode("host").expect("JSON"))]);
        let other = join(&mut channel, "b1", Vec::new());
        channel.broadcast(&LocalTarget::All, &broadcast_text("plain"), BROADCAST).expect("room");
        channel.broadcast(&LocalTarget::All, &broadcast_text("decided"), filtered).expect("room");
        channel.leave(slot, id("a1"), None).expect("seated");
        channel.remove(&UserId::new("b").expect("valid")).expect("a member");
        assert_eq!(join(&mut channel, "c1", Vec::new()), other, "the seat is taken by another");
        channel.broadcast(&LocalTarget::All, &broadcast_text("again"), filtered).expect("room");
        channel.leave(other, id("c1"), None).expect("seated");
        assert_eq!(join(&mut channel, "d1", Vec::new()), other);

        let mut portions = Vec::new();
        while channel.has_queued() {
            let batch = channel.take();
            let user = |slot: Slot| batch.listener(slot).map(|listener| listener.user.as_str().to_owned());
            let role = batch.listener(slot).and_then(|listener| listener.assigns.get("role"));
            portions.push((batch.is_filtered(), user(slot), user(other), role.is_some()));
        }
        let user = |name: &str| Some(name.to_owned());
        assert_eq!(channel.queued(), (0, 0));
        let plain = || (false, None, None, false);
        let expected = [plain(), (true, user("a"), user("b"), true), plain(), (true, None, user("c"), false), plain()];
        assert_eq!(portions, expected);
    }

    #[test]
    fn the_limits_count_messages_or_bytes_whichever_comes_first() {
        let text = broadcast_text("x");
        for limits in [
            ChannelLimits { soft_messages: 2, soft_bytes: usize::MAX, hard_factor: 2, ..ChannelLimits::default() },
            ChannelLimits {
                soft_messages: usize::MAX,
                soft_bytes: 2 * text.len(),
                hard_factor: 2,
                ..ChannelLimits::default()
            },
        ] {
            let mut channel = channel(limits);
            join(&mut channel, "a1", Vec::new());
            channel.take();
            let outcomes = [(); 5]
                .map(|()| (channel.broadcast(&LocalTarget::All, &text, BROADCAST).is_ok(), channel.is_crowded()));
            assert_eq!(
                outcomes,
                [(true, false), (true, true), (true, true), (true, true), (false, true)],
                "{limits:?}"
            );
            assert_eq!(channel.take().len(), 4, "what was refused is not queued");
            assert!(!channel.is_crowded());
        }
    }

    #[test]
    fn presence_is_paced_from_one_member_more_than_those_of_a_small_channel() {
        let lists = Lists { members: 2, ..Lists::default() };
        let mut channel = channel(ChannelLimits { lists, ..ChannelLimits::default() });
        let shown = || vec![Step::Track(object("{}"))];
        let mut paced = |connection| {
            join(&mut channel, connection, shown());
            let is_paced = channel.paces_presence();
            channel.take();
            (is_paced, channel.paces_presence())
        };
        // Nothing is paced without a change.
        assert_eq!(["a1", "b1", "c1"].map(&mut paced), [(false, false), (false, false), (true, false)]);
    }

    #[test]
    fn filtered_messages_have_a_batch_of_their_own_with_the_listener_of_each_slot() {
        let mut channel = channel(ChannelLimits::default());
        let slot = join(&mut channel, "a1", vec![Step::Track(object(r#"{"mood":1}"#))]);
        let gone = join(&mut channel, "b1", Vec::new());
        channel.leave(gone, id("b1"), None).expect("seated");
        channel.assign("a", "role", Json::encode("host").expect("JSON")).expect("a member");
        let filtered = DeliveryPolicy { filtered: true, ..BROADCAST };
        channel.broadcast(&LocalTarget::All, &broadcast_text("x"), filtered).expect("room");
        channel.reply(slot, id("a1"), &broadcast_text("y"), filtered).expect("seated");
        channel.broadcast(&LocalTarget::All, &broadcast_text("z"), BROADCAST).expect("room");

        let before = channel.take();
        assert!(!before.is_filtered() && before.listener(slot).is_none());
        let batch = channel.take();
        assert!(batch.is_filtered());
        let messages: Vec<_> =
            batch.messages().map(|message| (message.text.to_vec(), message.policy.drop_policy)).collect();
        assert_eq!(messages, [(broadcast_text("x"), filtered.drop_policy), (broadcast_text("y"), DropPolicy::Never)]);
        let listener = batch.listener(slot).expect("seated");
        assert_eq!((listener.connection, listener.user.as_str()), (id("a1"), "a"));
        assert_eq!(listener.assigns.to_json(), r#"{"role":"host"}"#);
        assert_eq!(listener.presence.as_ref().map(Object::as_str), Some(r#"{"mood":1}"#));
        assert!(batch.listener(gone).is_none());
        assert_eq!(channel.take().messages().count(), 1);
        assert!(!channel.has_queued());
    }
}

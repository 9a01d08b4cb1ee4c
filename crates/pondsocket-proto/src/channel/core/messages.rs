//! Messages to members, to one connection, and to other nodes.

use std::sync::Arc;

use super::{Channel, Full, Refused};
use crate::channel::batch::Op;
use crate::channel::outbound::Outbound;
use crate::channel::{Audience, DeliveryPolicy, Seats, Slot, UserMessage};
use crate::id::{ConnectionId, RequestId, UserId};
use crate::model::{self, UserMessageRef};
use crate::position::Position;
use crate::wire::{Action, Object, server};

/// The recipients of a broadcast, as the node that sends it names them.
pub type LocalTarget = model::Target<(Slot, ConnectionId)>;

/// A message that was sent to members, and is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    /// The number of members that it addresses.
    pub members: usize,
    /// Its position. `None` if the store of the cluster is yet to give it: then the message reaches other nodes from there.
    pub position: Option<Position>,
}

/// The sender, between nodes, of messages that the server sends and not a user.
const CHANNEL: &str = "CHANNEL";

impl<R> Channel<R> {
    pub(super) fn publish(
        &mut self,
        from: &UserId,
        to: &LocalTarget,
        event: &str,
        payload: &Object,
        policy: &dyn Fn(&str) -> DeliveryPolicy,
    ) -> usize {
        let policy = policy(event);
        if let Some(Published { members, position }) =
            self.keep(Some(from.as_str()), to, event, payload.as_str(), policy)
        {
            if let Some(position) = position {
                let id = RequestId::from(position);
                self.forward(Some(from.as_str()), to, event, id.as_str(), payload.as_str());
            }
            return members;
        }
        let (audience, members) = self.audience(to);
        let (name, id) = (&self.name, RequestId::from_u128((self.fresh_id)()));
        self.queue.send(audience, policy, |out| {
            server::message(out, Action::Broadcast, event, name.as_str(), id.as_str(), payload.as_str());
        });
        self.forward(Some(from.as_str()), to, event, id.as_str(), payload.as_str());
        members
    }

    /// Logs a message of this node for the other nodes, and returns `true`, if their users may be among the recipients.
    /// `payload` is the text of a JSON object without line breaks.
    pub fn forward(
        &mut self,
        from: Option<&str>,
        to: &LocalTarget,
        event: &str,
        request_id: &str,
        payload: &str,
    ) -> bool {
        if !self.outbound.is_open() {
            return false;
        }
        let Some((from, to)) = self.remote_target(from, to) else { return false };
        let (event, request_id, payload) = (event.to_owned(), request_id.to_owned(), Object::from_valid(payload));
        self.outbound.note(|| Outbound::Message(UserMessage { from, event, payload, request_id, to, position: None }));
        true
    }

    /// The sender and the target of a message as they are sent to other nodes; `None` if no user there is a recipient.
    pub(super) fn remote_target(&self, from: Option<&str>, to: &LocalTarget) -> Option<(Arc<str>, model::Target)> {
        let from = from.unwrap_or(CHANNEL);
        let (from, to) = match to {
            LocalTarget::All => (from, model::Target::All),
            LocalTarget::ExceptUser(user) => (user.as_str(), model::Target::ExceptUser(user.clone())),
            // Other nodes do not know connections: they see the message as from this user, and deliver it to all of
            // their connections.
            LocalTarget::ExceptConnection((slot, connection)) if self.local.is_seated(*slot, *connection) => {
                (self.local.user(*slot)?.as_str(), model::Target::ExceptConnection(()))
            }
            // The connection has left: there is none to leave out.
            LocalTarget::ExceptConnection(_) => (from, model::Target::All),
            LocalTarget::Users(users) => {
                // Users that are on this node, and on no other as far as is known, need no message between nodes. A ghost
                // may have joined on another node just now.
                let is_here = |user: &str| {
                    let is_seated = self.local.member(user).is_some_and(|member| member.seats != Seats::None);
                    is_seated && self.remote.get(user).is_none()
                };
                let others: Vec<_> = users.iter().filter(|user| !is_here(user)).cloned().collect();
                return (!others.is_empty()).then(|| (from.into(), model::Target::Users(others)));
            }
        };
        Some((from.into(), to))
    }

    /// Sends a message of another node to its recipients here. Returns the number of members that it addresses. In a shared history
    /// it takes its place behind what has come from other nodes before.
    ///
    /// # Errors
    /// [`Full`], as for [`broadcast`](Self::broadcast).
    pub fn deliver(&mut self, message: UserMessageRef<'_>, policy: DeliveryPolicy) -> Result<usize, Full> {
        let UserMessageRef { event, request_id, payload, .. } = message;
        let to = match message.to {
            // The excluded connection is on the node of the sender, so it is none of this node's.
            model::Target::All | model::Target::ExceptConnection(()) => LocalTarget::All,
            model::Target::ExceptUser(user) => LocalTarget::ExceptUser(user.clone()),
            model::Target::Users(users) => LocalTarget::Users(users.clone()),
        };
        if self.shared.is_some() {
            if self.exceeds(self.limits.hard_factor) {
                return Err(Full);
            }
            self.deliver_in_order(message, policy);
            return Ok(self.audience(&to).1);
        }
        if let Some(Published { members, .. }) = self.publish_kept(None, &to, event, payload, policy)? {
            return Ok(members);
        }
        let name = self.name.clone();
        let write = |out: &mut Vec<u8>| {
            server::message(out, Action::Broadcast, event, name.as_str(), request_id, payload);
        };
        self.enqueue(&to, policy, write)
    }

    /// Sends one encoded message that is not [kept](Self::keeps). Returns the number of members that it addresses.
    pub fn broadcast(&mut self, to: &LocalTarget, text: &[u8], policy: DeliveryPolicy) -> Result<usize, Full> {
        self.enqueue(to, policy, |out| out.extend_from_slice(text))
    }

    /// Appends one message, whose text `write` produces in the queue itself.
    fn enqueue(
        &mut self,
        to: &LocalTarget,
        policy: DeliveryPolicy,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, Full> {
        // Checked before anything is appended: a refused broadcast leaves no trace.
        if self.exceeds(self.limits.hard_factor) {
            return Err(Full);
        }
        let (audience, members) = self.audience(to);
        // An operation without recipients would still count towards the limits of the queue, and start a delivery.
        if members > 0 {
            self.queue.send(audience, policy, write);
        }
        Ok(members)
    }

    /// Sends an encoded reply to one connection, ahead of messages that wait for their positions if the history lets it
    /// ([`HistoryRules::replies_overtake`](crate::channel::HistoryRules)).
    ///
    /// # Errors
    /// [`Refused::Full`], except for control messages, which clients cannot do without.
    pub fn reply(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        text: &[u8],
        policy: DeliveryPolicy,
    ) -> Result<(), Refused> {
        self.seated(slot, connection)?;
        // Control messages are bounded by the requests that they answer, and the connections of a crowded channel are
        // not read.
        if policy != DeliveryPolicy::CONTROL && self.exceeds(self.limits.hard_factor) {
            return Err(Full.into());
        }
        let append = |channel: &mut Self| {
            channel.queue.send(Audience::Only(Seats::One(slot)), policy.of_reply(), |out| out.extend_from_slice(text));
        };
        let overtakes = self.queue.is_barred()
            && self.lets_replies_overtake()
            && self.ahead_of_barriers(|channel, barriers| {
                // Not the acknowledgement of its join.
                let has_joined = !barriers.joining().contains(&slot);
                if has_joined {
                    append(channel);
                }
                has_joined
            });
        if !overtakes {
            append(self);
        }
        Ok(())
    }

    fn lets_replies_overtake(&self) -> bool {
        self.history.as_ref().is_some_and(|ring| ring.rules().replies_overtake)
    }

    /// Sends one encoded message to a connection that is no member, behind the messages that are queued.
    pub fn send_to_outsider(&mut self, outsider: R, text: &[u8]) {
        self.queue.send(Audience::Outsider(outsider), DeliveryPolicy::CONTROL, |out| out.extend_from_slice(text));
    }

    /// Appends a flush marker for a connection that has left: it is delivered behind all messages queued for the
    /// connection.
    pub fn push_flush_marker(&mut self, to: R) {
        self.queue.push(Op::FlushMarker { to });
    }

    /// The connections that `to` addresses now, and the number of their members.
    pub(super) fn audience(&self, to: &LocalTarget) -> (Audience<R>, usize) {
        let all = self.local.member_count();
        match to {
            LocalTarget::All => (Audience::All, all),
            LocalTarget::ExceptUser(user) => match self.local.member(user) {
                Some(member) => (Audience::Except(member.seats.clone()), all - 1),
                None => (Audience::All, all),
            },
            LocalTarget::ExceptConnection((slot, connection)) => match self.local.is_seated(*slot, *connection) {
                // A user with further connections still receives the message, and so counts.
                true => (Audience::Except(Seats::One(*slot)), all - usize::from(self.is_only_connection(*slot))),
                false => (Audience::All, all),
            },
            LocalTarget::Users(users) => {
                let mut named: Vec<&str> = users.iter().map(String::as_str).collect();
                // A user that is named twice receives the message once.
                named.sort_unstable();
                named.dedup();
                let known: Vec<_> = named.iter().filter_map(|user| self.local.member(user)).collect();
                let seats = known.iter().flat_map(|member| member.seats.as_slice()).copied().collect();
                (Audience::Only(Seats::Many(Box::new(seats))), known.len())
            }
        }
    }

    /// Returns `true` if the connection in `slot` is its user's only one.
    fn is_only_connection(&self, slot: Slot) -> bool {
        self.local.user(slot).is_some_and(|user| {
            self.local.member(user.as_str()).is_some_and(|member| member.seats.as_slice().len() == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::super::*;
    use super::*;
    use crate::channel::{Piece, Plan, Recipients};

    #[test]
    fn a_broadcast_returns_the_number_of_members_that_it_addresses() {
        let mut channel = channel(ChannelLimits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        let alone = join(&mut channel, "b1", Vec::new());
        join(&mut channel, "a2", Vec::new());
        let mut addressed = |to: LocalTarget| channel.broadcast(&to, &broadcast_text("x"), BROADCAST).expect("room");
        assert_eq!(addressed(LocalTarget::All), 2);
        assert_eq!(addressed(LocalTarget::Users(vec!["a".into(), "a".into(), "nobody".into()])), 1);
        assert_eq!(addressed(LocalTarget::Users(Vec::new())), 0);
        assert_eq!(addressed(LocalTarget::ExceptUser("a".into())), 1);
        assert_eq!(addressed(LocalTarget::ExceptUser("nobody".into())), 2);
        assert_eq!(
            addressed(LocalTarget::ExceptConnection((slot, id("a1")))),
            2,
            "the other connection of the user gets it"
        );
        assert_eq!(addressed(LocalTarget::ExceptConnection((alone, id("b1")))), 1);
        assert_eq!(addressed(LocalTarget::ExceptConnection((alone, id("b2")))), 2, "another connection sits there");
    }

    #[test]
    fn a_message_without_members_to_address_is_not_queued() {
        let mut channel = channel(ChannelLimits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        channel.take();
        for to in [
            LocalTarget::ExceptConnection((slot, id("a1"))),
            LocalTarget::ExceptUser("a".into()),
            LocalTarget::Users(vec!["b".into()]),
        ] {
            assert_eq!(channel.broadcast(&to, &broadcast_text("x"), BROADCAST), Ok(0));
        }
        assert!(!channel.has_queued());
    }

    #[test]
    fn a_full_queue_still_takes_errors_and_departures() {
        let mut channel =
            channel(ChannelLimits { soft_messages: 1, soft_bytes: 1, hard_factor: 1, ..ChannelLimits::default() });
        let slot = join(&mut channel, "a1", Vec::new());
        assert_eq!(channel.broadcast(&LocalTarget::All, &broadcast_text("x"), BROADCAST), Err(Full));
        assert_eq!(channel.reply(slot, id("a1"), &broadcast_text("x"), BROADCAST), Err(Refused::Full(Full)));
        assert_eq!(channel.set_presence("a", object("{}")), Err(Refused::Full(Full)));
        assert_eq!(channel.reply(slot, id("a1"), &broadcast_text("x"), DeliveryPolicy::CONTROL), Ok(()));
        assert!(channel.leave(slot, id("a1"), Some("q")).expect("seated").is_some());
    }

    #[test]
    fn a_flush_marker_comes_behind_all_messages_for_a_connection_that_has_left() {
        let mut channel = channel(ChannelLimits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        channel.leave(slot, id("a1"), None).expect("seated");
        channel.push_flush_marker("a1");
        let batch = channel.take();
        let plan = Plan::new(&batch, &mut Recipients::default());
        let last = plan.private.last().expect("the flush marker");
        assert_eq!((last.to, &last.pieces[..]), ("a1", &[Piece::FlushMarker(3)][..]));
    }
}

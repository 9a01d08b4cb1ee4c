//! Connections that join and leave, and the assigns of members.

use std::collections::BTreeMap;

use super::history::Missed;
use super::{Channel, member_id};
use crate::channel::batch::Op;
use crate::channel::outbound::Outbound;
use crate::channel::{
    Assigns, Audience, DeliveryPolicy, Departure, Listener, LocalTarget, Lost, MemberChange, Membership, NotMember,
    Recovery, ResumeRequest, Ring, Seats, Slot,
};
use crate::id::{ConnectionId, RequestId, UserId};
use crate::position::Position;
use crate::wire::server::ResumeOutcome;
use crate::wire::{Action, ClientText, Json, Object, server};

/// One step of the chain that follows an accepted join. The steps are executed in the order in which the handler
/// chained them.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sets one assign of the membership.
    Assign(String, Json),
    /// Tracks the user with this presence.
    Track(Object),
    /// Answers the joining connection, with the join's request id.
    Reply(String, Object),
    /// Sends to members, the new one included.
    Broadcast(LocalTarget, String, Object),
    /// Sends to all but the joining connection.
    BroadcastFrom(String, Object),
    /// Replays the last messages that are kept, or what a client that resumes completely has missed.
    ReplayLast(usize),
    /// Replays the messages behind a position, which is that of a snapshot; without one, all that are kept. A client that has asked
    /// to resume is told that it begins anew. If the position is not kept any more, all that is kept is replayed, and that is a gap.
    ReplayFrom(Option<Position>),
}

/// A connection that joins, with what its handler has decided.
#[derive(Debug)]
pub struct Join<'a, R> {
    /// The connection, as a recipient.
    pub recipient: R,
    /// Its id.
    pub connection: ConnectionId,
    /// Its user.
    pub user: &'a UserId,
    /// The first assigns of the membership.
    pub assigns: Assigns,
    /// The id of the request to join.
    pub request_id: &'a str,
    /// The steps behind the acknowledgement.
    pub chain: Vec<Step>,
    /// The request to resume, if there is one.
    pub resume: Option<ResumeRequest>,
}

impl<'a, R> Join<'a, R> {
    /// A join without assigns, steps and a request to resume.
    pub fn new(recipient: R, connection: ConnectionId, user: &'a UserId, request_id: &'a str) -> Join<'a, R> {
        let (assigns, chain) = (Assigns::default(), Vec::new());
        Join { recipient, connection, user, assigns, request_id, chain, resume: None }
    }
}

/// The result of an accepted join.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The slot of the connection.
    pub slot: Slot,
    /// The membership of its user.
    pub membership: Membership,
    /// `true` if the user became a member with this connection.
    pub first: bool,
    /// `true` if the user was a ghost until now.
    pub returned: bool,
    /// The events that the chain has broadcast, each with the number of members that it addresses.
    pub broadcasts: Vec<(String, usize)>,
    /// The outcome of the client's request to resume. A gap also if it has not asked, and messages are missing behind the position of
    /// [`Step::ReplayFrom`].
    pub recovery: Recovery,
    /// The number of messages that are replayed.
    pub replayed: usize,
    /// The position behind which the connection gets everything; `None` without a history.
    pub owed_from: Option<Position>,
    /// The offset up to which earlier connections of the client were sent messages, if the server knows the position and not the
    /// client; `u64::MAX` if that is not known. For [`Proof::watch`](crate::channel::Proof::watch).
    pub sent_before: u64,
}

/// A user that was removed or evicted, and its connections.
#[derive(Debug)]
pub struct Removal {
    /// The membership that ended.
    pub departure: Departure,
    /// The connections that were seated.
    pub connections: Vec<ConnectionId>,
}

impl<R> Channel<R> {
    /// Seats a connection, acknowledges its join and executes the handler's chain. All this is one change, so that no
    /// messages of other connections can come in between (docs/protocol.md, Joining). `policy` returns the delivery
    /// policy of an event.
    pub fn join(&mut self, join: Join<'_, R>, policy: &dyn Fn(&str) -> DeliveryPolicy) -> Accepted {
        let Join { recipient, connection, user, assigns, request_id, chain, resume } = join;
        let (assigns, chain) = take_leading_assigns(assigns, chain);
        let (known, is_bare) = (self.local.member(user.as_str()).is_some(), assigns.is_empty());
        let returned = self.local.is_ghost(user.as_str());
        let (slot, membership) = self.local.join(connection, user, assigns);
        // The acknowledgement is the first message that the connection receives of the channel: clients drop messages
        // of a channel before it. Messages that are already queued precede the join and are not for this connection.
        self.queue.push(Op::Join { slot, recipient });
        let mut replay = JoinReplay::new(self, (slot, user), resume, &chain);
        self.acknowledge(slot, request_id, resume.filter(|request| request.sent.is_none()).map(|_| &replay));
        // Other nodes receive the join with its assigns, or, of a further connection, only the assigns, if it brings
        // any.
        if !known {
            let assigns = self.assigns_of(user.as_str());
            self.outbound.note(|| Outbound::Change(MemberChange::Joined { user: user.clone(), assigns }));
        } else if !is_bare {
            self.note_assigns(user, None);
        }
        // A further connection of a tracked user gets the list once: where the chain first tracks the user, or else
        // before the chain.
        let shown = self.local.member(user.as_str()).is_some_and(|member| member.presence.is_some());
        let track = chain.iter().position(|step| matches!(step, Step::Track(_)));
        if shown && track.is_none() {
            self.show_list(slot, user);
        }
        if !chain.iter().any(Step::is_replay) {
            replay.queue(self, slot, user);
        }
        let mut broadcasts = Vec::new();
        for (at, step) in chain.into_iter().enumerate() {
            // Positions ascend on each connection, because clients take a lower one for a repeat. So the replay precedes
            // messages that the chain sends itself.
            if step.is_replay() || matches!(step, Step::Broadcast(..) | Step::BroadcastFrom(..)) {
                replay.queue(self, slot, user);
            }
            broadcasts.extend(self.step((slot, connection), user, request_id, step, policy));
            if shown && track == Some(at) {
                self.show_list(slot, user);
            }
        }
        // A batch with the join and its replay reaches at least this position.
        if let Some(position) = replay.position {
            self.queue.reach(self.history().map_or(position, Ring::position));
        }
        let owed_from = replay.owed_from();
        if let (Some(from), Some(ring)) = (owed_from, &mut self.history) {
            ring.note_accepted(user, from);
        }
        let JoinReplay { position, recovery, replayed, .. } = replay;
        let sent_before = resume.zip(position).map_or(0, |(request, here)| request.sent_before(here));
        Accepted { slot, membership, first: !known, returned, broadcasts, recovery, replayed, owed_from, sent_before }
    }

    /// Executes one step. For a broadcast it returns the event and the number of members that the broadcast addresses.
    fn step(
        &mut self,
        (slot, me): (Slot, ConnectionId),
        user: &UserId,
        request_id: &str,
        step: Step,
        policy: &dyn Fn(&str) -> DeliveryPolicy,
    ) -> Option<(String, usize)> {
        match step {
            // The connection was seated in this same step, so its user is a member, and neither can fail.
            Step::Assign(key, value) => drop(self.assign(user.as_str(), &key, value)),
            Step::Track(presence) => drop(self.show_own(user.as_str(), presence)),
            // The limits of the queue are not checked for a chain: joins are never refused for them. Their number is
            // bounded by that of the connections, which are not read while the channel is crowded.
            Step::Reply(event, payload) => {
                let (name, policy) = (&self.name, policy(&event).of_reply());
                self.queue.send(Audience::Only(Seats::One(slot)), policy, |out| {
                    server::message(out, Action::System, &event, name.as_str(), request_id, payload.as_str());
                });
            }
            Step::Broadcast(to, event, payload) => {
                let members = self.publish(user, &to, &event, &payload, policy);
                return Some((event, members));
            }
            Step::BroadcastFrom(event, payload) => {
                let members = self.publish(user, &LocalTarget::ExceptConnection((slot, me)), &event, &payload, policy);
                return Some((event, members));
            }
            // `join` executes these itself.
            Step::ReplayLast(_) | Step::ReplayFrom(_) => {}
        }
        None
    }

    /// Acknowledges a further join of a connection that is in the channel.
    pub fn rejoin(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        request_id: &ClientText<'_>,
    ) -> Result<(), NotMember> {
        self.seated(slot, connection)?;
        let (name, to) = (&self.name, Audience::Only(Seats::One(slot)));
        self.queue.send(to, DeliveryPolicy::CONTROL, |out| server::acknowledge_again(out, name.as_str(), request_id));
        Ok(())
    }

    /// Removes one connection, after the acknowledgement if it asked to leave. Returns the departure of the user if
    /// this was its last connection.
    pub fn leave(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        request_id: Option<&str>,
    ) -> Result<Option<Departure>, NotMember> {
        // Read before the member is removed: an outgoing handler may still have to decide about messages to it.
        let last = self.last_listener(slot);
        let departure = self.local.leave(slot, connection)?;
        if let Some(id) = request_id {
            let name = &self.name;
            let to = Audience::Only(Seats::One(slot));
            self.queue.send(to, DeliveryPolicy::CONTROL, |out| server::exit_acknowledge(out, name.as_str(), id));
        }
        // Behind the acknowledgement, which so is the last message that the connection receives. Presence, behind the
        // leave, goes to the others only.
        self.queue.push(Op::Leave { slot, last });
        self.linger();
        if let Some(gone) = &departure {
            self.announce_leave(gone);
        }
        Ok(departure)
    }

    /// Removes a connection that may come back. If this was its user's last one, the user stays as a ghost until `until`, a
    /// time of the caller's clock in milliseconds, without a message to anybody; `None` ends the membership at once.
    pub fn lose(&mut self, slot: Slot, connection: ConnectionId, until: Option<u64>) -> Result<Lost, NotMember> {
        let Some(until) = until else {
            let left = self.leave(slot, connection, None)?;
            return Ok(left.map_or(Lost::Seated, Lost::Left));
        };
        // As in `leave`: read before the slot is vacated.
        let last = self.last_listener(slot);
        let user = self.local.user(slot).ok_or(NotMember)?;
        let elsewhere = self.remote.get(user.as_str()).map(|shown| shown.joined);
        let lost = self.local.lose(slot, connection, (until, elsewhere))?;
        self.queue.push(Op::Leave { slot, last });
        self.linger();
        Ok(lost)
    }

    /// Ends the grace of a ghost: it leaves. `None` if the user is no ghost.
    pub fn end_ghost(&mut self, user: &UserId) -> Option<Departure> {
        if !self.local.is_ghost(user.as_str()) {
            return None;
        }
        let departure = self.local.remove(user)?;
        self.announce_leave(&departure);
        Some(departure)
    }

    /// Ends the grace of the ghosts that have not come back by `now`, of at most `most` of them. They leave.
    pub fn expire_ghosts(&mut self, now: u64, most: usize) -> Vec<Departure> {
        let mut gone = Vec::new();
        while gone.len() < most
            && let Some(user) = self.local.first_due_ghost(now).cloned()
        {
            gone.extend(self.end_ghost(&user));
        }
        gone
    }

    /// Ends the grace of at most `most` ghosts, because the server shuts down. Other nodes are not told: they show these
    /// users for the rest of their own grace, until this node has gone.
    pub fn abandon_ghosts(&mut self, most: usize) -> Vec<Departure> {
        let mut gone = Vec::new();
        while gone.len() < most
            && let Some(user) = self.local.first_due_ghost(u64::MAX).cloned()
            && let Some(departure) = self.local.remove(&user)
        {
            self.announce_end(&departure);
            gone.push(departure);
        }
        gone
    }

    /// Removes a user with all its connections, without a message to them.
    pub fn remove(&mut self, user: &UserId) -> Result<Removal, NotMember> {
        let removal = self.remove_member(user, |_, _| {})?;
        self.announce_leave(&removal.departure);
        Ok(removal)
    }

    /// Evicts a user. The eviction is sent to its connections, as their last messages of this channel, and then to the
    /// other members (docs/protocol.md, Eviction).
    pub fn evict(&mut self, user: &UserId, reason: &str) -> Result<Removal, NotMember> {
        let removal = self.remove_member(user, |channel, seats| {
            let name = &channel.name;
            // Most clients pass the first name to the application; one closes its channel upon the second
            // (docs/protocol.md, Eviction).
            for event in ["evicted", "EVICTED"] {
                let id = RequestId::from_u128((channel.fresh_id)());
                channel.queue.send(Audience::Only(seats.clone()), DeliveryPolicy::CONTROL, |out| {
                    server::evicted(out, event, name.as_str(), id.as_str(), user.as_str(), reason);
                });
            }
        })?;
        // To all: the evicted user's `Leave` operations precede this message, so that user does not receive it.
        let (name, id) = (&self.name, RequestId::from_u128((self.fresh_id)()));
        let event = "user_evicted";
        self.queue.send(Audience::All, DeliveryPolicy::CONTROL, |out| {
            server::evicted(out, event, name.as_str(), id.as_str(), user.as_str(), reason);
        });
        let payload = Object::encode(&BTreeMap::from([("reason", reason), ("userId", user.as_str())]));
        self.forward(None, &LocalTarget::All, event, id.as_str(), payload.expect("texts are JSON").as_str());
        self.announce_leave(&removal.departure);
        Ok(removal)
    }

    fn remove_member(&mut self, user: &UserId, notify: impl FnOnce(&mut Self, &Seats)) -> Result<Removal, NotMember> {
        let seats = self.local.member(user.as_str()).ok_or(NotMember)?.seats.clone();
        // Before the seats are vacated: the messages must precede the leave in the queue.
        notify(self, &seats);
        let connections = seats.as_slice().iter().filter_map(|slot| self.local.connection(*slot)).collect();
        // As in `leave`: read before the member is removed.
        let last: Vec<_> = seats.as_slice().iter().map(|slot| self.last_listener(*slot)).collect();
        let departure = self.local.remove(user).ok_or(NotMember)?;
        self.note_removed(user);
        for (slot, last) in seats.as_slice().iter().zip(last) {
            self.queue.push(Op::Leave { slot: *slot, last });
        }
        self.linger();
        Ok(Removal { departure, connections })
    }

    /// The member in `slot`, which is about to leave, if an outgoing handler may have to decide about messages to it: queued
    /// ones, or messages that are yet to come ahead of a barrier, behind which it leaves.
    fn last_listener(&self, slot: Slot) -> Option<Box<Listener>> {
        let may_decide = self.queue.is_filtered() || self.queue.is_barred();
        may_decide.then(|| self.local.listener(slot).map(Box::new)).flatten()
    }

    /// Acknowledges a join. A client that has asked to resume is told the outcome, if the channel keeps a history.
    fn acknowledge(&mut self, slot: Slot, request_id: &str, replay: Option<&JoinReplay>) {
        let name = &self.name;
        let to = Audience::Only(Seats::One(slot));
        let outcome = replay.and_then(|replay| Some((replay.position?, replay.outcome())));
        self.queue.send(to, DeliveryPolicy::CONTROL, |out| match outcome {
            None => server::acknowledge(out, name.as_str(), request_id),
            Some((position, outcome)) => {
                server::acknowledge_resume(out, name.as_str(), request_id, position, outcome);
            }
        });
    }

    /// Sets one assign of a member.
    pub fn assign(&mut self, user: &str, key: &str, value: Json) -> Result<(), NotMember> {
        self.local.member_mut(user).ok_or(NotMember)?.assigns.set(key, &value);
        self.note_assigns(&member_id(user), Some(key));
        Ok(())
    }

    /// Overwrites the assigns of a member, key by key.
    pub fn merge_assigns(&mut self, user: &str, assigns: Assigns) -> Result<(), NotMember> {
        self.local.member_mut(user).ok_or(NotMember)?.assigns.merge(assigns);
        self.note_assigns(&member_id(user), None);
        Ok(())
    }

    fn note_assigns(&mut self, user: &UserId, key: Option<&str>) {
        // A single node skips the copy of the assigns.
        if self.outbound.is_open() {
            let (assigns, key) = (self.assigns_of(user.as_str()), key.map(str::to_owned));
            self.outbound.note(|| Outbound::Change(MemberChange::Assigns { user: user.clone(), assigns, key }));
        }
    }

    /// A copy of the assigns of a member.
    fn assigns_of(&self, user: &str) -> Assigns {
        self.local.member(user).map(|member| member.assigns.clone()).unwrap_or_default()
    }
}

impl Step {
    fn is_replay(&self) -> bool {
        matches!(self, Step::ReplayLast(_) | Step::ReplayFrom(_))
    }
}

/// The replay of a join. It ends at the last message before the join: later ones reach the connection as they are sent.
struct JoinReplay {
    /// The position of the last message before the join; `None` without a history.
    position: Option<Position>,
    recovery: Recovery,
    /// The offset behind which messages are replayed; `None` if none are.
    after: Option<u64>,
    /// The number of messages that are replayed.
    replayed: usize,
    is_queued: bool,
}

impl JoinReplay {
    /// The replay that the first such step of a chain asks for: a second one would repeat messages. Without such a step it
    /// is what a client that resumes completely has missed.
    fn new<R>(
        channel: &Channel<R>,
        (slot, user): (Slot, &UserId),
        resume: Option<ResumeRequest>,
        chain: &[Step],
    ) -> JoinReplay {
        let missed = channel.missed(user, resume);
        let recovery = Missed::recovery(missed);
        let Some(ring) = channel.history().filter(|_| !channel.is_loading()) else {
            return JoinReplay { position: None, recovery, after: None, replayed: 0, is_queued: false };
        };
        let position = ring.position();
        let missed = missed.and_then(Result::ok).map(|missed| missed.offset);
        let (after, recovery) = match chain.iter().find(|step| step.is_replay()) {
            Some(Step::ReplayLast(messages)) => {
                (missed.or_else(|| Some(ring.before_last(*messages, position.offset))), recovery)
            }
            Some(Step::ReplayFrom(from)) => match from.map_or(Ok(0), |from| ring.resume(from)) {
                Ok(after) => (Some(after), recovery.replaced()),
                Err(reason) => (Some(0), Recovery::Gap(reason)),
            },
            _ => (missed, recovery),
        };
        let replayed = |after| channel.replayed(user, slot, &(after + 1..position.offset + 1)).count();
        let replayed = after.map_or(0, replayed);
        JoinReplay { position: Some(position), recovery, after, replayed, is_queued: false }
    }

    /// Queues the replay, once.
    fn queue<R>(&mut self, channel: &mut Channel<R>, slot: Slot, user: &UserId) {
        if let (Some(after), Some(position), false) = (self.after, self.position, self.is_queued) {
            channel.replay(slot, user, after + 1..position.offset + 1);
        }
        if let (Some(position), false) = (self.position, self.is_queued) {
            channel.replay_pending(slot, user, position);
        }
        self.is_queued = true;
    }

    /// The outcome of the request to resume, for the client.
    fn outcome(&self) -> ResumeOutcome {
        let replayed = self.replayed;
        match self.recovery {
            Recovery::New => ResumeOutcome::Nothing { replayed },
            Recovery::Resumed { missed, .. } => ResumeOutcome::Recovered { missed },
            Recovery::Gap(reason) => ResumeOutcome::Gap { reason: reason.as_str(), replayed },
        }
    }

    fn owed_from(&self) -> Option<Position> {
        let position = self.position?;
        Some(Position { offset: self.after.unwrap_or(position.offset), ..position })
    }
}

/// Moves the assigns at the start of a chain into those of the join, so that other nodes receive them in the same
/// message as the join. Members cannot observe the difference, because the whole chain is one step.
fn take_leading_assigns(mut assigns: Assigns, chain: Vec<Step>) -> (Assigns, Vec<Step>) {
    let mut steps = chain.into_iter().peekable();
    while let Some(Step::Assign(key, value)) = steps.next_if(|step| matches!(step, Step::Assign(..))) {
        assigns.set(&key, &value);
    }
    (assigns, steps.collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::super::*;
    use super::*;
    use crate::channel::Recipients;

    #[test]
    fn a_chain_follows_its_acknowledgement_in_its_own_order() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        let chain = vec![
            Step::Reply("first".into(), object("{}")),
            Step::Track(object("{}")),
            Step::Assign("role".into(), Json::encode("host").expect("JSON")),
            Step::Broadcast(LocalTarget::All, "last".into(), object("{}")),
            Step::BroadcastFrom("others".into(), object("{}")),
        ];
        join(&mut channel, "b1", Vec::new());
        join(&mut channel, "a1", chain);
        let expected =
            ["a1 ACKNOWLEDGE", "a1 first", "a1 JOIN [{}]", "a1 last", "b1 ACKNOWLEDGE", "b1 last", "b1 others"];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
        let member = channel.local_members().member("a").expect("a member");
        assert_eq!(member.assigns.get("role"), Json::encode("host").ok());
    }

    #[test]
    fn only_the_first_connection_of_a_user_makes_a_member() {
        let mut channel = channel(ChannelLimits::default());
        let user = UserId::new("a").expect("valid");
        let first = |channel: &mut Channel<_>, connection| {
            channel.join(joining(connection, &user, Vec::new()), &|_| BROADCAST).first
        };
        assert!(first(&mut channel, "a1"));
        assert!(!first(&mut channel, "a2"));
        assert_eq!((channel.local_members().member_count(), channel.local_members().connection_count()), (1, 2));
    }

    #[test]
    fn one_of_several_connections_leaves_without_messages_to_the_others() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        let slot = join(&mut channel, "a1", vec![Step::Track(object("{}"))]);
        let other = join(&mut channel, "a2", Vec::new());
        join(&mut channel, "b1", vec![Step::Track(object("{}"))]);
        deliver(&mut channel, &mut recipients);
        assert!(channel.leave(slot, id("a1"), Some("q")).expect("seated").is_none());
        assert_eq!(deliver(&mut channel, &mut recipients), ["a1 EXIT_ACKNOWLEDGE"]);
        assert!(channel.leave(other, id("a2"), None).expect("seated").is_some());
        assert_eq!(deliver(&mut channel, &mut recipients), ["b1 LEAVE [{}]"]);
    }

    #[test]
    fn joining_again_is_acknowledged_again() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        let slot = join(&mut channel, "a1", vec![Step::Track(object("{}"))]);
        deliver(&mut channel, &mut recipients);
        assert_eq!(channel.rejoin(slot, id("a1"), &"again".into()), Ok(()));
        assert_eq!(deliver(&mut channel, &mut recipients), ["a1 ACKNOWLEDGE"]);
        assert_eq!(channel.rejoin(slot, id("a2"), &"again".into()), Err(NotMember));
    }

    #[test]
    fn an_evicted_user_gets_the_eviction_on_all_connections_and_then_nothing() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        for connection in ["a1", "a2", "b1"] {
            join(&mut channel, connection, Vec::new());
        }
        deliver(&mut channel, &mut recipients);
        let removal = channel.evict(&UserId::new("a").expect("valid"), "spam").expect("a member");
        assert_eq!(removal.connections, [id("a1"), id("a2")]);
        assert_eq!(channel.broadcast(&LocalTarget::All, &broadcast_text("after"), BROADCAST), Ok(1));
        let expected = ["a1 evicted", "a1 EVICTED", "a2 evicted", "a2 EVICTED", "b1 user_evicted", "b1 after"];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
    }

    #[test]
    fn only_members_have_assigns_and_presence() {
        let mut channel = channel(ChannelLimits::default());
        join(&mut channel, "a1", Vec::new());
        let value = || Json::encode(&1).expect("JSON");
        assert_eq!(channel.assign("a", "n", value()), Ok(()));
        assert_eq!(channel.local_members().member("a").and_then(|member| member.assigns.get("n")), Some(value()));
        assert_eq!(channel.assign("b", "n", value()), Err(NotMember));
        assert_eq!(channel.set_presence("b", object("{}")), Err(Refused::NotMember(NotMember)));
        assert_eq!((channel.untrack("b"), channel.untrack("a")), (Err(NotMember), Ok(false)));
        assert_eq!((channel.set_presence("a", object("{}")), channel.untrack("a")), (Ok(()), Ok(true)));
    }
}

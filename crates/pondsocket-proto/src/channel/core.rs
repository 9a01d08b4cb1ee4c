use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{Change, Lists, Op};
use super::outbound::{Log, Outbound};
use super::queue::Queue;
use super::remote_members::RemoteMembers;
use super::state::{Departure, Membership, NotMember, Seats, Slot, State};
use super::{Assigns, Audience, Batch, Listener, MemberChange, RemoteChange, RemoteMember, Treatment, UserMessage};
use crate::id::{ChannelName, ConnectionId, RequestId, UserId};
use crate::model;
use crate::wire::{Action, ClientText, Json, Object, PresenceKind, server};

/// One step of what follows an accepted join, in the order in which the handler chained them.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sets one assign of the membership.
    Assign(String, Json),
    /// Shows the user to the other tracked users.
    Track(Object),
    /// Answers the joining connection, with the join's request id.
    Reply(String, Object),
    /// Sends to members, the new one included.
    Broadcast(Target, String, Object),
    /// Sends to all but the joining connection.
    BroadcastFrom(String, Object),
}

/// The recipients of a broadcast, as the node that sends it names them.
pub type Target = model::Target<(Slot, ConnectionId)>;

/// Whom messages are from that no user has sent.
const CHANNEL: &str = "CHANNEL";

/// The bytes at which a broadcast is refused however high the limits are: offsets within a batch have 32 bits, and
/// answers come on top.
const MOST_BYTES: usize = 1 << 31;

/// How much may wait for delivery, and how much may be shown. Over the soft limit the readers of those who publish should
/// pause; over the hard limit broadcasts, replies and changes of presence are refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages at which readers pause.
    pub soft_messages: usize,
    /// Bytes at which readers pause.
    pub soft_bytes: usize,
    /// How many times the soft limit is the hard one.
    pub hard_factor: usize,
    /// The most bytes of JSON in the presence of all members here together.
    pub presence_bytes: usize,
    /// The limits of presence lists.
    pub lists: Lists,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
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

/// Why something was not done. Nothing has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The user or connection is not a member.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The hard limit of the queue is reached.
    #[error(transparent)]
    Full(#[from] Full),
    /// All members together would show more of themselves than they may.
    #[error("the members would show more of themselves than they may")]
    PresenceLimit,
}

/// What became of a joining connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Where it sits.
    pub slot: Slot,
    /// The membership of its user.
    pub membership: Membership,
    /// Whether its user became a member with it.
    pub first: bool,
    /// The events that the chain has broadcast, and how many members each addresses.
    pub broadcasts: Vec<(String, usize)>,
}

/// A user that was taken out, and its connections.
#[derive(Debug)]
pub struct Removal {
    /// The membership that ended.
    pub departure: Departure,
    /// The connections that were seated.
    pub connections: Vec<ConnectionId>,
}

/// A channel: its state, and the queue of what its members are to be told.
///
/// `R` is a recipient, whatever the server delivers to.
#[derive(Debug)]
pub struct Channel<R> {
    name: ChannelName,
    state: State,
    remote: RemoteMembers,
    outbound: Log,
    queue: Queue<R>,
    limits: Limits,
    fresh_id: fn() -> u128,
}

impl<R> Channel<R> {
    /// An empty channel. `fresh_id` draws the request ids of messages that answer nobody.
    pub fn new(name: ChannelName, limits: Limits, fresh_id: fn() -> u128) -> Self {
        let (state, remote, outbound) = (State::default(), RemoteMembers::default(), Log::default());
        Channel { name, state, remote, outbound, queue: Queue::default(), limits, fresh_id }
    }

    /// The same, of a node among others: from now on [`take_outbound`](Self::take_outbound) gives what they have to hear.
    #[must_use]
    pub fn replicated(self) -> Self {
        Channel { outbound: Log::open(), ..self }
    }

    /// What other nodes have to hear since the last time, in order.
    pub fn take_outbound(&mut self) -> Vec<Outbound> {
        self.outbound.take()
    }

    /// Who is in it, of the users here.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The members on other nodes.
    pub fn remote_members(&self) -> impl Iterator<Item = (&UserId, &RemoteMember)> {
        self.remote.iter()
    }

    /// A member on other nodes.
    pub fn remote_member(&self, user: &str) -> Option<&RemoteMember> {
        self.remote.get(user)
    }

    /// How many users are in it, here and on other nodes.
    pub fn member_count(&self) -> usize {
        let others = self.remote.iter().filter(|(user, _)| self.state.member(user.as_str()).is_none());
        self.state.member_count() + others.count()
    }

    /// What a user of any node shows of itself.
    pub fn presence(&self, user: &str) -> Option<&Object> {
        let own = self.state.member(user).and_then(|member| member.presence.as_ref());
        self.remote.presence(user, own)
    }

    /// Changes the members on other nodes. Members here are told of what that changes in the presence they see.
    pub fn apply_remote(&mut self, changes: Vec<RemoteChange>) {
        for change in changes {
            let (RemoteChange::Shown(user, _) | RemoteChange::Gone(user)) = &change;
            let (user, before) = (user.clone(), self.presence(user.as_str()).cloned());
            self.remote.apply(change);
            self.announce_change(&user, before);
        }
    }

    /// Whether anything waits for delivery.
    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The number of operations that wait for delivery, and roughly the bytes that one receiver gets of them.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes() + self.queued_lists())
    }

    /// The bytes of presence lists that one receiver gets with the changes that wait.
    fn queued_lists(&self) -> usize {
        let Lists { max_bytes, repeated_bytes } = self.limits.lists;
        let list = self.list_bytes();
        if list > max_bytes || self.queue.presences() == 0 {
            return 0;
        }
        list.saturating_mul(self.queue.presences()).min(repeated_bytes + list)
    }

    /// The size of the presence list in bytes, roughly.
    fn list_bytes(&self) -> usize {
        self.state.presence_bytes() + self.remote.presence_bytes()
    }

    /// Whether those who publish into the channel should pause.
    pub fn is_crowded(&self) -> bool {
        self.exceeds(1)
    }

    /// Takes a portion of what waits. What an outgoing handler decides about is taken apart from the rest. Presence frames
    /// get the list as of now (docs/protocol.md, Presence).
    pub fn take(&mut self) -> Batch<R> {
        // A user that is here and elsewhere is counted twice, and listed once.
        let is_told = self.list_bytes() / 2 <= self.limits.lists.max_bytes;
        let list = match self.queue.shows_presence() && is_told {
            true => Some(self.remote.presence_list(&self.state)),
            false => None,
        };
        let mut batch = self.queue.take();
        batch.resolve(list.as_deref(), self.limits.lists, self.name.as_str());
        if batch.is_filtered() {
            batch.listeners = self.state.listeners();
            self.queue.seat_leavers(&mut batch.listeners);
        }
        batch
    }

    /// Seats a connection, acknowledges its join and carries out the handler's chain, all in one go: nothing
    /// that others do can come between (docs/protocol.md, Joining). `treatment` says how an event is handled.
    #[expect(clippy::too_many_arguments, reason = "a join is one step, and needs all of it")]
    pub fn join(
        &mut self,
        recipient: R,
        connection: ConnectionId,
        user: &UserId,
        assigns: Assigns,
        request_id: &str,
        chain: Vec<Step>,
        treatment: &dyn Fn(&str) -> Treatment,
    ) -> Accepted {
        let (assigns, chain) = take_leading_assigns(assigns, chain);
        let (known, is_bare) = (self.state.member(user.as_str()).is_some(), assigns.is_empty());
        let (slot, membership) = self.state.join(connection, user, assigns);
        self.queue.push(Op::Join { slot, recipient });
        self.acknowledge(slot, request_id);
        if !known {
            let assigns = self.assigns_of(user.as_str());
            self.outbound.note(|| Outbound::Change(MemberChange::Joined { user: user.clone(), assigns }));
        } else if !is_bare {
            self.note_assigns(user, None);
        }
        let shown = self.state.member(user.as_str()).is_some_and(|member| member.presence.is_some());
        let track = chain.iter().position(|step| matches!(step, Step::Track(_)));
        if shown && track.is_none() {
            self.show_list(slot, user);
        }
        let mut broadcasts = Vec::new();
        for (at, step) in chain.into_iter().enumerate() {
            broadcasts.extend(self.step((slot, connection), user, request_id, step, treatment));
            if shown && track == Some(at) {
                self.show_list(slot, user);
            }
        }
        Accepted { slot, membership, first: !known, broadcasts }
    }

    /// A broadcast is answered by its event, and how many members it addresses.
    fn step(
        &mut self,
        (slot, me): (Slot, ConnectionId),
        user: &UserId,
        request_id: &str,
        step: Step,
        treatment: &dyn Fn(&str) -> Treatment,
    ) -> Option<(String, usize)> {
        match step {
            // The user is a member since a moment ago: neither can fail.
            Step::Assign(key, value) => drop(self.assign(user.as_str(), &key, value)),
            Step::Track(presence) => drop(self.show_own(user.as_str(), presence)),
            Step::Reply(event, payload) => {
                let (name, treatment) = (&self.name, treatment(&event).of_reply());
                self.queue.send(Audience::Only(Seats::One(slot)), treatment, |out| {
                    server::message(out, Action::System, &event, name.as_str(), request_id, payload.as_str());
                });
            }
            Step::Broadcast(to, event, payload) => {
                let members = self.publish(user, &to, &event, &payload, treatment);
                return Some((event, members));
            }
            Step::BroadcastFrom(event, payload) => {
                let members = self.publish(user, &Target::ExceptConnection((slot, me)), &event, &payload, treatment);
                return Some((event, members));
            }
        }
        None
    }

    fn publish(
        &mut self,
        from: &UserId,
        to: &Target,
        event: &str,
        payload: &Object,
        treatment: &dyn Fn(&str) -> Treatment,
    ) -> usize {
        let (audience, members) = self.audience(to);
        let (name, id) = (&self.name, RequestId::from_u128((self.fresh_id)()));
        self.queue.send(audience, treatment(event), |out| {
            server::message(out, Action::Broadcast, event, name.as_str(), id.as_str(), payload.as_str());
        });
        self.forward(Some(from.as_str()), to, event, id.as_str(), payload.as_str());
        members
    }

    /// Has other nodes told of a message that was sent here, if it may concern their users. Answers whether it may.
    /// `payload` is the text of a JSON object without line breaks.
    pub fn forward(&mut self, from: Option<&str>, to: &Target, event: &str, request_id: &str, payload: &str) -> bool {
        if !self.outbound.is_open() {
            return false;
        }
        let Some((from, to)) = self.remote_target(from, to) else { return false };
        let (event, request_id, payload) = (event.to_owned(), request_id.to_owned(), Object::from_valid(payload));
        self.outbound.note(|| Outbound::Message(UserMessage { from, event, payload, request_id, to }));
        true
    }

    /// The sender and the target of a message as other nodes are told of them; `None` if it concerns nobody there.
    fn remote_target(&self, from: Option<&str>, to: &Target) -> Option<(Arc<str>, model::Target)> {
        let from = from.unwrap_or(CHANNEL);
        let (from, to) = match to {
            Target::All => (from, model::Target::All),
            Target::ExceptUser(user) => (user.as_str(), model::Target::ExceptUser(user.clone())),
            Target::ExceptConnection((slot, connection)) if self.state.is_seated(*slot, *connection) => {
                (self.state.user(*slot)?.as_str(), model::Target::ExceptConnection(()))
            }
            Target::ExceptConnection(_) => (from, model::Target::All),
            Target::Users(users) => {
                // Whoever is here, and nowhere else as far as is known, needs no other node.
                let is_here = |user: &str| self.state.member(user).is_some() && self.remote.get(user).is_none();
                let others: Vec<_> = users.iter().filter(|user| !is_here(user)).cloned().collect();
                return (!others.is_empty()).then(|| (from.into(), model::Target::Users(others)));
            }
        };
        Some((from.into(), to))
    }

    /// Sends a message of another node to the users here whom it is for. Answers how many members that are.
    ///
    /// # Errors
    /// [`Full`], as for [`broadcast`](Self::broadcast).
    pub fn deliver(&mut self, message: &UserMessage, treatment: Treatment) -> Result<usize, Full> {
        let to = match &message.to {
            // The connection that is left out is on the node of the sender.
            model::Target::All | model::Target::ExceptConnection(()) => Target::All,
            model::Target::ExceptUser(user) => Target::ExceptUser(user.clone()),
            model::Target::Users(users) => Target::Users(users.clone()),
        };
        let UserMessage { event, request_id, payload, .. } = message;
        let mut text = Vec::with_capacity(256 + payload.as_str().len());
        server::message(&mut text, Action::Broadcast, event, self.name.as_str(), request_id, payload.as_str());
        self.broadcast(&to, &text, treatment)
    }

    /// Acknowledges once more the join of a connection that is in.
    pub fn rejoin(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        request_id: &ClientText<'_>,
    ) -> Result<(), NotMember> {
        self.seated(slot, connection)?;
        let (name, to) = (&self.name, Audience::Only(Seats::One(slot)));
        self.queue.send(to, Treatment::CONTROL, |out| server::acknowledge_again(out, name.as_str(), request_id));
        Ok(())
    }

    /// Takes one connection out, after its acknowledgement if it asked to leave. The departure is there if it was
    /// the user's last connection.
    pub fn leave(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        request_id: Option<&str>,
    ) -> Result<Option<Departure>, NotMember> {
        let last = self.last_listener(slot);
        let departure = self.state.leave(slot, connection)?;
        if let Some(id) = request_id {
            let name = &self.name;
            let to = Audience::Only(Seats::One(slot));
            self.queue.send(to, Treatment::CONTROL, |out| server::exit_acknowledge(out, name.as_str(), id));
        }
        self.queue.push(Op::Leave { slot, last });
        if let Some(gone) = &departure {
            self.announce_leave(gone);
        }
        Ok(departure)
    }

    /// Takes a user out with all its connections, without a word to them.
    pub fn remove(&mut self, user: &UserId) -> Result<Removal, NotMember> {
        let removal = self.take_out(user, |_, _| {})?;
        self.announce_leave(&removal.departure);
        Ok(removal)
    }

    /// Takes a user out: it is told first, with the last frames it gets of this channel, then the others are
    /// (docs/protocol.md, Eviction).
    pub fn evict(&mut self, user: &UserId, reason: &str) -> Result<Removal, NotMember> {
        let removal = self.take_out(user, |channel, seats| {
            let name = &channel.name;
            for event in ["evicted", "EVICTED"] {
                let id = RequestId::from_u128((channel.fresh_id)());
                channel.queue.send(Audience::Only(seats.clone()), Treatment::CONTROL, |out| {
                    server::evicted(out, event, name.as_str(), id.as_str(), user.as_str(), reason);
                });
            }
        })?;
        let (name, id) = (&self.name, RequestId::from_u128((self.fresh_id)()));
        let event = "user_evicted";
        self.queue.send(Audience::All, Treatment::CONTROL, |out| {
            server::evicted(out, event, name.as_str(), id.as_str(), user.as_str(), reason);
        });
        let payload = Object::encode(&BTreeMap::from([("reason", reason), ("userId", user.as_str())]));
        self.forward(None, &Target::All, event, id.as_str(), payload.expect("texts are JSON").as_str());
        self.announce_leave(&removal.departure);
        Ok(removal)
    }

    /// Sends one encoded message. Answers how many members it addresses.
    pub fn broadcast(&mut self, to: &Target, text: &[u8], treatment: Treatment) -> Result<usize, Full> {
        if self.exceeds(self.limits.hard_factor) {
            return Err(Full);
        }
        let (audience, members) = self.audience(to);
        if members > 0 {
            self.queue.send(audience, treatment, |out| out.extend_from_slice(text));
        }
        Ok(members)
    }

    /// Answers one connection with an encoded message.
    ///
    /// # Errors
    /// [`Refused::Full`], unless it is a message that nobody can do without.
    pub fn reply(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        text: &[u8],
        treatment: Treatment,
    ) -> Result<(), Refused> {
        self.seated(slot, connection)?;
        if treatment != Treatment::CONTROL && self.exceeds(self.limits.hard_factor) {
            return Err(Full.into());
        }
        let to = Audience::Only(Seats::One(slot));
        self.queue.send(to, treatment.of_reply(), |out| out.extend_from_slice(text));
        Ok(())
    }

    /// Sends one encoded message to a connection that is no member, behind all that is queued.
    pub fn tell(&mut self, outsider: R, text: &[u8]) {
        self.queue.send(Audience::Outsider(outsider), Treatment::CONTROL, |out| out.extend_from_slice(text));
    }

    /// Lets somebody who has left know when everything that was queued for it has been delivered.
    pub fn farewell(&mut self, to: R) {
        self.queue.push(Op::Farewell { to });
    }

    /// Shows or updates a member's presence. Telling the same again changes nothing.
    ///
    /// # Errors
    /// [`Refused::PresenceLimit`] if the members would show too much, [`Refused::Full`].
    pub fn set_presence(&mut self, user: &str, presence: Object) -> Result<(), Refused> {
        let member = self.state.member(user).ok_or(NotMember)?;
        if member.presence.as_ref() == Some(&presence) {
            return Ok(());
        }
        if !self.has_room_for(user, &presence) {
            return Err(Refused::PresenceLimit);
        }
        if self.exceeds(self.limits.hard_factor) {
            return Err(Full.into());
        }
        self.show_own(user, presence)?;
        Ok(())
    }

    /// Whether this user, who need not be a member yet, may show this. What takes no more than before is always possible.
    pub fn has_room_for(&self, user: &str, presence: &Object) -> bool {
        let own = self.state.member(user).and_then(|member| member.presence.as_ref());
        let (before, after) = (own.map_or(0, |own| own.as_str().len()), presence.as_str().len());
        after <= before || self.state.presence_bytes() - before + after <= self.limits.presence_bytes
    }

    fn show_own(&mut self, user: &str, presence: Object) -> Result<(), NotMember> {
        let before = self.presence(user).cloned();
        let seats = self.state.member(user).ok_or(NotMember)?.seats.clone();
        let own = self.state.set_presence(user, Some(presence.clone()))?;
        if own.as_ref() == Some(&presence) {
            return Ok(());
        }
        if own.is_none() {
            self.queue.push(Op::Track { seats, on: true });
        }
        self.change_presence(user, before, Some(presence));
        Ok(())
    }

    /// Hides a member again. True if it was tracked.
    pub fn untrack(&mut self, user: &str) -> Result<bool, NotMember> {
        let before = self.presence(user).cloned();
        let seats = self.state.member(user).ok_or(NotMember)?.seats.clone();
        if self.state.set_presence(user, None)?.is_none() {
            return Ok(false);
        }
        self.queue.push(Op::Track { seats, on: false });
        self.change_presence(user, before, None);
        Ok(true)
    }

    /// Sets one assign of a member.
    pub fn assign(&mut self, user: &str, key: &str, value: Json) -> Result<(), NotMember> {
        self.state.member_mut(user).ok_or(NotMember)?.assigns.set(key, value);
        self.note_assigns(&member_id(user), Some(key));
        Ok(())
    }

    /// Overwrites the assigns of a member, key by key.
    pub fn merge_assigns(&mut self, user: &str, assigns: Assigns) -> Result<(), NotMember> {
        self.state.member_mut(user).ok_or(NotMember)?.assigns.merge(assigns);
        self.note_assigns(&member_id(user), None);
        Ok(())
    }

    fn acknowledge(&mut self, slot: Slot, request_id: &str) {
        let name = &self.name;
        let to = Audience::Only(Seats::One(slot));
        self.queue.send(to, Treatment::CONTROL, |out| server::acknowledge(out, name.as_str(), request_id));
    }

    /// Shows the present list to another connection of a tracked user, as a join of its own.
    fn show_list(&mut self, slot: Slot, user: &UserId) {
        let Some(presence) = self.presence(user.as_str()).cloned() else { return };
        self.queue.push(Op::Track { seats: Seats::One(slot), on: true });
        self.announce(PresenceKind::Join, Audience::Only(Seats::One(slot)), user, presence);
    }

    fn announce_leave(&mut self, gone: &Departure) {
        let user = &gone.user;
        self.outbound.note(|| Outbound::Change(MemberChange::Left { user: user.clone() }));
        let before = self.remote.presence(user.as_str(), gone.member.presence.as_ref()).cloned();
        self.announce_change(user, before);
    }

    /// A member here shows something else of itself than before.
    fn change_presence(&mut self, user: &str, before: Option<Object>, presence: Option<Object>) {
        let user = member_id(user);
        self.outbound.note(|| Outbound::Change(MemberChange::Presence { user: user.clone(), presence }));
        self.announce_change(&user, before);
    }

    /// Tells the tracked members what has become of what a user of any node shows of itself.
    fn announce_change(&mut self, user: &UserId, before: Option<Object>) {
        let after = self.presence(user.as_str()).cloned();
        let (kind, changed) = match (before, after) {
            (None, Some(after)) => (PresenceKind::Join, after),
            (Some(before), Some(after)) if before != after => (PresenceKind::Update, after),
            (Some(before), None) => (PresenceKind::Leave, before),
            (Some(_), Some(_)) | (None, None) => return,
        };
        self.announce(kind, Audience::Tracked, user, changed);
    }

    fn announce(&mut self, kind: PresenceKind, to: Audience<R>, user: &UserId, changed: Object) {
        let list = Some(self.list_bytes()).filter(|list| *list <= self.limits.lists.max_bytes).unwrap_or(0);
        let private_list = if matches!(to, Audience::Tracked) { 0 } else { list };
        let change = Change { kind, user: user.clone(), changed, request_id: (self.fresh_id)(), private_list };
        self.queue.push_presence(to, change, list);
    }

    fn note_assigns(&mut self, user: &UserId, key: Option<&str>) {
        if self.outbound.is_open() {
            let (assigns, key) = (self.assigns_of(user.as_str()), key.map(str::to_owned));
            self.outbound.note(|| Outbound::Change(MemberChange::Assigns { user: user.clone(), assigns, key }));
        }
    }

    /// A shared copy.
    fn assigns_of(&self, user: &str) -> Assigns {
        self.state.member(user).map(|member| member.assigns.clone()).unwrap_or_default()
    }

    fn take_out(&mut self, user: &UserId, notify: impl FnOnce(&mut Self, &Seats)) -> Result<Removal, NotMember> {
        let seats = self.state.member(user.as_str()).ok_or(NotMember)?.seats.clone();
        notify(self, &seats);
        let connections = seats.as_slice().iter().filter_map(|slot| self.state.connection(*slot)).collect();
        let last: Vec<_> = seats.as_slice().iter().map(|slot| self.last_listener(*slot)).collect();
        let departure = self.state.remove(user).ok_or(NotMember)?;
        for (slot, last) in seats.as_slice().iter().zip(last) {
            self.queue.push(Op::Leave { slot: *slot, last });
        }
        Ok(Removal { departure, connections })
    }

    /// Who is about to leave a seat, if an outgoing handler is yet to decide about something for it.
    fn last_listener(&self, slot: Slot) -> Option<Box<Listener>> {
        if self.queue.is_filtered() { self.state.listener(slot).map(Box::new) } else { None }
    }

    fn seated(&self, slot: Slot, connection: ConnectionId) -> Result<(), NotMember> {
        if self.state.is_seated(slot, connection) { Ok(()) } else { Err(NotMember) }
    }

    /// The connections that `to` means now, and how many members they belong to.
    fn audience(&self, to: &Target) -> (Audience<R>, usize) {
        let all = self.state.member_count();
        match to {
            Target::All => (Audience::All, all),
            Target::ExceptUser(user) => match self.state.member(user) {
                Some(member) => (Audience::Except(member.seats.clone()), all - 1),
                None => (Audience::All, all),
            },
            Target::ExceptConnection((slot, connection)) => match self.state.is_seated(*slot, *connection) {
                true => (Audience::Except(Seats::One(*slot)), all - usize::from(self.sits_alone(*slot))),
                false => (Audience::All, all),
            },
            Target::Users(users) => {
                let mut named: Vec<&str> = users.iter().map(String::as_str).collect();
                named.sort_unstable();
                named.dedup();
                let known: Vec<_> = named.iter().filter_map(|user| self.state.member(user)).collect();
                let seats = known.iter().flat_map(|member| member.seats.as_slice()).copied().collect();
                (Audience::Only(Seats::Many(seats)), known.len())
            }
        }
    }

    /// Whether the connection in `slot` is its user's only one.
    fn sits_alone(&self, slot: Slot) -> bool {
        self.state.user(slot).is_some_and(|user| {
            self.state.member(user.as_str()).is_some_and(|member| member.seats.as_slice().len() == 1)
        })
    }

    fn exceeds(&self, factor: usize) -> bool {
        let Limits { soft_messages, soft_bytes, .. } = self.limits;
        self.queue.len() >= soft_messages.saturating_mul(factor)
            || self.queued().1 >= soft_bytes.saturating_mul(factor).min(MOST_BYTES)
    }
}

/// What a chain assigns before anything else, the member comes with: other nodes hear of it in one message.
fn take_leading_assigns(mut assigns: Assigns, chain: Vec<Step>) -> (Assigns, Vec<Step>) {
    let mut steps = chain.into_iter().peekable();
    while let Some(Step::Assign(key, value)) = steps.next_if(|step| matches!(step, Step::Assign(..))) {
        assigns.set(&key, value);
    }
    (assigns, steps.collect())
}

/// Members are known by valid ids only.
fn member_id(user: &str) -> UserId {
    UserId::new(user).expect("a member's id is valid")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::channel::{Class, Encoded, Loss, Piece, Plan, Recipients};

    const BROADCAST: Treatment = Treatment::BROADCAST;

    fn channel(limits: Limits) -> Channel<&'static str> {
        Channel::new(ChannelName::new("/c", 8).expect("valid"), limits, || 7)
    }

    fn id(connection: &str) -> ConnectionId {
        ConnectionId::from_u128(connection.bytes().fold(0, |number, byte| number << 8 | u128::from(byte)))
    }

    fn object(text: &str) -> Object {
        Object::encode(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("an object")
    }

    /// Seats a connection whose user has its first letter for a name: `a1` and `a2` are two of one user.
    fn join(channel: &mut Channel<&'static str>, connection: &'static str, chain: Vec<Step>) -> Slot {
        let user = UserId::new(&connection[..1]).expect("valid");
        channel.join(connection, id(connection), &user, Assigns::default(), "q", chain, &|_| BROADCAST).slot
    }

    /// Delivers all that is queued: `connection event` for each message, with the list if it is presence; one
    /// connection after the other, in the order in which each hears it.
    fn deliver(channel: &mut Channel<&'static str>, recipients: &mut Recipients<&'static str>) -> Vec<String> {
        let batch = channel.take();
        let plan = Plan::new(&batch, recipients);
        let encoded = Encoded::new(&batch, |text, out| out.extend_from_slice(text), Rc::<[u8]>::from);
        let mut told = Vec::new();
        let mut tell = |to: &'static str, bytes: &[u8]| {
            for message in serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>() {
                let message = message.expect("JSON");
                let list = message["payload"].get("presence").map(|list| format!(" {list}")).unwrap_or_default();
                told.push((to, format!("{to} {}{list}", message["event"].as_str().expect("an event"))));
            }
        };
        for private in &plan.private {
            for run in private.pieces.iter().flat_map(|piece| encoded.piece(piece)) {
                tell(private.to, run.bytes());
            }
        }
        for (_, reception) in recipients.iter().filter(|(slot, _)| !plan.is_marked(*slot)) {
            let class = if reception.tracked { Class::Tracked } else { Class::All };
            let runs = encoded.whole(class).iter().filter(|_| plan.visits(class));
            runs.for_each(|run| tell(reception.to, run.bytes()));
        }
        told.sort_by_key(|(to, _)| *to);
        told.into_iter().map(|(_, message)| message).collect()
    }

    fn said(event: &str) -> Vec<u8> {
        let mut text = Vec::new();
        server::message(&mut text, Action::Broadcast, event, "/c", "q", "{}");
        text
    }

    #[test]
    fn a_chain_follows_its_acknowledgement_in_its_own_order() {
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
        let chain = vec![
            Step::Reply("first".into(), object("{}")),
            Step::Track(object("{}")),
            Step::Assign("role".into(), Json::encode("host").expect("JSON")),
            Step::Broadcast(Target::All, "last".into(), object("{}")),
            Step::BroadcastFrom("others".into(), object("{}")),
        ];
        join(&mut channel, "b1", Vec::new());
        join(&mut channel, "a1", chain);
        let expected =
            ["a1 ACKNOWLEDGE", "a1 first", "a1 JOIN [{}]", "a1 last", "b1 ACKNOWLEDGE", "b1 last", "b1 others"];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
        let member = channel.state().member("a").expect("a member");
        assert_eq!(member.assigns.get("role").map(Json::as_str), Some("\"host\""));
    }

    #[test]
    fn only_the_first_connection_of_a_user_makes_a_member() {
        let mut channel = channel(Limits::default());
        let user = UserId::new("a").expect("valid");
        let first = |channel: &mut Channel<_>, connection| {
            channel.join(connection, id(connection), &user, Assigns::default(), "q", Vec::new(), &|_| BROADCAST).first
        };
        assert!(first(&mut channel, "a1"));
        assert!(!first(&mut channel, "a2"));
        assert_eq!((channel.state().member_count(), channel.state().connection_count()), (1, 2));
    }

    #[test]
    fn another_connection_of_a_tracked_user_is_shown_the_list_alone() {
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
        let tracked = || vec![Step::Track(object(r#"{"mood":1}"#))];
        join(&mut channel, "a1", tracked());
        join(&mut channel, "b1", tracked());
        deliver(&mut channel, &mut recipients);
        let list = r#"[{"mood":1},{"mood":1}]"#;
        join(&mut channel, "a2", Vec::new());
        assert_eq!(deliver(&mut channel, &mut recipients), ["a2 ACKNOWLEDGE".to_owned(), format!("a2 JOIN {list}")]);
        join(&mut channel, "a3", tracked());
        assert_eq!(deliver(&mut channel, &mut recipients), ["a3 ACKNOWLEDGE".to_owned(), format!("a3 JOIN {list}")]);
    }

    #[test]
    fn another_connection_that_shows_something_else_updates_all_and_is_shown_the_list_once() {
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
        join(&mut channel, "a1", vec![Step::Track(object(r#"{"mood":1}"#))]);
        deliver(&mut channel, &mut recipients);
        let chain = vec![Step::Track(object(r#"{"mood":2}"#)), Step::Track(object(r#"{"mood":3}"#))];
        join(&mut channel, "a2", chain);
        let list = r#"[{"mood":3}]"#;
        let update = |to: &str| format!("{to} UPDATE {list}");
        let expected = [update("a1"), update("a1"), "a2 ACKNOWLEDGE".into(), format!("a2 JOIN {list}"), update("a2")];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
    }

    #[test]
    fn one_of_several_connections_leaves_without_a_word_to_the_others() {
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
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
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
        let slot = join(&mut channel, "a1", vec![Step::Track(object("{}"))]);
        deliver(&mut channel, &mut recipients);
        assert_eq!(channel.rejoin(slot, id("a1"), &"again".into()), Ok(()));
        assert_eq!(deliver(&mut channel, &mut recipients), ["a1 ACKNOWLEDGE"]);
        assert_eq!(channel.rejoin(slot, id("a2"), &"again".into()), Err(NotMember));
    }

    #[test]
    fn an_evicted_user_hears_of_it_on_all_connections_and_then_nothing() {
        let (mut channel, mut recipients) = (channel(Limits::default()), Recipients::default());
        for connection in ["a1", "a2", "b1"] {
            join(&mut channel, connection, Vec::new());
        }
        deliver(&mut channel, &mut recipients);
        let removal = channel.evict(&UserId::new("a").expect("valid"), "spam").expect("a member");
        assert_eq!(removal.connections, [id("a1"), id("a2")]);
        assert_eq!(channel.broadcast(&Target::All, &said("after"), BROADCAST), Ok(1));
        let expected = ["a1 evicted", "a1 EVICTED", "a2 evicted", "a2 EVICTED", "b1 user_evicted", "b1 after"];
        assert_eq!(deliver(&mut channel, &mut recipients), expected);
    }

    #[test]
    fn what_is_decided_about_is_taken_apart_with_those_who_sit_there_or_did_before_they_left() {
        let mut channel = channel(Limits::default());
        let filtered = Treatment { filtered: true, ..BROADCAST };
        let slot = join(&mut channel, "a1", vec![Step::Assign("role".into(), Json::encode("host").expect("JSON"))]);
        let other = join(&mut channel, "b1", Vec::new());
        channel.broadcast(&Target::All, &said("plain"), BROADCAST).expect("room");
        channel.broadcast(&Target::All, &said("decided"), filtered).expect("room");
        channel.leave(slot, id("a1"), None).expect("seated");
        channel.remove(&UserId::new("b").expect("valid")).expect("a member");
        assert_eq!(join(&mut channel, "c1", Vec::new()), other, "the seat is taken by another");
        channel.broadcast(&Target::All, &said("again"), filtered).expect("room");
        channel.leave(other, id("c1"), None).expect("seated");
        assert_eq!(join(&mut channel, "d1", Vec::new()), other);

        let mut portions = Vec::new();
        while channel.has_queued() {
            let batch = channel.take();
            let who = |slot: Slot| batch.listener(slot).map(|listener| listener.user.as_str().to_owned());
            let role = batch.listener(slot).and_then(|listener| listener.assigns.get("role").cloned());
            portions.push((batch.is_filtered(), who(slot), who(other), role.is_some()));
        }
        let user = |name: &str| Some(name.to_owned());
        assert_eq!(channel.queued(), (0, 0));
        let plain = || (false, None, None, false);
        let expected = [plain(), (true, user("a"), user("b"), true), plain(), (true, None, user("c"), false), plain()];
        assert_eq!(portions, expected);
    }

    #[test]
    fn a_broadcast_answers_how_many_members_it_addresses() {
        let mut channel = channel(Limits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        let alone = join(&mut channel, "b1", Vec::new());
        join(&mut channel, "a2", Vec::new());
        let mut told = |to: Target| channel.broadcast(&to, &said("x"), BROADCAST).expect("room");
        assert_eq!(told(Target::All), 2);
        assert_eq!(told(Target::Users(vec!["a".into(), "a".into(), "nobody".into()])), 1);
        assert_eq!(told(Target::Users(Vec::new())), 0);
        assert_eq!(told(Target::ExceptUser("a".into())), 1);
        assert_eq!(told(Target::ExceptUser("nobody".into())), 2);
        assert_eq!(told(Target::ExceptConnection((slot, id("a1")))), 2, "the other connection of the user gets it");
        assert_eq!(told(Target::ExceptConnection((alone, id("b1")))), 1);
        assert_eq!(told(Target::ExceptConnection((alone, id("b2")))), 2, "somebody else sits there");
    }

    #[test]
    fn what_addresses_nobody_is_not_queued() {
        let mut channel = channel(Limits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        channel.take();
        for to in [
            Target::ExceptConnection((slot, id("a1"))),
            Target::ExceptUser("a".into()),
            Target::Users(vec!["b".into()]),
        ] {
            assert_eq!(channel.broadcast(&to, &said("x"), BROADCAST), Ok(0));
        }
        assert!(!channel.has_queued());
    }

    #[test]
    fn the_limits_count_messages_or_bytes_whichever_comes_first() {
        let text = said("x");
        for limits in [
            Limits { soft_messages: 2, soft_bytes: usize::MAX, hard_factor: 2, ..Limits::default() },
            Limits { soft_messages: usize::MAX, soft_bytes: 2 * text.len(), hard_factor: 2, ..Limits::default() },
        ] {
            let mut channel = channel(limits);
            join(&mut channel, "a1", Vec::new());
            channel.take();
            let outcomes =
                [(); 5].map(|()| (channel.broadcast(&Target::All, &text, BROADCAST).is_ok(), channel.is_crowded()));
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
    fn a_full_queue_still_takes_errors_and_departures() {
        let mut channel = channel(Limits { soft_messages: 1, soft_bytes: 1, hard_factor: 1, ..Limits::default() });
        let slot = join(&mut channel, "a1", Vec::new());
        assert_eq!(channel.broadcast(&Target::All, &said("x"), BROADCAST), Err(Full));
        assert_eq!(channel.reply(slot, id("a1"), &said("x"), BROADCAST), Err(Refused::Full(Full)));
        assert_eq!(channel.set_presence("a", object("{}")), Err(Refused::Full(Full)));
        assert_eq!(channel.reply(slot, id("a1"), &said("x"), Treatment::CONTROL), Ok(()));
        assert!(channel.leave(slot, id("a1"), Some("q")).expect("seated").is_some());
    }

    #[test]
    fn what_is_filtered_comes_in_a_batch_of_its_own_that_knows_who_sits_where() {
        let mut channel = channel(Limits::default());
        let slot = join(&mut channel, "a1", vec![Step::Track(object(r#"{"mood":1}"#))]);
        let gone = join(&mut channel, "b1", Vec::new());
        channel.leave(gone, id("b1"), None).expect("seated");
        channel.assign("a", "role", Json::encode("host").expect("JSON")).expect("a member");
        let filtered = Treatment { filtered: true, ..BROADCAST };
        channel.broadcast(&Target::All, &said("x"), filtered).expect("room");
        channel.reply(slot, id("a1"), &said("y"), filtered).expect("seated");
        channel.broadcast(&Target::All, &said("z"), BROADCAST).expect("room");

        let before = channel.take();
        assert!(!before.is_filtered() && before.listener(slot).is_none());
        let batch = channel.take();
        assert!(batch.is_filtered());
        let messages: Vec<_> = batch.messages().map(|(_, text, treatment)| (text.to_vec(), treatment.loss)).collect();
        assert_eq!(messages, [(said("x"), filtered.loss), (said("y"), Loss::Never)]);
        let listener = batch.listener(slot).expect("seated");
        assert_eq!((listener.connection, listener.user.as_str()), (id("a1"), "a"));
        assert_eq!(listener.assigns.to_json(), r#"{"role":"host"}"#);
        assert_eq!(listener.presence.as_ref().map(Object::as_str), Some(r#"{"mood":1}"#));
        assert!(batch.listener(gone).is_none());
        assert_eq!(channel.take().messages().count(), 1);
        assert!(!channel.has_queued());
    }

    #[test]
    fn only_members_have_assigns_and_presence() {
        let mut channel = channel(Limits::default());
        join(&mut channel, "a1", Vec::new());
        let value = || Json::encode(&1).expect("JSON");
        assert_eq!(channel.assign("a", "n", value()), Ok(()));
        assert_eq!(channel.state().member("a").and_then(|member| member.assigns.get("n")).map(Json::as_str), Some("1"));
        assert_eq!(channel.assign("b", "n", value()), Err(NotMember));
        assert_eq!(channel.set_presence("b", object("{}")), Err(Refused::NotMember(NotMember)));
        assert_eq!((channel.untrack("b"), channel.untrack("a")), (Err(NotMember), Ok(false)));
        assert_eq!((channel.set_presence("a", object("{}")), channel.untrack("a")), (Ok(()), Ok(true)));
    }

    #[test]
    fn members_show_no_more_together_than_they_may_but_less_always() {
        let (one, two) = (object(r#"{"a":1}"#), object(r#"{"a":12}"#));
        let presence_bytes = one.as_str().len() + two.as_str().len();
        let mut channel = channel(Limits { presence_bytes, ..Limits::default() });
        let slot = join(&mut channel, "a1", Vec::new());
        join(&mut channel, "b1", Vec::new());
        assert_eq!(channel.set_presence("a", two.clone()), Ok(()));
        assert_eq!(channel.set_presence("b", two.clone()), Err(Refused::PresenceLimit));
        assert_eq!(channel.presence("b"), None);
        assert_eq!(channel.set_presence("b", one.clone()), Ok(()));
        assert!(!channel.has_room_for("c", &object("{}")) && channel.has_room_for("a", &two));
        assert_eq!(channel.set_presence("a", one.clone()), Ok(()));
        assert_eq!(channel.state().presence_bytes(), 2 * one.as_str().len());
        channel.leave(slot, id("a1"), None).expect("seated");
        assert_eq!(channel.set_presence("b", two.clone()), Ok(()), "whoever leaves makes room");
        assert_eq!((channel.untrack("b"), channel.state().presence_bytes()), (Ok(true), 0));
        let gone = channel
            .set_presence("b", two)
            .and_then(|()| channel.remove(&UserId::new("b").expect("valid")).map_err(Refused::from));
        assert!(gone.is_ok());
        assert_eq!(channel.state().presence_bytes(), 0);
    }

    #[test]
    fn a_change_of_presence_counts_with_the_list_that_it_will_be_told_with() {
        let lists = Lists { max_bytes: 100, repeated_bytes: 40 };
        let mut channel = channel(Limits { lists, ..Limits::default() });
        join(&mut channel, "a1", vec![Step::Track(object(r#"{"n":1}"#))]);
        let bytes = |channel: &Channel<_>| channel.queued().1 - channel.queue.bytes();
        assert_eq!(bytes(&channel), 7);
        for n in 2..=9 {
            channel.set_presence("a", object(&format!(r#"{{"n":{n}}}"#))).expect("a member");
        }
        assert_eq!(bytes(&channel), 40 + 7, "repeated as often as may be, and once");
        channel.set_presence("a", object(&format!(r#"{{"n":"{}"}}"#, "x".repeat(100)))).expect("a member");
        assert_eq!(bytes(&channel), 0, "it is not told as a whole");
        channel.take();
        assert_eq!(channel.queued(), (0, 0));
    }

    #[test]
    fn who_has_left_is_told_when_all_is_out() {
        let mut channel = channel(Limits::default());
        let slot = join(&mut channel, "a1", Vec::new());
        channel.leave(slot, id("a1"), None).expect("seated");
        channel.farewell("a1");
        let batch = channel.take();
        let plan = Plan::new(&batch, &mut Recipients::default());
        let last = plan.private.last().expect("the farewell");
        assert_eq!((last.to, &last.pieces[..]), ("a1", &[Piece::Farewell(3)][..]));
    }
}

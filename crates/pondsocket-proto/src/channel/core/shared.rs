//! A history that the nodes of a cluster share. The store of the bus gives the positions, in one order for all nodes.
//!
//! ```text
//!  broadcast --> barrier in the queue, Outbound::Append --> node --> store
//!                      ^                                               |
//!   the position       '---------- place, deliver_kept, load <---------'  answers, messages of other nodes, what was read
//! ```
//!
//! A broadcast of this channel waits at its place in the queue until its position is the next one. So replies and presence
//! behind it keep their order, and every node delivers the messages of all nodes in the order of the positions. What other nodes
//! send without a position is in `ahead`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Channel;
use crate::channel::barrier::{PendingMessage, Place};
use crate::channel::batch::HistoryGap;
use crate::channel::history::{EarlyMessage, Exclusion, GapReason, OtherMessage, Ring, SharedOrder, SharedStage};
use crate::channel::outbound::{AppendedMessage, Outbound};
use crate::channel::queue::Barriers;
use crate::channel::{Audience, DeliveryPolicy, LocalTarget, Seats, Slot};
use crate::id::{RequestId, UserId};
use crate::model::{self, UserMessage, UserMessageRef};
use crate::position::{Epoch, Position};
use crate::wire::{Action, Object, server};

/// The history of a channel as it was read from the store.
#[derive(Debug)]
pub struct StoredMessages<'a> {
    /// The position of the last message; `None` if the store has no history.
    pub position: Option<Position>,
    /// The last messages, with contiguous offsets up to that of `position`.
    pub messages: Vec<StoredMessage<'a>>,
    /// An epoch that no history has had, for a history that the store has lost.
    pub fresh: Epoch,
}

/// A message that was read from the store.
#[derive(Clone, Copy, Debug)]
pub struct StoredMessage<'a> {
    /// The offset.
    pub offset: u64,
    /// The time since it was appended, in milliseconds.
    pub age: u64,
    /// The number of the message, if this instance of the channel has sent it.
    pub own: Option<u64>,
    /// The message; `None` if it cannot be read. Its offset stays empty.
    pub message: Option<UserMessageRef<'a>>,
}

impl<R> Channel<R> {
    /// The same channel, which shares its history with other nodes. It keeps and replays nothing until the history is
    /// [read](Self::load).
    #[must_use]
    pub fn with_shared_history(self, ring: Ring) -> Self {
        Channel { shared: Some(Box::new(SharedOrder::new())), ..self.with_history(ring) }
    }

    /// Returns `true` if other nodes share the history.
    pub fn shares_history(&self) -> bool {
        self.shared.is_some()
    }

    /// Returns `true` if joins have to wait, because the history is yet to be read from the store.
    pub fn is_loading(&self) -> bool {
        self.stage() == Some(SharedStage::Loading)
    }

    /// Returns `true` if the positions are those of this node itself, because the store was away when it gave them.
    pub fn is_detached(&self) -> bool {
        matches!(self.stage(), Some(SharedStage::Detached | SharedStage::Returning))
    }

    /// Returns `true` if another node may have given a client this position, and it has not come here: it is ahead, or of
    /// another epoch. A node that gives positions by itself learns no others.
    pub fn lacks(&self, position: Position) -> bool {
        let last = self.history.as_ref().map(|ring| ring.position());
        self.asks_for_positions()
            && last.is_some_and(|last| last.epoch != position.epoch || last.offset < position.offset)
    }

    /// Returns `true` if the store has to be read: messages have come without those ahead of them, or the history [is
    /// to begin anew](Self::owes_restart).
    pub fn is_behind(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_behind() || shared.has_unshared_positions)
    }

    /// Returns `true` if members of other nodes may have missed messages that this node has sent, and are not told yet: the history
    /// is to begin anew.
    pub fn owes_restart(&self) -> bool {
        let has_sent = self.is_detached() && self.history.as_ref().is_some_and(|ring| ring.position().offset > 0);
        has_sent || self.shared.as_ref().is_some_and(|shared| shared.has_unshared_positions)
    }

    /// Returns `true` if messages of this channel wait for their positions.
    pub fn awaits_positions(&self) -> bool {
        self.queue.is_barred()
    }

    /// Returns `true` if the store gives the positions of further messages.
    pub fn asks_for_positions(&self) -> bool {
        self.stage().is_some_and(|stage| stage != SharedStage::Detached)
    }

    fn stage(&self) -> Option<SharedStage> {
        self.shared.as_ref().map(|shared| shared.stage)
    }

    /// Asks the store for the position of a message, whose place in the queue is the present one. Returns the number of
    /// members that it addresses.
    pub(super) fn ask_for_position(
        &mut self,
        from: Option<&str>,
        to: &LocalTarget,
        event: &str,
        payload: &str,
        policy: DeliveryPolicy,
    ) -> usize {
        let ((audience, members), excluded) = (self.audience(to), self.exclusion(to));
        // A message to all, or to all but its sender, may concern users of any node.
        let Some((from, target)) = self.remote_target(from, to) else { return members };
        let Some(shared) = &mut self.shared else { return members };
        shared.last_number += 1;
        let (number, payload) = (shared.last_number, Object::from_valid(payload));
        let pending = PendingMessage {
            number,
            is_refused: false,
            to: audience,
            event: event.to_owned(),
            payload: payload.clone(),
            policy,
            excluded,
        };
        self.queue.bar(Place::Message(pending));
        let (event, request_id) = (event.to_owned(), String::new());
        let message = UserMessage { from, event, payload, request_id, to: target, position: None };
        self.outbound.note(|| Outbound::Append(AppendedMessage { number, message }));
        members
    }

    /// Applies the answer of the store about a message of this channel: its position, or `None` if it is not kept.
    pub fn place(&mut self, number: u64, position: Option<Position>) {
        let (Some(_), Some(shared)) = (self.queue.pending_mut(number), &mut self.shared) else { return };
        match position {
            Some(position) => shared.add(position, EarlyMessage::Own(number)),
            None => self.refuse(number),
        }
        self.advance();
    }

    /// Delivers a message of another node at its position, once those ahead of it have come.
    pub fn deliver_kept(&mut self, position: Position, message: UserMessageRef<'_>, policy: DeliveryPolicy) {
        let ring = self.history.as_deref().map(Ring::position);
        let last = self.shared.as_ref().and_then(|shared| match shared.stage {
            SharedStage::Loading => None,
            SharedStage::Loaded => ring,
            SharedStage::Detached | SharedStage::Returning => shared.left_at,
        });
        if last.is_some_and(|last| last.epoch == position.epoch && position.offset <= last.offset) {
            return;
        }
        let other = OtherMessage::new(message, policy, 0);
        if !self.asks_for_positions() {
            return self.deliver_detached(other);
        }
        let Some(shared) = &mut self.shared else { return };
        shared.add(position, EarlyMessage::Other(Box::new(other)));
        self.advance();
    }

    /// Applies what was read from the store. Members that have perhaps missed messages get a notice. Returns the reason for
    /// that.
    pub fn load(&mut self, stored: StoredMessages<'_>, policy: &dyn Fn(&str) -> DeliveryPolicy) -> Option<GapReason> {
        let StoredMessages { position, messages, fresh } = stored;
        let (Some(stage), Some(ring)) = (self.stage(), self.history.as_deref()) else { return None };
        let last = ring.position();
        let is_first = stage == SharedStage::Loading;
        let top = match position {
            Some(top) => top,
            // Nothing was kept yet. The first message begins the history, with the epoch that this node proposes.
            None if last.offset == 0 => last,
            None => Position { epoch: fresh, offset: 0 },
        };
        let before = messages.first().map_or(top.offset, |first| first.offset - 1);
        let goes_on = stage == SharedStage::Loaded && top.epoch == last.epoch;
        let gap = match goes_on {
            true if before <= last.offset => None,
            true => Some(GapReason::Trimmed),
            false if is_first || top == last => None,
            false => Some(GapReason::Epoch),
        };
        if gap.is_some() || (!goes_on && top != last) {
            self.begin_anew(Position { epoch: top.epoch, offset: before });
        }
        if gap.is_some() {
            self.notify_gap(Position { offset: last.offset + 1, ..last });
        }
        if let Some(shared) = &mut self.shared {
            shared.stage = SharedStage::Loaded;
        }
        for stored in messages {
            self.apply_stored(stored, is_first, policy);
        }
        if let Some(ring) = self.history.as_mut().filter(|_| stage != SharedStage::Loaded) {
            ring.carry_removals(last.epoch);
        }
        let misplaced = self.shared.as_mut().map_or(Vec::new(), |shared| shared.read_up_to(top, last.epoch));
        misplaced.into_iter().for_each(|number| self.refuse(number));
        self.advance();
        gap.filter(|_| self.local.connection_count() > 0)
    }

    /// Gives positions without the store from now on, in an epoch of this node. What waits for a position gets one. A channel that
    /// has done so already goes on in its epoch: its positions show that members of other nodes have missed something.
    pub fn detach(&mut self, epoch: Epoch) {
        let Some(shared) = self.shared.as_mut().filter(|shared| shared.stage != SharedStage::Detached) else { return };
        let before = std::mem::replace(&mut shared.stage, SharedStage::Detached);
        let (early, mut followers) = shared.take_all();
        if before != SharedStage::Returning {
            shared.left_at = self.history.as_deref().map(Ring::position).filter(|_| before == SharedStage::Loaded);
            self.begin_anew(Position { epoch, offset: 0 });
        }
        for (position, message) in early {
            // Own ones wait at their barriers.
            if let EarlyMessage::Other(other) = message {
                self.deliver_detached(*other);
            }
            while let Some(unkept) = followers.take(position) {
                self.send_unkept_of_other(unkept);
            }
        }
        while let Some(unkept) = followers.take_first() {
            self.send_unkept_of_other(unkept);
        }
        while self.queue.is_barred() {
            self.open_barrier(Self::append_pending);
        }
    }

    /// Lets messages wait for positions of the store again, because the history is about to be begun anew and read. Those of a
    /// node that gave positions meanwhile would be missed by the members of other nodes, which have been told of the gap
    /// already.
    pub fn reattach(&mut self) {
        if let Some(shared) = self.shared.as_mut().filter(|shared| shared.stage == SharedStage::Detached) {
            shared.stage = SharedStage::Returning;
        }
    }

    /// Appends one message that was read from the store. Those from before the channel was opened go to nobody.
    fn apply_stored(&mut self, stored: StoredMessage<'_>, is_first: bool, policy: &dyn Fn(&str) -> DeliveryPolicy) {
        let StoredMessage { offset, age, own, message } = stored;
        if self.history.as_ref().is_none_or(|ring| offset != ring.next().offset) {
            return;
        }
        if let Some(pending) = own.and_then(|number| self.queue.take_pending(number)) {
            self.ahead_of_barriers(|channel, _| channel.append_pending(pending));
            return self.release_followers();
        }
        let Some(message) = message else {
            // The positions of others must not change.
            if let Some(ring) = &mut self.history {
                self.queue.copy_replays(ring);
                ring.skip();
            }
            return self.release_followers();
        };
        let mut other = OtherMessage::new(message, policy(message.event), age);
        if let (Some(_), Some(from)) = (own, &other.from) {
            // All members have had it, and it comes again behind a gap. The connection that it leaves out is not known any
            // more, so it leaves out the user.
            other.to = model::Target::ExceptUser(from.clone());
        }
        self.append_other(other, !is_first);
    }

    /// Notes that a message of this node is not kept: it is delivered when its place is reached.
    fn refuse(&mut self, number: u64) {
        if let Some(pending) = self.queue.pending_mut(number) {
            pending.is_refused = true;
        }
    }

    /// Delivers a message of another node, whose position is of the history that the other nodes share. Members that know
    /// positions of that history would get the message again on another node. So it has a position of this node, with which they
    /// are told of a gap there. Other members have such positions, and it is not kept.
    fn deliver_detached(&mut self, other: OtherMessage) {
        if self.shared.as_ref().is_some_and(|shared| shared.left_at.is_some()) {
            return self.append_other(other, true);
        }
        self.ahead_of_barriers(|channel, barriers| {
            if let Some(to) = channel.audience_ahead_of(barriers, &other.to) {
                channel.send_unkept(to, &other.event, other.payload.as_str(), other.policy);
            }
        });
    }

    /// Delivers everything whose turn has come.
    fn advance(&mut self) {
        loop {
            match self.queue.first_place() {
                Some(Place::Message(message)) if !message.is_refused => {}
                Some(_) => {
                    self.open_barrier(Self::send_pending);
                    continue;
                }
                None => {}
            }
            let (Some(shared), Some(ring)) = (&mut self.shared, self.history.as_deref()) else { return };
            if shared.stage != SharedStage::Loaded {
                return;
            }
            match shared.take(ring.next()) {
                Some(EarlyMessage::Own(number)) => self.append_own(number),
                Some(EarlyMessage::Other(other)) => self.append_other(*other, true),
                None => return,
            }
        }
    }

    /// Opens the first barrier, and delivers its message by the function.
    fn open_barrier(&mut self, deliver: impl FnOnce(&mut Self, PendingMessage<R>)) {
        let Some((place, behind)) = self.queue.open() else { return };
        self.ahead_of_barriers(|channel, _| {
            match place {
                Place::Message(message) => deliver(channel, message),
                Place::Join { slot, user, after } => channel.end_replay(slot, &user, after),
                Place::Empty => {}
            }
            channel.queue.release(behind);
        });
    }

    /// Appends a message of this node, whose turn has come.
    fn append_own(&mut self, number: u64) {
        let is_first = matches!(self.queue.first_place(), Some(Place::Message(message)) if message.number == number);
        let (pending, behind) = match is_first.then(|| self.queue.open()).flatten() {
            Some((Place::Message(message), behind)) => (Some(message), behind),
            Some((_, behind)) => (None, behind),
            // The store has answered about a later message first. This one keeps its place among the positions.
            None => (self.queue.take_pending(number), VecDeque::new()),
        };
        self.ahead_of_barriers(|channel, _| {
            if let Some(message) = pending {
                channel.append_pending(message);
            }
            channel.queue.release(behind);
        });
        self.release_followers();
    }

    fn append_pending(&mut self, message: PendingMessage<R>) {
        let PendingMessage { to, event, payload, policy, excluded, .. } = message;
        self.append_kept(Some(to), &event, payload.as_str(), policy, (excluded, 0));
    }

    /// Delivers a message of this node that is not kept.
    fn send_pending(&mut self, message: PendingMessage<R>) {
        let PendingMessage { to, event, payload, policy, .. } = message;
        self.send_unkept(to, &event, payload.as_str(), policy);
    }

    /// Appends a message of another node, ahead of everything that waits for a position.
    fn append_other(&mut self, message: OtherMessage, is_delivered: bool) {
        self.ahead_of_barriers(|channel, barriers| {
            let OtherMessage { to, from, event, payload, policy, age, .. } = message;
            let audience = is_delivered.then(|| channel.audience_ahead_of(barriers, &to)).flatten();
            let excluded = from.and_then(|from| UserId::new(&from).ok()).map(Exclusion::User);
            channel.append_kept(audience, &event, payload.as_str(), policy, (excluded, age));
        });
        self.release_followers();
    }

    /// Appends a message to the history, and to the queue if it has recipients.
    pub(super) fn append_kept(
        &mut self,
        to: Option<Audience<R>>,
        event: &str,
        payload: &str,
        policy: DeliveryPolicy,
        (excluded, age): (Option<Exclusion>, u64),
    ) {
        let Channel { name, queue, history: Some(ring), .. } = self else { return };
        let position = ring.next();
        let rules = Arc::clone(ring.rules());
        let write = |out: &mut Vec<u8>| {
            server::kept(out, event, name.as_str(), position, rules.stamp.as_deref(), payload);
        };
        match to {
            Some(audience) => {
                ring.append(queue.send(audience, policy, write), policy, excluded, age);
                queue.keep(position);
            }
            None => {
                // Nobody receives it now. Those who are away may resume.
                let mut text = Vec::new();
                write(&mut text);
                ring.append(&text, policy, excluded, age);
            }
        }
    }

    fn send_unkept(&mut self, to: Audience<R>, event: &str, payload: &str, policy: DeliveryPolicy) {
        let (name, id) = (&self.name, RequestId::from_u128((self.fresh_id)()));
        self.queue.send(to, policy, |out| {
            server::message(out, Action::Broadcast, event, name.as_str(), id.as_str(), payload);
        });
    }

    /// Notes that a connection joins behind messages without a position: it gets them as the last part of its replay.
    pub(super) fn replay_pending(&mut self, slot: Slot, user: &UserId, after: Position) {
        if self.queue.is_barred() {
            if let Some(ring) = &mut self.history {
                ring.queue(after.offset);
            }
            self.queue.bar(Place::Join { slot, user: user.clone(), after });
        }
    }

    fn end_replay(&mut self, slot: Slot, user: &UserId, after: Position) {
        let Some(ring) = self.history.as_deref_mut() else { return };
        let is_owed = ring.resume(after).is_ok();
        if after.epoch == ring.position().epoch {
            ring.unqueue(after.offset);
        }
        if !is_owed {
            // The history has begun anew since the client was told its position, or a message could not be read.
            let gap = HistoryGap { missed: Position { offset: after.offset + 1, ..after }, next: ring.position() };
            return self.queue.push_gap(Seats::One(slot), gap);
        }
        let offsets = after.offset + 1..ring.next().offset;
        let position = ring.position();
        if !offsets.is_empty() {
            self.replay(slot, user, offsets);
            self.queue.reach(position);
        }
    }

    /// Tells the members that they do not get the kept messages from a position on. Those that join behind a message without
    /// a position are told when they have joined; those that leave behind one may still get messages.
    fn notify_gap(&mut self, missed: Position) {
        let Some(next) = self.history.as_ref().map(|ring| ring.position()) else { return };
        self.ahead_of_barriers(|channel, barriers| {
            let joining = barriers.joining();
            let mut seats: Vec<_> = barriers.leaving().into_iter().map(|(slot, _)| slot).collect();
            seats.extend(channel.local.slots().filter(|slot| !joining.contains(slot)));
            if !seats.is_empty() {
                channel.queue.push_gap(Seats::Many(Box::new(seats)), HistoryGap { missed, next });
            }
        });
    }

    /// Begins the history anew, behind a position.
    fn begin_anew(&mut self, position: Position) {
        if let Some(ring) = &mut self.history {
            self.queue.copy_replays(ring);
            ring.restart(position);
        }
        // What they wait for does not come any more.
        self.release_followers();
    }

    /// Appends to what can be delivered, ahead of all barriers, which the function gets.
    pub(super) fn ahead_of_barriers<T>(&mut self, append: impl FnOnce(&mut Self, &Barriers<R>) -> T) -> T {
        let barriers = self.queue.lift();
        let appended = append(self, &barriers);
        self.queue.put_back(barriers);
        appended
    }
}

impl OtherMessage {
    fn new(message: UserMessageRef<'_>, policy: DeliveryPolicy, age: u64) -> OtherMessage {
        let UserMessageRef { from, event, payload, to, .. } = message;
        let (to, is_to_all) = match to {
            model::Target::ExceptUser(_) => (to.clone(), false),
            // The excluded connection is on the node of the sender.
            model::Target::ExceptConnection(()) => (model::Target::All, false),
            model::Target::All | model::Target::Users(_) => (model::Target::All, true),
        };
        OtherMessage {
            to,
            from: (!is_to_all).then(|| from.to_owned()),
            event: event.to_owned(),
            payload: Object::from_valid(payload),
            policy,
            age,
            is_overdue: false,
        }
    }
}

//! What other nodes send into a channel with a shared history without a position: messages that are not kept, and presence.
//!
//! ```text
//!  of other nodes:  K5  K6     K8  u  p        u and p have come behind K8, so they wait with it until K7 has come
//!                    |   |     '--SharedOrder
//!                    v   v
//!  queue:    ... K4 K5 K6  u p | barrier  own messages, joins, leaves, presence
//! ```
//!
//! A node receives everything that another one has sent in the order in which that has sent it. Kept messages of other nodes go
//! ahead of the barriers, at which messages of this node wait for their positions, so all else that other nodes send goes
//! there, too.

use super::Channel;
use crate::channel::history::{Ring, Unkept, UnkeptMessage};
use crate::channel::queue::Barriers;
use crate::channel::{Audience, DeliveryPolicy, Seats, Slot};
use crate::id::UserId;
use crate::model::{self, UserMessageRef};
use crate::position::Position;
use crate::wire::{Action, Object, PresenceKind, server};

impl<R> Channel<R> {
    /// Delivers a message of another node that has no position, behind what has come from there before.
    pub(super) fn deliver_in_order(&mut self, message: UserMessageRef<'_>, policy: DeliveryPolicy) {
        match self.awaited() {
            Some(behind) => self.follow(behind, Unkept::message(message, policy)),
            None => {
                let UserMessageRef { to, event, request_id, payload, .. } = message;
                self.send_ahead(to, policy, (event, request_id, payload));
            }
        }
    }

    /// Announces a change that another node has made to what members see of a user. In a channel with a shared history it takes
    /// its place behind what has come from there before.
    pub(super) fn announce_in_order(&mut self, kind: PresenceKind, user: UserId, changed: Object) {
        if self.shared.is_none() {
            return self.announce(kind, Audience::Tracked, &user, changed);
        }
        match self.awaited() {
            Some(behind) => self.follow(behind, Unkept::Presence { kind, user, changed }),
            None => self.send_unkept_of_other(Unkept::Presence { kind, user, changed }),
        }
    }

    /// The position that what comes from other nodes now has to wait for: messages of theirs have come ahead of their turn.
    fn awaited(&self) -> Option<Position> {
        let epoch = self.history.as_deref().map(Ring::position)?.epoch;
        self.shared.as_ref()?.last_early(epoch)
    }

    fn follow(&mut self, behind: Position, unkept: Unkept) {
        let Some(shared) = &mut self.shared else { return };
        if shared.followers.has_room() {
            return shared.followers.push(behind, unkept);
        }
        // Too much to wait, so all of it comes ahead of the kept messages. Nothing is lost, and its own order stays.
        while let Some(first) = self.shared.as_mut().and_then(|shared| shared.followers.take_first()) {
            self.send_unkept_of_other(first);
        }
        self.send_unkept_of_other(unkept);
    }

    /// Delivers what has waited for positions that the history has reached, or that it will not reach any more.
    pub(super) fn release_followers(&mut self) {
        while let (Some(shared), Some(ring)) = (&mut self.shared, self.history.as_deref())
            && let Some(unkept) = shared.followers.take(ring.position())
        {
            self.send_unkept_of_other(unkept);
        }
    }

    /// Announces what waits of a user's presence, because this node is about to announce a later change: the last announcement of
    /// a user is the one that stays with clients.
    pub(super) fn release_presence(&mut self, user: &UserId) {
        let Some(shared) = &mut self.shared else { return };
        for presence in shared.followers.take_presence(user) {
            self.send_unkept_of_other(presence);
        }
    }

    /// Appends something of another node, ahead of all that waits for a position.
    pub(super) fn send_unkept_of_other(&mut self, unkept: Unkept) {
        match unkept {
            Unkept::Message(message) => {
                let UnkeptMessage { to, event, request_id, payload, policy } = *message;
                self.send_ahead(&to, policy, (&event, &request_id, payload.as_str()));
            }
            Unkept::Presence { kind, user, changed } => {
                let left = self.ahead_of_barriers(|channel, barriers| {
                    // A user that moves from this node to another: clients keep what they are told last, so an earlier change that
                    // waits behind a barrier must not come behind this one.
                    if barriers.shows(&user) {
                        return Some(changed);
                    }
                    channel.announce(kind, Audience::Tracked, &user, changed);
                    None
                });
                if let Some(changed) = left {
                    self.announce(kind, Audience::Tracked, &user, changed);
                }
            }
        }
    }

    fn send_ahead(&mut self, to: &model::Target, policy: DeliveryPolicy, (event, id, payload): (&str, &str, &str)) {
        self.ahead_of_barriers(|channel, barriers| {
            let Some(to) = channel.audience_ahead_of(barriers, to) else { return };
            let name = &channel.name;
            channel.queue.send(to, policy, |out| {
                server::message(out, Action::Broadcast, event, name.as_str(), id, payload);
            });
        });
    }

    /// The audience of a message of another node that is appended ahead of these barriers; `None` if nobody is there.
    pub(super) fn audience_ahead_of(&self, barriers: &Barriers<R>, to: &model::Target) -> Option<Audience<R>> {
        let members = self.local.member_count();
        match to {
            // The excluded connection is on the node of the sender.
            model::Target::All | model::Target::ExceptConnection(()) => {
                (members > 0 || !barriers.leaving().is_empty()).then_some(Audience::All)
            }
            model::Target::ExceptUser(user) => {
                let others = members - usize::from(self.local.member(user).is_some());
                if others == 0 && barriers.leaving().is_empty() {
                    return None;
                }
                let seats = self.seats_ahead_of(barriers, std::slice::from_ref(user));
                Some(if seats.is_empty() { Audience::All } else { Audience::Except(Seats::Many(Box::new(seats))) })
            }
            model::Target::Users(users) => {
                let seats = self.seats_ahead_of(barriers, users);
                (!seats.is_empty()).then(|| Audience::Only(Seats::Many(Box::new(seats))))
            }
        }
    }

    /// The connections of these users ahead of the barriers. Those that join behind them are not there yet: their slots may be
    /// those of other connections. Those that leave behind them are still there.
    fn seats_ahead_of(&self, barriers: &Barriers<R>, users: &[String]) -> Vec<Slot> {
        let members = users.iter().filter_map(|user| self.local.member(user));
        let mut seats: Vec<_> = members.flat_map(|member| member.seats.as_slice()).copied().collect();
        // Only here: all that waits is looked through.
        if !barriers.is_empty() {
            let joining = barriers.joining();
            seats.retain(|slot| !joining.contains(slot));
            let is_named = |user: &UserId| users.iter().any(|named| named == user.as_str());
            let leaving = barriers.leaving().into_iter();
            seats.extend(leaving.filter(|(_, last)| last.is_some_and(|last| is_named(&last.user))).map(|(slot, _)| slot));
        }
        // A user that is named twice receives the message once.
        seats.sort_unstable();
        seats.dedup();
        seats
    }
}

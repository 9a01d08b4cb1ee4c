//! Messages of other nodes that are not kept, and presence of their users, in a channel with a shared history: neither has a position.
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
//! there, too. A connection that joins behind a barrier gets kept messages in its replay, presence in its list, and the rest behind
//! its acknowledgement.

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

    /// The position that what comes from other nodes now has to wait for: messages of theirs have come ahead of their turn. It is
    /// the last one, whichever node has sent it. Nodes receive the messages of a history in the order of their offsets, so those that its
    /// sender sends later have later positions.
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
        let name = self.name.clone();
        let write = |out: &mut Vec<u8>| server::message(out, Action::Broadcast, event, name.as_str(), id, payload);
        let late = self.ahead_of_barriers(|channel, barriers| {
            if let Some(to) = channel.audience_ahead_of(barriers, to) {
                channel.queue.send(to, policy, write);
            }
            channel.seats_behind(barriers, to)
        });
        // Nobody keeps the message for them, and its sender may know already that they have joined.
        if !late.is_empty() {
            self.queue.send(Audience::Only(Seats::Many(Box::new(late))), policy, write);
        }
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

    /// The connections among the recipients that join behind the barriers.
    fn seats_behind(&self, barriers: &Barriers<R>, to: &model::Target) -> Vec<Slot> {
        if barriers.is_empty() {
            return Vec::new();
        }
        let is_meant = |slot: &Slot| {
            self.local.user(*slot).is_some_and(|user| match to {
                model::Target::All | model::Target::ExceptConnection(()) => true,
                model::Target::ExceptUser(other) => user.as_str() != other,
                model::Target::Users(users) => users.iter().any(|named| named == user.as_str()),
            })
        };
        barriers.joining().into_iter().filter(is_meant).collect()
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
            seats.extend(
                leaving.filter(|(_, last)| last.is_some_and(|last| is_named(&last.user))).map(|(slot, _)| slot),
            );
        }
        // A user that is named twice receives the message once.
        seats.sort_unstable();
        seats.dedup();
        seats
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::*;
    use super::super::{ChannelLimits, StoredMessage, StoredMessages};
    use super::*;
    use crate::channel::{Assigns, HistoryRules, LocalTarget, Recipients, RemoteChange, RemoteMember, Step};
    use crate::model::Target;
    use crate::position::Epoch;

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch::new(1), offset }
    }

    fn message<'a>(event: &'a str, to: &'a Target) -> UserMessageRef<'a> {
        UserMessageRef { from: "x", event, payload: "{}", request_id: "q", to, position: None }
    }

    /// A channel with a shared history, and what its connections receive.
    struct Shared {
        channel: Channel<&'static str>,
        recipients: Recipients<&'static str>,
    }

    impl Shared {
        /// With the connection `a1` of a tracked user.
        fn new() -> Shared {
            Shared::with_replies(false)
        }

        fn with_replies(replies_overtake: bool) -> Shared {
            let rules = HistoryRules { replies_overtake, ..HistoryRules::of(9, 1 << 20) };
            let channel = channel(ChannelLimits::default()).replicated();
            let channel = channel.with_shared_history(Ring::new(Arc::new(rules), Epoch::new(1)));
            let mut shared = Shared { channel, recipients: Recipients::default() };
            shared.read(at(0), &[]);
            shared.join("a1");
            shared.received();
            shared
        }

        fn join(&mut self, connection: &'static str) -> Slot {
            let presence = object(&format!(r#"{{"of":"{}"}}"#, &connection[..1]));
            join(&mut self.channel, connection, vec![Step::Track(presence)])
        }

        /// The slot of the first connection of a user.
        fn slot(&self, user: &str) -> Slot {
            self.channel.local_members().member(user).expect("joined").seats.as_slice()[0]
        }

        fn reply(&mut self, slot: Slot, connection: &'static str, event: &str) {
            self.channel
                .reply(slot, id(connection), &broadcast_text(event), DeliveryPolicy::CONTROL)
                .expect("a member");
        }

        /// This node sends a message, which waits for its position.
        fn send(&mut self) {
            self.channel.publish_kept(None, &LocalTarget::All, "own", "{}", BROADCAST).expect("room").expect("kept");
        }

        fn kept(&mut self, offset: u64, event: &str) {
            self.channel.deliver_kept(at(offset), message(event, &Target::All), BROADCAST);
        }

        fn unkept(&mut self, event: &str, to: &Target) -> usize {
            self.channel.deliver(message(event, to), BROADCAST).expect("room")
        }

        fn show(&mut self, user: &str, presence: &str) {
            let (assigns, presence) = (Assigns::default(), Some(object(presence)));
            let shown = RemoteMember { assigns, presence, over_local: false, joined: 0 };
            self.channel.apply_remote(vec![RemoteChange::Shown(UserId::new(user).expect("valid"), shown)]);
        }

        /// Reads from the store these messages, the last of which has this position.
        fn read(&mut self, position: Position, events: &[&str]) {
            let stored = (position.offset + 1 - events.len() as u64..).zip(events).map(|(offset, event)| {
                let message = Some(message(event, &Target::All));
                StoredMessage { offset, age: 0, own: None, message }
            });
            let stored = StoredMessages { position: Some(position), messages: stored.collect(), fresh: Epoch::new(99) };
            self.channel.load(stored, &|_| BROADCAST);
        }

        /// The messages that the connections have received, one after the other, without the lists.
        fn received(&mut self) -> Vec<String> {
            let lists = self.received_lists();
            lists.into_iter().map(|message| message.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")).collect()
        }

        fn received_lists(&mut self) -> Vec<String> {
            let mut received = Vec::new();
            while self.channel.has_queued() {
                received.extend(deliver(&mut self.channel, &mut self.recipients));
            }
            // Stable, so that the order of each connection stays.
            received.sort_by(|a, b| a[..2].cmp(&b[..2]));
            received
        }
    }

    fn users(users: &[&str]) -> Target {
        Target::Users(users.iter().map(|user| (*user).to_owned()).collect())
    }

    #[test]
    fn what_another_node_sends_keeps_its_order_while_an_own_message_waits_for_its_position() {
        let mut shared = Shared::new();
        shared.send();
        shared.channel.broadcast(&LocalTarget::All, &broadcast_text("behind"), BROADCAST).expect("room");
        shared.kept(1, "k1");
        shared.unkept("u", &Target::All);
        shared.show("x", "{}");
        shared.kept(2, "k2");
        assert_eq!(shared.received(), ["a1 k1", "a1 u", "a1 JOIN", "a1 k2"]);
        shared.channel.place(1, Some(at(3)));
        assert_eq!(shared.received(), ["a1 own", "a1 behind"]);
    }

    #[test]
    fn replies_overtake_messages_that_wait_for_their_positions_if_the_history_lets_them() {
        let orders = [
            (false, ["a1 own", "a1 reply", "a1 own", "a1 error"].as_slice(), [].as_slice()),
            (true, &["a1 own", "a1 own"], &["a1 reply", "a1 error"]),
        ];
        for (replies_overtake, later, at_once) in orders {
            let mut shared = Shared::with_replies(replies_overtake);
            let slot = shared.slot("a");
            shared.send();
            shared.reply(slot, "a1", "reply");
            // Its acknowledgement waits behind the message, and so does what it is answered.
            let other = shared.join("a2");
            shared.reply(other, "a2", "answer");
            shared.send();
            shared.reply(slot, "a1", "error");
            assert_eq!(shared.received(), at_once);
            shared.channel.place(1, Some(at(1)));
            shared.channel.place(2, Some(at(2)));
            let received = shared.received();
            let (of_a2, of_a1): (Vec<_>, Vec<_>) = received.into_iter().partition(|message| message.starts_with("a2"));
            assert_eq!(of_a1, later);
            assert_eq!(of_a2, ["a2 ACKNOWLEDGE", "a2 own", "a2 JOIN", "a2 answer", "a2 own"]);
        }
    }

    #[test]
    fn what_comes_behind_a_message_that_is_ahead_of_its_turn_waits_with_it() {
        let mut shared = Shared::new();
        shared.unkept("u0", &Target::All);
        shared.kept(2, "k2");
        shared.unkept("u2", &users(&["a"]));
        shared.kept(3, "k3");
        shared.show("x", "{}");
        shared.unkept("u3", &Target::ExceptUser("x".into()));
        assert_eq!(shared.received(), ["a1 u0"]);
        assert!(shared.channel.presence("x").is_some(), "who is present does not wait");
        shared.kept(1, "k1");
        assert_eq!(shared.received(), ["a1 k1", "a1 k2", "a1 u2", "a1 k3", "a1 JOIN", "a1 u3"]);
        shared.unkept("u4", &Target::All);
        assert_eq!(shared.received(), ["a1 u4"]);
    }

    #[test]
    fn what_waits_behind_a_message_follows_it_although_an_own_one_is_ahead_of_both() {
        let mut shared = Shared::new();
        shared.send();
        shared.send();
        shared.kept(2, "k2");
        shared.unkept("u2", &Target::All);
        shared.channel.place(2, Some(at(3)));
        assert_eq!(shared.received(), [""; 0]);
        shared.channel.place(1, Some(at(1)));
        assert_eq!(shared.received(), ["a1 own", "a1 k2", "a1 u2", "a1 own"]);
    }

    #[test]
    fn what_waits_follows_its_message_also_when_that_is_read_from_the_store() {
        let mut shared = Shared::new();
        shared.kept(2, "k2");
        shared.unkept("u2", &Target::All);
        shared.kept(3, "k3");
        shared.show("x", "{}");
        shared.kept(5, "k5");
        shared.unkept("u5", &Target::All);
        shared.read(at(3), &["k1", "k2", "k3"]);
        assert_eq!(shared.received(), ["a1 k1", "a1 k2", "a1 u2", "a1 k3", "a1 JOIN"]);
        // The store does not have it any more.
        shared.read(at(9), &["k9"]);
        assert_eq!(shared.received(), ["a1 u5", "a1 k9"]);
    }

    #[test]
    fn a_message_that_is_ahead_of_its_turn_stays_when_the_history_is_read_up_to_an_earlier_one() {
        let mut shared = Shared::new();
        shared.kept(3, "three");
        shared.read(at(1), &["one"]);
        shared.kept(2, "two");
        assert_eq!(shared.received(), ["a1 one", "a1 two", "a1 three"]);
    }

    #[test]
    fn what_waits_is_delivered_when_the_history_begins_anew_or_the_node_loses_the_store() {
        let behind = |shared: &mut Shared| {
            shared.kept(2, "k2");
            shared.unkept("u2", &Target::All);
            shared.kept(3, "k3");
            shared.show("x", "{}");
        };
        let mut shared = Shared::new();
        behind(&mut shared);
        shared.read(Position { epoch: Epoch::new(2), offset: 1 }, &["new"]);
        assert_eq!(shared.received(), ["a1 u2", "a1 JOIN", "a1 new"]);
        let mut shared = Shared::new();
        behind(&mut shared);
        shared.channel.detach(Epoch::new(3));
        assert_eq!(shared.received(), ["a1 k2", "a1 u2", "a1 k3", "a1 JOIN"]);
        shared.unkept("u4", &Target::All);
        assert_eq!(shared.received(), ["a1 u4"]);
    }

    #[test]
    fn each_member_gets_a_message_once_also_one_that_leaves_or_joins_behind_a_waiting_message() {
        let mut shared = Shared::new();
        let slot = shared.join("b1");
        shared.received();
        shared.send();
        shared.channel.leave(slot, id("b1"), None).expect("seated");
        assert_eq!(shared.join("c1"), slot, "the slot is taken by another");
        shared.unkept("all", &Target::All);
        shared.unkept("but-b", &Target::ExceptUser("b".into()));
        shared.unkept("but-c", &Target::ExceptUser("c".into()));
        assert_eq!(shared.unkept("named", &users(&["b", "c", "b", "nobody"])), 1);
        shared.unkept("for-a", &users(&["a"]));
        shared.show("x", "{}");
        let of_a = ["a1 all", "a1 but-b", "a1 but-c", "a1 for-a", "a1 JOIN"];
        let of_b = ["b1 all", "b1 but-c", "b1 named", "b1 JOIN"];
        assert_eq!(shared.received(), [&of_a[..], &of_b].concat());
        shared.channel.place(1, Some(at(1)));
        let of_c = ["c1 ACKNOWLEDGE", "c1 own", "c1 JOIN", "c1 all", "c1 but-b", "c1 named"];
        let expected = ["a1 own", "a1 LEAVE", "a1 JOIN", "b1 own"].into_iter().chain(of_c);
        assert_eq!(shared.received(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_connection_that_joins_behind_a_waiting_message_gets_the_list_with_what_was_announced_ahead_of_it() {
        let mut shared = Shared::new();
        shared.send();
        shared.join("b1");
        shared.show("x", r#"{"of":"x"}"#);
        shared.kept(2, "k2");
        shared.show("y", r#"{"of":"y"}"#);
        shared.channel.place(1, Some(at(1)));
        let received = shared.received_lists();
        let list = received.iter().find_map(|message| message.strip_prefix("b1 JOIN ")).expect("its own join");
        let list: Vec<serde_json::Value> = serde_json::from_str(list).expect("a list");
        let mut names: Vec<_> = list.iter().filter_map(|entry| entry["of"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "x", "y"]);
        assert_eq!(shared.channel.member_count(), 4);
    }

    #[test]
    fn the_last_announcement_of_a_user_that_moves_between_nodes_shows_where_it_is() {
        // Away from this node, behind a message that waits.
        let mut shared = Shared::new();
        let slot = shared.join("b1");
        shared.received();
        shared.send();
        shared.channel.leave(slot, id("b1"), None).expect("seated");
        shared.show("b", r#"{"of":"b"}"#);
        shared.channel.place(1, Some(at(1)));
        let of_a = |shared: &mut Shared| {
            let received = shared.received();
            received.into_iter().filter(|message| message.starts_with("a1")).collect::<Vec<_>>()
        };
        assert_eq!(of_a(&mut shared), ["a1 own", "a1 LEAVE", "a1 JOIN"]);
        // To this node, while its leave from another one waits.
        shared.kept(3, "k3");
        let gone = RemoteChange::Gone(UserId::new("b").expect("valid"));
        shared.channel.apply_remote(vec![gone]);
        shared.show("x", "{}");
        shared.join("b2");
        assert_eq!(of_a(&mut shared), ["a1 LEAVE", "a1 JOIN"]);
        shared.kept(2, "k2");
        assert_eq!(of_a(&mut shared), ["a1 k2", "a1 k3", "a1 JOIN"]);
    }

    #[test]
    fn more_than_may_wait_comes_at_once_and_in_its_order() {
        let mut shared = Shared::new();
        shared.kept(2, "k2");
        let mut sent = 0;
        let mut send = |shared: &mut Shared| {
            sent += 1;
            shared.unkept(&format!("u{sent}"), &Target::All);
            sent
        };
        while !shared.channel.has_queued() {
            assert!(send(&mut shared) < 2000, "a bound");
        }
        let all: Vec<_> = (1..=sent).map(|n| format!("a1 u{n}")).collect();
        assert_eq!(shared.received(), all);
        shared.kept(1, "k1");
        assert_eq!(shared.received(), ["a1 k1", "a1 k2"]);
    }

    #[test]
    fn without_a_shared_history_all_messages_are_queued_as_they_come() {
        let (mut channel, mut recipients) = (channel(ChannelLimits::default()), Recipients::default());
        join(&mut channel, "a1", Vec::new());
        channel.broadcast(&LocalTarget::All, &broadcast_text("own"), BROADCAST).expect("room");
        channel.deliver(message("u", &Target::All), BROADCAST).expect("room");
        assert_eq!(deliver(&mut channel, &mut recipients), ["a1 ACKNOWLEDGE", "a1 own", "a1 u"]);
    }
}

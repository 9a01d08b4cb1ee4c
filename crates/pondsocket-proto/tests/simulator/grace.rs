//! The presence grace: users lose their node, or their connection, and come back in time or not. Nobody sees a user go that
//! is back in time, and everybody sees each other one go once.

use pondsocket_proto::cluster::{ChannelKey, Input};
use pondsocket_proto::id::UserId;

use super::node::RunState;
use super::redis::Peer;
use super::server_channel::{UserAction, user};
use super::world::World;

const SECOND: u64 = 1000;
const GUESTS: usize = 6;

/// The cause for which users lose their connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Loss {
    /// Of the connections, at a node that lives.
    Connections,
    /// Of the node, which is killed.
    Death,
    /// Of the node, which is killed and started again under its name.
    Restart,
    /// Of the node, which stops in order.
    Stop,
}

impl World {
    pub(crate) fn users_come_back_in_time_or_not(&mut self) {
        if self.plan.grace == 0 {
            return;
        }
        // What has happened before is over.
        let rest = self.plan.grace + 30 * SECOND;
        self.run_until(self.now + rest);
        self.settles_within(0, "H6");
        for loss in [Loss::Connections, Loss::Death, Loss::Stop, Loss::Restart] {
            while self.live().count() < 3 {
                let number = self.count();
                self.start_node(&format!("web-new{number}"));
            }
            if self.checker.is_content() {
                self.lose_and_return(loss);
            }
        }
    }

    fn lose_and_return(&mut self, loss: Loss) {
        // New nodes learn of the others, and each node has a member that watches.
        self.run_until(self.now + 3 * SECOND);
        self.a_user_joins_on_each_node();
        let (peer, channel) = self.somewhere();
        let guests: Vec<_> = (0..GUESTS).map(|_| user(&format!("guest {}", self.count()))).collect();
        guests.iter().for_each(|guest| self.joins(peer, &channel, guest));
        self.settles_within(3 * SECOND, "I4");
        self.run_until(self.now + 5 * SECOND);
        let watchers = self.running().into_iter().filter(|watcher| *watcher != peer || loss == Loss::Connections);
        let watchers: Vec<_> = watchers.collect();
        watchers.iter().for_each(|watcher| drop(self.take_seen(*watcher, &channel)));
        self.orphans.clear();
        self.note(|| format!("** {loss:?} of {peer}"));
        self.checker.expect_deaths();
        match loss {
            Loss::Connections => guests.iter().for_each(|guest| self.perform(peer, &channel, guest, UserAction::Lose)),
            Loss::Death | Loss::Restart => self.kill(peer),
            Loss::Stop => self.drain(peer),
        }
        let begun = self.now;
        if loss == Loss::Restart {
            let again = self.rng.range((1, 2000));
            self.run_until(self.now + again);
            let name = self.node(peer).expect("it is ours").id.name.clone();
            self.start_node(&name);
        }
        // Half of them come back, each at a time of its own, on any other node.
        let (back, away) = guests.split_at(GUESTS / 2);
        let in_time = (self.plan.grace - 2 * self.plan.hop() - 200).min(self.plan.grace);
        let mut times: Vec<_> = back.iter().map(|_| begun + self.rng.below(in_time)).collect();
        times.sort_unstable();
        for (guest, at) in back.iter().zip(times) {
            self.run_until(at.max(self.now));
            let others: Vec<_> = watchers.iter().filter(|watcher| **watcher != peer).copied().collect();
            let to = *self.rng.pick(&others).expect("three nodes");
            self.joins(to, &channel, guest);
        }
        self.run_until(begun + self.plan.grace);
        if loss == Loss::Connections {
            self.end_grace(peer, &channel);
        }
        self.run_until(begun + self.plan.grace + 8 * SECOND + 4 * self.plan.hop());
        self.check_what_was_seen(loss, &channel, &watchers, (back, away));
    }

    /// Each watcher has seen nothing of those that are back, and each other one leave once; and one survivor, or nobody where
    /// their node has done it, runs the leave handler of each that is away.
    fn check_what_was_seen(
        &mut self,
        loss: Loss,
        channel: &ChannelKey,
        watchers: &[Peer],
        (back, away): (&[UserId], &[UserId]),
    ) {
        for watcher in watchers {
            let seen = self.take_seen(*watcher, channel);
            let of =
                |guest: &UserId| seen.iter().filter(|(who, _)| who == guest).map(|(_, is)| *is).collect::<Vec<_>>();
            for guest in back {
                let seen = of(guest);
                if !seen.is_empty() {
                    let what = format!("{loss:?}: {watcher} has seen {guest}, who was back in time: {seen:?}");
                    self.checker.violated("H6", what);
                }
            }
            for guest in away {
                let seen = of(guest);
                if seen != [false] {
                    self.checker
                        .violated("H6", format!("{loss:?}: {watcher} has seen {guest}, who was away: {seen:?}"));
                }
            }
        }
        let orphans = std::mem::take(&mut self.orphans);
        let runs = |guest: &UserId| orphans.iter().filter(|(_, _, who)| who == guest).count();
        let expected = usize::from(matches!(loss, Loss::Death | Loss::Restart));
        for guest in away.iter().filter(|guest| runs(guest) != expected) {
            let what = format!("{loss:?}: the leave handler of {guest} runs {} times", runs(guest));
            self.checker.violated("H6", what);
        }
        for guest in back.iter().filter(|guest| runs(guest) > 0) {
            self.checker.violated("H6", format!("{loss:?}: the leave handler of {guest} runs, who was back in time"));
        }
    }

    /// Ends the grace of the ghosts of a channel: they leave.
    fn end_grace(&mut self, peer: Peer, channel: &ChannelKey) {
        let room = self.node(peer).and_then(|node| node.rooms.get(channel));
        let ghosts: Vec<_> = room.map(|room| room.ghosts.keys().cloned().collect()).unwrap_or_default();
        ghosts.iter().for_each(|ghost| self.perform(peer, channel, ghost, UserAction::Leave));
    }

    /// Stops a node as a shutdown does: its last connections are lost, its channels close, and then it says `Bye`.
    fn drain(&mut self, peer: Peer) {
        self.feed(peer, Input::Stopping);
        let rooms: Vec<_> =
            self.node(peer).expect("it is ours").rooms.values().map(|room| (room.key.clone(), room.instance)).collect();
        for (channel, instance) in rooms {
            self.feed(peer, Input::Closed { channel, instance });
        }
        self.feed(peer, Input::Stop);
        let now = self.now;
        let Some(node) = self.node(peer) else { return };
        let id = node.id.clone();
        (node.run_state, node.ended) = (RunState::Ended, now);
        if self.redis.can_send(peer) {
            self.leases.release(&id);
        }
        self.redis.disconnect(peer);
        self.is_dirty = true;
        self.history_node_ends(peer, true);
    }

    fn take_seen(&mut self, peer: Peer, channel: &ChannelKey) -> Vec<(UserId, bool)> {
        let room = self.node(peer).and_then(|node| node.rooms.get_mut(channel));
        room.map(|room| std::mem::take(&mut room.seen)).unwrap_or_default()
    }
}

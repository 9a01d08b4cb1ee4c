//! The actions of users: joins, leaves, changes of presence and assigns, and requests that concern other users.

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest};
use pondsocket_proto::id::UserId;

use super::node::RunState;
use super::redis::Peer;
use super::server_channel::{UserAction, json, presence, user};
use super::world::{Event, Participant, World};

/// The key of the first assign of each user, which names the incarnation of its node.
pub(crate) const INCARNATION: &str = "incarnation";

#[derive(Clone, Copy)]
enum ActionKind {
    Join,
    Leave,
    Show,
    Hide,
    Assign,
    Crowd,
    Exodus,
    Reload,
    Request,
    Broadcast,
    Foreign,
}

const ACTIONS: [(u64, ActionKind); 11] = [
    (30, ActionKind::Join),
    (16, ActionKind::Leave),
    (24, ActionKind::Show),
    (6, ActionKind::Hide),
    (14, ActionKind::Assign),
    (2, ActionKind::Crowd),
    (3, ActionKind::Exodus),
    (4, ActionKind::Reload),
    (6, ActionKind::Request),
    (6, ActionKind::Broadcast),
    (20, ActionKind::Foreign),
];

impl World {
    pub(crate) fn a_user_acts(&mut self) {
        if self.is_over {
            return;
        }
        let pace = self.plan.pace;
        let next = self.rng.range((1, 2 * pace));
        self.after(next, Event::UserAction);
        self.events += 1;
        let running = self.running();
        let Some(&peer) = self.rng.pick(&running) else { return };
        let channels = self.channels.clone();
        let channel = &channels[self.rng.index(channels.len())];
        match self.rng.weighted(&ACTIONS) {
            ActionKind::Join => self.one_joins(peer, channel),
            ActionKind::Leave => self.one_does(peer, channel, |_| UserAction::Leave),
            ActionKind::Show => self.one_does(peer, channel, |n| UserAction::Show(Some(presence(n)))),
            ActionKind::Hide => self.one_does(peer, channel, |_| UserAction::Show(None)),
            ActionKind::Assign => self.one_does(peer, channel, |n| UserAction::Assign(format!("k{}", n % 3), json(&n))),
            ActionKind::Crowd => (0..self.rng.range((2, 40))).for_each(|_| self.one_joins(peer, channel)),
            ActionKind::Exodus => self.all_leave(peer, channel),
            ActionKind::Reload => {
                self.all_leave(peer, channel);
                self.one_joins(peer, channel);
            }
            ActionKind::Request => self.one_makes_a_request(peer, channel),
            ActionKind::Broadcast => self.broadcast(peer, channel),
            ActionKind::Foreign => self.a_foreign_user_acts(channel),
        }
    }

    /// A user of the channel that may be on this node.
    fn person(&mut self, peer: Peer, channel: &ChannelKey) -> UserId {
        let number = self.rng.index(self.plan.people);
        match self.plan.shared {
            true => user(&format!("u{number}{}", channel.channel)),
            false => user(&format!("u{number}{}@{peer}", channel.channel)),
        }
    }

    pub(crate) fn one_joins(&mut self, peer: Peer, channel: &ChannelKey) {
        let who = self.person(peer, channel);
        self.joins(peer, channel, &who);
    }

    pub(crate) fn joins(&mut self, peer: Peer, channel: &ChannelKey, who: &UserId) {
        let (number, shows) = (self.count(), self.rng.per_mille(600));
        let Some(node) = self.node(peer) else { return };
        let mut assigns = Assigns::default();
        assigns.set(INCARNATION, &json(&node.id.source()));
        assigns.set("n", &json(&number));
        let shown = shows.then(|| presence(number));
        self.perform(peer, channel, who, UserAction::Join(assigns, shown));
    }

    pub(crate) fn members(&self, peer: Peer, channel: &ChannelKey) -> Vec<UserId> {
        let Participant::Ours(node) = &self.participants[peer] else { return Vec::new() };
        node.rooms.get(channel).map(|room| room.members.keys().cloned().collect()).unwrap_or_default()
    }

    fn one_does(&mut self, peer: Peer, channel: &ChannelKey, action: impl FnOnce(u64) -> UserAction) {
        let (members, number) = (self.members(peer, channel), self.count());
        if let Some(who) = self.rng.pick(&members).cloned() {
            self.perform(peer, channel, &who, action(number));
        }
    }

    fn all_leave(&mut self, peer: Peer, channel: &ChannelKey) {
        for who in self.members(peer, channel) {
            self.perform(peer, channel, &who, UserAction::Leave);
        }
    }

    pub(crate) fn all_users_leave(&mut self, peer: Peer) {
        for channel in self.channels.clone() {
            self.all_leave(peer, &channel);
        }
    }

    /// A request of this node that concerns a user on another node, or on none.
    fn one_makes_a_request(&mut self, peer: Peer, channel: &ChannelKey) {
        let running = self.running();
        let other = self.rng.pick(&running).copied().unwrap_or(peer);
        let who = self.person(other, channel);
        if self.members(peer, channel).contains(&who) {
            return;
        }
        let number = self.count();
        let (channel, user) = (channel.clone(), who);
        let ask = match self.rng.below(6) {
            0 => ClusterRequest::Evict { channel, user, reason: format!("reason {number}") },
            1 => ClusterRequest::Remove { channel, user },
            2 => ClusterRequest::Get { channel, user },
            3 => ClusterRequest::Assign { channel, user, key: "asked".into(), value: json(&number) },
            4 => ClusterRequest::Presence { channel, user, presence: presence(number) },
            _ if self.members(peer, &channel).is_empty() => ClusterRequest::Users { channel },
            _ => return,
        };
        self.ask(peer, ask);
    }

    pub(crate) fn ask(&mut self, peer: Peer, ask: ClusterRequest) -> Option<u64> {
        let now = self.now;
        let node = self.node(peer).filter(|node| node.run_state == RunState::Running)?;
        let input = node.ask(ask, now);
        let id = node.asks.last_key_value().map(|(id, _)| *id);
        self.feed(peer, input);
        id
    }

    pub(crate) fn answered(&mut self, peer: Peer, id: u64, answer: Answer) {
        let asked = self.node(peer).expect("it is ours").asks.remove(&id);
        self.checker.answered(peer, id, asked.is_some(), answer);
    }
}

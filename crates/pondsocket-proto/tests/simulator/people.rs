//! What people do: they join, show themselves, change and leave, and some want something of others.

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest};
use pondsocket_proto::id::UserId;

use super::node::Life;
use super::redis::Peer;
use super::room::{Deed, json, presence, user};
use super::world::{Event, Seat, World};

/// What the first assign of each user says: which life of which node it is on.
pub(crate) const LIFE: &str = "life";

#[derive(Clone, Copy)]
enum Whim {
    Join,
    Leave,
    Show,
    Hide,
    Assign,
    Crowd,
    Exodus,
    Reload,
    ClusterRequest,
    Broadcast,
    Foreign,
}

const WHIMS: [(u64, Whim); 11] = [
    (30, Whim::Join),
    (16, Whim::Leave),
    (24, Whim::Show),
    (6, Whim::Hide),
    (14, Whim::Assign),
    (2, Whim::Crowd),
    (3, Whim::Exodus),
    (4, Whim::Reload),
    (6, Whim::ClusterRequest),
    (6, Whim::Broadcast),
    (20, Whim::Foreign),
];

impl World {
    pub(crate) fn somebody_does_something(&mut self) {
        if self.is_over {
            return;
        }
        let pace = self.plan.pace;
        let next = self.rng.range((1, 2 * pace));
        self.after(next, Event::Deed);
        self.events += 1;
        let running = self.running();
        let Some(&peer) = self.rng.pick(&running) else { return };
        let channels = self.channels.clone();
        let channel = &channels[self.rng.index(channels.len())];
        match self.rng.weighted(&WHIMS) {
            Whim::Join => self.one_joins(peer, channel),
            Whim::Leave => self.one_does(peer, channel, |_| Deed::Leave),
            Whim::Show => self.one_does(peer, channel, |n| Deed::Show(Some(presence(n)))),
            Whim::Hide => self.one_does(peer, channel, |_| Deed::Show(None)),
            Whim::Assign => self.one_does(peer, channel, |n| Deed::Assign(format!("k{}", n % 3), json(&n))),
            Whim::Crowd => (0..self.rng.range((2, 40))).for_each(|_| self.one_joins(peer, channel)),
            Whim::Exodus => self.all_leave(peer, channel),
            Whim::Reload => {
                self.all_leave(peer, channel);
                self.one_joins(peer, channel);
            }
            Whim::ClusterRequest => self.somebody_asks(peer, channel),
            Whim::Broadcast => self.broadcast(peer, channel),
            Whim::Foreign => self.a_stranger_does_something(channel),
        }
    }

    /// Who of the people of a channel may be on this node.
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
        assigns.set(LIFE, json(&node.id.source()));
        assigns.set("n", json(&number));
        let shown = shows.then(|| presence(number));
        self.deed(peer, channel, who, Deed::Join(assigns, shown));
    }

    pub(crate) fn members(&self, peer: Peer, channel: &ChannelKey) -> Vec<UserId> {
        let Seat::Ours(node) = &self.seats[peer] else { return Vec::new() };
        node.rooms.get(channel).map(|room| room.members.keys().cloned().collect()).unwrap_or_default()
    }

    fn one_does(&mut self, peer: Peer, channel: &ChannelKey, deed: impl FnOnce(u64) -> Deed) {
        let (members, number) = (self.members(peer, channel), self.count());
        if let Some(who) = self.rng.pick(&members).cloned() {
            self.deed(peer, channel, &who, deed(number));
        }
    }

    fn all_leave(&mut self, peer: Peer, channel: &ChannelKey) {
        for who in self.members(peer, channel) {
            self.deed(peer, channel, &who, Deed::Leave);
        }
    }

    pub(crate) fn everybody_leaves(&mut self, peer: Peer) {
        for channel in self.channels.clone() {
            self.all_leave(peer, &channel);
        }
    }

    /// Somebody on this node wants something of a user that is elsewhere, or is nowhere.
    fn somebody_asks(&mut self, peer: Peer, channel: &ChannelKey) {
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
        let node = self.node(peer).filter(|node| node.life == Life::Runs)?;
        let input = node.ask(ask, now);
        let id = node.asks.last_key_value().map(|(id, _)| *id);
        self.feed(peer, input);
        id
    }

    pub(crate) fn answered(&mut self, peer: Peer, id: u64, answer: Answer) {
        let asked = self.node(peer).expect("it is ours").asks.remove(&id);
        self.judge.answered(peer, id, asked.is_some(), answer);
    }
}

//! The common parts of foreign servers, those of other languages: no versions, no knowledge of senders but a cache, and
//! their own users, whose actions they publish in the thirteen messages that all servers understand.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, Envelope, UserState};
use pondsocket_proto::cluster::{ChannelKey, Topics};
use pondsocket_proto::wire::Object;

use super::redis::Peer;
use super::server_channel::{json, presence};
use super::world::{Event, ForeignOutput, Participant, World};

pub(crate) const BEAT: u64 = 30_000;
pub(crate) const SCAN: u64 = 90_000;
pub(crate) const LIFETIME: u64 = 90_000;

/// A user, as a foreign server knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ForeignUser {
    pub(crate) assigns: Assigns,
    pub(crate) presence: Option<Object>,
    /// The node of a user on another server.
    pub(crate) node: Option<Arc<str>>,
}

pub(crate) type ForeignUsers = BTreeMap<Arc<str>, ForeignUser>;

/// The signature of a foreign server, and the ids of its messages.
#[derive(Debug)]
pub(crate) struct ForeignSender {
    pub(crate) source: Arc<str>,
    count: u64,
}

impl ForeignSender {
    pub(crate) fn new(source: &str) -> ForeignSender {
        ForeignSender { source: source.into(), count: 0 }
    }

    pub(crate) fn envelope(&mut self, channel: Option<&ChannelKey>, timestamp: u64, body: Body) -> Rc<Envelope> {
        self.count += 1;
        let id = format!("{}-{}", self.source, self.count).into();
        let (source, channel) = (self.source.clone(), channel.cloned());
        Rc::new(Envelope { id, source, channel, timestamp, body, ext: None })
    }
}

pub(crate) fn heartbeat(topics: &Topics, sender: &mut ForeignSender, now: u64) -> ForeignOutput {
    let body = Body::NodeHeartbeat { node: sender.source.clone() };
    let message = sender.envelope(None, now, body);
    ForeignOutput::Publish(topics.heartbeat().as_str().into(), message)
}

/// A user in a list. Some servers publish `{}` for a user without presence.
pub(crate) fn state((id, card): (&Arc<str>, &ForeignUser), empty: bool) -> UserState {
    let nothing = || empty.then(|| Object::encode(&()).expect("an object"));
    let presence = card.presence.clone().or_else(nothing);
    UserState { id: id.clone(), assigns: card.assigns.clone(), presence, joined: 0 }
}

pub(crate) fn non_empty(presence: Option<Object>) -> Option<Object> {
    presence.filter(|presence| presence.as_str() != "{}")
}

/// An action of a user of a foreign server.
#[derive(Clone, Debug)]
pub(crate) enum ForeignAction {
    Join(Assigns, Option<Object>),
    Leave,
    Show(Object),
    Assign(String, u64),
    /// The eviction of a user on another server.
    EvictElsewhere,
    AssignElsewhere(u64),
}

impl World {
    pub(crate) fn a_foreign_user_acts(&mut self, channel: &ChannelKey) {
        let participants: Vec<_> = (0..self.participants.len())
            .filter(|participant| !matches!(self.participants[*participant], Participant::Ours(_)))
            .collect();
        let Some(&peer) = self.rng.pick(&participants) else { return };
        let number = self.count();
        let name: Arc<str> = format!("x{}{}@{peer}", self.rng.below(4), channel.channel).into();
        let mut assigns = Assigns::default();
        assigns.set("n", &json(&number));
        let shows = self.rng.coin().then(|| presence(number));
        let action = self.rng.weighted(&[
            (8, ForeignAction::join as fn(u64) -> ForeignAction),
            (4, |_| ForeignAction::Leave),
            (6, |n| ForeignAction::Show(presence(n))),
            (4, |n| ForeignAction::Assign("k".into(), n)),
            (1, |_| ForeignAction::EvictElsewhere),
            (2, ForeignAction::AssignElsewhere),
        ])(number);
        let action = if let ForeignAction::Join(..) = action { ForeignAction::Join(assigns, shows) } else { action };
        let now = self.now;
        if self.is_hasty(peer, &name) {
            return;
        }
        self.note(|| format!("{peer} (foreign) {name} {action:?}"));
        self.is_dirty = true;
        let choice = self.rng.next_u64();
        let outputs = match &mut self.participants[peer] {
            Participant::Js(js) => js.perform(channel, &name, action, choice, now),
            Participant::Go(go) => go.perform(channel, &name, action, choice, now),
            Participant::Ours(_) => return,
        };
        self.act(peer, outputs);
    }

    pub(crate) fn foreign_timer(&mut self, peer: Peer) {
        let now = self.now;
        let outputs = match &mut self.participants[peer] {
            Participant::Js(js) => js.timer(now),
            Participant::Go(go) => go.timer(now),
            Participant::Ours(_) => return,
        };
        self.act(peer, outputs);
        self.after(BEAT, Event::ForeignTimer(peer));
    }

    pub(crate) fn foreign_receives(&mut self, peer: Peer, message: &Envelope) {
        let now = self.now;
        let outputs = match &mut self.participants[peer] {
            Participant::Js(js) => js.receive(message, now),
            Participant::Go(go) => go.receive(message, now),
            Participant::Ours(_) => return,
        };
        self.is_dirty = true;
        self.act(peer, outputs);
    }

    pub(crate) fn foreign_subscribed(&mut self, peer: Peer, topics: &[Rc<str>]) {
        let now = self.now;
        if let Participant::Js(js) = &mut self.participants[peer] {
            let outputs = js.subscribed(topics, now);
            self.act(peer, outputs);
        }
    }

    fn act(&mut self, peer: Peer, outputs: Vec<ForeignOutput>) {
        let is_go = matches!(self.participants[peer], Participant::Go(_));
        for act in outputs {
            match act {
                ForeignOutput::Publish(topic, message) => {
                    self.trace
                        .note(self.now, || format!("{peer} (foreign) publishes {}", super::format::envelope(&message)));
                    // A Go server publishes each message from a task of its own, so in any order.
                    let late = if is_go { self.rng.below(60) } else { 0 };
                    let topic = self.intern(&topic);
                    self.after(late, Event::ForeignSends(peer, topic, message));
                }
                ForeignOutput::UpdateSubscriptions { add, remove } => {
                    self.redis.update_subscriptions(peer, self.now, &add, &remove, &mut self.rng);
                    self.collect();
                }
            }
        }
    }
}

impl ForeignAction {
    fn join(_: u64) -> ForeignAction {
        ForeignAction::Join(Assigns::default(), None)
    }
}

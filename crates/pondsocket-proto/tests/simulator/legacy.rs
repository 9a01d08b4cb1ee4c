//! What servers of other languages have in common: no versions, no memory of who said what but a cache, and their own
//! people, whose deeds they tell in the thirteen messages that everybody understands.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, Envelope, UserState};
use pondsocket_proto::cluster::{ChannelKey, Topics};
use pondsocket_proto::wire::Object;

use super::redis::Peer;
use super::room::{json, presence};
use super::world::{Act, Event, Seat, World};

pub(crate) const BEAT: u64 = 30_000;
pub(crate) const SCAN: u64 = 90_000;
pub(crate) const LIFETIME: u64 = 90_000;

/// A user, as such a server knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Card {
    pub(crate) assigns: Assigns,
    pub(crate) presence: Option<Object>,
    /// Which node it is on, if it is not here.
    pub(crate) node: Option<Arc<str>>,
}

pub(crate) type Cards = BTreeMap<Arc<str>, Card>;

/// Makes its envelopes.
#[derive(Debug)]
pub(crate) struct Voice {
    pub(crate) source: Arc<str>,
    count: u64,
}

impl Voice {
    pub(crate) fn new(source: &str) -> Voice {
        Voice { source: source.into(), count: 0 }
    }

    pub(crate) fn say(&mut self, channel: Option<&ChannelKey>, timestamp: u64, body: Body) -> Rc<Envelope> {
        self.count += 1;
        let id = format!("{}-{}", self.source, self.count).into();
        let (source, channel) = (self.source.clone(), channel.cloned());
        Rc::new(Envelope { id, source, channel, timestamp, body, ext: None })
    }
}

pub(crate) fn heartbeat(topics: &Topics, voice: &mut Voice, now: u64) -> Act {
    let body = Body::NodeHeartbeat { node: voice.source.clone() };
    let message = voice.say(None, now, body);
    Act::Say(topics.heartbeat().into(), message)
}

/// Some say `{}` of a user that shows nothing.
pub(crate) fn state((id, card): (&Arc<str>, &Card), empty: bool) -> UserState {
    let nothing = || empty.then(|| Object::encode(&()).expect("an object"));
    let presence = card.presence.clone().or_else(nothing);
    UserState { id: id.clone(), assigns: card.assigns.clone(), presence, joined: 0 }
}

pub(crate) fn non_empty(presence: Option<Object>) -> Option<Object> {
    presence.filter(|presence| presence.as_str() != "{}")
}

/// What one of their people does.
#[derive(Clone, Debug)]
pub(crate) enum Foreign {
    Join(Assigns, Option<Object>),
    Leave,
    Show(Object),
    Assign(String, u64),
    /// Something that is done to a user elsewhere.
    EvictElsewhere,
    AssignElsewhere(u64),
}

impl World {
    pub(crate) fn a_stranger_does_something(&mut self, channel: &ChannelKey) {
        let seats: Vec<_> = (0..self.seats.len()).filter(|seat| !matches!(self.seats[*seat], Seat::Ours(_))).collect();
        let Some(&peer) = self.rng.pick(&seats) else { return };
        let number = self.count();
        let name: Arc<str> = format!("x{}{}@{peer}", self.rng.below(4), channel.channel).into();
        let mut assigns = Assigns::default();
        assigns.set("n", json(&number));
        let shows = self.rng.coin().then(|| presence(number));
        let deed = self.rng.weighted(&[
            (8, Foreign::join as fn(u64) -> Foreign),
            (4, |_| Foreign::Leave),
            (6, |n| Foreign::Show(presence(n))),
            (4, |n| Foreign::Assign("k".into(), n)),
            (1, |_| Foreign::EvictElsewhere),
            (2, Foreign::AssignElsewhere),
        ])(number);
        let deed = if let Foreign::Join(..) = deed { Foreign::Join(assigns, shows) } else { deed };
        let now = self.now;
        if self.is_hasty(peer, &name) {
            return;
        }
        self.note(|| format!("{peer} (foreign) {name} {deed:?}"));
        self.is_dirty = true;
        let choice = self.rng.next_u64();
        let acts = match &mut self.seats[peer] {
            Seat::Js(js) => js.deed(channel, &name, deed, choice, now),
            Seat::Go(go) => go.deed(channel, &name, deed, choice, now),
            Seat::Ours(_) => return,
        };
        self.act(peer, acts);
    }

    pub(crate) fn legacy_timer(&mut self, peer: Peer) {
        let now = self.now;
        let acts = match &mut self.seats[peer] {
            Seat::Js(js) => js.timer(now),
            Seat::Go(go) => go.timer(now),
            Seat::Ours(_) => return,
        };
        self.act(peer, acts);
        self.after(BEAT, Event::LegacyTimer(peer));
    }

    pub(crate) fn legacy_hears(&mut self, peer: Peer, message: &Envelope) {
        let now = self.now;
        let acts = match &mut self.seats[peer] {
            Seat::Js(js) => js.hear(message, now),
            Seat::Go(go) => go.hear(message, now),
            Seat::Ours(_) => return,
        };
        self.is_dirty = true;
        self.act(peer, acts);
    }

    pub(crate) fn legacy_subscribed(&mut self, peer: Peer, topics: &[Rc<str>]) {
        let now = self.now;
        if let Seat::Js(js) = &mut self.seats[peer] {
            let acts = js.subscribed(topics, now);
            self.act(peer, acts);
        }
    }

    fn act(&mut self, peer: Peer, acts: Vec<Act>) {
        let is_go = matches!(self.seats[peer], Seat::Go(_));
        for act in acts {
            match act {
                Act::Say(topic, message) => {
                    self.trace.note(self.now, || format!("{peer} (foreign) says {}", super::show::envelope(&message)));
                    // Go publishes from tasks of their own, in any order.
                    let late = if is_go { self.rng.below(60) } else { 0 };
                    let topic = self.intern(&topic);
                    self.after(late, Event::LegacySays(peer, topic, message));
                }
                Act::Interest { add, remove } => {
                    self.redis.interest(peer, self.now, &add, &remove, &mut self.rng);
                    self.collect();
                }
            }
        }
    }
}

impl Foreign {
    fn join(_: u64) -> Foreign {
        Foreign::Join(Assigns::default(), None)
    }
}

//! The messaging of Redis: connections, subscriptions, and delays. It guarantees what the contract of a bus guarantees
//! and no more: the order of one publisher on one topic.
//!
//! It is passive. Its inputs become events at later times, which the world passes back to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

use pondsocket_proto::cluster::message::Envelope;
use testkit::Rng;

use super::histories::store::{HistoryStore, StoreAnswer, StoreRequest};
use super::schedule::Plan;

/// A connected node: its index in the world.
pub(crate) type Peer = usize;

/// A message in flight.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    /// From a node to Redis.
    Publish { from: Peer, topic: Rc<str>, message: Rc<Envelope> },
    /// From a node to Redis, void if its connection was replaced meanwhile.
    Subscribe { peer: Peer, session: u64, topics: Vec<Rc<str>> },
    /// The same.
    Unsubscribe { peer: Peer, session: u64, topics: Vec<Rc<str>> },
    /// A request of a node to the store of histories. It takes effect even if the connection was replaced meanwhile.
    Ask { from: Peer, session: u64, number: u64, request: Rc<StoreRequest> },
    /// The next message that Redis has received while it was stalled: one for each of them.
    Stalled,
    /// From Redis to a node, void if its connection was replaced meanwhile.
    Deliver { to: Peer, session: u64, what: Delivered },
}

#[derive(Clone, Debug)]
pub(crate) enum Delivered {
    Message {
        topic: Rc<str>,
        message: Rc<Envelope>,
    },
    Subscribed(Vec<Rc<str>>),
    Gap(Rc<str>),
    /// The answer of the store to the request with this number.
    Answer {
        number: u64,
        answer: Rc<StoreAnswer>,
    },
}

/// The connections of one node.
#[derive(Debug, Default)]
struct NodeLink {
    up: bool,
    /// Counts connections.
    session: u64,
    /// The topics that the node wants.
    wanted_topics: BTreeSet<Rc<str>>,
    /// The topics that Redis delivers, and from which time on: a confirmation comes before what it confirms.
    subscribed: BTreeMap<Rc<str>, u64>,
    /// The arrival of the last message of the node, on the connection for commands and on that for subscriptions.
    said: u64,
    asked: u64,
    /// The arrival of the last answer of the store at the node.
    answered: u64,
    /// True while messages of the node, or those for it, are held back.
    mute: bool,
    deaf: bool,
    held: Vec<Wire>,
}

#[derive(Debug)]
pub(crate) struct Redis {
    links: Vec<NodeLink>,
    /// The arrival of the last message of a publisher on a topic at a subscriber.
    last: HashMap<(Peer, Peer, Rc<str>), u64>,
    /// The same for all messages to a subscriber.
    last_of_all: HashMap<Peer, u64>,
    is_down: bool,
    stalled_until: u64,
    /// The messages that have arrived during a stall, in their order: connections keep it.
    stalled: VecDeque<Wire>,
    /// The time until which the store answers late.
    slow_until: u64,
    pub(crate) histories: HistoryStore,
    quality: Quality,
    /// The peer to which the next message is lost without a report.
    lose_next: Option<Peer>,
    coming: Vec<(u64, Wire)>,
}

/// The quality of the connections.
#[derive(Clone, Debug)]
pub(crate) struct Quality {
    pub(crate) delay: (u64, u64),
    pub(crate) ordered: bool,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) silent: u64,
    /// The number of answers of the store in a thousand that are lost.
    pub(crate) unanswered: u64,
    /// The most messages that a history keeps.
    pub(crate) kept: usize,
}

impl Quality {
    pub(crate) fn of(plan: &Plan) -> Quality {
        let Plan { delay, ordered, duplicates, gaps, silent, histories, .. } = *plan;
        let (unanswered, kept) = histories.map_or((0, 0), |histories| (histories.unanswered, histories.kept));
        Quality { delay, ordered, duplicates, gaps, silent, unanswered, kept }
    }
}

impl Redis {
    pub(crate) fn new(quality: Quality) -> Redis {
        Redis {
            links: Vec::new(),
            last: HashMap::new(),
            last_of_all: HashMap::new(),
            is_down: false,
            stalled_until: 0,
            stalled: VecDeque::new(),
            slow_until: 0,
            histories: HistoryStore::new(quality.kept),
            quality,
            lose_next: None,
            coming: Vec::new(),
        }
    }

    /// The messages that were sent since the last call, with their times of arrival.
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, (u64, Wire)> {
        self.coming.drain(..)
    }

    pub(crate) fn add_peer(&mut self) -> Peer {
        self.links.push(NodeLink::default());
        self.links.len() - 1
    }

    pub(crate) fn is_up(&self, peer: Peer) -> bool {
        self.links[peer].up
    }

    pub(crate) fn session(&self, peer: Peer) -> u64 {
        self.links[peer].session
    }

    /// Returns whether a node could connect.
    pub(crate) fn is_reachable(&self, peer: Peer, now: u64) -> bool {
        let link = &self.links[peer];
        !self.is_down && !link.mute && !link.deaf && self.stalled_until <= now
    }

    pub(crate) fn can_send(&self, peer: Peer) -> bool {
        self.links[peer].up && !self.links[peer].mute && !self.is_down
    }

    pub(crate) fn stalled_until(&self) -> u64 {
        self.stalled_until
    }

    /// Connects a node, which subscribes to all it wants, in portions.
    pub(crate) fn connect(&mut self, peer: Peer, now: u64, rng: &mut Rng) {
        let link = &mut self.links[peer];
        link.up = true;
        link.session += 1;
        (link.said, link.asked, link.answered) = (now, now, now);
        let mut wanted: Vec<_> = link.wanted_topics.iter().cloned().collect();
        while !wanted.is_empty() {
            let rest = wanted.split_off(rng.range((1, wanted.len() as u64)) as usize);
            self.ask(peer, now, wanted, true, rng);
            wanted = rest;
        }
    }

    /// Closes the connections of a node. Messages in flight to it are lost, and those from it may be.
    pub(crate) fn disconnect(&mut self, peer: Peer) {
        let link = &mut self.links[peer];
        link.up = false;
        link.session += 1;
        link.subscribed.clear();
        link.held.clear();
    }

    /// Changes the topics that a node wants: first adds those of `add`, then removes the others.
    pub(crate) fn update_subscriptions(
        &mut self,
        peer: Peer,
        now: u64,
        add: &[Rc<str>],
        remove: &[Rc<str>],
        rng: &mut Rng,
    ) {
        let link = &mut self.links[peer];
        link.wanted_topics.extend(add.iter().cloned());
        link.wanted_topics.retain(|topic| !remove.contains(topic));
        let up = link.up;
        for (topics, more) in [(add, true), (remove, false)] {
            if up && !topics.is_empty() {
                self.ask(peer, now, topics.to_vec(), more, rng);
            }
        }
    }

    fn ask(&mut self, peer: Peer, now: u64, topics: Vec<Rc<str>>, more: bool, rng: &mut Rng) {
        let delay = rng.range(self.quality.delay);
        let link = &mut self.links[peer];
        link.asked = link.asked.max(now + delay);
        let session = link.session;
        let wire = match more {
            true => Wire::Subscribe { peer, session, topics },
            false => Wire::Unsubscribe { peer, session, topics },
        };
        match link.mute {
            true => link.held.push(wire),
            false => self.coming.push((link.asked, wire)),
        }
    }

    /// Publishes a message of a node.
    pub(crate) fn publish(&mut self, from: Peer, now: u64, topic: Rc<str>, message: Rc<Envelope>, rng: &mut Rng) {
        let delay = rng.range(self.quality.delay);
        let link = &mut self.links[from];
        if !link.up {
            return;
        }
        link.said = link.said.max(now + delay);
        let wire = Wire::Publish { from, topic, message };
        match link.mute {
            true => link.held.push(wire),
            false => self.coming.push((link.said, wire)),
        }
    }

    /// Sends a request of a node to the store of histories.
    pub(crate) fn request(&mut self, from: Peer, now: u64, number: u64, request: StoreRequest, rng: &mut Rng) {
        let delay = rng.range(self.quality.delay);
        let link = &mut self.links[from];
        link.said = link.said.max(now + delay);
        let wire = Wire::Ask { from, session: link.session, number, request: Rc::new(request) };
        match link.mute {
            true => link.held.push(wire),
            false => self.coming.push((link.said, wire)),
        }
    }

    /// Executes a request to the store in one step: its messages are published in the order of their offsets.
    fn answer(&mut self, from: Peer, session: u64, now: u64, number: u64, request: &StoreRequest, rng: &mut Rng) {
        let (answer, published) = self.histories.handle(request, now);
        for (topic, message) in published {
            self.fan_out(from, now, &topic, &message, rng);
        }
        if session != self.links[from].session || rng.per_mille(self.quality.unanswered) {
            return;
        }
        let slow = if now < self.slow_until { rng.range((500, 4000)) } else { 0 };
        let at = now + slow + rng.range(self.quality.delay);
        let link = &mut self.links[from];
        link.answered = link.answered.max(at);
        let what = Delivered::Answer { number, answer: Rc::new(answer) };
        self.coming.push((link.answered, Wire::Deliver { to: from, session, what }));
    }

    /// Handles a message that has arrived at Redis.
    pub(crate) fn arrive(&mut self, wire: Wire, now: u64, rng: &mut Rng) {
        let is_next = matches!(wire, Wire::Stalled);
        if self.is_down {
            // What has arrived before is lost as well.
            is_next.then(|| self.stalled.pop_front());
            return;
        }
        if now < self.stalled_until || (!is_next && !self.stalled.is_empty()) {
            if !is_next {
                self.stalled.push_back(wire);
            }
            self.coming.push((self.stalled_until.max(now), Wire::Stalled));
            return;
        }
        let Some(wire) = (if is_next { self.stalled.pop_front() } else { Some(wire) }) else { return };
        match wire {
            Wire::Publish { from, topic, message } => self.fan_out(from, now, &topic, &message, rng),
            Wire::Ask { from, session, number, request } => self.answer(from, session, now, number, &request, rng),
            Wire::Subscribe { peer, session, topics } if session == self.links[peer].session => {
                let at = self.arrival(peer, now, rng);
                self.links[peer].subscribed.extend(topics.iter().map(|topic| (topic.clone(), at)));
                self.coming.push((at, Wire::Deliver { to: peer, session, what: Delivered::Subscribed(topics) }));
            }
            Wire::Unsubscribe { peer, session, topics } if session == self.links[peer].session => {
                self.links[peer].subscribed.retain(|topic, _| !topics.contains(topic));
            }
            Wire::Subscribe { .. } | Wire::Unsubscribe { .. } => {}
            Wire::Stalled | Wire::Deliver { .. } => unreachable!("no message to Redis"),
        }
    }

    fn fan_out(&mut self, from: Peer, now: u64, topic: &Rc<str>, message: &Rc<Envelope>, rng: &mut Rng) {
        for to in 0..self.links.len() {
            let Some(&confirmed) = self.links[to].subscribed.get(topic) else { continue };
            let session = self.links[to].session;
            let free = self.arrival(to, now, rng);
            let last = self.last.entry((from, to, topic.clone())).or_default();
            let at = free.max(confirmed).max(*last);
            *last = at;
            let deliver = |what| Wire::Deliver { to, session, what };
            let whole = Delivered::Message { topic: topic.clone(), message: message.clone() };
            if self.lose_next == Some(to) {
                self.lose_next = None;
            } else if rng.per_mille(self.quality.silent) {
                continue;
            } else if rng.per_mille(self.quality.gaps) {
                let late = if rng.coin() { 0 } else { rng.below(200) };
                self.coming.push((at + late, deliver(Delivered::Gap(topic.clone()))));
            } else if rng.per_mille(self.quality.duplicates) {
                self.coming.push((at, deliver(whole.clone())));
                self.coming.push((at + rng.below(3000), deliver(whole)));
            } else {
                self.coming.push((at, deliver(whole)));
            }
        }
    }

    fn arrival(&mut self, to: Peer, now: u64, rng: &mut Rng) -> u64 {
        let at = now + rng.range(self.quality.delay);
        if !self.quality.ordered {
            return at;
        }
        let last = self.last_of_all.entry(to).or_default();
        *last = at.max(*last);
        *last
    }

    /// Returns whether a message reaches its node: it is lost with the connection, and waits while the way is blocked.
    pub(crate) fn lands(&mut self, to: Peer, session: u64, what: &Delivered) -> bool {
        let link = &mut self.links[to];
        if link.session != session || !link.up {
            return false;
        }
        if link.deaf {
            link.held.push(Wire::Deliver { to, session, what: what.clone() });
        }
        !link.deaf
    }

    pub(crate) fn block(&mut self, peer: Peer, mute: bool, deaf: bool) {
        let link = &mut self.links[peer];
        (link.mute, link.deaf) = (link.mute || mute, link.deaf || deaf);
    }

    /// Unblocks a connection: the messages that were held back continue, in order.
    pub(crate) fn unblock(&mut self, peer: Peer, now: u64) {
        let link = &mut self.links[peer];
        (link.mute, link.deaf) = (false, false);
        (link.said, link.asked) = (link.said.max(now), link.asked.max(now));
        for wire in std::mem::take(&mut link.held) {
            self.coming.push((now, wire));
        }
    }

    /// Returns whether an answer of the store reaches a node whose subscriptions are blocked: it comes over another
    /// connection.
    pub(crate) fn passes(&self, to: Peer, session: u64) -> bool {
        self.links[to].session == session && self.links[to].up
    }

    /// The store answers late for a while.
    pub(crate) fn slow_down(&mut self, until: u64) {
        self.slow_until = self.slow_until.max(until);
    }

    pub(crate) fn stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Returns whether Redis runs.
    pub(crate) fn is_reachable_at_all(&self) -> bool {
        !self.is_down
    }

    pub(crate) fn set_down(&mut self, is_down: bool) {
        self.is_down = is_down;
    }

    /// Ends all losses except those of [`Redis::lose_next`].
    pub(crate) fn heal(&mut self) {
        (self.quality.gaps, self.quality.silent, self.quality.unanswered) = (0, 0, 0);
        self.slow_until = 0;
    }

    pub(crate) fn lose_next(&mut self, to: Peer) {
        self.lose_next = Some(to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pondsocket_proto::cluster::message::Body;

    use super::*;

    fn redis(change: impl FnOnce(&mut Quality)) -> Redis {
        let mut quality =
            Quality { delay: (0, 50), ordered: false, duplicates: 0, gaps: 0, silent: 0, unanswered: 0, kept: 0 };
        change(&mut quality);
        Redis::new(quality)
    }

    fn message(id: &str) -> Rc<Envelope> {
        let body = Body::NodeHeartbeat { node: "n".into() };
        let (id, source) = (id.into(), "n".into());
        Rc::new(Envelope { id, source, channel: None, timestamp: 0, body, ext: None })
    }

    /// Runs until no message is in flight, and returns the deliveries in order.
    fn run(redis: &mut Redis, rng: &mut Rng) -> Vec<(Peer, String)> {
        let (mut way, mut number, mut came) = (BTreeMap::new(), 0, Vec::new());
        loop {
            for (at, wire) in redis.drain() {
                number += 1;
                way.insert((at, number), wire);
            }
            let Some(((now, _), wire)) = way.pop_first() else { return came };
            match wire {
                Wire::Deliver { to, session, what } if redis.lands(to, session, &what) => came.push((
                    to,
                    match what {
                        Delivered::Message { message, .. } => message.id.to_string(),
                        Delivered::Subscribed(topics) => format!("subscribed {}", topics.join(" ")),
                        Delivered::Gap(topic) => format!("gap {topic}"),
                        Delivered::Answer { number, .. } => format!("answer {number}"),
                    },
                )),
                Wire::Deliver { .. } => {}
                wire => redis.arrive(wire, now, rng),
            }
        }
    }

    /// Two nodes, of which the second has subscribed to `t`.
    fn two(redis: &mut Redis, rng: &mut Rng) {
        for peer in 0..2 {
            assert_eq!(redis.add_peer(), peer);
            redis.connect(peer, 0, rng);
        }
        redis.update_subscriptions(1, 0, &["t".into()], &[], rng);
        assert_eq!(run(redis, rng), [(1, "subscribed t".to_owned())]);
    }

    #[test]
    fn messages_of_one_publisher_on_one_topic_arrive_in_order() {
        let (mut redis, mut rng) = (redis(|_| {}), Rng::new(1));
        two(&mut redis, &mut rng);
        let ids: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        for (now, id) in ids.iter().enumerate() {
            redis.publish(0, 1000 + now as u64, "t".into(), message(id), &mut rng);
        }
        assert_eq!(run(&mut redis, &mut rng), ids.into_iter().map(|id| (1, id)).collect::<Vec<_>>());
    }

    #[test]
    fn publishers_overtake_each_other() {
        let (mut redis, mut rng) = (redis(|_| {}), Rng::new(1));
        two(&mut redis, &mut rng);
        for n in 0..50 {
            redis.publish(0, 1000, "t".into(), message(&format!("0 {n}")), &mut rng);
            redis.publish(1, 1000, "t".into(), message(&format!("1 {n}")), &mut rng);
        }
        let came = run(&mut redis, &mut rng);
        assert_eq!(came.len(), 100);
        assert!(came.windows(2).any(|pair| pair[0].1[..1] == pair[1].1[..1]), "{came:?}");
    }

    #[test]
    fn a_loss_is_reported_if_it_should_be() {
        let (mut loud, mut rng) = (redis(|quality| quality.gaps = 1000), Rng::new(1));
        two(&mut loud, &mut rng);
        loud.publish(0, 1000, "t".into(), message("a"), &mut rng);
        assert_eq!(run(&mut loud, &mut rng), [(1, "gap t".to_owned())]);

        let mut silent = redis(|quality| quality.silent = 1000);
        two(&mut silent, &mut rng);
        silent.publish(0, 1000, "t".into(), message("a"), &mut rng);
        assert_eq!(run(&mut silent, &mut rng), []);
        silent.heal();
        silent.lose_next(1);
        silent.publish(0, 1000, "t".into(), message("b"), &mut rng);
        silent.publish(0, 1000, "t".into(), message("c"), &mut rng);
        assert_eq!(run(&mut silent, &mut rng), [(1, "c".to_owned())]);
    }

    #[test]
    fn a_lost_connection_loses_messages_in_flight_and_is_restored_with_all_topics() {
        let (mut redis, mut rng) = (redis(|_| {}), Rng::new(1));
        two(&mut redis, &mut rng);
        redis.publish(0, 1000, "t".into(), message("a"), &mut rng);
        redis.disconnect(1);
        assert_eq!(run(&mut redis, &mut rng), []);
        redis.update_subscriptions(1, 2000, &["u".into()], &[], &mut rng);
        redis.connect(1, 2000, &mut rng);
        let came: Vec<_> = run(&mut redis, &mut rng).into_iter().map(|(_, what)| what).collect();
        assert_eq!(came.join(" ").replace("subscribed ", ""), "t u");
    }

    #[test]
    fn a_stall_keeps_the_order_also_if_it_lasts_longer_than_it_first_seemed() {
        let (mut redis, mut rng) = (redis(|quality| quality.delay = (0, 0)), Rng::new(1));
        two(&mut redis, &mut rng);
        redis.stall(2000);
        redis.publish(0, 1000, "t".into(), message("a"), &mut rng);
        let (_, first) = redis.drain().next().expect("on its way");
        redis.arrive(first, 1000, &mut rng);
        redis.stall(3000);
        // This one arrives before the end of the first stall, and that one as it ends.
        for (sent, id) in [(1500, "b"), (3000, "c")] {
            redis.publish(0, sent, "t".into(), message(id), &mut rng);
        }
        assert_eq!(run(&mut redis, &mut rng), ["a", "b", "c"].map(|id| (1, id.to_owned())));
    }

    #[test]
    fn a_blocked_connection_delays_messages_until_it_is_unblocked() {
        let (mut redis, mut rng) = (redis(|_| {}), Rng::new(1));
        two(&mut redis, &mut rng);
        for (peer, mute) in [(0, true), (1, false)] {
            redis.block(peer, mute, !mute);
            redis.publish(0, 1000, "t".into(), message("a"), &mut rng);
            redis.publish(0, 1001, "t".into(), message("b"), &mut rng);
            assert_eq!(run(&mut redis, &mut rng), []);
            redis.unblock(peer, 2000);
            assert_eq!(run(&mut redis, &mut rng), [(1, "a".to_owned()), (1, "b".to_owned())]);
        }
    }
}

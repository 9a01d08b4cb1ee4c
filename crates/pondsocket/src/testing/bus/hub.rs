//! A bus in memory, with faults to be set by tests.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::bus_under_test::{Breaker, BusUnderTest};
use super::store::Store;
use crate::cluster::{
    Append, Appended, BoxFuture, Bus, BusError, BusErrorKind, BusEvent, BusSession, BusSink, BusStats, Epoch, GapCause,
    HistoryStore, Lease, Leases, Lost, NodeId, Outcome, Position, Publish, Stop, StoredHistory, StoredRecord, Topic,
};

/// The most messages in flight to one node while its messages are [delayed](MemoryBus::delay). A further message is lost, with
/// a gap, as in an engine with a bounded buffer.
const MAX_IN_FLIGHT: usize = 64 * 1024;

/// The engine that joins the nodes of one process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryHub(Arc<SharedHub>);

/// The bus of one node, with methods that inject faults. Without faults a message arrives before `publish` returns.
#[derive(Debug)]
pub struct MemoryBus {
    hub: Arc<SharedHub>,
    me: usize,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct SharedHub {
    /// Never held across an await. The lock order is this one, then that of a sink.
    state: Mutex<HubState>,
}

#[derive(Debug, Default)]
struct HubState {
    nodes: Vec<HubNode>,
    leases: BTreeMap<NodeId, Instant>,
    /// The nodes that have renewed a lease and not released it.
    known: HashSet<NodeId>,
    /// The largest incarnation of each name.
    incarnations: HashMap<Arc<str>, u64>,
    store: Store,
}

#[derive(Debug, Default)]
struct HubNode {
    interest: BTreeSet<Topic>,
    sink: Option<BusSink>,
    cut: bool,
    sessions: u64,
    since: Option<Instant>,
    inbound: Inbound,
    answers: Answers,
    /// Wakes the node's task when there is a message in flight.
    wake: Arc<Notify>,
    sent: u64,
    not_sent: u64,
    unknown: u64,
    received: u64,
}

/// The messages in flight to one node, and the faults set for further ones.
#[derive(Debug, Default)]
struct Inbound {
    delay: Duration,
    lose: u64,
    lose_with_gap: u64,
    duplicate: u64,
    in_flight: VecDeque<(Instant, BusEvent)>,
}

/// The faults set for the answers of the store to one node.
#[derive(Debug, Default)]
struct Answers {
    delay: Duration,
    lose: u64,
    lose_appends: u64,
}

impl MemoryHub {
    /// A hub without nodes.
    pub fn new() -> MemoryHub {
        MemoryHub::default()
    }

    /// The bus of one more node.
    pub fn node(&self) -> Arc<MemoryBus> {
        let node = HubNode::default();
        let wake = node.wake.clone();
        let mut state = self.0.state();
        state.nodes.push(node);
        Arc::new(MemoryBus { hub: self.0.clone(), me: state.nodes.len() - 1, wake })
    }

    /// Removes all leases and incarnations, as an engine that has lost its data.
    pub fn forget_leases(&self) {
        let mut state = self.0.state();
        state.leases.clear();
        state.incarnations.clear();
    }

    /// Removes all histories and records, as an engine that has lost its data.
    pub fn lose_history(&self) {
        self.0.state().store = Store::default();
    }

    /// Makes all histories begin anew, as an engine in which a replica that may lag behind was promoted: none can tell if the
    /// end of its history is missing. Records stay.
    pub fn fail_over(&self) {
        self.0.state().store.lose_histories();
    }
}

impl MemoryBus {
    /// Disconnects this node from the engine: it receives `Down`, messages in flight to it are lost, and it can neither publish
    /// nor renew its lease.
    pub fn cut(&self) {
        self.with_node(|node| {
            node.cut = true;
            node.down("cut off by the test");
        });
    }

    /// Connects it again: the node receives `Up`, and its topics are subscribed.
    pub fn restore(&self) {
        self.with_node(|node| {
            node.cut = false;
            node.up();
        });
    }

    /// Loses this many of the next messages to this node, without an event.
    pub fn lose(&self, messages: u64) {
        self.with_node(|node| node.inbound.lose += messages);
    }

    /// Loses this many of the next messages to this node, each with a `Gap`.
    pub fn lose_with_gap(&self, messages: u64) {
        self.with_node(|node| node.inbound.lose_with_gap += messages);
    }

    /// Delays all further events of this node. The order stays: a shorter delay does not let an event overtake earlier ones.
    pub fn delay(&self, delay: Duration) {
        self.with_node(|node| node.inbound.delay = delay);
    }

    /// Delivers each of this many of the next messages to this node twice.
    pub fn duplicate(&self, messages: u64) {
        self.with_node(|node| node.inbound.duplicate += messages);
    }

    /// Makes the outcome of this many of the next messages that this node appends unknown. They are appended.
    pub fn lose_answers(&self, messages: u64) {
        self.with_node(|node| node.answers.lose += messages);
    }

    /// Makes the outcome of this many of the next messages that this node appends unknown. They are not appended. They come
    /// ahead of those of [`lose_answers`](Self::lose_answers).
    pub fn lose_appends(&self, messages: u64) {
        self.with_node(|node| node.answers.lose_appends += messages);
    }

    /// Delays all further answers of the store to this node: what it asks for happens at once, and the answer is as of then.
    /// An answer is lost if the node is [cut](Self::cut) meanwhile.
    pub fn delay_answers(&self, delay: Duration) {
        self.with_node(|node| node.answers.delay = delay);
    }

    fn with_node(&self, change: impl FnOnce(&mut HubNode)) {
        change(&mut self.hub.state().nodes[self.me]);
    }

    /// Gives the answer of the store after the delay that is set, or the result of `lost` if the node is disconnected before.
    fn answer<'a, T: Send + 'a>(&'a self, answer: T, lost: fn(T) -> T) -> BoxFuture<'a, T> {
        let (delay, session) = {
            let node = &self.hub.state().nodes[self.me];
            (node.answers.delay, node.sessions)
        };
        if delay.is_zero() {
            return Box::pin(std::future::ready(answer));
        }
        let due = Instant::now() + delay;
        Box::pin(async move {
            sleep_until(due).await;
            let is_same = {
                let node = &self.hub.state().nodes[self.me];
                node.is_up() && node.sessions == session
            };
            if is_same { answer } else { lost(answer) }
        })
    }

    /// Asks the store, if the node is connected.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        question: impl FnOnce(&mut Store, Instant) -> T,
    ) -> BoxFuture<'a, Result<T, BusError>> {
        let answer = self.check().map(|()| question(&mut self.hub.state().store, Instant::now()));
        self.answer(answer, |_| Err(disconnected()))
    }

    fn check(&self) -> Result<(), BusError> {
        if self.hub.state().nodes[self.me].is_up() { Ok(()) } else { Err(disconnected()) }
    }
}

fn disconnected() -> BusError {
    BusError::new(BusErrorKind::Closed, "this node is not connected to the hub")
}

impl Bus for MemoryBus {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>> {
        Box::pin(async move {
            let running = Running(&self);
            self.with_node(|node| {
                node.sink = Some(sink);
                node.up();
            });
            loop {
                let due = self.hub.state().nodes[self.me].deliver_due(Instant::now());
                let wait = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = stop.stopped() => break,
                    () = self.wake.notified() => {}
                    () = wait => {}
                }
            }
            drop(running);
            Ok(())
        })
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        self.with_node(|node| {
            node.interest.extend(add.iter().cloned());
            for topic in remove {
                node.interest.remove(topic);
            }
            // Not those that the same call removes again: `Subscribed` names topics that deliver.
            node.confirm(add.iter().filter(|topic| node.interest.contains(*topic)).cloned().collect());
        });
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        let outcomes = self.hub.state().publish(self.me, batch);
        Box::pin(std::future::ready(outcomes))
    }

    fn leases(&self) -> Option<&dyn Leases> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }

    fn stats(&self) -> BusStats {
        let state = self.hub.state();
        let node = &state.nodes[self.me];
        let mut stats = BusStats::default();
        stats.up = node.is_up();
        stats.down_for =
            if stats.up { Duration::ZERO } else { node.since.map_or(Duration::ZERO, |since| since.elapsed()) };
        stats.sessions = node.sessions;
        stats.wanted_topics = node.interest.len();
        stats.active_topics = if stats.up { node.interest.len() } else { 0 };
        (stats.sent, stats.not_sent, stats.unknown) = (node.sent, node.not_sent, node.unknown);
        stats.received = node.received;
        stats
    }
}

impl Leases for MemoryBus {
    fn acquire<'a>(&'a self, name: &'a str, ttl: Duration) -> BoxFuture<'a, Result<u64, BusError>> {
        let answer = self.check().map(|()| self.hub.state().acquire(name, ttl));
        Box::pin(std::future::ready(answer))
    }

    fn renew<'a>(&'a self, me: &'a NodeId, ttl: Duration) -> BoxFuture<'a, Result<Lease, BusError>> {
        let answer = self.check().map(|()| self.hub.state().renew(me, ttl));
        Box::pin(std::future::ready(answer))
    }

    fn release<'a>(&'a self, me: &'a NodeId) -> BoxFuture<'a, Result<(), BusError>> {
        let answer = self.check().map(|()| {
            let mut state = self.hub.state();
            state.leases.remove(me);
            state.known.remove(me);
        });
        Box::pin(std::future::ready(answer))
    }
}

impl HistoryStore for MemoryBus {
    fn append(&self, batch: Vec<Append>) -> BoxFuture<'_, Vec<Appended>> {
        let outcomes = self.hub.state().append(self.me, batch);
        self.answer(outcomes, |mut outcomes| {
            for outcome in &mut outcomes {
                if matches!(outcome, Appended::At(_)) {
                    *outcome = Appended::Unknown(disconnected());
                }
            }
            outcomes
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a Topic,
        after: Option<Position>,
        most: usize,
    ) -> BoxFuture<'a, Result<StoredHistory, BusError>> {
        self.ask(|store, now| store.read(topic, after, most, now))
    }

    fn begin<'a>(&'a self, topic: &'a Topic, epoch: Epoch, life: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        self.ask(|store, now| store.begin(topic, epoch, life, now))
    }

    fn restart<'a>(&'a self, topic: &'a Topic, epoch: Epoch, ttl: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        self.ask(|store, now| store.restart(topic, epoch, ttl, now))
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredRecord>, BusError>> {
        self.ask(|store, now| store.get(key, now))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        record: &'a StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, BusError>> {
        self.ask(|store, now| store.put(key, record, replaces, ttl, now))
    }
}

/// The time for which a node runs. Its drop, also when the future of `run` is dropped, disconnects the node.
struct Running<'a>(&'a MemoryBus);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.hub.state();
        let node = &mut state.nodes[self.0.me];
        let sink = node.sink.take();
        node.inbound.in_flight.clear();
        node.since = Some(Instant::now());
        // The drop of the sink ends the node's events and wakes their reader: not under the lock.
        drop(state);
        drop(sink);
    }
}

impl SharedHub {
    fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HubState {
    fn publish(&mut self, from: usize, batch: Vec<Publish>) -> Vec<Outcome> {
        let count = batch.len() as u64;
        if !self.nodes[from].is_up() {
            self.nodes[from].not_sent += count;
            return batch.iter().map(|_| Outcome::NotSent(disconnected())).collect();
        }
        self.nodes[from].sent += count;
        let send = |Publish { topic, data }: Publish| Outcome::Sent { receivers: Some(self.send(&topic, &data)) };
        batch.into_iter().map(send).collect()
    }

    /// Sends a message to all nodes that are subscribed, and returns their number.
    fn send(&mut self, topic: &Topic, data: &Bytes) -> u64 {
        let listeners = self.nodes.iter_mut().filter(|node| node.is_up() && node.interest.contains(topic));
        listeners.map(|node| node.receive(topic.clone(), data.clone())).count() as u64
    }

    fn append(&mut self, from: usize, batch: Vec<Append>) -> Vec<Appended> {
        batch.into_iter().map(|append| self.append_one(from, &append)).collect()
    }

    fn append_one(&mut self, from: usize, append: &Append) -> Appended {
        if !self.nodes[from].is_up() {
            self.nodes[from].not_sent += 1;
            return Appended::NotSent(disconnected());
        }
        let unknown = || Appended::Unknown(BusError::new(BusErrorKind::Timeout, "the test has lost the answer"));
        if take_one(&mut self.nodes[from].answers.lose_appends) {
            self.nodes[from].unknown += 1;
            return unknown();
        }
        let (position, data) = self.store.append(append, Instant::now());
        if let Some(data) = data {
            self.send(&append.topic, &data);
        }
        let node = &mut self.nodes[from];
        if take_one(&mut node.answers.lose) {
            node.unknown += 1;
            return unknown();
        }
        node.sent += 1;
        Appended::At(position)
    }

    fn acquire(&mut self, name: &str, ttl: Duration) -> u64 {
        let held = self.leases.keys().filter(|id| &*id.name == name).map(|id| id.incarnation);
        let last = held.chain(self.incarnations.get(name).copied()).max();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        // Above all earlier ones, also those that nodes have numbered by clocks that were ahead.
        let incarnation = last.map_or(0, |last| last + 1).max(now);
        self.renew(&NodeId { name: name.into(), incarnation }, ttl);
        incarnation
    }

    fn renew(&mut self, me: &NodeId, ttl: Duration) -> Lease {
        let now = Instant::now();
        let last = self.incarnations.entry(Arc::clone(&me.name)).or_default();
        *last = me.incarnation.max(*last);
        let held = self.leases.insert(me.clone(), now + ttl).is_some_and(|until| until > now);
        let was_expired = !self.known.insert(me.clone()) && !held;
        let expired: Vec<_> =
            self.leases.iter().filter(|(_, until)| **until <= now).map(|(node, _)| node.clone()).collect();
        self.leases.retain(|_, until| *until > now);
        Lease { alive: self.leases.keys().cloned().collect(), expired, was_expired }
    }
}

impl HubNode {
    fn is_up(&self) -> bool {
        self.sink.is_some() && !self.cut
    }

    fn up(&mut self) {
        if self.is_up() {
            self.sessions += 1;
            self.since = None;
            self.deliver(BusEvent::Up { session: BusSession(self.sessions) });
            self.confirm(self.interest.iter().cloned().collect());
        }
    }

    fn down(&mut self, reason: &str) {
        self.inbound.in_flight.clear();
        self.since = Some(Instant::now());
        // Without a delay: the loss of the connection overtakes what was in flight over it.
        if let Some(sink) = &self.sink {
            sink.push(BusEvent::Down { reason: BusError::new(BusErrorKind::Closed, reason) });
        }
    }

    fn confirm(&mut self, topics: Vec<Topic>) {
        if self.is_up() && !topics.is_empty() {
            self.deliver(BusEvent::Subscribed { session: BusSession(self.sessions), topics });
        }
    }

    fn receive(&mut self, topic: Topic, data: Bytes) {
        self.received += 1;
        if take_one(&mut self.inbound.lose) {
            return;
        }
        if take_one(&mut self.inbound.lose_with_gap) || self.inbound.in_flight.len() >= MAX_IN_FLIGHT {
            return self.deliver(BusEvent::Gap { lost: Lost::Topics(vec![topic]), cause: GapCause::Engine });
        }
        let message = BusEvent::Message { topic, data };
        if take_one(&mut self.inbound.duplicate) {
            self.deliver(message.clone());
        }
        self.deliver(message);
    }

    /// Delivers an event at once if there is no delay and none is in flight, otherwise behind those in flight.
    fn deliver(&mut self, event: BusEvent) {
        let Some(sink) = &self.sink else { return };
        let inbound = &mut self.inbound;
        if inbound.delay.is_zero() && inbound.in_flight.is_empty() {
            return sink.push(event);
        }
        let due = Instant::now() + inbound.delay;
        // Never before an earlier event: a bus keeps the order of one publisher.
        let due = inbound.in_flight.back().map_or(due, |(last, _)| due.max(*last));
        inbound.in_flight.push_back((due, event));
        self.wake.notify_one();
    }

    /// Delivers the events that are due, and returns the time at which the next one is.
    fn deliver_due(&mut self, now: Instant) -> Option<Instant> {
        let sink = self.sink.as_ref()?;
        while self.inbound.in_flight.front().is_some_and(|(due, _)| *due <= now) {
            let (_, event) = self.inbound.in_flight.pop_front().expect("just seen");
            sink.push(event);
        }
        self.inbound.in_flight.front().map(|(due, _)| *due)
    }
}

/// Decrements a count, unless it is zero; returns `true` if it has.
fn take_one(count: &mut u64) -> bool {
    let some = *count > 0;
    *count -= u64::from(some);
    some
}

impl BusUnderTest for MemoryHub {
    fn bus(&self) -> Arc<dyn Bus> {
        self.node()
    }

    fn breaker(&self) -> Option<&dyn Breaker> {
        Some(self)
    }
}

/// Disconnects and connects all nodes.
impl Breaker for MemoryHub {
    fn cut(&self) -> BoxFuture<'_, ()> {
        for node in &mut self.0.state().nodes {
            node.cut = true;
            node.down("cut off by the test");
        }
        Box::pin(std::future::ready(()))
    }

    fn restore(&self) -> BoxFuture<'_, ()> {
        for node in &mut self.0.state().nodes {
            node.cut = false;
            node.up();
        }
        Box::pin(std::future::ready(()))
    }
}

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::subject::{Breaker, Subject};
use crate::cluster::{
    BoxFuture, Bus, BusError, BusErrorKind, BusEvent, BusSink, BusStats, GapCause, Lease, Leases, Lost, NodeId,
    Outcome, Publish, Session, Stop, Topic,
};

/// The most messages on their way to one node whose messages are [delayed](MemoryBus::delay). Any further message is
/// lost, with a gap.
const MAX_UNDER_WAY: usize = 64 * 1024;

/// Joins the nodes of one process. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct MemoryHub(Arc<Hub>);

/// One node's bus, and what can be done to it. As long as nothing is done to it messages arrive before `publish` returns.
#[derive(Debug)]
pub struct MemoryBus {
    hub: Arc<Hub>,
    me: usize,
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Hub {
    /// Held for a moment only. The lock of a sink may be taken within it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    leases: BTreeMap<NodeId, Instant>,
    /// The nodes that have renewed a lease and not released it.
    known: HashSet<NodeId>,
    /// The last life of each name.
    lives: HashMap<Arc<str>, u64>,
}

#[derive(Debug, Default)]
struct Node {
    interest: BTreeSet<Topic>,
    sink: Option<BusSink>,
    cut: bool,
    sessions: u64,
    since: Option<Instant>,
    line: Line,
    /// Something is under way that has to be brought in time.
    wake: Arc<Notify>,
    sent: u64,
    not_sent: u64,
    received: u64,
}

/// The faults set for messages to one node, and the messages that are on their way to it.
#[derive(Debug, Default)]
struct Line {
    delay: Duration,
    lose: u64,
    lose_with_gap: u64,
    duplicate: u64,
    under_way: VecDeque<(Instant, BusEvent)>,
}

impl MemoryHub {
    /// A hub without nodes.
    pub fn new() -> MemoryHub {
        MemoryHub::default()
    }

    /// The bus of one more node.
    pub fn node(&self) -> Arc<MemoryBus> {
        let node = Node::default();
        let wake = node.wake.clone();
        let mut state = self.0.state();
        state.nodes.push(node);
        Arc::new(MemoryBus { hub: self.0.clone(), me: state.nodes.len() - 1, wake })
    }

    /// Forgets all leases and the numbers of lives, as an engine that has lost its data.
    pub fn forget_leases(&self) {
        let mut state = self.0.state();
        state.leases.clear();
        state.lives.clear();
    }
}

impl MemoryBus {
    /// Takes the engine away from this node: it is told `Down`, what is under way to it is lost, and it can neither publish
    /// nor prolong its lease.
    pub fn cut(&self) {
        self.with_node(|node| {
            node.cut = true;
            node.down("cut off by the test");
        });
    }

    /// Gives it back: the node is told `Up`, and subscribed to its interest.
    pub fn restore(&self) {
        self.with_node(|node| {
            node.cut = false;
            node.up();
        });
    }

    /// Loses the next messages to this node, and tells nobody.
    pub fn lose(&self, messages: u64) {
        self.with_node(|node| node.line.lose += messages);
    }

    /// Loses the next messages to this node, and says so.
    pub fn lose_with_gap(&self, messages: u64) {
        self.with_node(|node| node.line.lose_with_gap += messages);
    }

    /// From now on everything takes so long to this node. Nothing overtakes what is under way.
    pub fn delay(&self, delay: Duration) {
        self.with_node(|node| node.line.delay = delay);
    }

    /// Brings each of the next messages to this node twice.
    pub fn duplicate(&self, messages: u64) {
        self.with_node(|node| node.line.duplicate += messages);
    }

    fn with_node(&self, act: impl FnOnce(&mut Node)) {
        act(&mut self.hub.state().nodes[self.me]);
    }

    fn check(&self) -> Result<(), BusError> {
        if self.hub.state().nodes[self.me].is_up() { Ok(()) } else { Err(away()) }
    }
}

fn away() -> BusError {
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
                let due = self.hub.state().nodes[self.me].bring(Instant::now());
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
        (stats.sent, stats.not_sent, stats.received) = (node.sent, node.not_sent, node.received);
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

/// A node that runs. It leaves the hub when its future ends or is dropped.
struct Running<'a>(&'a MemoryBus);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.hub.state();
        let node = &mut state.nodes[self.0.me];
        let sink = node.sink.take();
        node.line.under_way.clear();
        node.since = Some(Instant::now());
        drop(state);
        drop(sink);
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn publish(&mut self, from: usize, batch: Vec<Publish>) -> Vec<Outcome> {
        let count = batch.len() as u64;
        if !self.nodes[from].is_up() {
            self.nodes[from].not_sent += count;
            return batch.iter().map(|_| Outcome::NotSent(away())).collect();
        }
        self.nodes[from].sent += count;
        let send = |Publish { topic, data }: Publish| {
            let listeners = self.nodes.iter_mut().filter(|node| node.is_up() && node.interest.contains(&topic));
            let receivers = listeners.map(|node| node.receive(topic.clone(), data.clone())).count();
            Outcome::Sent { receivers: Some(receivers as u64) }
        };
        batch.into_iter().map(send).collect()
    }

    fn acquire(&mut self, name: &str, ttl: Duration) -> u64 {
        let held = self.leases.keys().filter(|id| &*id.name == name).map(|id| id.incarnation);
        let last = held.chain(self.lives.get(name).copied()).max();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let incarnation = last.map_or(0, |last| last + 1).max(now);
        self.renew(&NodeId { name: name.into(), incarnation }, ttl);
        incarnation
    }

    fn renew(&mut self, me: &NodeId, ttl: Duration) -> Lease {
        let now = Instant::now();
        let last = self.lives.entry(Arc::clone(&me.name)).or_default();
        *last = me.incarnation.max(*last);
        let held = self.leases.insert(me.clone(), now + ttl).is_some_and(|until| until > now);
        let was_expired = !self.known.insert(me.clone()) && !held;
        let expired: Vec<_> =
            self.leases.iter().filter(|(_, until)| **until <= now).map(|(node, _)| node.clone()).collect();
        self.leases.retain(|_, until| *until > now);
        Lease { alive: self.leases.keys().cloned().collect(), expired, was_expired }
    }
}

impl Node {
    fn is_up(&self) -> bool {
        self.sink.is_some() && !self.cut
    }

    fn up(&mut self) {
        if self.is_up() {
            self.sessions += 1;
            self.since = None;
            self.tell(BusEvent::Up { session: Session(self.sessions) });
            self.confirm(self.interest.iter().cloned().collect());
        }
    }

    fn down(&mut self, why: &str) {
        self.line.under_way.clear();
        self.since = Some(Instant::now());
        if let Some(sink) = &self.sink {
            sink.push(BusEvent::Down { reason: BusError::new(BusErrorKind::Closed, why) });
        }
    }

    fn confirm(&mut self, topics: Vec<Topic>) {
        if self.is_up() && !topics.is_empty() {
            self.tell(BusEvent::Subscribed { session: Session(self.sessions), topics });
        }
    }

    fn receive(&mut self, topic: Topic, data: bytes::Bytes) {
        self.received += 1;
        if take_one(&mut self.line.lose) {
            return;
        }
        if take_one(&mut self.line.lose_with_gap) || self.line.under_way.len() >= MAX_UNDER_WAY {
            return self.tell(BusEvent::Gap { lost: Lost::Topics(vec![topic]), cause: GapCause::Engine });
        }
        let message = BusEvent::Message { topic, data };
        if take_one(&mut self.line.duplicate) {
            self.tell(message.clone());
        }
        self.tell(message);
    }

    /// At once if it may, else behind what is under way.
    fn tell(&mut self, event: BusEvent) {
        let Some(sink) = &self.sink else { return };
        let line = &mut self.line;
        if line.delay.is_zero() && line.under_way.is_empty() {
            return sink.push(event);
        }
        let due = Instant::now() + line.delay;
        let due = line.under_way.back().map_or(due, |(last, _)| due.max(*last));
        line.under_way.push_back((due, event));
        self.wake.notify_one();
    }

    /// Brings what is due, and answers when the next is.
    fn bring(&mut self, now: Instant) -> Option<Instant> {
        let sink = self.sink.as_ref()?;
        while self.line.under_way.front().is_some_and(|(due, _)| *due <= now) {
            let (_, event) = self.line.under_way.pop_front().expect("just seen");
            sink.push(event);
        }
        self.line.under_way.front().map(|(due, _)| *due)
    }
}

fn take_one(count: &mut u64) -> bool {
    let some = *count > 0;
    *count -= u64::from(some);
    some
}

impl Subject for MemoryHub {
    fn bus(&self) -> Arc<dyn Bus> {
        self.node()
    }

    fn breaker(&self) -> Option<&dyn Breaker> {
        Some(self)
    }
}

/// All nodes at once.
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

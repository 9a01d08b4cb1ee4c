//! The messages of a node on their way into the store and to other nodes, and their positions on the way back. What is kept and what
//! is not is sent in one order. One batch at a time is on its way, which keeps the order when messages are appended again.

use std::collections::VecDeque;
use std::rc::Rc;

use pondsocket_proto::channel::{AppendedMessage, Outbound, UserMessage};
use pondsocket_proto::cluster::ChannelKey;
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, NodeEvent};
use pondsocket_proto::position::Position;

use super::super::redis::Peer;
use super::super::world::World;
use super::STORE_TIMEOUT;
use super::evictions::EVICTION;
use super::ledger::Detached;
use super::reads::{GRACE, RETRY};
use super::store::{Append, Author, StoreRequest, message_id};

/// The most messages of one batch.
const BATCH: usize = 128;

/// The pause after a batch that the store did not take whole.
const PAUSE: u64 = 50;

#[derive(Clone, Debug)]
struct QueuedAppend {
    key: ChannelKey,
    serial: u64,
    number: u64,
    message: UserMessage,
    /// The time at which it was queued.
    at: u64,
    /// True if the outcome of an earlier attempt is unknown.
    is_repeated: bool,
}

/// A message that waits to be sent.
enum Queued {
    Append(QueuedAppend),
    /// One that is not kept, with the id under which it is published.
    Publish(ChannelKey, String, UserMessage),
}

/// Messages on their way into the store, without one between them that is not kept.
struct Run {
    /// The number of the request.
    request: u64,
    /// The time at which it was sent.
    at: u64,
    batch: Vec<QueuedAppend>,
}

#[derive(Default)]
pub(super) struct SendQueue {
    waiting: VecDeque<Queued>,
    /// The batch on its way.
    sent: Vec<Run>,
    pause_until: u64,
}

/// The outcome of a batch.
enum Outcome {
    At(Vec<Position>),
    NotSent,
    Unknown,
}

impl SendQueue {
    pub(super) fn deadline(&self, now: u64) -> Option<u64> {
        if let Some(run) = self.sent.first() {
            return Some(run.at + STORE_TIMEOUT);
        }
        // What is not kept does not wait for a store that does not take messages.
        let is_due = self.waiting.iter().any(|queued| matches!(queued, Queued::Publish(..)));
        (!self.waiting.is_empty()).then_some(if is_due { now } else { self.pause_until.max(now) })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// Puts messages back, ahead of all others.
    fn give_back(&mut self, entries: Vec<QueuedAppend>) {
        entries.into_iter().rev().for_each(|entry| self.waiting.push_front(Queued::Append(entry)));
    }

    fn drop_channel(&mut self, key: &ChannelKey) {
        self.waiting.retain(|queued| !matches!(queued, Queued::Append(entry) if entry.key == *key));
    }
}

impl World {
    /// Takes what a channel has for other nodes.
    pub(super) fn take_outbound(&mut self, peer: Peer, key: &ChannelKey) {
        let now = self.now;
        let node = self.histories().nodes.get_mut(&peer).expect("it has the channel");
        let open = node.open.get_mut(key).expect("it has the channel");
        let (serial, outbound) = (open.serial, open.channel.take_outbound());
        for outbound in outbound {
            match outbound {
                Outbound::Append(AppendedMessage { number, message }) => {
                    let node = self.histories().nodes.get_mut(&peer).expect("it has the channel");
                    let entry = QueuedAppend { key: key.clone(), serial, number, message, at: now, is_repeated: false };
                    node.appends.waiting.push_back(Queued::Append(entry));
                    if self.gate.opens_barriers_early() {
                        self.change_history(peer, (key, Some(serial)), |open| {
                            let next = Position { offset: open.position().offset + 1, ..open.position() };
                            open.channel.place(number, Some(next));
                        });
                    }
                }
                Outbound::Message(mut message) => {
                    if message.event == EVICTION {
                        message.request_id = format!("eviction-{peer}-{now}");
                    }
                    let id = format!("{}-{}", message.request_id, self.histories().ledger.len());
                    match self.gate.overtakes_appends() {
                        true => self.publish_of(peer, key, &id, Body::UserMessage(message)),
                        false => {
                            let node = self.histories().nodes.get_mut(&peer).expect("it has the channel");
                            node.appends.waiting.push_back(Queued::Publish(key.clone(), id, message));
                        }
                    }
                }
                Outbound::Change(_) | Outbound::Moved(_) => {}
            }
        }
    }

    /// A message of a node on the topic of a channel.
    fn envelope_of(&mut self, peer: Peer, key: &ChannelKey, id: &str, body: Body) -> Envelope {
        let timestamp = self.now;
        let node = self.node(peer).expect("it is ours");
        let (ext, source) = (Some(Ext::new(node.id.clone())), node.id.source().into());
        Envelope { id: id.into(), source, channel: Some(key.clone()), timestamp, body, ext }
    }

    fn publish_of(&mut self, peer: Peer, key: &ChannelKey, id: &str, body: Body) {
        let topic = self.topics.channel(key);
        let (topic, message) = (self.intern(topic.as_str()), self.envelope_of(peer, key, id, body));
        self.redis.publish(peer, self.now, topic, Rc::new(message), &mut self.rng);
        self.collect();
    }

    /// Tells all nodes that a history has begun anew.
    pub(super) fn announce_restart(&mut self, peer: Peer, key: &ChannelKey) {
        let id = format!("restart-{}-{}", self.histories().epochs, peer);
        self.publish_of(peer, key, &id, Body::Node(NodeEvent::HistoryRestarted));
    }

    /// Sends the next messages of a node, if none are on their way.
    pub(super) fn send_next(&mut self, peer: Peer) {
        let now = self.now;
        self.fail_runs(peer, |run| now >= run.at + STORE_TIMEOUT);
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return };
        if !node.appends.sent.is_empty() {
            return;
        }
        let is_paused = now < node.appends.pause_until;
        let most = node.appends.waiting.len().min(if is_paused { usize::MAX } else { BATCH });
        let batch: Vec<_> = node.appends.waiting.drain(..most).collect();
        let mut run = Vec::new();
        for queued in batch {
            match queued {
                Queued::Append(entry) => run.push(entry),
                Queued::Publish(key, id, message) => {
                    if !is_paused {
                        self.append_run(peer, std::mem::take(&mut run));
                    }
                    self.publish_of(peer, &key, &id, Body::UserMessage(message));
                }
            }
        }
        match is_paused {
            true => self.histories().nodes.get_mut(&peer).expect("looked at").appends.give_back(run),
            false => self.append_run(peer, run),
        }
    }

    fn append_run(&mut self, peer: Peer, batch: Vec<QueuedAppend>) {
        let now = self.now;
        if batch.is_empty() {
            return;
        }
        if !self.redis.is_up(peer) {
            return self.apply_outcome(peer, batch, Outcome::NotSent);
        }
        let appends = batch.iter().map(|entry| self.append_of(peer, entry)).collect();
        let request = self.ask_store(peer, StoreRequest::Append(appends));
        let node = self.histories().nodes.get_mut(&peer).expect("it sends");
        node.appends.sent.push(Run { request, at: now, batch });
    }

    fn append_of(&mut self, peer: Peer, entry: &QueuedAppend) -> Append {
        let QueuedAppend { key, serial, number, message, is_repeated, .. } = entry;
        let by = Author { peer, serial: *serial, number: *number };
        let source = self.node(peer).expect("it is ours").id.source();
        let id = message_id(&source, by);
        let message = self.envelope_of(peer, key, &id, Body::UserMessage(message.clone()));
        let topic = self.topics.channel(key);
        let topic = self.intern(topic.as_str());
        let (fresh, is_repeated) = (self.histories().fresh_epoch(), *is_repeated && !self.gate.forgets_repeats());
        Append { key: key.clone(), topic, by, message, is_repeated, fresh }
    }

    /// Sends a request to the store, and returns its number.
    pub(super) fn ask_store(&mut self, peer: Peer, request: StoreRequest) -> u64 {
        let node = self.histories().nodes.get_mut(&peer).expect("it asks");
        node.requests += 1;
        let number = node.requests;
        self.note(|| format!("{peer} asks the store ({number}) {request:?}"));
        self.redis.request(peer, self.now, number, request, &mut self.rng);
        self.collect();
        number
    }

    /// Applies the positions of a run. Returns `false` if this was not the request of one on its way.
    pub(super) fn appended(&mut self, peer: Peer, number: u64, positions: &[Position]) -> bool {
        let Some(node) = self.histories().nodes.get_mut(&peer) else { return false };
        let Some(at) = node.appends.sent.iter().position(|run| run.request == number) else { return false };
        let Run { batch, .. } = node.appends.sent.remove(at);
        self.apply_outcome(peer, batch, Outcome::At(positions.to_vec()));
        true
    }

    /// The connection to the store is lost: the outcome of what is on its way is unknown.
    pub(super) fn fail_requests(&mut self, peer: Peer) {
        self.fail_runs(peer, |_| true);
        self.fail_reads(peer, |_| true);
    }

    fn fail_runs(&mut self, peer: Peer, fails: impl Fn(&Run) -> bool) {
        // Backwards: what is given back last is first again.
        while let Some(node) = self.histories().nodes.get_mut(&peer)
            && let Some(at) = node.appends.sent.iter().rposition(&fails)
        {
            let Run { batch, .. } = node.appends.sent.remove(at);
            self.apply_outcome(peer, batch, Outcome::Unknown);
        }
    }

    fn apply_outcome(&mut self, peer: Peer, batch: Vec<QueuedAppend>, outcome: Outcome) {
        let now = self.now;
        let (mut again, mut late) = (Vec::new(), Vec::new());
        for (at, mut entry) in batch.into_iter().enumerate() {
            let position = match &outcome {
                Outcome::At(positions) => positions[at],
                Outcome::Unknown if self.gate.appends_once() => continue,
                Outcome::NotSent | Outcome::Unknown => {
                    entry.is_repeated |= matches!(outcome, Outcome::Unknown);
                    let node = &self.histories().nodes[&peer];
                    if node.is_given_up(entry.at, now) {
                        late.push((entry.key.clone(), entry.serial));
                    }
                    again.push(entry);
                    continue;
                }
            };
            let ignores_epochs = self.gate.ignores_epochs();
            self.change_history(peer, (&entry.key, Some(entry.serial)), |open| {
                let epoch = if ignores_epochs { open.position().epoch } else { position.epoch };
                open.channel.place(entry.number, Some(Position { epoch, ..position }));
                if open.channel.is_behind() {
                    open.plan_read(now + GRACE);
                }
            });
        }
        let node = self.histories().nodes.get_mut(&peer).expect("it has appended");
        if !again.is_empty() {
            node.appends.pause_until = now + PAUSE;
        }
        node.appends.give_back(again);
        late.dedup();
        for (key, serial) in late {
            self.detach(peer, &key, serial);
        }
        self.plan_work(peer);
    }

    /// Lets a channel give positions by itself, because the store does not answer.
    pub(super) fn detach(&mut self, peer: Peer, key: &ChannelKey, serial: u64) {
        let now = self.now;
        let epoch = self.histories().fresh_epoch();
        self.note(|| format!("{peer} detaches {} with {epoch}", key.channel));
        let histories = self.histories();
        let node = histories.nodes.get_mut(&peer).expect("it detaches");
        node.appends.drop_channel(key);
        let detached = Detached { peer, key: key.clone(), serial, since: now, has_sent: false };
        histories.ledger.detached.insert(epoch, detached);
        self.change_history(peer, (key, Some(serial)), |open| {
            open.channel.detach(epoch);
            open.plan_read(now + RETRY);
        });
        self.admit_joins(peer, key);
    }
}

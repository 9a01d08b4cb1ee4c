use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pondsocket_proto::cluster::message::{Envelope, MAX_NAME, Malformed, ReceivedMessage, UserMessageRef};
use pondsocket_proto::cluster::{Admission, Bus as BusInput, ChannelKey, Input, NodeOutput, Verdict};
use pondsocket_proto::id::ChannelName;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Host, Node, history, lease, sender, sessions};
use crate::cluster::{BusEvent, BusEvents, BusSink, Lost, SinkLimits, Stop, Stopper, Topic};
use crate::engine::sync::Mutex;
use crate::metrics::ClusterEvent;

/// The most events of the bus that are taken at once: the core handles them under one lock, which channels wait for.
const EVENTS: usize = 256;

/// The sleep while the core has no deadline.
const NEVER: Duration = Duration::from_secs(3600);

/// The tasks of a node: one reads the bus, one feeds it, one renews the lease, and the bus runs in one of its own.
#[derive(Debug)]
pub(super) struct Tasks {
    stopper: Stopper,
    bus: Mutex<Option<JoinHandle<()>>>,
    others: Vec<JoinHandle<()>>,
}

impl Tasks {
    pub(super) fn start(node: &Arc<Node>, runtime: &Handle) -> Tasks {
        let (sink, events) = BusSink::new(SinkLimits::default());
        let (stopper, stop) = Stop::new();
        let bus = runtime.spawn(run_bus(Arc::clone(node), sink, stop));
        let mut others = vec![
            runtime.spawn(run(Arc::clone(node), events)),
            runtime.spawn(sender::run(Arc::clone(node))),
            runtime.spawn(lease::run(Arc::clone(node))),
        ];
        if node.shares_histories() {
            others.push(runtime.spawn(history::run_reads(Arc::clone(node))));
            others.push(runtime.spawn(history::run_prolongations(Arc::clone(node))));
            others.push(runtime.spawn(sessions::run(Arc::clone(node))));
        }
        Tasks { stopper, bus: Mutex::new(Some(bus)), others }
    }

    /// Ends all tasks at once.
    pub(super) fn abort(&self) {
        self.stopper.stop();
        self.others.iter().for_each(JoinHandle::abort);
        if let Some(bus) = self.bus.lock().take() {
            bus.abort();
        }
    }

    pub(super) async fn stop(&self, node: &Node, limit: Duration) {
        let deadline = Instant::now() + limit;
        // After the deadline the node stops anyway: its lease then expires, and other nodes hide it.
        let _ = timeout_at(deadline, async {
            node.stopped().await;
            // The `Bye` is in the queue. While the bus is down it cannot be sent, and the lease would expire in any
            // case.
            while node.is_up()
                && (node.outgoing.lock().publishes.depth().0 > 0 || node.has_appends() || node.has_records())
            {
                sleep(Duration::from_millis(5)).await;
            }
            lease::release(node).await;
        })
        .await;
        self.stopper.stop();
        let bus = self.bus.lock().take();
        if let Some(bus) = bus {
            // At the deadline the bus is dropped with its connections.
            let _ = timeout_at(deadline, bus).await;
        }
        self.others.iter().for_each(JoinHandle::abort);
    }
}

async fn run_bus(node: Arc<Node>, sink: BusSink, stop: Stop) {
    if let Err(error) = Arc::clone(&node.bus).run(sink, stop).await {
        tracing::error!(target: "pondsocket::bus", %error, "the bus has failed");
    }
}

/// The node task: reads the bus and executes the outputs of the core, until the bus has ended.
async fn run(node: Arc<Node>, mut events: BusEvents) {
    let mut batch = Vec::new();
    // Kept from one iteration to the next: to register a timer and a waiter anew for each message costs a lock each.
    let mut alarm = pin!(sleep_until(Instant::now() + NEVER));
    let mut woken = pin!(node.woken.notified());
    // The first tick: the core subscribes to the topics that every node needs.
    node.handle(Vec::new(), &[]);
    loop {
        let deadline = node.core.lock().deadline();
        let until = deadline.map_or_else(|| Instant::now() + NEVER, |at| node.clock.instant(at));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        tokio::select! {
            // Messages first: a late tick would otherwise hide nodes whose messages wait in the queue.
            biased;
            taken = events.next_batch(&mut batch, EVENTS) => if taken == 0 { return },
            () = &mut woken => woken.set(node.woken.notified()),
            () = &mut alarm => {}
        }
        if !node.has_identity() && batch.iter().any(|event| matches!(event, BusEvent::Up { .. })) {
            // The incarnation needs its number before its first message, and the core publishes once it has handled
            // `Up`.
            let incarnation = lease::acquire(&node).await;
            node.confirm(incarnation);
            node.handle(vec![Input::Incarnation(incarnation)], &[]);
            node.renewal_due.notify_one();
        }
        let inputs = std::mem::take(&mut *node.inputs.lock());
        let stops = inputs.iter().any(|input| matches!(input, Input::Stop));
        let has_new_subscriptions =
            batch.iter().any(|event| matches!(event, BusEvent::Subscribed { .. } | BusEvent::Down { .. }));
        // A history that was read before its topic was subscribed lacks what was appended between the two.
        let lost = match node.shares_histories() {
            true => batch.iter().filter_map(lost_topics).collect(),
            false => Vec::new(),
        };
        node.handle(inputs, &batch);
        batch.clear();
        // After the core has handled them: a join that wakes up asks the core.
        lost.iter().for_each(|lost| node.reread(lost));
        if has_new_subscriptions {
            node.subscriptions_changed.notify_waiters();
        }
        if stops {
            node.has_stopped.send_replace(true);
        }
    }
}

impl Node {
    /// Counts an event in the application's metrics. Never called under a lock, because application code runs.
    pub(super) fn count(&self, event: ClusterEvent) {
        self.meter.count(|metrics| metrics.cluster(event));
    }

    /// Queues an input for the core, for the node task.
    pub(super) fn input(&self, input: Input) {
        self.inputs.lock().push(input);
        self.woken.notify_one();
    }

    /// Translates an event of the bus.
    fn read<'a>(&self, event: &'a BusEvent) -> Option<CoreInput<'a>> {
        Some(CoreInput::Input(match event {
            // The queue is opened before the core handles `Up`, since it refuses messages of the core while the bus is
            // down.
            BusEvent::Up { .. } => {
                self.set_up(true);
                tracing::info!(target: "pondsocket::bus", node = &**self.name(), "the bus is up");
                Input::Bus(BusInput::Up)
            }
            BusEvent::Down { reason } => {
                // A bus may report `Down` several times; only the first is logged.
                if self.set_up(false) {
                    tracing::warn!(target: "pondsocket::bus", node = &**self.name(), %reason, "the bus is down");
                }
                Input::Bus(BusInput::Down)
            }
            BusEvent::Subscribed { topics, .. } => Input::Bus(BusInput::Subscribed(topics.clone())),
            BusEvent::Gap { lost, cause } => {
                tracing::warn!(target: "pondsocket::bus", cause = cause.as_str(), "messages of other nodes may be lost");
                self.count(ClusterEvent::Gap(*cause));
                Input::Bus(match lost {
                    Lost::Topics(topics) => BusInput::Gap(topics.clone()),
                    Lost::All => BusInput::GapAll,
                })
            }
            // The bus delivers this node's own messages on topics to which it is subscribed.
            BusEvent::Message { data, .. } if self.identity().has_written(data) => return None,
            BusEvent::Message { topic, data } => match ReceivedMessage::read(&self.topics, topic, data) {
                Some(message) => return Some(CoreInput::Message { topic, data, message }),
                None => self.decode(topic, data)?,
            },
        }))
    }

    fn decode(&self, topic: &Topic, data: &[u8]) -> Option<Input> {
        match Envelope::decode(data) {
            Ok(message) => Some(Input::Received { topic: topic.clone(), message: Box::new(message) }),
            Err(error) => {
                self.refuse(topic, &error);
                None
            }
        }
    }

    /// Drops an invalid message. It may be one of a later version of the protocol, so it is logged for debugging only.
    fn refuse(&self, topic: &Topic, error: &Malformed) {
        tracing::debug!(target: "pondsocket::bus", topic = topic.as_str(), %error, "invalid message of another node");
        self.count(ClusterEvent::Malformed(error.kind()));
    }

    /// Sets the state of the bus. Returns `true` if it has changed.
    fn set_up(&self, is_up: bool) -> bool {
        let now = self.clock.now();
        let has_changed = {
            let mut down_since = self.down_since.lock();
            let was_up = down_since.is_none();
            // Of several `Down` in a row the first is the time of the loss.
            *down_since = if is_up { None } else { Some(down_since.unwrap_or(now)) };
            was_up != is_up
        };
        self.outgoing.lock().publishes.set_up(is_up);
        self.queued.notify_one();
        // The lease may have expired while the bus was down.
        if has_changed && is_up {
            self.renewal_due.notify_one();
        }
        if has_changed {
            self.count(if is_up { ClusterEvent::BusUp } else { ClusterEvent::BusDown });
        }
        has_changed
    }

    /// Has the core handle these inputs, events of the bus and the time, and executes its outputs, until these cause no
    /// further inputs.
    fn handle(&self, inputs: Vec<Input>, events: &[BusEvent]) {
        // Deferred outputs are older than these inputs.
        let deferred = std::mem::take(&mut *self.deferred.lock());
        let mut hosts = Hosts::of(self);
        let mut work: Vec<_> = inputs.into_iter().map(CoreInput::Input).collect();
        work.reserve(events.len() + 1);
        work.extend(deferred.into_iter().filter_map(|output| self.carry_out(output, &mut hosts)).map(CoreInput::Input));
        // Read before the core is locked, because channels wait for that lock.
        work.extend(events.iter().filter_map(|event| self.read(event)));
        work.push(CoreInput::Input(Input::Tick));
        let (mut outputs, mut results) = (Vec::new(), Vec::with_capacity(work.len()));
        while !work.is_empty() {
            let now = self.clock.now();
            let mut core = self.core.lock();
            for work in work.drain(..) {
                let input = match work {
                    CoreInput::Input(input) => Some(input),
                    CoreInput::Message { topic, data, message } => match core.admit(topic, &message, now) {
                        Admission::Deliver => {
                            results.push(CoreDecision::Deliver(message));
                            None
                        }
                        Admission::Drop => None,
                        Admission::Unclear => self.decode(topic, data),
                    },
                };
                if let Some(input) = input {
                    core.handle(input, now, &mut outputs);
                    self.publish(&mut outputs, now, |output| results.push(CoreDecision::Output(output)));
                }
            }
            self.may_shorten.store(core.may_shorten(), Ordering::Relaxed);
            // Unlocked before channels are called: a channel's lock comes first in the lock order.
            drop(core);
            for result in results.drain(..) {
                match result {
                    CoreDecision::Output(output) => {
                        work.extend(self.carry_out(output, &mut hosts).map(CoreInput::Input))
                    }
                    CoreDecision::Deliver(message) => {
                        self.deliver(message.endpoint, message.channel, message.message(), &mut hosts)
                    }
                }
            }
        }
    }

    /// Delivers a message of another node to the users of a channel here, if the channel is open.
    fn deliver<'a>(&self, endpoint: &str, channel: &str, message: UserMessageRef<'a>, hosts: &mut Hosts<'_>) {
        self.count(ClusterEvent::Received);
        let Some(host) = hosts.get(endpoint) else { return };
        match message.position {
            None => host.deliver(channel, message),
            Some(position) => {
                if host.deliver_kept(channel, position, message)
                    && let Ok(channel) = ChannelName::new(channel, MAX_NAME)
                {
                    self.read_if_stuck(&ChannelKey { endpoint: endpoint.into(), channel });
                }
            }
        }
    }

    /// Executes one output. Returns the input that reports its result.
    fn carry_out(&self, output: NodeOutput, hosts: &mut Hosts<'_>) -> Option<Input> {
        match output {
            NodeOutput::RemoteMembers { channel, instance, changes } => {
                hosts.get(&channel.endpoint)?.show(&channel.channel, instance, changes);
            }
            NodeOutput::Deliver { channel, message } => {
                self.deliver(&channel.endpoint, channel.channel.as_str(), message.as_ref(), hosts);
            }
            NodeOutput::Command { id, channel, user, command } => {
                let host = hosts.get(&channel.endpoint);
                let verdict = host.map_or(Verdict::NotFound, |host| host.execute(&channel.channel, &user, command));
                return Some(Input::Done { id, verdict });
            }
            NodeOutput::Orphaned { channel, user, member, removed_by } => {
                hosts.get(&channel.endpoint)?.inherit(&channel.channel, user, member, removed_by);
            }
            NodeOutput::Answered { id, answer } => {
                if let Some(asker) = self.pending.lock().remove(&id) {
                    // The caller may have dropped its future.
                    let _ = asker.send(answer);
                }
            }
            NodeOutput::Excess { what, times } => {
                tracing::debug!(target: "pondsocket::cluster", what = what.as_str(), times, "state of another node is over a limit");
                self.count(ClusterEvent::Excess { what, times });
            }
            NodeOutput::HistoryRestarted(channel) => self.reread(&Lost::Topics(vec![self.topics.channel(&channel)])),
            NodeOutput::SessionClaimed(record) => self.all_hosts().iter().for_each(|host| host.claim_session(&record)),
            NodeOutput::RenewLease => self.renewal_due.notify_one(),
            NodeOutput::NodeUp(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "node joined");
                self.set_peer(&name, true);
            }
            NodeOutput::NodeDown(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "node left");
                self.set_peer(&name, false);
            }
            NodeOutput::NameConflict(other) => {
                let (node, incarnation) = (&*other.name, other.incarnation);
                tracing::warn!(target: "pondsocket::cluster", node, incarnation, "another node runs under this name");
                self.count(ClusterEvent::NameTaken);
            }
            NodeOutput::Diverged(channel) => {
                let (endpoint, channel) = (&*channel.endpoint, channel.channel.as_str());
                tracing::warn!(target: "pondsocket::cluster", endpoint, channel, "two nodes disagreed about a channel");
                self.count(ClusterEvent::Diverged);
            }
        }
        None
    }

    fn set_peer(&self, name: &Arc<str>, is_alive: bool) {
        let mut peers = self.peers.lock();
        peers.retain(|peer| peer != name);
        if is_alive {
            peers.push(Arc::clone(name));
            peers.sort_unstable();
        }
        let count = peers.len();
        // Released before application code runs.
        drop(peers);
        self.count(ClusterEvent::Nodes(count));
    }
}

/// The topics whose messages may be lost, or were not received until now.
fn lost_topics(event: &BusEvent) -> Option<Lost> {
    match event {
        BusEvent::Subscribed { topics, .. } => Some(Lost::Topics(topics.clone())),
        BusEvent::Gap { lost, .. } => Some(lost.clone()),
        _ => None,
    }
}

/// An input of the core, or a message that the core may admit.
enum CoreInput<'a> {
    Input(Input),
    /// A message for users, which the core may admit without decoding all of it.
    Message {
        topic: &'a Topic,
        data: &'a [u8],
        message: ReceivedMessage<'a>,
    },
}

/// A decision of the core, executed after the core is unlocked.
enum CoreDecision<'a> {
    Output(NodeOutput),
    Deliver(ReceivedMessage<'a>),
}

/// The endpoints by name. The last one is kept, since most batches concern one.
struct Hosts<'a> {
    node: &'a Node,
    last: Option<(Arc<str>, Arc<dyn Host>)>,
}

impl<'a> Hosts<'a> {
    fn of(node: &'a Node) -> Hosts<'a> {
        Hosts { node, last: None }
    }

    fn get(&mut self, endpoint: &str) -> Option<&Arc<dyn Host>> {
        if self.last.as_ref().is_none_or(|(name, _)| **name != *endpoint) {
            let hosts = self.node.hosts.read().unwrap_or_else(PoisonError::into_inner);
            self.last = hosts.get_key_value(endpoint).map(|(name, host)| (Arc::clone(name), Arc::clone(host)));
        }
        self.last.as_ref().map(|(_, host)| host)
    }
}

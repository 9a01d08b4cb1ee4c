use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pondsocket_proto::cluster::message::{Envelope, Malformed};
use pondsocket_proto::cluster::{Bus as BusInput, Input, NodeOutput, Verdict};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Host, Node, lease, sender};
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
    others: [JoinHandle<()>; 3],
}

impl Tasks {
    pub(super) fn start(node: &Arc<Node>, runtime: &Handle) -> Tasks {
        let (sink, events) = BusSink::new(SinkLimits::default());
        let (stopper, stop) = Stop::new();
        let bus = runtime.spawn(run_bus(Arc::clone(node), sink, stop));
        let others = [
            runtime.spawn(run(Arc::clone(node), events)),
            runtime.spawn(sender::run(Arc::clone(node))),
            runtime.spawn(lease::run(Arc::clone(node))),
        ];
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

    pub(super) async fn stop(&self, node: &Node, patience: Duration) {
        let deadline = Instant::now() + patience;
        // After the deadline the node stops anyway: its lease then expires, and other nodes hide it.
        let _ = timeout_at(deadline, async {
            node.stopped().await;
            // The `Bye` is in the queue. While the bus is down it cannot be sent, and the lease would expire in any
            // case.
            while node.is_up() && node.queue.lock().depth().0 > 0 {
                sleep(Duration::from_millis(5)).await;
            }
            lease::release(node).await;
        })
        .await;
        self.stopper.stop();
        let bus = self.bus.lock().take();
        if let Some(bus) = bus {
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
    // The first tick: the core subscribes to the topics that every node needs.
    node.advance(Vec::new());
    loop {
        let deadline = node.core.lock().deadline();
        let until = deadline.map_or_else(|| Instant::now() + NEVER, |at| node.clock.instant(at));
        tokio::select! {
            // Messages first: a late tick would otherwise judge nodes whose messages wait in the queue.
            biased;
            taken = events.next_batch(&mut batch, EVENTS) => if taken == 0 { return },
            () = node.woken.notified() => {}
            () = sleep_until(until) => {}
        }
        if !node.has_identity() && batch.iter().any(|event| matches!(event, BusEvent::Up { .. })) {
            // The incarnation needs its number before its first message, and the core publishes once it has handled
            // `Up`.
            let incarnation = lease::acquire(&node).await;
            node.confirm(incarnation);
            node.advance(vec![Input::Incarnation(incarnation)]);
            node.renewal_due.notify_one();
        }
        let mut inputs = std::mem::take(&mut *node.inputs.lock());
        let stops = inputs.iter().any(|input| matches!(input, Input::Stop));
        inputs.reserve(batch.len() + 1);
        inputs.extend(batch.drain(..).filter_map(|event| node.read(event)));
        let has_new_subscriptions =
            inputs.iter().any(|input| matches!(input, Input::Bus(BusInput::Subscribed(_) | BusInput::Down)));
        node.advance(inputs);
        // After the core has handled them: a join that wakes up asks the core.
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

    /// Translates an event of the bus into an input for the core.
    fn read(&self, event: BusEvent) -> Option<Input> {
        Some(match event {
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
            BusEvent::Subscribed { topics, .. } => Input::Bus(BusInput::Subscribed(topics)),
            BusEvent::Gap { lost, cause } => {
                tracing::warn!(target: "pondsocket::bus", cause = cause.as_str(), "messages of other nodes may be lost");
                self.count(ClusterEvent::Gap(cause));
                Input::Bus(match lost {
                    Lost::Topics(topics) => BusInput::Gap(topics),
                    Lost::All => BusInput::GapAll,
                })
            }
            // The bus delivers this node's own messages on topics to which it is subscribed.
            BusEvent::Message { data, .. } if data.starts_with(&self.identity().beginning) => return None,
            BusEvent::Message { topic, data } => match Envelope::decode(&data) {
                Ok(message) => Input::Received { topic, message: Box::new(message) },
                Err(error) => {
                    self.refuse(&topic, &error);
                    return None;
                }
            },
        })
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
        self.queue.lock().set_up(is_up);
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

    /// Has the core handle these inputs and the time, and executes its outputs, until these cause no further inputs.
    fn advance(&self, inputs: Vec<Input>) {
        // Deferred outputs are older than these inputs.
        let deferred = std::mem::take(&mut *self.deferred.lock());
        let mut inputs = inputs;
        inputs.extend(deferred.into_iter().filter_map(|output| self.carry_out(output)));
        inputs.push(Input::Tick);
        while !inputs.is_empty() {
            let now = self.clock.now();
            let mut outputs = Vec::with_capacity(inputs.len());
            let mut core = self.core.lock();
            inputs.drain(..).for_each(|input| core.handle(input, now, &mut outputs));
            let others = self.publish(outputs, now);
            // Unlocked before channels are called: a channel's lock comes first in the lock order.
            drop(core);
            inputs.extend(others.into_iter().filter_map(|output| self.carry_out(output)));
        }
    }

    /// Executes one output. Returns the input that reports its result.
    fn carry_out(&self, output: NodeOutput) -> Option<Input> {
        match output {
            NodeOutput::RemoteMembers { channel, instance, changes } => {
                self.host(&channel.endpoint)?.show(&channel.channel, instance, changes);
            }
            NodeOutput::Deliver { channel, message } => {
                self.count(ClusterEvent::Received);
                self.host(&channel.endpoint)?.deliver(&channel.channel, message);
            }
            NodeOutput::Command { id, channel, user, command } => {
                let host = self.host(&channel.endpoint);
                let verdict = host.map_or(Verdict::NotFound, |host| host.execute(&channel.channel, &user, command));
                return Some(Input::Done { id, verdict });
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
            NodeOutput::RenewLease => self.renewal_due.notify_one(),
            NodeOutput::NodeUp(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "node joined");
                self.set_peer(&name, true);
            }
            NodeOutput::NodeDown(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "node left");
                self.set_peer(&name, false);
            }
            NodeOutput::NameConflict(twin) => {
                let (node, incarnation) = (&*twin.name, twin.incarnation);
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

    fn host(&self, endpoint: &str) -> Option<Arc<dyn Host>> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.get(endpoint).cloned()
    }

    fn set_peer(&self, name: &Arc<str>, lives: bool) {
        let mut peers = self.peers.lock();
        peers.retain(|peer| peer != name);
        if lives {
            peers.push(Arc::clone(name));
            peers.sort_unstable();
        }
        let count = peers.len();
        // Released before application code runs.
        drop(peers);
        self.count(ClusterEvent::Nodes(count));
    }
}

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pondsocket_proto::cluster::message::{Envelope, Malformed};
use pondsocket_proto::cluster::{Bus as BusInput, Input, Output, Verdict};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Host, Node, lease, sender};
use crate::cluster::{BusEvent, BusEvents, BusSink, Lost, SinkLimits, Stop, Stopper, Topic};
use crate::engine::sync::Mutex;
use crate::metrics::ClusterEvent;

/// How many events of the bus are taken at once.
const EVENTS: usize = 256;

/// How long the core is left alone if it wants nothing.
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

    /// Ends all of them, wherever they are.
    pub(super) fn abort(&self) {
        self.stopper.stop();
        self.others.iter().for_each(JoinHandle::abort);
        if let Some(bus) = self.bus.lock().take() {
            bus.abort();
        }
    }

    pub(super) async fn stop(&self, node: &Node, patience: Duration) {
        let deadline = Instant::now() + patience;
        // What is late is not waited for: whoever stops goes.
        let _ = timeout_at(deadline, async {
            node.stopped().await;
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
        tracing::error!(target: "pondsocket::bus", %error, "the bus cannot work");
    }
}

/// Reads the bus, and does what the core says, until the bus has ended.
async fn run(node: Arc<Node>, mut events: BusEvents) {
    let mut batch = Vec::new();
    // The first tick: the core says what it wants to hear.
    node.advance(Vec::new());
    loop {
        let deadline = node.core.lock().deadline();
        let until = deadline.map_or_else(|| Instant::now() + NEVER, |at| node.clock.instant(at));
        tokio::select! {
            biased;
            taken = events.next_batch(&mut batch, EVENTS) => if taken == 0 { return },
            () = node.woken.notified() => {}
            () = sleep_until(until) => {}
        }
        if !node.is_settled() && batch.iter().any(|event| matches!(event, BusEvent::Up { .. })) {
            // Before the core is told that it may speak. What others say meanwhile waits.
            let incarnation = lease::acquire(&node).await;
            node.settle(incarnation);
            node.advance(vec![Input::Incarnation(incarnation)]);
            node.returned.notify_one();
        }
        let mut inputs = std::mem::take(&mut *node.inputs.lock());
        let stops = inputs.iter().any(|input| matches!(input, Input::Stop));
        inputs.reserve(batch.len() + 1);
        inputs.extend(batch.drain(..).filter_map(|event| node.read(event)));
        let hears_otherwise =
            inputs.iter().any(|input| matches!(input, Input::Bus(BusInput::Subscribed(_) | BusInput::Down)));
        node.advance(inputs);
        if hears_otherwise {
            node.hearing.notify_waiters();
        }
        if stops {
            node.has_stopped.send_replace(true);
        }
    }
}

impl Node {
    /// Tells the application's metrics. Never under a lock.
    pub(super) fn count(&self, event: ClusterEvent) {
        self.meter.count(|metrics| metrics.cluster(event));
    }

    /// Gives the core an input by way of the node task.
    pub(super) fn input(&self, input: Input) {
        self.inputs.lock().push(input);
        self.woken.notify_one();
    }

    /// What an event of the bus means for the core.
    fn read(&self, event: BusEvent) -> Option<Input> {
        let names = |topics: Vec<Topic>| topics.iter().map(|topic| topic.as_str().to_owned()).collect();
        Some(match event {
            BusEvent::Up { .. } => {
                self.set_up(true);
                tracing::info!(target: "pondsocket::bus", node = &**self.name(), "the bus is up");
                Input::Bus(BusInput::Up)
            }
            BusEvent::Down { reason } => {
                if self.set_up(false) {
                    tracing::warn!(target: "pondsocket::bus", node = &**self.name(), %reason, "the bus is down");
                }
                Input::Bus(BusInput::Down)
            }
            BusEvent::Subscribed { topics, .. } => Input::Bus(BusInput::Subscribed(names(topics))),
            BusEvent::Gap { lost, cause } => {
                tracing::warn!(target: "pondsocket::bus", cause = cause.as_str(), "messages of other nodes may be lost");
                self.count(ClusterEvent::Gap(cause));
                Input::Bus(match lost {
                    Lost::Topics(topics) => BusInput::Gap(names(topics)),
                    Lost::All => BusInput::GapAll,
                })
            }
            // The bus gives back what this node says where it listens itself.
            BusEvent::Message { data, .. } if data.starts_with(&self.identity().beginning) => return None,
            BusEvent::Message { topic, data } => match Envelope::decode(&data) {
                Ok(message) => Input::Received { topic: topic.as_str().to_owned(), message: Box::new(message) },
                Err(error) => {
                    self.refuse(&topic, &error);
                    return None;
                }
            },
        })
    }

    /// A message that makes no sense. Those of a later protocol are nothing to talk about.
    fn refuse(&self, topic: &Topic, error: &Malformed) {
        tracing::debug!(target: "pondsocket::bus", topic = topic.as_str(), %error, "a message was not understood");
        self.count(ClusterEvent::Malformed(error.kind()));
    }

    /// True if that is news.
    fn set_up(&self, is_up: bool) -> bool {
        let now = self.clock.now();
        let is_news = {
            let mut down_since = self.down_since.lock();
            let was_up = down_since.is_none();
            *down_since = if is_up { None } else { Some(down_since.unwrap_or(now)) };
            was_up != is_up
        };
        self.queue.lock().set_up(is_up);
        self.queued.notify_one();
        if is_news && is_up {
            self.returned.notify_one();
        }
        if is_news {
            self.count(if is_up { ClusterEvent::BusUp } else { ClusterEvent::BusDown });
        }
        is_news
    }

    /// Gives the core these inputs and the time, and does what it says.
    fn advance(&self, inputs: Vec<Input>) {
        let mut inputs = inputs;
        inputs.push(Input::Tick);
        while !inputs.is_empty() {
            let now = self.clock.now();
            let mut outputs = Vec::with_capacity(inputs.len());
            let mut core = self.core.lock();
            inputs.drain(..).for_each(|input| core.handle(input, now, &mut outputs));
            let others = self.publish(outputs, now);
            drop(core);
            inputs.extend(others.into_iter().filter_map(|output| self.carry_out(output)));
        }
    }

    /// Does one thing that the core wants; answers what it is to be told of it.
    fn carry_out(&self, output: Output) -> Option<Input> {
        match output {
            Output::RemoteMembers { channel, instance, changes } => {
                self.host(&channel.endpoint)?.show(&channel.channel, instance, changes);
            }
            Output::Deliver { channel, message } => {
                self.count(ClusterEvent::Received);
                self.host(&channel.endpoint)?.deliver(&channel.channel, message);
            }
            Output::Command { id, channel, user, command } => {
                let host = self.host(&channel.endpoint);
                let verdict = host.map_or(Verdict::NotFound, |host| host.execute(&channel.channel, &user, command));
                return Some(Input::Done { id, verdict });
            }
            Output::Answered { id, answer } => {
                if let Some(asker) = self.asked.lock().remove(&id) {
                    // Whoever asked may have gone.
                    let _ = asker.send(answer);
                }
            }
            Output::Excess { what, times } => {
                tracing::debug!(target: "pondsocket::cluster", what = what.as_str(), times, "others bring too much");
                self.count(ClusterEvent::Excess { what, times });
            }
            Output::RenewLease => self.returned.notify_one(),
            Output::NodeUp(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "a node has come");
                self.set_peer(&name, true);
            }
            Output::NodeDown(name) => {
                tracing::info!(target: "pondsocket::cluster", node = &*name, "a node has gone");
                self.set_peer(&name, false);
            }
            Output::NameConflict(twin) => {
                let (node, incarnation) = (&*twin.name, twin.incarnation);
                tracing::warn!(target: "pondsocket::cluster", node, incarnation, "another node runs under this name");
                self.count(ClusterEvent::NameTaken);
            }
            Output::Diverged(channel) => {
                let (endpoint, channel) = (&*channel.endpoint, channel.channel.as_str());
                tracing::warn!(target: "pondsocket::cluster", endpoint, channel, "two nodes disagreed about a channel");
                self.count(ClusterEvent::Diverged);
            }
            Output::Publish { .. } | Output::UpdateSubscriptions { .. } => {
                debug_assert!(false, "these are queued under the lock")
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
        drop(peers);
        self.count(ClusterEvent::Nodes(count));
    }
}

//! This node among others: the sans-I/O core, the bus, and the tasks between them.
//!
//! ```text
//!  channels --(under their locks)--> core ----> publish queue --(sender task)--> bus
//!     ^                               ^  |
//!     |    views, messages, commands  |  |
//!     +-------(node task)-------------+--+<---- events of the bus, beats of the lease, deadlines
//! ```
//!
//! Lock order: a channel, then the core, then the publish queue. What the core says is queued before its lock is released,
//! so that it leaves in that order. All that reaches channels comes from the node task, without any lock.

mod clock;
mod host;
mod lease;
mod queue;
mod sender;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::Outbound;
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, UserMessage};
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest, Core, Input, NodeId, Output, Settings, Topics};
use pondsocket_proto::id::{ChannelName, RequestId};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};

use crate::cluster::{BoxFuture, Bus, BusStats, Publish, Topic};
use crate::engine::ids;
use crate::engine::live::Replication;
use crate::engine::sync::Mutex;
use crate::metrics::Meter;
use crate::options::Options;

use clock::Clock;
pub(crate) use host::Host;
use queue::{Entry, Kind, PublishQueue};
use task::Tasks;

/// Room for most messages, so that they are written without being moved.
const USUAL_SIZE: usize = 1024;

/// How the core of such a node behaves.
fn settings(node: NodeId, topics: Topics, options: &Options) -> Settings {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut settings = Settings::new(node, topics);
    settings.heartbeat = milliseconds(options.node_heartbeat);
    settings.foreign_lifetime = milliseconds(options.node_timeout);
    settings.max_presence = options.max_presence_size;
    settings.max_assigns = options.max_assigns_size;
    settings.max_users = options.max_remote_users;
    settings.max_shown = options.max_remote_presence;
    // Short times are looked after more often, so that they are kept.
    settings.foreign_scan = settings.foreign_scan.min(milliseconds(options.node_timeout / 4));
    settings
}

/// One node, and all that it shares with the others.
pub(crate) struct Node {
    bus: Arc<dyn Bus>,
    /// Who it is as long as the table of leases has not said which life this is.
    provisional: Identity,
    /// Who it is. Set while the publish queue is locked.
    settled: OnceLock<Identity>,
    topics: Topics,
    clock: Clock,
    core: Mutex<Core>,
    queue: Mutex<PublishQueue>,
    /// Something waits to be published.
    queued: Notify,
    /// Inputs of the core that may lead to more than publishing: the node task gives them to it.
    inputs: Mutex<Vec<Input>>,
    /// There are inputs, or the core's deadline has changed.
    woken: Notify,
    /// More topics are heard, or none any more.
    hearing: Notify,
    hosts: RwLock<HashMap<Arc<str>, Arc<dyn Host>>>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    said: AtomicU64,
    /// `None` while the bus is up.
    down_since: Mutex<Option<u64>>,
    /// The bus is up that was down.
    returned: Notify,
    /// The nodes that live, by name.
    peers: Mutex<Vec<Arc<str>>>,
    meter: Meter,
    /// Whether the core has said goodbye.
    has_stopped: watch::Sender<bool>,
    tasks: OnceLock<Tasks>,
}

impl Node {
    /// A node that is not started yet. Without a name it draws one.
    pub(crate) fn new(bus: Arc<dyn Bus>, options: &Options, meter: Meter) -> Arc<Node> {
        let clock = Clock::start();
        let born = clock.now();
        let caps = bus.caps();
        let prefix = caps.prefix.as_deref().unwrap_or("pondsocket");
        let topics = Topics::new(prefix, caps.namespace.as_deref().unwrap_or("default"));
        let drawn = RequestId::from_u128(ids::fresh());
        let name = if options.node_name.is_empty() { drawn.as_str() } else { &options.node_name };
        let identity = Identity::new(NodeId { name: name.into(), incarnation: born });
        let settings = settings(identity.id.clone(), topics.clone(), options);
        let settled = OnceLock::new();
        if bus.leases().is_none() {
            let _ = settled.set(identity.clone());
        }
        Arc::new(Node {
            bus,
            provisional: identity,
            settled,
            core: Mutex::new(Core::new(settings, ids::fresh() as u64)),
            topics,
            clock,
            queue: Mutex::default(),
            queued: Notify::new(),
            inputs: Mutex::default(),
            woken: Notify::new(),
            hearing: Notify::new(),
            hosts: RwLock::default(),
            asked: Mutex::default(),
            said: AtomicU64::new(0),
            down_since: Mutex::new(Some(born)),
            returned: Notify::new(),
            peers: Mutex::default(),
            meter,
            has_stopped: watch::Sender::new(false),
            tasks: OnceLock::new(),
        })
    }

    /// Starts its tasks, unless they run or there is no runtime here.
    pub(crate) fn start(self: &Arc<Self>) {
        // Broadcasts come this way: once it runs this is one look.
        if self.tasks.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.get_or_init(|| Tasks::start(self, &runtime));
        }
    }

    /// Says goodbye and ends. What was published before is on its way; after `patience` nothing is waited for any longer.
    pub(crate) async fn stop(&self, patience: Duration) {
        if let Some(tasks) = self.tasks.get() {
            self.input(Input::Stop);
            tasks.stop(self, patience).await;
        }
    }

    /// Completes when the core has said goodbye.
    async fn stopped(&self) {
        // The sender is ours: it cannot have gone.
        let _ = self.has_stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Ends without a word: the server is gone.
    pub(crate) fn abandon(&self) {
        if let Some(tasks) = self.tasks.get() {
            tasks.abort();
        }
    }

    /// Makes the channels of an endpoint known, under its pattern without leading slashes.
    pub(crate) fn add_host(&self, endpoint: &Arc<str>, host: Arc<dyn Host>) {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(endpoint), host);
    }

    /// Where an endpoint's channels tell what happens in them.
    pub(crate) fn replication(self: &Arc<Self>, endpoint: &Arc<str>) -> Arc<dyn Replication> {
        Arc::new(Replica { node: Arc::clone(self), endpoint: Arc::clone(endpoint) })
    }

    /// Asks other nodes, and waits for what they say.
    pub(crate) async fn ask(&self, ask: ClusterRequest) -> Answer {
        let (id, (answer, answered)) = (ids::serial(), oneshot::channel());
        self.asked.lock().insert(id, answer);
        let _forget = Forget { asked: &self.asked, id };
        self.inputs.lock().push(Input::Request { id, request: ask });
        self.woken.notify_one();
        tokio::select! {
            // The core answers always, and soon.
            answer = answered => answer.unwrap_or(Answer::Unavailable),
            () = self.stopped() => Answer::Unavailable,
        }
    }

    /// Begins to listen to a channel that somebody is about to join. `None` if it is heard already, or cannot be because the
    /// bus is down; else what it gives completes when one of this is so.
    pub(crate) fn listen(self: &Arc<Self>, channel: ChannelKey) -> Option<BoxFuture<'static, ()>> {
        if !self.waits_for(&channel) {
            return None;
        }
        self.tell([Input::Expected { channel: channel.clone() }]);
        let node = Arc::clone(self);
        Some(Box::pin(async move {
            loop {
                let mut changed = pin!(node.hearing.notified());
                // Registered before the look, so that nothing is missed between the two.
                changed.as_mut().enable();
                if !node.waits_for(&channel) {
                    return;
                }
                changed.await;
            }
        }))
    }

    fn waits_for(&self, channel: &ChannelKey) -> bool {
        self.is_up() && !self.core.lock().hears(channel)
    }

    /// Whether the bus would take a message for users elsewhere now, or soon.
    pub(crate) fn has_room(&self) -> bool {
        self.queue.lock().has_room(self.clock.now())
    }

    /// For how long the bus has been down; zero while it is up.
    pub(crate) fn down_for(&self) -> Duration {
        let now = self.clock.now();
        let since = *self.down_since.lock();
        since.map_or(Duration::ZERO, |since| Duration::from_millis(now.saturating_sub(since)))
    }

    /// How the bus is, and how much waits for it: messages and bytes.
    pub(crate) fn stats(&self) -> (BusStats, (usize, usize)) {
        (self.bus.stats(), self.queue.lock().depth())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.down_since.lock().is_none()
    }

    /// The name of this node.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.provisional.id.name
    }

    fn identity(&self) -> &Identity {
        self.settled.get().unwrap_or(&self.provisional)
    }

    fn id(&self) -> &NodeId {
        &self.identity().id
    }

    fn is_settled(&self) -> bool {
        self.settled.get().is_some()
    }

    /// From now on this life has that number. What waits to be published is signed anew: nothing of it has been sent.
    fn settle(&self, incarnation: u64) {
        let identity = Identity::new(NodeId { name: Arc::clone(self.name()), incarnation });
        let mut queue = self.queue.lock();
        queue.sign(|message| {
            message.source = Arc::clone(&identity.source);
            message.ext = Some(Ext::new(identity.id.clone()));
            encode(message)
        });
        let _ = self.settled.set(identity);
    }

    /// The names of the other nodes that live, as far as is known.
    pub(crate) fn peers(&self) -> Vec<Arc<str>> {
        self.peers.lock().clone()
    }

    /// Gives the core inputs that lead to publishing alone, and has done so when it returns.
    fn tell(&self, inputs: impl IntoIterator<Item = Input>) {
        let (mut outputs, now) = (Vec::new(), self.clock.now());
        let mut core = self.core.lock();
        let deadline = core.deadline();
        inputs.into_iter().for_each(|input| core.handle(input, now, &mut outputs));
        let others = self.publish(outputs, now);
        let is_earlier = core.deadline() != deadline;
        drop(core);
        debug_assert!(others.is_empty(), "these inputs lead to publishing alone: {others:?}");
        if is_earlier {
            self.woken.notify_one();
        }
    }

    /// Queues what is to be published and subscribes to what is to be heard; gives back what else is to be done.
    fn publish(&self, outputs: Vec<Output>, now: u64) -> Vec<Output> {
        let mut others = Vec::new();
        let mut queued = false;
        for output in outputs {
            match output {
                Output::Publish { topic, message } => queued |= self.enqueue(topic, &message, Kind::State, now),
                Output::UpdateSubscriptions { add, remove } => {
                    let topics = |names: Vec<String>| names.into_iter().map(Topic::from).collect::<Vec<_>>();
                    self.bus.update_subscriptions(&topics(add), &topics(remove));
                }
                other => others.push(other),
            }
        }
        if queued {
            self.queued.notify_one();
        }
        others
    }

    /// Has a message published for users elsewhere. False if too much waits for the bus already.
    pub(crate) fn say(&self, channel: ChannelKey, message: UserMessage) -> bool {
        let (topic, now) = (self.topics.channel(&channel), self.clock.now());
        let number = self.said.fetch_add(1, Ordering::Relaxed);
        let identity = self.identity();
        let envelope = Envelope {
            id: format!("{}-m{number}", identity.source).into(),
            source: Arc::clone(&identity.source),
            channel: Some(channel),
            timestamp: now,
            body: Body::UserMessage(message),
            ext: Some(Ext::new(identity.id.clone())),
        };
        let taken = if self.is_settled() {
            self.enqueue(topic, &envelope, Kind::Message, now)
        } else {
            self.enqueue_unsigned(topic, envelope, now)
        };
        // Also if it was not: the sender counts what was dropped. Here a channel may be locked.
        self.queued.notify_one();
        taken
    }

    fn enqueue(&self, topic: String, envelope: &Envelope, kind: Kind, now: u64) -> bool {
        let publish = Publish::new(topic, encode(envelope));
        self.queue.lock().push(Entry { publish, kind, at: now, unsigned: None })
    }

    /// Queues a message of a node that does not know its number yet.
    fn enqueue_unsigned(&self, topic: String, mut envelope: Envelope, now: u64) -> bool {
        let mut queue = self.queue.lock();
        // It may have been told since the message was made.
        let unsigned = match self.settled.get() {
            None => Some(Box::new(envelope.clone())),
            Some(identity) => {
                envelope.source = Arc::clone(&identity.source);
                envelope.ext = Some(Ext::new(identity.id.clone()));
                None
            }
        };
        let publish = Publish::new(topic, encode(&envelope));
        queue.push(Entry { publish, kind: Kind::Message, at: now, unsigned })
    }
}

fn encode(envelope: &Envelope) -> Bytes {
    let mut data = Vec::with_capacity(USUAL_SIZE);
    envelope.encode(&mut data);
    Bytes::from(data)
}

/// One life of a node, and how it signs its messages.
#[derive(Clone, Debug)]
struct Identity {
    id: NodeId,
    source: Arc<str>,
    /// What its own messages begin with.
    beginning: Vec<u8>,
}

impl Identity {
    fn new(id: NodeId) -> Identity {
        let source: Arc<str> = id.source().into();
        Identity { beginning: Envelope::beginning(&source), source, id }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", self.name()).finish_non_exhaustive()
    }
}

/// Whoever asked has gone: nobody waits for the answer any more.
struct Forget<'a> {
    asked: &'a Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.asked.lock().remove(&self.id);
    }
}

/// The channels of one endpoint tell the node here what happens in them.
struct Replica {
    node: Arc<Node>,
    endpoint: Arc<str>,
}

impl Replica {
    fn key(&self, channel: &ChannelName) -> ChannelKey {
        ChannelKey { endpoint: Arc::clone(&self.endpoint), channel: channel.clone() }
    }
}

impl Replication for Replica {
    fn opened(&self, channel: &ChannelName, instance: u64) {
        self.node.start();
        self.node.tell([Input::Opened { channel: self.key(channel), instance }]);
    }

    fn replicate(&self, channel: &ChannelName, what: Vec<Outbound>) {
        for outbound in what {
            let channel = self.key(channel);
            match outbound {
                Outbound::Change(change) => self.node.tell([Input::Local { channel, change }]),
                // Whoever sent it was told before whether there is room; it is counted if it has gone since.
                Outbound::Message(message) => drop(self.node.say(channel, message)),
            }
        }
    }

    fn closed(&self, channel: &ChannelName, instance: u64) {
        self.node.tell([Input::Closed { channel: self.key(channel), instance }]);
    }
}

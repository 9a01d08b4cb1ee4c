//! This server as a node among others: the sans-I/O core of the cluster, the bus, and the tasks between them.
//!
//! ```text
//!  channels --(under their locks)--> core ----> outgoing queues --(sender task)--> bus and store
//!     ^                               ^  |
//!     |    views, messages, commands  |  |
//!     +-------(node task)-------------+--+<---- events of the bus, renewals of the lease, deadlines
//! ```
//!
//! Lock order: a channel, then the core, then the outgoing queues. The messages of the core are queued before its lock is
//! released, so that they are published in the order of its inputs. What channels send is queued under their locks, so that
//! it is sent in their order: messages for the bus, messages for its store, and changes of members, which go through the
//! core. Only the node task calls into channels, and it holds no lock then.

mod append_queue;
mod clock;
mod history;
mod lease;
mod outgoing;
mod queue;
mod sender;
mod sessions;
mod task;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::channel::{HistoryRules, Outbound, RemoteChange, RemoteMember};
use pondsocket_proto::cluster::message::{Body, Envelope, Ext, NodeEvent, UserMessage, UserMessageRef, short};
use pondsocket_proto::cluster::{
    Answer, ChannelKey, ClusterRequest, Command, Core, Input, NodeId, NodeOutput, Output, Settings, Topics, Verdict,
};
use pondsocket_proto::id::{ChannelName, RequestId, UserId};
use pondsocket_proto::model::MemberChange;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};

use crate::cluster::{BoxFuture, Bus, BusStats, Publish, Topic};
use crate::engine::live::Replication;
use crate::engine::sync::Mutex;
use crate::engine::{changes, ids};
use crate::metrics::Meter;
use crate::options::Options;

pub(crate) use history::{HistoryHost, HistoryState, Instance};

use clock::Clock;
use history::SharedHistories;
use outgoing::Outgoing;
use queue::{PublishKind, QueuedPublish};
use sessions::RecordQueue;
use task::Tasks;

/// The first capacity of a buffer for a message: enough for most, so that they are written without a reallocation.
const USUAL_SIZE: usize = 1024;

/// The settings of the core, from the options of the server.
fn settings(node: NodeId, topics: Topics, options: &Options) -> Settings {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut settings = Settings::new(node, topics);
    settings.heartbeat = milliseconds(options.node_heartbeat);
    settings.foreign_lifetime = milliseconds(options.node_timeout);
    settings.max_presence = options.max_presence_size;
    settings.max_assigns = options.max_assigns_size;
    settings.max_users = options.max_remote_users;
    settings.max_shown = options.max_remote_presence;
    // A short timeout is checked more often, so that it is kept.
    settings.foreign_scan = settings.foreign_scan.min(milliseconds(options.node_timeout / 4));
    settings
}

/// The channels of one endpoint, for the node. No method waits.
pub(crate) trait Host: HistoryHost + Send + Sync {
    /// Changes the members on other nodes that a channel shows, if it is still the same instance of the channel.
    fn show(&self, channel: &ChannelName, instance: u64, changes: Vec<RemoteChange>);
    /// Delivers a message of another node to the members here.
    fn deliver(&self, channel: &str, message: UserMessageRef<'_>);
    /// Passes on that a client has come to another node with the key of a session, by the name of its record.
    fn claim_session(&self, record: &str);
    /// Writes the records of sessions whose positions have moved, as many as are given at most.
    fn write_session_records(&self, most: usize) -> usize;
    /// Has the records of all sessions with a connection written again, because the store may have lost them.
    fn rewrite_session_records(&self);
    /// Carries out a command of another node on a user here.
    fn execute(&self, channel: &ChannelName, user: &UserId, command: Command) -> Verdict;
    /// Runs the leave handler of a user whose node has died, when its grace has ended or a command has removed it.
    fn inherit(&self, channel: &ChannelName, user: UserId, member: RemoteMember, removed_by: Option<Command>);
}

/// A node of a cluster.
pub(crate) struct Node {
    bus: Arc<dyn Bus>,
    /// The identity until the table of leases has numbered this incarnation.
    provisional: NodeIdentity,
    /// The final identity. Set while the outgoing queues are locked, so that each message is either queued before and
    /// signed anew, or queued afterwards with the final signature.
    confirmed: OnceLock<NodeIdentity>,
    topics: Topics,
    clock: Clock,
    core: Mutex<Core>,
    /// The messages for the bus, and for its store.
    outgoing: Mutex<Outgoing>,
    /// Notified when a message is queued.
    queued: Notify,
    /// Inputs for the core that may lead to calls into channels: the node task handles them.
    inputs: Mutex<Vec<Input>>,
    /// Outputs of the core that came while a channel may have been locked: the node task carries them out.
    deferred: Mutex<Vec<NodeOutput>>,
    /// Notified when there are inputs or deferred outputs, or the core's deadline has changed.
    woken: Notify,
    /// Notified when topics are subscribed, or all subscriptions are lost.
    subscriptions_changed: Notify,
    /// The endpoints by name. Written while they are registered, and read for each message.
    hosts: RwLock<HashMap<Arc<str>, Arc<dyn Host>>>,
    /// The requests to other nodes that wait for their answers.
    pending: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    /// True if messages for users may have the short form. Written by the node task, while the core is locked.
    may_shorten: AtomicBool,
    /// The number of messages that were published for users. Their ids are made of it.
    published: AtomicU64,
    /// The time at which the bus was lost; `None` while it is up.
    down_since: Mutex<Option<u64>>,
    /// Notified when the lease is to be renewed at once: the bus is back, or another node has taken this one for dead.
    renewal_due: Notify,
    /// The names of the other live nodes, for the application.
    peers: Mutex<Vec<Arc<str>>>,
    /// The histories that are shared with other nodes.
    histories: SharedHistories,
    /// The records of sessions that wait to be written.
    records: RecordQueue,
    meter: Meter,
    /// `true` once the core has published that this node stops.
    has_stopped: watch::Sender<bool>,
    tasks: OnceLock<Tasks>,
}

impl Node {
    /// Creates a node that is not started yet. Without a configured name it draws one.
    pub(crate) fn new(bus: Arc<dyn Bus>, options: &Options, meter: Meter) -> Arc<Node> {
        let clock = Clock::start();
        let born = clock.now();
        let caps = bus.caps();
        let prefix = caps.prefix.as_deref().unwrap_or("pondsocket");
        let topics = Topics::new(prefix, caps.namespace.as_deref().unwrap_or("default"));
        let drawn = RequestId::from_u128(ids::fresh());
        let name = if options.node_name.is_empty() { drawn.as_str() } else { &options.node_name };
        let identity = NodeIdentity::new(NodeId { name: name.into(), incarnation: born });
        let settings = settings(identity.id.clone(), topics.clone(), options);
        let confirmed = OnceLock::new();
        // Without a table of leases the clock gives the number, so the first identity is final.
        if bus.leases().is_none() {
            let _ = confirmed.set(identity.clone());
        }
        Arc::new(Node {
            bus,
            provisional: identity,
            confirmed,
            core: Mutex::new(Core::new(settings, ids::fresh() as u64)),
            topics,
            clock,
            outgoing: Mutex::default(),
            queued: Notify::new(),
            inputs: Mutex::default(),
            deferred: Mutex::default(),
            woken: Notify::new(),
            subscriptions_changed: Notify::new(),
            hosts: RwLock::default(),
            pending: Mutex::default(),
            may_shorten: AtomicBool::new(false),
            published: AtomicU64::new(0),
            // Down until the first `Up`: joins then wait for nothing.
            down_since: Mutex::new(Some(born)),
            renewal_due: Notify::new(),
            peers: Mutex::default(),
            histories: SharedHistories::default(),
            records: RecordQueue::default(),
            meter,
            has_stopped: watch::Sender::new(false),
            tasks: OnceLock::new(),
        })
    }

    /// Starts the tasks, unless they run or there is no runtime here.
    pub(crate) fn start(self: &Arc<Self>) {
        // Every broadcast calls this: once the node runs it costs one load.
        if self.tasks.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.get_or_init(|| Tasks::start(self, &runtime));
        }
    }

    /// Notes that this node is about to stop: other nodes take over the users whose presence grace ends with it.
    pub(crate) fn prepare_stop(&self) {
        self.handle_now([Input::Stopping]);
    }

    /// Announces to other nodes that this one stops, waits for the messages in the queue, and ends; all within
    /// `limit`.
    pub(crate) async fn stop(&self, limit: Duration) {
        if let Some(tasks) = self.tasks.get() {
            self.input(Input::Stop);
            tasks.stop(self, limit).await;
        }
    }

    /// Completes when the core has stopped.
    async fn stopped(&self) {
        // No error: the sender is a field of this node.
        let _ = self.has_stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Ends the tasks at once, because the server is gone.
    pub(crate) fn abandon(&self) {
        if let Some(tasks) = self.tasks.get() {
            tasks.abort();
        }
    }

    /// Registers the channels of an endpoint, by its pattern without leading slashes.
    pub(crate) fn add_host(&self, endpoint: &Arc<str>, host: Arc<dyn Host>) {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(endpoint), host);
    }

    /// The channels of an endpoint.
    fn host(&self, endpoint: &str) -> Option<Arc<dyn Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned()
    }

    /// The channels of all endpoints.
    fn all_hosts(&self) -> Vec<Arc<dyn Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Returns `true` if messages for users may have the short form.
    fn may_shorten(&self) -> bool {
        // Relaxed: no other data belongs to the flag. A message may be published in the short form while the first one
        // of a foreign node is read, as it may be published just before.
        self.may_shorten.load(Ordering::Relaxed) && self.has_identity()
    }

    /// Returns the sink for the changes in the channels of an endpoint.
    pub(crate) fn replication(self: &Arc<Self>, endpoint: &Arc<str>) -> Arc<dyn Replication> {
        Arc::new(ChannelReplication { node: Arc::clone(self), endpoint: Arc::clone(endpoint) })
    }

    /// Sends a request to other nodes, and waits for the answer.
    pub(crate) async fn ask(&self, ask: ClusterRequest) -> Answer {
        let (id, (answer, received)) = (ids::serial(), oneshot::channel());
        // Before the input is queued: the node task may answer at once.
        self.pending.lock().insert(id, answer);
        let _guard = PendingGuard { pending: &self.pending, id };
        self.inputs.lock().push(Input::Request { id, request: ask });
        self.woken.notify_one();
        tokio::select! {
            // The core answers every request within its timeout.
            answer = received => answer.unwrap_or(Answer::Unavailable),
            () = self.stopped() => Answer::Unavailable,
        }
    }

    /// Subscribes to a channel that a user is about to join. Returns a future that completes when it is subscribed or
    /// the bus is down; `None` if one of the two is so already.
    pub(crate) fn subscribe(self: &Arc<Self>, channel: ChannelKey) -> Option<BoxFuture<'static, ()>> {
        if !self.waits_for(&channel) {
            return None;
        }
        self.handle_now([Input::Expected { channel: channel.clone() }]);
        let node = Arc::clone(self);
        Some(Box::pin(async move {
            changes::until(&node.subscriptions_changed, || !node.waits_for(&channel)).await;
        }))
    }

    /// Returns whether a join has to wait. While the bus is down it does not: there is nothing to receive.
    fn waits_for(&self, channel: &ChannelKey) -> bool {
        self.is_up() && !self.core.lock().is_subscribed(channel)
    }

    /// Returns `true` if the queue has room for a message to users of other nodes.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.lock().publishes.has_room(self.clock.now())
    }

    /// The time since the bus was lost; zero while it is up.
    pub(crate) fn down_for(&self) -> Duration {
        let now = self.clock.now();
        let since = *self.down_since.lock();
        since.map_or(Duration::ZERO, |since| Duration::from_millis(now.saturating_sub(since)))
    }

    /// The state of the bus, and the messages and bytes that wait for it.
    pub(crate) fn stats(&self) -> (BusStats, (usize, usize)) {
        (self.bus.stats(), self.outgoing.lock().publishes.depth())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.down_since.lock().is_none()
    }

    /// The name of this node.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.provisional.id.name
    }

    fn identity(&self) -> &NodeIdentity {
        self.confirmed.get().unwrap_or(&self.provisional)
    }

    fn id(&self) -> &NodeId {
        &self.identity().id
    }

    fn has_identity(&self) -> bool {
        self.confirmed.get().is_some()
    }

    /// Sets the number of this incarnation. Queued messages are signed anew: none has been sent, because the bus was
    /// not up before.
    fn confirm(&self, incarnation: u64) {
        let identity = NodeIdentity::new(NodeId { name: Arc::clone(self.name()), incarnation });
        let mut outgoing = self.outgoing.lock();
        outgoing.publishes.sign(|message| identity.sign(message));
        // Under the lock of the queues: see `enqueue`. An error is impossible, because only the node task confirms,
        // once.
        let _ = self.confirmed.set(identity);
    }

    /// The names of the other live nodes.
    pub(crate) fn peers(&self) -> Vec<Arc<str>> {
        self.peers.lock().clone()
    }

    /// Has the core handle inputs at once. A channel may be locked here, so only the bus is served here: all other
    /// outputs are left to the node task.
    fn handle_now(&self, inputs: impl IntoIterator<Item = Input>) {
        let (mut outputs, now) = (Vec::new(), self.clock.now());
        let mut core = self.core.lock();
        let deadline = core.deadline();
        inputs.into_iter().for_each(|input| core.handle(input, now, &mut outputs));
        // Before the core is unlocked: the order of its decisions is the order on the wire (see the lock order above).
        let mut deferred = Vec::new();
        self.publish(&mut outputs, now, |output| deferred.push(output));
        // The node task sleeps until the deadline that it has read last.
        let is_due = core.deadline() != deadline || !deferred.is_empty();
        drop(core);
        self.deferred.lock().extend(deferred);
        if is_due {
            self.woken.notify_one();
        }
    }

    /// Executes the outputs for the bus, and passes the others on.
    fn publish(&self, outputs: &mut Vec<Output>, now: u64, mut pass_on: impl FnMut(NodeOutput)) {
        let mut queued = false;
        for output in outputs.drain(..) {
            match output {
                Output::Publish { topic, message } => queued |= self.enqueue(topic, *message, PublishKind::State, now),
                Output::UpdateSubscriptions { add, remove } => self.bus.update_subscriptions(&add, &remove),
                Output::Node(output) => pass_on(output),
            }
        }
        if queued {
            self.queued.notify_one();
        }
    }

    /// Publishes a message for users of other nodes. Returns `false` if the queue is full.
    pub(crate) fn publish_message(&self, channel: ChannelKey, message: UserMessage) -> bool {
        let (topic, now) = (self.topics.channel(&channel), self.clock.now());
        // Relaxed: the number only has to be unique. The order of messages is that of the outgoing queues.
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let identity = self.identity();
        let mut data = Vec::with_capacity(USUAL_SIZE);
        if self.may_shorten() && short::write(&mut data, &identity.source, &format!("{number:x}"), &channel, &message) {
            let publish = Publish::new(topic, data);
            let entry = QueuedPublish { publish, kind: PublishKind::Message, at: now, unsigned: None, order: 0 };
            let taken = self.outgoing.lock().publish(entry);
            // Also after a refusal: the sender task counts it, because a channel may be locked here.
            self.queued.notify_one();
            return taken;
        }
        let envelope = Envelope {
            id: format!("{}-m{number}", identity.source).into(),
            source: Arc::clone(&identity.source),
            channel: Some(channel),
            timestamp: now,
            body: Body::UserMessage(message),
            ext: Some(Ext::new(identity.id.clone())),
        };
        let taken = self.enqueue(topic, envelope, PublishKind::Message, now);
        // Also after a refusal: the sender task counts it, because a channel may be locked here.
        self.queued.notify_one();
        taken
    }

    /// Tells other nodes that the history of a channel has begun anew.
    fn announce_restart(&self, channel: &ChannelKey) {
        self.announce_to(self.topics.channel(channel), Some(channel.clone()), NodeEvent::HistoryRestarted);
    }

    /// Publishes an event of this node on a topic.
    fn announce_to(&self, topic: Topic, channel: Option<ChannelKey>, event: NodeEvent) {
        let (identity, now) = (self.identity(), self.clock.now());
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let envelope = Envelope {
            id: format!("{}-m{number}", identity.source).into(),
            source: Arc::clone(&identity.source),
            channel,
            timestamp: now,
            body: Body::Node(event),
            ext: Some(Ext::new(identity.id.clone())),
        };
        self.enqueue(topic, envelope, PublishKind::State, now);
        self.queued.notify_one();
    }

    /// Queues a message. Until this incarnation has its number, the message is kept beside its text to be signed anew.
    fn enqueue(&self, topic: Topic, mut message: Envelope, kind: PublishKind, now: u64) -> bool {
        // Encoded before the lock, which all publishers share.
        let mut publish = Publish::new(topic, encode(&message));
        let mut outgoing = self.outgoing.lock();
        let unsigned = match self.confirmed.get() {
            None => Some(Box::new(message)),
            Some(identity) => {
                // The number may have been assigned since the message was made. A message of the core is published only
                // after `Up`, and has the final identity already.
                if kind == PublishKind::Message && message.source != identity.source {
                    publish.data = identity.sign(&mut message);
                }
                None
            }
        };
        outgoing.publish(QueuedPublish { publish, kind, at: now, unsigned, order: 0 })
    }
}

fn encode(envelope: &Envelope) -> Bytes {
    let mut data = Vec::with_capacity(USUAL_SIZE);
    envelope.encode(&mut data);
    Bytes::from(data)
}

/// One incarnation of a node, and the signature of its messages.
#[derive(Clone, Debug)]
struct NodeIdentity {
    id: NodeId,
    source: Arc<str>,
    /// The first bytes of this node's own messages in their two forms, by which they are recognised without parsing.
    beginnings: [Vec<u8>; 2],
}

impl NodeIdentity {
    fn new(id: NodeId) -> NodeIdentity {
        let source: Arc<str> = id.source().into();
        let beginnings = [Envelope::beginning(&source), short::beginning(&source)];
        NodeIdentity { beginnings, source, id }
    }

    /// Returns whether this node has written the message.
    fn has_written(&self, data: &[u8]) -> bool {
        self.beginnings.iter().any(|beginning| data.starts_with(beginning))
    }

    /// Signs a message, and encodes it.
    fn sign(&self, message: &mut Envelope) -> Bytes {
        message.source = Arc::clone(&self.source);
        message.ext = Some(Ext::new(self.id.clone()));
        encode(message)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("name", self.name()).finish_non_exhaustive()
    }
}

/// Removes a pending request when its future ends or is dropped.
struct PendingGuard<'a> {
    pending: &'a Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    id: u64,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

/// Passes the changes in the channels of one endpoint to the node.
struct ChannelReplication {
    node: Arc<Node>,
    endpoint: Arc<str>,
}

impl ChannelReplication {
    fn key(&self, channel: &ChannelName) -> ChannelKey {
        ChannelKey { endpoint: Arc::clone(&self.endpoint), channel: channel.clone() }
    }

    fn open(&self, channel: &ChannelName, instance: u64, grace: u64, in_order: bool) {
        self.node.handle_now([Input::Opened { channel: self.key(channel), instance, grace, in_order }]);
    }
}

impl Replication for ChannelReplication {
    fn opened(&self, channel: &ChannelName, instance: u64, grace: u64) {
        // A server may be created outside of a runtime. Its first channel is opened within one.
        self.node.start();
        self.open(channel, instance, grace, false);
    }

    fn open_history(&self, channel: &ChannelName, instance: u64, grace: u64, rules: &Arc<HistoryRules>) -> bool {
        let shares = self.node.shares_histories();
        if shares {
            // It is open for other nodes from now on, so that its topic stays subscribed.
            self.node.start();
            self.open(channel, instance, grace, true);
            self.node.open_history(self.key(channel), instance, rules);
        }
        shares
    }

    fn replicate(&self, channel: &ChannelName, instance: u64, what: Vec<Outbound>) {
        for outbound in what {
            let channel = self.key(channel);
            match outbound {
                Outbound::Change(change) => {
                    if matches!(change, MemberChange::Joined { .. }) {
                        self.node.note_member(&channel);
                    }
                    self.node.handle_now([Input::Local { channel, change }]);
                }
                Outbound::Moved(user) => self.node.handle_now([Input::Moved { channel, user }]),
                // The sender has checked that there is room. If there is none any more, the message is counted as
                // dropped.
                Outbound::Message(message) => drop(self.node.publish_message(channel, message)),
                Outbound::Append(message) => self.node.append(channel, instance, message),
            }
        }
    }

    fn closed(&self, channel: &ChannelName, instance: u64) {
        self.node.close_history(&self.key(channel), instance);
        self.node.handle_now([Input::Closed { channel: self.key(channel), instance }]);
    }
}

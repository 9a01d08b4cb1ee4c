//! The records of sessions, in the store of the bus.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use pondsocket_proto::cluster::NodeId;
use pondsocket_proto::cluster::message::NodeEvent;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::Node;
use crate::cluster::{BoxFuture, BusError, BusErrorKind};
use crate::engine::shared_sessions::SessionRecords;
use crate::engine::sync::Mutex;

/// The most records that wait to be written. A further one is not written: the next one of its session is.
const MAX_QUEUED: usize = 10_000;

/// The bytes of waiting records from which on further ones are short.
const MANY_BYTES: usize = 16 * 1024 * 1024;

/// The most records that are written at a time.
const BATCH: usize = 64;

/// The time between two looks at the positions of the connections.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most records of connections that are written in this time. They bound the cost for the store: about 5 us of its CPU
/// each.
const FOLLOWED: usize = 2000;

/// The records that wait to be written, in order.
#[derive(Debug, Default)]
pub(super) struct RecordQueue {
    queue: Mutex<VecDeque<QueuedRecord>>,
    /// The bytes of the records in the queue. Changed under its lock.
    bytes: AtomicUsize,
    queued: Notify,
}

struct QueuedRecord {
    key: String,
    /// `None` if the record is to be removed.
    record: Option<Bytes>,
    ttl: Duration,
    kept: Option<Box<dyn FnOnce(bool) + Send>>,
}

impl QueuedRecord {
    fn bytes(&self) -> usize {
        self.record.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for QueuedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key of a session is a secret, and so is not shown.
        f.debug_struct("QueuedRecord").finish_non_exhaustive()
    }
}

/// The records, for the endpoints of the server.
struct NodeRecords(Weak<Node>);

impl fmt::Debug for NodeRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeRecords")
    }
}

impl Node {
    /// The records of sessions; `None` if the bus has no store.
    pub(crate) fn session_records(self: &Arc<Self>) -> Option<Arc<dyn SessionRecords>> {
        self.shares_histories().then(|| Arc::new(NodeRecords(Arc::downgrade(self))) as Arc<dyn SessionRecords>)
    }

    /// Writes the records of sessions whose positions have moved.
    fn follow_sessions(&self) {
        let mut left = FOLLOWED;
        for host in self.all_hosts() {
            left -= host.follow_sessions(left).min(left);
        }
    }

    /// Returns `true` if records wait to be written.
    pub(super) fn has_records(&self) -> bool {
        !self.records.queue.lock().is_empty()
    }
}

impl SessionRecords for NodeRecords {
    fn take(&self, key: &str) -> BoxFuture<'static, Result<Option<Bytes>, BusError>> {
        let (node, key) = (self.0.upgrade(), key.to_owned());
        Box::pin(async move {
            match node.as_ref().and_then(|node| node.bus.history()) {
                Some(store) => store.take(&key).await,
                None => Err(BusError::new(BusErrorKind::Closed, "the server has ended")),
            }
        })
    }

    fn put(&self, key: String, record: Option<Bytes>, ttl: Duration, kept: Option<Box<dyn FnOnce(bool) + Send>>) {
        let Some(node) = self.0.upgrade() else { return };
        let record = QueuedRecord { key, record, ttl, kept };
        let mut queue = node.records.queue.lock();
        // A client that joins several channels at once has a record for each of its joins: the last one is enough.
        if queue.back().is_some_and(|last| last.key == record.key && last.kept.is_none())
            && let Some(last) = queue.pop_back()
        {
            node.records.bytes.fetch_sub(last.bytes(), Ordering::Relaxed);
        }
        if queue.len() >= MAX_QUEUED {
            return;
        }
        node.records.bytes.fetch_add(record.bytes(), Ordering::Relaxed);
        queue.push_back(record);
        drop(queue);
        node.records.queued.notify_one();
    }

    fn has_room(&self) -> bool {
        self.0.upgrade().is_some_and(|node| node.records.bytes.load(Ordering::Relaxed) < MANY_BYTES)
    }

    fn claim(&self, holder: &NodeId, key: &str) -> bool {
        let Some(node) = self.0.upgrade() else { return false };
        let is_alive = node.peers.lock().contains(&holder.name);
        if is_alive {
            node.announce_to(node.topics.inbox(holder), None, NodeEvent::SessionClaimed(key.into()));
        }
        is_alive
    }

    fn is_away(&self) -> bool {
        self.0.upgrade().is_none_or(|node| node.is_given_up(node.clock.now()))
    }

    fn me(&self) -> NodeId {
        self.0.upgrade().map_or(NodeId { name: "".into(), incarnation: 0 }, |node| node.id().clone())
    }
}

impl RecordQueue {
    /// Takes the next records, of different sessions: they are written side by side, and two of one session would have no order.
    fn take(&self) -> Vec<QueuedRecord> {
        let (mut queue, mut batch, mut keys) = (self.queue.lock(), Vec::new(), HashSet::new());
        while batch.len() < BATCH
            && let Some(next) = queue.front()
            && keys.insert(next.key.clone())
        {
            let next = queue.pop_front();
            self.bytes.fetch_sub(next.as_ref().map_or(0, QueuedRecord::bytes), Ordering::Relaxed);
            batch.extend(next);
        }
        batch
    }
}

/// Writes records, for ever.
pub(super) async fn run(node: Arc<Node>) {
    let mut ticks = interval(INTERVAL);
    loop {
        let batch = node.records.take();
        if batch.is_empty() {
            tokio::select! {
                () = node.records.queued.notified() => {}
                _ = ticks.tick() => node.follow_sessions(),
            }
            continue;
        }
        let mut writes = JoinSet::new();
        batch.into_iter().for_each(|record| drop(writes.spawn(write(Arc::clone(&node), record))));
        writes.join_all().await;
    }
}

async fn write(node: Arc<Node>, QueuedRecord { key, record, ttl, kept }: QueuedRecord) {
    let Some(store) = node.bus.history() else { return };
    let written = match record {
        Some(record) => store.put(&key, record, ttl).await,
        None => store.take(&key).await.map(drop),
    };
    if let Err(error) = &written {
        tracing::debug!(target: "pondsocket::bus", %error, "cannot write a session");
    }
    kept.into_iter().for_each(|kept| kept(written.is_ok()));
}

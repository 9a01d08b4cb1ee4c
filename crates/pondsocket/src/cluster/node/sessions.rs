//! The records of sessions, in the store of the bus.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pondsocket_proto::cluster::NodeId;
use pondsocket_proto::cluster::message::NodeEvent;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::Node;
use super::sender::is_passing;
use crate::cluster::{BoxFuture, BusError, BusErrorKind, HistoryStore, StoredRecord};
use crate::engine::shared_sessions::{SessionRecords, Settled};
use crate::engine::sync::Mutex;

/// The most sessions whose records wait to be written. A further record is not written: the next one of its session is.
const MAX_QUEUED: usize = 10_000;

/// The bytes of waiting records from which on further ones are short.
const MANY_BYTES: usize = 16 * 1024 * 1024;

/// The most records that are written at a time.
const BATCH: usize = 64;

/// The pause behind a write that has failed.
const RETRY: Duration = Duration::from_millis(100);

/// The time between two looks at the positions of the connections.
const INTERVAL: Duration = Duration::from_secs(1);

/// The most records of connections that are written in this time. They bound the cost for the store: about 5 us of its CPU
/// each.
const RECORDS_WRITTEN: usize = 2000;

/// The records that wait to be written, one of each session.
#[derive(Debug, Default)]
pub(super) struct RecordQueue {
    state: Mutex<QueueState>,
    queued: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    records: HashMap<String, QueuedRecord>,
    /// The keys of the records, in order.
    order: VecDeque<String>,
    /// The bytes of the records.
    bytes: usize,
    /// The number of records that are being written.
    writing: usize,
}

struct QueuedRecord {
    record: StoredRecord,
    ttl: Duration,
    settled: Option<Settled>,
}

impl QueuedRecord {
    fn settle(self, is_settled: bool) {
        self.settled.into_iter().for_each(|settled| settled(is_settled));
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
    fn write_session_records(&self) {
        let mut left = RECORDS_WRITTEN;
        for host in self.all_hosts() {
            left -= host.write_session_records(left).min(left);
        }
    }

    /// Returns `true` if records wait to be written.
    pub(super) fn has_records(&self) -> bool {
        let state = self.records.state.lock();
        !state.order.is_empty() || state.writing > 0
    }
}

impl SessionRecords for NodeRecords {
    fn get(&self, key: &str) -> BoxFuture<'static, Result<Option<StoredRecord>, BusError>> {
        let (node, key) = (self.0.upgrade(), key.to_owned());
        Box::pin(async move { store(node.as_ref())?.get(&key).await })
    }

    fn replace(
        &self,
        key: &str,
        record: StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'static, Result<bool, BusError>> {
        let (node, key) = (self.0.upgrade(), key.to_owned());
        Box::pin(async move { store(node.as_ref())?.put(&key, &record, replaces, ttl).await })
    }

    fn put(&self, key: String, record: StoredRecord, ttl: Duration, settled: Option<Settled>) {
        if let Some(node) = self.0.upgrade() {
            node.records.put(key, QueuedRecord { record, ttl, settled });
        }
    }

    fn has_room(&self) -> bool {
        self.0.upgrade().is_some_and(|node| node.records.state.lock().bytes < MANY_BYTES)
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

    fn now(&self) -> u64 {
        self.0.upgrade().map_or(0, |node| node.clock.now())
    }

    fn me(&self) -> NodeId {
        self.0.upgrade().map_or(NodeId { name: "".into(), incarnation: 0 }, |node| node.id().clone())
    }
}

fn store(node: Option<&Arc<Node>>) -> Result<&dyn HistoryStore, BusError> {
    let store = node.and_then(|node| node.bus.history());
    store.ok_or_else(|| BusError::new(BusErrorKind::Closed, "the server has ended"))
}

impl RecordQueue {
    /// Queues a record in place of one of its session that waits.
    fn put(&self, key: String, queued: QueuedRecord) {
        // Settled without the lock, because what is called may queue a record.
        let obsolete = self.state.lock().put(key, queued);
        self.queued.notify_one();
        if let Some((obsolete, is_settled)) = obsolete {
            obsolete.settle(is_settled);
        }
    }

    /// Takes the next records, which are written side by side.
    fn take(&self) -> Vec<(String, QueuedRecord)> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some(key) = state.order.pop_front()
        {
            if let Some(record) = state.records.remove(&key) {
                state.bytes -= record.record.data.len();
                batch.push((key, record));
            }
        }
        state.writing = batch.len();
        batch
    }

    /// The records of the batch were written, but for these, which are written again.
    fn wrote(&self, failed: Vec<(String, QueuedRecord)>) {
        let mut obsolete = Vec::new();
        {
            let mut state = self.state.lock();
            state.writing = 0;
            for (key, failed) in failed {
                let is_obsolete =
                    state.records.get(&key).is_some_and(|waiting| waiting.record.version >= failed.record.version);
                obsolete.extend(if is_obsolete { Some((failed, true)) } else { state.put(key, failed) });
            }
        }
        obsolete.into_iter().for_each(|(record, is_settled)| record.settle(is_settled));
    }
}

impl QueueState {
    /// Returns the record that is not written, and `true` if that is because a later one is.
    fn put(&mut self, key: String, queued: QueuedRecord) -> Option<(QueuedRecord, bool)> {
        let bytes = queued.record.data.len();
        match self.records.get_mut(&key) {
            Some(waiting) if waiting.record.version > queued.record.version => return Some((queued, true)),
            Some(waiting) => {
                self.bytes -= waiting.record.data.len();
                self.bytes += bytes;
                return Some((std::mem::replace(waiting, queued), true));
            }
            None if self.order.len() >= MAX_QUEUED => return Some((queued, false)),
            None => {}
        }
        self.bytes += bytes;
        self.order.push_back(key.clone());
        self.records.insert(key, queued);
        None
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
                _ = ticks.tick() => node.write_session_records(),
            }
            continue;
        }
        let mut writes = JoinSet::new();
        batch.into_iter().for_each(|(key, record)| drop(writes.spawn(write(Arc::clone(&node), key, record))));
        let failed: Vec<_> = writes.join_all().await.into_iter().flatten().collect();
        let has_failed = !failed.is_empty();
        node.records.wrote(failed);
        if has_failed {
            sleep(RETRY).await;
        }
    }
}

/// Writes a record. Returns it if it may be written later.
async fn write(node: Arc<Node>, key: String, queued: QueuedRecord) -> Option<(String, QueuedRecord)> {
    let store = node.bus.history()?;
    let record = &queued.record;
    match store.put(&key, record, record.version, queued.ttl).await {
        // If a later record is kept, this one is needed no more.
        Ok(_) => queued.settle(true),
        Err(error) => {
            tracing::debug!(target: "pondsocket::bus", %error, "cannot write a session");
            if is_passing(error.kind()) {
                return Some((key, queued));
            }
            queued.settle(false);
        }
    }
    None
}

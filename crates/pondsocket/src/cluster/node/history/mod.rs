//! The histories that this node shares with others, in the store of the bus.
//!
//! ```text
//!  channel --(barrier in its queue)--> append queue --(sender task)--> store --(its topic)--> other nodes
//!     ^                                                  |               |
//!     |         position                                 |               | read: when a channel opens, when its topic is
//!     +--------------------------------------------------+               | subscribed again, after a gap, and when a message
//!     +-----------------(read task)--------------------------------------+ comes without those ahead of it
//! ```
//!
//! The store gives one order to the messages of all nodes. The append queue and the publish queue are sent in one order, too, so that
//! what is kept stays in its place among all that this node sends. A message of this node waits in its channel until the store has
//! answered. While the store does not answer, the channel goes on by itself after a while, in an epoch of its own, and begins
//! the history of all nodes anew when the store is back: then every client that resumes across that time is told.

mod append;
mod host;
mod prolong;
mod read;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::channel::{AppendedMessage, HistoryRules};
use pondsocket_proto::cluster::ChannelKey;
use tokio::sync::Notify;

use super::Node;
use super::append_queue::QueuedAppend;
use crate::engine::ids;
use crate::engine::sync::Mutex;
use crate::metrics::ClusterEvent;

pub(super) use host::STORE_TIMEOUT;
pub(crate) use host::{HistoryHost, HistoryState, Instance};

pub(super) use prolong::run as run_prolongations;
pub(super) use read::run as run_reads;

use waits::HistoryWaits;

/// The shared histories of a node. Locks are held for a moment only, and never two of them.
#[derive(Debug, Default)]
pub(super) struct SharedHistories {
    open: Mutex<read::OpenHistories>,
    /// Notified when a read is due earlier than the task knows.
    read_due: Notify,
    prolongations: prolong::Prolongations,
    /// The joins that wait for histories.
    waits: HistoryWaits,
}

impl Node {
    /// Opens the history of a channel that is about to be created.
    pub(super) fn open_history(&self, key: ChannelKey, serial: u64, rules: &Arc<HistoryRules>) {
        let (is_up, now) = (self.is_up(), self.clock.now());
        // The subscription comes first: what is appended between the two would be missed otherwise. While the bus is down there
        // is none, and the read shows that the store is away, too.
        let is_due = !is_up || self.core.lock().is_subscribed(&key);
        let read_at = if is_due { now } else { now + STORE_TIMEOUT };
        let topic = self.topics.channel(&key);
        self.histories.open.lock().add(topic, key, serial, Arc::clone(rules), (now, read_at));
        self.histories.read_due.notify_one();
    }

    /// The channel has closed.
    pub(super) fn close_history(&self, key: &ChannelKey, serial: u64) {
        if self.bus.history().is_some() {
            self.histories.open.lock().remove(&self.topics.channel(key), serial);
        }
    }

    /// Returns `true` if the bus has a store of histories.
    pub(crate) fn shares_histories(&self) -> bool {
        self.bus.history().is_some()
    }

    /// Queues a message of a channel for the store. The channel waits for its position.
    pub(super) fn append(&self, key: ChannelKey, serial: u64, message: AppendedMessage) {
        let entry = QueuedAppend::new(key, serial, message, self.clock.now());
        self.outgoing.lock().append(entry);
        self.queued.notify_one();
    }

    /// Returns `true` if a further message may be appended.
    pub(crate) fn has_room_to_append(&self) -> bool {
        self.outgoing.lock().appends.has_room()
    }

    /// Returns `true` if messages wait for the store.
    pub(super) fn has_appends(&self) -> bool {
        !self.outgoing.lock().appends.is_empty()
    }

    /// Waits until the history of a channel is read, for as long as `is_loading` is true.
    pub(crate) async fn loaded(&self, key: &ChannelKey, is_loading: impl Fn() -> bool) {
        self.histories.waits.until(key, || !is_loading()).await;
    }

    /// Returns `true` if the store has not answered for so long that nothing waits for it any more, since this time.
    pub(super) fn is_given_up(&self, since: u64) -> bool {
        self.clock.now().saturating_sub(since) >= STORE_TIMEOUT
            || self.down_for() >= Duration::from_millis(STORE_TIMEOUT)
    }

    /// Lets a channel give positions by itself, because the store does not answer. What it has queued is gone already.
    fn detach(&self, key: &ChannelKey, of: &Instance) {
        tracing::warn!(
            target: "pondsocket::cluster",
            endpoint = &*key.endpoint,
            channel = key.channel.as_str(),
            "the store of histories does not answer: the channel goes on without it"
        );
        if let Some(host) = self.host(&key.endpoint) {
            host.detach(of, ids::fresh_epoch());
        }
        self.count(ClusterEvent::HistoryDetached);
        self.histories.waits.notify(key);
    }
}

//! The lives of histories without a message. A client is told the position 0 of such a history, so all nodes must agree upon its epoch
//! for as long as the client may come back. Anybody who is allowed to connect can open channels by joins that are declined, so the
//! store forgets the histories of these soon.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::cluster::{ChannelKey, Topic};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::super::Node;
use super::host::RETRY;
use crate::engine::ids;
use crate::engine::sync::Mutex;

/// The life of a history that nobody has used: no client of this node was accepted into its channel.
const UNUSED: Duration = Duration::from_secs(60);

/// The time for which a history that was used goes on behind its messages. The members of a quiet channel would otherwise be told of a
/// gap with its next message.
const NUMBERED: Duration = Duration::from_secs(24 * 3600);

/// The most histories that are prolonged at a time.
const AT_ONCE: usize = 16;

/// The time for which the store is to keep a history that has no message.
pub(super) fn life(is_used: bool, ttl: u64) -> Duration {
    if is_used { Duration::from_millis(ttl).saturating_add(NUMBERED) } else { UNUSED }
}

/// The histories that were used for the first time, and are yet to be prolonged.
#[derive(Debug, Default)]
pub(super) struct Prolongations {
    /// With the times for which their messages are kept, in milliseconds.
    waiting: Mutex<VecDeque<(Topic, u64)>>,
    added: Notify,
}

impl Node {
    /// A client of this node is a member of a channel.
    pub(in super::super) fn note_member(&self, key: &ChannelKey) {
        if !self.shares_histories() {
            return;
        }
        let topic = self.topics.channel(key);
        let ttl = self.histories.open.lock().note_used(&topic);
        if let Some(ttl) = ttl {
            self.prolong_later(topic, ttl);
        }
    }

    fn prolong_later(&self, topic: Topic, ttl: u64) {
        self.histories.prolongations.waiting.lock().push_back((topic, ttl));
        self.histories.prolongations.added.notify_one();
    }

    async fn prolong(&self, topic: Topic, ttl: u64) {
        let Some(store) = self.bus.history() else { return };
        if let Err(error) = store.begin(&topic, ids::fresh_epoch(), life(true, ttl)).await {
            tracing::debug!(target: "pondsocket::bus", topic = topic.as_str(), %error, "cannot prolong a history");
            // The pause of a failed one holds up others, too: the store does not answer them either.
            sleep(Duration::from_millis(RETRY)).await;
            self.prolong_later(topic, ttl);
        }
    }
}

/// Prolongs histories, for ever. One whose channel has closed meanwhile is prolonged as well: its clients may come back.
pub(in super::super) async fn run(node: Arc<Node>) {
    let prolongations = &node.histories.prolongations;
    let mut under_way = JoinSet::new();
    loop {
        let next = if under_way.len() < AT_ONCE { prolongations.waiting.lock().pop_front() } else { None };
        if let Some((topic, ttl)) = next {
            let node = Arc::clone(&node);
            under_way.spawn(async move { node.prolong(topic, ttl).await });
            continue;
        }
        tokio::select! {
            () = prolongations.added.notified() => {}
            Some(_) = under_way.join_next() => {}
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_used_is_kept_for_a_minute_and_all_else_for_a_day_behind_its_messages() {
        assert_eq!(life(false, u64::MAX), Duration::from_secs(60));
        assert_eq!(life(true, 5000), Duration::from_secs(24 * 3600 + 5));
        assert!(life(true, u64::MAX) > life(true, 5000));
    }
}

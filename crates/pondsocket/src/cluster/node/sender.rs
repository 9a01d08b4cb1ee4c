use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Node;
use super::queue::QueuedPublish;
use crate::cluster::{BusErrorKind, Outcome};
use crate::metrics::{BusDrop, ClusterEvent};

/// The pause before messages are sent again. A bus that has lost its connection may refuse them at once, before the node knows:
/// without a pause this task would never yield.
const PAUSE: Duration = Duration::from_millis(10);

/// Publishes the queue, one batch after the other, for ever. While one batch is under way the next one grows, so that
/// the cost of each message falls with the load. One batch at a time also keeps the order when messages are queued
/// again.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        let (batch, dropped) = {
            let mut queue = node.queue.lock();
            (queue.take(node.clock.now()), queue.take_dropped())
        };
        // Counted here and not where they are dropped, because that is under the lock of the queue, or of a channel.
        count_dropped(&node, [(BusDrop::Expired, dropped.expired), (BusDrop::Full, dropped.full)]);
        if batch.is_empty() {
            node.queued.notified().await;
            continue;
        }
        let outcomes = node.bus.publish(batch.iter().map(|entry| entry.publish.clone()).collect()).await;
        if apply_outcomes(&node, batch, outcomes) {
            sleep(PAUSE).await;
        }
    }
}

/// Applies the outcomes of a batch. A message that was certainly not sent, and may be sent soon, is queued again. A
/// message that may have been sent is not sent twice: clients would receive it twice. Returns `true` if messages were queued
/// again.
fn apply_outcomes(node: &Node, batch: Vec<QueuedPublish>, outcomes: Vec<Outcome>) -> bool {
    let mut again = Vec::new();
    let (mut unknown, mut refused) = (0, 0);
    for (entry, outcome) in batch.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Sent { .. } => {}
            Outcome::Unknown(error) => {
                tracing::debug!(target: "pondsocket::bus", %error, "a message may be lost");
                unknown += 1;
            }
            Outcome::NotSent(error) if is_passing(error.kind()) => again.push(entry),
            Outcome::NotSent(error) => {
                let topic = entry.publish.topic.as_str();
                tracing::warn!(target: "pondsocket::bus", topic, %error, "the bus refused a message");
                refused += 1;
            }
        }
    }
    let has_again = !again.is_empty();
    if has_again {
        node.queue.lock().give_back(again);
    }
    count_dropped(node, [(BusDrop::Unknown, unknown), (BusDrop::Refused, refused)]);
    has_again
}

fn count_dropped(node: &Node, dropped: [(BusDrop, u64); 2]) {
    for (reason, messages) in dropped.into_iter().filter(|(_, messages)| *messages > 0) {
        node.count(ClusterEvent::Dropped { reason, messages });
    }
}

/// Returns `true` if the bus may take the same message later.
pub(super) fn is_passing(kind: BusErrorKind) -> bool {
    !matches!(kind, BusErrorKind::TooBig | BusErrorKind::NoPerm | BusErrorKind::Config)
}

use std::sync::Arc;

use super::Node;
use super::queue::Entry;
use crate::cluster::{BusErrorKind, Outcome};
use crate::metrics::{BusDrop, ClusterEvent};

/// Gives the bus what waits for it, one batch after the other, for ever. While one is under way the next one grows: under
/// load each costs the engine little.
pub(super) async fn run(node: Arc<Node>) {
    loop {
        let (batch, dropped) = {
            let mut queue = node.queue.lock();
            (queue.take(node.clock.now()), queue.take_dropped())
        };
        count_dropped(&node, [(BusDrop::Expired, dropped.expired), (BusDrop::Full, dropped.full)]);
        if batch.is_empty() {
            node.queued.notified().await;
            continue;
        }
        let outcomes = node.bus.publish(batch.iter().map(|entry| entry.publish.clone()).collect()).await;
        settle(&node, batch, outcomes);
    }
}

/// What certainly was not sent, and may be soon, waits again. What may have been sent is not sent twice.
fn settle(node: &Node, batch: Vec<Entry>, outcomes: Vec<Outcome>) {
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
    if !again.is_empty() {
        node.queue.lock().give_back(again);
    }
    count_dropped(node, [(BusDrop::Unknown, unknown), (BusDrop::Refused, refused)]);
}

fn count_dropped(node: &Node, dropped: [(BusDrop, u64); 2]) {
    for (reason, messages) in dropped.into_iter().filter(|(_, messages)| *messages > 0) {
        node.count(ClusterEvent::Dropped { reason, messages });
    }
}

/// Whether the same message may be taken a moment later.
fn is_passing(kind: BusErrorKind) -> bool {
    !matches!(kind, BusErrorKind::TooBig | BusErrorKind::NoPerm | BusErrorKind::Config)
}

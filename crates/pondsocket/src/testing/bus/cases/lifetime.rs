//! The beginning and the end of a bus.

use super::{BusUnderTest, TestNode, soon};
use crate::cluster::{BusEvent, Outcome, SinkLimits};

/// The first event of a bus is `Up`.
pub async fn up_is_the_first_event(subject: &dyn BusUnderTest) {
    let bus = subject.bus();
    bus.update_subscriptions(&["a".into()], &[]);
    let mut node = TestNode::start(bus, SinkLimits::default());
    assert!(matches!(node.event().await, BusEvent::Up { .. }));
    node.subscribed(&["a".into()]).await;
}

/// Before `run` nothing is sent, and the outcome says so without waiting.
pub async fn before_run_nothing_is_sent(subject: &dyn BusUnderTest) {
    let mut witness = TestNode::listening(subject, ["t"]).await;
    let bus = subject.bus();
    let outcomes = soon("outcome", bus.publish(vec![crate::cluster::Publish::new("t", "too early")])).await;
    assert!(matches!(outcomes[..], [Outcome::NotSent(_)]), "{outcomes:?}");
    let mut node = TestNode::start(bus, SinkLimits::default());
    node.next_up().await;
    node.publish("t", "in time").await;
    witness.expect("t", b"in time").await;
}

/// Stopping the bus ends `run` without an error, and ends the events.
pub async fn stop_ends_the_bus(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a", "b"]).await;
    node.stop().await.expect("no error");
    while soon("end of the events", node.events.next()).await.is_some() {}
}

/// After the end nothing is sent, no call waits, and subscriptions can still be updated.
pub async fn after_the_end_nothing_is_sent(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    node.stop().await.expect("no error");
    let outcome = node.try_publish("a", "too late").await;
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");
    node.bus.update_subscriptions(&["b".into()], &["a".into()]);
    let other = TestNode::up(subject).await;
    let receivers = other.publish("a", "no subscriber").await;
    assert!(receivers.is_none_or(|count| count == 0), "{receivers:?} receivers");
}

/// Dropping the future of `run` ends the bus, too: the events end, and nothing is subscribed any more.
pub async fn dropping_the_future_of_run_ends_the_bus(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    node.running.abort();
    while soon("end of the events", node.events.next()).await.is_some() {}
    let outcome = node.try_publish("a", "too late").await;
    assert!(!matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
}

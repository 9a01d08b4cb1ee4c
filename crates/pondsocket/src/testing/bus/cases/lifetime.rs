//! The beginning and the end of a bus.

use super::{Node, Subject, soon};
use crate::cluster::{BusEvent, Outcome, SinkLimits};

/// The first that is told is that it is up.
pub async fn it_comes_up_first(subject: &dyn Subject) {
    let bus = subject.bus();
    bus.update_subscriptions(&["a".into()], &[]);
    let mut node = Node::start(bus, SinkLimits::default());
    assert!(matches!(node.event().await, BusEvent::Up { .. }));
    node.subscribed(&["a".into()]).await;
}

/// Before it runs it sends nothing, and says so without waiting.
pub async fn before_run_nothing_is_sent(subject: &dyn Subject) {
    let mut witness = Node::listening(subject, ["t"]).await;
    let bus = subject.bus();
    let outcomes = soon("outcome", bus.publish(vec![crate::cluster::Publish::new("t", "too early")])).await;
    assert!(matches!(outcomes[..], [Outcome::NotSent(_)]), "{outcomes:?}");
    let mut node = Node::start(bus, SinkLimits::default());
    node.next_up().await;
    node.publish("t", "in time").await;
    witness.expect("t", b"in time").await;
}

/// Stopping the bus ends `run` without an error, and ends the events.
pub async fn stop_ends_it_in_time(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a", "b"]).await;
    node.stop().await.expect("no error");
    while soon("end of the events", node.events.next()).await.is_some() {}
}

/// After the end nothing is sent, nothing waits, and interest may still be declared.
pub async fn after_the_end_nothing_is_sent(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    node.stop().await.expect("no error");
    let outcome = node.try_publish("a", "too late").await;
    assert!(matches!(outcome, Outcome::NotSent(_)), "{outcome:?}");
    node.bus.update_subscriptions(&["b".into()], &["a".into()]);
    let other = Node::up(subject).await;
    let receivers = other.publish("a", "anybody?").await;
    assert!(receivers.is_none_or(|count| count == 0), "{receivers:?} receivers");
}

/// Dropping the future of `run` ends it too: the events end, and nothing listens any more.
pub async fn dropping_it_ends_it(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    node.running.abort();
    while soon("end of the events", node.events.next()).await.is_some() {}
    let outcome = node.try_publish("a", "too late").await;
    assert!(!matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
}

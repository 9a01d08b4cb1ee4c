//! The loss of the engine, and its return (C5).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{BusUnderTest, DEADLINE, TestNode, breaker, deadline, soon};
use crate::cluster::{NodeId, Outcome};

/// The loss of the engine is reported as `Down`.
pub async fn the_loss_of_the_engine_is_an_event(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
}

/// The return of the engine restores all subscriptions, in a new session and without a call by the node.
pub async fn the_return_of_the_engine_restores_subscriptions(subject: &dyn BusUnderTest) {
    let (mut node, mut publisher) = (TestNode::listening(subject, ["a", "b"]).await, TestNode::up(subject).await);
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    publisher.next_down().await;
    soon("return", breaker(subject).restore()).await;
    publisher.next_up().await;
    node.next_up().await;
    node.subscribed(&["a".into(), "b".into()]).await;
    publisher.publish("b", "1").await;
    node.expect("b", b"1").await;
}

/// A topic that is added while the engine is lost is subscribed when it returns.
pub async fn topics_added_without_an_engine_are_subscribed_later(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.bus.update_subscriptions(&["b".into()], &[]);
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    node.subscribed(&["a".into(), "b".into()]).await;
    node.publish("b", "1").await;
    node.expect("b", b"1").await;
}

/// A topic that is removed while the engine is lost is not subscribed when it returns.
pub async fn topics_removed_without_an_engine_are_not_subscribed_later(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a", "b"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.bus.update_subscriptions(&[], &["b".into()]);
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    node.subscribed(&["a".into()]).await;
    node.publish("b", "no subscriber").await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// A message that is published while the engine is lost is never sent. The outcome does not wait for the engine's return.
pub async fn without_an_engine_nothing_is_sent(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    let deadline = deadline();
    // A bus may detect the loss only by the first messages that fail.
    for attempt in 0.. {
        match node.try_publish("a", format!("away {attempt}")).await {
            Outcome::NotSent(_) => break,
            Outcome::Unknown(_) => {
                assert!(Instant::now() < deadline, "the outcome stays unknown while the bus is down")
            }
            Outcome::Sent { .. } => panic!("sent without an engine"),
        }
    }
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    node.subscribed(&["a".into()]).await;
    node.publish("a", "back").await;
    node.expect("a", b"back").await;
}

/// Each return of the engine begins a session with another number.
pub async fn each_return_of_the_engine_is_a_new_session(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    let mut sessions = HashSet::new();
    for round in 0..3 {
        soon("cut", breaker(subject).cut()).await;
        node.next_down().await;
        soon("return", breaker(subject).restore()).await;
        assert!(sessions.insert(node.next_up().await), "the number of a session was used again");
        node.subscribed(&["a".into()]).await;
        let data = format!("round {round}");
        node.publish("a", data.clone()).await;
        node.expect("a", data.as_bytes()).await;
    }
}

/// A bus that is trying to connect can be stopped.
pub async fn stop_ends_a_bus_without_an_engine(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.stop().await.expect("no error");
    while soon("end of the events", node.events.next()).await.is_some() {}
}

/// A lease cannot be renewed without an engine, and the renewal fails in time; after the return it succeeds.
pub async fn without_an_engine_no_lease_is_confirmed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::up(subject).await;
    let me = NodeId { name: "ada".into(), incarnation: 1 };
    let bus = node.bus.clone();
    let leases = bus.leases().expect("a bus with leases");
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    soon("failure", leases.renew(&me, DEADLINE)).await.expect_err("no engine");
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    soon("lease", leases.renew(&me, Duration::from_secs(60))).await.expect("an engine");
}

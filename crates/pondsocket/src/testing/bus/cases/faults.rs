//! The engine goes, and comes back (C5).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::subject::Breaker;
use super::{DEADLINE, Node, Subject, deadline, soon};
use crate::cluster::{NodeId, Outcome};

fn breaker(subject: &dyn Subject) -> &dyn Breaker {
    subject.breaker().expect("a subject that can be broken")
}

/// Losing the engine is reported as an event.
pub async fn losing_the_engine_is_told(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
}

/// The return of the engine restores all subscriptions, in a new session, without a call of the node.
pub async fn its_return_restores_the_interest(subject: &dyn Subject) {
    let (mut node, mut publisher) = (Node::listening(subject, ["a", "b"]).await, Node::up(subject).await);
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

/// A topic added while the engine is away is subscribed when it returns.
pub async fn interest_while_it_is_away_is_subscribed_afterwards(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.bus.update_subscriptions(&["b".into()], &[]);
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    node.subscribed(&["a".into(), "b".into()]).await;
    node.publish("b", "1").await;
    node.expect("b", b"1").await;
}

/// A topic removed while the engine is away is not subscribed when it returns.
pub async fn what_is_removed_while_it_is_away_is_not_subscribed(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a", "b"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.bus.update_subscriptions(&[], &["b".into()]);
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    node.subscribed(&["a".into()]).await;
    node.publish("b", "for nobody").await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// A message published while the engine is away is not sent, neither then nor later. The outcome says so without
/// waiting for the engine's return.
pub async fn while_it_is_away_nothing_is_sent(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    let deadline = deadline();
    // The first ones may be what shows a bus that the engine has gone.
    for attempt in 0.. {
        match node.try_publish("a", format!("away {attempt}")).await {
            Outcome::NotSent(_) => break,
            Outcome::Unknown(_) => {
                assert!(Instant::now() < deadline, "a bus that is down should know that nothing is sent")
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

/// It may go any number of times: each return is a session of its own.
pub async fn it_may_go_again_and_again(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
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

/// A bus that tries to connect can be stopped.
pub async fn stop_ends_it_while_it_is_away(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    node.stop().await.expect("no error");
    while soon("end of the events", node.events.next()).await.is_some() {}
}

/// A beat without an engine fails, in time; after its return it is confirmed.
pub async fn without_an_engine_no_lease_is_confirmed(subject: &dyn Subject) {
    let mut node = Node::up(subject).await;
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

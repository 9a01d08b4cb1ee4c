//! Subscriptions: the topics that a node wants are delivered, and no others (C4).

use tokio::time::Instant;

use super::{Node, Subject, deadline};
use crate::cluster::{BusEvent, SinkLimits, Topic};

fn numbered(count: usize) -> Vec<Topic> {
    (0..count).map(|number| Topic::from(format!("numbered:{number}"))).collect()
}

/// Interest that was declared before `run` is subscribed in the first session.
pub async fn interest_before_run_is_subscribed(subject: &dyn Subject) {
    let bus = subject.bus();
    bus.update_subscriptions(&["a".into(), "b".into()], &[]);
    bus.update_subscriptions(&["c".into()], &["b".into()]);
    let mut node = Node::start(bus, SinkLimits::default());
    node.next_up().await;
    node.subscribed(&["a".into(), "c".into()]).await;
    node.publish("b", "no").await;
    node.publish("c", "yes").await;
    node.expect("c", b"yes").await;
}

/// Interest that is declared later is subscribed in this session, and what is then published arrives.
pub async fn interest_while_it_runs_is_subscribed(subject: &dyn Subject) {
    let mut node = Node::start(subject.bus(), SinkLimits::default());
    let up = node.next_up().await;
    node.bus.update_subscriptions(&["a".into()], &[]);
    match node.event().await {
        BusEvent::Subscribed { session, topics } => assert_eq!((session, topics), (up, vec![Topic::from("a")])),
        other => panic!("{other:?} instead of the subscription"),
    }
    Node::up(subject).await.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// Every call that adds a topic is answered, also if it was subscribed before.
pub async fn every_add_is_answered(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a", "b"]).await;
    node.subscribe(&["a".into()]).await;
    node.subscribe(&["a".into(), "c".into()]).await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// A topic that was added twice delivers once, and one removal ends it.
pub async fn adding_twice_is_adding_once(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["twice", "other"]).await;
    node.subscribe(&["twice".into(), "twice".into()]).await;
    node.publish("twice", "1").await;
    node.expect("twice", b"1").await;
    node.bus.update_subscriptions(&[], &["twice".into()]);
    assert_silent(&mut node, "twice", "other").await;
}

/// `add` comes before `remove`.
pub async fn what_is_added_and_removed_at_once_is_not_wanted(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["other"]).await;
    node.bus.update_subscriptions(&["never".into()], &["never".into()]);
    assert_silent(&mut node, "never", "other").await;
}

/// Removing a topic that was never added does nothing.
pub async fn removing_what_is_not_wanted_is_nothing(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    node.bus.update_subscriptions(&[], &["b".into(), "c".into()]);
    node.bus.update_subscriptions(&[], &["b".into()]);
    node.subscribe(&["b".into()]).await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
    node.publish("b", "2").await;
    node.expect("b", b"2").await;
}

/// A topic that is removed delivers nothing any more, after a while.
pub async fn what_is_removed_stops(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a", "b"]).await;
    node.bus.update_subscriptions(&[], &["a".into()]);
    assert_silent(&mut node, "a", "b").await;
}

/// A topic that was removed and fell silent can be added again.
pub async fn what_is_added_again_comes_again(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a", "b"]).await;
    node.bus.update_subscriptions(&[], &["a".into()]);
    assert_silent(&mut node, "a", "b").await;
    node.subscribe(&["a".into()]).await;
    node.publish("a", "again").await;
    node.expect("a", b"again").await;
}

/// However fast a topic is removed and added again: in the end it is subscribed, and that is told.
pub async fn what_is_removed_and_added_at_once_goes_on(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["a"]).await;
    for _ in 0..100 {
        node.bus.update_subscriptions(&[], &["a".into()]);
        node.bus.update_subscriptions(&["a".into()], &[]);
    }
    node.subscribed(&["a".into()]).await;
    // Each of the hundred was answered, perhaps by one answer; the last answer stands behind the last removal.
    for round in 0..3 {
        node.bus.update_subscriptions(&[], &["a".into()]);
        node.subscribe(&["a".into()]).await;
        let data = format!("round {round}");
        settle(&mut node, &data).await;
    }
}

/// A thousand changes of one topic each are one interest.
pub async fn many_small_changes_of_interest_are_one_interest(subject: &dyn Subject) {
    let mut node = Node::up(subject).await;
    let topics = numbered(1000);
    for topic in &topics {
        node.bus.update_subscriptions(std::slice::from_ref(topic), &[]);
    }
    node.subscribed(&topics).await;
    for topic in topics.iter().step_by(97) {
        node.publish(topic.as_str(), topic.to_string()).await;
        node.expect(topic.as_str(), topic.as_str().as_bytes()).await;
    }
}

/// Ten thousand topics in one call are subscribed, and each of them delivers.
pub async fn ten_thousand_topics_are_subscribed(subject: &dyn Subject) {
    let mut node = Node::up(subject).await;
    let topics = numbered(10_000);
    node.subscribe(&topics).await;
    let publisher = Node::up(subject).await;
    for topic in topics.iter().step_by(333) {
        publisher.publish(topic.as_str(), "here").await;
        node.expect(topic.as_str(), b"here").await;
    }
    node.bus.update_subscriptions(&[], &topics[1..]);
    assert_silent(&mut node, "numbered:9999", "numbered:0").await;
}

/// Publishes on both topics until nothing comes on the one any more; the other is subscribed.
async fn assert_silent(node: &mut Node, silent: &str, marker: &str) {
    let deadline = deadline();
    for round in 0.. {
        let data = format!("{silent}/{round}");
        node.publish(silent, data.clone()).await;
        node.publish(marker, data.clone()).await;
        let mut heard = false;
        loop {
            let (topic, what) = node.message().await;
            heard |= topic.as_str() == silent;
            if topic.as_str() == marker && what == data.as_bytes() {
                break;
            }
        }
        if !heard {
            return;
        }
        assert!(Instant::now() < deadline, "`{silent}` is delivered although it was removed");
        tokio::task::yield_now().await;
    }
}

/// Publishes on topic `a` until it arrives: an answer may have been one for an earlier call.
async fn settle(node: &mut Node, data: &str) {
    let deadline = deadline();
    for attempt in 0.. {
        let data = format!("{data}, attempt {attempt}");
        if node.publish("a", data.clone()).await != Some(0) {
            return node.expect("a", data.as_bytes()).await;
        }
        assert!(Instant::now() < deadline, "`a` was added again, and does not deliver");
        tokio::task::yield_now().await;
    }
}

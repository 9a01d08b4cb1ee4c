//! Subscriptions: the topics that a node wants are delivered, and no others (C4).

use tokio::time::Instant;

use super::{BusUnderTest, TestNode, deadline};
use crate::cluster::{BusEvent, SinkLimits, Topic};

fn numbered(count: usize) -> Vec<Topic> {
    (0..count).map(|number| Topic::from(format!("numbered:{number}"))).collect()
}

/// Topics that were added before `run` are subscribed in the first session.
pub async fn topics_added_before_run_are_subscribed(subject: &dyn BusUnderTest) {
    let bus = subject.bus();
    bus.update_subscriptions(&["a".into(), "b".into()], &[]);
    bus.update_subscriptions(&["c".into()], &["b".into()]);
    let mut node = TestNode::start(bus, SinkLimits::default());
    node.next_up().await;
    node.subscribed(&["a".into(), "c".into()]).await;
    node.publish("b", "no").await;
    node.publish("c", "yes").await;
    node.expect("c", b"yes").await;
}

/// A topic that is added while the bus runs is subscribed in the same session, and delivers from then on.
pub async fn topics_added_while_running_are_subscribed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::start(subject.bus(), SinkLimits::default());
    let up = node.next_up().await;
    node.bus.update_subscriptions(&["a".into()], &[]);
    match node.event().await {
        BusEvent::Subscribed { session, topics } => assert_eq!((session, topics), (up, vec![Topic::from("a")])),
        other => panic!("{other:?} instead of the subscription"),
    }
    TestNode::up(subject).await.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// Every call that adds a topic is confirmed, also if it was subscribed before.
pub async fn every_added_topic_is_confirmed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a", "b"]).await;
    node.subscribe(&["a".into()]).await;
    node.subscribe(&["a".into(), "c".into()]).await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
}

/// A topic that was added twice delivers once, and one removal ends it.
pub async fn a_topic_added_twice_is_removed_once(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["twice", "other"]).await;
    node.subscribe(&["twice".into(), "twice".into()]).await;
    node.publish("twice", "1").await;
    node.expect("twice", b"1").await;
    node.bus.update_subscriptions(&[], &["twice".into()]);
    assert_silent(&mut node, "twice", "other").await;
}

/// In one call `add` takes effect before `remove`.
pub async fn a_topic_added_and_removed_in_one_call_is_not_subscribed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["other"]).await;
    node.bus.update_subscriptions(&["never".into()], &["never".into()]);
    assert_silent(&mut node, "never", "other").await;
}

/// The removal of a topic that was never added has no effect.
pub async fn removing_an_unknown_topic_has_no_effect(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    node.bus.update_subscriptions(&[], &["b".into(), "c".into()]);
    node.bus.update_subscriptions(&[], &["b".into()]);
    node.subscribe(&["b".into()]).await;
    node.publish("a", "1").await;
    node.expect("a", b"1").await;
    node.publish("b", "2").await;
    node.expect("b", b"2").await;
}

/// A topic that is removed delivers nothing after some time.
pub async fn a_removed_topic_stops_delivering(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a", "b"]).await;
    node.bus.update_subscriptions(&[], &["a".into()]);
    assert_silent(&mut node, "a", "b").await;
}

/// A topic that was removed and delivers nothing any more can be added again.
pub async fn a_topic_added_again_delivers_again(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a", "b"]).await;
    node.bus.update_subscriptions(&[], &["a".into()]);
    assert_silent(&mut node, "a", "b").await;
    node.subscribe(&["a".into()]).await;
    node.publish("a", "again").await;
    node.expect("a", b"again").await;
}

/// A topic that is removed and added again in quick succession is subscribed in the end, and that is confirmed.
pub async fn a_topic_removed_and_added_at_once_stays_subscribed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["a"]).await;
    for _ in 0..100 {
        node.bus.update_subscriptions(&[], &["a".into()]);
        node.bus.update_subscriptions(&["a".into()], &[]);
    }
    node.subscribed(&["a".into()]).await;
    // One confirmation may stand for several calls, but the last one follows the last removal.
    for round in 0..3 {
        node.bus.update_subscriptions(&[], &["a".into()]);
        node.subscribe(&["a".into()]).await;
        let data = format!("round {round}");
        drain(&mut node, &data).await;
    }
}

/// A thousand calls with one topic each subscribe all of them.
pub async fn a_thousand_single_changes_are_all_subscribed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::up(subject).await;
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
pub async fn ten_thousand_topics_are_subscribed(subject: &dyn BusUnderTest) {
    let mut node = TestNode::up(subject).await;
    let topics = numbered(10_000);
    node.subscribe(&topics).await;
    let publisher = TestNode::up(subject).await;
    for topic in topics.iter().step_by(333) {
        publisher.publish(topic.as_str(), "here").await;
        node.expect(topic.as_str(), b"here").await;
    }
    node.bus.update_subscriptions(&[], &topics[1..]);
    assert_silent(&mut node, "numbered:9999", "numbered:0").await;
}

/// Publishes on both topics until the first delivers nothing any more. The second must be subscribed: its messages mark the
/// end of each round.
async fn assert_silent(node: &mut TestNode, silent: &str, marker: &str) {
    let deadline = deadline();
    for round in 0.. {
        let data = format!("{silent}/{round}");
        node.publish(silent, data.clone()).await;
        node.publish(marker, data.clone()).await;
        let mut delivered = false;
        loop {
            let (topic, received) = node.message().await;
            delivered |= topic.as_str() == silent;
            if topic.as_str() == marker && received == data.as_bytes() {
                break;
            }
        }
        if !delivered {
            return;
        }
        assert!(Instant::now() < deadline, "`{silent}` is delivered although it was removed");
        tokio::task::yield_now().await;
    }
}

/// Publishes on topic `a` until the message is delivered: the confirmation may have been for an earlier call.
async fn drain(node: &mut TestNode, data: &str) {
    let deadline = deadline();
    for attempt in 0.. {
        let data = format!("{data}, attempt {attempt}");
        if node.publish("a", data.clone()).await != Some(0) {
            return node.expect("a", data.as_bytes()).await;
        }
        assert!(Instant::now() < deadline, "`a` was added again, but does not deliver");
        tokio::task::yield_now().await;
    }
}

//! Publishing: the outcomes of messages.

use super::{BusUnderTest, TestNode, soon};
use crate::cluster::{BusErrorKind, Outcome, Publish};

/// A message over the bus's size limit is refused, and the others of its batch are sent.
pub async fn a_message_over_the_limit_is_refused_and_its_batch_is_sent(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    // A bus without a limit is given an empty message instead.
    let too_big = node.bus.caps().max_payload.map_or(0, |limit| limit + 1);
    let batch = vec![Publish::new("t", "before"), Publish::new("t", vec![b'x'; too_big]), Publish::new("t", "behind")];
    let outcomes = soon("outcomes", node.bus.publish(batch)).await;
    assert!(matches!(outcomes[0], Outcome::Sent { .. }) && matches!(outcomes[2], Outcome::Sent { .. }));
    node.expect("t", b"before").await;
    if too_big > 0 {
        assert!(matches!(&outcomes[1], Outcome::NotSent(error) if error.kind() == BusErrorKind::TooBig));
    } else {
        node.expect("t", b"").await;
    }
    node.expect("t", b"behind").await;
}

/// Messages keep the order of the calls of `publish`, in any order in which the outcomes are awaited.
pub async fn messages_keep_the_order_of_the_calls(subject: &dyn BusUnderTest) {
    let (mut node, publisher) = (TestNode::listening(subject, ["t"]).await, TestNode::up(subject).await);
    let call = |number: usize| publisher.bus.publish(vec![Publish::new("t", number.to_string())]);
    let mut calls: Vec<_> = (0..100).map(call).collect();
    calls.reverse();
    for call in calls {
        assert!(matches!(soon("outcome", call).await[..], [Outcome::Sent { .. }]));
    }
    for number in 0..100 {
        node.expect("t", number.to_string().as_bytes()).await;
    }
}

/// Dropping the future of `publish` does not cancel the messages.
pub async fn dropping_the_future_of_publish_cancels_nothing(subject: &dyn BusUnderTest) {
    let (mut node, publisher) = (TestNode::listening(subject, ["t"]).await, TestNode::up(subject).await);
    drop(publisher.bus.publish(vec![Publish::new("t", "1"), Publish::new("t", "2")]));
    publisher.publish("t", "3").await;
    for data in ["1", "2", "3"] {
        node.expect("t", data.as_bytes()).await;
    }
}

/// An empty batch has no outcomes, and does not wait.
pub async fn an_empty_batch_has_no_outcomes(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    assert_eq!(soon("outcomes", node.bus.publish(Vec::new())).await, []);
}

/// Each message has an outcome, also in a batch that is larger than a bus sends at once.
pub async fn each_message_has_its_outcome(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    for count in [1, 2, 127, 128, 129, 1000] {
        let batch = (0..count).map(|number| Publish::new("t", format!("{count}/{number}"))).collect();
        let outcomes = soon("outcomes", node.bus.publish(batch)).await;
        assert_eq!(outcomes.len(), count);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Sent { .. })));
        for number in 0..count {
            node.expect("t", format!("{count}/{number}").as_bytes()).await;
        }
    }
}

/// A message to a topic without subscribers counts as sent.
pub async fn a_message_without_subscribers_is_sent(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let receivers = node.publish("unsubscribed", "1").await;
    assert!(receivers.is_none_or(|count| count == 0), "{receivers:?} receivers");
}

/// A bus that counts receivers counts each node once.
pub async fn receivers_are_counted_once_per_node(subject: &dyn BusUnderTest) {
    let _ada = TestNode::listening(subject, ["t", "u"]).await;
    let bob = TestNode::listening(subject, ["t"]).await;
    for (topic, expected) in [("t", 2), ("u", 1), ("v", 0)] {
        let receivers = bob.publish(topic, "1").await;
        assert!(receivers.is_none_or(|count| count == expected), "{receivers:?} receivers of `{topic}`");
    }
}

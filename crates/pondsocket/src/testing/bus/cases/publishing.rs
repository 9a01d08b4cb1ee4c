//! Publishing: the outcomes of messages.

use super::{Node, Subject, soon};
use crate::cluster::{BusErrorKind, Outcome, Publish};

/// A message larger than the bus takes is refused, and its neighbours in the batch are sent.
pub async fn what_is_too_big_is_not_sent_and_holds_up_nothing(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["t"]).await;
    // A bus without a limit has nothing to refuse.
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

/// The order is that of the calls of `publish`, not of the waiting for their outcomes.
pub async fn the_order_is_that_of_the_calls(subject: &dyn Subject) {
    let (mut node, publisher) = (Node::listening(subject, ["t"]).await, Node::up(subject).await);
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

/// Dropping the future of `publish` does not take the messages back.
pub async fn a_dropped_future_takes_nothing_back(subject: &dyn Subject) {
    let (mut node, publisher) = (Node::listening(subject, ["t"]).await, Node::up(subject).await);
    drop(publisher.bus.publish(vec![Publish::new("t", "1"), Publish::new("t", "2")]));
    publisher.publish("t", "3").await;
    for data in ["1", "2", "3"] {
        node.expect("t", data.as_bytes()).await;
    }
}

/// No messages, no outcomes, and no waiting.
pub async fn an_empty_batch_has_no_outcomes(subject: &dyn Subject) {
    let node = Node::up(subject).await;
    assert_eq!(soon("outcomes", node.bus.publish(Vec::new())).await, []);
}

/// As many outcomes as messages, also of a batch that is larger than what a bus sends at once.
pub async fn each_message_has_its_outcome(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["t"]).await;
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
pub async fn nobody_needs_to_listen(subject: &dyn Subject) {
    let node = Node::up(subject).await;
    let receivers = node.publish("nobody", "1").await;
    assert!(receivers.is_none_or(|count| count == 0), "{receivers:?} receivers");
}

/// A bus that counts receivers counts each node once.
pub async fn receivers_are_counted_if_at_all(subject: &dyn Subject) {
    let _ada = Node::listening(subject, ["t", "u"]).await;
    let bob = Node::listening(subject, ["t"]).await;
    for (topic, expected) in [("t", 2), ("u", 1), ("v", 0)] {
        let receivers = bob.publish(topic, "1").await;
        assert!(receivers.is_none_or(|count| count == expected), "{receivers:?} receivers of `{topic}`");
    }
}

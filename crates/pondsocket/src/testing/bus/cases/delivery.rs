//! Delivery: messages arrive unchanged and in order (C1 to C3, C7, C8).

use bytes::Bytes;

use super::{BusUnderTest, TestNode, deadline};
use crate::cluster::{BusEvent, GapCause, Lost, Publish, SinkLimits, Topic};

/// Payloads that are empty, that have all bytes, and that are no valid UTF-8.
pub async fn payloads_arrive_unchanged(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["bytes"]).await;
    let all: Vec<u8> = (0..=255).collect();
    for data in [&b""[..], &all, b"\r\n$-1\r\n", b"{\"a\":1}", "\u{1f986} é".as_bytes(), b"\xff\xfe"] {
        node.publish("bytes", data.to_vec()).await;
        node.expect("bytes", data).await;
    }
}

/// A message of 1 MiB, or of the largest size that the bus allows.
pub async fn a_large_message_arrives(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["big"]).await;
    let size = node.bus.caps().max_payload.unwrap_or(usize::MAX).min(1024 * 1024);
    let data: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
    node.publish("big", data.clone()).await;
    node.publish("big", "behind it").await;
    node.expect("big", &data).await;
    node.expect("big", b"behind it").await;
}

/// Topics are plain text: names have no patterns or escapes, and similar names are different topics.
pub async fn topic_names_are_exact(subject: &dyn BusUnderTest) {
    let names = [
        "*",
        "a*",
        "a?",
        "[ab]",
        "a",
        "ab",
        "\\*",
        "a.*",
        "pondsocket:v1:default:api/socket:/chat/*",
        "a:b",
        "a::b",
        "A",
        " a",
        "a ",
        "line\nbreak",
        "\u{e9}",
        "e\u{301}",
        "\u{1f986}",
        "\"",
        "{a}",
        "$-1\r\n",
    ];
    let mut node = TestNode::listening(subject, names).await;
    let publisher = TestNode::up(subject).await;
    for name in names.iter().rev() {
        publisher.publish(name, *name).await;
        node.expect(name, name.as_bytes()).await;
    }
    for other in ["abc", "b", "pondsocket:v1:default:api/socket:/chat/1", "a.b", "\u{c9}"] {
        publisher.publish(other, "no subscriber").await;
    }
    publisher.publish("a", "the next").await;
    node.expect("a", b"the next").await;
}

/// A message reaches every node that is subscribed to its topic.
pub async fn all_subscribers_receive_a_message(subject: &dyn BusUnderTest) {
    let (mut ada, mut bob) =
        (TestNode::listening(subject, ["t"]).await, TestNode::listening(subject, ["t", "u"]).await);
    let publisher = TestNode::up(subject).await;
    for data in ["1", "2", "3"] {
        publisher.publish("t", data).await;
    }
    for data in ["1", "2", "3"] {
        ada.expect("t", data.as_bytes()).await;
        bob.expect("t", data.as_bytes()).await;
    }
}

/// Five thousand messages in batches of all sizes arrive in their order.
pub async fn one_publisher_keeps_its_order(subject: &dyn BusUnderTest) {
    let (mut node, publisher) = (TestNode::listening(subject, ["ordered"]).await, TestNode::up(subject).await);
    let messages: Vec<_> = (0..5000).map(|number| Publish::new("ordered", number.to_string())).collect();
    let (mut rest, mut size) = (&messages[..], 1);
    while !rest.is_empty() {
        let (batch, behind) = rest.split_at(size.min(rest.len()));
        assert_eq!(publisher.bus.publish(batch.to_vec()).await.len(), batch.len());
        (rest, size) = (behind, size % 700 + 13);
    }
    for number in 0..5000 {
        node.expect("ordered", number.to_string().as_bytes()).await;
    }
}

/// Two nodes that publish and subscribe receive each other's messages in order, whether or not they receive their own.
pub async fn two_publishers_keep_their_orders(subject: &dyn BusUnderTest) {
    let (mut ada, mut bob) = (TestNode::listening(subject, ["t"]).await, TestNode::listening(subject, ["t"]).await);
    for number in 0..200 {
        ada.publish("t", format!("ada {number}")).await;
        bob.publish("t", format!("bob {number}")).await;
    }
    expect_in_order(&mut ada, "bob", 200).await;
    expect_in_order(&mut bob, "ada", 200).await;
}

/// Eight tasks publish through one bus, each on its own topic and all on one: each keeps its order on both.
pub async fn many_tasks_keep_their_orders(subject: &dyn BusUnderTest) {
    const TASKS: usize = 8;
    const MESSAGES: usize = 200;
    let mut node = TestNode::up(subject).await;
    let mut topics: Vec<Topic> = (0..TASKS).map(|task| format!("of {task}").into()).collect();
    topics.push("shared".into());
    node.subscribe(&topics).await;
    let publisher = TestNode::up(subject).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let bus = publisher.bus.clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    let data = Bytes::from(format!("{task} {number}"));
                    let both = vec![Publish::new(format!("of {task}"), data.clone()), Publish::new("shared", data)];
                    assert_eq!(bus.publish(both).await.len(), 2);
                }
            })
        })
        .collect();
    let mut next = [[0; 2]; TASKS];
    for _ in 0..TASKS * MESSAGES * 2 {
        let (topic, data) = node.message().await;
        let text = String::from_utf8(data.to_vec()).expect("text");
        let (task, number) = text.split_once(' ').expect("two numbers");
        let next = &mut next[task.parse::<usize>().expect("a number")][usize::from(topic.as_str() == "shared")];
        assert_eq!(number, next.to_string(), "the order of task {task} on {topic}");
        *next += 1;
    }
    for task in tasks {
        task.await.expect("no panic");
    }
}

/// A node that receives its own messages still receives those of all others, in order.
pub async fn own_messages_do_not_disturb_those_of_others(subject: &dyn BusUnderTest) {
    let (mut ada, bob) = (TestNode::listening(subject, ["t"]).await, TestNode::up(subject).await);
    for number in 0..50 {
        ada.publish("t", format!("ada {number}")).await;
        bob.publish("t", format!("bob {number}")).await;
    }
    expect_in_order(&mut ada, "bob", 50).await;
}

/// A message published before a subscription is not delivered to it, and a later one is.
pub async fn a_late_subscriber_receives_later_messages_only(subject: &dyn BusUnderTest) {
    let publisher = TestNode::up(subject).await;
    publisher.publish("t", "early").await;
    let mut node = TestNode::listening(subject, ["t"]).await;
    publisher.publish("t", "late").await;
    node.expect("t", b"late").await;
}

/// A node that does not read loses messages, and receives a gap with their topic; the messages before the gap are in order.
pub async fn a_slow_node_receives_a_gap_for_lost_messages(subject: &dyn BusUnderTest) {
    let mut slow = TestNode::start(subject.bus(), SinkLimits::default().messages(20));
    slow.next_up().await;
    slow.subscribe(&["flood".into(), "calm".into()]).await;
    let (publisher, mut witness) = (TestNode::up(subject).await, TestNode::listening(subject, ["flood"]).await);
    for number in 0..500 {
        publisher.publish("flood", number.to_string()).await;
        witness.expect("flood", number.to_string().as_bytes()).await;
    }
    let deadline = deadline();
    while slow.events.stats().dropped < 300 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was dropped");
        tokio::task::yield_now().await;
    }
    let mut next = 0;
    loop {
        match slow.event().await {
            BusEvent::Message { data, .. } => {
                assert_eq!(data, next.to_string(), "in order until the gap");
                next += 1;
            }
            BusEvent::Gap { lost, cause } => {
                assert_eq!((lost, cause), (Lost::Topics(vec!["flood".into()]), GapCause::Overflow));
                break;
            }
            other => panic!("{other:?} instead of the gap"),
        }
    }
    publisher.publish("calm", "after").await;
    loop {
        match slow.event().await {
            BusEvent::Message { topic, data } if topic.as_str() == "calm" => return assert_eq!(data, "after"),
            BusEvent::Message { .. } | BusEvent::Gap { .. } => {}
            other => panic!("{other:?} instead of a message after the gap"),
        }
    }
}

async fn expect_in_order(node: &mut TestNode, publisher: &str, messages: usize) {
    let mut next = 0;
    while next < messages {
        let (topic, data) = node.message().await;
        let text = String::from_utf8(data.to_vec()).expect("text");
        if let Some(number) = text.strip_prefix(publisher) {
            assert_eq!((topic.as_str(), number.trim()), ("t", &*next.to_string()));
            next += 1;
        }
    }
}

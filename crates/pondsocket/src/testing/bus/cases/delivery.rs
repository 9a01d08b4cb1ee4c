//! Delivery: messages arrive unchanged and in order (C1 to C3, C7, C8).

use bytes::Bytes;

use super::{Node, Subject, deadline};
use crate::cluster::{BusEvent, GapCause, Lost, Publish, SinkLimits, Topic};

/// Empty messages, all bytes, text that is none.
pub async fn bytes_arrive_as_they_are(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["bytes"]).await;
    let all: Vec<u8> = (0..=255).collect();
    for data in [&b""[..], &all, b"\r\n$-1\r\n", b"{\"a\":1}", "\u{1f986} é".as_bytes(), b"\xff\xfe"] {
        node.publish("bytes", data.to_vec()).await;
        node.expect("bytes", data).await;
    }
}

/// A message of a mebibyte, or the largest the bus takes.
pub async fn a_big_message_arrives(subject: &dyn Subject) {
    let mut node = Node::listening(subject, ["big"]).await;
    let size = node.bus.caps().max_payload.unwrap_or(usize::MAX).min(1024 * 1024);
    let data: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
    node.publish("big", data.clone()).await;
    node.publish("big", "behind it").await;
    node.expect("big", &data).await;
    node.expect("big", b"behind it").await;
}

/// Topics are plain text: nothing in a name means anything, and similar names are different topics.
pub async fn names_are_exact(subject: &dyn Subject) {
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
    let mut node = Node::listening(subject, names).await;
    let publisher = Node::up(subject).await;
    for name in names.iter().rev() {
        publisher.publish(name, *name).await;
        node.expect(name, name.as_bytes()).await;
    }
    for other in ["abc", "b", "pondsocket:v1:default:api/socket:/chat/1", "a.b", "\u{c9}"] {
        publisher.publish(other, "for nobody").await;
    }
    publisher.publish("a", "the next").await;
    node.expect("a", b"the next").await;
}

/// All who listen receive it.
pub async fn two_nodes_receive_the_same(subject: &dyn Subject) {
    let (mut ada, mut bob) = (Node::listening(subject, ["t"]).await, Node::listening(subject, ["t", "u"]).await);
    let publisher = Node::up(subject).await;
    for data in ["1", "2", "3"] {
        publisher.publish("t", data).await;
    }
    for data in ["1", "2", "3"] {
        ada.expect("t", data.as_bytes()).await;
        bob.expect("t", data.as_bytes()).await;
    }
}

/// Five thousand messages in batches of all sizes arrive in their order.
pub async fn one_publisher_keeps_its_order(subject: &dyn Subject) {
    let (mut node, publisher) = (Node::listening(subject, ["ordered"]).await, Node::up(subject).await);
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

/// A node that publishes and listens, with another that does too: both hear each other in order, whatever they hear of
/// themselves.
pub async fn two_publishers_keep_their_orders(subject: &dyn Subject) {
    let (mut ada, mut bob) = (Node::listening(subject, ["t"]).await, Node::listening(subject, ["t"]).await);
    for number in 0..200 {
        ada.publish("t", format!("ada {number}")).await;
        bob.publish("t", format!("bob {number}")).await;
    }
    expect_in_order(&mut ada, "bob", 200).await;
    expect_in_order(&mut bob, "ada", 200).await;
}

/// Eight tasks publish through one bus, each on its own topic and all on one: each keeps its order on both.
pub async fn many_tasks_keep_their_orders(subject: &dyn Subject) {
    const TASKS: usize = 8;
    const MESSAGES: usize = 200;
    let mut node = Node::up(subject).await;
    let mut topics: Vec<Topic> = (0..TASKS).map(|task| format!("of {task}").into()).collect();
    topics.push("shared".into());
    node.subscribe(&topics).await;
    let publisher = Node::up(subject).await;
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
pub async fn an_echo_disturbs_nothing(subject: &dyn Subject) {
    let (mut ada, bob) = (Node::listening(subject, ["t"]).await, Node::up(subject).await);
    for number in 0..50 {
        ada.publish("t", format!("ada {number}")).await;
        bob.publish("t", format!("bob {number}")).await;
    }
    expect_in_order(&mut ada, "bob", 50).await;
}

/// A message published before a subscription is not delivered to it, and a later one is.
pub async fn who_comes_late_hears_what_comes_later(subject: &dyn Subject) {
    let publisher = Node::up(subject).await;
    publisher.publish("t", "early").await;
    let mut node = Node::listening(subject, ["t"]).await;
    publisher.publish("t", "late").await;
    node.expect("t", b"late").await;
}

/// A node that does not read loses messages, and is told on which topic; what it got before is in order.
pub async fn a_slow_node_is_told_what_it_missed(subject: &dyn Subject) {
    let mut slow = Node::start(subject.bus(), SinkLimits::default().messages(20));
    slow.next_up().await;
    slow.subscribe(&["flood".into(), "calm".into()]).await;
    let (publisher, mut witness) = (Node::up(subject).await, Node::listening(subject, ["flood"]).await);
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
            other => panic!("{other:?} instead of what came after the gap"),
        }
    }
}

async fn expect_in_order(node: &mut Node, who: &str, messages: usize) {
    let mut next = 0;
    while next < messages {
        let (topic, data) = node.message().await;
        let text = String::from_utf8(data.to_vec()).expect("text");
        if let Some(number) = text.strip_prefix(who) {
            assert_eq!((topic.as_str(), number.trim()), ("t", &*next.to_string()));
            next += 1;
        }
    }
}

//! A server that truncates, stalls, refuses, answers in another order or with invalid data: each fault is reported, and
//! the bus recovers.

mod fake;
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake::{Act, Fake, bulk, message};
use pondsocket::cluster::{
    Append, Appended, Bus, BusErrorKind, BusEvent, Epoch, GapCause, HistoryStore, Lost, NodeId, Outcome, Position,
    Publish, StoredHistory, Topic,
};
use support::Node;
use testkit::{eventually, free_port, soon};
use tokio::time::Instant;

fn me() -> NodeId {
    NodeId { name: "ada".into(), incarnation: 7 }
}

fn in_history(id: &str) -> Append {
    Append {
        topic: "t".into(),
        head: format!("{id} at ").into(),
        tail: "".into(),
        id: id.into(),
        is_repeated: false,
        epoch: Epoch::new(1),
        messages: 10,
        bytes: usize::MAX,
        ttl: Duration::from_secs(60),
    }
}

async fn append(node: &Node, ids: &[&str]) -> Vec<Appended> {
    soon("outcomes", node.bus.append(ids.iter().map(|id| in_history(id)).collect())).await
}

fn at(offset: u64) -> Appended {
    Appended::At(Position { epoch: Epoch::new(1), offset })
}

async fn works(node: &mut Node) {
    node.publish_at_last("t", "it works").await;
    while node.message().await.1 != "it works" {}
}

#[tokio::test]
async fn a_truncated_frame_ends_the_session() {
    let fake = Fake::start(|_| Act::Normal).await;
    let mut node = Node::listening(fake.options(), &["t"]).await;
    let whole = message("t", "whole");
    for cut in [0, 1, 5, 13, 20, whole.len() - 1] {
        fake.cut("t", &format!("{whole}{}", &whole[..cut]));
        assert_eq!(node.message().await.1, "whole");
        node.next_down().await;
        node.next_up().await;
        node.subscribed(&["t"]).await;
    }
    works(&mut node).await;
}

#[tokio::test]
async fn invalid_data_ends_the_session() {
    let fake = Fake::start(|_| Act::Normal).await;
    let mut node = Node::listening(fake.options(), &["t"]).await;
    for nonsense in [
        "what?\r\n",
        "*3\r\n$-7\r\n",
        "$99999999999999999999\r\n",
        "*99999999999\r\n",
        ":1\r\n",
        "*2\r\n$7\r\nmessage\r\n$1\r\nt\r\n",
        "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
        "\u{0}\u{1}\u{2}",
    ] {
        fake.cut("t", nonsense);
        node.next_down().await;
        node.next_up().await;
        node.subscribed(&["t"]).await;
    }
    works(&mut node).await;
}

#[tokio::test]
async fn a_subscription_that_is_never_confirmed_is_tried_on_a_new_connection() {
    let stalls = AtomicUsize::new(0);
    let fake = Fake::start(move |call| {
        let stall = call.is("SUBSCRIBE") && stalls.fetch_add(1, Ordering::SeqCst) < 2;
        if stall { Act::Silent } else { Act::Normal }
    });
    let fake = fake.await;
    let mut node = Node::start(fake.options(), &["t"]);
    node.next_up().await;
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Timeout);
    node.next_up().await;
    node.next_down().await;
    node.next_up().await;
    node.subscribed(&["t"]).await;
    works(&mut node).await;
}

#[tokio::test]
async fn a_server_that_is_loading_its_data_is_retried() {
    let pings = AtomicUsize::new(0);
    let fake = Fake::start(move |call| {
        let loading = call.is("PING") && pings.fetch_add(1, Ordering::SeqCst) < 3;
        if loading { Act::Say("-LOADING Redis is loading the dataset in memory\r\n".into()) } else { Act::Normal }
    });
    let fake = fake.await;
    let mut node = Node::start(fake.options(), &["t"]);
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Loading);
    node.next_up().await;
    node.subscribed(&["t"]).await;
}

#[tokio::test]
async fn a_required_password_is_reported() {
    let fake = Fake::start(|_| Act::Say("-NOAUTH Authentication required.\r\n".into())).await;
    let mut node = Node::start(fake.options(), &["t"]);
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Auth);
    assert!(matches!(node.publish("t", "1").await, Outcome::NotSent(error) if error.kind() == BusErrorKind::Auth));
    let beat = node.bus.leases().expect("leases").renew(&me(), Duration::from_secs(4)).await;
    assert_eq!(beat.expect_err("no password").kind(), BusErrorKind::Auth);
}

#[tokio::test]
async fn failed_renewals_name_the_cause_and_end_no_session() {
    for (answer, kind) in [
        ("-READONLY You can't write against a read only replica.\r\n", BusErrorKind::ReadOnly),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", BusErrorKind::OutOfMemory),
        ("-NOPERM No permissions to access a key\r\n", BusErrorKind::NoPerm),
        ("-LOADING Redis is loading the dataset in memory\r\n", BusErrorKind::Loading),
        ("+OK\r\n", BusErrorKind::Other),
        ("*3\r\n:0\r\n:0\r\n:0\r\n", BusErrorKind::Other),
    ] {
        let fake =
            Fake::start(move |call| if call.is("EVALSHA") { Act::Say(answer.into()) } else { Act::Normal }).await;
        let mut node = Node::listening(fake.options(), &["t"]).await;
        let beat = node.bus.leases().expect("leases").renew(&me(), Duration::from_secs(4)).await;
        assert_eq!(beat.expect_err("an error").kind(), kind);
        works(&mut node).await;
        assert_eq!(node.bus.stats().sessions, 1);
    }
}

#[tokio::test]
async fn a_script_that_is_not_known_is_sent() {
    let rule = |call: &fake::Call| match () {
        () if call.is("EVALSHA") => Act::Say("-NOSCRIPT No matching script. Please use EVAL.\r\n".into()),
        () => Act::Normal,
    };
    let fake = Fake::start(rule).await;
    let node = Node::listening(fake.options(), &["t"]).await;
    let lease = node.bus.leases().expect("leases").renew(&me(), Duration::from_secs(4)).await.expect("a lease");
    assert_eq!(lease.alive, [me()]);
}

#[tokio::test]
async fn topics_that_are_refused_do_not_cost_the_others() {
    let fake = Fake::start(|call| {
        let refused = call.is("SUBSCRIBE") && (call.has("bad") || call.has("worse"));
        if refused { Act::Say("-NOPERM No permissions to access a channel\r\n".into()) } else { Act::Normal }
    });
    let fake = fake.await;
    let good: Vec<_> = (0..100).map(|number| format!("good {number}")).collect();
    let mut all: Vec<_> = good.iter().map(String::as_str).collect();
    let good = all.clone();
    all.insert(33, "bad");
    all.insert(77, "worse");
    let mut node = Node::start(fake.options(), &all);
    node.next_up().await;
    node.subscribed(&good).await;
    assert_eq!((node.bus.stats().wanted_topics, node.bus.stats().active_topics), (102, 100));
    assert_eq!(node.bus.stats().sessions, 1);
}

#[tokio::test]
async fn a_message_may_come_before_the_confirmation() {
    let rule = |call: &fake::Call| match () {
        () if call.is("SUBSCRIBE") && call.has("t") => Act::SayFirst(message("t", "early") + &message("other", "?")),
        () => Act::Normal,
    };
    let fake = Fake::start(rule).await;
    let mut node = Node::start(fake.options(), &["t"]);
    node.next_up().await;
    let (mut early, mut subscribed) = (false, false);
    while !(early && subscribed) {
        match node.event().await {
            BusEvent::Message { topic, data } => {
                assert_eq!(
                    (topic.as_str(), &data[..]),
                    ("t", &b"early"[..]),
                    "messages on unwanted topics are not delivered"
                );
                early = true;
            }
            BusEvent::Subscribed { topics, .. } => subscribed = topics == [Topic::from("t")],
            other => panic!("{other:?}"),
        }
    }
    works(&mut node).await;
}

/// The connection is lost in the middle of the confirmations, twice: subscriptions of one session are void in the next.
#[tokio::test]
async fn a_subscription_that_is_interrupted_twice_is_complete() {
    let rule = |call: &fake::Call| {
        let mut topics = call.words[1..].iter().filter(|topic| topic.starts_with("topic"));
        // Each attempt makes two connections, of which the second receives; the very first one is that of the
        // publisher.
        if !call.is("SUBSCRIBE") || call.connection > 3 || topics.next().is_none() {
            return Act::Normal;
        }
        let confirmed = call.words[1..].iter().take(call.words.len() / 2);
        Act::Cut(confirmed.map(|topic| fake::confirmation("subscribe", topic)).collect())
    };
    let fake = Fake::start(rule).await;
    let names: Vec<_> = (0..1000).map(|number| format!("topic {number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut node = Node::start(fake.options(), &names);
    for _ in 0..2 {
        node.next_up().await;
        node.next_down().await;
    }
    let last = node.next_up().await;
    let mut subscribed = Vec::new();
    while subscribed.len() < names.len() {
        match node.event().await {
            BusEvent::Subscribed { session, topics } => {
                assert_eq!(session, last);
                subscribed.extend(topics);
            }
            other => panic!("{other:?}"),
        }
    }
    subscribed.sort();
    subscribed.dedup();
    assert_eq!(subscribed.len(), names.len());
    assert_eq!(node.bus.stats().active_topics, names.len());
}

/// The server accepts and confirms all commands, and delivers nothing. Bar B8, with a shorter timeout.
#[tokio::test]
async fn a_server_that_delivers_nothing_is_detected() {
    let fake = Fake::start(|call| if call.is("PUBLISH") { Act::Say(":1\r\n".into()) } else { Act::Normal }).await;
    let mut node = Node::listening(fake.options(), &["t"]).await;
    let start = Instant::now();
    assert_eq!(node.event().await, BusEvent::Gap { lost: Lost::All, cause: GapCause::Probe });
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Timeout);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(600) && took < Duration::from_secs(3), "{took:?}");
    node.next_up().await;
    let stats = node.bus.stats();
    assert_eq!((stats.failed_probes, stats.gaps), (1, vec![(GapCause::Probe, 1)]));
}

/// While the probe arrives, silence is no fault.
#[tokio::test]
async fn silence_alone_is_no_loss() {
    let fake = Fake::start(|_| Act::Normal).await;
    let node = Node::listening(fake.options(), &["t"]).await;
    let start = node.bus.stats();
    eventually("three probes", || node.bus.stats().sent >= start.sent + 3).await;
    let stats = node.bus.stats();
    assert_eq!((stats.sessions, stats.failed_probes, stats.received), (1, 0, 0));
}

#[tokio::test]
async fn each_answer_is_that_of_its_message() {
    let fake = Fake::start(|call| {
        if call.is("PUBLISH") && call.has("bad") { Act::Say("-NOPERM no\r\n".into()) } else { Act::Normal }
    });
    let fake = fake.await;
    let node = Node::listening(fake.options(), &["t"]).await;
    let topics = ["t", "bad", "nobody", "bad", "t"];
    let batch = topics.map(|topic| Publish::new(topic, "1")).to_vec();
    let outcomes = soon("outcomes", node.bus.publish(batch)).await;
    let outcomes_as_text: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Sent { receivers } => receivers.expect("a count").to_string(),
            Outcome::NotSent(error) => error.kind().to_string(),
            Outcome::Unknown(error) => panic!("{error}"),
        })
        .collect();
    assert_eq!(outcomes_as_text, ["1", "no_perm", "0", "no_perm", "1"]);
}

/// The connection for commands is lost in the middle of an answer: the outcome of messages without an answer is
/// unknown, and the session continues.
#[tokio::test]
async fn commands_that_are_cut_off_are_unknown() {
    let fake =
        Fake::start(|call| if call.is("PUBLISH") && call.has("cut") { Act::Cut(":".into()) } else { Act::Normal });
    let fake = fake.await;
    let mut node = Node::listening(fake.options(), &["t"]).await;
    let outcome = node.publish("cut", "1").await;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    works(&mut node).await;
    assert_eq!((node.bus.stats().sessions, node.bus.stats().unknown), (1, 1));
}

/// An answer that is no position says nothing about the message; an error says that it was not appended.
#[tokio::test]
async fn answers_to_appended_messages_have_their_outcomes() {
    for (answer, expected) in [
        (bulk("000001.7"), Ok(at(7))),
        ("+000001.7\r\n".into(), Ok(at(7))),
        (bulk("000001"), Err(None)),
        (bulk("000001.07"), Err(None)),
        (bulk(""), Err(None)),
        (bulk("000001.99999999999999999999"), Err(None)),
        (":7\r\n".into(), Err(None)),
        ("$-1\r\n".into(), Err(None)),
        ("*0\r\n".into(), Err(None)),
        ("-READONLY no\r\n".into(), Err(Some(BusErrorKind::ReadOnly))),
        ("-OOM no\r\n".into(), Err(Some(BusErrorKind::OutOfMemory))),
        ("-BUSY a script\r\n".into(), Err(Some(BusErrorKind::Other))),
    ] {
        let shown = answer.clone();
        let is_script = |call: &fake::Call| call.is("EVAL") || call.is("EVALSHA");
        let rule = move |call: &fake::Call| if is_script(call) { Act::Say(answer.clone()) } else { Act::Normal };
        let fake = Fake::start(rule).await;
        let mut node = Node::listening(fake.options(), &["t"]).await;
        let outcomes = append(&node, &["1"]).await;
        match (&outcomes[..], &expected) {
            ([outcome], Ok(expected)) => assert_eq!(outcome, expected, "{shown:?}"),
            ([Appended::Unknown(_)], Err(None)) => {}
            ([Appended::NotSent(why)], Err(Some(kind))) => assert_eq!(why.kind(), *kind, "{shown:?}"),
            _ => panic!("{shown:?}: {outcomes:?}"),
        }
        works(&mut node).await;
        assert_eq!(node.bus.stats().sessions, 1);
    }
}

/// The script goes out as a whole once for each connection, and again when the server has lost it.
#[tokio::test]
async fn the_script_that_appends_is_sent_once() {
    let (wholes, appended) = (std::sync::Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let counted = wholes.clone();
    let rule = move |call: &fake::Call| {
        if !call.is("EVAL") && !call.is("EVALSHA") {
            return Act::Normal;
        }
        counted.fetch_add(usize::from(call.is("EVAL")), Ordering::SeqCst);
        if call.has("forget at ") {
            return Act::Say("-NOSCRIPT No matching script. Please use EVAL.\r\n".into());
        }
        let offset = appended.fetch_add(1, Ordering::SeqCst) + 1;
        Act::Say(bulk(&format!("000001.{offset}")))
    };
    let fake = Fake::start(rule).await;
    let node = Node::listening(fake.options(), &["t"]).await;
    assert_eq!(append(&node, &["1", "2", "3"]).await, [at(1), at(2), at(3)]);
    assert_eq!((append(&node, &["4"]).await, wholes.load(Ordering::SeqCst)), (vec![at(4)], 1));
    assert!(matches!(append(&node, &["forget"]).await[..], [Appended::NotSent(_)]), "it is not sent behind others");
    assert_eq!((append(&node, &["5", "6"]).await, wholes.load(Ordering::SeqCst)), (vec![at(5), at(6)], 2));
    node.bus.publish(vec![Publish::new("u", "plain")]).await;
    assert_eq!((append(&node, &["7"]).await, wholes.load(Ordering::SeqCst)), (vec![at(7)], 2));
}

/// The connection is lost in the middle of an answer: the outcomes behind it are unknown. The next connection gets the script.
#[tokio::test]
async fn appended_messages_that_are_cut_off_are_unknown() {
    let rule = |call: &fake::Call| match () {
        () if call.has("cut at ") => Act::Cut("$8\r\n0000".into()),
        () if call.is("EVAL") => Act::Say(bulk("000001.1")),
        () if call.is("EVALSHA") => Act::Say("-NOSCRIPT no\r\n".into()),
        () => Act::Normal,
    };
    let fake = Fake::start(rule).await;
    let mut node = Node::listening(fake.options(), &["t"]).await;
    let outcomes = append(&node, &["1", "cut", "2"]).await;
    assert!(matches!(outcomes[1..], [Appended::Unknown(_), Appended::Unknown(_)]), "{outcomes:?}");
    works(&mut node).await;
    assert_eq!(append(&node, &["3"]).await, [at(1)]);
    assert_eq!(node.bus.stats().sessions, 1);
}

/// An answer that cannot be a history or a record is an error.
#[tokio::test]
async fn answers_that_are_no_history_are_errors() {
    for (answer, expected) in [
        ("$-1\r\n".to_owned(), Some(StoredHistory::default())),
        (
            format!("*3\r\n{}{}{}", bulk("000001"), bulk("7"), bulk("9")),
            Some(StoredHistory { position: Some(Position { epoch: Epoch::new(1), offset: 7 }), messages: Vec::new() }),
        ),
        ("*0\r\n".into(), None),
        (":1\r\n".into(), None),
        ("*1\r\n*1\r\n:1\r\n".into(), None),
        (format!("*4\r\n{}{}{}{}", bulk("000001"), bulk("7"), bulk("9"), bulk("7-1")), None),
        ("-BUSY a script\r\n".into(), None),
    ] {
        let shown = answer.clone();
        let rule = move |call: &fake::Call| match () {
            () if call.is("EVALSHA") || call.is("GET") => Act::Say(answer.clone()),
            () => Act::Normal,
        };
        let fake = Fake::start(rule).await;
        let mut node = Node::listening(fake.options(), &["t"]).await;
        let history = soon("answer", node.bus.read(&"t".into(), None, 9)).await;
        assert_eq!(history.ok(), expected, "{shown:?}");
        let record = soon("answer", node.bus.get("key")).await;
        assert_eq!(record.ok(), (shown == "$-1\r\n").then_some(None), "{shown:?}");
        works(&mut node).await;
        assert_eq!(node.bus.stats().sessions, 1);
    }
}

/// No server listens there: the bus retries for ever, and can be stopped.
#[tokio::test]
async fn a_missing_server_is_reported_once_and_retried_without_end() {
    let options = pondsocket_redis::RedisOptions::default().port(free_port());
    let mut node = Node::start(options, &["t"]);
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Refused);
    eventually("some attempts", || node.bus.stats().failed_connects > 4).await;
    assert!(node.events.try_next().is_none(), "one reason is reported once");
    assert!(!node.bus.stats().down_for.is_zero());
    node.stopper.stop();
    soon("end", &mut node.running).await.expect("no panic").expect("no error");
}

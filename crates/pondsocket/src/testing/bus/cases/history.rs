//! The messages of the store of histories (H1 to H6, H8).

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{BusUnderTest, TestNode, breaker, deadline, soon};
use crate::cluster::{
    Append, Appended, BusErrorKind, BusEvent, Epoch, HistoryStore, Position, Publish, StoredHistory, StoredRecord,
    Topic,
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

/// The epoch that a message of these cases proposes, if it does not say otherwise.
const FIRST: Epoch = Epoch::new(1_000_001);

/// A message whose text is `<id>@<position>;`.
fn message(topic: &str, id: &str) -> Append {
    Append {
        topic: topic.into(),
        head: format!("{id}@").into(),
        tail: ";".into(),
        id: id.into(),
        is_repeated: false,
        epoch: FIRST,
        messages: 2000,
        bytes: usize::MAX,
        ttl: LONG,
    }
}

/// The text that [`message`] has at a position.
fn text(id: &str, position: Position) -> Bytes {
    format!("{id}@{position};").into()
}

fn at(offset: u64) -> Position {
    Position { epoch: FIRST, offset }
}

/// The texts of a history, each of which names its own position: an offset that was given twice would not.
#[track_caller]
fn texts(history: &StoredHistory) -> Vec<String> {
    let Some(last) = history.position else {
        assert_eq!(history.messages, [], "messages without a position");
        return Vec::new();
    };
    let mut expected = (last.offset + 1 - history.messages.len() as u64)..;
    let check = |message: &crate::cluster::StoredMessage| {
        let text = String::from_utf8(message.data.to_vec()).expect("text");
        let position = Position { epoch: last.epoch, offset: message.offset };
        assert_eq!(Some(message.offset), expected.next(), "contiguous offsets up to {last}");
        let named = text.rsplit_once('@').and_then(|(_, position)| position.strip_suffix(';'));
        assert_eq!(named, Some(&*position.to_string()), "the text at {position}");
        text
    };
    history.messages.iter().map(check).collect()
}

impl TestNode {
    pub(super) fn store(&self) -> &dyn HistoryStore {
        self.bus.history().expect("a bus with histories")
    }

    #[track_caller]
    fn append_all(&self, batch: Vec<Append>) -> impl Future<Output = Vec<Appended>> {
        soon("outcome", self.store().append(batch))
    }

    /// Appends a message, which must succeed, and returns its position.
    async fn append(&self, message: Append) -> Position {
        match &self.append_all(vec![message]).await[..] {
            [Appended::At(position)] => *position,
            other => panic!("not appended: {other:?}"),
        }
    }

    async fn read(&self, topic: &str, after: Option<Position>, most: usize) -> StoredHistory {
        soon("history", self.store().read(&topic.into(), after, most)).await.expect("a history")
    }

    async fn read_all(&self, topic: &str) -> StoredHistory {
        self.read(topic, None, usize::MAX).await
    }

    async fn restart(&self, topic: &str, epoch: Epoch) {
        soon("restart", self.store().restart(&topic.into(), epoch, LONG)).await.expect("a restart");
    }

    /// Appends until the message has a position, as after a return of the engine.
    async fn append_at_last(&self, mut message: Append) -> Position {
        let deadline = deadline();
        loop {
            match &self.append_all(vec![message.clone()]).await[..] {
                [Appended::At(position)] => return *position,
                [Appended::Unknown(_)] => message.is_repeated = true,
                _ => {}
            }
            assert!(Instant::now() < deadline, "nothing is appended");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Two nodes that append to one history get contiguous offsets from 1, each of them once.
pub async fn offsets_are_contiguous_over_two_nodes(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let mut positions = Vec::new();
    for number in 0..100 {
        let (one, two) = (message("t", &format!("ada {number}")), message("t", &format!("bob {number}")));
        let (one, two) = tokio::join!(ada.append(one), bob.append(two));
        positions.extend([one, two]);
    }
    positions.sort_by_key(|position| position.offset);
    assert_eq!(positions, (1..=200).map(at).collect::<Vec<_>>());
    assert_eq!(texts(&bob.read_all("t").await).len(), 200);
}

/// Subscribers receive the messages of all nodes in the order of their offsets, with the text that the history keeps.
pub async fn subscribers_receive_messages_in_the_order_of_their_offsets(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let batch = |name: &str| (0..300).map(|number| message("t", &format!("{name} {number}"))).collect();
    let (one, two) = tokio::join!(ada.append_all(batch("ada")), bob.append_all(batch("bob")));
    assert_eq!((one.len(), two.len()), (300, 300));
    for stored in node.read_all("t").await.messages {
        node.expect("t", &stored.data).await;
    }
}

/// Each message of a batch of any size has its position, in the order of the batch.
pub async fn batches_are_appended_in_their_order(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let mut offsets = [0; 3];
    for count in [1, 2, 127, 128, 129, 1000] {
        let batch = (0..count).map(|number| message(&format!("topic {}", number % 3), &format!("{count}/{number}")));
        let outcomes = node.append_all(batch.collect()).await;
        assert_eq!(outcomes.len(), count);
        for (number, outcome) in outcomes.iter().enumerate() {
            let last = &mut offsets[number % 3];
            *last += 1;
            assert_eq!(*outcome, Appended::At(at(*last)), "message {number} of {count}");
        }
    }
}

/// Messages are appended in the order of the calls, in any order in which the outcomes are awaited.
pub async fn messages_are_appended_in_the_order_of_the_calls(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let call = |number: usize| (number, node.store().append(vec![message("t", &number.to_string())]));
    let mut calls: Vec<_> = (1..=100).map(call).collect();
    calls.reverse();
    for (number, call) in calls {
        assert_eq!(soon("outcome", call).await, [Appended::At(at(number as u64))]);
    }
}

/// On one topic, what a node appends and what it publishes arrive in the order of the calls.
pub async fn appends_and_publishes_keep_the_order_of_the_calls(subject: &dyn BusUnderTest) {
    let (mut node, publisher) = (TestNode::listening(subject, ["t"]).await, TestNode::up(subject).await);
    for number in 1..=100 {
        drop(publisher.store().append(vec![message("t", &format!("appended {number}"))]));
        drop(publisher.bus.publish(vec![Publish::new("t", format!("published {number}"))]));
    }
    for number in 1..=100 {
        node.expect("t", &text(&format!("appended {number}"), at(number))).await;
        node.expect("t", format!("published {number}").as_bytes()).await;
    }
}

/// Dropping the future of `append` does not cancel the messages.
pub async fn dropping_the_future_of_append_cancels_nothing(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    drop(node.store().append(vec![message("t", "1"), message("t", "2")]));
    assert_eq!(node.append(message("t", "3")).await, at(3));
    assert_eq!(texts(&node.read_all("t").await).len(), 3);
}

/// An empty batch has no outcomes, and does not wait.
pub async fn an_empty_batch_appends_nothing(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    assert_eq!(node.append_all(Vec::new()).await, []);
}

/// A repeated message has its first position, on any node, and is published once.
pub async fn a_repeated_message_keeps_its_position(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    ada.append(message("t", "1")).await;
    ada.append(message("t", "the one")).await;
    ada.append_all((3..=1000).map(|number| message("t", &number.to_string())).collect()).await;
    while node.message().await.1 != text("1000", at(1000)) {}
    let repeated = Append { is_repeated: true, epoch: Epoch::new(7), ..message("t", "the one") };
    assert_eq!(ada.append(repeated.clone()).await, at(2));
    assert_eq!(
        bob.append_all(vec![repeated.clone(), message("t", "behind"), repeated]).await,
        [Appended::At(at(2)), Appended::At(at(1001)), Appended::At(at(2)),]
    );
    // Not by `message`, which skips what was received before.
    let BusEvent::Message { data, .. } = node.event().await else { panic!("no message") };
    assert_eq!(data, text("behind", at(1001)));
}

/// A message that is said to be repeated, but was not appended, is appended and published. Ids are plain text.
pub async fn a_repeated_message_that_is_not_found_is_appended(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    node.append(message("t", "abc-1")).await;
    // In another history.
    node.append(message("u", "[a-c]*")).await;
    let ids = ["a.c-1", "[a-c]*", "%a%a", "^abc", "\u{e9}{}"];
    for _ in 0..2 {
        for (id, offset) in ids.iter().zip(2..) {
            let repeated = Append { is_repeated: true, ..message("t", id) };
            assert_eq!(node.append(repeated).await, at(offset), "{id}");
        }
    }
    for (id, offset) in ["abc-1"].iter().chain(&ids).zip(1..) {
        node.expect("t", &text(id, at(offset))).await;
    }
}

/// The history has the epoch of its first message; a repeated one may have begun another with it, so it gets a new one.
pub async fn the_first_message_brings_the_epoch(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    assert_eq!(ada.append(message("t", "1")).await, at(1));
    assert_eq!(bob.append(Append { epoch: Epoch::new(7), ..message("t", "2") }).await, at(2));
    let repeated = bob.append(Append { is_repeated: true, ..message("u", "1") }).await;
    assert_eq!(repeated.offset, 1);
    assert_ne!(repeated.epoch, FIRST, "the epoch of an attempt whose outcome is unknown");
}

/// Reading returns what is behind a position, or all if the position is of another history; of many messages the last ones.
pub async fn reading_returns_what_is_behind_a_position(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    assert_eq!(ada.read_all("t").await, StoredHistory::default(), "no history");
    assert_eq!(ada.read("t", Some(at(3)), 10).await, StoredHistory::default());
    for number in 1..=20 {
        ada.append(message("t", &number.to_string())).await;
    }
    let other = Some(Position { epoch: Epoch::new(7), offset: 19 });
    for (after, most, first) in [
        (None, usize::MAX, 1),
        (None, 5, 16),
        (Some(at(0)), 100, 1),
        (Some(at(12)), 100, 13),
        (Some(at(12)), 8, 13),
        (Some(at(12)), 7, 14),
        (Some(at(19)), 1, 20),
        (Some(at(20)), 100, 21),
        (Some(at(25)), 100, 21),
        (Some(at(u64::MAX)), 100, 21),
        (None, 0, 21),
        (other, 100, 1),
        (other, 3, 18),
    ] {
        let read = bob.read("t", after, most).await;
        assert_eq!(read.position, Some(at(20)));
        let expected: Vec<_> = (first..=20).map(|offset| format!("{offset}@{};", at(offset))).collect();
        assert_eq!(texts(&read), expected, "{most} behind {after:?}");
    }
}

/// A restart begins a history anew, once for each epoch, and publishes nothing.
pub async fn a_restart_begins_a_history_anew(subject: &dyn BusUnderTest) {
    let (mut ada, bob) = (TestNode::listening(subject, ["t"]).await, TestNode::up(subject).await);
    ada.append(message("t", "old")).await;
    ada.expect("t", &text("old", at(1))).await;
    let (second, third) = (Epoch::new(2_000_002), Epoch::new(3_000_003));
    bob.restart("t", second).await;
    let begun = StoredHistory { position: Some(Position { epoch: second, offset: 0 }), messages: Vec::new() };
    assert_eq!(ada.read("t", Some(at(1)), 10).await, begun);
    let first = Position { epoch: second, offset: 1 };
    // The old history is gone, so a message of it is found no more.
    assert_eq!(ada.append(Append { is_repeated: true, ..message("t", "old") }).await, first);
    ada.expect("t", &text("old", first)).await;
    bob.restart("t", second).await;
    assert_eq!(texts(&ada.read_all("t").await).len(), 1, "a second restart with the current epoch has no effect");
    bob.restart("t", third).await;
    bob.restart("u", third).await;
    for topic in ["t", "u"] {
        assert_eq!(ada.append(message(topic, "new")).await, Position { epoch: third, offset: 1 });
    }
}

/// Of several nodes that begin a history one does, and nothing that was appended meanwhile is lost.
pub async fn a_history_is_begun_once(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let begin = async |node: &TestNode, number: u32| {
        soon("beginning", node.store().begin(&"t".into(), Epoch::new(number), LONG)).await.expect("a history");
        node.read_all("t").await.position.expect("a history").epoch
    };
    let (one, two) = tokio::join!(begin(&ada, 2_000_002), begin(&bob, 3_000_003));
    assert_eq!(one, two);
    let first = Position { epoch: one, offset: 1 };
    assert_eq!(ada.append(message("t", "1")).await, first);
    assert_eq!(begin(&bob, 4_000_004).await, one);
    assert_eq!(texts(&bob.read_all("t").await), [format!("1@{first};")]);
}

/// The age of a message is the time since it was appended.
pub async fn messages_have_ages(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let start = Instant::now();
    node.append(message("t", "1")).await;
    sleep(Duration::from_millis(100)).await;
    node.append(message("t", "2")).await;
    let second = Instant::now();
    sleep(Duration::from_millis(100)).await;
    let history = node.read_all("t").await;
    let ages: Vec<_> = history.messages.iter().map(|message| message.age).collect();
    // A clock may count whole milliseconds, and another one than that of this test.
    let slack = Duration::from_millis(20);
    assert!(ages[0] >= Duration::from_millis(200) - slack && ages[0] <= start.elapsed() + slack, "{ages:?}");
    assert!(ages[1] >= Duration::from_millis(100) - slack && ages[1] < ages[0], "{ages:?}");
    assert!(ages[1] <= second.elapsed() + slack + (second - start), "{ages:?}");
}

/// The messages of a history expire when the time has passed since the last one. The offsets go on.
pub async fn a_history_expires(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    node.append(message("t", "1")).await;
    node.append(Append { ttl: SHORT, ..message("t", "2") }).await;
    let deadline = deadline();
    while !node.read_all("t").await.messages.is_empty() {
        assert!(Instant::now() < deadline, "the history does not expire");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.read_all("t").await.position, Some(at(2)));
    let next = Append { epoch: Epoch::new(7), ..message("t", "3") };
    assert_eq!(node.append(next).await, at(3));
    assert_eq!(texts(&node.read_all("t").await).len(), 1);
}

/// Each message prolongs its history.
pub async fn a_message_prolongs_its_history(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let began = Instant::now();
    let first = node.append(Append { ttl: SHORT, ..message("t", "1") }).await;
    let second = node.append(message("t", "2")).await;
    assert_eq!((first, second), (at(1), at(2)));
    if began.elapsed() > SHORT {
        // The machine was so slow that the first message had expired: nothing can be tested.
        return;
    }
    sleep(SHORT * 2).await;
    assert_eq!(texts(&node.read_all("t").await).len(), 2);
}

/// A history keeps as many messages as the latest one allows; the offsets go on.
pub async fn a_history_keeps_a_number_of_messages(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let batch = (1..=500).map(|number| Append { messages: 10, ..message("t", &number.to_string()) });
    node.append_all(batch.collect()).await;
    let history = node.read("t", Some(at(3)), 1000).await;
    assert_eq!((history.position, texts(&history).len()), (Some(at(500)), 10));
    let none = Append { messages: 0, ..message("t", "501") };
    assert_eq!(node.append(none).await, at(501));
    assert_eq!(texts(&node.read_all("t").await).len(), 0);
    assert_eq!(node.append(message("t", "502")).await, at(502));
    assert_eq!(texts(&node.read_all("t").await).len(), 1);
}

/// A history keeps the last messages that have as many bytes as the latest one allows, and at most a quarter more; the offsets go on.
pub async fn a_history_keeps_a_number_of_bytes(subject: &dyn BusUnderTest) {
    const SIZE: usize = 1000;
    let node = TestNode::up(subject).await;
    let bounded = |number: usize, size: usize, bytes: usize| {
        let sized = Append { tail: ".".repeat(size).into(), ..message("t", &number.to_string()) };
        Append { tail: [&sized.tail[..], b";"].concat().into(), bytes, ..sized }
    };
    node.append_all((1..=500).map(|number| bounded(number, SIZE, 20 * SIZE)).collect()).await;
    let kept = async || -> Vec<usize> {
        let history = node.read_all("t").await;
        history.messages.iter().map(|message| message.data.len()).collect()
    };
    let sizes = kept().await;
    let bytes: usize = sizes.iter().sum();
    assert!(bytes > 18 * SIZE && bytes <= 25 * SIZE, "{bytes} bytes of {} messages", sizes.len());
    // A smaller bound removes more, and a larger one nothing.
    assert_eq!(node.append(bounded(501, SIZE, 3 * SIZE)).await, at(501));
    assert!((2..=3).contains(&kept().await.len()), "{:?}", kept().await);
    let before = kept().await.len();
    node.append_all((502..=511).map(|number| bounded(number, SIZE, usize::MAX)).collect()).await;
    assert_eq!(kept().await.len(), before + 10);
    // One that is larger than the bound is not kept, and the next one is.
    assert_eq!(node.append(bounded(512, 9 * SIZE, SIZE)).await, at(512));
    assert_eq!(kept().await, [0; 0]);
    assert_eq!(node.append(bounded(513, 0, SIZE)).await, at(513));
    let history = node.read("t", Some(at(500)), 1000).await;
    assert_eq!((history.position, history.messages.len()), (Some(at(513)), 1));
    assert_eq!(history.messages[0].offset, 513);
}

/// A history that was begun and has no message ends after the time that was asked for, counted from the last call, and a shorter time
/// shortens nothing. With a message it goes on.
pub async fn a_history_without_a_message_ends(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let begin = async |topic: &str, epoch: u32, life: Duration| {
        soon("beginning", node.store().begin(&topic.into(), Epoch::new(epoch), life)).await.expect("a history");
    };
    for topic in ["unused", "prolonged", "used"] {
        begin(topic, 2_000_002, SHORT).await;
    }
    begin("prolonged", 3_000_003, LONG).await;
    begin("prolonged", 4_000_004, SHORT).await;
    let first = node.append(message("used", "1")).await;
    begin("used", 5_000_005, SHORT).await;
    let prolonged = node.read_all("prolonged").await.position;
    let deadline = deadline();
    while node.read_all("unused").await.position.is_some() {
        assert!(Instant::now() < deadline, "the history does not end");
        sleep(Duration::from_millis(10)).await;
    }
    // Those whose time was as short, and began earlier or at the same time, would have ended by now.
    sleep(SHORT).await;
    assert!(prolonged.is_some());
    assert_eq!(node.read_all("prolonged").await.position, prolonged);
    assert_eq!(node.read_all("used").await.position, Some(first));
}

/// Limits may be as large as their types allow.
pub async fn a_history_may_have_no_limits(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    let endless = Append { messages: usize::MAX, ttl: Duration::MAX, ..message("t", "1") };
    assert_eq!(node.append(endless).await, at(1));
    assert_eq!(texts(&node.read_all("t").await).len(), 1);
    soon("restart", node.store().restart(&"u".into(), FIRST, Duration::MAX)).await.expect("a restart");
    assert_eq!(node.read_all("u").await.position, Some(at(0)));
}

/// A message of 1 MiB, or of the largest size that the bus allows, is kept and arrives; a larger one is refused, and the
/// others of its batch are appended.
pub async fn a_large_message_is_kept(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    let limit = node.bus.caps().max_payload;
    // With room for the position.
    let size = limit.map_or(usize::MAX, |limit| limit - 100).min(1024 * 1024);
    let body: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
    let large = Append { tail: body.into(), ..message("t", "large") };
    let expected = [format!("large@{}", at(1)).as_bytes(), &large.tail].concat();
    assert_eq!(node.append(large).await, at(1));
    node.expect("t", &expected).await;
    assert_eq!(node.read_all("t").await.messages[0].data, expected);
    if let Some(limit) = limit {
        let over = Append { tail: vec![b'x'; limit].into(), ..message("t", "over") };
        let outcomes = node.append_all(vec![message("t", "2"), over, message("t", "3")]).await;
        assert_eq!((&outcomes[0], &outcomes[2]), (&Appended::At(at(2)), &Appended::At(at(3))));
        assert!(matches!(&outcomes[1], Appended::NotSent(error) if error.kind() == BusErrorKind::TooBig));
    }
}

/// Messages are bytes: all of them are kept and arrive as they are, and so does an empty text around the position.
pub async fn messages_are_kept_unchanged(subject: &dyn BusUnderTest) {
    let mut node = TestNode::listening(subject, ["t"]).await;
    let all: Vec<u8> = (0..=255).collect();
    let texts = [&b""[..], &all, b"\r\n$-1\r\n", b"%s%d%%", "\u{1f986} \u{e9}".as_bytes(), b"\xff\xfe\x00"];
    for (number, part) in texts.iter().enumerate() {
        let position = at(number as u64 + 1);
        let (head, tail) = (Bytes::copy_from_slice(part), Bytes::copy_from_slice(texts[texts.len() - 1 - number]));
        let expected = [&head, position.to_string().as_bytes(), &tail].concat();
        assert_eq!(node.append(Append { head, tail, ..message("t", "id") }).await, position);
        node.expect("t", &expected).await;
        let history = node.read("t", None, 1).await;
        assert_eq!(history.messages[0].data, expected);
    }
}

/// The names of topics are plain text: each has a history of its own.
pub async fn each_topic_has_its_history(subject: &dyn BusUnderTest) {
    let names = [
        "*",
        "a",
        "a:b",
        "a::b",
        "a:",
        "A",
        " a",
        "a ",
        "{a}",
        "{a}:b",
        "a{}",
        "{",
        "}",
        "\\*",
        "a:s",
        "a:m",
        "\u{e9}",
        "e\u{301}",
        "\u{1f986}",
        "\"",
        "line\nbreak",
        "$-1\r\n",
        "pondsocket:v1:default:api/socket:/chat/1",
        "pondsocket:v1:default:api/socket:/{chat}/1",
        "pondsocket:v1:default:",
        "api/socket:/chat/1",
        "",
    ];
    let node = TestNode::up(subject).await;
    let topics = names.map(Topic::from);
    node.bus.update_subscriptions(&topics, &[]);
    let batch = names.iter().map(|name| message(name, name)).collect();
    assert_eq!(node.append_all(batch).await, vec![Appended::At(at(1)); names.len()]);
    for name in names {
        let history = node.read_all(name).await;
        assert_eq!(texts(&history), [format!("{name}@{};", at(1))], "the history of {name:?}");
    }
}

/// Before `run` and after its end nothing is appended or kept, and no call waits.
pub async fn a_bus_that_does_not_run_appends_nothing(subject: &dyn BusUnderTest) {
    let witness = TestNode::up(subject).await;
    let record = StoredRecord { version: 1, data: "record".into() };
    let mut node = TestNode::start(subject.bus(), crate::cluster::SinkLimits::default());
    let idle = subject.bus();
    node.next_up().await;
    node.append(message("t", "in time")).await;
    node.stop().await.expect("no error");
    for bus in [&idle, &node.bus] {
        let store = bus.history().expect("a bus with histories");
        let outcomes = soon("outcome", store.append(vec![message("t", "1"), message("t", "2")])).await;
        assert!(matches!(outcomes[..], [Appended::NotSent(_), Appended::NotSent(_)]), "{outcomes:?}");
        soon("failure", store.read(&"t".into(), None, 1)).await.expect_err("no engine");
        soon("failure", store.restart(&"t".into(), Epoch::new(7), LONG)).await.expect_err("no engine");
        soon("failure", store.put("key", &record, 0, LONG)).await.expect_err("no engine");
        soon("failure", store.get("key")).await.expect_err("no engine");
    }
    assert_eq!(texts(&witness.read_all("t").await).len(), 1);
    assert_eq!(witness.get("key").await, None);
}

/// A message that is appended while the engine is lost has no position, and the outcome does not wait for the engine's
/// return. Then the history goes on without it, or begins anew.
pub async fn without_an_engine_nothing_is_appended(subject: &dyn BusUnderTest) {
    let mut node = TestNode::up(subject).await;
    let before = node.append(message("t", "before")).await;
    soon("cut", breaker(subject).cut()).await;
    node.next_down().await;
    let deadline = deadline();
    // A bus may detect the loss only by the first messages that fail.
    for attempt in 0.. {
        match &node.append_all(vec![message("t", &format!("away {attempt}"))]).await[..] {
            [Appended::NotSent(_)] => break,
            [Appended::Unknown(_)] => {
                assert!(Instant::now() < deadline, "the outcome stays unknown while the bus is down")
            }
            other => panic!("appended without an engine: {other:?}"),
        }
    }
    soon("failure", node.store().read(&"t".into(), None, 1)).await.expect_err("no engine");
    soon("return", breaker(subject).restore()).await;
    node.next_up().await;
    let after = node.append_at_last(Append { epoch: Epoch::new(7), ..message("t", "after") }).await;
    assert!(after.epoch != before.epoch || after.offset == 2, "{after} is behind {before}");
    let kept = texts(&node.read_all("t").await);
    let expected = [text("before", before), text("after", after)];
    let expected = &expected[usize::from(after.epoch != before.epoch)..];
    assert_eq!(kept, expected.iter().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>());
}

/// Through losses of the engine no position is given to two messages, and what is kept under an epoch is what was appended.
pub async fn no_position_is_given_twice(subject: &dyn BusUnderTest) {
    let mut nodes = [TestNode::up(subject).await, TestNode::up(subject).await];
    let mut given = BTreeMap::new();
    for round in 0..3 {
        for number in 0..20 {
            let id = format!("{round}/{number}");
            let epoch = Epoch::new(10_000 * (round + 1) + number);
            let position = nodes[number as usize % 2].append_at_last(Append { epoch, ..message("t", &id) }).await;
            let key = (position.epoch.to_string(), position.offset);
            assert_eq!(given.insert(key, text(&id, position)), None, "{position} was given twice");
        }
        let history = nodes[0].read_all("t").await;
        let epoch = history.position.expect("a history").epoch.to_string();
        let kept: HashSet<_> = history.messages.iter().map(|message| message.data.clone()).collect();
        let of_epoch = given.iter().filter(|((of, _), _)| *of == epoch).map(|(_, text)| text.clone());
        assert_eq!(kept, of_epoch.collect::<HashSet<_>>());
        soon("cut", breaker(subject).cut()).await;
        for node in &mut nodes {
            node.next_down().await;
        }
        soon("return", breaker(subject).restore()).await;
        for node in &mut nodes {
            node.next_up().await;
        }
    }
}

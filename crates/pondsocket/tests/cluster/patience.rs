//! The time for which the messages of channels with a shared history wait for a store that does not answer.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::testing::bus::MemoryHub;
use pondsocket::testing::{Client, Room};
use pondsocket::{Channel, PondSocket};
use serde_json::json;
use testkit::{Recorder, eventually};
use tokio::time::{Instant, sleep, timeout_at};

use crate::stubborn::{Manner, Stubborn, kept_chat};

/// The time for which messages wait.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The time that the store has to answer a node which was suspended.
const SUSPENDED_TIMEOUT: Duration = Duration::from_millis(500);

/// The time within which a test calls something prompt.
const MOMENT: Duration = Duration::from_millis(100);

/// The time after which the bus gives up an attempt.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

const MILLISECOND: Duration = Duration::from_millis(1);

/// A node whose channels share their histories, with a store that a test controls.
struct Node {
    pond: PondSocket,
    bus: Arc<Stubborn>,
    recorder: Recorder,
}

async fn start() -> Node {
    let (bus, recorder) = (Stubborn::new(&MemoryHub::new()), Recorder::default());
    let pond = kept_chat(Arc::clone(&bus), &recorder);
    Node { pond, bus, recorder }
}

impl Node {
    /// A client in a channel whose history is read, so that its messages wait for the store.
    async fn join(&self, name: &str) -> Member {
        let client = self.pond.test_client().connect("/").await.expect("let in");
        let mut room = client.join(name, json!({})).await.expect("let in");
        let channel = self.pond.endpoints()[0].channel(name).expect("a name");
        channel.broadcast("said", &json!({ "n": 0 })).expect("room");
        assert_eq!(room.next("said").await.expect("answered")["n"], 0);
        Member { channel, room, _client: client }
    }

    /// The number of times that a channel went on without the store.
    fn detached(&self) -> usize {
        self.recorder.of("cluster").iter().filter(|event| *event == "HistoryDetached").count()
    }
}

struct Member {
    channel: Channel,
    room: Room,
    _client: Client,
}

impl Member {
    fn say(&self, n: u64) -> Instant {
        self.channel.broadcast("said", &json!({ "n": n })).expect("room");
        Instant::now()
    }

    /// The time at which the message of this number comes.
    async fn hears(&mut self, n: u64) -> Instant {
        assert_eq!(self.room.next("said").await.expect("in time")["n"], n);
        Instant::now()
    }
}

/// A wait of the patience, and not much more.
#[track_caller]
fn assert_patient(waited: Duration) {
    assert!(waited >= STORE_TIMEOUT && waited < STORE_TIMEOUT + MOMENT, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_queued_while_an_attempt_hangs_waits_no_longer_than_others() {
    for manner in [Manner::IsFrozen(COMMAND_TIMEOUT), Manner::IsFrozen(4 * COMMAND_TIMEOUT), Manner::Hangs] {
        let node = start().await;
        let mut members = Vec::new();
        for name in ["/chat/a", "/chat/b", "/chat/c"] {
            members.push(node.join(name).await);
        }
        node.bus.set(manner.clone());
        let before = node.bus.asked();
        let mut said = vec![members[0].say(1)];
        eventually("an attempt", || node.bus.asked() > before).await;
        // Not with the first attempt, and so behind it.
        for (member, pause) in members[1..].iter().zip([MILLISECOND, STORE_TIMEOUT / 2]) {
            sleep(pause).await;
            said.push(member.say(1));
        }
        for (member, said) in members.iter_mut().zip(said) {
            assert_patient(member.hears(1).await - said);
        }
        assert!(node.detached() >= 3, "{manner:?}");
    }
}

/// The time for which the store waits for the bus is part of the patience.
#[tokio::test(start_paused = true)]
async fn a_message_behind_a_bus_that_hangs_as_well_waits_no_longer() {
    let node = start().await;
    let mut member = node.join("/chat/a").await;
    node.bus.set(Manner::IsFrozen(COMMAND_TIMEOUT));
    let before = node.bus.asked();
    // Not kept, and so for the bus.
    member.channel.broadcast("typed", &json!({ "n": 1 })).expect("room");
    sleep(MILLISECOND).await;
    let said = member.say(2);
    sleep(MOMENT).await;
    assert_eq!(node.bus.asked(), before, "the store is not asked yet");
    assert_patient(member.hears(2).await - said);
    assert_eq!(node.bus.asked(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn all_messages_of_a_channel_are_given_up_with_its_oldest_one_and_keep_their_order() {
    let node = start().await;
    let mut member = node.join("/chat/a").await;
    node.bus.set(Manner::IsFrozen(COMMAND_TIMEOUT));
    let first = member.say(1);
    for n in 2..6 {
        sleep(STORE_TIMEOUT / 5).await;
        member.say(n);
        // Not kept, and so in the place between the others.
        member.channel.broadcast("typed", &json!({ "n": n })).expect("room");
    }
    assert_patient(member.hears(1).await - first);
    let given_up = Instant::now();
    for n in 2..6 {
        for event in ["said", "typed"] {
            let message = member.room.next_message().await.expect("in time");
            assert_eq!((message.event.as_str(), &message.payload["n"]), (event, &json!(n)));
        }
    }
    assert!(given_up.elapsed() < MOMENT);
    assert_eq!(node.detached(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_and_answers_is_waited_for() {
    const MESSAGES: u64 = 700;
    let node = start().await;
    let mut member = node.join("/chat/a").await;
    node.bus.set(Manner::TakesItsTime(Duration::from_millis(700)));
    let first = member.say(1);
    for n in 2..=MESSAGES {
        member.say(n);
    }
    let mut last = first;
    for n in 1..=MESSAGES {
        last = member.hears(n).await;
    }
    assert!(last - first > 2 * STORE_TIMEOUT, "it takes {:?}", last - first);
    assert_eq!(node.detached(), 0);
}

/// As a virtual machine that is moved to another host. Meanwhile the wait for the answer of the store has ended, too.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_suspended_asks_the_store_again_before_it_gives_up() {
    let node = start().await;
    let mut member = node.join("/chat/a").await;
    node.bus.set(Manner::IsFrozen(COMMAND_TIMEOUT));
    let before = node.bus.asked();
    member.say(1);
    eventually("an attempt", || node.bus.asked() > before).await;
    node.bus.set(Manner::Answers);
    tokio::time::advance(2 * STORE_TIMEOUT).await;
    let awake = Instant::now();
    assert!(member.hears(1).await - awake < MOMENT);
    assert_eq!(node.detached(), 0);
    // A store that is silent then is given up sooner than by a node that has not been suspended.
    node.bus.set(Manner::Hangs);
    let before = node.bus.asked();
    member.say(2);
    eventually("an attempt", || node.bus.asked() > before).await;
    tokio::time::advance(2 * STORE_TIMEOUT).await;
    let awake = Instant::now();
    let waited = member.hears(2).await - awake;
    assert!(waited >= SUSPENDED_TIMEOUT && waited < SUSPENDED_TIMEOUT + MOMENT, "{waited:?}");
    assert_eq!(node.detached(), 1);
}

/// The age of a message counts from the last answer, and not from a time at which the store was busy with others.
#[tokio::test(start_paused = true)]
async fn a_refusal_behind_a_long_queue_is_no_silence() {
    const MESSAGES: u64 = 500;
    let node = start().await;
    let mut member = node.join("/chat/a").await;
    let before = node.bus.asked();
    node.bus.set(Manner::TakesItsTime(Duration::from_millis(900)));
    for n in 1..=MESSAGES {
        member.say(n);
    }
    // Three batches have taken longer than a message of the last one may wait for an answer.
    eventually("the last full batch", || node.bus.asked() == before + 3).await;
    node.bus.set(Manner::Refuses);
    eventually("a refusal", || node.bus.asked() > before + 4).await;
    node.bus.set(Manner::Answers);
    for n in 1..=MESSAGES {
        member.hears(n).await;
    }
    assert_eq!(node.detached(), 0);
}

/// Answers about other channels do not help one whose messages the store never takes.
#[tokio::test(start_paused = true)]
async fn a_channel_that_the_store_refuses_goes_on_alone_while_others_are_answered() {
    let node = start().await;
    let (mut refused, mut other) = (node.join("/chat/a").await, node.join("/chat/b").await);
    node.bus.set(Manner::RefusesTopic("/chat/a"));
    let said = refused.say(1);
    let heard = async {
        let heard = refused.hears(1).await;
        assert_patient(heard - said);
    };
    let others = async {
        for n in 1.. {
            other.say(n);
            assert!(other.hears(n).await.elapsed() < MOMENT);
            sleep(MOMENT).await;
        }
    };
    tokio::select! {
        () = heard => {}
        () = others => {}
    }
    assert_eq!(node.detached(), 1);
}

/// The patience begins anew with each answer, and an answer in the last moment counts.
#[tokio::test(start_paused = true)]
async fn a_store_that_answers_at_last_takes_everything_that_waits() {
    let node = start().await;
    let mut members = [node.join("/chat/a").await, node.join("/chat/b").await];
    node.bus.set(Manner::TakesItsTime(STORE_TIMEOUT - MILLISECOND));
    let before = node.bus.asked();
    members[0].say(1);
    eventually("an attempt", || node.bus.asked() > before).await;
    let said = members[1].say(1);
    for member in &mut members {
        member.hears(1).await;
    }
    assert!(
        said.elapsed() > STORE_TIMEOUT + STORE_TIMEOUT / 2,
        "two attempts, one behind the other: {:?}",
        said.elapsed()
    );
    assert_eq!(node.detached(), 0);
    // Nothing is left that would be given up later.
    node.bus.set(Manner::Answers);
    let silence = timeout_at(Instant::now() + 2 * STORE_TIMEOUT, members[0].room.next_message()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert_eq!(node.detached(), 0);
}

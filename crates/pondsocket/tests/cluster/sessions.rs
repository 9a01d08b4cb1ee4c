//! Clients that do not know their position come back to another node, by a session.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::Bus;
use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{GapReason, History, JoinContext, Next, Options, Recovery, Server};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::{BOB, DEADLINE, EventPeer, Peer, SESSION_KEY, SessionChat, eventually, resumed, serve};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The beginning of the keys of all records of the endpoint `/`: a part of the hash of its name among nodes, which is empty.
const RECORDS: &str = "e3b0c44298fc1c14-";

/// A node with the chat, and its bus.
pub(crate) struct SessionNode {
    chat: SessionChat,
    pub(crate) bus: Arc<MemoryBus>,
    pub(crate) address: SocketAddr,
    _server: Server,
}

impl Deref for SessionNode {
    type Target = SessionChat;

    fn deref(&self) -> &SessionChat {
        &self.chat
    }
}

async fn start(hub: &MemoryHub, name: &str) -> SessionNode {
    let bus = hub.node();
    let options = Options::default().bus(Arc::clone(&bus)).node_name(name.to_owned()).proof_interval(Duration::ZERO);
    let chat = SessionChat::new(options, History::new());
    let (server, address) = serve(&chat.pond).await;
    SessionNode { chat, bus, address, _server: server }
}

pub(crate) async fn pair() -> (MemoryHub, SessionNode, SessionNode) {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two)
}

impl SessionNode {
    async fn bob(&self) -> Peer {
        let mut bob = Peer::connect(self.address, BOB).await;
        bob.join("/chat/a", json!({})).await;
        bob
    }

    /// Bob with two messages, which a node sends and he has received for certain.
    async fn bob_with_two_messages(&self, from: &SessionNode) -> Peer {
        let mut bob = self.bob().await;
        from.say(1..3);
        assert_eq!(bob.numbers(2).await, [1, 2]);
        bob.nothing_before_reply("/chat/a", "ask").await;
        bob
    }

    /// Waits until the record of the session of a user, as this node reads it, satisfies a condition.
    async fn record(&self, user: &str, key: &str, is_awaited: impl Fn(&Value) -> bool) {
        let hash = Sha256::digest(format!("{user}\0{key}"));
        let hash: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let (store, key) = (self.bus.history().expect("a store"), format!("{RECORDS}{hash}"));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let record = store.get(&key).await.expect("an answer");
            let record = record.map(|record| serde_json::from_slice(&record.data).expect("JSON"));
            if record.as_ref().is_some_and(&is_awaited) {
                return;
            }
            assert!(Instant::now() < deadline, "{record:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the node has written the tickets that waited when this was called. They are written in their order, and so ahead of
    /// that of a further client.
    async fn has_written_tickets(&self, other: &SessionNode) {
        let mut marker = Peer::connect(self.address, "/?user=marker&key=session-of-the-marker").await;
        marker.join("/chat/b", json!({})).await;
        marker.reset();
        other.record("marker", "session-of-the-marker", |record| record["node"].is_null()).await;
    }

    /// A member without a session.
    pub(crate) async fn member(&self, user: &str) -> Peer {
        let mut peer = Peer::connect(self.address, &format!("/?user={user}")).await;
        peer.join("/chat/a", json!({})).await;
        peer
    }
}

#[tokio::test]
async fn a_client_that_was_cut_off_resumes_on_another_node() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    assert_eq!(one.recovery(), Recovery::New);
    two.say(1..4);
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    one.is_empty().await;
    one.say(4..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(2, 0));
    assert_eq!(client.numbers(2).await, [4, 5]);
    // And back: each ticket is used once.
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    two.is_empty().await;
    two.say(6..7);
    let mut client = one.bob().await;
    assert_eq!(client.numbers(1).await, [6]);
}

#[tokio::test]
async fn after_a_shutdown_a_client_resumes_on_another_node_without_repetitions() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let _other = two.member("ada").await;
    one.say(1..6);
    assert_eq!(client.numbers(5).await, [1, 2, 3, 4, 5]);
    let pond = one.pond.clone();
    let stops = tokio::spawn(async move { pond.shutdown(pondsocket::Shutdown::within(Duration::from_secs(10))).await });
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    // The next read sends the answer to the close frame.
    assert!(client.frame().await.is_none());
    stops.await.expect("no panic");
    two.say(6..8);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(2, 0));
    assert_eq!(client.numbers(2).await, [6, 7]);
}

#[tokio::test]
async fn a_message_that_gets_its_position_during_a_shutdown_is_not_repeated() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let _other = two.member("ada").await;
    one.say(1..3);
    assert_eq!(client.numbers(2).await, [1, 2]);
    // The client leaves the channel while the store has not answered yet.
    one.bus.delay_answers(Duration::from_millis(300));
    one.say(3..5);
    let pond = one.pond.clone();
    let stops = tokio::spawn(async move { pond.shutdown(pondsocket::Shutdown::within(Duration::from_secs(10))).await });
    assert_eq!(client.numbers(2).await, [3, 4]);
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    // The next read sends the answer to the close frame.
    assert!(client.frame().await.is_none());
    stops.await.expect("no panic");
    two.say(5..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(1, 0));
    assert_eq!(client.numbers(1).await, [5]);
}

#[tokio::test]
async fn the_join_handler_of_a_client_that_was_closed_at_a_gap_sees_the_gap() {
    let (hub, one, two) = pair().await;
    let mut client = one.bob().await;
    one.say(1..3);
    assert_eq!(client.numbers(2).await, [1, 2]);
    // Records of sessions stay.
    hub.fail_over();
    one.say(3..4);
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1012));
    assert!(client.frame().await.is_none());
    one.is_empty().await;
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Gap(GapReason::Epoch));
    two.say(4..5);
    assert_eq!(client.numbers(1).await, [4]);
}

#[tokio::test]
async fn a_history_that_begins_anew_while_the_join_handler_runs_is_a_gap_for_a_second_run() {
    let (hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    one.bob_with_two_messages(&one).await.reset();
    one.is_empty().await;
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    two.lobby.layer_join(move |ctx: JoinContext, next: Next<JoinContext>| {
        let waits = Arc::clone(&waits);
        async move {
            let joined = next.run(ctx).await;
            waits.acquire().await.expect("open").forget();
            joined
        }
    });
    let mut bob = Peer::connect(two.address, BOB).await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    eventually("the join handler runs", || two.joins().len() == 2).await;
    let channel = two.endpoint.channel("/chat/a").expect("a name");
    let before = channel.position().expect("open").epoch;
    hub.fail_over();
    two.say(3..4);
    eventually("the history begins anew", || channel.position().is_some_and(|at| at.epoch != before)).await;
    gate.add_permits(2);
    assert_eq!(bob.next().await["event"], "ACKNOWLEDGE");
    let recoveries: Vec<_> = two.joins()[1..].iter().map(|(_, recovery)| *recovery).collect();
    assert_eq!(recoveries, [resumed(0, 0), Recovery::Gap(GapReason::Epoch)]);
    two.say(4..5);
    assert_eq!(bob.numbers(1).await, [4]);
}

#[tokio::test]
async fn a_client_that_comes_while_the_store_is_away_for_a_moment_resumes() {
    for is_slow in [true, false] {
        let (_hub, one, two) = pair().await;
        let _ada = two.member("ada").await;
        let client = one.bob_with_two_messages(&one).await;
        client.reset();
        one.is_empty().await;
        one.say(3..4);
        if is_slow {
            two.bus.delay_answers(Duration::from_millis(1200));
        } else {
            two.bus.cut();
        }
        let (mut client, ()) = tokio::join!(two.bob(), async {
            if !is_slow {
                tokio::time::sleep(Duration::from_millis(300)).await;
                two.bus.restore();
            }
        });
        assert_eq!(two.recovery(), resumed(1, 0), "slow: {is_slow}");
        assert_eq!(client.numbers(1).await, [3]);
    }
}

#[tokio::test]
async fn a_client_that_gives_up_while_the_store_is_slow_resumes_with_its_next_attempt() {
    for returns in [true, false] {
        let (_hub, one, two) = pair().await;
        let _ada = two.member("ada").await;
        let client = one.bob_with_two_messages(&one).await;
        client.reset();
        one.is_empty().await;
        one.say(3..4);
        two.bus.delay_answers(Duration::from_millis(600));
        for _ in 0..2 {
            // As long as it takes to read the record, and until it is being replaced.
            for patience in [200, 900] {
                let attempt = Peer::connect(two.address, BOB);
                let attempt = tokio::time::timeout(Duration::from_millis(patience), attempt).await;
                assert!(attempt.is_err(), "the store has answered");
            }
        }
        two.bus.delay_answers(Duration::ZERO);
        let node = if returns { &one } else { &two };
        let mut client = node.bob().await;
        assert_eq!(node.recovery(), resumed(1, 0), "at the first node: {returns}");
        assert_eq!(client.numbers(1).await, [3]);
    }
}

#[tokio::test]
async fn a_node_that_writes_too_late_changes_nothing() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let client = one.bob_with_two_messages(&two).await;
    one.bus.cut();
    client.reset();
    one.is_empty().await;
    // The first node cannot hand its ticket over, and so some messages come again.
    let mut client = two.bob().await;
    two.say(3..6);
    while client.numbers(1).await != [5] {}
    one.bus.restore();
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    one.has_written_tickets(&two).await;
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    eventually("the loss is noticed", || two.connections() == 1).await;
    two.say(6..7);
    let mut client = one.bob().await;
    assert_eq!(one.recovery(), resumed(1, 0));
    assert_eq!(client.numbers(1).await, [6]);
}

#[tokio::test]
async fn a_client_whose_session_cannot_be_read_may_have_been_at_another_node() {
    let (_hub, one, two) = pair().await;
    let (mut ada, _eve) = (one.member("ada").await, two.member("eve").await);
    let client = one.bob_with_two_messages(&two).await;
    // The ticket stays here.
    one.bus.delay_answers(Duration::from_secs(20));
    client.reset();
    eventually("the loss is noticed", || one.connections() == 1).await;
    two.say(3..4);
    assert_eq!(ada.numbers(3).await, [1, 2, 3]);
    let mut client = one.bob().await;
    assert_eq!(one.recovery(), resumed(usize::MAX, usize::MAX));
    assert_eq!(client.numbers(1).await, [3]);
}

#[tokio::test]
async fn a_client_whose_session_cannot_be_read_is_sent_again_what_it_has_had_from_another_node() {
    let (_hub, one, two) = pair().await;
    let (_ada, _eve) = (one.member("ada").await, two.member("eve").await);
    let client = one.bob_with_two_messages(&two).await;
    one.bus.cut();
    client.reset();
    eventually("the loss is noticed", || one.connections() == 1).await;
    let mut client = two.bob().await;
    two.say(3..4);
    while client.numbers(1).await != [3] {}
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    eventually("the loss is noticed", || two.connections() == 1).await;
    let mut client = one.bob().await;
    assert_eq!(one.recovery(), resumed(usize::MAX, usize::MAX));
    one.bus.restore();
    assert_eq!(client.numbers(1).await, [3]);
}

#[tokio::test]
async fn a_client_that_is_lost_again_at_a_node_that_lags_may_still_have_what_the_first_one_sent() {
    let (_hub, one, two) = pair().await;
    let (mut ada, _eve) = (one.member("ada").await, two.member("eve").await);
    let client = one.bob_with_two_messages(&two).await;
    // The other node receives no more of the history, but reads the sessions.
    two.bus.delay(Duration::from_secs(60));
    one.say(3..4);
    assert_eq!(ada.numbers(3).await, [1, 2, 3]);
    client.reset();
    eventually("the loss is noticed", || one.connections() == 1).await;
    for attempt in 1..=2 {
        let mut client = Peer::connect(two.address, BOB).await;
        two.bus.delay_answers(Duration::from_secs(60));
        client.join("/chat/a", json!({})).await;
        assert_eq!(two.recovery(), resumed(1, 1), "attempt {attempt}");
        client.reset();
        eventually("the loss is noticed", || two.connections() == 1).await;
        two.bus.delay_answers(Duration::ZERO);
    }
}

#[tokio::test]
async fn a_client_whose_session_cannot_be_read_has_a_gap() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut client = one.bob().await;
    one.say(1..3);
    assert_eq!(client.numbers(2).await, [1, 2]);
    client.reset();
    one.is_empty().await;
    two.bus.delay_answers(Duration::from_secs(20));
    let _client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Gap(GapReason::Epoch));
}

#[tokio::test]
async fn the_lost_connection_of_a_session_is_ended_on_its_node() {
    let (_hub, one, two) = pair().await;
    // Its socket is open, but nobody reads it.
    let _lost = one.bob().await;
    one.say(1..4);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(3, 3));
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
    eventually("the lost connection is ended", || one.connections() == 0).await;
}

#[tokio::test]
async fn a_client_with_the_key_of_one_that_is_alive_on_another_node_is_a_new_one() {
    let (_hub, one, two) = pair().await;
    let mut first = one.bob().await;
    // The first client answers the ping while the second one connects.
    let first = tokio::spawn(async move { first.numbers(1).await });
    let mut second = Peer::connect(two.address, BOB).await;
    second.join("/chat/a", json!({})).await;
    assert_eq!(two.recovery(), Recovery::New);
    one.say(1..2);
    assert_eq!((first.await.expect("no panic"), second.numbers(1).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn after_the_loss_of_a_node_a_client_gets_what_was_not_proven_again() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut client = one.bob().await;
    two.say(1..4);
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
    client.nothing_before_reply("/chat/a", "ask").await;
    // The node writes down that all is proven, and answers nothing from then on.
    two.record("bob", SESSION_KEY, |record| record["channels"][0][1].as_str().is_some_and(|at| at.ends_with(".3")))
        .await;
    one.bus.cut();
    drop(client);
    two.say(4..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(2, 2));
    assert_eq!(client.numbers(2).await, [4, 5]);
}

#[tokio::test]
async fn a_client_whose_node_is_lost_behind_the_data_of_the_store_is_told_of_the_gap() {
    let (hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let client = one.bob_with_two_messages(&two).await;
    two.record("bob", SESSION_KEY, |record| record["channels"][0][1].as_str().is_some_and(|at| at.ends_with(".2")))
        .await;
    // Nothing is sent in the room meanwhile that would show the loss.
    hub.lose_history();
    hub.forget_leases();
    two.record("bob", SESSION_KEY, |_| true).await;
    one.bus.cut();
    drop(client);
    two.say(4..6);
    let _client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Gap(GapReason::Epoch));
}

#[tokio::test]
async fn a_session_of_another_user_is_not_resumed_and_stays_with_its_own() {
    let (_hub, one, two) = pair().await;
    let client = one.bob().await;
    one.say(1..3);
    client.reset();
    one.is_empty().await;
    let mut thief = Peer::connect(two.address, &format!("/?user=eve&key={SESSION_KEY}")).await;
    thief.join("/chat/a", json!({})).await;
    assert_eq!(two.recovery(), Recovery::New);
    drop(thief);
    let mut client = one.bob().await;
    assert_eq!(client.numbers(2).await, [1, 2]);
}

/// The record of a join is written at once, and those of further positions once a second.
#[tokio::test]
async fn a_client_whose_node_is_lost_just_behind_its_join_misses_nothing() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut client = one.bob().await;
    client.nothing_before_reply("/chat/a", "ask").await;
    two.say(1..3);
    one.bus.cut();
    drop(client);
    two.say(3..4);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), resumed(3, 3));
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_ticket_is_used_once_also_if_the_store_is_slow() {
    let (_hub, one, two) = pair().await;
    let mut older = EventPeer::connect(one.address, BOB).await;
    older.join("/chat/a", json!({})).await;
    // What the node writes is there before it knows.
    one.bus.delay_answers(Duration::from_millis(100));
    let mut bob = two.bob().await;
    assert!(older.ended().await.is_empty());
    // With a second copy of the ticket, if there is one.
    one.has_written_tickets(&two).await;
    one.bus.delay_answers(Duration::ZERO);
    let bob = tokio::spawn(async move { bob.numbers(1).await });
    let mut other = one.bob().await;
    assert_eq!(one.recovery(), Recovery::New, "Bob's client is alive on the second node");
    one.say(1..2);
    assert_eq!((bob.await.expect("no panic"), other.numbers(1).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn a_user_that_was_evicted_is_a_new_one_on_other_nodes() {
    let (_hub, one, two) = pair().await;
    let mut ada = two.member("ada").await;
    let mut client = one.bob().await;
    one.say(1..3);
    let position = client.next().await["requestId"].clone();
    assert_eq!((ada.numbers(2).await, client.numbers(1).await), (vec![1, 2], vec![2]));
    two.endpoint.channel("/chat/a").expect("a name").evict("bob", "spam").await.expect("evicted");
    assert_eq!(ada.next().await["event"], "user_evicted");
    for payload in [json!({ "$resume": position }), json!({})] {
        let mut client = Peer::connect(two.address, BOB).await;
        client.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", payload).await;
        client.until("ACKNOWLEDGE").await;
        assert_eq!(two.recovery(), Recovery::New);
        client.nothing_before_reply("/chat/a", "ask").await;
    }
}

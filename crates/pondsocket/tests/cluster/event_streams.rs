//! Clients of event streams come back to another node, by a session and by the id of the last event.

use std::time::Duration;

use hyper::{Method, StatusCode};
use pondsocket::{Recovery, Shutdown};
use serde_json::json;
use testkit::{BOB, EventPeer, eventually, resumed};

use crate::sessions::{SessionNode, pair};

impl SessionNode {
    /// Bob, whose client sends no id: the published one, which opens another stream after each error.
    async fn stream(&self) -> EventPeer {
        joined(EventPeer::connect(self.address, BOB).await).await
    }

    /// Bob, whose client is an `EventSource` that has received an event with this id.
    async fn stream_after(&self, last_event: &str) -> EventPeer {
        joined(EventPeer::connect_after(self.address, BOB, last_event).await).await
    }

    /// Shuts the node down, as a deploy does. Streams end.
    async fn drain(&self) {
        self.pond.shutdown(Shutdown::within(Duration::from_secs(10)).for_restart()).await;
    }
}

async fn joined(mut stream: EventPeer) -> EventPeer {
    stream.join("/chat/a", json!({})).await;
    stream
}

/// The id that an `EventSource` sends when it reconnects.
fn id(stream: &EventPeer) -> String {
    stream.last_event.clone().expect("an event with an id")
}

#[tokio::test]
async fn a_stream_that_ends_because_its_node_drains_goes_on_at_another_one() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut bob = one.stream().await;
    one.say(1..4);
    assert_eq!(bob.numbers(3).await, [1, 2, 3]);
    one.drain().await;
    assert!(bob.ended().await.is_empty());
    two.say(4..6);
    let mut bob = two.stream().await;
    assert_eq!(two.recovery(), resumed(5, 3), "all since the join: nothing proves what has arrived");
    assert_eq!(bob.numbers(5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn an_event_source_of_a_node_that_drains_gets_what_it_missed_once() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut bob = one.stream().await;
    one.say(1..4);
    assert_eq!(bob.numbers(2).await, [1, 2]);
    let last = id(&bob);
    one.drain().await;
    // The third message has arrived, and the page has gone ahead of it.
    two.say(4..6);
    let mut bob = two.stream_after(&last).await;
    assert_eq!(two.recovery(), resumed(3, 0));
    assert_eq!(bob.numbers(3).await, [3, 4, 5]);
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_at_another_node() {
    let (_hub, one, two) = pair().await;
    let mut bob = one.stream().await;
    one.say(1..4);
    assert_eq!(bob.numbers(3).await, [1, 2, 3]);
    let last = id(&bob);
    drop(bob);
    one.is_empty().await;
    one.say(4..6);
    let mut bob = two.stream().await;
    assert_eq!(two.recovery(), resumed(5, 3));
    assert_eq!(bob.numbers(5).await, [1, 2, 3, 4, 5]);
    drop(bob);
    two.is_empty().await;
    // And back, as an `EventSource`.
    two.say(6..7);
    let mut bob = one.stream_after(&last).await;
    assert_eq!((one.recovery(), bob.numbers(3).await), (resumed(3, 0), vec![4, 5, 6]));
}

/// A proxy, or a network that was left, does not tell the node that the client has gone.
#[tokio::test]
async fn a_node_ends_the_stream_of_a_client_that_has_come_to_another_one() {
    for with_id in [false, true] {
        let (_hub, one, two) = pair().await;
        let mut older = one.stream().await;
        one.say(1..3);
        assert_eq!(older.numbers(2).await, [1, 2]);
        let mut bob = if with_id { two.stream_after(&id(&older)).await } else { two.stream().await };
        let (recovery, numbers) = if with_id { (resumed(0, 0), vec![3]) } else { (resumed(2, 2), vec![1, 2, 3]) };
        assert_eq!(two.recovery(), recovery);
        one.say(3..4);
        assert_eq!(bob.numbers(numbers.len()).await, numbers);
        assert!(older.ended().await.is_empty());
        assert_eq!((one.connections(), two.connections()), (0, 1));
        // Each session has one stream.
        assert_eq!(older.ask(Method::POST, "{}").await.status(), StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_id_of_an_event_of_one_channel_holds_up_no_join_of_another_one() {
    let (_hub, one, two) = pair().await;
    let mut ada = two.member("ada").await;
    ada.join("/chat/b", json!({})).await;
    let mut bob = one.stream().await;
    bob.join("/chat/b", json!({})).await;
    one.say(1..2);
    assert_eq!((bob.numbers(1).await, ada.numbers(1).await), (vec![1], vec![1]));
    let last = id(&bob);
    drop(bob);
    one.is_empty().await;
    let mut bob = EventPeer::connect_after(two.address, BOB, &last).await;
    // The store would answer too late for any join that asks it.
    two.bus.delay_answers(Duration::from_secs(60));
    let joined = tokio::time::timeout(Duration::from_secs(1), bob.join("/chat/b", json!({}))).await;
    assert!(joined.is_ok(), "it waits for the store");
    assert_eq!(two.recovery(), resumed(0, 0), "by its session");
    // The id is still that of the channel of its event.
    bob.join("/chat/a", json!({})).await;
    assert_eq!(two.recovery(), resumed(0, 0));
}

#[tokio::test]
async fn after_the_loss_of_its_node_a_stream_goes_on_at_another_one() {
    for with_id in [false, true] {
        let (_hub, one, two) = pair().await;
        let _ada = two.member("ada").await;
        let mut bob = one.stream().await;
        two.say(1..4);
        assert_eq!(bob.numbers(3).await, [1, 2, 3]);
        // Within its first second. From now on it answers nothing, and nobody hears of what it does.
        one.bus.cut();
        let last = id(&bob);
        drop(bob);
        two.say(4..6);
        let mut bob = if with_id { two.stream_after(&last).await } else { two.stream().await };
        // The record knows where the client has begun, and not what it was sent.
        let (recovery, numbers) = if with_id { (resumed(2, 0), 4..6) } else { (resumed(5, 5), 1..6) };
        assert_eq!(two.recovery(), recovery);
        assert_eq!(bob.numbers(numbers.clone().count()).await, numbers.collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_event_source_that_knows_its_event_needs_nothing_of_its_dead_node() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut bob = one.stream().await;
    two.say(1..3);
    assert_eq!(bob.numbers(2).await, [1, 2]);
    // Before anything of it was recorded.
    one.bus.cut();
    two.say(3..4);
    let mut bob = two.stream_after(&id(&bob)).await;
    assert_eq!((two.recovery(), bob.numbers(1).await), (resumed(1, 0), vec![3]));
}

#[tokio::test]
async fn the_other_channels_of_a_stream_resume_by_the_session_at_another_node() {
    let (_hub, one, two) = pair().await;
    let mut bob = one.stream().await;
    bob.join("/chat/b", json!({})).await;
    let b = one.endpoint.channel("/chat/b").expect("a name");
    b.broadcast("said", &json!({ "n": 10 })).expect("room");
    assert_eq!(bob.numbers(1).await, [10]);
    one.say(1..3);
    assert_eq!(bob.numbers(2).await, [1, 2]);
    let last = id(&bob);
    drop(bob);
    one.is_empty().await;
    one.say(3..4);
    b.broadcast("said", &json!({ "n": 11 })).expect("room");
    // The id is one of the channel `a`.
    let mut bob = EventPeer::connect_after(two.address, BOB, &last).await;
    bob.join("/chat/b", json!({})).await;
    assert_eq!((two.recovery(), bob.numbers(2).await), (resumed(2, 1), vec![10, 11]));
    bob.join("/chat/a", json!({})).await;
    assert_eq!((two.recovery(), bob.numbers(1).await), (resumed(1, 0), vec![3]));
}

/// docs/operations.md, Behind a proxy: it tries the next server.
#[tokio::test]
async fn a_message_that_reaches_another_node_than_its_stream_is_refused_there_and_handled_by_the_next() {
    let (_hub, one, two) = pair().await;
    let mut bob = one.stream().await;
    let message = json!({
        "action": "BROADCAST", "event": "ask", "channelName": "/chat/a", "requestId": "q9", "payload": { "n": 7 },
    });
    let [elsewhere, here] = [two.address, one.address];
    let post = async |address| {
        let request = hyper::Request::post(BOB).header("host", "x").header("x-connection-id", &bob.id);
        let request = request.header("content-type", "application/json").body(message.to_string()).expect("a request");
        testkit::request(address, request).await.status()
    };
    assert_eq!(post(elsewhere).await, StatusCode::NOT_FOUND);
    assert_eq!(post(here).await, StatusCode::ACCEPTED);
    let answer = bob.next().await;
    assert_eq!((&answer["event"], &answer["requestId"]), (&json!("answered"), &json!("q9")), "handled once");
    assert_eq!(bob.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
    // The client has ended its session, also for other nodes.
    eventually("the stream has ended", || one.connections() == 0).await;
    two.stream().await;
    assert_eq!(two.recovery(), Recovery::New);
}

//! A join is acknowledged when messages of other nodes in its channel arrive.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::Options;
use pondsocket::testing::Client;
use pondsocket::testing::bus::MemoryHub;
use serde_json::{Value, json};
use testkit::{Message, Recorder, connect_in_memory};
use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;

use crate::{Node, eventually, pair};

const MOMENT: Duration = Duration::from_millis(20);

/// Joins a user, and returns it with the time that its join took.
async fn join(node: &Node, name: &str, channel: &str) -> (Client, Duration) {
    let client = node.connect(name).await;
    let start = Instant::now();
    client.join(channel, json!({})).await.expect("let in");
    (client, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn only_the_first_join_of_a_channel_waits_for_its_subscription() {
    let (_hub, _one, two) = pair().await;
    let slow = Duration::from_millis(100);
    two.bus.delay(slow);
    let (_bob, took) = join(&two, "bob", "/plain/1").await;
    assert!((slow..slow + MOMENT).contains(&took), "{took:?}");
    let (_eve, took) = join(&two, "eve", "/plain/1").await;
    assert!(took < MOMENT, "it is heard already: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_join_proceeds_without_a_subscription_that_takes_too_long() {
    let (_hub, _one, two) = pair().await;
    two.bus.delay(Duration::from_secs(10));
    let (_bob, took) = join(&two, "bob", "/plain/1").await;
    let most = Duration::from_millis(250);
    assert!((most..most + MOMENT).contains(&took), "{took:?}");
    assert_eq!(two.channel("/plain/1").member_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn joins_do_not_wait_for_a_bus_that_is_down() {
    let (_hub, _one, two) = pair().await;
    two.bus.cut();
    eventually("it is down", || two.pond.snapshot().cluster.is_some_and(|node| !node.up)).await;
    let (_bob, took) = join(&two, "bob", "/plain/1").await;
    assert!(took < MOMENT, "{took:?}");

    two.bus.restore();
    eventually("it is up", || two.pond.snapshot().cluster.is_some_and(|node| node.up)).await;
    two.bus.delay(Duration::from_secs(10));
    let client = two.connect("eve").await;
    let start = Instant::now();
    let (joined, ()) = tokio::join!(client.join("/plain/2", json!({})), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        two.bus.cut();
    });
    joined.expect("let in");
    // The event that the bus is down is not delayed.
    assert!(start.elapsed() < Duration::from_millis(50) + MOMENT, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_join_waits_never_becomes_a_member() {
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    two.bus.delay(Duration::from_millis(100));
    let client = two.connect("bob").await;
    let joining = client.join("/chat/1", json!({}));
    client.close();
    joining.await.expect_err("the connection has gone");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((one.shown("/chat/1"), two.channel("/chat/1").member_count()), (vec!["ada".to_owned()], 0));
}

/// Messages behind a waiting join are handled after it, and other channels of the connection go on.
#[tokio::test(start_paused = true)]
async fn a_waiting_join_delays_only_its_own_channel() {
    let hub = MemoryHub::new();
    let two = Node::with(&hub, "two", Options::default().max_concurrent_handlers(1), Recorder::default()).await;
    eventually("it is up", || two.pond.snapshot().cluster.is_some_and(|node| node.up)).await;
    let mut socket = connect_in_memory(&two.pond, "/api/socket?name=bob", 64 * 1024).await;
    let message = |action: &str, event: &str, channel: &str| {
        let message = json!({
            "action": action, "event": event, "channelName": channel, "requestId": event, "payload": {},
        });
        Message::text(message.to_string())
    };
    socket.send(message("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/0")).await.expect("sent");
    let next = async |socket: &mut WebSocketStream<DuplexStream>| loop {
        let frame = socket.next().await.expect("open").expect("a frame");
        let frame: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
        if frame["event"] == "ACKNOWLEDGE" || frame["event"] == "say" {
            return format!(
                "{} {}",
                frame["channelName"].as_str().expect("a name"),
                frame["event"].as_str().expect("one")
            );
        }
    };
    assert_eq!(next(&mut socket).await, "/chat/0 ACKNOWLEDGE");

    two.bus.delay(Duration::from_millis(100));
    socket.send(message("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/1")).await.expect("sent");
    socket.send(message("BROADCAST", "say", "/chat/1")).await.expect("sent");
    socket.send(message("BROADCAST", "say", "/chat/0")).await.expect("sent");
    let order = [next(&mut socket).await, next(&mut socket).await, next(&mut socket).await];
    assert_eq!(order, ["/chat/0 say", "/chat/1 ACKNOWLEDGE", "/chat/1 say"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_rejoins_all_its_channels_at_once_while_subscriptions_are_slow() {
    let (_hub, _one, two) = pair().await;
    for (round, delay) in [240, 10_000].into_iter().enumerate() {
        two.bus.delay(Duration::from_millis(delay));
        let client = two.connect("bob").await;
        let start = Instant::now();
        let names: Vec<_> = (0..250).map(|n| format!("/plain/{round}-{n}")).collect();
        let joins: Vec<_> = names.iter().map(|name| client.join(name, json!({}))).collect();
        let mut rooms = Vec::new();
        for join in joins {
            rooms.push(join.await.expect("let in"));
        }
        // Four times as many joins as are decided at once.
        assert!(start.elapsed() < Duration::from_millis(1100), "{:?}", start.elapsed());
        assert_eq!(two.pond.snapshot().endpoints[0].channels.len(), 250);
        client.close();
        eventually("it has gone", || two.pond.snapshot().endpoints[0].channels.is_empty()).await;
    }
}

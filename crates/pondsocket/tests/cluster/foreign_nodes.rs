//! Foreign nodes, which have no leases and do not know those of our nodes.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::Options;
use pondsocket::cluster::{Bus, BusEvent, BusEvents, BusSink, Publish, SinkLimits, Stop, Stopper, Topic};
use pondsocket::testing::bus::MemoryHub;
use serde_json::{Value, json};
use testkit::Recorder;
use tokio::time::{Instant, sleep, timeout};

use crate::{Node, eventually, within};

const HEARTBEATS: &str = "pondsocket:v1:default:__heartbeat__";
const CHANNEL: &str = "pondsocket:v1:default:api/socket:/chat/1";
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn foreign_nodes_receive_heartbeats_at_the_configured_interval() {
    let hub = MemoryHub::new();
    let (sink, mut events) = BusSink::new(SinkLimits::default());
    let (_running, stop) = Stop::new();
    let ear = hub.node();
    ear.update_subscriptions(&[Topic::from(HEARTBEATS)], &[]);
    let listening = tokio::spawn(Arc::clone(&ear).run(sink, stop));
    let options = Options::default().node_heartbeat(SECOND);
    let _node = Node::with(&hub, "one", options, Recorder::default()).await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        let event = timeout(20 * SECOND, events.next()).await.expect("in time").expect("it runs");
        if let BusEvent::Message { data, .. } = event {
            let message: Value = serde_json::from_slice(&data).expect("JSON");
            assert_eq!(message["type"], "NODE_HEARTBEAT");
            heard.push(Instant::now());
        }
    }
    for beats in heard.windows(2) {
        let pause = beats[1] - beats[0];
        assert!((SECOND * 8 / 10..SECOND * 12 / 10).contains(&pause), "{pause:?}");
    }
    listening.abort();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_node_that_is_silent_for_too_long_is_dead_and_its_users_leave() {
    let hub = MemoryHub::new();
    let options = Options::default().node_timeout(3 * SECOND);
    let node = Node::with(&hub, "one", options, Recorder::default()).await;
    let (_ada, _room) = node.join("ada", "/chat/1").await;
    let joined = json!({
        "protocol": "pondsocket.distributed", "version": 1, "type": "USER_JOINED", "messageId": "m1", "sourceNodeId": "stranger",
        "endpointName": "api/socket", "channelName": "/chat/1", "timestamp": 1,
        "userId": "bob", "presence": { "name": "bob" }, "assigns": {},
    });
    node.bus.publish(vec![Publish::new("pondsocket:v1:default:api/socket:/chat/1", joined.to_string())]).await;
    eventually("bob is seen", || node.shown("/chat/1") == ["ada", "bob"]).await;
    let took = within(20 * SECOND, "bob is gone", || node.shown("/chat/1") == ["ada"]).await;
    assert!((2 * SECOND..5 * SECOND).contains(&took), "{took:?}");
}

/// The messages that are published on the topic of the channel `/chat/1`.
struct Tap {
    events: BusEvents,
    /// The bus runs until it is dropped.
    _running: Stopper,
}

impl Tap {
    async fn on(hub: &MemoryHub) -> Tap {
        let (sink, mut events) = BusSink::new(SinkLimits::default());
        let (running, stop) = Stop::new();
        let ear = hub.node();
        ear.update_subscriptions(&[Topic::from(CHANNEL)], &[]);
        tokio::spawn(Arc::clone(&ear).run(sink, stop));
        while !matches!(events.next().await.expect("it runs"), BusEvent::Subscribed { .. }) {}
        Tap { events, _running: running }
    }

    /// The next message with this payload, as JSON.
    async fn message_with(&mut self, payload: &Value) -> Value {
        loop {
            if let Some(BusEvent::Message { data, .. }) = self.events.next().await {
                let message: Value = serde_json::from_slice(&data).expect("JSON");
                if [&message["payload"], &message["p"]].contains(&payload) {
                    return message;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_short_unless_a_server_in_another_language_may_listen() {
    let hub = MemoryHub::new();
    let options = || Options::default().node_timeout(30 * SECOND);
    let one = Node::with(&hub, "one", options(), Recorder::default()).await;
    let two = Node::with(&hub, "two", options(), Recorder::default()).await;
    let (_ada, mut here) = one.join("ada", "/chat/1").await;
    let (_bob, mut there) = two.join("bob", "/chat/1").await;
    eventually("ada sees bob", || one.shown("/chat/1") == ["ada", "bob"]).await;
    let mut tap = Tap::on(&hub).await;
    let mut number = 0;
    // Says something new, and returns its form on the bus. Its receivers are the same in both forms.
    let mut say = async || {
        number += 1;
        let payload = json!({ "text": "Grüße \"und\" mehr", "number": number });
        here.send("say", &payload);
        let message = tap.message_with(&payload).await;
        for room in [&mut here, &mut there] {
            assert_eq!(room.next("said").await.expect("a message"), payload);
        }
        message
    };

    // A server in another language may be silent for as long as its timeout.
    assert_eq!(say().await["protocol"], "pondsocket.distributed");
    sleep(35 * SECOND).await;
    let short = say().await;
    assert_eq!(short.get("protocol"), None, "{short}");
    assert_eq!(short["e"], "said");

    // It starts: with its first message the next one is complete.
    let beat = json!({
        "protocol": "pondsocket.distributed", "version": 1, "type": "NODE_HEARTBEAT", "messageId": "m1",
        "sourceNodeId": "stranger", "endpointName": "__heartbeat__", "channelName": "__heartbeat__", "timestamp": 1,
        "nodeId": "stranger",
    });
    one.bus.publish(vec![Publish::new(HEARTBEATS, beat.to_string())]).await;
    // The clock is paused: it moves on when all tasks have handled what there is.
    sleep(Duration::from_millis(1)).await;
    let complete = say().await;
    assert_eq!(complete["type"], "USER_MESSAGE", "{complete}");
    assert_eq!(complete["event"], "said");
    sleep(20 * SECOND).await;
    assert_eq!(say().await["type"], "USER_MESSAGE", "its timeout has not passed");
    sleep(15 * SECOND).await;
    assert_eq!(say().await.get("type"), None, "it is dead");

    // A heartbeat may have been missed while the bus was down.
    one.bus.cut();
    sleep(SECOND).await;
    one.bus.restore();
    sleep(SECOND).await;
    assert_eq!(say().await["type"], "USER_MESSAGE", "a server may have started meanwhile");
    sleep(35 * SECOND).await;
    assert_eq!(say().await.get("type"), None);
}

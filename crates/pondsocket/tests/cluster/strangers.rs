//! Servers in other languages, which neither have leases nor know of ours.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::Options;
use pondsocket::cluster::{Bus, BusEvent, BusSink, Publish, SinkLimits, Stop, Topic};
use pondsocket::testing::bus::MemoryHub;
use serde_json::{Value, json};
use testkit::Recorder;
use tokio::time::{Instant, timeout};

use crate::{Node, eventually, within};

const HEARTBEATS: &str = "pondsocket:v1:default:__heartbeat__";
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

//! Incarnations of one name: nodes with wrong clocks, and forged messages in the name of others.

use std::time::Duration;

use pondsocket::cluster::{Bus, Publish};
use pondsocket::testing::bus::MemoryHub;
use pondsocket::testing::with_clock_ahead;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{Node, eventually, within};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: i64 = 60_000;
const LOBBY: &str = "pondsocket:v1:default:api/socket:/chat/1";
const CLUSTER: &str = "pondsocket:v1:default:__cluster__";

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 || digits.is_empty() {
        digits.push(char::from_digit((number % 36) as u32, 36).expect("a digit"));
        number /= 36;
    }
    digits.iter().rev().collect()
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// A message of this incarnation of a node.
fn message_from(name: &str, incarnation: u64, id: u64, message: Value) -> String {
    let mut all = json!({
        "protocol": "pondsocket.distributed", "version": 1, "messageId": format!("{name} {incarnation} {id}"),
        "sourceNodeId": format!("{name}~{}", base36(incarnation)), "endpointName": "__cluster__", "channelName": "__cluster__",
        "timestamp": 1, "ext": { "v": 1, "n": name, "i": incarnation },
    });
    for (key, value) in message.as_object().expect("an object") {
        match value.as_object().filter(|_| key == "ext") {
            Some(ext) => ext.iter().for_each(|(key, value)| all["ext"][key] = value.clone()),
            None => all[key] = value.clone(),
        }
    }
    all.to_string()
}

fn hello(name: &str, incarnation: u64, id: u64) -> Publish {
    Publish::new(CLUSTER, message_from(name, incarnation, id, json!({ "type": "X_NODE", "ext": { "ev": "hello" } })))
}

fn joins(name: &str, incarnation: u64, (before, after): (u64, u64), user: &str) -> [Publish; 2] {
    let base = json!({ "endpointName": "api/socket", "channelName": "/chat/1", "userId": user });
    let with = |more: Value, version: [u64; 2]| {
        let mut all = base.clone();
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        all["ext"] = json!({ "p": version, "j": 1 });
        Publish::new(LOBBY, message_from(name, incarnation, version[1], all))
    };
    [
        with(json!({ "type": "USER_JOINED", "presence": {}, "assigns": {} }), [before, after]),
        with(json!({ "type": "PRESENCE_UPDATE", "presence": { "name": user } }), [after, after + 1]),
    ]
}

async fn start(hub: &MemoryHub, name: &str, ahead: i64) -> Node {
    // The first poll creates the node before it waits for anything.
    let mut starting = Box::pin(Node::start(hub, name));
    with_clock_ahead(ahead, || futures_util::FutureExt::now_or_never(&mut starting)).expect("it waits for nothing")
}

/// The clock may be wrong before and after the restart, and the node may have ended in any way.
#[tokio::test(start_paused = true)]
async fn a_node_that_restarts_with_another_clock_is_shown_at_once() {
    for (before, after, in_good_order) in [
        (MINUTE, 0, false),
        (MINUTE, 0, true),
        (24 * 60 * MINUTE, -5 * MINUTE, false),
        (-60 * MINUTE, 60 * MINUTE, true),
        (7 * MINUTE, 7 * MINUTE - 1, false),
    ] {
        let hub = MemoryHub::new();
        let watcher = start(&hub, "watcher", 0).await;
        let (_wim, _room) = watcher.join("wim", "/chat/1").await;
        let first = start(&hub, "node", before).await;
        let (ada, room) = first.join("ada", "/chat/1").await;
        eventually("ada is seen", || watcher.shown("/chat/1") == ["ada", "wim"]).await;
        if in_good_order {
            first.pond.shutdown(SECOND).await;
        }
        drop((ada, room, first));
        let second = start(&hub, "node", after).await;
        let (_bob, _room) = second.join("bob", "/chat/1").await;
        let is_seen = || watcher.shown("/chat/1") == ["bob", "wim"] && second.shown("/chat/1") == ["bob", "wim"];
        let took = within(20 * SECOND, "bob is seen", is_seen).await;
        assert!(took < 2 * SECOND, "{before} {after} {in_good_order}: {took:?}");
    }
}

/// The same after the engine has lost its data.
#[tokio::test(start_paused = true)]
async fn a_restarted_node_is_shown_although_the_table_of_leases_was_lost() {
    let hub = MemoryHub::new();
    let watcher = start(&hub, "watcher", 0).await;
    let (_wim, _room) = watcher.join("wim", "/chat/1").await;
    let first = start(&hub, "node", 10 * MINUTE).await;
    let (ada, room) = first.join("ada", "/chat/1").await;
    eventually("ada is seen", || watcher.shown("/chat/1") == ["ada", "wim"]).await;
    drop((ada, room, first));
    hub.forget_leases();
    sleep(Duration::from_millis(10)).await;
    std::thread::sleep(Duration::from_millis(20));
    let second = start(&hub, "node", -10 * MINUTE).await;
    let (_bob, _room) = second.join("bob", "/chat/1").await;
    within(12 * SECOND, "bob is seen", || watcher.shown("/chat/1") == ["bob", "wim"]).await;
}

/// A message with a larger incarnation and without a lease hides no node, neither once nor repeatedly, nor with users.
#[tokio::test(start_paused = true)]
async fn a_hello_with_a_future_incarnation_hides_no_node() {
    let hub = MemoryHub::new();
    let (watcher, node) = (start(&hub, "watcher", 0).await, start(&hub, "node", 0).await);
    let (_wim, _room) = watcher.join("wim", "/chat/1").await;
    let (_ada, _adas) = node.join("ada", "/chat/1").await;
    eventually("ada is seen", || watcher.shown("/chat/1") == ["ada", "wim"]).await;
    eventually("it holds a lease", || watcher.pond.nodes() == ["node"]).await;
    sleep(2 * SECOND).await;
    let forger = hub.node();
    let (sink, _events) = pondsocket::cluster::BusSink::new(Default::default());
    let (_stopper, stop) = pondsocket::cluster::Stop::new();
    let running = tokio::spawn(std::sync::Arc::clone(&forger).run(sink, stop));
    tokio::task::yield_now().await;
    for round in 0..200 {
        let incarnation = now() + 60_000 * (round % 7 + 1);
        let mut batch = vec![hello("node", incarnation, round)];
        batch.extend(joins("node", incarnation, (0, 7 + round), "eve"));
        forger.publish(batch).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(watcher.shown("/chat/1"), ["ada", "wim"], "round {round}");
        assert_eq!(watcher.pond.nodes(), ["node"]);
    }
    let (_bob, _room) = node.join("bob", "/chat/1").await;
    within(SECOND, "bob is seen", || watcher.shown("/chat/1") == ["ada", "bob", "wim"]).await;
    running.abort();
}

/// Invented nodes expire, and replace no node that holds a lease.
#[tokio::test(start_paused = true)]
async fn invented_nodes_do_not_replace_live_ones() {
    let hub = MemoryHub::new();
    let watcher = start(&hub, "watcher", 0).await;
    let (_wim, _room) = watcher.join("wim", "/chat/1").await;
    let old = start(&hub, "old", 0).await;
    let (_ada, _adas) = old.join("ada", "/chat/1").await;
    eventually("ada is seen", || watcher.shown("/chat/1") == ["ada", "wim"]).await;
    sleep(2 * SECOND).await;
    for number in 0..1500 {
        watcher.bus.publish(vec![hello(&format!("unknown {number}"), now(), number)]).await;
    }
    let young = start(&hub, "young", 0).await;
    let (_bob, _bobs) = young.join("bob", "/chat/1").await;
    let took = within(20 * SECOND, "bob is seen", || watcher.shown("/chat/1") == ["ada", "bob", "wim"]).await;
    assert!(took < 3 * SECOND, "{took:?}");
    within(10 * SECOND, "they are gone", || watcher.pond.nodes() == ["old", "young"]).await;
    assert_eq!(watcher.shown("/chat/1"), ["ada", "bob", "wim"]);
}

/// A broadcast that waits for the bus also waits for the incarnation.
#[tokio::test(start_paused = true)]
async fn messages_queued_before_the_bus_is_up_carry_the_assigned_incarnation() {
    let hub = MemoryHub::new();
    let watcher = start(&hub, "watcher", 0).await;
    let (_wim, mut wims) = watcher.join("wim", "/chat/1").await;
    let node = start(&hub, "node", 3 * MINUTE).await;
    node.bus.cut();
    let (_ada, _room) = node.join("ada", "/chat/1").await;
    node.channel("/chat/1").broadcast("said", &json!({ "n": 1 })).expect("queued");
    node.bus.restore();
    assert_eq!(wims.next("said").await.expect("heard"), json!({ "n": 1 }));
    within(2 * SECOND, "ada is seen", || watcher.shown("/chat/1") == ["ada", "wim"]).await;
}

//! The operator's view of a node and of the others.

use std::time::Duration;

use pondsocket::cluster::{Bus, Publish};
use pondsocket::testing::bus::MemoryHub;
use pondsocket::{Options, PondSocket};
use serde_json::json;
use testkit::Recorder;
use tokio::time::sleep;

use crate::{Node, eventually};

async fn counted_pair() -> (MemoryHub, Node, Node, Recorder) {
    let (hub, counted) = (MemoryHub::new(), Recorder::default());
    let options = Options::default().unready_without_bus(Some(Duration::from_secs(3)));
    let one = Node::with(&hub, "one", options, counted.clone()).await;
    let two = Node::start(&hub, "two").await;
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two, counted)
}

#[tokio::test(start_paused = true)]
async fn cluster_events_are_counted() {
    let (_hub, one, two, counted) = counted_pair().await;
    let (_ada, mut adas) = one.join("ada", "/plain/1").await;
    let (_bob, _bobs) = two.join("bob", "/plain/1").await;
    eventually("they know each other", || one.channel("/plain/1").member_count() == 2).await;
    two.channel("/plain/1").broadcast("said", &json!({ "n": 1 })).expect("sent");
    adas.next("said").await.expect("heard");
    let topic = "pondsocket:v1:default:api/socket:/plain/1";
    for nonsense in ["{", r#"{"protocol":"other"}"#] {
        two.bus.publish(vec![Publish::new(topic, nonsense)]).await;
    }
    one.bus.lose_with_gap(1);
    two.channel("/plain/1").broadcast("lost", &json!({})).expect("sent");
    eventually("the gap is counted", || counted.of("cluster").iter().any(|event| event == "Gap(Engine)")).await;
    one.bus.cut();
    eventually("it is down", || counted.of("cluster").iter().any(|event| event == "BusDown")).await;
    for _ in 0..10_002 {
        one.channel("/plain/2").broadcast("flood", &json!({})).expect("taken or not");
    }
    eventually("drops are counted", || counted.of("cluster").len() >= 8).await;
    sleep(Duration::from_secs(3)).await;
    one.channel("/plain/2").broadcast("later", &json!({})).expect("sent");
    eventually("so are those that waited too long", || counted.of("cluster").len() >= 9).await;

    let expected = [
        "BusUp",
        "Nodes(1)",
        "Received",
        "Malformed(\"not_an_object\")",
        "Malformed(\"foreign\")",
        "Gap(Engine)",
        "BusDown",
        "Dropped { reason: Full, messages: 2 }",
        "Dropped { reason: Expired, messages: 10000 }",
    ];
    assert_eq!(counted.of("cluster"), expected);
}

#[tokio::test(start_paused = true)]
async fn another_node_of_the_same_name_is_counted_once() {
    let (hub, one, two, counted) = counted_pair().await;
    let names = || counted.of("cluster").iter().filter(|event| *event == "NameTaken").count();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(names(), 0);
    let copy = Node::start(&hub, "one").await;
    eventually("it is noticed", || names() == 1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(names(), 1);
    let (_ada, mut adas) = one.join("ada", "/plain/1").await;
    let (_bob, _bobs) = two.join("bob", "/plain/1").await;
    copy.channel("/plain/1").broadcast("said", &json!({ "n": 1 })).expect("sent");
    assert_eq!(adas.next("said").await.expect("both go on")["n"], 1);
}

#[test]
fn reserved_topic_names_are_refused_as_endpoint_paths() {
    let pond = PondSocket::new();
    for path in ["/__node__", "__node__", "/__node__:x", "/__cluster__", "/__heartbeat__"] {
        let error = pond.try_create_endpoint(path, crate::connect).expect_err(path);
        assert_eq!((error.code(), error.message().contains(path)), (400, true), "{error}");
    }
    pond.try_create_endpoint("/api/__node__", crate::connect).expect("another name");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_its_bus_is_ready_for_as_long_as_its_options_say() {
    let (_hub, one, two, _) = counted_pair().await;
    assert!(one.pond.is_ready());
    for node in [&one, &two] {
        node.bus.cut();
    }
    sleep(Duration::from_secs(2)).await;
    assert!(one.pond.is_ready());
    sleep(Duration::from_secs(2)).await;
    assert!(!one.pond.is_ready());
    assert!(two.pond.is_ready(), "by default a node without a bus serves its own clients");
    one.bus.restore();
    eventually("it is ready again", || one.pond.is_ready()).await;
    one.pond.shutdown(Duration::from_secs(1)).await;
    assert!(!one.pond.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_the_node_and_its_bus() {
    let (_hub, one, _two, _) = counted_pair().await;
    let node = one.pond.snapshot().cluster.expect("a node");
    assert_eq!((&*node.node, node.others, node.up), ("one", vec!["two".to_owned()], true));
    assert_eq!(node.topics, (3, 3), "heartbeats, the cluster, its inbox");
    let (_ada, _adas) = one.join("ada", "/plain/1").await;
    eventually("its channel is subscribed", || one.pond.snapshot().cluster.is_some_and(|node| node.topics == (4, 4)))
        .await;
    one.bus.cut();
    one.channel("/plain/2").broadcast("waits", &json!({})).expect("sent");
    eventually("it waits", || one.pond.snapshot().cluster.is_some_and(|node| !node.up && node.queued == 1)).await;
}

#[tokio::test]
async fn a_server_without_a_bus_is_no_node() {
    let pond = PondSocket::new();
    assert_eq!((pond.node_name(), pond.nodes()), (None, Vec::new()));
    assert!(pond.is_ready() && pond.snapshot().cluster.is_none());
}

#[test]
fn a_node_has_the_configured_name_or_a_random_one() {
    let hub = MemoryHub::new();
    let named = |name: &str| PondSocket::with_options(Options::default().bus(hub.node()).node_name(name.to_owned()));
    assert_eq!(named("web-3").expect("valid").node_name().as_deref(), Some("web-3"));
    let drawn = [named(""), named("")].map(|pond| pond.expect("valid").node_name().expect("a node"));
    assert_ne!(drawn[0], drawn[1]);
    for wrong in ["x".repeat(65), "a\nb".to_owned()] {
        let error = named(&wrong).expect_err("no name");
        assert_eq!((error.code(), error.message().contains("node_name")), (400, true), "{error}");
    }
}

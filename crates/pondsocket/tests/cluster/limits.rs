//! The limits for users and presence of other nodes.

use std::time::Duration;

use pondsocket::Options;
use pondsocket::cluster::{Bus, Publish};
use pondsocket::testing::bus::MemoryHub;
use serde_json::{Value, json};
use testkit::Recorder;

use crate::{Node, eventually, within};

const SECOND: Duration = Duration::from_secs(1);
const LOBBY: &str = "pondsocket:v1:default:api/socket:/chat/1";

/// A node with these options and a user, and another node without limits.
async fn bounded(options: Options) -> (MemoryHub, Node, Node, Recorder) {
    let (hub, counted) = (MemoryHub::new(), Recorder::default());
    let one = Node::with(&hub, "one", options, counted.clone()).await;
    let all = Options::default().max_presence_size(1 << 20).max_assigns_size(1 << 20);
    let two = Node::with(&hub, "two", all, Recorder::default()).await;
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two, counted)
}

/// Counts how often each limit was reached.
fn excess(counted: &Recorder, what: &str) -> u64 {
    let of = |event: String| -> Option<u64> {
        let rest = event.strip_prefix("Excess { what: ")?.strip_prefix(what)?.strip_prefix(", times: ")?;
        rest.strip_suffix(" }")?.parse().ok()
    };
    counted.of("cluster").into_iter().filter_map(of).sum()
}

/// The bytes of presence of each user that shows presence.
fn sizes(node: &Node) -> Vec<(String, usize)> {
    let presence = node.channel("/chat/1").presence::<Value>().expect("objects");
    let mut sizes: Vec<_> = presence.into_iter().map(|(user, shown)| (user, shown.to_string().len())).collect();
    sizes.sort_unstable();
    sizes
}

fn stranger_says(id: u64, kind: &str, more: Value) -> Publish {
    let mut all = json!({
        "protocol": "pondsocket.distributed", "version": 1, "type": kind, "messageId": format!("m{id}"),
        "sourceNodeId": "stranger", "endpointName": "api/socket", "channelName": "/chat/1", "timestamp": 1,
    });
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Publish::new(LOBBY, all.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_remote_user_with_too_much_presence_is_shown_without_presence() {
    for limit in [200, 5_000, 16 * 1024] {
        let (_hub, one, two, counted) = bounded(Options::default().max_presence_size(limit)).await;
        let (_ada, _adas) = one.join("ada", "/chat/1").await;
        let (_bob, bobs) = two.join("bob", "/chat/1").await;
        eventually("bob is seen", || one.shown("/chat/1") == ["ada", "bob"]).await;
        let mut times = 0;
        for size in [limit + 1, limit / 2, 2 * limit, limit] {
            let frame = json!({ "name": "bob", "mood": "" }).to_string().len();
            bobs.send("mood", json!({ "mood": "x".repeat(size - frame) }));
            let shows = |node: &Node| sizes(node).into_iter().find(|(user, _)| user == "bob").map(|(_, size)| size);
            eventually("it is shown at home", || shows(&two) == Some(size)).await;
            let wanted = (size <= limit).then_some(size);
            within(2 * SECOND, "it is shown elsewhere, or is not", || shows(&one) == wanted).await;
            assert_eq!(one.channel("/chat/1").member_count(), 2, "bob is there");
            times += u64::from(size > limit);
            assert_eq!(excess(&counted, "Presence"), times);
        }
        // The limit causes no repeated requests for the state.
        tokio::time::sleep(120 * SECOND).await;
        assert_eq!(counted.of("cluster").iter().filter(|event| *event == "Diverged").count(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn users_of_another_node_are_shown_up_to_the_limit() {
    for limit in [1, 3, 40] {
        let (hub, one, two, counted) = bounded(Options::default().max_remote_users(limit)).await;
        let (_ada, _adas) = one.join("ada", "/chat/1").await;
        let mut users = Vec::new();
        for number in 0..limit + 5 {
            users.push(two.join(&format!("user-{number}"), "/chat/1").await);
        }
        eventually("all are at home", || two.channel("/chat/1").member_count() == limit + 6).await;
        eventually("some are seen", || one.channel("/chat/1").member_count() == limit + 1).await;
        eventually("the others are counted", || excess(&counted, "Users") >= 5).await;
        // A later joiner receives all of it at once, and no more than the others.
        let three = Node::with(&hub, "three", Options::default().max_remote_users(limit), Recorder::default()).await;
        let (_eve, _eves) = three.join("eve", "/chat/1").await;
        eventually("it sees some", || three.channel("/chat/1").member_count() == limit + 2).await;
        tokio::time::sleep(5 * SECOND).await;
        assert_eq!(three.channel("/chat/1").member_count(), limit + 2);
        assert_eq!(one.channel("/chat/1").member_count(), limit + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn users_of_foreign_nodes_are_shown_up_to_the_limit() {
    let (_hub, one, two, counted) = bounded(Options::default().max_remote_users(7)).await;
    let (_ada, _adas) = one.join("ada", "/chat/1").await;
    let joined = |number| {
        let user = format!("stranger {number}");
        stranger_says(number, "USER_JOINED", json!({ "userId": user, "presence": { "n": number }, "assigns": {} }))
    };
    two.bus.publish((0..5).map(joined).collect()).await;
    eventually("they are seen", || one.channel("/chat/1").member_count() == 6).await;
    let listed: Vec<_> =
        (0..20).map(|n| json!({ "id": format!("listed {n}"), "assigns": {}, "presence": {} })).collect();
    two.bus.publish(vec![stranger_says(100, "STATE_RESPONSE", json!({ "users": listed }))]).await;
    two.bus.publish((200..230).map(joined).collect()).await;
    let shows = (101..120).map(|n| {
        stranger_says(n, "PRESENCE_UPDATE", json!({ "userId": format!("shown {n}"), "presence": { "n": n } }))
    });
    two.bus.publish(shows.collect()).await;
    eventually("all are counted", || excess(&counted, "Users") == 18 + 30 + 19).await;
    eventually("so many are seen", || one.channel("/chat/1").member_count() == 8).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(one.channel("/chat/1").member_count(), 8);
}

#[tokio::test(start_paused = true)]
async fn six_mebibytes_from_a_foreign_node_do_not_become_a_frame() {
    let (_hub, one, two, counted) = bounded(Options::default()).await;
    let (_ada, mut adas) = one.join("ada", "/chat/1").await;
    let big = "x".repeat(6 << 20);
    let batch = vec![
        stranger_says(
            1,
            "USER_JOINED",
            json!({ "userId": "eve", "presence": { "big": big }, "assigns": { "big": big } }),
        ),
        stranger_says(2, "PRESENCE_UPDATE", json!({ "userId": "mallory", "presence": { "big": big } })),
        stranger_says(
            3,
            "ASSIGNS_UPDATE",
            json!({ "userId": "eve", "assigns": { "small": 1 }, "key": "big", "value": big }),
        ),
        stranger_says(4, "PRESENCE_UPDATE", json!({ "userId": "eve", "presence": { "n": 1 } })),
    ];
    two.bus.publish(batch).await;
    eventually("it is seen", || one.shown("/chat/1").contains(&"eve".to_owned())).await;
    assert_eq!(sizes(&one).iter().find(|(user, _)| user == "eve").map(|(_, size)| *size), Some(7));
    assert_eq!(one.shown("/chat/1"), ["ada", "eve"]);
    assert_eq!((excess(&counted, "Presence"), excess(&counted, "Assigns")), (2, 2));
    adas.send("say", json!({ "n": 1 }));
    adas.next("said").await.expect("still there");
}

#[tokio::test(start_paused = true)]
async fn the_presence_of_all_remote_users_is_bounded_and_freed_room_is_used() {
    for (bound, each) in [(1_000, 300), (10_000, 999), (48 * 1024, 15 * 1024)] {
        let (_hub, one, two, counted) = bounded(Options::default().max_remote_presence(bound)).await;
        let (_ada, _adas) = one.join("ada", "/chat/1").await;
        let room = bound / each;
        let mut users = Vec::new();
        for number in 0..room + 2 {
            let (client, mut joined) = two.join(&format!("user-{number:02}"), "/chat/1").await;
            let frame = json!({ "name": format!("user-{number:02}"), "mood": "" }).to_string().len();
            joined.send("mood", json!({ "mood": "x".repeat(each - frame) }));
            joined.next("mood").await.expect("done");
            users.push((client, joined));
        }
        let full = |node: &Node| sizes(node).iter().filter(|(_, size)| *size == each).count();
        eventually("all is shown at home", || full(&two) == room + 2).await;
        eventually("as much as may be is shown", || full(&one) == room).await;
        assert_eq!(one.channel("/chat/1").member_count(), room + 3);
        assert_eq!(excess(&counted, "Shown"), 2);
        let total: usize = sizes(&one).iter().filter(|(user, _)| user != "ada").map(|(_, size)| size).sum();
        assert!(total <= bound, "{total}");
        drop(users.remove(0));
        eventually("there was room", || one.channel("/chat/1").member_count() == room + 2 && full(&one) == room).await;
    }
}

//! The presence grace among nodes: users that come back on another node are not seen to leave or to join.

use std::time::Duration;

use pondsocket::testing::bus::MemoryHub;
use pondsocket::testing::{Change, Client, Room};
use pondsocket::{Error, JoinContext, LeaveContext, Next, Options, PondSocket, Shutdown, State};
use serde_json::{Value, json};
use testkit::Log;
use tokio::time::{Instant, sleep};

use crate::{Node, connect, eventually, join, within};

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(10);

/// A node whose channels have a presence grace, and what its leave handlers have noted.
struct Graced {
    node: Node,
    left: Log,
}

impl Graced {
    fn start(hub: &MemoryHub, name: &str) -> Graced {
        let (bus, left) = (hub.node(), Log::default());
        let options = Options::default().bus(std::sync::Arc::clone(&bus)).node_name(name.to_owned());
        let pond = PondSocket::with_options(options).expect("valid options").state(left.clone());
        let endpoint = pond.create_endpoint("/api/socket", connect);
        let lobby = endpoint.create_channel("/chat/:room", join);
        lobby.presence_grace(GRACE);
        lobby.on_leave(async |ctx: LeaveContext, State(left): State<Log>| {
            let presence = ctx.presence::<serde_json::Value>()?["mood"].clone();
            left.note(format!("{} {} {presence} {} {}", ctx.user_id(), ctx.reason(), ctx.returned(), ctx.remaining()));
            Ok::<_, pondsocket::Error>(())
        });
        Graced { node: Node { pond, endpoint, bus }, left }
    }

    async fn join(&self, name: &str) -> (Client, Room) {
        self.node.join(name, "/chat/1").await
    }

    fn shown(&self) -> Vec<String> {
        self.node.shown("/chat/1")
    }
}

/// Three nodes, each with a member for long enough to be known; that of the last one watches, and has read the presence of all.
async fn three() -> (Vec<Graced>, Vec<(Client, Room)>, (Client, Room)) {
    three_on(&MemoryHub::new()).await
}

async fn three_on(hub: &MemoryHub) -> (Vec<Graced>, Vec<(Client, Room)>, (Client, Room)) {
    let nodes = ["one", "two", "three"].map(|name| Graced::start(hub, name));
    eventually("they know each other", || nodes.iter().all(|graced| graced.node.pond.nodes().len() == 2)).await;
    let mut clients = Vec::new();
    for (graced, name) in nodes.iter().zip(["ada", "bob"]) {
        clients.push(graced.join(name).await);
    }
    eventually("both are seen", || nodes[0].shown() == ["ada", "bob"]).await;
    let (gateway, mut watcher) = nodes[2].join("cleo").await;
    eventually("all are seen", || nodes.iter().all(|graced| graced.shown() == ["ada", "bob", "cleo"])).await;
    for _ in 0..3 {
        assert_eq!(watcher.next_presence().await.expect("one of three").change, Change::Join);
    }
    sleep(5 * SECOND).await;
    (nodes.into(), clients, (gateway, watcher))
}

#[tokio::test(start_paused = true)]
async fn a_user_that_moves_to_another_node_is_not_seen_to_move() {
    let (nodes, mut clients, (_cleo, mut watcher)) = three().await;
    let (ada, mut adas) = clients.remove(0);
    adas.next_presence().await.expect("her own");
    drop((ada, adas));
    eventually("it is a ghost", || {
        let snapshot = nodes[0].node.pond.snapshot();
        snapshot.endpoints[0].channels.first().is_some_and(|channel| channel.ghosts == 1)
    })
    .await;
    let (_ada, mut adas) = nodes[1].join("ada").await;
    let list = adas.next_presence().await.expect("the list for herself");
    assert_eq!((list.change, &*list.user_id, list.list.len()), (Change::Join, "ada", 3));
    eventually("its node has forgotten it", || nodes[0].node.pond.snapshot().endpoints[0].channels.is_empty()).await;
    sleep(2 * GRACE).await;
    watcher.assert_silence().await;
    assert_eq!(nodes[2].shown(), ["ada", "bob", "cleo"]);
    assert!(nodes.iter().all(|graced| graced.left.take().is_empty()), "she has not left");
}

#[tokio::test(start_paused = true)]
async fn a_user_that_another_node_declines_stays_for_its_grace_and_leaves_once() {
    let (nodes, mut clients, (_cleo, mut watcher)) = three().await;
    drop(clients.remove(0));
    nodes[1].node.endpoint.layer_joins(async |ctx: JoinContext, next: Next<JoinContext>| match ctx.user_id() {
        "ada" => Err(Error::forbidden("not here")),
        _ => next.run(ctx).await,
    });
    let ada = nodes[1].node.connect("ada").await;
    let declined = ada.join("/chat/1", json!({})).await.expect_err("declined");
    assert!(declined.to_string().contains("not here"), "{declined}");
    sleep(GRACE - SECOND).await;
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "ada"));
    watcher.assert_silence().await;
    assert_eq!(nodes[0].left.next().await, [r#"ada connection_closed "new" false 2"#]);
    assert!(nodes[1].left.take().is_empty() && nodes[2].left.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_user_that_comes_back_on_another_node_keeps_its_assigns() {
    for dies in [false, true] {
        let (nodes, mut clients, (_cleo, _watcher)) = three().await;
        let channel = |node: usize| nodes[node].node.channel("/chat/1");
        for (key, value) in [("colour", "green"), ("name", "a name that a join replaces")] {
            channel(0).update_assigns("ada", key, value).await.expect("a member");
        }
        let is_known = || channel(1).assigns::<Value>().expect("objects")["ada"]["colour"] == "green";
        eventually("the others know them", is_known).await;
        if dies {
            nodes[0].node.bus.cut();
            within(6 * SECOND, "it is noticed", || nodes[2].node.pond.nodes() == ["two"]).await;
        } else {
            drop(clients.remove(0));
        }
        let (_ada, _adas) = nodes[1].join("ada").await;
        let expected = json!({ "name": "ada", "colour": "green" });
        for node in [1, 2] {
            let are_kept = || channel(node).assigns::<Value>().expect("objects")["ada"] == expected;
            eventually("all nodes have them", are_kept).await;
        }
        sleep(2 * GRACE).await;
        assert_eq!(channel(2).assigns::<Value>().expect("objects")["ada"], expected, "dies: {dies}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_that_does_not_come_back_leaves_everywhere_once() {
    let (nodes, mut clients, (_cleo, mut watcher)) = three().await;
    let lost = Instant::now();
    drop(clients.remove(0));
    sleep(GRACE - SECOND).await;
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "ada"));
    assert!(lost.elapsed() >= GRACE && lost.elapsed() < GRACE + 2 * SECOND, "{:?}", lost.elapsed());
    watcher.assert_silence().await;
    assert_eq!(nodes[0].left.next().await, [r#"ada connection_closed "new" false 2"#]);
    assert!(nodes[1].left.take().is_empty() && nodes[2].left.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_drained_is_not_noticed_by_others() {
    let (nodes, mut clients, (_cleo, mut watcher)) = three().await;
    let zoe = nodes[0].join("zoe").await;
    assert_eq!(watcher.next_presence().await.expect("zoe").change, Change::Join);
    let stopping = nodes[0].node.pond.clone();
    let drained = tokio::spawn(async move { stopping.shutdown(Shutdown::within(5 * SECOND).for_restart()).await });
    let (ada, _adas) = clients.remove(0);
    assert_eq!(ada.closed().await.expect("an orderly end").code, Some(1012));
    let report = drained.await.expect("no panic");
    assert_eq!((report.cut, report.abandoned), (0, 0));
    // Handlers of a server that shuts down run at its end.
    let mut left = nodes[0].left.take();
    left.sort();
    assert_eq!(
        left,
        [r#"ada connection_closed "new" false 2"#, r#"zoe connection_closed "new" false 2"#].map(String::from)
    );
    eventually("it has gone", || nodes[2].node.pond.nodes() == ["two"]).await;
    assert_eq!(nodes[2].shown(), ["ada", "bob", "cleo", "zoe"]);

    let (_ada, mut adas) = nodes[1].join("ada").await;
    assert_eq!(adas.next_presence().await.expect("the list").list.len(), 4);
    watcher.assert_silence().await;
    // Zoe does not come back.
    sleep(GRACE - 3 * SECOND).await;
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "zoe"));
    watcher.assert_silence().await;
    assert_eq!(nodes[1].shown(), ["ada", "bob", "cleo"]);
    assert!(nodes[1].left.take().is_empty() && nodes[2].left.take().is_empty(), "her own node has run it");
    drop(zoe);
}

#[tokio::test(start_paused = true)]
async fn the_users_of_a_node_that_dies_stay_for_their_grace_and_one_survivor_runs_the_leave_handler() {
    let (nodes, _clients, (_cleo, mut watcher)) = three().await;
    let zoe = nodes[0].join("zoe").await;
    assert_eq!(watcher.next_presence().await.expect("zoe").change, Change::Join);
    sleep(SECOND).await;
    let died = Instant::now();
    nodes[0].node.bus.cut();
    within(6 * SECOND, "it is noticed", || nodes[2].node.pond.nodes() == ["two"]).await;
    let (_ada, _adas) = nodes[1].join("ada").await;
    watcher.assert_silence().await;
    sleep(GRACE - 3 * SECOND).await;
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "zoe"));
    assert!(died.elapsed() > GRACE && died.elapsed() < GRACE + 6 * SECOND, "{:?}", died.elapsed());
    watcher.assert_silence().await;
    sleep(GRACE).await;
    let left = [nodes[1].left.take(), nodes[2].left.take()].concat();
    assert_eq!(left, [r#"zoe expired "new" false 3"#]);
    assert_eq!(nodes[2].shown(), ["ada", "bob", "cleo"]);
    drop(zoe);
}

/// Three nodes, of which the first one has died with Zoe and Ada in the channel, and the others have noticed it.
async fn orphaned(hub: &MemoryHub) -> (Vec<Graced>, Vec<(Client, Room)>, (Client, Room)) {
    let (nodes, mut clients, (cleo, mut watcher)) = three_on(hub).await;
    clients.push(nodes[0].join("zoe").await);
    assert_eq!(watcher.next_presence().await.expect("zoe").change, Change::Join);
    sleep(SECOND).await;
    nodes[0].node.bus.cut();
    let is_noticed = || nodes[1].node.pond.nodes() == ["three"] && nodes[2].node.pond.nodes() == ["two"];
    within(6 * SECOND, "it is noticed", is_noticed).await;
    assert_eq!(nodes[2].shown(), ["ada", "bob", "cleo", "zoe"]);
    (nodes, clients, (cleo, watcher))
}

/// The notes of the leave handlers of the nodes that are alive.
async fn left(nodes: &[Graced]) -> Vec<String> {
    // They run on tasks of their own.
    sleep(SECOND).await;
    nodes[1..].iter().flat_map(|graced| graced.left.take()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_user_of_a_dead_node_that_is_evicted_leaves_at_once_and_once() {
    let (nodes, _clients, (_cleo, mut watcher)) = orphaned(&MemoryHub::new()).await;
    let [two, three] = [1, 2].map(|n| nodes[n].node.channel("/chat/1"));
    // Both at once.
    let evictions = tokio::join!(two.evict("zoe", "spam"), three.evict("zoe", "spam"));
    assert!(evictions.0.is_ok() && evictions.1.is_ok(), "{evictions:?}");
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "zoe"));
    assert_eq!(watcher.next("user_evicted").await.expect("a notice")["userId"], "zoe");
    watcher.assert_silence().await;
    assert_eq!(
        (nodes[1].shown(), nodes[2].shown()),
        (vec!["ada".into(), "bob".into(), "cleo".into()], nodes[1].shown())
    );
    assert_eq!(left(&nodes).await, [r#"zoe evicted:spam "new" false 3"#]);
    assert_eq!(two.evict("zoe", "again").await.expect_err("nobody has her").code(), 404);

    // She comes back as a new member.
    let (_zoe, _zoes) = nodes[1].join("zoe").await;
    let join = watcher.next_presence().await.expect("a join");
    assert_eq!((join.change, &*join.user_id), (Change::Join, "zoe"));
    sleep(2 * GRACE).await;
    assert_eq!(nodes[2].shown(), ["bob", "cleo", "zoe"], "only Ada's grace has ended");
    assert_eq!(left(&nodes).await, [r#"ada expired "new" false 3"#]);
}

/// An application that evicts a user cannot know that the user's node has just died.
#[tokio::test(start_paused = true)]
async fn a_user_whose_node_has_just_died_is_evicted_when_that_is_noticed() {
    let (nodes, _clients, (_cleo, mut watcher)) = three().await;
    nodes[0].node.bus.cut();
    let died = Instant::now();
    nodes[1].node.channel("/chat/1").evict("ada", "spam").await.expect("it does not fail");
    assert!(died.elapsed() > 2 * SECOND && died.elapsed() < 6 * SECOND, "{:?}", died.elapsed());
    assert_eq!(nodes[1].shown(), ["bob", "cleo"]);
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "ada"));
    assert_eq!(watcher.next("user_evicted").await.expect("a notice")["userId"], "ada");
    sleep(2 * GRACE).await;
    watcher.assert_silence().await;
    assert_eq!(left(&nodes).await, [r#"ada evicted:spam "new" false 2"#]);
}

#[tokio::test(start_paused = true)]
async fn a_user_of_a_dead_node_is_removed_by_a_node_without_the_channel() {
    let hub = MemoryHub::new();
    let (nodes, _clients, (_cleo, mut watcher)) = orphaned(&hub).await;
    let operator = Graced::start(&hub, "operator");
    eventually("it is known", || operator.node.pond.nodes().len() == 2).await;
    sleep(3 * SECOND).await;
    operator.node.channel("/chat/1").remove("zoe", "moved").await.expect("removed");
    let leave = watcher.next_presence().await.expect("a leave");
    assert_eq!((leave.change, &*leave.user_id), (Change::Leave, "zoe"));
    watcher.assert_silence().await;
    assert_eq!(left(&nodes).await, [r#"zoe removed "new" false 3"#]);
    // A node that opens the channel now never shows her.
    let (_dan, _dans) = operator.join("dan").await;
    let shows_all = |graced: &Graced| graced.shown() == ["bob", "cleo", "dan"];
    within(2 * GRACE, "Ada's grace ends", || shows_all(&nodes[2]) && shows_all(&operator)).await;
}

#[tokio::test(start_paused = true)]
async fn a_user_that_was_evicted_while_its_node_was_cut_off_is_evicted_there_when_that_is_back() {
    let (nodes, mut clients, (_cleo, mut watcher)) = orphaned(&MemoryHub::new()).await;
    nodes[1].node.channel("/chat/1").evict("zoe", "spam").await.expect("evicted");
    assert_eq!(watcher.next_presence().await.expect("a leave").change, Change::Leave);
    assert_eq!(watcher.next("user_evicted").await.expect("a notice")["userId"], "zoe");
    nodes[0].node.bus.restore();
    let (_zoe, zoes) = &mut clients[2];
    assert_eq!(zoes.next("evicted").await.expect("told")["reason"], "spam");
    eventually("all show the same", || nodes.iter().all(|graced| graced.shown() == ["ada", "bob", "cleo"])).await;
    sleep(2 * GRACE).await;
    watcher.assert_silence().await;
    assert_eq!(nodes[0].left.take(), [r#"zoe evicted:spam "new" false 3"#]);
}

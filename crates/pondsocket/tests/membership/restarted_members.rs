//! Members in their presence grace outlive a server that is shut down, by its file.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::metrics::GraceEvent;
use pondsocket::{Endpoint, EventContext, History, LeaveContext, Metrics, Options, PondSocket, Server, Shutdown};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Peer, connect_session, eventually, serve};

use crate::grace::{self, Lines};

const CHANNEL: &str = "/room/a";

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);

/// Counts memberships as a gauge does, and the events of graces.
#[derive(Clone, Default)]
struct Gauge {
    members: Arc<Mutex<i64>>,
    graces: Lines,
}

impl Metrics for Gauge {
    fn channel_joined(&self, _: &pondsocket::metrics::ConnectionInfo<'_>, _: &str) {
        *self.members.lock().expect("no panic") += 1;
    }

    fn channel_left(&self, _: &str, _: &str, _: &str, _: &str) {
        *self.members.lock().expect("no panic") -= 1;
    }

    fn presence_grace(&self, _: &str, _: &str, user: &str, event: GraceEvent) {
        if event == GraceEvent::Restored {
            *self.members.lock().expect("no panic") += 1;
        }
        self.graces.note(format!("{user} {event}"));
    }
}

/// Some servers, one after the other, with one file.
struct Deployment {
    folder: TempDir,
    grace: Duration,
    /// The leaves that handlers have seen, on all servers.
    left: Lines,
}

struct House {
    pond: PondSocket,
    endpoint: Endpoint,
    gauge: Gauge,
    _server: Server,
    address: SocketAddr,
}

impl Deployment {
    fn new(grace: Duration) -> Deployment {
        Deployment { folder: tempfile::tempdir().expect("a folder"), grace, left: Lines::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("histories")
    }

    async fn next(&self) -> House {
        self.next_with(Options::default(), "/room/:name").await
    }

    async fn next_with(&self, options: Options, pattern: &str) -> House {
        let gauge = Gauge::default();
        let pond = PondSocket::with_options(options.history_file(self.file())).expect("valid options");
        let pond = pond.metrics(gauge.clone());
        let endpoint = pond.create_endpoint("/", connect_session);
        let lobby = endpoint.create_channel(pattern, grace::join);
        lobby.presence_grace(self.grace);
        lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answered", &ctx.user()?.assigns::<Value>()?));
        let left = self.left.clone();
        lobby.on_leave(move |ctx: LeaveContext| {
            let role = ctx.user().assign::<String>("role").unwrap_or_default();
            left.note(format!("{} {} {role}", ctx.user_id(), ctx.reason()));
            async { Ok(()) }
        });
        let (server, address) = serve(&pond).await;
        House { pond, endpoint, gauge, _server: server, address }
    }

    /// The remaining times of the ghosts in the file, in milliseconds.
    fn times(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.file()).expect("a file");
        let records = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        records.filter_map(|record| record["ghost"]["left"].as_u64()).collect()
    }

    async fn until_left(&self, lines: &[&str]) {
        eventually("the leave handlers have run", || self.left.sorted().len() >= lines.len()).await;
        assert_eq!(self.left.sorted(), lines);
    }
}

impl House {
    /// The members, connections and ghosts of the channel; zeros if it is closed.
    fn counts(&self) -> (usize, usize, usize) {
        let snapshot = self.pond.snapshot();
        let channel = snapshot.endpoints[0].channels.first();
        channel.map_or((0, 0, 0), |channel| (channel.members, channel.connections, channel.ghosts))
    }

    fn members(&self) -> i64 {
        *self.gauge.members.lock().expect("no panic")
    }

    async fn enter(&self, user: &str, payload: Value) -> Peer {
        let mut peer = Peer::connect(self.address, &format!("/?user={user}")).await;
        peer.join(CHANNEL, payload).await;
        peer
    }

    /// Stops the server. Its clients answer the close frame.
    async fn stops(&self, peers: impl IntoIterator<Item = Peer>) {
        let pond = self.pond.clone();
        let stop =
            tokio::spawn(async move { pond.shutdown(Shutdown::within(Duration::from_secs(10)).for_restart()).await });
        for mut peer in peers {
            peer.closed().await;
            assert_eq!(peer.frame().await, None);
        }
        assert_eq!(stop.await.expect("no panic").cut, 0);
    }
}

fn moods(message: &Value) -> Vec<String> {
    let list = message["payload"]["presence"].as_array().expect("a list");
    let mut moods: Vec<_> = list.iter().map(|entry| entry["mood"].as_str().expect("a mood").to_owned()).collect();
    moods.sort();
    moods
}

#[tokio::test]
async fn nobody_sees_the_members_of_a_server_that_is_replaced_leave_or_join() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let ada = house.enter("ada", json!({ "mood": "glad", "assigns": { "role": "host", "n": [1, null] } })).await;
    let bob = house.enter("bob", json!({ "mood": "calm" })).await;
    let cleo = house.enter("cleo", json!({ "mood": "shy" })).await;
    // One has lost its connection shortly before, and one does not show itself.
    cleo.reset();
    eventually("the loss is noticed", || house.counts() == (3, 2, 1)).await;
    let dan = house.enter("dan", json!({})).await;
    house.stops([ada, bob, dan]).await;
    assert_eq!((house.counts(), house.members()), ((0, 0, 0), 0));

    let house = deployment.next().await;
    assert_eq!((house.counts(), house.members()), ((4, 0, 4), 4));
    let mut bob = house.enter("bob", json!({ "mood": "calm" })).await;
    assert_eq!(moods(&bob.until("JOIN").await), ["calm", "glad", "shy"], "all are there");
    let mut ada = house.enter("ada", json!({ "mood": "glad" })).await;
    assert_eq!(moods(&ada.until("JOIN").await), ["calm", "glad", "shy"]);
    house.enter("dan", json!({})).await;
    ada.event(CHANNEL, "ask", json!({})).await;
    assert_eq!(ada.next().await["payload"], json!({ "role": "host", "n": [1, null] }), "it has its assigns");
    bob.nothing_before_reply(CHANNEL, "ask").await;
    assert_eq!(house.endpoint.channel(CHANNEL).expect("a name").users().await.users.len(), 4);
    assert_eq!(house.gauge.graces.sorted()[..2], ["ada restored", "ada returned"]);

    // The same once more: memberships go on over any number of servers.
    house.stops([ada, bob]).await;
    let house = deployment.next().await;
    let mut ada = house.enter("ada", json!({ "mood": "glad" })).await;
    assert_eq!(moods(&ada.until("JOIN").await), ["calm", "glad", "shy"]);
    assert_eq!(deployment.left.sorted(), Vec::<String>::new());
}

#[tokio::test]
async fn those_that_do_not_come_back_leave_the_next_server_once() {
    let deployment = Deployment::new(Duration::from_secs(4));
    let house = deployment.next().await;
    let ada = house.enter("ada", json!({ "mood": "glad", "assigns": { "role": "host" } })).await;
    let bob = house.enter("bob", json!({ "mood": "calm" })).await;
    house.stops([ada, bob]).await;
    let house = deployment.next().await;
    let mut bob = house.enter("bob", json!({ "mood": "calm" })).await;
    assert_eq!(moods(&bob.until("JOIN").await), ["calm", "glad"]);
    assert_eq!(moods(&bob.until("LEAVE").await), ["calm"]);
    deployment.until_left(&["ada connection_closed host"]).await;
    assert_eq!((house.counts(), house.members()), ((1, 1, 0), 1));
    assert_eq!(house.gauge.graces.sorted(), ["ada expired", "ada restored", "bob restored", "bob returned"]);
}

#[tokio::test]
async fn the_grace_counts_from_the_loss_of_the_connection_over_all_servers() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let ada = house.enter("ada", json!({})).await;
    house.stops([ada]).await;
    let mut before = deployment.times()[0];
    assert!(before <= 60_000 && before > 50_000, "{before}");
    // Neither the time between two servers nor that on a server without clients extends it.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        deployment.next().await.stops([]).await;
        let after = deployment.times()[0];
        assert!(after + 30 <= before, "{before} ms, and then {after} ms");
        before = after;
    }
    assert_eq!(deployment.left.sorted(), Vec::<String>::new());
}

#[tokio::test]
async fn those_whose_grace_has_ended_in_between_leave_without_a_client() {
    let deployment = Deployment::new(Duration::from_millis(50));
    let house = deployment.next().await;
    let (ada, bob) = (house.enter("ada", json!({})).await, house.enter("bob", json!({})).await);
    house.stops([ada, bob]).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    // Also if the histories of the file are too old by now.
    let options = Options::default().resume_window(Duration::from_millis(1));
    let house = deployment.next_with(options, "/room/:name").await;
    deployment.until_left(&["ada connection_closed ", "bob connection_closed "]).await;
    eventually("the channel is closed", || house.pond.snapshot().endpoints[0].channels.is_empty()).await;
    assert_eq!(house.members(), 0);
}

#[tokio::test]
async fn a_declined_join_ends_the_grace_at_the_next_server() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let ada = house.enter("ada", json!({ "mood": "glad" })).await;
    let bob = house.enter("bob", json!({ "mood": "calm" })).await;
    house.stops([ada, bob]).await;
    let house = deployment.next().await;
    let mut bob = house.enter("bob", json!({ "mood": "calm" })).await;
    bob.until("JOIN").await;
    let mut ada = Peer::connect(house.address, "/?user=ada").await;
    ada.join_declined(CHANNEL, json!({ "deny": true })).await;
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    deployment.until_left(&["ada connection_closed "]).await;
}

#[tokio::test]
async fn without_the_file_they_leave_the_server_that_stops() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let ada = house.enter("ada", json!({})).await;
    fs::remove_dir_all(deployment.folder.path()).expect("ours");
    house.stops([ada]).await;
    assert_eq!(deployment.left.sorted(), ["ada connection_closed "], "it waits for the leave handler");

    // The same if another server has started with the file.
    let deployment = Deployment::new(LONG);
    let (first, second) = (deployment.next().await, deployment.next().await);
    let (ada, bob) = (first.enter("ada", json!({})).await, second.enter("bob", json!({})).await);
    first.stops([ada]).await;
    assert_eq!(deployment.left.sorted(), ["ada connection_closed "]);
    second.stops([bob]).await;
    assert_eq!(deployment.left.sorted().len(), 1);
    assert_eq!(deployment.next().await.counts(), (1, 0, 1));
}

#[tokio::test]
async fn members_whose_connections_are_cut_go_on_as_well() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let _silent = house.enter("ada", json!({})).await;
    assert_eq!(house.pond.shutdown(Duration::ZERO).await.cut, 1);
    assert_eq!(deployment.next().await.counts(), (1, 0, 1));
    assert_eq!(deployment.left.sorted(), Vec::<String>::new());
}

#[tokio::test]
async fn a_user_without_a_name_comes_back_to_the_next_server_by_its_session() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let path = "/?key=4f0c2f55-session-of-nobody";
    let mut nobody = Peer::connect(house.address, path).await;
    nobody.join(CHANNEL, json!({ "mood": "shy" })).await;
    house.stops([nobody]).await;
    let house = deployment.next().await;
    let mut nobody = Peer::connect(house.address, path).await;
    nobody.join(CHANNEL, json!({ "mood": "shy" })).await;
    assert_eq!(moods(&nobody.until("JOIN").await), ["shy"]);
    assert_eq!(house.counts(), (1, 1, 0));
}

#[tokio::test]
async fn the_limits_and_lobbies_of_the_next_server_apply_to_members() {
    let deployment = Deployment::new(LONG);
    let house = deployment.next().await;
    let mut peers = Vec::new();
    for user in ["ada", "bob", "cleo"] {
        peers.push(house.enter(user, json!({ "mood": "glad" })).await);
    }
    house.stops(peers).await;
    // Over the limit of ghosts they leave at once.
    let house = deployment.next_with(Options::default().max_ghosts(1), "/room/:name").await;
    eventually("two have left", || deployment.left.sorted().len() == 2).await;
    eventually("one is left", || house.counts() == (1, 0, 1)).await;
    house.stops([]).await;
    // Another lobby that matches takes the channel.
    let house = deployment.next_with(Options::default(), "/:kind/:name").await;
    assert_eq!(house.counts(), (1, 0, 1));
    house.stops([]).await;
    // Without one nobody could run the leave handler.
    let house = deployment.next_with(Options::default(), "/other/:name").await;
    assert_eq!((house.counts(), house.members()), ((0, 0, 0), 0));
    assert_eq!(deployment.left.sorted().len(), 2);
}

#[tokio::test]
async fn a_channel_goes_on_with_its_history_and_its_members() {
    let deployment = Deployment::new(LONG);
    let start = async || {
        let pond = PondSocket::with_options(Options::default().history_file(deployment.file())).expect("valid options");
        let lobby = pond.create_endpoint("/", connect_session).create_channel("/room/:name", grace::join);
        lobby.history(History::new()).presence_grace(LONG);
        let (server, address) = serve(&pond).await;
        (pond, server, address)
    };
    let (pond, _server, address) = start().await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join(CHANNEL, json!({ "mood": "glad", "$resume": "" })).await;
    ada.until("JOIN").await;
    let endpoint = &pond.snapshot().endpoints[0];
    assert_eq!(endpoint.channels[0].members, 1);
    pond.shutdown(Duration::ZERO).await;
    let (pond, _server, address) = start().await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join(CHANNEL, json!({ "mood": "calm" })).await;
    assert_eq!(moods(&bob.until("JOIN").await), ["calm", "glad"]);
    assert_eq!(pond.snapshot().endpoints[0].channels[0].ghosts, 1);
}

//! The content of a snapshot: endpoints, channels, members, queues and slow connections; under load, and nothing once all
//! have gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondsocket::snapshot::EndpointSnapshot;
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Options, PondSocket, Result,
    WebSocket,
};
use serde_json::{Value, json};
use testkit::{Peer, TestResult, connect_in_memory, eventually, serve};
use tokio::sync::Notify;

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&name))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

fn pond(options: Options) -> (PondSocket, Endpoint) {
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/in", connect);
    endpoint.create_channel("/room/:n", join);
    (pond, endpoint)
}

fn first(pond: &PondSocket) -> EndpointSnapshot {
    pond.snapshot().endpoints.remove(0)
}

/// The numbers of connections, permits and closing connections.
fn counts(endpoint: &EndpointSnapshot) -> (usize, usize, usize) {
    (endpoint.connections, endpoint.admitted, endpoint.closing)
}

/// The channels by name: members, connections.
fn channels(endpoint: &EndpointSnapshot) -> Vec<(&str, usize, usize)> {
    let mut channels: Vec<_> =
        endpoint.channels.iter().map(|channel| (channel.name.as_str(), channel.members, channel.connections)).collect();
    channels.sort_unstable();
    channels
}

fn is_empty(endpoint: &EndpointSnapshot) -> bool {
    counts(endpoint) == (0, 0, 0)
        && (endpoint.waiting_messages, endpoint.waiting_bytes) == (0, 0)
        && endpoint.slowest.is_empty()
        && endpoint.channels.is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_endpoints_channels_and_members() -> TestResult {
    let (pond, endpoint) = pond(Options::default());
    pond.create_websocket("/raw", async |mut socket: WebSocket| while socket.recv().await.is_some() {});
    let client = pond.test_client();
    let (ada, again, bob) =
        (client.connect("/in").await?, client.connect("/in").await?, client.connect("/in?name=bob").await?);
    let _raw = connect_in_memory(&pond, "/raw", 4096).await;
    let mut rooms = vec![ada.join("/room/1", json!({})).await?, again.join("/room/1", json!({})).await?];
    rooms.push(bob.join("/room/1", json!({})).await?);
    rooms.push(bob.join("/room/2", json!({})).await?);

    let snapshot = pond.snapshot();
    let paths: Vec<_> = snapshot.endpoints.iter().map(|endpoint| endpoint.path.as_str()).collect();
    assert_eq!((paths, snapshot.draining), (vec!["/in", "/raw"], false));
    assert_eq!(counts(&snapshot.endpoints[0]), (3, 3, 0));
    assert_eq!(channels(&snapshot.endpoints[0]), [("/room/1", 2, 3), ("/room/2", 1, 1)]);
    assert_eq!(counts(&snapshot.endpoints[1]), (0, 1, 0), "a raw one takes a place, and is no client");

    rooms[3].leave().await?;
    endpoint.channel("/room/1")?.evict("ada", "out").await?;
    rooms[0].next("EVICTED").await?;
    assert_eq!(channels(&first(&pond)), [("/room/1", 1, 1)]);
    let json: Value = serde_json::to_value(pond.snapshot())?;
    assert_eq!(json["endpoints"][0]["channels"][0]["members"], 1, "it serialises");
    pond.shutdown(Duration::from_secs(1)).await;
    assert!(pond.snapshot().draining);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_pending_admissions_and_lost_connections_with_messages() -> TestResult {
    let (pond, endpoint) = pond(Options::default());
    let (door, desk) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_door, at_desk) = (Arc::clone(&door), Arc::clone(&desk));
    pond.create_endpoint("/door", move |ctx: ConnectionContext| {
        let door = Arc::clone(&at_door);
        async move {
            door.notified().await;
            Ok::<_, Error>(ctx.accept())
        }
    });
    let lobby = endpoint.create_channel("/desk", join);
    lobby.on_event("wait", move |ctx: EventContext| {
        let desk = Arc::clone(&at_desk);
        async move {
            ctx.broadcast("begun", &json!({}))?;
            desk.notified().await;
            Ok::<_, Error>(())
        }
    });
    let connector = pond.test_client();
    let coming = tokio::spawn(async move { connector.connect("/door").await });
    eventually("a connect request is pending", || counts(&pond.snapshot().endpoints[1]) == (0, 1, 0)).await;
    door.notify_one();
    let _in = coming.await??;
    assert_eq!(counts(&pond.snapshot().endpoints[1]), (1, 1, 0));

    let ada = pond.test_client().connect("/in").await?;
    let mut room = ada.join("/desk", json!({})).await?;
    room.send("wait", json!({}));
    room.next("begun").await?;
    drop((ada, room));
    eventually("it has gone, and its message is handled", || counts(&first(&pond)) == (0, 0, 1)).await;
    assert_eq!(first(&pond).channels.len(), 0, "its membership has ended at once");
    desk.notify_one();
    eventually("nothing is left", || is_empty(&first(&pond))).await;
    Ok(())
}

/// Nothing is delivered while this test runs without a wait.
#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_the_queues_of_channels() -> TestResult {
    let (pond, endpoint) = pond(Options::default());
    let mut room = pond.test_client().connect("/in").await?.join("/room/1", json!({})).await?;
    let queued = || first(&pond).channels.iter().map(|channel| (channel.queued, channel.queued_bytes)).next();
    assert_eq!(queued(), Some((0, 0)));
    for _ in 0..3 {
        endpoint.channel("/room/1")?.broadcast("news", &json!({ "text": "x".repeat(1000) }))?;
    }
    let (messages, bytes) = queued().ok_or("the channel")?;
    assert!(messages == 3 && (3 * 1000..3 * 1200).contains(&bytes), "{messages}, {bytes}");
    room.next("news").await?;
    assert_eq!(queued(), Some((0, 0)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_the_slowest_clients_with_their_backlogs() {
    let roomy = Options::default().send_channel_buffer(4096).outbox_bytes(64 << 20).write_buffer_size(16 * 1024);
    let (pond, endpoint) = pond(roomy);
    let (_server, address) = serve(&pond).await;
    let mut healthy = Peer::connect(address, "/in?name=healthy").await;
    healthy.join("/room/1", json!({})).await;
    let mut slow = Vec::new();
    // The first clients get more messages than the later ones.
    for number in 0..11 {
        let mut peer = Peer::connect_narrow(address, &format!("/in?name=slow-{number:02}"), 4096).await;
        peer.join("/room/1", json!({})).await;
        slow.push(peer);
        for _ in 0..if number == 0 { 40 } else { 20 } {
            let filler = json!({ "filler": "x".repeat(16 * 1024) });
            endpoint.channel("/room/1").expect("ours").broadcast("large", &filler).expect("room");
            healthy.until("large").await;
        }
    }
    let seen = first(&pond);
    assert_eq!((seen.connections, seen.slowest.len()), (12, 10), "ten are named");
    let (one, last) = (&seen.slowest[0], &seen.slowest[9]);
    assert_eq!((one.user_id.as_str(), one.id.as_str()), ("slow-00", slow[0].id.as_str()));
    assert!(one.waiting_messages > 200 && one.waiting_bytes > 200 * 16 * 1024, "{one:?}");
    assert!(seen.slowest.is_sorted_by(|a, b| a.waiting_bytes >= b.waiting_bytes), "{:?}", seen.slowest);
    assert!(seen.slowest.iter().all(|slow| slow.user_id.starts_with("slow-")), "{:?}", seen.slowest);
    let named: usize = seen.slowest.iter().map(|slow| slow.waiting_bytes).sum();
    assert!(seen.waiting_bytes > named && seen.waiting_bytes - named <= last.waiting_bytes, "the eleventh counts too");
    assert!(seen.waiting_messages > seen.slowest.iter().map(|slow| slow.waiting_messages).sum());
    drop((slow, healthy));
    eventually("nothing is left", || is_empty(&first(&pond))).await;
}

/// A thousand snapshots while users join, send and leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_may_be_taken_at_any_time_and_is_empty_in_the_end() {
    const PEOPLE: usize = 8;
    let (pond, endpoint) = pond(Options::default());
    let (_server, address) = serve(&pond).await;
    let done = Arc::new(AtomicBool::new(false));
    let looking = std::thread::spawn({
        let (pond, done) = (pond.clone(), Arc::clone(&done));
        move || {
            let mut snapshots = 0;
            while !done.load(Ordering::Relaxed) || snapshots < 1000 {
                let seen = first(&pond);
                // The server may notice the end of a connection only after the client has reconnected.
                assert!(seen.connections + seen.closing <= 2 * PEOPLE, "{seen:?}");
                for channel in &seen.channels {
                    assert!(channel.members <= channel.connections && channel.connections <= 2 * PEOPLE, "{channel:?}");
                    assert!(channel.queued > 0 || channel.queued_bytes == 0, "{channel:?}");
                }
                snapshots += 1;
            }
            snapshots
        }
    });
    let mut people = tokio::task::JoinSet::new();
    for number in 0..PEOPLE {
        let endpoint = endpoint.clone();
        people.spawn(async move {
            for round in 0..10 {
                let mut peer = Peer::connect(address, &format!("/in?name=user-{}", number / 2)).await;
                let channel = format!("/room/{}", (number + round) % 3);
                peer.join(&channel, json!({})).await;
                for _ in 0..10 {
                    endpoint.channel(&channel).expect("ours").broadcast("news", &json!({})).expect("room");
                }
                peer.until("news").await;
                if round % 2 == 0 {
                    peer.leave(&channel).await;
                }
            }
        });
    }
    while let Some(ended) = people.join_next().await {
        ended.expect("no panic");
    }
    eventually("nothing is left", || is_empty(&first(&pond))).await;
    done.store(true, Ordering::Relaxed);
    assert!(looking.join().expect("consistent at every look") >= 1000);
}

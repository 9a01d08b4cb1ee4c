//! Presence of large channels, and of many changes at once.

use std::collections::HashMap;
use std::time::Duration;

use pondsocket::{Options, Result};
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::{PausedMember, ReadSummary, TIMEOUT, frame, member, patient, presence, reader, served, stop};

/// One member changes its presence this many times in one write. All members only read from then on.
async fn changes_at_once(members: usize, size: usize, changes: usize) {
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 1..members {
        readers.push(reader(member(address, &format!("m{number}"), Some(size)).await));
    }
    let mut sender = member(address, "m0", Some(size)).await;
    let all: Vec<u8> =
        (1..=changes).flat_map(|number| frame("show", number, &json!({ "number": number, "size": size }))).collect();
    sender.bytes(&all).await;
    readers.push(reader(sender));
    // The last change was made, so a message that is sent now follows it.
    let channel = served.endpoint.channel("/room/1").expect("ours");
    let is_made = || channel.presence::<Value>().expect("JSON")["m0"]["number"] == json!(changes);
    timeout(TIMEOUT, async {
        while !is_made() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all changes are made");
    stop(&served.endpoint).await;
    let truth: HashMap<_, _> =
        (0..members).map(|number| (format!("m{number}"), if number == 0 { changes } else { 0 })).collect();
    for reader in readers {
        let (heard, peer) = reader.await.expect("it was not thrown out");
        let (heard_of, is_itself) = (&heard.changes["m0"], peer.id == "m0");
        assert!(
            heard_of.iter().copied().eq(0..=changes),
            "each change, in order: {} of them, {is_itself}",
            heard_of.len()
        );
        assert_eq!(heard.list, truth, "the list at the end is the true one");
        assert!(heard.partial > changes / 2, "{} of {changes}", heard.partial);
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_client_receives_1500_presence_changes_in_one_write() {
    changes_at_once(7, 1024, 1500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_client_receives_150_changes_of_large_presence_in_one_write() {
    changes_at_once(7, 12 * 1024, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_join_at_once_and_rejoin_see_all_members() {
    const CROWD: usize = 60;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    for round in 0..2 {
        let mut coming = JoinSet::new();
        for number in 0..CROWD {
            coming.spawn(async move { member(address, &format!("m{number}"), Some(8 * 1024)).await });
        }
        let readers: Vec<_> = coming.join_all().await.into_iter().map(reader).collect();
        stop(&served.endpoint).await;
        let mut peers = Vec::new();
        for reader in readers {
            let (heard, peer) = reader.await.expect("it was not thrown out");
            let names: Vec<_> = heard.list.keys().collect();
            assert_eq!(names.len(), CROWD, "round {round}: {names:?}");
            peers.push(peer);
        }
        // All connections are lost at once, and rejoin as soon as the server has noticed.
        peers.into_iter().for_each(Peer::reset);
        eventually("all have gone", || served.endpoint.connections().is_empty()).await;
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

/// In a small room, the common case, each change carries the whole list.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_small_channel_each_change_carries_the_whole_list() {
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut ada = member(address, "ada", Some(10)).await;
    let bob = reader(member(address, "bob", Some(10)).await);
    let all: Vec<u8> =
        (1..=50).flat_map(|number| frame("show", number, &json!({ "number": number, "size": 10 }))).collect();
    ada.bytes(&all).await;
    let id = ada.event("/room/1", "echo", json!({})).await;
    while ada.next().await["requestId"] != json!(id) {}
    stop(&served.endpoint).await;
    let (heard, _) = bob.await.expect("it was not thrown out");
    assert_eq!((heard.partial, heard.changes["ada"].last()), (0, Some(&50)));
}

#[tokio::test(start_paused = true)]
async fn the_presence_of_a_channel_is_limited() -> Result<(), Box<dyn std::error::Error>> {
    let entry = presence("ada", 0, 1000).to_string().len();
    let served = served(Options::default().max_channel_presence(2 * entry + 100));
    let client = served.pond.test_client();
    let (ada, bob) = (client.connect("/?name=ada").await?, client.connect("/?name=bob").await?);
    let cyd = client.connect("/?name=cyd").await?;
    let room = ada.join("/room/1", json!({ "size": 1000 })).await?;
    let other = bob.join("/room/1", json!({ "size": 900 })).await?;
    let declined = cyd.join("/room/1", json!({ "size": 1000 })).await.expect_err("too much");
    assert_eq!(declined.code(), Some(413));
    let refused = room.request("show", json!({ "number": 1, "size": 2000 })).await.expect_err("too much");
    assert_eq!(refused.code(), Some(413));
    let message = refused.rejection().expect("an answer").message().to_owned();
    assert_eq!(message, "the presence of all members would be over the limit");
    let channel = served.endpoint.channel("/room/1")?;
    let _cyd = cyd.join("/room/1", json!({})).await?;
    let too_much = presence("cyd", 0, 1000);
    assert_eq!(channel.track("cyd", &too_much).map_err(|error| error.code()), Err(413));
    assert_eq!(channel.update_presence("cyd", &too_much).await.map_err(|error| error.code()), Err(413));
    assert_eq!(channel.presence::<Value>()?.len(), 2, "nothing has changed");
    assert_eq!(channel.presence::<Value>()?["ada"]["number"], 0);
    assert_eq!(served.counted.of("limit_reached"), vec!["/ channel_presence"; 4]);
    // A smaller presence is always accepted, and a leave makes room.
    other.send("show", json!({ "number": 1, "size": 10 }));
    eventually("it fits", || channel.track("cyd", &presence("cyd", 0, 900)).is_ok()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_large_for_some_clients_is_sent_as_changes() {
    let served = served(patient().max_presence_list(8 * 1024));
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 0..12 {
        readers.push(reader(member(address, &format!("m{number}"), Some(1024)).await));
    }
    stop(&served.endpoint).await;
    for (number, reader) in readers.into_iter().enumerate() {
        let (heard, _) = reader.await.expect("it was not thrown out");
        // Each presence has a little more than a kilobyte.
        assert_eq!(heard.longest.max(7), 7, "no list of more than 8 KiB");
        assert_eq!(heard.changes.len(), 12 - number, "each that came from then on: {:?}", heard.changes.keys());
        assert!(heard.partial > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_repeated_within_a_delivery_up_to_a_size() {
    for (repeated, expect_partial) in [(1 << 20, 0), (1, 19)] {
        let served = served(Options::default().presence_batch(repeated));
        let mut ada = PausedMember::join(&served.pond, "ada", 1 << 20, Some(100)).await;
        let channel = served.endpoint.channel("/room/1").expect("ours");
        // Nothing is delivered without a wait, so all changes are in one delivery.
        for number in 1..=20 {
            channel.update_presence("ada", &presence("ada", number, 100)).await.expect("a member");
        }
        let mut heard = ReadSummary::default();
        while heard.changes.get("ada").is_none_or(|changes| changes.last() != Some(&20)) {
            heard.note(&ada.next().await.expect("it reads"));
        }
        assert_eq!((heard.partial, heard.list["ada"]), (expect_partial, 20), "{repeated}");
    }
}

/// The messages about `ada` until this number, and the last of them.
async fn heard_until(member: &mut PausedMember, number: usize) -> ReadSummary {
    let mut heard = ReadSummary::default();
    while heard.changes.get("ada").is_none_or(|changes| changes.last() != Some(&number)) {
        heard.note(&member.next().await.expect("it reads"));
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn a_large_channel_sends_one_list_in_each_interval_and_a_small_one_with_each_change() {
    const SECOND: Duration = Duration::from_secs(1);
    for (large, lists) in [(4, 30..=30), (3, 3..=4)] {
        let served = served(Options::default().large_channel(large).presence_interval(SECOND));
        let mut members = Vec::new();
        for name in ["ada", "bob", "cyd", "dan"] {
            members.push(PausedMember::join(&served.pond, name, 1 << 20, Some(10)).await);
        }
        let channel = served.endpoint.channel("/room/1").expect("ours");
        sleep(2 * SECOND).await;
        // For three seconds: each of ten changes in a second wants to be the last one.
        for number in 1..=30 {
            channel.update_presence("ada", &presence("ada", number, 10)).await.expect("a member");
            sleep(SECOND / 10).await;
        }
        for member in &mut members {
            let heard = heard_until(member, 30).await;
            let changes = heard.changes["ada"].iter().filter(|number| **number > 0).count();
            assert_eq!(changes, 30, "each change is received");
            assert_eq!(heard.list["ada"], 30, "the last one has the list");
            assert!(lists.contains(&(changes - heard.partial)), "{} of {changes} have none", heard.partial);
        }
        // A change after a pause is delivered at once.
        sleep(2 * SECOND).await;
        let begun = Instant::now();
        channel.update_presence("ada", &presence("ada", 31, 10)).await.expect("a member");
        for member in &mut members {
            assert_eq!(heard_until(member, 31).await.partial, 0);
        }
        assert!(begun.elapsed() < SECOND / 10, "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn joins_of_a_large_channel_wait_for_one_interval_at_most() {
    let interval = Duration::from_millis(50);
    let served = served(Options::default().large_channel(10).presence_interval(interval));
    let mut members = Vec::new();
    for number in 0..30 {
        let begun = Instant::now();
        members.push(PausedMember::join(&served.pond, &format!("m{number}"), 1 << 20, Some(10)).await);
        // Ten milliseconds are the grain of the timer.
        let longest = if number < 11 { Duration::from_millis(1) } else { interval + Duration::from_millis(11) };
        assert!(begun.elapsed() <= longest, "{number}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_joins_into_a_large_channel_sends_one_list_in_each_interval() {
    const CROWD: usize = 300;
    let interval = Duration::from_millis(50);
    let served = served(Options::default().large_channel(100).presence_interval(interval));
    let mut first = PausedMember::join(&served.pond, "first", 1 << 24, Some(10)).await;
    let mut joining = JoinSet::new();
    for number in 0..CROWD {
        let pond = served.pond.clone();
        joining.spawn(async move { PausedMember::join(&pond, &format!("m{number}"), 1 << 24, Some(10)).await });
        sleep(Duration::from_millis(2)).await;
    }
    let _members = joining.join_all().await;
    let (mut heard, mut lists) = (ReadSummary::default(), 0);
    while heard.list.len() <= CROWD {
        let partial = heard.partial;
        heard.note(&first.next().await.expect("it reads"));
        lists += usize::from(heard.partial == partial && heard.list.len() > 101);
    }
    assert_eq!(heard.changes.len(), CROWD + 1, "each join is received");
    // Two hundred joins in 400 ms.
    assert!((6..=10).contains(&lists), "{lists}");
}

//! The cost of a broadcast to many streams.

use std::net::SocketAddr;
use std::sync::mpsc;

use serde_json::json;
use testkit::EventPeer;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::served;

const RECEIVERS: usize = 50;

/// The length of the broadcast text.
const LARGE: usize = 200_000;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn a_broadcast_is_encoded_once_and_never_copied() {
    let runtime = runtime();
    let served = runtime.block_on(served());
    let (joined, all_joined) = oneshot::channel();
    let (heard, all_heard) = mpsc::channel();
    // They run on another thread, which is not counted.
    let address = served.address;
    let members = std::thread::spawn(move || listen(address, joined, &heard));
    runtime.block_on(all_joined).expect("all members join");

    let channel = served.endpoint.channel("/room/1").expect("ours");
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let delivery = channel.broadcast("news", &json!({ "text": "x".repeat(LARGE) })).expect("room");
            assert_eq!(delivery.local, RECEIVERS);
            while all_heard.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        });
    });
    println!("{counted:?}");
    assert!((LARGE..RECEIVERS * LARGE / 2).contains(&(counted.bytes_total as usize)), "{counted:?}");
    drop((runtime, served));
    members.join().expect("all members have received it");
}

/// Joins this many members, and waits until each has received the news.
fn listen(address: SocketAddr, joined: oneshot::Sender<()>, heard: &mpsc::Sender<()>) {
    runtime().block_on(async {
        let mut peers = Vec::new();
        for number in 0..RECEIVERS {
            let mut peer = EventPeer::connect(address, &format!("/?name=n{number}")).await;
            peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room/1", json!({})).await;
            peer.until("ACKNOWLEDGE").await;
            peers.push(peer);
        }
        joined.send(()).expect("the receiver is alive");
        for peer in &mut peers {
            assert_eq!(peer.until("news").await["payload"]["text"].as_str().map(str::len), Some(LARGE));
        }
        heard.send(()).expect("the receiver is alive");
    });
}

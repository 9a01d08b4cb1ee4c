//! Channels and publishers on several runtimes.

use pondsocket::Options;
use serde_json::json;
use testkit::{Peer, serve};

use super::{ask, pond};

/// A publisher may run without a runtime, or on one that ends: members receive its messages nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_does_not_depend_on_the_runtime_of_its_publisher() {
    let (pond, endpoint, _) = pond(Options::default());
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/room/1", json!({})).await;
    let channel = endpoint.channel("/room/1").expect("ours");

    let (done, wait) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        let broadcast = |event: &str| channel.broadcast(event, &json!({})).map(|delivery| delivery.local);
        assert_eq!(broadcast("from a plain thread").expect("there is room"), 1);

        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { broadcast("from a runtime that ends").expect("there is room") });
        drop(runtime);

        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { broadcast("from a runtime that stands still").expect("there is room") });
        // The runtime still exists, but nothing polls its tasks.
        wait.recv().expect("the test is done");
        drop(runtime);
    });
    for event in ["from a plain thread", "from a runtime that ends", "from a runtime that stands still"] {
        assert_eq!(peer.next().await["event"], event);
    }
    ask(&mut peer, "/room/1").await;
    done.send(()).expect("it waits");
    publisher.join().expect("no panic");
}

/// One pond, served first by one runtime and then by another, as tests do.
#[test]
fn a_channel_outlives_the_runtime_on_which_it_was_created() {
    let (pond, endpoint, _) = pond(Options::default());
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    for _ in 0..2 {
        runtime().expect("a runtime").block_on(async {
            let (_server, address) = serve(&pond).await;
            let mut peer = Peer::connect(address, "/").await;
            peer.join("/room/1", json!({})).await;
            assert_eq!(endpoint.channel("/room/1").expect("ours").member_count(), 1, "no ghost of the last round");
            endpoint.channel("/room/1").expect("ours").broadcast("news", &json!({})).expect("there is room");
            assert_eq!(peer.next().await["event"], "news");
        });
    }
}

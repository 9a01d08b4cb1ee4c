//! The delivery between members of one node is not slower while Redis is down. Because the machine may be busy, windows with and
//! without Redis alternate, and their medians are compared.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{Peer, RedisServer};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::case::{Form, Outcome};

const ROOM: &str = "/plain/local";
const RECEIVERS: usize = 10;
const MESSAGES: usize = 200;
const INTERVAL: Duration = Duration::from_millis(5);

/// The allowed factor between the 99th percentiles.
const SLOWER: f64 = 2.0;

pub(crate) async fn delivery_without_redis(form: Form) -> Outcome {
    let mut redis = RedisServer::start().await;
    let mut server = ContractServer::start_as_node(&redis.url(), "one").await;
    let mut peers = Vec::new();
    for _ in 0..=RECEIVERS {
        let mut peer = Peer::connect(server.address, "/api/socket?token=t").await;
        peer.join(ROOM, json!({ "username": "ann" })).await;
        peers.push(peer);
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..form.pick(4, 20) {
        wait_for_bus(&mut server, true).await;
        peers = window(peers, &mut with).await;
        redis.kill().await;
        wait_for_bus(&mut server, false).await;
        peers = window(peers, &mut without).await;
        redis.restart().await;
    }
    let (with, without) = (median(with), median(without));
    let note = format!("p99 {with:.1?} with Redis, {without:.1?} without");
    let is_slower = without.as_secs_f64() > SLOWER * with.as_secs_f64();
    assert!(!form.pick(false, is_slower), "{note}");
    Outcome { note, ..Outcome::default() }
}

async fn wait_for_bus(server: &mut ContractServer, up: bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.has_bus().await != up {
        assert!(Instant::now() < deadline, "the node does not see that Redis is {}", if up { "back" } else { "away" });
        sleep(Duration::from_millis(10)).await;
    }
}

/// One client publishes, and all receive every message in order. Records the 99th percentile of the latencies.
async fn window(mut peers: Vec<Peer>, slowest: &mut Vec<Duration>) -> Vec<Peer> {
    let sent: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let mut sender = peers.pop().expect("somebody");
    let mut listening = JoinSet::new();
    for mut peer in peers {
        let sent = Arc::clone(&sent);
        listening.spawn(async move {
            let mut times = Vec::new();
            for number in 0..MESSAGES {
                let message = peer.next().await;
                let now = Instant::now();
                assert_eq!(message["payload"]["number"], number, "lost or out of order");
                times.push(now - sent.lock().unwrap_or_else(PoisonError::into_inner)[number]);
            }
            (peer, times)
        });
    }
    let mut ticks = interval(INTERVAL);
    for number in 0..MESSAGES {
        ticks.tick().await;
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        sender.event(ROOM, "typing", json!({ "number": number })).await;
    }
    let (mut peers, times): (Vec<_>, Vec<_>) = listening.join_all().await.into_iter().unzip();
    peers.push(sender);
    let mut times = times.concat();
    times.sort_unstable();
    slowest.push(times[times.len() * 99 / 100]);
    peers
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

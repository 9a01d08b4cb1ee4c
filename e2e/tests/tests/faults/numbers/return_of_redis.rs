//! The time after a restart of Redis until a node is subscribed to all of its channels again.

use std::time::Duration;

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{Peer, RedisServer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::case::Outcome;

/// A connection may be in 256 channels by default.
const CONNECTIONS: usize = 40;
const CHANNELS: usize = 250;

/// The time for which Redis is down: by then attempts to connect have the longest interval.
const AWAY: Duration = Duration::from_secs(4);

const ROUNDS: usize = 3;
const BACK: Duration = Duration::from_secs(2);

pub(crate) async fn ten_thousand_channels() -> Outcome {
    let mut redis = RedisServer::start().await;
    let server = ContractServer::start_as_node(&redis.url(), "one").await;
    let mut joining = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let address = server.address;
        joining.spawn(async move {
            let mut peer = Peer::connect(address, "/api/socket?token=t").await;
            for channel in 0..CHANNELS {
                peer.join(&format!("/plain/{connection}-{channel}"), json!({ "username": "ann" })).await;
            }
            peer
        });
    }
    let _peers = joining.join_all().await;
    until_all_are_received(&redis).await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        redis.kill().await;
        sleep(AWAY).await;
        redis.restart().await;
        took.push(until_all_are_received(&redis).await);
    }
    assert!(took.iter().all(|took| *took <= BACK), "all are heard again after {took:?}");
    Outcome { note: format!("heard again after {took:.1?}"), ..Outcome::default() }
}

async fn until_all_are_received(redis: &RedisServer) -> Duration {
    let start = Instant::now();
    loop {
        let heard: Vec<String> = redis.command(&["PUBSUB", "CHANNELS", "pondsocket:v1:default:api/socket:*"]).await;
        if heard.len() == CONNECTIONS * CHANNELS {
            return start.elapsed();
        }
        assert!(start.elapsed() < 10 * BACK, "only {} are received", heard.len());
        sleep(Duration::from_millis(20)).await;
    }
}

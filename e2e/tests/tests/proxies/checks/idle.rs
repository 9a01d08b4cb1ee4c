use std::time::Duration;

use testkit::{DEADLINE, EventPeer, Message, Peer};
use tokio::time::{Instant, sleep};

use crate::proxy::{RunningProxy, Settings};
use crate::site::{ENDPOINT, Site};

/// The idle timeout of the proxy in these checks.
const IDLE: &str = "2s";
const PING_INTERVAL: (&str, &str) = ("PING_INTERVAL_MS", "500");

/// The number of pings in more than twice the idle timeout.
const PINGS: usize = 10;

pub(crate) async fn pings_keep_idle_clients_connected(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open_with(start, IDLE, &[PING_INTERVAL]).await;
    let (mut ann, mut bob) =
        (site.member("/presence/1", "ann").await, site.streaming_member("/presence/2", "bob").await);
    tokio::join!(read_pings(&mut ann), read_comments(&mut bob));
    ann.nothing_before_reply("/presence/1", "state").await;
    let request = bob.event("/presence/2", "state", serde_json::json!({})).await;
    assert_eq!(bob.next().await["requestId"], request, "the next event");
}

async fn read_pings(peer: &mut Peer) {
    for _ in 0..PINGS {
        // tungstenite sends the answer during the next read.
        let frame = peer.frame().await;
        assert!(matches!(frame, Some(Message::Ping(_))), "{frame:?}");
    }
}

async fn read_comments(peer: &mut EventPeer) {
    for _ in 0..PINGS {
        peer.comment().await;
    }
}

/// Shows that only the pings prevent the idle timeout.
pub(crate) async fn without_pings_idle_clients_are_disconnected(start: impl AsyncFn(Settings) -> RunningProxy) {
    let mut site = Site::open_with(start, IDLE, &[]).await;
    let _ann = Peer::connect(site.address(), ENDPOINT).await;
    let _bob = EventPeer::connect(site.address(), ENDPOINT).await;
    assert_eq!(site.servers[0].holdings().await.connections, 2);
    let deadline = Instant::now() + DEADLINE;
    while site.servers[0].holdings().await.connections > 0 {
        assert!(Instant::now() < deadline, "they are still there");
        sleep(Duration::from_millis(50)).await;
    }
}

use std::time::Duration;

use testkit::{DEADLINE, EventPeer, Message, Peer};
use tokio::time::{Instant, sleep};

use crate::proxy::{Proxy, Settings};
use crate::site::{ENDPOINT, Site};

/// How long the proxy waits here.
const IDLE: &str = "2s";
const PING_INTERVAL: (&str, &str) = ("PING_INTERVAL_MS", "500");

/// How many pings come within more than twice that.
const PINGS: usize = 10;

pub(crate) async fn pings_keep_the_silent_connected(start: impl AsyncFn(Settings) -> Proxy) {
    let site = Site::open_with(start, IDLE, &[PING_INTERVAL]).await;
    let (mut ann, mut bob) =
        (site.member("/presence/1", "ann").await, site.streaming_member("/presence/2", "bob").await);
    tokio::join!(hear_pings(&mut ann), hear_comments(&mut bob));
    ann.nothing_before_reply("/presence/1", "state").await;
    let request = bob.event("/presence/2", "state", serde_json::json!({})).await;
    assert_eq!(bob.next().await["requestId"], request, "the next event");
}

async fn hear_pings(peer: &mut Peer) {
    for _ in 0..PINGS {
        // Reading on sends the answer.
        let frame = peer.frame().await;
        assert!(matches!(frame, Some(Message::Ping(_))), "{frame:?}");
    }
}

async fn hear_comments(peer: &mut EventPeer) {
    for _ in 0..PINGS {
        peer.comment().await;
    }
}

/// That it is the pings which keep them connected.
pub(crate) async fn without_pings_the_silent_are_cut_off(start: impl AsyncFn(Settings) -> Proxy) {
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

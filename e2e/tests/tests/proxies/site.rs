//! Contract servers behind a proxy, and their clients.

use std::net::{IpAddr, SocketAddr};

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{EventPeer, Peer};

use crate::proxy::{RunningProxy, Settings};

/// A path that accepts clients.
pub(crate) const ENDPOINT: &str = "/api/socket?token=t";

/// The addresses of the proxies, which the servers trust. Clients have other addresses.
const PROXIES: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

/// The idle timeout of the configurations.
const USUAL_IDLE: &str = "75s";

pub(crate) struct Site {
    pub(crate) servers: Vec<ContractServer>,
    proxy: RunningProxy,
}

impl Site {
    /// Starts one server, which the proxy has twice as its upstream.
    pub(crate) async fn open(start: impl AsyncFn(Settings) -> RunningProxy) -> Site {
        Site::open_with(start, USUAL_IDLE, &[]).await
    }

    /// Starts one server with further settings, behind a proxy with this idle timeout.
    pub(crate) async fn open_with(
        start: impl AsyncFn(Settings) -> RunningProxy,
        idle: &'static str,
        settings: &[(&str, &str)],
    ) -> Site {
        let server = ContractServer::start_with(&[&[PROXIES], settings].concat()).await;
        let proxy = start(Settings { servers: [server.address; 2], idle }).await;
        Site { servers: vec![server], proxy }
    }

    /// Starts two independent servers.
    pub(crate) async fn open_pair(start: impl AsyncFn(Settings) -> RunningProxy) -> Site {
        let one = ContractServer::start_with(&[PROXIES]).await;
        let two = ContractServer::start_with(&[PROXIES]).await;
        let proxy = start(Settings { servers: [one.address, two.address], idle: USUAL_IDLE }).await;
        Site { servers: vec![one, two], proxy }
    }

    /// The address of the proxy.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// Joins a room over a WebSocket through the proxy. The next message is the join of the next member.
    pub(crate) async fn member(&self, room: &str, name: &str) -> Peer {
        let mut peer = Peer::connect_from(client(1), self.address(), ENDPOINT).await;
        peer.join(room, json!({ "username": name })).await;
        assert_eq!(peer.until("JOIN").await["payload"]["changed"]["username"], name);
        peer
    }

    /// Joins a room over an event stream through the proxy.
    pub(crate) async fn streaming_member(&self, room: &str, name: &str) -> EventPeer {
        let mut peer = EventPeer::connect_from(client(2), self.address(), ENDPOINT).await;
        peer.join(room, json!({ "username": name })).await;
        assert_eq!(peer.until("JOIN").await["payload"]["changed"]["username"], name);
        peer
    }
}

/// The address of a client, which is never that of the proxy.
pub(crate) fn client(number: u8) -> IpAddr {
    [127, 0, 1, number].into()
}

//! Contract servers behind a proxy, and those who come to them.

use std::net::{IpAddr, SocketAddr};

use e2e_tests::ContractServer;
use serde_json::json;
use testkit::{EventPeer, Peer};

use crate::proxy::{Proxy, Settings};

/// Who is let in.
pub(crate) const ENDPOINT: &str = "/api/socket?token=t";

/// Where the proxies are, which the servers believe. Clients come from elsewhere.
const PROXIES: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

/// As in the configurations.
const USUAL_IDLE: &str = "75s";

pub(crate) struct Site {
    pub(crate) servers: Vec<ContractServer>,
    proxy: Proxy,
}

impl Site {
    /// One server. To the proxy it is two.
    pub(crate) async fn open(start: impl AsyncFn(Settings) -> Proxy) -> Site {
        Site::open_with(start, USUAL_IDLE, &[]).await
    }

    /// The same with a proxy that waits for so long, and more settings of the server.
    pub(crate) async fn open_with(
        start: impl AsyncFn(Settings) -> Proxy,
        idle: &'static str,
        settings: &[(&str, &str)],
    ) -> Site {
        let server = ContractServer::start_with(&[&[PROXIES], settings].concat()).await;
        let proxy = start(Settings { servers: [server.address; 2], idle }).await;
        Site { servers: vec![server], proxy }
    }

    /// Two servers that know nothing of each other.
    pub(crate) async fn open_pair(start: impl AsyncFn(Settings) -> Proxy) -> Site {
        let one = ContractServer::start_with(&[PROXIES]).await;
        let two = ContractServer::start_with(&[PROXIES]).await;
        let proxy = start(Settings { servers: [one.address, two.address], idle: USUAL_IDLE }).await;
        Site { servers: vec![one, two], proxy }
    }

    /// That of the proxy.
    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// A member of a room, over a WebSocket through the proxy. It hears next who comes after it.
    pub(crate) async fn member(&self, room: &str, name: &str) -> Peer {
        let mut peer = Peer::connect_from(client(1), self.address(), ENDPOINT).await;
        peer.join(room, json!({ "username": name })).await;
        assert_eq!(peer.until("JOIN").await["payload"]["changed"]["username"], name);
        peer
    }

    /// The same over an event stream.
    pub(crate) async fn streaming_member(&self, room: &str, name: &str) -> EventPeer {
        let mut peer = EventPeer::connect_from(client(2), self.address(), ENDPOINT).await;
        peer.join(room, json!({ "username": name })).await;
        assert_eq!(peer.until("JOIN").await["payload"]["changed"]["username"], name);
        peer
    }
}

/// The address of a client: none of them is that of the proxy.
pub(crate) fn client(number: u8) -> IpAddr {
    [127, 0, 1, number].into()
}

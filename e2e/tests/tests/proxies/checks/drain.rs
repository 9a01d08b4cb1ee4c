use std::net::SocketAddr;

use e2e_tests::ContractServer;
use hyper::{Request, StatusCode};
use serde_json::{Value, json};
use testkit::{EventPeer, Peer, request};

use crate::proxy::{RunningProxy, Settings};
use crate::site::{ENDPOINT, Site, client};

/// The number of clients: enough that each server receives some under any balancing rule of the proxy.
const VISITORS: u8 = 40;

pub(crate) async fn clients_of_a_stopping_server_reconnect_to_the_other(start: impl AsyncFn(Settings) -> RunningProxy) {
    let mut site = Site::open_pair(start).await;
    let mut visitors = Vec::new();
    for number in 1..=VISITORS {
        visitors.push(Visitor::connect(site.address(), number).await);
    }
    let [stopping, staying] = [rooms(&mut site.servers[0]).await, rooms(&mut site.servers[1]).await];
    assert!(!stopping.is_empty() && !staying.is_empty(), "all have come to one: {stopping:?}, {staying:?}");

    // This client never answers the close, so the server drains until it disconnects.
    let mute = Peer::connect(site.servers[0].address, ENDPOINT).await;
    site.servers[0].terminate();
    for visitor in visitors.iter_mut().filter(|visitor| stopping.contains(&visitor.room)) {
        visitor.receives_close().await;
        // The client reconnects to the same address at once, and is accepted.
        *visitor = Visitor::connect(site.address(), visitor.number).await;
    }
    assert_eq!(ready(&site.servers[0]).await, StatusCode::SERVICE_UNAVAILABLE, "all are back, and it still drains");
    let mut all: Vec<_> = visitors.iter().map(|visitor| visitor.room.clone()).collect();
    all.sort_unstable();
    assert_eq!(rooms(&mut site.servers[1]).await, all);
    exchange(&mut visitors).await;

    drop(mute);
    assert!(site.servers[0].ended().await.success());
    for number in VISITORS + 1..=2 * VISITORS {
        visitors.push(Visitor::connect(site.address(), number).await);
    }
    exchange(&mut visitors).await;
}

/// The rooms of a server in order: each client has one of its own.
async fn rooms(server: &mut ContractServer) -> Vec<String> {
    let mut rooms = server.holdings().await.channels;
    rooms.sort_unstable();
    rooms
}

async fn ready(server: &ContractServer) -> StatusCode {
    let ask = Request::get("/ready").body(String::new()).expect("a request");
    request(server.address, ask).await.status()
}

async fn exchange(visitors: &mut [Visitor]) {
    for visitor in visitors {
        let said = json!({ "number": visitor.number });
        assert_eq!(visitor.echo(said.clone()).await, said);
    }
}

/// A client in a room of its own.
struct Visitor {
    number: u8,
    room: String,
    connection: Connection,
}

enum Connection {
    WebSocket(Box<Peer>),
    Events(Box<EventPeer>),
}

impl Visitor {
    /// Connects with the first attempt.
    async fn connect(address: SocketAddr, number: u8) -> Visitor {
        let (source, room) = (client(number), format!("/plain/{number}"));
        let name = json!({ "username": "ann" });
        let connection = if number.is_multiple_of(2) {
            let mut peer = Peer::connect_from(source, address, ENDPOINT).await;
            peer.join(&room, name).await;
            Connection::WebSocket(Box::new(peer))
        } else {
            let mut peer = EventPeer::connect_from(source, address, ENDPOINT).await;
            peer.join(&room, name).await;
            Connection::Events(Box::new(peer))
        };
        Visitor { number, room, connection }
    }

    async fn receives_close(&mut self) {
        match &mut self.connection {
            Connection::WebSocket(peer) => {
                assert_eq!(peer.closed().await.map(|close| close.code.into()), Some(1001));
                assert_eq!(peer.frame().await, None);
            }
            Connection::Events(peer) => assert!(peer.ended().await.is_empty()),
        }
    }

    async fn echo(&mut self, payload: Value) -> Value {
        let answer = match &mut self.connection {
            Connection::WebSocket(peer) => {
                peer.event(&self.room, "echo", payload).await;
                peer.next().await
            }
            Connection::Events(peer) => {
                peer.event(&self.room, "echo", payload).await;
                peer.next().await
            }
        };
        answer["payload"].clone()
    }
}

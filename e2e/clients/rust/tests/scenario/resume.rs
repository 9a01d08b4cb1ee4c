//! A client that resumes. Its parameters of a join are fixed, so it resumes with a new client, which connects as the old one
//! would have to be told to.

use pondsocket_common::ChannelState;
use published_rust_client::{Peer, Proxy, history_room, until};
use serde_json::{Value, json};

/// A user that resumes, with all that it has received: request ids and numbers.
struct Resuming {
    proxy: Proxy,
    room: String,
    peer: Peer,
    log: Vec<(String, Value)>,
}

impl Resuming {
    async fn joined(room: &str) -> Resuming {
        let proxy = Proxy::start().await;
        let peer = join(&proxy.url, room, "").await;
        Resuming { proxy, room: room.to_owned(), peer, log: Vec::new() }
    }

    async fn lose(&self) {
        self.proxy.cut();
        self.peer.reaches(ChannelState::Stalled).await;
    }

    /// Joins again from the position of the last message, which is its request id.
    async fn resume(&mut self) {
        self.log.extend(self.peer.received_with_ids("message"));
        let position = self.log.last().map_or("", |(id, _)| id);
        self.peer = join(&self.proxy.url, &self.room, position).await;
    }

    fn numbers(&self) -> Vec<Value> {
        let received = self.log.iter().cloned().chain(self.peer.received_with_ids("message"));
        received.map(|(_, payload)| payload["n"].clone()).collect()
    }
}

async fn join(url: &str, room: &str, position: &str) -> Peer {
    let peer = Peer::with_params("bob", url, room, json!({ "username": "bob", "$resume": position })).await;
    peer.client.connect().await.expect("the server lets us in");
    peer.channel.join().await;
    peer.reaches(ChannelState::Joined).await;
    peer
}

#[tokio::test]
async fn a_client_that_names_the_request_id_of_its_last_message_gets_what_it_missed_once_and_in_order() {
    let room = history_room();
    let ann = Peer::joined("ann", &room).await;
    let mut bob = Resuming::joined(&room).await;
    for cut in 0..5 {
        let first = cut * 40;
        for n in first..first + 20 {
            ann.send("message", json!({ "n": n })).await;
        }
        until("bob receives the first of them", || bob.numbers().contains(&json!(first))).await;
        // Perhaps in the middle of the twenty.
        bob.lose().await;
        for n in first + 20..first + 40 {
            ann.send("message", json!({ "n": n })).await;
        }
        ann.receives("message", first + 40).await;
        bob.resume().await;
    }
    until("bob receives the last one", || bob.numbers().contains(&json!(199))).await;
    assert_eq!(bob.numbers(), (0..200).map(Value::from).collect::<Vec<_>>());
}

//! The memory that a broadcast costs does not depend on how many members keep up with it: it is encoded once, and
//! written to each socket from the same bytes.

use std::net::SocketAddr;
use std::sync::mpsc;

use allocation_counter::AllocationInfo;
use pondsocket::{ConnectionContext, Endpoint, Error, JoinContext, Joined, PondSocket, Server};
use serde_json::json;
use testkit::{Peer, serve};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const ROUNDS: usize = 20;

#[test]
fn allocations_of_a_broadcast_do_not_depend_on_the_number_of_receivers() {
    let (few, many) = (broadcast_to(10), broadcast_to(500));
    println!("10 receivers: {few:?}\n500 receivers: {many:?}");
    assert!(few.count_total > 0, "nothing was counted");
    assert_eq!((many.count_total, many.bytes_total), (few.count_total, few.bytes_total));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Counts what the server's only thread allocates for a broadcast to this many members, which all keep up.
fn broadcast_to(receivers: usize) -> AllocationInfo {
    let runtime = runtime();
    let (_server, endpoint, address) = runtime.block_on(start());
    let (received, of_each) = mpsc::channel();
    let (joined, all_joined) = oneshot::channel();
    // The members live on a thread of their own, which is not counted.
    let members = std::thread::spawn(move || runtime_of_members(receivers, address, joined, received));
    runtime.block_on(all_joined).expect("everybody joins");

    // What is made once, such as scratch buffers, is made before.
    let channel = endpoint.channel("/room").expect("ours");
    let round = async || {
        let delivery = channel.broadcast("news", &json!({ "text": "the same for all" })).expect("there is room");
        assert_eq!(delivery.local, receivers);
        while of_each.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(round());
    // The timer's task may come in between now and then: the cheapest round is one without it.
    let rounds = (0..ROUNDS).map(|_| allocation_counter::measure(|| runtime.block_on(round())));
    let counted = rounds.min_by_key(|info| info.count_total).expect("some rounds");
    channel.broadcast("end", &json!({})).expect("there is room");
    runtime.block_on(async {
        while !members.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    members.join().expect("everybody got everything");
    counted
}

async fn start() -> (Server, Endpoint, SocketAddr) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    endpoint.create_channel("/room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    let (server, address) = serve(&pond).await;
    (server, endpoint, address)
}

/// Joins, then says each time that all have received a message, until the end comes.
fn runtime_of_members(count: usize, address: SocketAddr, joined: oneshot::Sender<()>, received: mpsc::Sender<()>) {
    runtime().block_on(async {
        let mut members = Vec::new();
        for _ in 0..count {
            let mut member = Peer::connect(address, "/").await;
            member.join("/room", json!({})).await;
            members.push(member);
        }
        joined.send(()).expect("the server waits for it");
        loop {
            let mut last = false;
            for member in &mut members {
                last |= member.next().await["event"] == "end";
            }
            if last {
                return;
            }
            received.send(()).expect("the server waits for it");
        }
    });
}

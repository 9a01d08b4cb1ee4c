//! The memory of a broadcast does not depend on the number of members that keep up with it: it is encoded once, and
//! written to each socket from the same bytes. A message that is answered takes a few allocations.

use std::net::SocketAddr;
use std::sync::mpsc;

use allocation_counter::AllocationInfo;
use futures_util::FutureExt;
use pondsocket::{
    Channel, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Payload, PondSocket, Server,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{Peer, serve};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const ROUNDS: usize = 20;

/// The most allocations of a message and its answer: the message, its call, the handler's future, the frame, and the queue for it.
const ECHO: u64 = 6;

/// A payload that allocates nothing itself.
#[derive(Deserialize, Serialize)]
struct Number {
    number: u64,
}

#[test]
fn allocations_of_a_change_of_presence_do_not_depend_on_the_number_of_receivers() {
    let change = |channel: &Channel, user: &str, round| {
        let changed = channel.update_presence(user, &json!({ "round": round })).now_or_never();
        changed.expect("the user is here").expect("there is room");
    };
    let (few, many) = (counted(10, true, change), counted(200, true, change));
    println!("10 receivers: {few:?}\n200 receivers: {many:?}");
    // The list is made once for all of them. A large channel may also wait for the time of its next list.
    assert!((few.count_total..=few.count_total + 4).contains(&many.count_total));
    assert!(few.count_total > 0, "nothing was counted");
}

#[test]
fn allocations_of_a_broadcast_do_not_depend_on_the_number_of_receivers() {
    let say = |channel: &Channel, _: &str, round| {
        channel.broadcast("news", &json!({ "text": "the same for all", "round": round })).expect("there is room");
    };
    let (few, many) = (counted(10, false, say), counted(500, false, say));
    println!("10 receivers: {few:?}\n500 receivers: {many:?}");
    assert!(few.count_total > 0, "nothing was counted");
    assert_eq!((many.count_total, many.bytes_total), (few.count_total, few.bytes_total));
}

#[test]
fn an_echo_takes_few_allocations() {
    let runtime = runtime();
    let (_server, _, address) = runtime.block_on(start());
    let (ask, asked) = mpsc::channel();
    let (answered, answers) = mpsc::channel();
    // The client runs on another thread, which is not counted.
    let client = std::thread::spawn(move || {
        self::runtime().block_on(async {
            let mut client = Peer::connect(address, "/").await;
            client.join("/room", json!({})).await;
            answered.send(()).expect("the server waits for it");
            while asked.recv().is_ok() {
                client.event("/room", "echo", json!({ "number": 7 })).await;
                assert_eq!(client.until("echo").await["payload"], json!({ "number": 7 }));
                answered.send(()).expect("the server waits for it");
            }
        });
    });
    let answer = async || {
        while answers.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(answer());
    // Buffers that are created once exist after the first round. The timer's task may run during a round: the cheapest
    // round is one without it.
    let rounds = (0..ROUNDS).map(|_| {
        ask.send(()).expect("the client waits for it");
        allocation_counter::measure(|| runtime.block_on(answer()))
    });
    let counted = rounds.min_by_key(|info| info.count_total).expect("some rounds");
    println!("an echo: {counted:?}");
    assert!((1..=ECHO).contains(&counted.count_total), "{counted:?}");
    drop(ask);
    client.join().expect("all was answered");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Counts what the server's only thread allocates for a message to this many members, which all keep up and, if they are
/// `tracked`, receive presence. One of them is passed to `send`, with the number of the round.
fn counted(receivers: usize, tracked: bool, send: impl Fn(&Channel, &str, usize)) -> AllocationInfo {
    let runtime = runtime();
    let (_server, endpoint, address) = runtime.block_on(start());
    let (received, of_each) = mpsc::channel();
    let (joined, all_joined) = oneshot::channel();
    // The members run on another thread, which is not counted.
    let members = std::thread::spawn(move || runtime_of_members(receivers, address, joined, received));
    runtime.block_on(all_joined).expect("all members join");

    // Buffers that are created once, such as scratch buffers, exist before the measurement.
    let channel = endpoint.channel("/room").expect("ours");
    let users: Vec<_> = channel.assigns::<Value>().expect("objects").into_keys().collect();
    assert_eq!(users.len(), receivers);
    for user in users.iter().filter(|_| tracked) {
        channel.track(user, &json!({})).expect("there is room");
    }
    let round = async |number: usize| {
        send(&channel, &users[0], number);
        while of_each.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(round(0));
    // The timer's task may run during a round. The cheapest round is one without it.
    let rounds = (1..=ROUNDS).map(|number| allocation_counter::measure(|| runtime.block_on(round(number))));
    let counted = rounds.min_by_key(|info| info.count_total).expect("some rounds");
    channel.broadcast("end", &json!({})).expect("there is room");
    runtime.block_on(async {
        while !members.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    members.join().expect("all members have received all messages");
    counted
}

async fn start() -> (Server, Endpoint, SocketAddr) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Number>| ctx.reply("echo", &payload));
    let (server, address) = serve(&pond).await;
    (server, endpoint, address)
}

/// Joins, and reports after each message that all members have received it, until the end.
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
                // The messages about those that are tracked at first have no round.
                let message = loop {
                    let message = member.next().await;
                    let payload = &message["payload"];
                    if message["event"] == "end" || payload["round"].is_u64() || payload["changed"]["round"].is_u64() {
                        break message;
                    }
                };
                last |= message["event"] == "end";
            }
            if last {
                return;
            }
            received.send(()).expect("the server waits for it");
        }
    });
}

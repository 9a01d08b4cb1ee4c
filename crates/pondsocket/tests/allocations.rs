//! The memory of a broadcast does not depend on the number of members that keep up with it: it is encoded once, and
//! written to each socket from the same bytes. A message that is answered takes a few allocations. A session whose client is
//! away takes a few hundred bytes, and an idle connection not much more than a thousand.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use allocation_counter::AllocationInfo;
use futures_util::FutureExt;
use pondsocket::{
    Channel, ConnectionContext, Endpoint, Error, EventContext, History, JoinContext, Joined, Payload, PondSocket,
    Server,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{Peer, serve};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

const ROUNDS: usize = 20;

/// The most allocations of a message and its answer: the message, its call, the handler's future, and the frame.
const ECHO: u64 = 5;

/// The most allocations of a connection that joins a channel, from its socket on, with two assigns. About a third of them are those of the
/// runtime and of HTTP.
const JOIN: u64 = 78;

/// The most bytes of such a connection while it is idle, without what the allocator adds to each block.
const IDLE: i64 = 1325;

/// The connections of that measurement.
const JOINS: usize = 100;

/// The most allocations of a broadcast: its text, the queue, the batch with its parts, and the frames. A channel that keeps it
/// needs some more, none of them for the history itself once that is full.
const BROADCAST: u64 = 14;
const KEPT_BROADCAST: u64 = 20;

/// The most bytes of a session whose client is away, in no channel, and of each channel that it was in.
const TICKET: i64 = 400;
const TICKET_CHANNEL: i64 = 40;

/// The sessions of that measurement.
const SESSIONS: usize = 400;

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
    let (few, many) = (counted(10, true, None, change), counted(200, true, None, change));
    println!("10 receivers: {few:?}\n200 receivers: {many:?}");
    // The list is made once for all of them. A large channel may also wait for the time of its next list.
    assert!((few.count_total..=few.count_total + 4).contains(&many.count_total));
    assert!(few.count_total > 0, "nothing was counted");
}

#[test]
fn allocations_of_a_broadcast_do_not_depend_on_the_number_of_receivers() {
    let (few, many) = (counted(10, false, None, say), counted(500, false, None, say));
    println!("10 receivers: {few:?}\n500 receivers: {many:?}");
    assert!(few.count_total > 0, "nothing was counted");
    assert_eq!((many.count_total, many.bytes_total), (few.count_total, few.bytes_total));
}

#[test]
fn a_broadcast_takes_few_allocations_and_the_fewest_without_a_history() {
    // Full after half of the rounds, from when on messages take the places of earlier ones.
    let history = History::new().messages(ROUNDS / 2);
    let (without, with) = (counted(10, false, None, say), counted(10, false, Some(history), say));
    println!("without a history: {without:?}\nwith one: {with:?}");
    assert!((1..=BROADCAST).contains(&without.count_total), "{without:?}");
    assert!((1..=KEPT_BROADCAST).contains(&with.count_total), "{with:?}");
}

fn say(channel: &Channel, _: &str, round: usize) {
    channel.broadcast("news", &json!({ "text": "the same for all", "round": round })).expect("there is room");
}

#[test]
fn a_session_whose_client_is_away_takes_a_few_hundred_bytes() {
    let (one, five) = (bytes_of_ticket(1), bytes_of_ticket(5));
    let channel = (five - one) / 4;
    println!("a session in one channel: {one} bytes, in five: {five} bytes");
    assert!((1..=TICKET_CHANNEL).contains(&channel), "{channel} bytes for a channel");
    assert!((1..=TICKET).contains(&(one - channel)), "{} bytes", one - channel);
}

/// The bytes that the server keeps for a session whose client has gone and was in this number of channels.
fn bytes_of_ticket(channels: usize) -> i64 {
    let runtime = runtime();
    let (_server, pond, _, address) = runtime.block_on(start(Some(History::new())));
    let names: Arc<[String]> = (0..channels).map(|number| format!("/{number}")).collect();
    let (ask, asked) = mpsc::channel::<std::ops::Range<usize>>();
    let of_clients = Arc::clone(&names);
    // The clients run on another thread, which is not counted.
    let clients = std::thread::spawn(move || {
        self::runtime().block_on(async {
            // A member of each channel stays, so that none is closed.
            let mut member = Peer::connect(address, "/").await;
            for name in &*of_clients {
                member.join(name, json!({})).await;
            }
            while let Ok(sessions) = asked.recv() {
                for session in sessions {
                    let mut client = Peer::connect(address, &format!("/?session=session-{session:016}")).await;
                    for name in &*of_clients {
                        client.join(name, json!({})).await;
                    }
                    client.reset();
                }
            }
        });
    });
    let come_and_go = |sessions: std::ops::Range<usize>| {
        let kept = sessions.end;
        ask.send(sessions).expect("the clients wait for it");
        runtime.block_on(async {
            loop {
                let endpoint = &pond.snapshot().endpoints[0];
                if (endpoint.connections, endpoint.sessions) == (1, kept) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    };
    come_and_go(0..SESSIONS);
    let counted = allocation_counter::measure(|| come_and_go(SESSIONS..2 * SESSIONS));
    drop(ask);
    clients.join().expect("all have come and gone");
    counted.bytes_current / SESSIONS as i64
}

#[test]
fn a_connection_that_joins_takes_few_allocations_and_little_memory() {
    let runtime = runtime();
    let (_server, _, _, address) = runtime.block_on(start(None));
    let (ask, asked) = mpsc::channel();
    let (joined, all_joined) = mpsc::channel();
    // The clients run on another thread, which is not counted.
    let clients = std::thread::spawn(move || {
        self::runtime().block_on(async {
            let mut clients = Vec::new();
            while asked.recv().is_ok() {
                for _ in 0..JOINS {
                    let mut client = Peer::connect(address, "/").await;
                    client.join("/assigned/room", json!({})).await;
                    clients.push(client);
                }
                joined.send(()).expect("the server waits for it");
            }
        });
    });
    let join_all = || {
        ask.send(()).expect("the clients wait for it");
        runtime.block_on(async {
            while all_joined.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        });
    };
    join_all();
    let counted = allocation_counter::measure(join_all);
    println!(
        "{JOINS} connections that join: {counted:?}: {} allocations each, and {} bytes",
        counted.count_total / JOINS as u64,
        counted.bytes_current / JOINS as i64
    );
    assert!((1..=JOIN).contains(&(counted.count_total / JOINS as u64)), "{counted:?}");
    let idle = counted.bytes_current / JOINS as i64;
    assert!((1..=IDLE).contains(&idle), "{idle} bytes");
    drop(ask);
    clients.join().expect("all have joined");
}

#[test]
fn an_echo_takes_few_allocations() {
    let runtime = runtime();
    let (_server, _, _, address) = runtime.block_on(start(None));
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
fn counted(
    receivers: usize,
    tracked: bool,
    history: Option<History>,
    send: impl Fn(&Channel, &str, usize),
) -> AllocationInfo {
    let runtime = runtime();
    let (_server, _, endpoint, address) = runtime.block_on(start(history));
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

async fn start(history: Option<History>) -> (Server, PondSocket, Endpoint, SocketAddr) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| {
        let session = ctx.query("session").unwrap_or_default().to_owned();
        Ok::<_, Error>(ctx.accept().session(&session))
    });
    let lobby = endpoint.create_channel("/:room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    endpoint.create_channel("/assigned/:room", async |ctx: JoinContext| {
        let room = ctx.param("room")?.to_owned();
        Ok::<Joined, Error>(ctx.accept().assign("name", "Ada Lovelace").assign("room", &room))
    });
    lobby.on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Number>| ctx.reply("echo", &payload));
    if let Some(history) = history {
        lobby.history(history);
    }
    let (server, address) = serve(&pond).await;
    (server, pond, endpoint, address)
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

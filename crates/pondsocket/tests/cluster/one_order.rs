//! Everything that one node sends into a channel with a shared history comes to the members of other nodes in its order: messages
//! that are kept and go through the store, messages that are not kept, and presence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::SharedBus;
use pondsocket::testing::bus::MemoryHub;
use pondsocket::{
    Connected, ConnectionContext, EventContext, History, JoinContext, Joined, Options, Payload, PondSocket, Result,
    Server,
};
use serde_json::{Value, json};
use testkit::{Peer, serve};

use crate::stubborn::{Manner, Stubborn};

/// The kinds of what a client sends, in turn: kept, not kept, a change of presence, not kept and for named users alone.
const KINDS: [&str; 4] = ["say", "type", "mood", "whisper"];

struct Node {
    address: SocketAddr,
    _pond: PondSocket,
    _server: Server,
}

/// Starts a node whose lobby has an event for each kind.
async fn start(bus: impl Into<SharedBus>, name: &str) -> Node {
    start_with(bus, name, History::new().without(["typed"])).await
}

async fn start_with(bus: impl Into<SharedBus>, name: &str, history: History) -> Node {
    let pond = PondSocket::with_options(Options::default().bus(bus).node_name(name.to_owned())).expect("valid options");
    let connect = async |ctx: ConnectionContext| -> Result<Connected> {
        let user = ctx.query("user").unwrap_or_default().to_owned();
        Ok(ctx.accept().user_id(&user))
    };
    let lobby =
        pond.create_endpoint("/", connect).create_channel("/chat/:room", async |ctx: JoinContext| -> Result<Joined> {
            Ok(ctx.accept().track(&json!({ "n": null })))
        });
    lobby.history(history);
    lobby.on_event("say", async |ctx: EventContext, Payload(n): Payload<Value>| ctx.broadcast("said", &n));
    lobby.on_event("type", async |ctx: EventContext, Payload(n): Payload<Value>| ctx.broadcast("typed", &n));
    lobby.on_event("mood", async |ctx: EventContext, Payload(n): Payload<Value>| ctx.update_presence(&n));
    lobby.on_event("whisper", async |ctx: EventContext, Payload(n): Payload<Value>| {
        ctx.broadcast_to(["ada", "bob"], "whispered", &n)
    });
    lobby.on_event("ask", async |ctx: EventContext, Payload(n): Payload<Value>| -> Result<()> {
        ctx.broadcast("said", &n)?;
        ctx.reply("answered", &n)
    });
    let (server, address) = serve(&pond).await;
    Node { address, _pond: pond, _server: server }
}

async fn join(node: &Node, user: &str) -> Peer {
    let mut peer = Peer::connect(node.address, &format!("/?user={user}")).await;
    peer.join("/chat/a", json!({})).await;
    peer
}

/// Receives until each of the two has seen the other's presence, so that both nodes show both.
async fn meet(peer: &mut Peer, other: &str) {
    loop {
        let message = peer.next().await;
        if message["action"] == "PRESENCE" && message["payload"]["userId"] == other {
            return;
        }
    }
}

/// The numbers of the next `count` messages and changes of presence of one sender that the client receives.
async fn numbers(peer: &mut Peer, sender: &str, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count as usize {
        let message = peer.next().await;
        let (payload, changed) = (&message["payload"], &message["payload"]["changed"]);
        match (&message["action"], message["event"].as_str()) {
            (action, _) if action == "PRESENCE" && payload["userId"] == sender => {
                numbers.extend(changed["n"].as_u64());
            }
            (_, Some("said" | "typed" | "whispered")) if payload["of"] == sender => {
                numbers.extend(payload["n"].as_u64());
            }
            _ => {}
        }
    }
    numbers
}

async fn send(peer: &mut Peer, sender: &str, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let kind = KINDS[n as usize % KINDS.len()];
        peer.event("/chat/a", kind, json!({ "of": sender, "n": n })).await;
    }
}

#[tokio::test]
async fn what_a_node_sends_comes_to_the_members_of_others_in_its_order_while_these_send_as_well() {
    const EACH: u64 = 200;
    let hub = MemoryHub::new();
    let buses = [hub.node(), hub.node()];
    let (one, two) = (start(Arc::clone(&buses[0]), "one").await, start(Arc::clone(&buses[1]), "two").await);
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(meet(&mut ada, "bob"), meet(&mut bob, "ada"));
    // Answers and messages meet in another order on each node: messages of others wait for positions of own ones, and own ones
    // for messages of others.
    buses[0].delay(Duration::from_millis(3));
    buses[1].delay_answers(Duration::from_millis(5));
    tokio::join!(send(&mut ada, "ada", 0..EACH), send(&mut bob, "bob", 0..EACH));
    let (of_bob, of_ada) = tokio::join!(numbers(&mut ada, "bob", EACH), numbers(&mut bob, "ada", EACH));
    let all: Vec<_> = (0..EACH).collect();
    assert_eq!((of_bob, of_ada), (all.clone(), all));
}

#[tokio::test]
async fn a_change_of_presence_comes_between_the_messages_around_it() {
    let hub = MemoryHub::new();
    let (one, two) = (start(hub.node(), "one").await, start(hub.node(), "two").await);
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(meet(&mut ada, "bob"), meet(&mut bob, "ada"));
    send(&mut ada, "ada", 0..9).await;
    assert_eq!(numbers(&mut bob, "ada", 9).await, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

/// The number of the next event of this name.
async fn until(peer: &mut Peer, event: &str) -> Value {
    peer.until(event).await["payload"]["n"].clone()
}

#[tokio::test]
async fn while_the_store_refuses_messages_the_others_go_on_and_later_all_of_them_are_in_order_again() {
    let hub = MemoryHub::new();
    let bus = Stubborn::new(&hub);
    let (one, two) = (start(Arc::clone(&bus), "one").await, start(hub.node(), "two").await);
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(meet(&mut ada, "bob"), meet(&mut bob, "ada"));
    bus.set(Manner::Refuses);
    ada.event("/chat/a", "say", json!({ "of": "ada", "n": 0 })).await;
    for n in 1..100 {
        ada.event("/chat/a", "type", json!({ "of": "ada", "n": n })).await;
        assert_eq!(until(&mut bob, "typed").await, n, "ahead of the message that the store refuses");
    }
    bus.set(Manner::Answers);
    assert_eq!(until(&mut bob, "said").await, 0, "nothing is lost");
    send(&mut ada, "ada", 100..120).await;
    assert_eq!(numbers(&mut bob, "ada", 20).await, (100..120).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reply_waits_behind_what_was_broadcast_before_it_unless_the_history_lets_replies_overtake() {
    for overtakes in [false, true] {
        let history = if overtakes { History::new().replies_overtake() } else { History::new() };
        let bus = Stubborn::new(&MemoryHub::new());
        let node = start_with(Arc::clone(&bus), "one", history).await;
        let mut ada = join(&node, "ada").await;
        bus.refuses.store(true, Ordering::Relaxed);
        ada.event("/chat/a", "ask", json!({ "n": 1 })).await;
        if overtakes {
            assert_eq!(ada.next().await["event"], "answered", "while the store refuses the message");
        }
        bus.refuses.store(false, Ordering::Relaxed);
        assert_eq!(ada.next().await["event"], "said");
        if !overtakes {
            assert_eq!(ada.next().await["event"], "answered");
        }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_holds_up_what_is_not_kept_for_a_moment_only() {
    let hub = MemoryHub::new();
    let bus = Stubborn::new(&hub);
    let (one, two) = (start(Arc::clone(&bus), "one").await, start(hub.node(), "two").await);
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(meet(&mut ada, "bob"), meet(&mut bob, "ada"));
    bus.set(Manner::Hangs);
    ada.event("/chat/a", "say", json!({ "of": "ada", "n": 0 })).await;
    for n in 1..50 {
        ada.event("/chat/a", "type", json!({ "of": "ada", "n": n })).await;
    }
    for n in 1..50 {
        assert_eq!(until(&mut bob, "typed").await, n);
    }
    assert_eq!(bus.asked(), 1, "one batch at a time is under way");
}

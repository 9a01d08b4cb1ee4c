//! Everything that one node sends into a channel with a shared history comes to the members of other nodes in its order: messages
//! that are kept and go through the store, messages that are not kept, and presence.
//!
//! The clock is paused: on a machine with much else to do, a node would read from the store what comes late, and then it is in another
//! order (docs/cluster.md, Order).

use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::SharedBus;
use pondsocket::testing::bus::MemoryHub;
use pondsocket::testing::{Client, Kind, Room};
use pondsocket::{
    Connected, ConnectionContext, EventContext, History, JoinContext, Joined, Options, Payload, PondSocket, Result,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::stubborn::{Manner, Stubborn};

/// The kinds of what a client sends, in turn: kept, not kept, a change of presence, not kept and for named users alone.
const KINDS: [&str; 4] = ["say", "type", "mood", "whisper"];

/// A client in the channel.
struct Member {
    room: Room,
    _client: Client,
}

/// A node whose lobby has an event for each kind.
fn node(bus: impl Into<SharedBus>, name: &str) -> PondSocket {
    node_with(bus, name, History::new().without(["typed"]))
}

fn node_with(bus: impl Into<SharedBus>, name: &str, history: History) -> PondSocket {
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
    pond
}

async fn join(node: &PondSocket, user: &str) -> Member {
    let client = node.test_client().connect(&format!("/?user={user}")).await.expect("let in");
    let room = client.join("/chat/a", json!({})).await.expect("let in");
    Member { room, _client: client }
}

impl Member {
    /// Receives until it has seen the presence of another user, so that both nodes show both.
    async fn meet(&mut self, other: &str) {
        while self.room.next_presence().await.expect("in time").user_id != other {}
    }

    /// The numbers of the next `count` messages and changes of presence of one sender.
    async fn numbers(&mut self, sender: &str, count: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count as usize {
            let message = self.room.next_message().await.expect("in time");
            let payload = message.payload;
            match (message.kind, message.event.as_str()) {
                (Kind::Presence, _) if payload["userId"] == sender => numbers.extend(payload["changed"]["n"].as_u64()),
                (_, "said" | "typed" | "whispered") if payload["of"] == sender => {
                    numbers.extend(payload["n"].as_u64());
                }
                _ => {}
            }
        }
        numbers
    }

    /// Sends something of each kind in turn, with a short time in between.
    async fn send(&self, sender: &str, numbers: std::ops::Range<u64>) {
        for n in numbers {
            self.room.send(KINDS[n as usize % KINDS.len()], json!({ "of": sender, "n": n }));
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The number of the next event of this name.
    async fn next(&mut self, event: &str) -> Value {
        self.room.next(event).await.expect("in time")["n"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_sends_comes_to_the_members_of_others_in_its_order_while_these_send_as_well() {
    const EACH: u64 = 200;
    let hub = MemoryHub::new();
    let buses = [hub.node(), hub.node()];
    let (one, two) = (node(Arc::clone(&buses[0]), "one"), node(Arc::clone(&buses[1]), "two"));
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(ada.meet("bob"), bob.meet("ada"));
    // Answers and messages meet in another order on each node: messages of others wait for positions of own ones, and own ones
    // for messages of others.
    buses[0].delay(Duration::from_millis(3));
    buses[1].delay_answers(Duration::from_millis(5));
    tokio::join!(ada.send("ada", 0..EACH), bob.send("bob", 0..EACH));
    let (of_bob, of_ada) = tokio::join!(ada.numbers("bob", EACH), bob.numbers("ada", EACH));
    let all: Vec<_> = (0..EACH).collect();
    assert_eq!((of_bob, of_ada), (all.clone(), all));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_presence_comes_between_the_messages_around_it() {
    let hub = MemoryHub::new();
    let (one, two) = (node(hub.node(), "one"), node(hub.node(), "two"));
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(ada.meet("bob"), bob.meet("ada"));
    ada.send("ada", 0..9).await;
    assert_eq!(bob.numbers("ada", 9).await, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_refuses_messages_the_others_go_on_and_later_all_of_them_are_in_order_again() {
    let hub = MemoryHub::new();
    let bus = Stubborn::new(&hub);
    let (one, two) = (node(Arc::clone(&bus), "one"), node(hub.node(), "two"));
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(ada.meet("bob"), bob.meet("ada"));
    bus.set(Manner::Refuses);
    ada.room.send("say", json!({ "of": "ada", "n": 0 }));
    for n in 1..100 {
        ada.room.send("type", json!({ "of": "ada", "n": n }));
        assert_eq!(bob.next("typed").await, n, "ahead of the message that the store refuses");
    }
    bus.set(Manner::Answers);
    assert_eq!(bob.next("said").await, 0, "nothing is lost");
    ada.send("ada", 100..120).await;
    assert_eq!(bob.numbers("ada", 20).await, (100..120).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_reply_waits_behind_what_was_broadcast_before_it_unless_the_history_lets_replies_overtake() {
    for overtakes in [false, true] {
        let history = if overtakes { History::new().replies_overtake() } else { History::new() };
        let bus = Stubborn::new(&MemoryHub::new());
        let node = node_with(Arc::clone(&bus), "one", history);
        let mut ada = join(&node, "ada").await;
        bus.set(Manner::Refuses);
        ada.room.send("ask", json!({ "n": 1 }));
        if overtakes {
            assert_eq!(ada.next("answered").await, 1, "while the store refuses the message");
        }
        bus.set(Manner::Answers);
        assert_eq!(ada.next("said").await, 1);
        if !overtakes {
            assert_eq!(ada.next("answered").await, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_up_what_is_not_kept_for_a_moment_only() {
    let hub = MemoryHub::new();
    let bus = Stubborn::new(&hub);
    let (one, two) = (node(Arc::clone(&bus), "one"), node(hub.node(), "two"));
    let (mut ada, mut bob) = (join(&one, "ada").await, join(&two, "bob").await);
    tokio::join!(ada.meet("bob"), bob.meet("ada"));
    bus.set(Manner::Hangs);
    ada.room.send("say", json!({ "of": "ada", "n": 0 }));
    for n in 1..50 {
        ada.room.send("type", json!({ "of": "ada", "n": n }));
    }
    for n in 1..50 {
        assert_eq!(bob.next("typed").await, n);
    }
    assert_eq!(bus.asked(), 1, "one batch at a time is under way");
}

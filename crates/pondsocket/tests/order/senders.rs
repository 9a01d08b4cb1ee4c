//! The order of the messages of one connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::{Endpoint, EventContext, JoinContext, Lobby, Payload};
use serde::Deserialize;
use serde_json::json;
use testkit::{Peer, Rng, serve};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Journal, Said, gate, open_pond, pass, plain};

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_connection_are_handled_one_at_a_time_in_their_order() {
    let (pond, endpoint) = open_pond();
    let journal = Journal::default();
    let notes = journal.clone();
    endpoint.create_channel("/room", plain).on_event("work", move |ctx: EventContext, Payload(said): Payload<Said>| {
        let notes = notes.clone();
        async move {
            notes.note(format!("begin {}", said.number));
            sleep(Duration::from_millis(said.pause)).await;
            notes.note(format!("end {}", said.number));
            ctx.reply("work", &json!({}))
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/room", json!({})).await;
    let mut dice = Rng::new(7);
    let mut ids = Vec::new();
    for number in 0..100 {
        let pause = dice.below(4);
        ids.push(peer.event("/room", "work", json!({ "sender": 0, "number": number, "pause": pause })).await);
    }
    for id in ids {
        assert_eq!(peer.next().await["requestId"], json!(id));
    }
    let expected: Vec<_> = (0..100).flat_map(|n| [format!("begin {n}"), format!("end {n}")]).collect();
    assert_eq!(journal.entries(), expected);
}

/// A lobby that decides joins when the gate opens, by `let_in` of the payload.
fn undecided(endpoint: &Endpoint, gate: &Arc<Semaphore>) -> Lobby {
    #[derive(Deserialize)]
    struct Ask {
        let_in: bool,
    }
    let gate = Arc::clone(gate);
    endpoint.create_channel("/slow", move |ctx: JoinContext, Payload(ask): Payload<Ask>| {
        let gate = Arc::clone(&gate);
        async move {
            pass(&gate).await;
            if ask.let_in { Ok(ctx.accept()) } else { Err(pondsocket::Error::forbidden("no")) }
        }
    })
}

#[tokio::test]
async fn a_message_right_behind_the_join_waits_for_the_decision() {
    let (pond, endpoint) = open_pond();
    let (gate, journal) = (gate(), Journal::default());
    let notes = journal.clone();
    undecided(&endpoint, &gate).on_event("hello", move |ctx: EventContext| {
        notes.note("hello");
        async move { ctx.reply("hello", &json!({})) }
    });
    endpoint.create_channel("/quick", plain).on_event("ask", async |ctx: EventContext| ctx.reply("ask", &json!({})));
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/quick", json!({})).await;

    for (let_in, answer) in [(true, "ACKNOWLEDGE"), (false, "UNAUTHORIZED")] {
        let before = journal.len();
        let join = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/slow", json!({ "let_in": let_in })).await;
        let hello = peer.event("/slow", "hello", json!({})).await;
        // The answer from another channel shows that the server has read both.
        peer.nothing_before_reply("/quick", "ask").await;
        assert_eq!(journal.len(), before, "the message was handled before the verdict");
        gate.add_permits(1);
        let verdict = peer.next().await;
        assert_eq!((&verdict["event"], &verdict["requestId"]), (&json!(answer), &json!(join)));
        let reply = peer.next().await;
        assert_eq!(reply["requestId"], json!(hello));
        assert_eq!(reply["event"] == "hello", let_in, "{reply}");
        assert_eq!(journal.len() - before, usize::from(let_in));
        if let_in {
            peer.leave("/slow").await;
        }
    }
}

/// The connection's task starts the delivery only for messages that its handlers publish while it polls them.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_handler_publishes_from_another_task_arrive_in_order() {
    const ROUNDS: u64 = 40;
    const EACH: u64 = 20;
    let (pond, endpoint) = open_pond();
    let lobby = endpoint.create_channel("/room", plain);
    lobby.on_event("give-away", async |ctx: EventContext, Payload(said): Payload<Said>| {
        tokio::spawn(async move {
            for number in 0..EACH {
                ctx.broadcast("said", &Said { number, ..said.clone() }).expect("there is room");
                tokio::task::yield_now().await;
            }
        });
    });
    lobby.on_event("share", async |ctx: EventContext, Payload(said): Payload<Said>| {
        let (channel, other) = (ctx.channel(), Said { sender: said.sender + ROUNDS, ..said.clone() });
        let task = tokio::spawn(async move {
            for number in 0..EACH {
                channel.broadcast("said", &Said { number, ..other.clone() }).expect("there is room");
                tokio::task::yield_now().await;
            }
        });
        for number in 0..EACH {
            ctx.broadcast("said", &Said { number, ..said.clone() })?;
            tokio::task::yield_now().await;
        }
        task.await.expect("no panic");
        ctx.reply("share", &json!({}))
    });
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut witness) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    peer.join("/room", json!({})).await;
    witness.join("/room", json!({})).await;
    for sender in 0..ROUNDS {
        let event = if sender % 2 == 0 { "give-away" } else { "share" };
        peer.event("/room", event, json!({ "sender": sender, "number": 0 })).await;
    }
    let mut heard: HashMap<u64, Vec<u64>> = HashMap::new();
    let senders = ROUNDS + ROUNDS / 2;
    for _ in 0..senders * EACH {
        let said: Said =
            serde_json::from_value(witness.until("said").await["payload"].clone()).expect("as it was sent");
        heard.entry(said.sender).or_default().push(said.number);
    }
    assert_eq!(heard.len() as u64, senders);
    assert!(heard.values().all(|numbers| numbers.iter().copied().eq(0..EACH)), "{heard:?}");
}

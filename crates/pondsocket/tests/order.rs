//! The order of things: what the crate promises about who hears of what, and in which sequence. Every test talks
//! through real sockets, and waits for events, never for time to pass.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::SinkExt;
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EventContext, JoinContext, Joined, LeaveContext, Lobby, Payload,
    PondSocket, Result,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{DEADLINE, Message, OneOrder, Peer, Rng, eventually, serve};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// A pond that lets everybody in under the user id they ask for.
fn open_pond() -> (PondSocket, Endpoint) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| {
        let user = ctx.query("user").map(ToOwned::to_owned);
        let connected = ctx.accept();
        Ok::<Connected, pondsocket::Error>(match user {
            Some(user) => connected.user_id(&user),
            None => connected,
        })
    });
    (pond, endpoint)
}

/// Shows everybody who joins.
async fn tracked(ctx: JoinContext) -> Result<Joined> {
    let user = ctx.user_id().to_owned();
    Ok(ctx.accept().track(&json!({ "user": user })))
}

async fn plain(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// What tests let a handler wait at.
fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

async fn pass(gate: &Semaphore) {
    gate.acquire().await.expect("never closed").forget();
}

/// What happened, in the order in which it did.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().expect("no panic").push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

// --- One total order per channel, and one per sender within it --------------------------------------------------

/// The payload of an event that is handled after a pause.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Said {
    sender: u64,
    number: u64,
    #[serde(default, skip_serializing)]
    pause: u64,
}

/// Registers what the load of [`OneOrder`] asks for.
fn repeat_later(lobby: &Lobby) {
    lobby
        .on_event("later", async |ctx: EventContext, Payload(later): Payload<Later>| {
            sleep(Duration::from_millis(later.ms)).await;
            ctx.broadcast("later", &later.payload)
        })
        .on_event("message", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.broadcast("message", &payload)
        });
}

#[derive(Deserialize)]
struct Later {
    ms: u64,
    payload: Value,
}

/// A million deliveries are made by the end-to-end tests, at the release build of a server.
#[tokio::test(flavor = "multi_thread")]
async fn all_members_hear_the_same_in_the_same_order() {
    let (pond, endpoint) = open_pond();
    repeat_later(&endpoint.create_channel("/room/:n", tracked));
    let (_server, address) = serve(&pond).await;
    let load = OneOrder { channels: 20, publishers: 3, receivers: 6, comers: 2, messages: 36, seed: 0x5eed };
    let deliveries = load.run(address, "/", "/room").await;
    assert!(deliveries >= 20_000, "only {deliveries} deliveries");
}

// --- Per sender --------------------------------------------------------------------------------------------------

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

/// A lobby whose joins are decided when the gate opens, by the payload's `let_in`.
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
async fn a_message_right_behind_the_join_waits_for_its_verdict() {
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
        // The answer from another channel says that the server has read both.
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

// --- What one handler emits --------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_emits_arrives_in_the_order_of_the_calls() {
    let (pond, endpoint) = open_pond();
    let lobby = endpoint.create_channel("/room", tracked);
    lobby.on_event("reply-first", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.reply("1", &json!({}))?;
        ctx.broadcast("2", &json!({}))?;
        ctx.update_presence(&json!({ "user": ctx.user_id(), "a": value }))?;
        ctx.broadcast_to([ctx.user_id()], "4", &json!({}))
    });
    lobby.on_event("reply-last", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.update_presence(&json!({ "user": ctx.user_id(), "b": value }))?;
        ctx.broadcast("2", &json!({}))?;
        ctx.broadcast_to([ctx.user_id()], "3", &json!({}))?;
        ctx.reply("4", &json!({}))
    });
    lobby.on_event("reply-between", async |ctx: EventContext, Payload(value): Payload<Value>| {
        ctx.broadcast("1", &json!({}))?;
        tokio::task::yield_now().await;
        ctx.reply("2", &json!({}))?;
        ctx.untrack()?;
        ctx.broadcast("3", &json!({}))?;
        ctx.track(&json!({ "user": ctx.user_id(), "c": value }))
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.join("/room", json!({})).await;
    peer.until("JOIN").await;
    let noise = Noise::make(&endpoint, "/room");
    for round in 0..100 {
        // Hidden by then, the sender does not get its own LEAVE.
        for (event, expected) in [
            ("reply-first", ["1", "2", "UPDATE", "4"]),
            ("reply-last", ["UPDATE", "2", "3", "4"]),
            ("reply-between", ["1", "2", "3", "JOIN"]),
        ] {
            peer.event("/room", event, json!({ "round": round })).await;
            for event in expected {
                assert_eq!(next_but_noise(&mut peer).await["event"], event);
            }
        }
    }
    noise.end().await;
}

/// Broadcasts into a channel all the time, from another task.
struct Noise {
    task: tokio::task::JoinHandle<()>,
    going: Arc<AtomicUsize>,
}

impl Noise {
    fn make(endpoint: &Endpoint, channel: &str) -> Noise {
        let going = Arc::new(AtomicUsize::new(1));
        let (handle, on) = (endpoint.channel(channel).expect("a lobby matches"), Arc::clone(&going));
        let task = tokio::spawn(async move {
            while on.load(Ordering::Relaxed) > 0 {
                handle.broadcast("noise", &json!({})).expect("there is room");
                // A pause every now and then, so that delivery is sometimes quiet and sometimes busy.
                sleep(Duration::from_micros(300)).await;
                handle.broadcast("noise", &json!({})).expect("there is room");
                tokio::task::yield_now().await;
            }
        });
        Noise { task, going }
    }

    async fn end(self) {
        self.going.store(0, Ordering::Relaxed);
        self.task.await.expect("it did not panic");
    }
}

async fn next_but_noise(peer: &mut Peer) -> Value {
    loop {
        let message = peer.next().await;
        if message["event"] != "noise" {
            return message;
        }
    }
}

// --- A membership begins with its ACK, and ends -------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn the_acknowledgement_comes_first_and_the_chain_follows_in_one_go() {
    let (pond, endpoint) = open_pond();
    endpoint.create_channel("/room", async |ctx: JoinContext| {
        let user = ctx.user_id().to_owned();
        let accepted = ctx.accept().track(&json!({ "user": user })).reply("welcome", &json!({}));
        Ok::<Joined, pondsocket::Error>(accepted.broadcast("hello", &json!({})).broadcast_from("others", &json!({})))
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/").await;
    witness.join("/room", json!({})).await;
    let witness = tokio::spawn(async move { while witness.next().await["event"] != "end" {} });
    let noise = Noise::make(&endpoint, "/room");
    let comers = (0..4).map(|_| {
        tokio::spawn(async move {
            let mut peer = Peer::connect(address, "/").await;
            for _ in 0..100 {
                // Asserts that the acknowledgement is the first thing, and so that nothing followed the last leave.
                peer.join("/room", json!({})).await;
                for event in ["JOIN", "welcome", "hello"] {
                    assert_eq!(peer.next().await["event"], event);
                }
                peer.leave("/room").await;
            }
        })
    });
    for comer in comers.collect::<Vec<_>>() {
        comer.await.expect("in order");
    }
    noise.end().await;
    endpoint.channel("/room").expect("ours").broadcast("end", &json!({})).expect("there is room");
    witness.await.expect("it heard the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_channel_follows_the_eviction() {
    let (pond, endpoint) = open_pond();
    endpoint.create_channel("/room", tracked);
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    let witness = tokio::spawn(async move {
        let mut evictions = 0;
        loop {
            match witness.next().await["event"].as_str() {
                Some("user_evicted") => evictions += 1,
                Some("end") => return evictions,
                _ => {}
            }
        }
    });
    let channel = endpoint.channel("/room").expect("ours");
    let noise = Noise::make(&endpoint, "/room");
    let mut peer = Peer::connect(address, "/?user=ada").await;
    for _ in 0..100 {
        peer.join("/room", json!({})).await;
        channel.evict("ada", "go").await.expect("a member");
        peer.until("evicted").await;
        assert_eq!(peer.next().await["event"], "EVICTED");
        // The next thing is the next acknowledgement: `join` asserts it.
    }
    noise.end().await;
    channel.broadcast("end", &json!({})).expect("there is room");
    assert_eq!(witness.await.expect("it heard the end"), 100);
}

#[tokio::test]
async fn leaving_and_rejoining_in_one_go_gives_a_new_membership() {
    let (pond, endpoint) = open_pond();
    let journal = Journal::default();
    let lobby = endpoint.create_channel("/room", tracked);
    let notes = journal.clone();
    lobby.on_event("hello", move |ctx: EventContext| {
        notes.note("hello");
        async move { ctx.reply("hello", &json!({})) }
    });
    let notes = journal.clone();
    lobby.on_leave(move |ctx: LeaveContext| {
        notes.note(format!("leave {}", ctx.reason()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    let envelope = |action: &str, event: &str, id: &str| {
        let text = json!({ "action": action, "event": event, "channelName": "/room", "requestId": id, "payload": {} });
        Message::text(text.to_string())
    };
    for message in [
        envelope("JOIN_CHANNEL", "JOIN_CHANNEL", "join-1"),
        envelope("BROADCAST", "hello", "hello-1"),
        envelope("LEAVE_CHANNEL", "LEAVE_CHANNEL", "leave-1"),
        envelope("JOIN_CHANNEL", "JOIN_CHANNEL", "join-2"),
        envelope("BROADCAST", "hello", "hello-2"),
    ] {
        peer.socket.feed(message).await.expect("buffered");
    }
    peer.socket.flush().await.expect("written in one go");
    for (event, id) in [
        ("ACKNOWLEDGE", Some("join-1")),
        ("JOIN", None),
        ("hello", Some("hello-1")),
        ("EXIT_ACKNOWLEDGE", Some("leave-1")),
        ("ACKNOWLEDGE", Some("join-2")),
        ("JOIN", None),
        ("hello", Some("hello-2")),
    ] {
        let message = peer.next().await;
        assert_eq!(message["event"], event);
        assert!(id.is_none_or(|id| message["requestId"] == id), "{message}");
    }
    assert_eq!(journal.entries(), ["hello", "leave explicit_leave", "hello"]);
    for event in ["JOIN", "LEAVE", "JOIN"] {
        let message = witness.next().await;
        assert_eq!((&message["event"], &message["payload"]["changed"]["user"]), (&json!(event), &json!("ada")));
    }
}

// --- The connection goes -----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn what_was_received_before_the_close_is_handled_and_the_membership_ends_at_once() {
    let (pond, endpoint) = open_pond();
    let gate = gate();
    let lobby = endpoint.create_channel("/room", tracked);
    let at_gate = Arc::clone(&gate);
    lobby.on_event("say", move |ctx: EventContext, Payload(said): Payload<Said>| {
        let gate = Arc::clone(&at_gate);
        async move {
            pass(&gate).await;
            assert_eq!(ctx.user().expect("as it was when it left").id(), "ada");
            ctx.broadcast("said", &said)?;
            // Nobody is there to get it; that is no mistake.
            ctx.reply("say", &json!({}))
        }
    });
    lobby.on_leave(async |ctx: LeaveContext| {
        assert_eq!(ctx.presence::<Value>().expect("as it was"), json!({ "user": "ada" }));
        ctx.channel().broadcast("bye", &json!({ "reason": ctx.reason().to_string(), "remaining": ctx.remaining() }))
    });
    let (_server, address) = serve(&pond).await;
    let channel = endpoint.channel("/room").expect("ours");
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    for politely in [true, false] {
        let mut peer = Peer::connect(address, "/?user=ada").await;
        peer.join("/room", json!({})).await;
        peer.until("JOIN").await;
        assert_eq!(witness.next().await["event"], "JOIN");
        for number in 0..5 {
            peer.event("/room", "say", json!({ "sender": 1, "number": number })).await;
        }
        if politely {
            peer.socket.close(None).await.expect("open");
        }
        drop(peer);

        // While the first handler still waits, the membership has ended for everybody.
        let message = witness.next().await;
        assert_eq!((&message["event"], &message["payload"]["changed"]), (&json!("LEAVE"), &json!({ "user": "ada" })));
        assert_eq!(message["payload"]["presence"], json!([{ "user": "witness" }]));
        assert_eq!(channel.member_count(), 1);
        assert!(endpoint.connections().iter().all(|connection| connection.user_id() != "ada"));

        gate.add_permits(5);
        for number in 0..5 {
            let message = witness.next().await;
            assert_eq!((&message["event"], &message["payload"]["number"]), (&json!("said"), &json!(number)));
        }
        let bye = witness.next().await;
        assert_eq!(bye["payload"], json!({ "reason": "connection_closed", "remaining": 1 }));
    }
    // Exactly one leave handler per membership: nothing but our own message is left.
    channel.broadcast("end", &json!({})).expect("there is room");
    assert_eq!(witness.next().await["event"], "end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leave_handler_runs_once_per_membership_however_it_ends() {
    let (pond, endpoint) = open_pond();
    let journal = Journal::default();
    let notes = journal.clone();
    endpoint.create_channel("/room", plain).on_leave(move |ctx: LeaveContext| {
        notes.note(format!("{} {}", ctx.user_id(), ctx.reason()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let channel = endpoint.channel("/room").expect("ours");
    let mut expected = HashSet::new();
    for (user, reason) in [
        ("leaver", "explicit_leave"),
        ("closer", "connection_closed"),
        ("evicted", "evicted:go"),
        ("removed", "gone"),
        ("twice", "evicted:go"),
    ] {
        let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
        peer.join("/room", json!({})).await;
        match user {
            "leaver" => peer.leave("/room").await,
            "evicted" => channel.evict(user, "go").await.expect("a member"),
            "removed" => channel.remove(user, "gone").await.expect("a member"),
            "twice" => {
                channel.evict(user, "go").await.expect("a member");
                peer.until("EVICTED").await;
                peer.leave("/room").await;
            }
            _ => {}
        }
        expected.insert(format!("{user} {reason}"));
        // Each connection also goes, after its membership has ended in whatever way.
        peer.socket.close(None).await.expect("open");
        eventually("all connections go", || endpoint.connections().is_empty()).await;
    }
    eventually("every leave handler has run", || journal.len() >= expected.len()).await;
    assert_eq!(journal.len(), expected.len());
    assert_eq!(journal.entries().into_iter().collect::<HashSet<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_is_still_being_decided_leaves_nothing_behind() {
    /// Tells when the handler's future is dropped.
    struct Dropped(Arc<Semaphore>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let (pond, endpoint) = open_pond();
    let (begun, dropped, journal) = (gate(), gate(), Journal::default());
    let (started, ended) = (Arc::clone(&begun), Arc::clone(&dropped));
    let lobby = endpoint.create_channel("/room", move |ctx: JoinContext| {
        let (started, ended) = (Arc::clone(&started), Arc::clone(&ended));
        async move {
            let user = ctx.user_id().to_owned();
            if user == "ada" {
                let _dropped = Dropped(ended);
                started.add_permits(1);
                std::future::pending::<()>().await;
            }
            Ok::<Joined, pondsocket::Error>(ctx.accept().track(&json!({ "user": user })))
        }
    });
    let notes = journal.clone();
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("ask", &json!({})));
    lobby.on_event("say", move |_: EventContext| {
        notes.note("said");
        async {}
    });
    let notes = journal.clone();
    lobby.on_leave(move |_: LeaveContext| {
        notes.note("left");
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let mut witness = Peer::connect(address, "/?user=witness").await;
    witness.join("/room", json!({})).await;
    witness.until("JOIN").await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room", json!({})).await;
    peer.event("/room", "say", json!({})).await;
    timeout(DEADLINE, pass(&begun)).await.expect("the join handler runs");
    peer.socket.close(None).await.expect("open");
    timeout(DEADLINE, pass(&dropped)).await.expect("the join handler is dropped");
    eventually("the connection is gone", || endpoint.connections().len() == 1).await;
    assert_eq!(endpoint.channel("/room").expect("ours").member_count(), 1);
    witness.nothing_before_reply("/room", "ask").await;
    assert_eq!(journal.entries(), Vec::<String>::new());
}

// --- User code may call anything from anywhere --------------------------------------------------------------------

/// A payload whose encoding itself publishes.
struct Chatty(pondsocket::Channel);

impl Serialize for Chatty {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.broadcast("inner", &json!({})).map_err(serde::ser::Error::custom)?;
        json!({ "outer": true }).serialize(serializer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_may_call_anything_also_under_their_own_lock() {
    let (pond, endpoint) = open_pond();
    let ledger = Arc::new(Mutex::new(0_u64));
    let lobby = endpoint.create_channel("/room", {
        let (ledger, endpoint) = (Arc::clone(&ledger), endpoint.clone());
        move |ctx: JoinContext| {
            let (ledger, endpoint) = (Arc::clone(&ledger), endpoint.clone());
            async move {
                let held = ledger.lock().expect("no panic");
                let channel = endpoint.channel("/room")?;
                channel.broadcast("joining", &json!({ "members": channel.member_count() }))?;
                let accepted = ctx.accept().track(&json!({})).broadcast("joined", &json!({}));
                drop(held);
                Ok::<Joined, pondsocket::Error>(accepted)
            }
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("all", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let mut held = ledger.lock().expect("no panic");
            *held += 1;
            let channel = ctx.channel();
            ctx.broadcast("count", &json!({ "count": *held }))?;
            ctx.broadcast("outer", &Chatty(channel.clone()))?;
            ctx.broadcast_from("others", &json!({}))?;
            channel.broadcast_from(ctx.user_id(), "others", &json!({}))?;
            ctx.set_assign("count", &*held)?;
            ctx.update_presence(&json!({ "count": *held }))?;
            ctx.untrack()?;
            ctx.track(&json!({}))?;
            let _ = (channel.presence::<Value>()?, channel.assigns::<Value>()?, ctx.user()?);
            ctx.reply("all", &json!({}))
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("evict-me", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let user = ctx.user_id().to_owned();
            ctx.evict(&user, "asked for it").await?;
            let held = ledger.lock().expect("no panic");
            ctx.broadcast("gone", &json!({ "count": *held }))?;
            assert_eq!(ctx.user().expect_err("no member any more").code(), 403);
            // Whoever has left gets no reply.
            ctx.reply("evict-me", &json!({}))
        }
    });
    let held = Arc::clone(&ledger);
    lobby.on_event("close-all", move |ctx: EventContext| {
        let ledger = Arc::clone(&held);
        async move {
            let _held = ledger.lock().expect("no panic");
            ctx.channel().close();
            ctx.broadcast("too late", &json!({}))
        }
    });
    let left = Arc::new(AtomicUsize::new(0));
    let (held, count) = (Arc::clone(&ledger), Arc::clone(&left));
    lobby.on_leave(move |ctx: LeaveContext| {
        let (ledger, left) = (Arc::clone(&held), Arc::clone(&count));
        async move {
            let _held = ledger.lock().expect("no panic");
            let told = ctx.channel().broadcast("left", &json!({ "remaining": ctx.remaining() }));
            left.fetch_add(1, Ordering::SeqCst);
            told
        }
    });
    let (_server, address) = serve(&pond).await;
    let peers = (0..6).map(|n| {
        tokio::spawn(async move {
            let mut peer = Peer::connect(address, &format!("/?user=user-{n}")).await;
            for _ in 0..20 {
                peer.join("/room", json!({})).await;
                for _ in 0..5 {
                    peer.event("/room", "all", json!({})).await;
                    peer.until("all").await;
                }
                peer.event("/room", "evict-me", json!({})).await;
                peer.until("EVICTED").await;
            }
            peer.join("/room", json!({})).await;
            peer
        })
    });
    let mut joined = Vec::new();
    for peer in peers.collect::<Vec<_>>() {
        joined.push(peer.await.expect("no deadlock"));
    }
    assert_eq!(*ledger.lock().expect("no panic"), 6 * 20 * 5);
    joined[0].event("/room", "close-all", json!({})).await;
    for peer in &mut joined {
        assert_eq!(peer.closed().await.expect("a close frame").code, 1000.into());
    }
    eventually("every leave handler has run", || left.load(Ordering::SeqCst) == 6 * 21).await;
    assert_eq!(endpoint.channel("/room").expect("ours").member_count(), 0);
}

//! Channels that keep their last messages: clients that were away get what they missed, or are told that they cannot.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, GapReason, History, JoinContext, Joined, Lobby, Next,
    Options, Outgoing, OutgoingContext, Payload, PondSocket, Position, Recovery, Result,
};
use serde_json::{Value, json};
use testkit::{EventPeer, Peer, Recorder, eventually, serve};
use tokio::sync::Notify;

async fn named(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").map(str::to_owned);
    let accepted = ctx.accept();
    Ok(match user {
        Some(user) => accepted.user_id(&user),
        None => accepted,
    })
}

/// A member says something to all, to all but itself, to one user, or to itself.
async fn say(ctx: EventContext, Payload(payload): Payload<Value>) -> Result<()> {
    match ctx.event() {
        "say" => ctx.broadcast("said", &payload).map(drop),
        "tell" => ctx.broadcast_from("said", &payload).map(drop),
        "whisper" => ctx.broadcast_to(["bob"], "whispered", &payload).map(drop),
        "type" => ctx.broadcast("typing", &payload).map(drop),
        _ => ctx.reply("answered", &payload),
    }
}

async fn accept(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

struct Chat {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    recorder: Arc<Recorder>,
}

impl Chat {
    fn connections(&self) -> usize {
        self.pond.snapshot().endpoints[0].connections
    }
}

fn chat_with(options: Options, history: History) -> Chat {
    let recorder = Arc::new(Recorder::default());
    let pond = PondSocket::with_options(options).expect("valid options").metrics(Arc::clone(&recorder));
    let endpoint = pond.create_endpoint("/", named);
    let lobby = endpoint.create_channel("/chat/:room", accept);
    lobby.history(history);
    for event in ["say", "tell", "whisper", "type", "ask"] {
        lobby.on_event(event, say);
    }
    Chat { pond, endpoint, lobby, recorder }
}

fn chat(history: History) -> Chat {
    chat_with(Options::default(), history)
}

/// Joins, and returns the payload of the acknowledgement.
async fn join(peer: &mut Peer, channel: &str, payload: Value) -> Value {
    let id = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, payload).await;
    let answer = peer.next().await;
    assert_eq!((&answer["event"], &answer["requestId"]), (&json!("ACKNOWLEDGE"), &json!(id)), "{answer}");
    answer["payload"].clone()
}

/// A client that has joined with a request to resume, and the acknowledgement.
async fn resumed(address: SocketAddr, user: &str, resume: &str) -> (Peer, Value) {
    let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
    let answer = join(&mut peer, "/chat/a", json!({ "$resume": resume })).await;
    (peer, answer)
}

/// The next broadcast: its position and number.
async fn said(peer: &mut Peer) -> (Position, u64) {
    let message = peer.next().await;
    assert_eq!((&message["action"], &message["event"]), (&json!("BROADCAST"), &json!("said")), "{message}");
    let position = message["requestId"].as_str().expect("text").parse().expect("a position");
    (position, message["payload"]["n"].as_u64().expect("a number"))
}

async fn numbers(peer: &mut Peer, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(said(peer).await.1);
    }
    numbers
}

async fn say_all(peer: &mut Peer, numbers: impl Iterator<Item = u64>) {
    for n in numbers {
        peer.event("/chat/a", "say", json!({ "n": n })).await;
        assert_eq!(said(peer).await.1, n);
    }
}

#[tokio::test]
async fn a_client_that_was_cut_off_gets_what_it_missed_once_and_in_order() {
    let chat = chat(History::new());
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, first) = resumed(address, "ada", "").await;
    assert_eq!(first["recovered"], json!(false), "{first}");
    let (mut bob, _) = resumed(address, "bob", "").await;
    say_all(&mut ada, 1..4).await;
    let mut last = None;
    for n in 1..3 {
        let (position, number) = said(&mut bob).await;
        assert_eq!((position.offset, number), (n, n));
        last = Some(position);
    }
    let last = last.expect("two messages").to_string();
    bob.reset();
    say_all(&mut ada, 4..6).await;
    // The third message may have been on its way to Bob: he asks for all behind the second.
    let (mut bob, answer) = resumed(address, "bob", &last).await;
    let epoch = last.split('.').next().expect("an epoch");
    assert_eq!(answer, json!({ "position": format!("{epoch}.5"), "recovered": true, "missed": 3 }));
    say_all(&mut ada, 6..8).await;
    assert_eq!(numbers(&mut bob, 5).await, [3, 4, 5, 6, 7]);
    eventually("the leave of the lost connection", || chat.connections() == 2).await;
    assert_eq!(
        chat.recorder.of("channel_resumed"),
        ["/ ada /chat/a New 0", "/ bob /chat/a New 0", "/ bob /chat/a Resumed { missed: 3, may_repeat: 0 } 3"]
    );
}

#[tokio::test]
async fn clients_of_event_streams_resume_as_well() {
    let chat = chat(History::new());
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    say_all(&mut ada, 1..3).await;
    let mut bob = EventPeer::connect(address, "/?user=bob").await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({ "$resume": start["position"] })).await;
    assert_eq!(bob.next().await["payload"]["missed"], json!(2));
    for n in 1..3 {
        assert_eq!(bob.next().await["payload"]["n"], json!(n));
    }
}

#[tokio::test]
async fn a_client_learns_why_it_cannot_get_what_it_missed() {
    let chat = chat(History::new().messages(3).replay_at_most(2, 1 << 20));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    chat.lobby.layer_join(move |ctx: JoinContext, next: Next<JoinContext>| {
        note.lock().expect("no panic").push(ctx.recovery());
        next.run(ctx)
    });
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    say_all(&mut ada, 1..6).await;
    let position = |offset: u64| {
        let epoch = start["position"].as_str().and_then(|text| text.split('.').next()).expect("an epoch");
        format!("{epoch}.{offset}")
    };
    for (resume, gap) in [
        (position(1), "trimmed"),
        (position(2), "too_many"),
        (position(6), "ahead"),
        ("zzzzzz.3".to_owned(), "epoch"),
        ("01020304-0506-1708-8910-00c04fd430c8".to_owned(), "epoch"),
    ] {
        let (mut peer, answer) = resumed(address, "bob", &resume).await;
        assert_eq!(answer, json!({ "position": position(5), "recovered": false, "gap": gap }), "{resume}");
        peer.nothing_before_reply("/chat/a", "ask").await;
    }
    let gaps = [GapReason::Trimmed, GapReason::TooMany, GapReason::Ahead, GapReason::Epoch, GapReason::Epoch];
    assert_eq!(seen.lock().expect("no panic")[1..], gaps.map(Recovery::Gap));
    let mut peer = Peer::connect(address, "/").await;
    let declined = peer.join_declined("/chat/a", json!({ "$resume": 5 })).await;
    assert_eq!(
        (&declined["code"], &declined["message"]),
        (&json!(400), &json!("`$resume` must be a string: a position, or an empty one"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_keeps_its_messages_while_nobody_is_there_until_they_expire() {
    let chat = chat(History::new().ttl(Duration::from_secs(30)));
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, _) = resumed(address, "ada", "").await;
    say_all(&mut ada, 1..2).await;
    ada.event("/chat/a", "say", json!({ "n": 2 })).await;
    let (last, _) = said(&mut ada).await;
    ada.leave("/chat/a").await;
    let position = Position { offset: 1, ..last }.to_string();
    assert_eq!(join(&mut ada, "/chat/a", json!({ "$resume": position })).await["missed"], json!(1));
    assert_eq!(said(&mut ada).await, (last, 2));
    ada.leave("/chat/a").await;
    let channels = || chat.pond.snapshot().endpoints[0].channels.len();
    assert_eq!(channels(), 1);
    let start = tokio::time::Instant::now();
    eventually("the end of the channel", || channels() == 0).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(29) && took < Duration::from_secs(33), "{took:?}");
    assert_eq!(chat.pond.snapshot().history.used, 0);
    let answer = join(&mut ada, "/chat/a", json!({ "$resume": position })).await;
    assert_eq!(answer["gap"], json!("epoch"));
    assert_eq!(chat.recorder.of("channel_created").len(), 2);
    assert_eq!(chat.recorder.of("channel_destroyed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_expired_is_a_gap() {
    let chat = chat(History::new().ttl(Duration::from_secs(30)));
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    say_all(&mut ada, 1..2).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    let start = start["position"].as_str().expect("a position");
    assert_eq!(resumed(address, "bob", start).await.1["gap"], json!("expired"));
}

#[tokio::test]
async fn newcomers_get_the_last_messages_and_clients_that_resume_get_those_that_they_missed() {
    let chat = chat(History::new());
    chat.endpoint.create_channel("/last/:room", async |ctx: JoinContext| -> Result<Joined> {
        Ok(ctx.accept().reply("hello", &json!({})).replay_last(2))
    });
    let last = chat.endpoint.create_channel("/recent/:room", async |ctx: JoinContext| -> Result<Joined> {
        Ok(ctx.accept().reply("hello", &json!({})).replay_last(2))
    });
    last.history(History::new());
    let channel = chat.endpoint.channel("/recent/a").expect("a name");
    for n in 1..6 {
        // Nobody is there, and yet the messages are kept.
        let delivery = channel.broadcast("said", &json!({ "n": n })).expect("room");
        assert_eq!((delivery.local, delivery.position.map(|position| position.offset)), (0, Some(n)));
    }
    let kept = channel.history(2);
    let kept: Vec<_> =
        kept.iter().map(|kept| (kept.position().offset, kept.event(), kept.payload().expect("JSON"))).collect();
    assert_eq!(kept, [(4, "said", json!({ "n": 4 })), (5, "said", json!({ "n": 5 }))]);
    let (_server, address) = serve(&chat.pond).await;
    let mut ada = Peer::connect(address, "/").await;
    assert_eq!(join(&mut ada, "/recent/a", json!({})).await, json!({}), "a client that does not ask gets no position");
    assert_eq!(ada.next().await["event"], json!("hello"));
    assert_eq!(numbers(&mut ada, 2).await, [4, 5]);
    let mut bob = Peer::connect(address, "/").await;
    let position = channel.position().map(|position| Position { offset: 1, ..position }).expect("a position");
    join(&mut bob, "/recent/a", json!({ "$resume": position })).await;
    assert_eq!(bob.next().await["event"], json!("hello"));
    assert_eq!(numbers(&mut bob, 4).await, [2, 3, 4, 5]);
    // Without a history the step is a mistake of the application.
    assert_eq!(bob.join_declined("/last/a", json!({})).await["code"], json!(500));
}

#[tokio::test]
async fn a_snapshot_and_what_follows_it_have_no_hole_and_no_repetition() {
    let (started, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let chat = chat(History::new().messages(4));
    let (begun, wait) = (Arc::clone(&started), Arc::clone(&go_on));
    let lobby = chat.endpoint.create_channel("/doc/:id", move |ctx: JoinContext| {
        let (begun, wait) = (Arc::clone(&begun), Arc::clone(&wait));
        async move {
            let position = ctx.position();
            begun.notify_one();
            wait.notified().await;
            if ctx.recovered() {
                return Ok::<_, Error>(ctx.accept());
            }
            Ok(ctx.accept().reply("snapshot", &json!({ "at": position })).replay_from(position))
        }
    });
    lobby.history(History::new().messages(4));
    let (_server, address) = serve(&chat.pond).await;
    let channel = chat.endpoint.channel("/doc/a").expect("a name");
    let send = |n: u64| channel.broadcast("said", &json!({ "n": n })).map(drop).expect("room");
    (1..4).for_each(send);
    let mut ada = Peer::connect(address, "/").await;
    ada.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/doc/a", json!({})).await;
    started.notified().await;
    // More than is kept, but the join still gets all of it: its place is held.
    (4..10).for_each(send);
    go_on.notify_one();
    assert_eq!(ada.next().await["event"], json!("ACKNOWLEDGE"));
    let snapshot = ada.next().await;
    let position: Position = snapshot["payload"]["at"].as_str().expect("text").parse().expect("a position");
    assert_eq!((snapshot["event"].as_str(), position.offset), (Some("snapshot"), 3));
    assert_eq!(numbers(&mut ada, 6).await, [4, 5, 6, 7, 8, 9]);
    // A client that was told that it gets all that it missed gets it, whatever is sent while its handler runs.
    let mut bob = Peer::connect(address, "/").await;
    let from = Position { offset: 7, ..position };
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/doc/a", json!({ "$resume": from })).await;
    started.notified().await;
    (10..15).for_each(send);
    go_on.notify_one();
    let answer = bob.next().await;
    assert_eq!(answer["payload"]["missed"], json!(7), "{answer}");
    assert_eq!(numbers(&mut bob, 7).await, [8, 9, 10, 11, 12, 13, 14]);
}

#[tokio::test]
async fn a_client_that_gets_a_snapshot_is_told_that_it_begins_anew_or_that_messages_are_missing() {
    let chat = chat(History::new());
    let lobby = chat.endpoint.create_channel("/doc/:id", async |ctx: JoinContext| {
        let behind: u64 = ctx.payload::<Value>()?["behind"].as_u64().expect("a number");
        let position = ctx.position().map(|last| Position { offset: last.offset - behind, ..last });
        Ok::<_, Error>(ctx.accept().reply("snapshot", &json!({})).replay_from(position))
    });
    lobby.history(History::new().messages(4));
    let (_server, address) = serve(&chat.pond).await;
    let channel = chat.endpoint.channel("/doc/a").expect("a name");
    (1..10).for_each(|n| channel.broadcast("said", &json!({ "n": n })).map(drop).expect("room"));
    let here = channel.position().expect("a position");
    for (behind, answer, follow) in [
        (0, json!({ "position": here, "recovered": false }), vec![]),
        (2, json!({ "position": here, "recovered": false, "replayed": 2 }), vec![8, 9]),
        (6, json!({ "position": here, "recovered": false, "gap": "trimmed", "replayed": 4 }), vec![6, 7, 8, 9]),
    ] {
        let mut ada = Peer::connect(address, "/").await;
        let resume = Position { offset: 8, ..here };
        assert_eq!(join(&mut ada, "/doc/a", json!({ "$resume": resume, "behind": behind })).await, answer);
        // The chain replies first.
        assert_eq!(ada.next().await["event"], json!("snapshot"));
        assert_eq!(numbers(&mut ada, follow.len()).await, follow);
    }
    let resumed = chat.recorder.of("channel_resumed");
    assert_eq!(resumed.len(), 3, "{resumed:?}");
}

#[tokio::test]
async fn only_broadcasts_are_kept_and_own_messages_do_not_come_back() {
    let chat = chat(History::new().without(["typing"]));
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    let (mut bob, _) = resumed(address, "bob", "").await;
    for (event, n) in [("type", 1), ("tell", 2), ("whisper", 3), ("ask", 4), ("say", 5)] {
        ada.event("/chat/a", event, json!({ "n": n })).await;
    }
    assert_eq!(bob.until("typing").await["requestId"].as_str().map(str::len), Some(36), "no position");
    assert_eq!(said(&mut bob).await.1, 2);
    assert_eq!(bob.next().await["event"], json!("whispered"));
    assert_eq!(said(&mut bob).await.1, 5);
    let start = start["position"].as_str().expect("a position");
    drop((ada, bob));
    eventually("the end of both", || chat.connections() == 0).await;
    let (mut bob, answer) = resumed(address, "bob", start).await;
    assert_eq!(answer["missed"], json!(2));
    assert_eq!(numbers(&mut bob, 2).await, [2, 5]);
    let (mut ada, answer) = resumed(address, "ada", start).await;
    assert_eq!(answer["missed"], json!(1));
    assert_eq!(numbers(&mut ada, 1).await, [5]);
}

#[tokio::test]
async fn outgoing_handlers_decide_about_replayed_messages_for_the_client_as_it_is_then() {
    let chat = chat(History::new());
    chat.lobby.on_outgoing("said", |ctx: &OutgoingContext| -> Result<Outgoing> {
        let n: Value = ctx.payload()?;
        match (n["n"].as_u64(), ctx.recipient().id()) {
            (Some(2), "bob") => Ok(Outgoing::Block),
            (Some(3), _) => Outgoing::replace(&json!({ "n": 33 })),
            _ => Ok(Outgoing::Pass),
        }
    });
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    for n in 1..5 {
        ada.event("/chat/a", "say", json!({ "n": n })).await;
    }
    assert_eq!(numbers(&mut ada, 4).await, [1, 2, 33, 4]);
    let (mut bob, _) = resumed(address, "bob", start["position"].as_str().expect("a position")).await;
    assert_eq!(numbers(&mut bob, 3).await, [1, 33, 4]);
}

#[tokio::test]
async fn the_request_to_resume_is_hidden_from_handlers_where_a_history_is_kept() {
    let chat = chat(History::new().stamp("_pos"));
    let echo = async |ctx: JoinContext, Payload(payload): Payload<Value>| -> Result<Joined> {
        Ok(ctx.accept().reply("payload", &payload))
    };
    chat.endpoint.create_channel("/keeps/:room", echo).history(History::new());
    chat.endpoint.create_channel("/plain/:room", echo);
    let (_server, address) = serve(&chat.pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let payload = json!({ "a": 1, "$resume": "", "b": { "$resume": 2 } });
    let answer = join(&mut peer, "/keeps/a", payload.clone()).await;
    assert_eq!(answer["recovered"], json!(false));
    assert_eq!(peer.next().await["payload"], json!({ "a": 1, "b": { "$resume": 2 } }));
    assert_eq!(join(&mut peer, "/plain/a", payload.clone()).await, json!({}));
    assert_eq!(peer.next().await["payload"], payload);
    // A stamped message carries its position in the payload, live and replayed.
    let (mut ada, start) = resumed(address, "ada", "").await;
    ada.event("/chat/a", "say", json!({ "n": 1 })).await;
    let live = ada.next().await;
    assert_eq!(live["payload"], json!({ "_pos": live["requestId"], "n": 1 }));
    let (mut bob, _) = resumed(address, "bob", start["position"].as_str().expect("a position")).await;
    assert_eq!(bob.next().await, live);
}

#[tokio::test]
async fn the_histories_that_were_used_longest_ago_are_emptied_over_the_limit_of_the_server() {
    const LIMIT: usize = 64 * 1024;
    let chat = chat_with(Options::default().history_bytes(LIMIT), History::new().bytes(20 * 1024));
    let (_server, address) = serve(&chat.pond).await;
    let filler = "x".repeat(2000);
    let channel = |n: usize| chat.endpoint.channel(&format!("/chat/{n}")).expect("a name");
    for n in 0..8 {
        for _ in 0..5 {
            channel(n).broadcast("said", &json!({ "filler": filler })).expect("room");
        }
        // Each has another time of its last use.
        tokio::time::sleep(Duration::from_millis(2)).await;
        eventually("room for the others", || chat.pond.snapshot().history.used <= LIMIT).await;
    }
    let kept: Vec<_> = (0..8).map(|n| channel(n).history(9).len()).collect();
    let first = kept.iter().position(|kept| *kept > 0).expect("the last ones are kept");
    assert!(first > 0 && kept[first..].iter().all(|kept| *kept == 5), "{kept:?}");
    let limits: HashSet<_> = chat.recorder.of("limit_reached").into_iter().collect();
    assert_eq!(limits, HashSet::from(["/ history".to_owned()]));
    let start = channel(0).position().map(|position| Position { offset: 0, ..position });
    if let Some(start) = start {
        let mut peer = Peer::connect(address, "/").await;
        assert_eq!(join(&mut peer, "/chat/0", json!({ "$resume": start })).await["gap"], json!("trimmed"));
    }
}

#[tokio::test]
async fn a_join_that_is_repeated_is_acknowledged_and_replays_nothing() {
    let chat = chat(History::new());
    let (_server, address) = serve(&chat.pond).await;
    let (mut ada, start) = resumed(address, "ada", "").await;
    say_all(&mut ada, 1..2).await;
    assert_eq!(join(&mut ada, "/chat/a", json!({ "$resume": start["position"] })).await, json!({}));
    ada.nothing_before_reply("/chat/a", "ask").await;
}

#[test]
#[should_panic(expected = "the limits of a history must not be zero")]
fn a_history_without_room_is_refused_at_its_registration() {
    chat(History::new().messages(0));
}

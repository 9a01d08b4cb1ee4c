//! Clients that do not know their position resume by a session: the server knows what they have received.

use std::net::SocketAddr;
use std::time::Duration;

use pondsocket::{GapReason, History, JoinContext, Joined, Options, Recovery, SlowClient, Unproven};
use serde_json::{Value, json};
use testkit::{BOB, Peer, SESSION_KEY, SessionChat, eventually, resumed, serve};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

fn chat_with(options: Options) -> SessionChat {
    SessionChat::new(options, History::new())
}

/// A chat whose clients are pinged behind each message.
fn chat() -> SessionChat {
    chat_with(Options::default().proof_interval(Duration::ZERO))
}

async fn bob(address: SocketAddr) -> Peer {
    bob_at(address, BOB).await
}

async fn bob_at(address: SocketAddr, path: &str) -> Peer {
    let mut bob = Peer::connect(address, path).await;
    bob.join("/chat/a", json!({})).await;
    bob
}

/// Waits until the server has handled all that a client has sent, answers to pings included.
async fn round_trip(peer: &mut Peer) {
    peer.nothing_before_reply("/chat/a", "ask").await;
}

#[tokio::test]
async fn a_client_that_knows_nothing_of_it_gets_what_it_missed() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), Recovery::New);
    chat.say(1..4);
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
    round_trip(&mut client).await;
    client.reset();
    chat.is_empty().await;
    chat.say(4..6);
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), resumed(2, 0));
    chat.say(6..7);
    assert_eq!(client.numbers(3).await, [4, 5, 6]);
    // It has joined: the position is used up.
    client.leave("/chat/a").await;
    client.join("/chat/a", json!({})).await;
    assert_eq!(chat.recovery(), Recovery::New);
    round_trip(&mut client).await;
}

#[tokio::test]
async fn what_a_client_may_not_have_received_comes_again() {
    let chat = chat_with(Options::default().proof_interval(Duration::from_secs(3600)));
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    chat.say(1..2);
    assert_eq!(client.numbers(1).await, [1]);
    round_trip(&mut client).await;
    // The ping behind the first message was the last one for an hour.
    chat.say(2..5);
    assert_eq!(client.numbers(3).await, [2, 3, 4]);
    client.reset();
    chat.is_empty().await;
    chat.say(5..6);
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), resumed(4, 3));
    assert_eq!(client.numbers(4).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn a_client_that_answers_the_close_frame_has_received_everything() {
    let chat = chat_with(Options::default().proof_interval(Duration::from_secs(3600)));
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    chat.say(1..4);
    let id = client.id.clone();
    chat.endpoint.connection(&id).expect("connected").disconnect();
    assert_eq!(client.numbers(3).await, [1, 2, 3]);
    assert!(client.closed().await.is_some());
    // tungstenite answers the close frame when it is read on.
    assert_eq!(client.frame().await, None);
    eventually("the end of the connection", || chat.pond.snapshot().endpoints[0].closing == 0).await;
    chat.say(4..5);
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), resumed(1, 0));
    assert_eq!(client.numbers(1).await, [4]);
}

#[tokio::test]
async fn a_client_that_closes_for_good_ends_its_session_and_a_reload_does_not() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    for (code, expected) in [(1001, resumed(1, 0)), (1000, Recovery::New)] {
        let path = format!("{BOB}-{code}");
        let mut client = bob_at(address, &path).await;
        round_trip(&mut client).await;
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        client.socket.close(Some(frame)).await.expect("the server reads");
        client.closed().await;
        eventually("the end of the connection", || chat.connections() == 0).await;
        chat.say(1..2);
        let client = bob_at(address, &path).await;
        assert_eq!(chat.recovery(), expected, "{code}");
        client.reset();
        chat.is_empty().await;
    }
}

#[tokio::test]
async fn two_clients_with_one_key_are_told_apart_while_both_answer() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut first = bob(address).await;
    chat.say(1..2);
    assert_eq!(first.numbers(1).await, [1]);
    let (second, _) = tokio::join!(bob(address), async {
        // It reads, and so answers the ping.
        round_trip(&mut first).await;
        tokio::time::timeout(Duration::from_millis(300), first.message()).await.expect_err("nothing else comes");
    });
    assert_eq!(chat.recovery(), Recovery::New);
    chat.say(2..3);
    let mut second = second;
    for client in [&mut first, &mut second] {
        assert_eq!(client.numbers(1).await, [2]);
    }
    // The session is still that of the first one.
    round_trip(&mut first).await;
    first.reset();
    eventually("the loss is noticed", || chat.connections() == 1).await;
    chat.say(3..4);
    let mut first = bob(address).await;
    assert_eq!(first.numbers(1).await, [3]);
}

#[tokio::test]
async fn a_client_whose_older_connection_is_dead_takes_over_its_session() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut dead = bob(address).await;
    chat.say(1..3);
    assert_eq!(dead.numbers(2).await, [1, 2]);
    round_trip(&mut dead).await;
    // From here on it neither reads nor answers, and the server does not notice.
    chat.say(3..5);
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), resumed(2, 2));
    assert_eq!(client.numbers(2).await, [3, 4]);
    let messages = dead.numbers(2).await;
    assert_eq!(messages, [3, 4], "they were on their way");
    assert_eq!(dead.closed().await.map(|frame| u16::from(frame.code)), Some(1008));
}

#[tokio::test]
async fn a_session_gives_the_user_id_back_and_belongs_to_one_user() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let user = |at: usize| chat.joins()[at].0.clone();
    for _ in 0..2 {
        let mut client = Peer::connect(address, &format!("/?key={SESSION_KEY}")).await;
        client.join("/chat/a", json!({})).await;
        chat.say(1..2);
        client.numbers(1).await;
        round_trip(&mut client).await;
        client.reset();
        chat.is_empty().await;
    }
    assert_eq!((user(0), chat.recovery()), (user(1), resumed(0, 0)));
    let mut other = Peer::connect(address, &format!("/?user=eve&key={SESSION_KEY}")).await;
    other.join("/chat/a", json!({})).await;
    assert_eq!(chat.recovery(), Recovery::New);
    for (path, message) in [
        ("/?user=bob&key=short", "a session key has 16 to 128 characters"),
        ("/?key=16-characters-or", "without a user id a session key has at least 22 characters"),
    ] {
        let (status, body) = Peer::refused(address, path).await;
        assert_eq!(status, 400);
        assert!(body.contains(message), "{body}");
    }
}

#[tokio::test]
async fn messages_that_were_dropped_for_a_slow_client_come_when_it_resumes() {
    let chat = chat_with(Options::default().proof_interval(Duration::ZERO).send_channel_buffer(4));
    chat.lobby.slow_client("said", SlowClient::DropOldest);
    let (_server, address) = serve(&chat.pond).await;
    let mut client = Peer::connect_narrow(address, BOB, 4096).await;
    client.join("/chat/a", json!({})).await;
    let filler = "x".repeat(20_000);
    let channel = chat.endpoint.channel("/chat/a").expect("a name");
    for n in 1..40 {
        channel.broadcast("said", &json!({ "n": n, "filler": filler })).expect("room");
        channel.ready().await;
    }
    eventually("messages are dropped or sent", || {
        chat.pond.snapshot().endpoints[0].channels.iter().all(|channel| channel.queued == 0)
    })
    .await;
    client.reset();
    chat.is_empty().await;
    let mut client = bob(address).await;
    // It has answered no ping, so all that is kept comes again: 13 messages fill the 256 KiB of the history.
    let recovery = chat.recovery();
    let kept = channel.history(99).len();
    match recovery {
        Recovery::Resumed { missed, .. } => assert_eq!(missed, kept),
        Recovery::Gap(reason) => assert_eq!(reason.to_string(), "trimmed"),
        other => panic!("{other:?}"),
    }
    round_trip_or_message(&mut client).await;
}

async fn round_trip_or_message(peer: &mut Peer) {
    peer.event("/chat/a", "ask", json!({})).await;
    peer.until("answered").await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_forgotten_after_its_window() {
    let chat = chat_with(Options::default().resume_window(Duration::from_secs(20)).proof_interval(Duration::ZERO));
    let (_server, address) = serve(&chat.pond).await;
    for (pause, expected) in [(15, resumed(0, 0)), (25, Recovery::New)] {
        let mut client = bob(address).await;
        round_trip(&mut client).await;
        client.reset();
        chat.is_empty().await;
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let client = bob(address).await;
        assert_eq!(chat.recovery(), expected, "{pause}");
        client.reset();
        chat.is_empty().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(chat.pond.snapshot().endpoints[0].sessions, 0);
    }
}

#[tokio::test]
async fn over_the_limit_of_sessions_a_client_has_none_and_is_served_all_the_same() {
    let chat = chat_with(Options::default().proof_interval(Duration::ZERO).max_sessions(1));
    let (_server, address) = serve(&chat.pond).await;
    let mut first = bob(address).await;
    let mut second = bob_at(address, &format!("{BOB}-2")).await;
    assert_eq!(chat.pond.snapshot().endpoints[0].sessions, 1);
    chat.say(1..2);
    for client in [&mut first, &mut second] {
        assert_eq!(client.numbers(1).await, [1]);
        round_trip(client).await;
    }
    first.reset();
    second.reset();
    chat.is_empty().await;
    for (path, expected) in [(BOB.to_owned(), resumed(0, 0)), (format!("{BOB}-2"), Recovery::New)] {
        bob_at(address, &path).await;
        assert_eq!(chat.recovery(), expected, "{path}");
    }
}

/// A client has received messages 1 to 4, of which only the first is proven, and is away while the fifth is sent.
async fn away_with_an_unproven_tail(chat: &SessionChat, address: SocketAddr) {
    let mut client = bob(address).await;
    chat.say(1..2);
    assert_eq!(client.numbers(1).await, [1]);
    round_trip(&mut client).await;
    chat.say(2..5);
    assert_eq!(client.numbers(3).await, [2, 3, 4]);
    client.reset();
    chat.is_empty().await;
    chat.say(5..6);
}

#[tokio::test]
async fn a_history_says_what_is_done_with_messages_that_may_have_arrived() {
    for (unproven, expected, received) in [
        (Unproven::Repeat, resumed(4, 3), vec![2, 3, 4, 5]),
        (Unproven::Skip, resumed(1, 0), vec![5]),
        (Unproven::Gap, Recovery::Gap(GapReason::Unproven), vec![]),
    ] {
        let chat = chat_with(Options::default().proof_interval(Duration::from_secs(3600)));
        chat.lobby.history(History::new().unproven(unproven));
        let (_server, address) = serve(&chat.pond).await;
        away_with_an_unproven_tail(&chat, address).await;
        let mut client = bob(address).await;
        assert_eq!(chat.recovery(), expected);
        chat.say(6..7);
        let all: Vec<_> = received.into_iter().chain([6]).collect();
        assert_eq!(client.numbers(all.len()).await, all, "{unproven:?}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_join_again_proves_nothing_of_the_channel() {
    let chat = chat_with(Options::default().proof_interval(Duration::from_secs(3600)));
    let (_server, address) = serve(&chat.pond).await;
    away_with_an_unproven_tail(&chat, address).await;
    let mut client = Peer::connect(address, BOB).await;
    chat.endpoint.connection(&client.id).expect("connected").disconnect();
    // The close frame is answered.
    assert!(client.closed().await.is_some());
    assert_eq!(client.frame().await, None);
    eventually("the end of the connection", || chat.pond.snapshot().endpoints[0].closing == 0).await;
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), resumed(4, 3));
    assert_eq!(client.numbers(4).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn nothing_that_may_have_arrived_is_no_gap() {
    let chat = chat();
    chat.lobby.history(History::new().unproven(Unproven::Gap));
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    chat.say(1..2);
    assert_eq!(client.numbers(1).await, [1]);
    round_trip(&mut client).await;
    client.reset();
    chat.is_empty().await;
    chat.say(2..3);
    let mut client = bob(address).await;
    assert_eq!((chat.recovery(), client.numbers(1).await), (resumed(1, 0), vec![2]));
}

#[tokio::test]
async fn a_history_may_give_everybody_only_the_own_past() {
    let chat = chat();
    chat.lobby.history(History::new().own_past_only());
    let (_server, address) = serve(&chat.pond).await;
    // From before the first join of anybody.
    chat.say(1..3);
    let position = chat.endpoint.channel("/chat/a").expect("a name").position().expect("open").to_string();
    let first = position.replace(".2", ".0");
    let mut eve = Peer::connect(address, "/?user=eve").await;
    eve.join("/chat/a", json!({ "$resume": first })).await;
    assert_eq!(chat.recovery(), Recovery::Gap(GapReason::Unproven), "without a session");
    let mut client = Peer::connect(address, BOB).await;
    client.join("/chat/a", json!({ "$resume": first })).await;
    assert_eq!(chat.recovery(), Recovery::Gap(GapReason::Unproven), "its session was not there");
    chat.say(3..5);
    assert_eq!(client.numbers(2).await, [3, 4]);
    client.reset();
    eventually("the loss is noticed", || chat.connections() == 1).await;
    chat.say(5..6);
    // The same position again: now its session was there, from the third message on.
    let mut client = Peer::connect(address, BOB).await;
    client.join("/chat/a", json!({ "$resume": first })).await;
    let Recovery::Resumed { missed, may_repeat: 0 } = chat.recovery() else { panic!("{:?}", chat.recovery()) };
    assert!((1..=3).contains(&missed), "{missed}: none from before its first join");
    let received = client.numbers(missed).await;
    assert_eq!(received.last(), Some(&5));
    round_trip(&mut client).await;
}

#[tokio::test]
async fn a_handler_can_forget_what_a_client_has_missed() {
    let chat = chat();
    let forgetting = chat.endpoint.create_channel("/forget/:room", async |ctx: JoinContext| {
        let recovered = ctx.recovered();
        Ok::<Joined, pondsocket::Error>(ctx.accept().forget().reply("recovered", &json!({ "is": recovered })))
    });
    forgetting.history(History::new());
    let (_server, address) = serve(&chat.pond).await;
    let channel = chat.endpoint.channel("/forget/a").expect("a name");
    for session in [true, false] {
        let path = if session { BOB } else { "/?user=bob" };
        let mut client = Peer::connect(address, path).await;
        client.join("/forget/a", json!({})).await;
        client.until("recovered").await;
        channel.broadcast("said", &json!({ "n": 1 })).expect("room");
        let position = client.until("said").await["requestId"].clone();
        client.reset();
        chat.is_empty().await;
        channel.broadcast("said", &json!({ "n": 2 })).expect("room");
        let mut client = Peer::connect(address, path).await;
        let payload = if session { json!({}) } else { json!({ "$resume": position }) };
        client.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/forget/a", payload).await;
        let acknowledgement = client.next().await;
        let told = &acknowledgement["payload"]["recovered"];
        assert_eq!(*told, if session { Value::Null } else { json!(false) });
        // Nothing stands between the two.
        assert_eq!(client.next().await["payload"], json!({ "is": true }));
        client.reset();
        chat.is_empty().await;
    }
}

#[tokio::test]
async fn a_user_that_was_evicted_meanwhile_is_a_new_one() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    let other = bob_at(address, &format!("{BOB}-2")).await;
    chat.say(1..2);
    let position = client.next().await["requestId"].clone();
    round_trip(&mut client).await;
    client.reset();
    eventually("the loss is noticed", || chat.connections() == 1).await;
    chat.say(2..3);
    chat.endpoint.channel("/chat/a").expect("a name").evict("bob", "no more").await.expect("a member");
    chat.say(3..4);
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), Recovery::New, "by its session");
    round_trip(&mut client).await;
    let mut knowing = Peer::connect(address, "/?user=bob").await;
    knowing.join("/chat/a", json!({ "$resume": position })).await;
    assert_eq!(chat.recovery(), Recovery::New, "by its position");
    let mut eve = Peer::connect(address, "/?user=eve").await;
    eve.join("/chat/a", json!({ "$resume": position })).await;
    assert_eq!(chat.recovery(), resumed(2, 0), "another user");
    drop(other);
}

#[tokio::test]
async fn an_evicted_user_that_was_admitted_again_loses_nothing_from_then_on() {
    let chat = chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    chat.say(1..6);
    assert_eq!(client.numbers(5).await, [1, 2, 3, 4, 5]);
    let channel = chat.endpoint.channel("/chat/a").expect("a name");
    channel.evict("bob", "no more").await.expect("a member");
    client.until("EVICTED").await;
    client.reset();
    eventually("the loss is noticed", || chat.connections() == 0).await;
    let mut client = bob(address).await;
    assert_eq!(chat.recovery(), Recovery::New);
    round_trip(&mut client).await;
    let position = channel.position().expect("a position").to_string();
    client.reset();
    chat.is_empty().await;
    chat.say(6..9);
    // By its session, twice, because it may be cut off before it has received anything; and by its position.
    for may_repeat in [0, 3] {
        let client = bob(address).await;
        assert_eq!(chat.recovery(), resumed(3, may_repeat));
        client.reset();
        chat.is_empty().await;
    }
    let mut knowing = Peer::connect(address, "/?user=bob").await;
    knowing.join("/chat/a", json!({ "$resume": position })).await;
    assert_eq!(chat.recovery(), resumed(3, 0));
    assert_eq!(knowing.numbers(3).await, [6, 7, 8]);
}

#[tokio::test]
async fn a_client_that_brings_its_position_needs_no_session() {
    let chat = chat_with(Options::default().proof_interval(Duration::from_secs(3600)));
    let (_server, address) = serve(&chat.pond).await;
    let mut client = bob(address).await;
    chat.say(1..3);
    let mut last = Value::Null;
    for _ in 1..3 {
        last = client.next().await["requestId"].clone();
    }
    client.reset();
    chat.is_empty().await;
    chat.say(3..4);
    let mut client = Peer::connect(address, BOB).await;
    client.join("/chat/a", json!({ "$resume": last })).await;
    assert_eq!(chat.recovery(), resumed(1, 0), "it knows better than the server what it has received");
    assert_eq!(client.numbers(1).await, [3]);
}

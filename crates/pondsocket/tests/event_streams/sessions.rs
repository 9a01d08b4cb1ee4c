//! Event streams resume: by a session, and by the id of the last event.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use hyper::{Method, StatusCode};
use pondsocket::{GapReason, History, Options, Recovery, Server, SlowClient};
use serde_json::json;
use testkit::{BOB, EventPeer, Peer, SessionChat, resumed, serve};

/// The chat, served, with an event `typing` that is not kept.
struct Chat {
    chat: SessionChat,
    _server: Server,
    address: SocketAddr,
}

impl Deref for Chat {
    type Target = SessionChat;

    fn deref(&self) -> &SessionChat {
        &self.chat
    }
}

async fn chat() -> Chat {
    chat_with(Options::default(), History::new()).await
}

async fn chat_with(options: Options, history: History) -> Chat {
    let chat = SessionChat::new(options.proof_interval(Duration::ZERO), history.without(["typing"]));
    let (server, address) = serve(&chat.pond).await;
    Chat { chat, _server: server, address }
}

impl Chat {
    fn say_in(&self, room: &str, n: u64) {
        self.endpoint.channel(room).expect("a name").broadcast("said", &json!({ "n": n })).expect("room");
    }

    /// Connects and joins, without any id.
    async fn bob(&self) -> EventPeer {
        let mut bob = EventPeer::connect(self.address, BOB).await;
        bob.join("/chat/a", json!({})).await;
        bob
    }

    async fn bob_after(&self, last_event: &str) -> EventPeer {
        let mut bob = EventPeer::connect_after(self.address, BOB, last_event).await;
        bob.join("/chat/a", json!({})).await;
        bob
    }
}

#[tokio::test]
async fn only_events_of_kept_messages_on_a_stream_with_a_session_have_ids() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    let mut ann = EventPeer::connect(chat.address, "/").await;
    ann.join("/chat/a", json!({})).await;
    assert_eq!((&bob.last_event, &ann.last_event), (&None, &None));
    chat.say(1..3);
    for _ in 0..2 {
        let message = bob.until("said").await;
        assert_eq!(json!(bob.last_event), message["requestId"], "the id is the position");
    }
    let last = bob.last_event.clone();
    chat.endpoint.channel("/chat/a").expect("a name").broadcast("typing", &json!({})).expect("room");
    bob.until("typing").await;
    bob.event("/chat/a", "ask", json!({})).await;
    bob.until("answered").await;
    assert_eq!(bob.last_event, last);
    assert_eq!(ann.numbers(2).await, [1, 2]);
    assert_eq!(ann.last_event, None);
}

#[tokio::test]
async fn an_event_source_resumes_exactly_behind_the_last_event_that_it_has_received() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..4);
    assert_eq!(bob.numbers(2).await, [1, 2]);
    let last = bob.last_event.clone().expect("an id");
    // The third message was sent, and is lost with the connection.
    drop(bob);
    chat.is_empty().await;
    chat.say(4..5);
    let mut bob = chat.bob_after(&last).await;
    assert_eq!(chat.recovery(), resumed(2, 0));
    assert_eq!(bob.numbers(2).await, [3, 4]);
    // The id is used up with the join.
    bob.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/chat/a", json!({})).await;
    bob.until("EXIT_ACKNOWLEDGE").await;
    bob.join("/chat/a", json!({})).await;
    assert_eq!(chat.recovery(), Recovery::New);
}

#[tokio::test]
async fn the_id_of_a_server_that_is_gone_is_a_gap_in_all_channels_of_the_stream() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..2);
    assert_eq!(bob.numbers(1).await, [1]);
    let last = bob.last_event.clone().expect("an id");
    let next = self::chat().await;
    next.say(1..3);
    let mut bob = next.bob_after(&last).await;
    assert_eq!(next.recovery(), Recovery::Gap(GapReason::Epoch));
    bob.join("/chat/b", json!({})).await;
    assert_eq!(next.recovery(), Recovery::Gap(GapReason::Epoch));
    next.say(3..4);
    assert_eq!(bob.numbers(1).await, [3]);
    // Without an id nothing shows that the client was here before.
    EventPeer::connect(next.address, "/?user=eve&key=6f1e6b1c-session-of-eve").await.join("/chat/a", json!({})).await;
    assert_eq!(next.recovery(), Recovery::New);
}

#[tokio::test]
async fn an_id_is_that_of_one_channel_and_the_others_resume_by_the_session() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    bob.join("/chat/b", json!({})).await;
    for (room, n) in [("/chat/a", 1), ("/chat/b", 2), ("/chat/b", 3), ("/chat/a", 4)] {
        chat.say_in(room, n);
        assert_eq!(bob.numbers(1).await, [n]);
    }
    let last = bob.last_event.clone().expect("an id");
    drop(bob);
    chat.is_empty().await;
    chat.say(5..6);
    chat.say_in("/chat/b", 6);
    let mut bob = chat.bob_after(&last).await;
    assert_eq!((chat.recovery(), bob.numbers(1).await), (resumed(1, 0), vec![5]));
    bob.join("/chat/b", json!({})).await;
    assert_eq!((chat.recovery(), bob.numbers(3).await), (resumed(3, 2), vec![2, 3, 6]));
}

#[tokio::test]
async fn a_client_that_sends_no_id_gets_all_since_its_join_again() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..4);
    assert_eq!(bob.numbers(3).await, [1, 2, 3]);
    drop(bob);
    chat.is_empty().await;
    chat.say(4..6);
    let mut bob = chat.bob().await;
    assert_eq!(chat.recovery(), resumed(5, 3), "nothing proves what it has received");
    assert_eq!(bob.numbers(5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_position_in_the_join_precedes_the_id_of_an_event() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..4);
    assert_eq!(bob.numbers(1).await, [1]);
    let first = bob.last_event.clone().expect("an id");
    assert_eq!(bob.numbers(2).await, [2, 3]);
    let third = bob.last_event.clone().expect("an id");
    drop(bob);
    chat.is_empty().await;
    let mut bob = EventPeer::connect_after(chat.address, BOB, &first).await;
    bob.join("/chat/a", json!({ "$resume": third })).await;
    assert_eq!(chat.recovery(), resumed(0, 0));
    // A header that is no position is ignored, and so is one of a client without a session.
    drop(bob);
    chat.is_empty().await;
    let ids = ["", "7", "not a position"];
    for id in ids {
        let mut ann = EventPeer::connect_after(chat.address, "/?user=ann&key=6f1e6b1c-session-of-ann", id).await;
        ann.join("/chat/a", json!({})).await;
        assert_eq!(chat.recovery(), Recovery::New, "{id}");
        assert_eq!(ann.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
        chat.is_empty().await;
    }
    let mut ann = EventPeer::connect_after(chat.address, "/?user=ann", &first).await;
    ann.join("/chat/a", json!({})).await;
    assert_eq!(chat.recovery(), Recovery::New);
}

#[tokio::test]
async fn a_client_that_deletes_its_stream_ends_its_session() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..2);
    assert_eq!(bob.numbers(1).await, [1]);
    assert_eq!(bob.ask(Method::DELETE, "").await.status(), StatusCode::NO_CONTENT);
    chat.is_empty().await;
    chat.bob().await;
    assert_eq!(chat.recovery(), Recovery::New);
}

#[tokio::test]
async fn a_stream_that_ends_in_order_proves_nothing() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..4);
    chat.endpoint.connections()[0].disconnect();
    assert_eq!(bob.ended().await.len(), 3);
    chat.is_empty().await;
    // The server cannot know that the last bytes have arrived.
    chat.bob().await;
    assert_eq!(chat.recovery(), resumed(3, 3));
}

#[tokio::test]
async fn a_stream_takes_the_place_of_an_older_one_that_has_not_ended() {
    let chat = chat().await;
    let mut older = chat.bob().await;
    chat.say(1..3);
    assert_eq!(older.numbers(2).await, [1, 2]);
    let last = older.last_event.clone().expect("an id");
    let mut bob = chat.bob_after(&last).await;
    assert_eq!(chat.recovery(), resumed(0, 0));
    older.ended().await;
    chat.say(3..4);
    assert_eq!(bob.numbers(1).await, [3]);
    assert_eq!(chat.pond.snapshot().endpoints[0].sessions, 1);
}

#[tokio::test]
async fn a_session_goes_on_over_the_other_transport() {
    let chat = chat().await;
    let mut bob = chat.bob().await;
    chat.say(1..3);
    assert_eq!(bob.numbers(2).await, [1, 2]);
    drop(bob);
    chat.is_empty().await;
    chat.say(3..4);
    let mut socket = Peer::connect(chat.address, BOB).await;
    socket.join("/chat/a", json!({})).await;
    assert_eq!(chat.recovery(), resumed(3, 2));
    for n in 1..4 {
        assert_eq!(socket.next().await["payload"]["n"], json!(n));
    }
    socket.nothing_before_reply("/chat/a", "ask").await;
    socket.reset();
    chat.is_empty().await;
    chat.bob().await;
    assert_eq!(chat.recovery(), resumed(0, 0), "its answers have proven all of it");
}

/// Also if messages have left holes in its outbox, which are filled later.
#[tokio::test]
async fn a_slow_client_that_reconnects_misses_nothing() {
    let options = Options::default().send_channel_buffer(8).slow_client(SlowClient::DropOldest);
    let history = History::new().messages(2000).bytes(16 << 20).replay_at_most(2000, 16 << 20);
    let chat = chat_with(options, history).await;
    let filler = "x".repeat(5000);
    let mut last = 0;
    // It does not read on, and the kernel takes what the client will never have.
    for reads in [10, 40, 90, 250] {
        let mut bob = EventPeer::connect_narrow(chat.address, BOB, 4096).await;
        bob.join("/chat/a", json!({})).await;
        let channel = chat.endpoint.channel("/chat/a").expect("a name");
        let (from, speaker) = (last, channel.clone());
        let position = channel.position().map_or(0, |position| position.offset);
        let filler = filler.clone();
        let speaking = tokio::spawn(async move {
            for n in position + 1..position + 301 {
                speaker.broadcast("said", &json!({ "n": n, "filler": filler })).expect("room");
                speaker.ready().await;
                tokio::task::yield_now().await;
            }
        });
        let mut received = bob.numbers(reads).await;
        assert!(received[0] <= from + 1, "{} follows {from}", received[0]);
        let first = received[0];
        received.dedup();
        assert_eq!(received, (first..first + reads as u64).collect::<Vec<_>>());
        last = last.max(*received.last().expect("some"));
        drop(bob);
        speaking.await.expect("no panic");
        chat.is_empty().await;
    }
}

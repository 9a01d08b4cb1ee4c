//! The test kit (`pondsocket::testing`): its results, its mailboxes and its failure messages.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use pondsocket::testing::{CallError, Change, Client, Connector, Kind, Room};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Payload, PondSocket, Result, WebSocket,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::TestResult;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Note {
    text: String,
}

#[derive(Debug, Deserialize, PartialEq)]
struct UserName {
    name: String,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    let seen = json!({
        "from": ctx.remote_addr().map(|address| address.to_string()),
        "host": ctx.header("host"),
        "x": ctx.headers().get_all("x").iter().map(|value| value.to_str().expect("text")).collect::<Vec<_>>(),
    });
    Ok(ctx.accept().user_id(&name).reply("seen", &seen))
}

async fn join(ctx: JoinContext, Payload(payload): Payload<Value>) -> Result<Joined> {
    if let Some(ban) = payload.get("banned") {
        return Err(Error::forbidden("not a member").with_details(&json!({ "since": ban })));
    }
    let name = ctx.user_id().to_owned();
    let joined = ctx.accept();
    Ok(if payload["shown"] == true { joined.track(&json!({ "name": name })) } else { joined })
}

fn chat() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/api/socket", connect).create_channel("/chat/:room", join);
    lobby
        .on_event("message", async |ctx: EventContext, Payload(note): Payload<Note>| ctx.broadcast("message", &note))
        .on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Value>| ctx.reply("echo", &payload))
        .on_event("mood", async |ctx: EventContext, Payload(payload): Payload<Value>| ctx.update_presence(&payload))
        .on_event("fail", async |_: EventContext| -> Result<()> {
            Err(Error::too_many_requests("slow down").with_details(&json!({ "after": 3 })))
        })
        .on_event("never", async |_: EventContext| std::future::pending::<Result<()>>().await)
        .on_event("kick", async |ctx: EventContext| ctx.channel().close());
    pond
}

async fn enter(name: &str) -> (Client, Room) {
    enter_through(&chat().test_client(), name, "/chat/1").await
}

async fn enter_through(door: &Connector, name: &str, channel: &str) -> (Client, Room) {
    let client = door.connect(&format!("/api/socket?name={name}")).await.expect("let in");
    let room = client.join(channel, json!({})).await.expect("joined");
    (client, room)
}

#[tokio::test(start_paused = true)]
async fn all_operations_work_in_paused_time() -> TestResult {
    let (_bob, mut other) = enter("bob").await;
    let client = chat().test_client().connect("/api/socket?name=ada").await?;
    let mut room = client.join("/chat/1", json!({ "shown": true })).await?;
    assert_eq!(room.name(), "/chat/1");
    let shown = room.next_presence().await?;
    assert_eq!(
        (shown.change, shown.user_id.as_str(), &shown.list[..]),
        (Change::Join, "ada", &[json!({ "name": "ada" })][..])
    );

    room.send("message", Note { text: "hi".into() });
    assert_eq!(room.next("message").await?["text"], "hi");
    assert_eq!(room.request("echo", json!({ "a": [1] })).await?, json!({ "a": [1] }));
    room.assert_silence().await;
    other.assert_silence().await;
    room.leave().await?;
    client.close();
    assert_eq!(client.closed().await?.code, Some(1000));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_operations_work_in_real_time_on_several_threads() -> TestResult {
    let pond = chat();
    let door = pond.test_client().silence(Duration::from_millis(1));
    let (_ada, mut ada) = enter_through(&door, "ada", "/chat/1").await;
    let said = tokio::spawn(async move {
        let (_bob, bob) = enter_through(&door, "bob", "/chat/1").await;
        bob.request("message", json!({ "text": 5 })).await.map(drop).map_err(|error| error.code())
    });
    assert_eq!(said.await?, Err(Some(400)));
    ada.assert_silence().await;
    ada.send("message", json!({ "text": "hi" }));
    assert_eq!(ada.next_as::<Note>("message").await?, Note { text: "hi".into() });
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_its_status_headers_and_whole_body() {
    let pond = chat();
    let refused = pond.test_client().connect("/api/socket").await.unwrap_err();
    assert_eq!(refused.code(), Some(401));
    let refusal = refused.refusal().expect("refused over HTTP");
    assert_eq!((refusal.status().as_u16(), &refusal.body()[..]), (401, &b"who are you?\n"[..]));
    assert_eq!(refusal.headers()["x-content-type-options"], "nosniff");
    assert!(refused.to_string().ends_with("connect to `/api/socket`: refused with 401 Unauthorized: who are you?"));

    assert_eq!(pond.test_client().connect("/nowhere").await.unwrap_err().code(), Some(404));
    let old = pond.test_client().header("sec-websocket-version", "8").connect("/api/socket?name=ada").await;
    assert_eq!(old.unwrap_err().code(), Some(426));
}

#[tokio::test(start_paused = true)]
async fn headers_and_the_peer_reach_the_handler() -> TestResult {
    let peer: SocketAddr = "203.0.113.7:9".parse()?;
    let door = chat().test_client().peer(peer).header("Host", "example.com").header("x", "1").header("x", "2");
    let mut client = door.connect("/api/socket?name=ada").await?;
    let seen = client.next("seen").await?;
    assert_eq!(seen, json!({ "from": "203.0.113.7:9", "host": "example.com", "x": ["1", "2"] }));
    assert_ne!(client.id(), door.connect("/api/socket?name=ada").await?.id());

    let mut plain = chat().test_client().connect("/api/socket?name=ada").await?;
    assert_eq!(plain.next("seen").await?, json!({ "from": null, "host": "test", "x": [] }));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_host_of_a_pond_is_tested_with_it() -> TestResult {
    async fn only_with_a_key(request: axum::extract::Request, next: Next) -> axum::response::Response {
        match request.headers().contains_key("x-key") {
            true => next.run(request).await,
            false => (StatusCode::PAYMENT_REQUIRED, "x".repeat(100_000)).into_response(),
        }
    }

    let app = Router::new().fallback_service(chat().service()).layer(from_fn(only_with_a_key));
    let door = Connector::new(app);
    let refused = door.connect("/api/socket?name=ada").await.unwrap_err();
    assert_eq!(
        refused.refusal().map(|refusal| (refusal.status().as_u16(), refusal.body().len())),
        Some((402, 100_000))
    );
    let (_ada, room) = enter_through(&door.header("x-key", "k"), "ada", "/chat/1").await;
    assert_eq!(room.request("echo", json!({})).await?, json!({}));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_declined_join_says_why() -> TestResult {
    let client = chat().test_client().connect("/api/socket?name=ada").await?;
    let declined = client.join("/chat/1", json!({ "banned": 2020 })).await.unwrap_err();
    let rejection = declined.rejection().expect("declined");
    assert_eq!(
        (rejection.code(), rejection.message(), &rejection.details()["since"]),
        (403, "not a member", &json!(2020))
    );
    assert!(declined.to_string().contains("tests/operating/testing.rs:"), "{declined}");

    let nowhere = client.join("/nowhere", json!({})).await.unwrap_err();
    assert_eq!(nowhere.code(), Some(404));
    let mut room = client.join("/chat/1", ()).await?;
    room.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_error_answers_a_request_and_is_a_message_after_a_send() -> TestResult {
    let (_ada, mut room) = enter("ada").await;
    let failed = room.request("fail", json!({})).await.unwrap_err();
    let rejection = failed.rejection().expect("an error of the handler");
    assert_eq!(
        (rejection.code(), rejection.message(), rejection.details()),
        (429, "slow down", &json!({ "after": 3 }))
    );
    assert_eq!(room.request("unknown", json!({})).await.unwrap_err().code(), Some(404));

    room.send("fail", json!({}));
    let error = room.next_message().await?;
    assert_eq!(
        (error.kind, error.event.as_str(), &error.payload["code"]),
        (Kind::System, "INTERNAL_ERROR", &json!(429))
    );
    room.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn reading_by_event_leaves_other_messages_in_order() -> TestResult {
    let (client, mut room) = enter("ada").await;
    for text in ["one", "two"] {
        room.send("message", json!({ "text": text }));
    }
    room.send("mood", json!({ "name": "Ada" }));
    assert_eq!(room.request("echo", json!({})).await?, json!({}));
    let mut late = client.join("/chat/1", json!({})).await?;
    assert_eq!(room.next_presence_as::<UserName>().await?.changed, UserName { name: "Ada".into() });
    assert_eq!(room.next("message").await?["text"], "one");
    assert_eq!(room.next_message().await?.payload["text"], "two");
    late.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn rooms_and_clients_do_not_take_messages_of_each_other() -> TestResult {
    let pond = chat();
    let door = pond.test_client();
    let (laptop, mut first) = enter_through(&door, "ada", "/chat/1").await;
    let (_phone, mut on_phone) = enter_through(&door, "ada", "/chat/1").await;
    let (mut second, mut again) =
        tokio::try_join!(laptop.join("/chat/2", json!({})), laptop.join("/chat/1", json!({})))?;

    // All requests wait at the same time, and each gets its own answer.
    let (echoes, one, two) = (
        async { tokio::try_join!(first.request("echo", json!({ "n": 1 })), second.request("echo", json!({ "n": 2 }))) },
        async { again.next("message").await },
        async { on_phone.next("message").await },
    );
    let say = async { laptop.join("/chat/1", ()).await.map(|room| room.send("message", json!({ "text": "hi" }))) };
    let (echoes, one, two, said) = tokio::join!(echoes, one, two, say);
    said?;
    assert_eq!(echoes?, (json!({ "n": 1 }), json!({ "n": 2 })));
    assert_eq!((&one?["text"], &two?["text"]), (&json!("hi"), &json!("hi")));
    assert_eq!(first.next("message").await?["text"], "hi");
    for room in [&mut first, &mut second, &mut again, &mut on_phone] {
        room.assert_silence().await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_lists_the_received_frames() {
    let (_client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "hi" }));
    let began = tokio::time::Instant::now();
    let line = line!() + 1;
    let failure = room.next("massage").await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 5);
    let text = format!("{failure:?}");
    let mut lines = text.lines();
    assert_eq!(
        lines.next(),
        Some(
            format!("crates/pondsocket/tests/operating/testing.rs:{line}:24: `massage` in `/chat/1`: not within 5s")
                .as_str()
        )
    );
    assert_eq!(lines.next(), Some("  the last of 4 messages received:"));
    let last = lines.next_back().expect("the message");
    assert!(last.contains(r#""event":"message""#) && last.contains(r#""text":"hi""#), "{last}");
    assert_eq!(room.next("message").await.expect("kept")["text"], "hi");
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_the_deadline_that_the_test_sets() {
    let (_client, room) =
        enter_through(&chat().test_client().deadline(Duration::from_secs(60)), "ada", "/chat/1").await;
    let late = room.request("never", json!({})).await.unwrap_err();
    assert_eq!(late.code(), Some(504), "the server's deadline comes first: {late}");

    let pond = PondSocket::new();
    pond.create_websocket("/raw", async |_socket: WebSocket| std::future::pending().await);
    pond.create_endpoint("/never", async |_: ConnectionContext| std::future::pending::<Result<Connected>>().await);
    for (path, why) in [("/raw", "not within 2s\n  no message was received"), ("/never", "no answer within 2s")] {
        let failure = pond.test_client().deadline(Duration::from_secs(2)).connect(path).await.unwrap_err();
        assert_eq!(failure.code(), None);
        assert!(failure.to_string().contains(why), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_another_type_fails_at_the_line_of_the_test() {
    let (_client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "hi" }));
    let failure = room.next_as::<UserName>("message").await.unwrap_err().to_string();
    assert!(failure.contains("`message` in `/chat/1`: missing field `name`"), "{failure}");
    let failure = room.request_as::<Note>("echo", json!({ "text": [5] })).await.unwrap_err();
    assert!(matches!(&failure, CallError::Failed(failure) if failure.to_string().contains(": text: ")), "{failure}");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "silence in `/chat/1`: Broadcast `message` {\"text\":\"hi\"}")]
async fn a_silence_fails_when_a_message_arrives() {
    let (_client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "hi" }));
    room.assert_silence().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "silence in `/chat/1`: Broadcast `message`")]
async fn a_silence_fails_for_an_unread_message() {
    let (_client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "hi" }));
    room.request("echo", json!({})).await.expect("an echo");
    room.assert_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_fails_when_the_connection_ends() -> TestResult {
    let (client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "last" }));
    assert_eq!(room.next("message").await?["text"], "last");
    room.send("kick", json!({}));
    let failure = room.next("message").await.unwrap_err().to_string();
    assert!(failure.contains("`message` in `/chat/1`: the server closed with 1000"), "{failure}");
    assert_eq!(client.closed().await?.code, Some(1000));
    room.assert_silence().await;
    let failure = client.join("/chat/2", json!({})).await.unwrap_err();
    assert!(failure.to_string().contains("the server closed with 1000"), "{failure}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_client_disconnects_unless_its_room_is_kept() -> TestResult {
    let pond = chat();
    let endpoint = pond.endpoints().remove(0);
    let (client, mut room) = enter_through(&pond.test_client(), "ada", "/chat/1").await;
    drop(client);
    room.send("message", json!({ "text": "hi" }));
    assert_eq!(room.next("message").await?["text"], "hi");
    room.send("message", json!({ "text": "last words" }));
    drop(room);
    let (_bob, mut bob) = enter_through(&pond.test_client(), "bob", "/chat/1").await;
    bob.assert_silence().await;
    assert_eq!(endpoint.connections().len(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_left_room_can_still_be_read() -> TestResult {
    let (_client, mut room) = enter("ada").await;
    room.send("message", json!({ "text": "hi" }));
    room.leave().await?;
    assert_eq!(room.next("message").await?["text"], "hi");
    assert_eq!(room.request("echo", json!({})).await.unwrap_err().code(), Some(404));
    room.leave().await?;
    room.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_flood_reaches_a_client_that_reads() -> TestResult {
    let (_client, mut room) = enter("ada").await;
    // More than the buffers of both directions hold.
    let text = "x".repeat(1000);
    (0..2000).for_each(|_| room.send("message", json!({ "text": text })));
    for _ in 0..2000 {
        assert_eq!(room.next("message").await?["text"], text);
    }
    room.assert_silence().await;
    Ok(())
}

/// A thousand tests, each with a runtime, a pond and a client of its own, on two threads. To see the time they take:
/// `cargo test -p pondsocket --features testing --test operating a_thousand -- --nocapture`.
#[test]
fn a_thousand_tests_run_on_two_threads() {
    const TESTS: usize = 1000;

    async fn one() -> TestResult {
        let pond = chat();
        assert_eq!(pond.test_client().connect("/api/socket").await.unwrap_err().code(), Some(401));
        let ada = pond.test_client().connect("/api/socket?name=ada").await?;
        let mut room = ada.join("/chat/1", json!({ "shown": true })).await?;
        let shown = room.next_presence_as::<UserName>().await?;
        assert_eq!((shown.change, shown.list), (Change::Join, vec![UserName { name: "ada".into() }]));
        room.assert_silence().await;
        Ok(())
    }

    let (begun, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while begun.fetch_add(1, Ordering::Relaxed) < TESTS {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.expect("a runtime").block_on(one()).expect("it passes");
            passed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let start = Instant::now();
    std::thread::scope(|scope| [scope.spawn(work), scope.spawn(work)].map(|_| ()));
    println!("{TESTS} tests in {:.2?}", start.elapsed());
    assert_eq!(passed.into_inner(), TESTS);
}

// --- Event streams --------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_client_may_connect_over_an_event_stream() -> TestResult {
    let pond = chat();
    let over_events = pond.test_client().over_events();
    let refused = over_events.connect("/api/socket").await.expect_err("there is no name");
    assert_eq!(refused.code(), Some(401));

    let mut ada = over_events.header("x", "1").peer("203.0.113.7:9".parse()?).connect("/api/socket?name=ada").await?;
    assert_eq!(ada.next("seen").await?, json!({ "from": "203.0.113.7:9", "host": "test", "x": ["1"] }));
    let bob = pond.test_client().connect("/api/socket?name=bob").await?;
    let mut hers = ada.join("/chat/1", json!({ "shown": true })).await?;
    let mut his = bob.join("/chat/1", json!({ "shown": true })).await?;
    for text in ["one", "two"] {
        hers.send("message", Note { text: text.into() });
        for room in [&mut hers, &mut his] {
            assert_eq!(room.next_as::<Note>("message").await?, Note { text: text.into() });
        }
    }
    assert_eq!(hers.request("echo", json!({ "n": 1 })).await?, json!({ "n": 1 }));
    let shown = hers.next_presence_as::<UserName>().await?;
    assert_eq!((shown.change, shown.changed), (Change::Join, UserName { name: "ada".into() }));
    ada.close();
    assert_eq!(ada.closed().await?.code, None);
    let gone = loop {
        let shown = his.next_presence().await?;
        if shown.change == Change::Leave {
            break shown;
        }
    };
    assert_eq!(gone.user_id, "ada");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_message_that_is_refused_fails_the_client() -> TestResult {
    let ada = chat().test_client().over_events().connect("/api/socket?name=ada").await?;
    let mut room = ada.join("/chat/1", json!({})).await?;
    room.send("echo", json!({ "text": "x".repeat(600 * 1024) }));
    let failed = room.next("echo").await.expect_err("it is too large").to_string();
    assert!(failed.contains("a message could not be sent: the response is 413"), "{failed}");
    Ok(())
}

//! Outgoing handlers: what becomes of each message for each recipient, and what they never see.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::DeflateDecoder;
use pondsocket::metrics::Component;
use pondsocket::testing::{Client, Kind, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Lobby, Metrics, Options,
    Outgoing, OutgoingContext, OutgoingHandler, OutgoingNext, Params, Payload, PondSocket, Result, State,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{DEADLINE, Log, Peer, eventually, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

/// Counts what is blocked, and why.
struct Counted(Log);

impl Metrics for Counted {
    fn message_blocked(&self, endpoint: &str, event: &str) {
        self.0.note(format!("blocked {event} at {endpoint}"));
    }

    fn error(&self, component: Component, error: &Error) {
        self.0.note(format!("{component}: {error}"));
    }
}

/// Users are who they say they are in the query.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&user))
}

/// A join may bring a role, which is an assign of the membership, and a mood, which is shown.
async fn join(ctx: JoinContext, Payload(payload): Payload<Value>) -> Result<Joined> {
    let joined = ctx.accept().assign("role", &payload["role"]);
    Ok(match payload.get("mood") {
        Some(mood) => joined.track(&json!({ "mood": mood })),
        None => joined,
    })
}

/// Sends an event of its own name, as it was asked to.
async fn send(ctx: EventContext, Payload(payload): Payload<Value>) -> Result<()> {
    ctx.broadcast(ctx.event(), &payload).map(drop)
}

fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone()).metrics(Counted(log.clone()));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby.on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Value>| ctx.reply("echo", &payload));
    lobby.on_event("say/*", send);
    (pond, endpoint, lobby, log)
}

async fn enter(pond: &PondSocket, user: &str, payload: Value) -> (Client, Room) {
    let client = pond.test_client().connect(&format!("/?user={user}")).await.expect("let in");
    let room = client.join("/c/1", payload).await.expect("joined");
    (client, room)
}

/// The names of what has come, when nothing more comes.
async fn heard(room: &mut Room) -> Vec<String> {
    room.request("echo", json!({})).await.expect("a reply, behind everything");
    let mut heard = Vec::new();
    while let Ok(Ok(message)) = timeout(Duration::from_millis(1), room.next_message()).await {
        heard.push(message.event);
    }
    heard
}

fn role(ctx: &OutgoingContext) -> String {
    ctx.recipient().assign("role").unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn each_recipient_gets_what_is_decided_for_it() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.on_outgoing("say/salary", |ctx: &OutgoingContext| -> Result<Outgoing> {
        let mood = ctx.recipient().presence::<Value>().ok();
        match (role(ctx).as_str(), mood) {
            ("admin", _) => Ok(Outgoing::Pass),
            (_, Some(mood)) => Outgoing::replace(&json!({ "for": ctx.recipient().id(), "seen": mood })),
            _ => Ok(Outgoing::Block),
        }
    });
    let (_ada, mut ada) = enter(&pond, "ada", json!({ "role": "admin" })).await;
    let (_bob, mut bob) = enter(&pond, "bob", json!({ "role": "guest", "mood": "calm" })).await;
    let (_eve, mut eve) = enter(&pond, "eve", json!({ "role": "guest" })).await;
    bob.next_presence().await?;

    ada.send("say/salary", json!({ "amount": 7 }));
    let passed = ada.next_message().await?;
    assert_eq!((passed.kind, passed.event.as_str()), (Kind::Broadcast, "say/salary"));
    assert_eq!((passed.channel.as_str(), &passed.payload), ("/c/1", &json!({ "amount": 7 })));
    let replaced = bob.next_message().await?;
    assert_eq!((replaced.kind, replaced.event.as_str()), (Kind::Broadcast, "say/salary"));
    assert_eq!(
        (replaced.channel.as_str(), &replaced.payload),
        ("/c/1", &json!({ "for": "bob", "seen": { "mood": "calm" } }))
    );
    assert_eq!(replaced.request_id, passed.request_id, "it is the same message");
    assert_eq!(heard(&mut eve).await, Vec::<String>::new());
    assert_eq!(log.take(), ["blocked say/salary at /"]);

    // What counts is how they are when it is delivered.
    let channel = endpoint.channel("/c/1")?;
    channel.update_assigns("eve", "role", "admin").await?;
    channel.untrack("bob")?;
    assert_eq!(channel.broadcast("say/salary", &json!({ "amount": 8 }))?.local, 3, "whoever gets it in the end");
    assert_eq!(eve.next("say/salary").await?, json!({ "amount": 8 }));
    assert_eq!(heard(&mut bob).await, Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn every_form_of_sending_is_decided_about() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let chatty = endpoint.create_channel("/join/:room", async |ctx: JoinContext| {
        let to = [ctx.user_id().to_owned()];
        let joined = ctx.accept().reply("x", &json!({ "form": "reply" })).broadcast("x", &json!({ "form": "all" }));
        Ok::<_, Error>(
            joined.broadcast_to(to, "x", &json!({ "form": "to" })).broadcast_from("x", &json!({ "form": "from" })),
        )
    });
    for lobby in [&lobby, &chatty] {
        lobby.on_outgoing("x", |ctx: &OutgoingContext| -> Result<Outgoing> {
            let mut payload: Value = ctx.payload()?;
            payload["to"] = json!(ctx.recipient().id());
            payload["in"] = json!(ctx.channel_name());
            Outgoing::replace(&payload)
        });
    }
    lobby.on_event("send", async |ctx: EventContext| {
        ctx.broadcast("x", &json!({ "form": "all" }))?;
        ctx.broadcast_from("x", &json!({ "form": "from" }))?;
        ctx.broadcast_to(["bob"], "x", &json!({ "form": "to" }))?;
        ctx.reply("x", &json!({ "form": "reply" }))
    });
    let (ada_client, mut ada) = enter(&pond, "ada", json!({})).await;
    let (bob_client, mut bob) = enter(&pond, "bob", json!({})).await;
    let said = |form: &str, to: &str, channel: &str| json!({ "form": form, "to": to, "in": channel });

    ada.send("send", json!({}));
    assert_eq!(ada.next("x").await?, said("all", "ada", "/c/1"));
    let reply = ada.next_message().await?;
    assert_eq!((reply.kind, reply.event.as_str()), (Kind::System, "x"));
    assert!(reply.request_id.starts_with("test-"), "a replaced reply answers the question: {}", reply.request_id);
    assert_eq!(reply.payload, said("reply", "ada", "/c/1"));
    for form in ["all", "from", "to"] {
        assert_eq!(bob.next("x").await?, said(form, "bob", "/c/1"));
    }
    let channel = endpoint.channel("/c/1")?;
    channel.broadcast("x", &json!({ "form": "all" }))?;
    channel.broadcast_from("ada", "x", &json!({ "form": "from" }))?;
    channel.broadcast_to(["bob"], "x", &json!({ "form": "to" }))?;
    assert_eq!(ada.next("x").await?, said("all", "ada", "/c/1"));
    for form in ["all", "from", "to"] {
        assert_eq!(bob.next("x").await?, said(form, "bob", "/c/1"));
    }

    let mut ada = ada_client.join("/join/1", json!({})).await?;
    for form in ["reply", "all", "to"] {
        assert_eq!(ada.next("x").await?, said(form, "ada", "/join/1"), "of the join");
    }
    bob_client.join("/join/1", json!({})).await?;
    for form in ["all", "from"] {
        assert_eq!(ada.next("x").await?, said(form, "ada", "/join/1"), "of another's join");
    }
    ada.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_the_protocol_needs_is_never_decided_about() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    let (seen, everywhere) = (log.clone(), log.clone());
    lobby.on_outgoing("*", move |ctx: &OutgoingContext| {
        seen.note(ctx.event());
        Outgoing::Block
    });
    endpoint.layer_outgoing(move |ctx: &OutgoingContext, next: OutgoingNext| {
        everywhere.note(ctx.event());
        next.run(ctx)
    });
    lobby.on_event("fail", async |_: EventContext| -> Result<()> { Err(Error::conflict("no")) });
    let (client, mut ada) = enter(&pond, "ada", json!({ "mood": "calm" })).await;
    let (_bob, bob) = enter(&pond, "bob", json!({ "mood": "glad" })).await;
    assert_eq!([ada.next_presence().await?.user_id, ada.next_presence().await?.user_id], ["ada", "bob"]);
    assert_eq!(ada.request("fail", json!({})).await.unwrap_err().code(), Some(409));
    assert_eq!(ada.request("dance", json!({})).await.unwrap_err().code(), Some(404));
    client.join("/c/1", json!({})).await?;
    endpoint.channel("/c/1")?.evict("bob", "spam").await?;
    assert_eq!(ada.next("user_evicted").await?, json!({ "reason": "spam", "userId": "bob" }));
    assert_eq!(ada.next_presence().await?.user_id, "bob");
    ada.leave().await?;
    assert_eq!(log.take(), Vec::<String>::new());
    drop(bob);

    // But all that the application sends is.
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    ada.send("echo", json!({}));
    ada.send("say/a", json!({}));
    ada.assert_silence().await;
    let both = |event: &str| [event.to_owned(), event.to_owned(), format!("blocked {event} at /")];
    assert_eq!(log.take(), [both("echo"), both("say/a")].concat());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_or_an_error_blocks_one_delivery_and_is_counted() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby.on_event("unfiltered", send).on_outgoing("say/*", |ctx: &OutgoingContext| -> Result<Outgoing> {
        match ctx.recipient().id() {
            "bob" => panic!("at bob"),
            "eve" => Err(Error::forbidden("not eve")),
            "joe" => Outgoing::replace(&[1, 2, 3]),
            _ => Ok(Outgoing::Pass),
        }
    });
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    let mut others = Vec::new();
    for user in ["bob", "eve", "joe"] {
        others.push(enter(&pond, user, json!({})).await);
    }
    ada.send("say/1", json!({ "n": 1 }));
    assert_eq!(ada.next("say/1").await?, json!({ "n": 1 }));
    for (_, room) in &mut others {
        assert_eq!(heard(room).await, Vec::<String>::new());
    }
    let failed = |reason: &str| [format!("outgoing_handler: {reason}"), "blocked say/1 at /".to_owned()];
    let expected = [failed("internal error (500)"), failed("not eve (403)"), failed("internal error (500)")].concat();
    assert_eq!(log.take(), expected);
    // Whoever has been spared one message gets the next.
    ada.send("unfiltered", json!({}));
    for (_, room) in &mut others {
        room.next("unfiltered").await?;
    }
    Ok(())
}

#[test]
fn a_replacement_that_is_no_object_is_an_error() {
    assert_eq!(Outgoing::replace(&5).map_err(|error| error.code()).expect_err("a number"), 500);
    assert_eq!(Outgoing::replace("text").map_err(|error| error.code()).expect_err("a text"), 500);
    assert!(matches!(Outgoing::replace(&json!({})), Ok(Outgoing::Replace(_))));
    assert_eq!(format!("{:?}", Outgoing::replace(&()).expect("nothing is an object")), "Replace({})");
}

#[derive(Deserialize)]
struct Table {
    table: u8,
}

#[tokio::test(start_paused = true)]
async fn the_first_pattern_that_matches_decides_and_extractors_work() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby
        .on_outgoing(
            "say/table/:table",
            |ctx: &OutgoingContext,
             Params(Table { table }): Params<Table>,
             Payload(payload): Payload<Value>,
             State(log): State<Log>| {
                log.note(format!("{table} {payload} {:?}", ctx.query("q")));
                if table == 7 { Outgoing::Block } else { Outgoing::Pass }
            },
        )
        .on_outgoing("say/*", |ctx: &OutgoingContext, State(log): State<Log>| {
            log.note(format!("rest {}", ctx.wildcard().unwrap_or_default()));
            Outgoing::Pass
        });
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    for event in ["say/table/1?q=x", "say/table/7", "say/table/first", "say/hello"] {
        ada.send(event, json!({ "a": 1 }));
    }
    assert_eq!(heard(&mut ada).await, ["say/table/1?q=x", "say/hello"]);
    assert_eq!(
        log.take(),
        [
            r#"1 {"a":1} Some("x")"#,
            r#"7 {"a":1} None"#,
            "blocked say/table/7 at /",
            "outgoing_handler: invalid parameters: table: invalid digit found in string (400)",
            "blocked say/table/first at /",
            "rest hello",
        ]
    );
    Ok(())
}

#[test]
#[should_panic(expected = "State<u128>")]
fn a_missing_state_is_refused_at_registration() {
    let (.., lobby, _) = pond();
    lobby.on_outgoing("x", |_: &OutgoingContext, State(_): State<u128>| Outgoing::Pass);
}

#[tokio::test(start_paused = true)]
async fn layers_decide_around_handlers_and_without_them() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    let other = endpoint.create_channel("/other", join);
    other.on_event("say/*", send);
    // Bots get nothing at all, wherever they are.
    endpoint.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.recipient().id() {
        "bot" => Ok(Outgoing::Block),
        _ => next.run(ctx),
    });
    // In this lobby a failure is no reason not to deliver.
    lobby
        .layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| next.run(ctx).unwrap_or(Outgoing::Pass))
        .on_outgoing("say/broken", |_: &OutgoingContext| -> Outgoing { panic!("broken") })
        .on_outgoing(
            "say/secret",
            (|_: &OutgoingContext| Outgoing::replace(&json!({ "secret": "***" }))).layer(
                |ctx: &OutgoingContext, State(log): State<Log>, next: OutgoingNext| {
                    log.note(format!("secret for {}", ctx.recipient().id()));
                    if role(ctx) == "admin" { Ok(Outgoing::Pass) } else { next.run(ctx) }
                },
            ),
        );
    let (ada_client, mut ada) = enter(&pond, "ada", json!({ "role": "admin" })).await;
    let (_bob, mut bob) = enter(&pond, "bob", json!({ "role": "guest" })).await;
    let (bot_client, mut bot) = enter(&pond, "bot", json!({ "role": "admin" })).await;
    ada.send("say/broken", json!({ "n": 1 }));
    ada.send("say/secret", json!({ "secret": 42 }));
    for (room, secret) in [(&mut ada, json!(42)), (&mut bob, json!("***"))] {
        assert_eq!(room.next("say/broken").await?, json!({ "n": 1 }));
        assert_eq!(room.next("say/secret").await?, json!({ "secret": secret }));
    }
    bot.assert_silence().await;
    let blocked = |event: &str| format!("blocked {event} at /");
    assert_eq!(
        log.take(),
        [blocked("say/broken"), "secret for ada".into(), "secret for bob".into(), blocked("say/secret")]
    );

    let (mut ada, mut bot) = (ada_client.join("/other", json!({})).await?, bot_client.join("/other", json!({})).await?);
    ada.send("say/secret", json!({ "secret": 43 }));
    assert_eq!(ada.next("say/secret").await?, json!({ "secret": 43 }), "another lobby");
    bot.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn handlers_and_layers_affect_channels_that_live_already() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    ada.send("say/1", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/1"]);
    lobby.on_outgoing("say/1", |_: &OutgoingContext| Outgoing::Block);
    ada.send("say/1", json!({}));
    ada.send("say/2", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/2"]);
    lobby.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.event() {
        "say/2" => Ok(Outgoing::Block),
        _ => next.run(ctx),
    });
    ada.send("say/2", json!({}));
    ada.send("say/3", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/3"]);
    endpoint.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.event() {
        "say/1" => Ok(Outgoing::Pass),
        _ => next.run(ctx),
    });
    ada.send("say/1", json!({}));
    ada.send("say/2", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/1"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn each_connection_of_a_user_is_decided_about() -> TestResult {
    let (pond, _, lobby, _) = pond();
    lobby.on_outgoing("say/*", |ctx: &OutgoingContext| {
        Outgoing::replace(&json!({ "user": ctx.recipient().id(), "connection": ctx.connection_id() }))
    });
    let (first, mut one) = enter(&pond, "ada", json!({})).await;
    let (second, mut two) = enter(&pond, "ada", json!({})).await;
    one.send("say/1", json!({}));
    for (client, room) in [(&first, &mut one), (&second, &mut two)] {
        assert_eq!(room.next("say/1").await?, json!({ "user": "ada", "connection": client.id() }));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_leaves_gets_what_was_sent_before_as_the_member_it_was() -> TestResult {
    let (pond, _, lobby, _) = pond();
    lobby.on_outgoing("say/secret", |ctx: &OutgoingContext| -> Result<Outgoing> {
        let mood: Value = ctx.recipient().presence()?;
        if role(ctx) == "admin" { Outgoing::replace(&mood) } else { Ok(Outgoing::Block) }
    });
    // Another one keeps the channel alive, and takes the slot that becomes free.
    let (_bob, _bobs) = enter(&pond, "bob", json!({})).await;
    let (client, mut ada) = enter(&pond, "ada", json!({ "role": "admin", "mood": "calm" })).await;
    ada.next_presence().await?;
    ada.send("say/secret", json!({}));
    let left = ada.leave();
    let again = client.join("/c/1", json!({ "role": "guest" }));
    left.await?;
    let mut guest = again.await?;
    assert_eq!(ada.next("say/secret").await?, json!({ "mood": "calm" }));
    assert_eq!(heard(&mut guest).await, Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_channel_decides_also_about_what_another_lobbys_join_handler_sends() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let first = endpoint.create_channel("/shared/:room", async |ctx: JoinContext| match ctx.user_id() {
        "ada" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first.on_outgoing("hello", |_: &OutgoingContext| Outgoing::replace(&json!({ "by": "the first" })));
    endpoint.create_channel("/shared/*", async |ctx: JoinContext| {
        Ok::<_, Error>(ctx.accept().reply("hello", &json!({})).broadcast("hello", &json!({})))
    });
    drop(lobby);
    let (client, _) = enter(&pond, "ada", json!({})).await;
    let mut ada = client.join("/shared/1", json!({})).await?;
    let (client, _) = enter(&pond, "bob", json!({})).await;
    let mut bob = client.join("/shared/1", json!({})).await?;
    for room in [&mut bob, &mut ada] {
        assert_eq!(room.next("hello").await?, json!({ "by": "the first" }));
    }
    assert_eq!(bob.next("hello").await?, json!({ "by": "the first" }), "the broadcast, after the reply");
    Ok(())
}

/// What a member is to see of the messages that are numbered from one to another.
fn visible(user: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    numbers.filter(|n| !(n % 6 == 0 && user.starts_with("odd"))).collect()
}

/// Reads numbers until the acknowledgement of a leave, or until the last number of all.
async fn numbers(peer: &mut Peer, user: &str, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let message = peer.next().await;
        if message["event"] == "EXIT_ACKNOWLEDGE" {
            break;
        }
        let number = message["payload"]["n"].as_u64().expect("a number");
        if number.is_multiple_of(3) {
            assert_eq!((&message["event"], &message["payload"]["for"]), (&json!("filtered"), &json!(user)));
        } else {
            assert_eq!((&message["event"], &message["payload"]["for"]), (&json!("plain"), &Value::Null));
        }
        numbers.push(number);
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filtered_and_unfiltered_messages_have_one_order_while_members_come_and_go() {
    const EACH: u64 = 300;
    const LAST: u64 = 3 * EACH + 1;
    let count = Arc::new(Mutex::new(0_u64));
    let pond = PondSocket::new().state(Arc::clone(&count));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    lobby
        .on_event("go", async |ctx: EventContext, State(count): State<Arc<Mutex<u64>>>| {
            let mut count = count.lock().expect("no panic");
            *count += 1;
            let event = if count.is_multiple_of(3) { "filtered" } else { "plain" };
            ctx.broadcast(event, &json!({ "n": *count }))
        })
        .on_outgoing("filtered", |ctx: &OutgoingContext, Payload(mut payload): Payload<Value>| {
            let (n, user) = (payload["n"].as_u64().expect("a number"), ctx.recipient().id());
            if n.is_multiple_of(6) && user.starts_with("odd") {
                return Ok(Outgoing::Block);
            }
            payload["for"] = json!(user);
            Outgoing::replace(&payload)
        });
    let (_server, address) = serve(&pond).await;

    let mut visitor = Peer::connect(address, "/?user=odd-3").await;
    visitor.join("/c", json!({})).await;
    let mut residents = Vec::new();
    for user in ["odd-1", "even-1", "odd-2"] {
        let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
        peer.join("/c", json!({})).await;
        residents.push((user, peer));
    }
    let residents = residents.into_iter().map(|(user, mut peer)| {
        tokio::spawn(async move {
            for _ in 0..EACH {
                peer.event("/c", "go", json!({})).await;
            }
            (user, numbers(&mut peer, user, LAST).await)
        })
    });
    let residents: Vec<_> = residents.collect();
    // Each resident has one handler at a time: at the fourth message one has been sent, to the visitor too.
    eventually("somebody publishes", || *count.lock().expect("no panic") > 3).await;
    let mut parts = 0;
    loop {
        visitor.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/c", json!({})).await;
        let part = numbers(&mut visitor, "odd-3", LAST).await;
        if let (Some(first), Some(last)) = (part.first(), part.last()) {
            assert_eq!(part, visible("odd-3", *first..=*last), "a contiguous part");
            parts += 1;
        }
        visitor.join("/c", json!({})).await;
        if *count.lock().expect("no panic") == LAST - 1 {
            break;
        }
    }
    assert!(parts > 0, "it never heard anything");
    visitor.event("/c", "go", json!({})).await;
    for resident in residents {
        let (user, heard) = timeout(DEADLINE, resident).await.expect("in time").expect("no panic");
        assert_eq!(heard, visible(user, 1..=LAST), "{user}");
    }
}

/// Asks for compression, and gives the stream behind the answer's head.
async fn connect_compressed(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = "GET /?user=zip HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.contains("sec-websocket-extensions: permessage-deflate"), "{head}");
    stream
}

/// Sends a text frame, masked with zeros (RFC 6455 section 5.2).
async fn send_frame(stream: &mut TcpStream, message: &Value) {
    let text = message.to_string();
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short message");
    let head = [0x81, 0x80 | length, 0, 0, 0, 0];
    stream.write_all(&[&head, text.as_bytes()].concat()).await.expect("it reads");
}

/// The next message, and whether it came compressed (RFC 7692 section 6).
async fn next_frame(stream: &mut TcpStream) -> (Value, bool) {
    let first = stream.read_u8().await.expect("a frame");
    assert_eq!(first & !0x40, 0x81, "one whole text");
    let length = match stream.read_u8().await.expect("a length") {
        126 => stream.read_u16().await.expect("a longer length").into(),
        length => usize::from(length),
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.expect("a payload");
    let is_compressed = first & 0x40 != 0;
    let mut text = String::new();
    if is_compressed {
        bytes.extend_from_slice(&[0, 0, 0xff, 0xff]);
        let mut inflated = Vec::new();
        // Its end is no end of a stream: all of it is there when no more comes.
        let _ = DeflateDecoder::new(&bytes[..]).read_to_end(&mut inflated);
        bytes = inflated;
    }
    text.push_str(std::str::from_utf8(&bytes).expect("text"));
    (serde_json::from_str(&text).expect("JSON"), is_compressed)
}

#[tokio::test]
async fn what_is_decided_is_compressed_for_those_who_asked() {
    let pond = PondSocket::with_options(Options::default().enable_compression(true)).expect("valid");
    let lobby = pond.create_endpoint("/", connect).create_channel("/c", join);
    let long = "all work and no play ".repeat(20);
    let replacement = long.clone();
    lobby.on_event("say", send).on_outgoing("say", move |ctx: &OutgoingContext| -> Result<Outgoing> {
        match ctx.payload::<Value>()?["how"].as_str() {
            Some("pass") => Ok(Outgoing::Pass),
            Some("block") => Ok(Outgoing::Block),
            _ => Outgoing::replace(&json!({ "for": ctx.recipient().id(), "text": replacement })),
        }
    });
    let (_server, address) = serve(&pond).await;
    let talk = async {
        let mut plain = Peer::connect(address, "/?user=plain").await;
        plain.join("/c", json!({})).await;
        let mut stream = connect_compressed(address).await;
        assert_eq!(next_frame(&mut stream).await.0["action"], "CONNECT");
        let join = json!({
            "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/c", "requestId": "q", "payload": {},
        });
        send_frame(&mut stream, &join).await;
        assert_eq!(next_frame(&mut stream).await.0["event"], "ACKNOWLEDGE");
        for how in ["block", "pass", "replace"] {
            plain.event("/c", "say", json!({ "how": how, "text": long })).await;
        }
        let passed = json!({ "how": "pass", "text": long });
        let (message, is_compressed) = next_frame(&mut stream).await;
        assert_eq!((&message["payload"], is_compressed), (&passed, true));
        let (message, is_compressed) = next_frame(&mut stream).await;
        assert_eq!((&message["payload"], is_compressed), (&json!({ "for": "zip", "text": long }), true));
        assert_eq!(plain.next().await["payload"], passed);
        assert_eq!(plain.next().await["payload"], json!({ "for": "plain", "text": long }));
    };
    timeout(DEADLINE, talk).await.expect("in time");
}

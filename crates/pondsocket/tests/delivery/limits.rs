//! The limits of one client. A request over a limit is refused and changes nothing, or waits
//! unread. Each refusal is counted. The clock is paused, so that rates recover to the millisecond.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::testing::{CallError, Client, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby, Options,
    Payload, PondSocket, Result,
};
use serde::Serialize;
use serde_json::{Value, json};
use testkit::{Log, Message, Recorder, TestResult, connect_in_memory, eventually};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// A pond with these limits, and its counters. Every client is accepted under the name in its query.
struct Limited {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    counted: Recorder,
}

fn limited(options: Options) -> Limited {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    Limited { pond, endpoint, lobby, counted }
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    match ctx.query("name").map(str::to_owned) {
        Some(name) => Ok(ctx.accept().user_id(&name)),
        None => Ok(ctx.accept()),
    }
}

impl Limited {
    async fn client(&self) -> Result<Client, Box<dyn StdError>> {
        Ok(self.pond.test_client().connect("/?name=ada").await?)
    }

    fn reached(&self) -> Vec<String> {
        self.counted.of("limit_reached")
    }
}

fn code(refused: Result<Room, CallError>) -> Option<u16> {
    refused.expect_err("more than may be").code()
}

/// The refusal of a request, with its retry time in milliseconds.
async fn retry_after(room: &Room, payload: impl Serialize) -> u64 {
    let refused = room.request("echo", payload).await.expect_err("too fast");
    let refused = refused.rejection().expect("an answer");
    assert_eq!((refused.code(), refused.message()), (429, "too many messages"));
    refused.details()["retryAfterMs"].as_u64().expect("it says when")
}

// --- Channels --------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_channels_of_a_connection_are_limited_and_a_leave_makes_room() -> TestResult {
    let limited = limited(Options::default().max_channels_per_connection(2));
    limited.endpoint.create_channel("/closed", async |_: JoinContext| Err::<Joined, _>(Error::forbidden("closed")));
    let ada = limited.client().await?;
    assert_eq!(code(ada.join("/closed", json!({})).await), Some(403), "it takes no place");
    let mut first = ada.join("/room/1", json!({})).await?;
    let _second = ada.join("/room/2", json!({})).await?;
    let refused = ada.join("/room/3", json!({})).await.expect_err("a third");
    assert_eq!(
        refused.rejection().map(|refused| (refused.code(), refused.message())),
        Some((429, "too many channels"))
    );
    assert_eq!(limited.reached(), ["/ channels"]);
    assert_eq!(limited.counted.of("join_declined"), ["/ ada /closed 403", "/ ada /room/3 429"]);
    assert_eq!(limited.endpoint.channel("/room/3")?.member_count(), 0);

    ada.join("/room/1", json!({})).await.map(drop)?;
    first.leave().await?;
    ada.join("/room/3", json!({})).await?;
    let other = limited.pond.test_client().connect("/?name=bob").await?;
    other.join("/room/1", json!({})).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_channel_after_an_eviction_does_not_count() -> TestResult {
    let limited = limited(Options::default().max_channels_per_connection(1));
    let ada = limited.client().await?;
    for n in 1..=3 {
        let mut room = ada.join(&format!("/room/{n}"), json!({})).await?;
        limited.endpoint.channel(&format!("/room/{n}"))?.evict("ada", "out").await?;
        room.next("EVICTED").await?;
    }
    assert_eq!(limited.reached(), Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn pending_joins_are_limited_and_a_further_one_stays_unread() -> TestResult {
    let limited = limited(Options::default().max_pending_joins(2));
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let begun = Log::default();
    let log = begun.clone();
    limited.endpoint.create_channel("/slow/:n", move |ctx: JoinContext| {
        let wait = Arc::clone(&wait);
        log.note(ctx.channel().name());
        async move {
            wait.acquire().await.map_err(Error::internal)?.forget();
            Ok::<Joined, Error>(ctx.accept())
        }
    });
    let ada = limited.client().await?;
    let room = ada.join("/room/1", json!({})).await?;
    let names: Vec<_> = (1..=5).map(|n| format!("/slow/{n}")).collect();
    let joins: Vec<_> = names.iter().map(|name| ada.join(name, json!({}))).collect();
    let echo = room.request("echo", json!({}));
    eventually("reading has paused", || limited.reached() == ["/ pending_joins"]).await;
    assert_eq!(begun.take(), names[..2], "the others are not read");
    for _ in 0..5 {
        gate.add_permits(1);
        sleep(Duration::from_millis(1)).await;
    }
    for join in joins {
        join.await?;
    }
    assert_eq!(echo.await?, json!({}), "what is behind them comes in its turn");
    assert_eq!(begun.take(), names[2..], "in their order");
    assert_eq!(limited.counted.of("join_declined"), Vec::<String>::new());
    Ok(())
}

/// Longer than a message may wait in a full queue, because the handlers are slow.
#[tokio::test(start_paused = true)]
async fn a_client_may_join_all_its_channels_at_once_with_slow_handlers() -> TestResult {
    for (wait, options) in [
        (Duration::from_millis(50), Options::default()),
        (Duration::from_secs(12), Options::default().max_pending_joins(7)),
        (Duration::from_secs(12), Options::default().max_concurrent_handlers(1).receive_channel_buffer(300)),
    ] {
        let limited = limited(options);
        limited.endpoint.create_channel("/slow/:n", move |ctx: JoinContext| async move {
            sleep(wait).await;
            Ok::<Joined, Error>(ctx.accept())
        });
        let socket = connect_in_memory(&limited.pond, "/?name=ada", 4096).await;
        let (mut writing, mut reading) = socket.split();
        let write = async {
            for n in 0..256 {
                let join = json!({
                    "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": format!("/slow/{n}"),
                    "requestId": n.to_string(), "payload": { "user": "x".repeat(100) },
                });
                writing.feed(Message::text(join.to_string())).await.expect("it reads");
            }
            writing.flush().await.expect("it reads");
        };
        let read = async {
            let mut joined = HashSet::new();
            while joined.len() < 256 {
                let Some(Ok(frame)) = reading.next().await else { panic!("only {} are joined", joined.len()) };
                let Message::Text(text) = frame else { continue };
                let message: Value = serde_json::from_str(&text).expect("JSON");
                match message["event"].as_str() {
                    Some("ACKNOWLEDGE") => assert!(joined.insert(message["requestId"].to_string())),
                    Some("CONNECTION") => {}
                    _ => panic!("no acknowledgement: {text}"),
                }
            }
        };
        tokio::join!(write, read);
        assert_eq!(limited.pond.snapshot().endpoints[0].channels.len(), 256);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_running_leave_handler_does_not_count_as_a_pending_join() -> TestResult {
    let limited = limited(Options::default().max_pending_joins(1));
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    limited.lobby.on_leave(move |_: LeaveContext| {
        let wait = Arc::clone(&wait);
        async move { wait.acquire().await.map(|permit| permit.forget()).map_err(Error::internal) }
    });
    let ada = limited.client().await?;
    ada.join("/room/1", json!({})).await?.leave().await?;
    ada.join("/room/2", json!({})).await?;
    gate.add_permits(1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_too_long_is_declined_also_where_names_are_canonical() -> TestResult {
    for canonical in [false, true] {
        let limited = limited(Options::default().max_channel_name(8).canonical_channel_names(canonical));
        let ada = limited.client().await?;
        let _fits = ada.join("/room/12", json!({})).await?;
        for name in ["/room/123", "/room//123/"] {
            assert_eq!(code(ada.join(name, json!({})).await), Some(400), "{name}, canonical: {canonical}");
        }
        assert_eq!(limited.reached(), ["/ channel_name"; 2]);
        assert_eq!(limited.counted.of("join_declined"), ["/ ada /room/123 400", "/ ada /room//123/ 400"]);
        let asked = limited.endpoint.channel("/room/123").expect_err("too long for the application, too");
        assert_eq!((asked.code(), limited.reached().len()), (400, 2), "but it is no client");
    }
    Ok(())
}

// --- Rates -----------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn messages_over_the_rate_are_refused_until_the_retry_time_of_the_answer() -> TestResult {
    let limited = limited(Options::default().messages_per_second(3));
    let (ada, other) = (limited.client().await?, limited.client().await?);
    let room = ada.join("/room/1", json!({})).await?;
    let others = other.join("/room/1", json!({})).await?;
    for n in 0..2 {
        assert_eq!(room.request("echo", json!({ "n": n })).await?["n"], n);
    }
    let after = retry_after(&room, json!({})).await;
    assert_eq!(after, 334, "a third of a second, and no moment too early");
    assert_eq!(others.request("echo", json!({ "n": 1 })).await?["n"], 1, "each connection has a rate of its own");
    sleep(Duration::from_millis(after - 2)).await;
    assert_eq!(retry_after(&room, json!({})).await, 2);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(room.request("echo", json!({ "n": 5 })).await?["n"], 5);
    assert_eq!(limited.reached(), ["/ messages"; 2]);

    sleep(Duration::from_secs(60)).await;
    for n in 0..3 {
        assert_eq!(room.request("echo", json!({ "n": n })).await?["n"], n, "no more is saved up than one second's");
    }
    retry_after(&room, json!({})).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_with_the_envelope_and_a_large_message_delays_the_next() -> TestResult {
    let limited = limited(Options::default().bytes_per_second(1000));
    let room = limited.client().await?.join("/room/1", json!({})).await?;
    sleep(Duration::from_secs(1)).await;
    let large = "x".repeat(4000);
    assert_eq!(room.request("echo", json!({ "text": large })).await?["text"], large.as_str());
    let after = retry_after(&room, json!({ "n": 1 })).await;
    let sent = limited.counted.of("message_received");
    let size: u64 = sent[0].rsplit(' ').next().ok_or("a size")?.parse()?;
    assert!((4050..4200).contains(&size), "{size}");
    assert!((size - 1000..size - 800).contains(&after), "{size} bytes are owed, and a message: {after} ms");
    sleep(Duration::from_millis(after)).await;
    assert_eq!(room.request("echo", json!({ "n": 1 })).await?["n"], 1);
    assert_eq!(limited.reached(), ["/ bytes"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_join_over_the_rate_ends_as_a_decline_and_leaving_is_always_possible() -> TestResult {
    let limited = limited(Options::default().messages_per_second(2).max_refusals(3));
    let ada = limited.client().await?;
    let mut rooms = [ada.join("/room/1", json!({})).await?, ada.join("/room/2", json!({})).await?];
    let refused = ada.join("/room/3", json!({})).await.expect_err("too fast");
    let refused = refused.rejection().ok_or("an answer")?;
    assert_eq!((refused.code(), &refused.details()["retryAfterMs"]), (429, &json!(500)));
    assert_eq!(limited.counted.of("join_declined"), ["/ ada /room/3 429"]);
    ada.join("/room/2", json!({})).await.expect("who is in is told so, or would believe to be out");
    for room in &mut rooms {
        room.leave().await?;
    }
    assert_eq!(limited.counted.of("channel_left"), ["/ ada /room/1 explicit_leave", "/ ada /room/2 explicit_leave"]);
    assert_eq!(limited.reached(), ["/ messages"; 2], "a leave is never refused");
    sleep(Duration::from_millis(500)).await;
    ada.join("/room/3", json!({})).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_too_often_in_a_row_is_closed() -> TestResult {
    let limited = limited(Options::default().messages_per_second(1).max_refusals(3));
    let ada = limited.client().await?;
    let room = ada.join("/room/1", json!({})).await?;
    for _ in 0..3 {
        retry_after(&room, json!({})).await;
        retry_after(&room, json!({})).await;
        sleep(Duration::from_secs(1)).await;
        room.request("echo", json!({})).await?;
    }
    for _ in 0..3 {
        room.send("echo", json!({}));
    }
    let closed = ada.closed().await?;
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "too many messages"));
    eventually("it is counted", || !limited.counted.of("connection_closed").is_empty()).await;
    assert_eq!(limited.counted.of("connection_closed"), ["/ ada 3s 1008 rate_limit"]);
    assert_eq!(limited.reached(), ["/ messages"; 9]);
    Ok(())
}

/// Malformed messages and leaves without a membership count, too.
#[tokio::test(start_paused = true)]
async fn leaves_without_a_membership_are_answered_and_limited() -> TestResult {
    let limited = limited(Options::default().messages_per_second(1).max_refusals(3));
    let ada = limited.client().await?;
    let mut room = ada.join("/room/1", json!({})).await?;
    for _ in 0..3 {
        room.leave().await?;
    }
    assert_eq!(limited.reached(), ["/ messages"; 2], "the first one left, and was no flood");
    room.leave().await?;
    assert_eq!(ada.closed().await?.code, Some(1008));
    Ok(())
}

// --- Addresses -------------------------------------------------------------------------------------------------------

fn from(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), 4711)
}

#[tokio::test(start_paused = true)]
async fn connections_per_address_are_limited_also_behind_a_trusted_proxy() -> TestResult {
    let options = Options::default().max_connections_per_ip(1).retry_after(Duration::from_millis(1500));
    let limited = limited(options.trusted_proxies(["10.0.0.0/8"]));
    let client = |peer: &str| limited.pond.test_client().peer(from(peer));
    let held = client("1.1.1.1").connect("/").await?;
    let _network = client("2001:db8::1").connect("/").await?;
    for again in [
        client("1.1.1.1"),
        client("::ffff:1.1.1.1"),
        client("2001:db8::2"),
        client("10.0.0.1").header("X-Forwarded-For", "6.6.6.6, 1.1.1.1"),
        client("10.0.0.1").header("X-Forwarded-For", "[2001:db8::3]:99").header("Forwarded", "for=9.9.9.9"),
    ] {
        let refused = again.connect("/").await.expect_err("a second one");
        let refused = refused.refusal().ok_or("over HTTP")?;
        assert_eq!((refused.status().as_u16(), &*refused.text()), (429, "too many connections from this address"));
        assert_eq!(refused.headers()["retry-after"], "2", "whole seconds, and not too early");
    }
    assert_eq!(limited.counted.of("connection_declined"), ["/ 429 address_limit"; 5]);
    let _others = [
        client("2.2.2.2").connect("/").await?,
        client("2001:db8:0:1::1").connect("/").await?,
        client("10.0.0.1").header("X-Forwarded-For", "3.3.3.3").connect("/").await?,
        // The header of a peer that is not trusted is ignored.
        client("4.4.4.4").header("X-Forwarded-For", "1.1.1.1").connect("/").await?,
    ];
    drop(held);
    eventually("the place is free", || limited.endpoint.connections().len() == 5).await;
    let _next = client("10.0.0.1").header("X-Forwarded-For", "1.1.1.1").connect("/").await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn connections_without_a_known_address_are_not_limited() -> TestResult {
    let limited = limited(Options::default().max_connections_per_ip(1));
    let _both = (limited.client().await?, limited.client().await?);
    Ok(())
}

// --- What is stored --------------------------------------------------------------------------------------------------

/// A value of this many bytes as JSON.
fn of_size(bytes: usize) -> String {
    "x".repeat(bytes - 2)
}

/// The object `{"key":"xx…"}` of this many bytes.
fn presence_of(bytes: usize) -> Value {
    json!({ "key": of_size(bytes - 8) })
}

#[tokio::test(start_paused = true)]
async fn the_assigns_of_a_connection_are_limited_at_admission_and_later() -> TestResult {
    let limited = limited(Options::default().max_assigns_size(100));
    limited.pond.create_endpoint("/sized", async |ctx: ConnectionContext| {
        let bytes: usize = ctx.query("bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(100);
        Ok::<_, Error>(ctx.accept().assign("key", &of_size(bytes - 8)))
    });
    let client = limited.pond.test_client();
    let refused = client.connect("/sized?bytes=101").await.expect_err("too large");
    let refused = refused.refusal().ok_or("over HTTP")?;
    let told = (refused.status().as_u16(), refused.text());
    assert_eq!(told, (413, "the assigns would be over the limit".into()));
    assert_eq!(limited.reached(), ["/sized assigns"]);
    assert_eq!(limited.counted.of("connection_declined"), ["/sized 413 handler"]);
    client.connect("/sized?bytes=100").await?;

    let ada = limited.client().await?;
    let connection = limited.endpoint.connection(ada.id()).ok_or("it is there")?;
    connection.set_assign("key", &of_size(92))?;
    for (key, value) in [("key", of_size(93)), ("k", of_size(2))] {
        assert_eq!(connection.set_assign(key, &value).map_err(|error| error.code()), Err(413), "{key}");
    }
    assert_eq!(connection.user().assigns::<Value>()?, json!({ "key": of_size(92) }), "nothing is changed");
    assert_eq!(limited.reached(), ["/sized assigns", "/ assigns", "/ assigns"]);
    connection.set_assign("key", &of_size(10))?;
    connection.set_assign("k", &of_size(10))?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_assigns_of_a_member_are_limited_wherever_they_are_set() -> TestResult {
    let limited = limited(Options::default().max_assigns_size(100));
    limited.endpoint.create_channel("/sized", async |ctx: JoinContext, Payload(sizes): Payload<Value>| {
        let size = |name: &str| sizes[name].as_u64().map(|bytes| bytes as usize);
        if let Some(bytes) = size("connection") {
            ctx.set_assign("key", &of_size(bytes - 8))?;
        }
        let joined = ctx.accept();
        Ok::<_, Error>(match size("chain") {
            Some(bytes) => joined.assign("key", &of_size(bytes - 8)),
            None => joined,
        })
    });
    limited.lobby.on_event("set", async |ctx: EventContext, Payload(bytes): Payload<Value>| {
        let bytes = bytes["bytes"].as_u64().unwrap_or(100) as usize;
        ctx.set_assign("key", &of_size(bytes - 8))?;
        ctx.reply("set", &json!({}))
    });
    let ada = limited.client().await?;
    for place in ["connection", "chain"] {
        assert_eq!(code(ada.join("/sized", json!({ place: 101 })).await), Some(413), "{place}");
        assert_eq!(limited.endpoint.channel("/sized")?.member_count(), 0);
    }
    assert_eq!(limited.counted.of("channel_created"), Vec::<String>::new(), "a declined join makes no channel");
    assert_eq!(limited.counted.of("join_declined"), ["/ ada /sized 413"; 2]);
    let _in = ada.join("/sized", json!({ "chain": 100 })).await?;
    let second = limited.client().await?;
    let more = second.join("/sized", json!({ "chain": 101 })).await;
    assert_eq!(code(more), Some(413), "nor for another connection of the user");
    assert_eq!(limited.endpoint.channel("/sized")?.assigns::<Value>()?["ada"], json!({ "key": of_size(92) }));
    assert_eq!(limited.reached(), ["/ assigns"; 3]);

    let (room, channel) = (ada.join("/room/1", json!({})).await?, limited.endpoint.channel("/room/1")?);
    room.request("set", json!({ "bytes": 100 })).await?;
    let refused = room.request("set", json!({ "bytes": 101 })).await.expect_err("too large");
    assert_eq!(refused.code(), Some(413));
    let refused = channel.update_assigns("ada", "k", &1).await.expect_err("too large");
    assert_eq!(refused.code(), 413);
    assert_eq!(channel.assigns::<Value>()?["ada"], json!({ "key": of_size(92) }), "nothing is changed");
    assert_eq!(limited.reached(), ["/ assigns"; 5]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_presence_of_a_member_is_limited_wherever_it_is_shown() -> TestResult {
    let limited = limited(Options::default().max_presence_size(100));
    limited.endpoint.create_channel("/sized", async |ctx: JoinContext, Payload(size): Payload<Value>| {
        let bytes = size["bytes"].as_u64().unwrap_or(100) as usize;
        Ok::<_, Error>(ctx.accept().track(&presence_of(bytes)))
    });
    limited.lobby.on_event("track", async |ctx: EventContext| ctx.track(&presence_of(101)));
    limited.lobby.on_event("update", async |ctx: EventContext| ctx.update_presence(&presence_of(101)));
    let ada = limited.client().await?;
    assert_eq!(code(ada.join("/sized", json!({ "bytes": 101 })).await), Some(413));
    assert_eq!(limited.counted.of("channel_created"), Vec::<String>::new(), "a declined join makes no channel");
    let mut shown = ada.join("/sized", json!({ "bytes": 100 })).await?;
    assert_eq!(shown.next_presence().await?.changed, presence_of(100));

    let (room, channel) = (ada.join("/room/1", json!({})).await?, limited.endpoint.channel("/room/1")?);
    for event in ["track", "update"] {
        let refused = room.request(event, json!({})).await.expect_err("too large");
        assert_eq!(refused.code(), Some(413), "{event}");
    }
    assert_eq!(channel.track("ada", &presence_of(101)).map_err(|error| error.code()), Err(413));
    assert_eq!(channel.presence::<Value>()?.len(), 0, "no member is shown");
    channel.track("ada", &presence_of(100))?;
    let refused = channel.update_presence("ada", &presence_of(101)).await;
    assert_eq!(refused.map_err(|error| error.code()), Err(413));
    assert_eq!(channel.presence::<Value>()?["ada"], presence_of(100), "it shows what it showed");
    assert_eq!(limited.reached(), ["/ presence"; 5]);
    Ok(())
}

//! The metrics of the server: every method of `Metrics` with its arguments, and the isolation of a `Metrics` that calls
//! back or panics.

use std::cell::Cell;
use std::error::Error as StdError;
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pondsocket::metrics::{
    CloseReason, Component, ConnectionInfo, DeclineReason, DropReason, HandlerKind, Limit, Metrics, Queue,
};
use pondsocket::testing::{Client, Connector};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, Hooks, JoinContext, Joined, LeaveContext, Lobby,
    Options, Outgoing, OutgoingContext, Payload, PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::{DEADLINE, Peer, Recorder, TestResult, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&name))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// A pond with metrics, and one endpoint and lobby that accept every client.
fn counted(options: Options, metrics: impl Metrics) -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::with_options(options).expect("valid options").metrics(metrics);
    let endpoint = pond.create_endpoint("/in", connect);
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    (pond, endpoint, lobby)
}

async fn enter(pond: &PondSocket, name: &str) -> Result<Client, Box<dyn StdError>> {
    Ok(pond.test_client().connect(&format!("/in?name={name}")).await?)
}

/// Waits until a method was called this often, and returns the arguments of the calls.
async fn calls(counted: &Recorder, method: &str, count: usize) -> Vec<String> {
    let start = Instant::now();
    while counted.of(method).len() < count {
        assert!(start.elapsed() < DEADLINE, "not {count} times {method}: {:?}", counted.of(method));
        sleep(Duration::from_millis(1)).await;
    }
    counted.of(method)
}

// --- Each method -----------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn connections_open_and_close_after_some_time_with_a_code_and_a_reason() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, _) = counted(Options::default(), counts.clone());
    let (ada, bob, eve) = (enter(&pond, "ada").await?, enter(&pond, "bob").await?, enter(&pond, "eve").await?);
    assert_eq!(counts.of("connection_opened"), ["/in ada", "/in bob", "/in eve"]);
    assert_eq!(counts.methods()[..2], ["handler_finished", "connection_opened"], "nothing is sent to it before");
    sleep(3 * SECOND).await;
    ada.close();
    calls(&counts, "connection_closed", 1).await;
    sleep(2 * SECOND).await;
    endpoint.disconnect(bob.id())?;
    calls(&counts, "connection_closed", 2).await;
    drop(eve);
    let closed = calls(&counts, "connection_closed", 3).await;
    assert_eq!(closed, ["/in ada 3s 1000 client", "/in bob 5s 1000 server", "/in eve 5s 1006 lost"]);
    assert_eq!(counts.of("connection_error"), ["/in eve end of stream"]);
    Ok(())
}

#[tokio::test]
async fn a_broken_frame_is_an_error_of_its_connection() {
    let counts = Recorder::default();
    let (pond, ..) = counted(Options::default().max_message_size(1000), counts.clone());
    let (_server, address) = serve(&pond).await;
    let mut unmasked = Peer::connect(address, "/in?name=unmasked").await;
    unmasked.bytes(&[0x81, 0]).await;
    let mut large = Peer::connect(address, "/in?name=large").await;
    large.text(&"x".repeat(1001)).await;
    for (peer, code) in [(&mut unmasked, 1002), (&mut large, 1009)] {
        assert_eq!(peer.closed().await.map(|close| close.code.into()), Some(code));
    }
    drop((unmasked, large));
    let closed = calls(&counts, "connection_closed", 2).await;
    assert!(closed.contains(&"/in unmasked 0s 1002 protocol".into()), "{closed:?}");
    assert!(closed.contains(&"/in large 0s 1009 protocol".into()), "{closed:?}");
    let errors = counts.of("connection_error");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("/in unmasked ") && errors[0].contains("mask"), "{errors:?}");
    assert_eq!(counts.of("limit_reached"), ["/in message_size"]);
}

struct NotEve;

impl Hooks for NotEve {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        if connection.user_id() == "eve" { Err(Error::unauthorized("not eve")) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn refused_clients_are_counted_with_the_status_and_the_reason() -> TestResult {
    let counts = Recorder::default();
    let pond = PondSocket::with_options(Options::default().max_connections(1).max_connections_per_ip(1))?;
    let pond = pond.metrics(counts.clone()).hooks(NotEve);
    pond.create_endpoint("/no", async |_: ConnectionContext| Err::<Connected, _>(Error::forbidden("no")));
    pond.create_endpoint("/slow", async |_: ConnectionContext| std::future::pending::<Result<Connected>>().await);
    pond.create_endpoint("/in", connect);
    let origins =
        pondsocket::EndpointOptions { check_origin: Some(pondsocket::CheckOrigin::Always), ..Default::default() };
    let _private = pond.create_endpoint("/private", connect).options(origins);
    let client = pond.test_client().deadline(60 * SECOND);
    let refused = async |client: &Connector, path: &str| client.connect(path).await.expect_err("refused").code();

    assert_eq!(refused(&client, "/no").await, Some(403));
    assert_eq!(refused(&client, "/slow").await, Some(504));
    assert_eq!(refused(&client.clone().header("upgrade", "smoke-signals"), "/in").await, Some(426));
    assert_eq!(refused(&client.clone().header("origin", "https://evil.example"), "/private").await, Some(403));
    assert_eq!(refused(&client, "/in?name=eve").await, Some(401));
    let _ada = client.connect("/in").await?;
    assert_eq!(refused(&client, "/in").await, Some(503));
    pond.shutdown(SECOND).await;
    assert_eq!(refused(&client, "/in").await, Some(503));
    let expected = [
        "/no 403 handler",
        "/slow 504 timeout",
        "/in 426 handshake",
        "/private 403 origin",
        "/in 401 hook",
        "/in 503 connection_limit",
        "/in 503 draining",
    ];
    assert_eq!(counts.of("connection_declined"), expected);
    assert_eq!(counts.of("connection_opened"), ["/in ada"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_when_received_broadcast_and_sent() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, lobby) = counted(Options::default(), counts.clone());
    lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({})).map(drop));
    let (ada, bob) = (enter(&pond, "ada").await?, enter(&pond, "bob").await?);
    let mut adas = ada.join("/room/1", json!({})).await?;
    adas.send("say", json!({ "text": "hi" }));
    adas.next("said").await?;
    let mut bobs = bob.join("/room/1", json!({})).await?;
    adas.send("say", json!({ "text": "hi again" }));
    bobs.next("said").await?;
    let received: Vec<_> = counts.of("message_received");
    let sizes: Vec<usize> = received.iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(received.iter().all(|line| line.starts_with("/in ada /room/1 say ")), "{received:?}");
    assert_eq!(sizes[1] - sizes[0], " again".len(), "the bytes of the whole message: {received:?}");
    assert_eq!(counts.of("message_broadcast"), ["/in /room/1 said 1", "/in /room/1 said 2"]);

    // Three messages at once are one call.
    let before = counts.of("message_sent").len();
    for _ in 0..3 {
        endpoint.channel("/room/1")?.broadcast_to(["bob"], "news", &json!({}))?;
    }
    bobs.next("news").await?;
    let sent = counts.of("message_sent").split_off(before);
    let id = "00000000-0000-0000-0000-000000000000";
    let text =
        json!({ "action": "BROADCAST", "event": "news", "channelName": "/room/1", "requestId": id, "payload": {} });
    assert_eq!(sent, [format!("/in bob 3 {}", 3 * (2 + text.to_string().len()))], "with the headers of the frames");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_chained_to_a_join_are_counted_as_broadcasts() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, _) = counted(Options::default(), counts.clone());
    endpoint.create_channel("/hall", async |ctx: JoinContext| {
        let joined = ctx.accept().broadcast("hello", &json!({})).broadcast_from("somebody", &json!({}));
        Ok::<_, Error>(joined.broadcast_to(["ada", "nobody"], "psst", &json!({})))
    });
    let (ada, bob) = (enter(&pond, "ada").await?, enter(&pond, "bob").await?);
    let _adas = ada.join("/hall", json!({})).await?;
    let alone = ["/in /hall hello 1", "/in /hall somebody 0", "/in /hall psst 1"];
    assert_eq!(counts.of("message_broadcast"), alone);
    let _bobs = bob.join("/hall", json!({})).await?;
    assert_eq!(counts.of("message_broadcast")[3..], ["/in /hall hello 2", "/in /hall somebody 1", "/in /hall psst 1"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_blocked_by_outgoing_handlers_are_counted_for_each_recipient() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, lobby) = counted(Options::default(), counts.clone());
    lobby.on_outgoing("secret", |ctx: &OutgoingContext| match ctx.recipient().id() {
        "ada" => Outgoing::Pass,
        _ => Outgoing::Block,
    });
    lobby.on_outgoing("broken", |_: &OutgoingContext| -> Outgoing { panic!("on purpose") });
    let (ada, bob) = (enter(&pond, "ada").await?, enter(&pond, "bob").await?);
    let mut adas = ada.join("/room/1", json!({})).await?;
    let _bobs = bob.join("/room/1", json!({})).await?;
    endpoint.channel("/room/1")?.broadcast("secret", &json!({}))?;
    adas.next("secret").await?;
    assert_eq!(calls(&counts, "message_blocked", 1).await, ["/in secret"]);
    endpoint.channel("/room/1")?.broadcast("broken", &json!({}))?;
    assert_eq!(calls(&counts, "message_blocked", 3).await[1..], ["/in broken"; 2]);
    assert_eq!(counts.of("error"), ["outgoing_handler 500"; 2]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn members_and_channels_are_counted_as_they_begin_and_end() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, _) = counted(Options::default(), counts.clone());
    endpoint.create_channel("/closed", async |_: JoinContext| Err::<Joined, _>(Error::forbidden("closed")));
    let (ada, again, bob) = (enter(&pond, "ada").await?, enter(&pond, "ada").await?, enter(&pond, "bob").await?);
    let mut first = ada.join("/room/1", json!({})).await?;
    let second = again.join("/room/1", json!({})).await?;
    ada.join("/room/1", json!({})).await?;
    assert_eq!(counts.of("channel_joined"), ["/in ada /room/1"], "with its first connection");
    let channel = endpoint.channel("/room/1")?;
    for reason in ["evicted", "removed", "connection_closed"] {
        let bobs = bob.join("/room/1", json!({})).await?;
        match reason {
            "evicted" => channel.evict("bob", "spam").await?,
            "removed" => channel.remove("bob", "spring cleaning").await?,
            _ => bob.close(),
        }
        drop(bobs);
    }
    calls(&counts, "channel_left", 3).await;
    first.leave().await?;
    assert_eq!(counts.of("channel_left").len(), 3, "another connection is still there");
    drop((second, again));
    let left = calls(&counts, "channel_left", 4).await;
    let expected = [
        "/in bob /room/1 evicted",
        "/in bob /room/1 removed",
        "/in bob /room/1 connection_closed",
        "/in ada /room/1 connection_closed",
    ];
    assert_eq!(left, expected);
    assert_eq!(counts.of("channel_created"), ["/in /room/1"]);
    assert_eq!(calls(&counts, "channel_destroyed", 1).await, ["/in /room/1"]);
    for channel in ["/closed", "/nowhere"] {
        ada.join(channel, json!({})).await.expect_err("declined");
    }
    assert_eq!(counts.of("join_declined"), ["/in ada /closed 403", "/in ada /nowhere 404"]);
    assert_eq!(counts.of("channel_created"), ["/in /room/1"], "a declined join makes none");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn handlers_are_timed_and_their_failures_counted() -> TestResult {
    let counts = Recorder::default();
    let (pond, _, lobby) = counted(Options::default().handler_timeout(9 * SECOND), counts.clone());
    pond.create_endpoint("/slow", async |ctx: ConnectionContext| {
        sleep(2 * SECOND).await;
        Ok::<_, Error>(ctx.accept())
    });
    pond.create_endpoint("/no", async |_: ConnectionContext| Err::<Connected, _>(Error::forbidden("no")));
    pond.endpoints()[0].create_channel("/slow", async |_: JoinContext| {
        sleep(3 * SECOND).await;
        Err::<Joined, _>(Error::conflict("too late"))
    });
    lobby.on_event("wait", async |_: EventContext| sleep(4 * SECOND).await);
    lobby.on_event("hang", async |_: EventContext| std::future::pending::<()>().await);
    lobby.on_leave(async |_: LeaveContext| {
        sleep(5 * SECOND).await;
        Err::<(), _>(Error::unavailable("the database"))
    });
    let client = pond.test_client().deadline(60 * SECOND);
    let _slow = client.connect("/slow").await?;
    client.connect("/no").await.expect_err("declined");
    let ada = client.connect("/in").await?;
    ada.join("/slow", json!({})).await.expect_err("declined");
    let mut room = ada.join("/room/1", json!({})).await?;
    room.send("wait", json!({}));
    room.request("hang", json!({})).await.expect_err("cancelled");
    room.request("dance", json!({})).await.expect_err("it has no handler");
    room.leave().await?;
    let finished = calls(&counts, "handler_finished", 9).await;
    let expected = [
        "connection /slow 2s ok",
        "connection /no 0s 403",
        "connection /in 0s ok",
        "join /slow 3s 409",
        "join /room/:n 0s ok",
        "event /room/:n 4s ok",
        "event /room/:n 9s 504",
        "event /room/:n 0s 404",
        "leave /room/:n 5s 503",
    ];
    assert_eq!(finished, expected);
    assert_eq!(counts.of("error"), ["leave_handler 503"], "no other metric reports it");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn queue_depths_are_reported_as_they_grow() -> TestResult {
    let counts = Recorder::default();
    let (pond, endpoint, lobby) = counted(Options::default().max_concurrent_handlers(1), counts.clone());
    lobby.on_event("wait", async |_: EventContext| sleep(SECOND).await);
    let ada = enter(&pond, "ada").await?;
    let mut rooms = [ada.join("/room/1", json!({})).await?, ada.join("/room/2", json!({})).await?];
    let of = |queue: &str| {
        let depths = counts.of("queue_depth").into_iter();
        depths.filter_map(|line| Some(line.strip_prefix(&format!("/in {queue} "))?.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(of("receive"), Vec::<String>::new());
    rooms[0].send("wait", json!({}));
    rooms[0].send("wait", json!({}));
    rooms[1].request("echo", json!({})).await?;
    assert_eq!(of("receive"), ["1", "2"], "behind a message of its own room, and for want of handlers");

    let before = of("channel").len();
    for _ in 0..3 {
        endpoint.channel("/room/1")?.broadcast("news", &json!({}))?;
    }
    rooms[0].next("news").await?;
    endpoint.channel("/room/1")?.broadcast("more", &json!({}))?;
    rooms[0].next("more").await?;
    assert_eq!(of("channel")[before..], ["3", "1"]);
    // Only the connection's task writes to this stream, so deliveries of others wait for it.
    let outbox = of("outbox");
    assert!(outbox.contains(&"3".into()) && outbox.contains(&"1".into()), "{outbox:?}");
    Ok(())
}

struct PanickingHooks;

impl Hooks for PanickingHooks {
    fn on_disconnect(&self, _: &ConnectionInfo<'_>, _: Duration, _: u16, _: CloseReason) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn internal_failures_are_counted_with_their_place() -> TestResult {
    let counts = Recorder::default();
    let pond = PondSocket::new().metrics(counts.clone()).hooks(PanickingHooks);
    pond.create_endpoint("/broken", async |_: ConnectionContext| -> Result<Connected> { panic!("on purpose") });
    let endpoint = pond.create_endpoint("/in", connect);
    endpoint.create_channel("/broken", async |_: JoinContext| Err::<Joined, _>(Error::internal("on purpose")));
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("broken", async |_: EventContext| -> Result<()> { panic!("on purpose") });
    pond.test_client().connect("/broken").await.expect_err("declined");
    let ada = enter(&pond, "ada").await?;
    ada.join("/broken", json!({})).await.expect_err("declined");
    ada.join("/room/1", json!({})).await?.request("broken", json!({})).await.expect_err("an error");
    ada.close();
    let errors = calls(&counts, "error", 4).await;
    assert_eq!(errors, ["connection_handler 500", "join_handler 500", "event_handler 500", "hook 500"]);
    Ok(())
}

#[tokio::test]
async fn an_invalid_request_is_an_error_of_the_http_server() {
    let counts = Recorder::default();
    let (pond, ..) = counted(Options::default(), counts.clone());
    let (_server, address) = serve(&pond).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(b"how do you do?\r\n\r\n").await.expect("it reads");
    assert_eq!(calls(&counts, "error", 1).await, ["http_server 400"]);
}

#[test]
fn the_guide_for_operators_names_every_method_and_every_reason() {
    let (guide, source) = (include_str!("../../../../docs/operations.md"), include_str!("../../src/metrics/mod.rs"));
    let reasons = source.lines().filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" = \""));
    let reasons: Vec<_> = reasons.map(|(_, reason)| reason).collect();
    let methods = METHODS.into_iter().chain(["connection_error"]);
    let missing: Vec<_> =
        reasons.iter().copied().chain(methods).filter(|name| !guide.contains(&format!("`{name}`"))).collect();
    assert!(reasons.len() > 40 && missing.is_empty(), "{} reasons; missing: {missing:?}", reasons.len());
}

// --- A `Metrics` that does what it likes ------------------------------------------------------------------------------

/// Calls back into the pond from every method.
#[derive(Clone, Default)]
struct CallsBack {
    pond: Arc<OnceLock<PondSocket>>,
    told: Recorder,
}

thread_local! {
    /// Its own operations are counted as well, so it must not recurse.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

impl CallsBack {
    /// Broadcasts after certain events only: a reply is sent under the channel's lock only while the channel has
    /// nothing queued.
    fn look_around(&self, told: &str) {
        if BUSY.replace(true) {
            return;
        }
        let broadcasts = ["channel_joined", "message_broadcast", "join_declined", "connection_closed"].contains(&told);
        if let Some(pond) = self.pond.get() {
            let snapshot = pond.snapshot();
            assert_eq!(snapshot.endpoints.len(), 1);
            for endpoint in pond.endpoints() {
                for connection in endpoint.connections() {
                    connection.set_assign("seen", &true).expect("small");
                }
                for name in snapshot.endpoints[0].channels.iter().map(|channel| &channel.name) {
                    let channel = endpoint.channel(name).expect("ours");
                    assert!(channel.presence::<Value>().expect("JSON").is_empty());
                    if broadcasts {
                        // The queue may be full.
                        let _ = channel.broadcast("counted", &json!({}));
                    }
                }
            }
        }
        BUSY.set(false);
    }
}

/// A `Metrics` all of whose methods do one thing.
macro_rules! all_methods {
    ($metrics:ty, |$me:ident, $told:ident| $what:expr) => {
        impl Metrics for $metrics {
            all_methods! { $me $told $what;
                connection_opened(me: &ConnectionInfo<'_>);
                connection_closed(me: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason);
                connection_declined(endpoint: &str, status: u16, reason: DeclineReason);
                connection_error(me: &ConnectionInfo<'_>, error: &str);
                message_received(me: &ConnectionInfo<'_>, channel: &str, event: &str, bytes: usize);
                message_sent(me: &ConnectionInfo<'_>, messages: usize, bytes: usize);
                message_broadcast(endpoint: &str, channel: &str, event: &str, recipients: usize);
                message_dropped(me: &ConnectionInfo<'_>, reason: DropReason, messages: usize);
                message_blocked(endpoint: &str, event: &str);
                channel_joined(me: &ConnectionInfo<'_>, channel: &str);
                channel_left(endpoint: &str, user: &str, channel: &str, reason: &str);
                join_declined(me: &ConnectionInfo<'_>, channel: &str, code: u16);
                channel_created(endpoint: &str, channel: &str);
                channel_destroyed(endpoint: &str, channel: &str);
                handler_finished(kind: HandlerKind, pattern: &str, took: Duration, code: Option<u16>);
                queue_depth(endpoint: &str, queue: Queue, depth: usize);
                limit_reached(endpoint: &str, limit: Limit);
                error(component: Component, error: &Error);
            }
        }
    };
    ($me:ident $told:ident $what:expr; $($method:ident($($arg:ident: $type:ty),*);)*) => {
        $(fn $method(&self, $($arg: $type),*) {
            Metrics::$method(&self.told, $($arg),*);
            let ($me, $told) = (self, stringify!($method));
            $what
        })*
    };
}

all_methods!(CallsBack, |me, told| me.look_around(told));

/// Panics in every method.
#[derive(Clone, Default)]
struct AlwaysPanics {
    told: Recorder,
}

all_methods!(AlwaysPanics, |_me, told| panic!("on purpose, at {told}"));

/// Causes every counted event, on a pond of `counted` with these options.
async fn go_through_all(pond: &PondSocket, endpoint: &Endpoint, lobby: &Lobby) {
    lobby.on_event("flood", async |ctx: EventContext| {
        let large = json!({ "filler": "x".repeat(4096) });
        let sent = (0..100).map(|_| ctx.broadcast("flood", &large)).find(Result::is_err);
        assert_eq!(sent.expect("the queue is full").map_err(|error| error.code()), Err(503));
        ctx.reply("flood", &json!({}))
    });
    lobby.on_event("broken", async |_: EventContext| -> Result<()> { panic!("on purpose") });
    lobby.on_outgoing("secret", |_: &OutgoingContext| Outgoing::Block);
    let (_server, address) = serve(pond).await;
    assert_eq!(Peer::refused(address, "/in?name=%00").await.0, 500);
    let mut slow = Peer::connect_narrow(address, "/in?name=slow", 4096).await;
    slow.join("/room/1", json!({})).await;
    let mut peer = Peer::connect(address, "/in?name=ada").await;
    peer.join("/room/1", json!({})).await;
    assert_eq!(peer.join_declined("/nowhere", json!({})).await["code"], 404);
    let channel = endpoint.channel("/room/1").expect("ours");
    channel.broadcast("secret", &json!({})).expect("room");
    for event in ["echo", "flood", "flood", "broken", "dance"] {
        let id = peer.event("/room/1", event, json!({})).await;
        while peer.next().await["requestId"] != json!(id) {}
    }
    channel.evict("slow", "too slow").await.expect("a member");
    peer.leave("/room/1").await;
    peer.socket.close(None).await.expect("open");
    while peer.frame().await.is_some() {}
}

const METHODS: [&str; 17] = [
    "connection_opened",
    "connection_closed",
    "connection_declined",
    "message_received",
    "message_sent",
    "message_broadcast",
    "message_blocked",
    "message_dropped",
    "channel_joined",
    "channel_left",
    "join_declined",
    "channel_created",
    "channel_destroyed",
    "handler_finished",
    "queue_depth",
    "limit_reached",
    "error",
];

fn options() -> Options {
    let small = Options::default().channel_queue(8).send_channel_buffer(8).write_buffer_size(4096);
    small.slow_client(pondsocket::SlowClient::DropOldest)
}

/// On a thread of its own: a deadlock must fail the test, and not hang it.
#[test]
fn metrics_may_call_the_pond_from_every_method() {
    let metrics = CallsBack::default();
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (pond, endpoint, lobby) = counted(options(), metrics.clone());
            metrics.pond.set(pond.clone()).expect("once");
            go_through_all(&pond, &endpoint, &lobby).await;
            pond.shutdown(SECOND).await;
            all_are_told(&metrics.told).await;
        });
        done.send(()).expect("it waits");
    });
    wait.recv_timeout(2 * DEADLINE).expect("it ends: metrics are called without a lock that others wait for");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_may_panic_without_effect_on_clients() {
    let metrics = AlwaysPanics::default();
    let (pond, endpoint, lobby) = counted(options(), metrics.clone());
    go_through_all(&pond, &endpoint, &lobby).await;
    pond.shutdown(SECOND).await;
    all_are_told(&metrics.told).await;
}

/// The last deliveries and closures are counted after the client has disconnected.
async fn all_are_told(told: &Recorder) {
    let missing = || METHODS.into_iter().filter(|method| !told.methods().contains(method)).collect::<Vec<_>>();
    let start = Instant::now();
    while !missing().is_empty() {
        assert!(start.elapsed() < DEADLINE, "never called: {:?}", missing());
        sleep(Duration::from_millis(1)).await;
    }
}

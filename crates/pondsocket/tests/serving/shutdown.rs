//! The end of a server: who is told, what still arrives, who is waited for and for how long. Over streams in memory with
//! the clock paused; what is about order, through real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http::header::RETRY_AFTER;
use pondsocket::testing::{Client, ConnectError, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby, Options,
    Outgoing, OutgoingContext, PondSocket, Shutdown, ShutdownReport, WebSocket,
};
use serde_json::{Value, json};
use testkit::{Message, Peer, connect_in_memory, serve};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

/// Deadlines that lie close together are served by one wake-up, so that anything may be this late.
const GRAIN: Duration = Duration::from_millis(20);

/// A pond with these options, and one lobby that lets everybody in.
fn pond_with(options: Options) -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    (pond, endpoint, lobby)
}

fn pond() -> (PondSocket, Endpoint, Lobby) {
    pond_with(Options::default())
}

/// A client that reads all the time, and answers as one should, in its room.
async fn member(pond: &PondSocket) -> (Client, Room) {
    let client = pond.test_client().deadline(600 * SECOND).connect("/").await.expect("let in");
    let room = client.join("/room/1", json!({})).await.expect("let in");
    (client, room)
}

/// Connects beside whatever else the test does.
fn connect(pond: &PondSocket, path: &'static str) -> JoinHandle<Result<Client, ConnectError>> {
    let connector = pond.test_client();
    tokio::spawn(async move { connector.connect(path).await })
}

/// The close code that a client sees, and when.
fn closed(client: Client) -> JoinHandle<(Option<u16>, Instant)> {
    tokio::spawn(async move { (client.closed().await.expect("it ends").code, Instant::now()) })
}

/// The names of the messages that a room has got, once its connection has ended.
async fn events(room: &mut Room) -> Vec<String> {
    let mut events = Vec::new();
    while let Ok(message) = room.next_message().await {
        events.push(message.event);
    }
    events
}

fn begin(pond: &PondSocket, how: impl Into<Shutdown>) -> JoinHandle<ShutdownReport> {
    let (pond, how) = (pond.clone(), how.into());
    tokio::spawn(async move { pond.shutdown(how).await })
}

/// What has become of whom: closed, cut, abandoned.
fn counts(report: ShutdownReport) -> (usize, usize, usize) {
    (report.closed, report.cut, report.abandoned)
}

#[track_caller]
fn assert_about(elapsed: Duration, expected: Duration) {
    assert!(elapsed >= expected && elapsed <= expected + GRAIN, "{elapsed:?} in place of {expected:?}");
}

async fn pass(gate: &Semaphore) {
    timeout(60 * SECOND, gate.acquire()).await.expect("in time").expect("never closed").forget();
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

// --- At the door ---------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_once_it_has_begun() {
    let (pond, ..) = pond_with(Options::default().retry_after(7 * SECOND));
    pond.create_websocket("/raw", async |_: WebSocket| {});
    assert!(!pond.is_draining() && !pond.snapshot().draining);
    assert_eq!(counts(pond.shutdown(SECOND).await), (0, 0, 0));
    assert!(pond.is_draining() && pond.snapshot().draining);
    for path in ["/", "/raw"] {
        let refused = pond.test_client().connect(path).await.expect_err("refused");
        let refusal = refused.refusal().expect("over HTTP");
        assert_eq!((refusal.status().as_u16(), refusal.text().as_str()), (503, "shutting down"), "{path}");
        assert_eq!(refusal.headers()[RETRY_AFTER], "7");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_delay_newcomers_are_let_in_until_it_ends_and_it_takes_no_time_from_the_drain() {
    let (pond, ..) = pond();
    let (early, mut room) = member(&pond).await;
    let start = Instant::now();
    let ending = begin(&pond, Shutdown::within(2 * SECOND).delay(5 * SECOND));
    sleep(4 * SECOND).await;
    assert!(!pond.is_ready() && !pond.is_draining() && !pond.snapshot().draining);
    let (late, _) = member(&pond).await;
    let (early, late) = (closed(early), closed(late));
    // Nobody holds it up, but it lasts as long as it was told.
    assert_eq!(counts(ending.await.expect("no panic")), (2, 0, 0));
    for client in [early, late] {
        let (code, at) = client.await.expect("no panic");
        assert_eq!(code, Some(1001));
        assert_about(at - start, 5 * SECOND);
    }
    assert!(events(&mut room).await.iter().all(|event| event != "ERROR"));
    assert!(pond.test_client().connect("/").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delay_lasts_also_when_nobody_is_connected_and_ends_when_the_first_call_wants() {
    for (delays, expected) in [(&[3][..], 3), (&[3, 10], 3), (&[10, 3], 3), (&[10, 0], 0)] {
        let (pond, ..) = pond();
        let start = Instant::now();
        let calls: Vec<_> =
            delays.iter().map(|delay| begin(&pond, Shutdown::within(SECOND).delay(*delay * SECOND))).collect();
        for call in calls {
            assert_eq!(counts(call.await.expect("no panic")), (0, 0, 0));
        }
        assert_about(start.elapsed(), expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_nobody_waits_for_any_more_lets_newcomers_in_but_is_not_taken_back() {
    let (pond, ..) = pond();
    assert!(timeout(SECOND, pond.shutdown(Shutdown::within(SECOND).delay(60 * SECOND))).await.is_err());
    assert!(!pond.is_ready());
    let (client, _) = member(&pond).await;
    let client = closed(client);
    assert_eq!(counts(pond.shutdown(SECOND).await), (1, 0, 0));
    assert_eq!(client.await.expect("no panic").0, Some(1001));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_being_decided_about_when_it_begins_is_refused_too() {
    let pond = PondSocket::new();
    let (asked, decided) = (gate(), gate());
    let (ask, decide) = (Arc::clone(&asked), Arc::clone(&decided));
    pond.create_endpoint("/", move |ctx: ConnectionContext| {
        let (ask, decide) = (Arc::clone(&ask), Arc::clone(&decide));
        async move {
            ask.add_permits(1);
            pass(&decide).await;
            Ok::<Connected, Error>(ctx.accept())
        }
    });
    let connecting = connect(&pond, "/");
    pass(&asked).await;
    let shutdown = begin(&pond, 10 * SECOND);
    sleep(SECOND).await;
    assert!(!shutdown.is_finished(), "it waits for handlers that run");
    decided.add_permits(1);
    assert_eq!(counts(shutdown.await.expect("no panic")), (0, 0, 0));
    let refused = connecting.await.expect("no panic").expect_err("refused");
    assert_eq!(refused.code(), Some(503));
    assert_eq!(refused.refusal().expect("over HTTP").headers()[RETRY_AFTER], "5");
}

/// Between the decision and the end of the upgrade there is no connection yet, and no handler any more.
#[tokio::test(start_paused = true)]
async fn whoever_has_just_been_let_in_is_waited_for_and_told() {
    let pond = PondSocket::new();
    let decided = gate();
    let decide = Arc::clone(&decided);
    pond.create_endpoint("/", move |ctx: ConnectionContext| {
        decide.add_permits(1);
        async move { Ok::<Connected, Error>(ctx.accept()) }
    });
    // A task of its own: its turn comes right behind that of the request.
    let shutdown = tokio::spawn({
        let pond = pond.clone();
        async move {
            pass(&decided).await;
            pond.shutdown(10 * SECOND).await
        }
    });
    let client = connect(&pond, "/").await.expect("no panic").expect("let in");
    assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    assert_eq!(counts(shutdown.await.expect("no panic")), (1, 0, 0));
}

// --- What clients are told, and when -------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_close_code_says_whether_the_server_comes_back() {
    let how = Shutdown::within(SECOND);
    for (how, code, reason) in
        [(how, 1001, "the server is shutting down"), (how.for_restart(), 1012, "the server restarts")]
    {
        let (pond, ..) = pond();
        let (client, _room) = member(&pond).await;
        assert_eq!(counts(pond.shutdown(how).await), (1, 0, 0));
        let closed = client.closed().await.expect("it ends");
        assert_eq!((closed.code, closed.reason.as_str()), (Some(code), reason));
    }
}

/// Lets so many clients in, shuts down, and answers after how long each of them was told.
async fn told_after(clients: usize, how: Shutdown) -> Vec<Duration> {
    let (pond, ..) = pond();
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(closed(member(&pond).await.0));
    }
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(how).await), (clients, 0, 0));
    let mut told = Vec::new();
    for client in all {
        let (code, at) = client.await.expect("no panic");
        assert_eq!(code, Some(1001));
        told.push(at - start);
    }
    told.sort_unstable();
    told
}

#[tokio::test(start_paused = true)]
async fn all_are_told_at_once_unless_it_is_spread() {
    let told = told_after(20, Shutdown::within(10 * SECOND)).await;
    assert!(told.iter().all(|at| *at <= GRAIN), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_one_after_the_other_over_the_whole_spread() {
    let told = told_after(10, Shutdown::within(60 * SECOND).spread(10 * SECOND)).await;
    for (at, second) in told.into_iter().zip(0..) {
        assert_about(at, second * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn many_clients_are_told_in_even_parts() {
    let told = told_after(300, Shutdown::within(60 * SECOND).spread(SECOND)).await;
    for tenth in 0..10 {
        let (from, to) = (tenth * SECOND / 10, (tenth + 1) * SECOND / 10);
        let part = told.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((24..=36).contains(&part), "{part} in tenth {tenth}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_spread_takes_at_most_half_of_the_time() {
    let told = told_after(4, Shutdown::within(4 * SECOND).spread(60 * SECOND)).await;
    for (at, half_second) in told.into_iter().zip(0..) {
        assert_about(at, half_second * SECOND / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_spread_ends_when_everybody_has_gone() {
    let (pond, ..) = pond();
    let members = join_all((0..3).map(|_| member(&pond))).await;
    let start = Instant::now();
    let shutdown = begin(&pond, Shutdown::within(60 * SECOND).spread(30 * SECOND));
    sleep(SECOND).await;
    members.iter().for_each(|(client, _)| client.close());
    assert_eq!(counts(shutdown.await.expect("no panic")), (3, 0, 0));
    assert_about(start.elapsed(), SECOND);
}

// --- Handlers ------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn leave_handlers_run_and_are_waited_for() {
    let (pond, _, lobby) = pond();
    let left = Arc::new(Mutex::new(Vec::new()));
    let leaves = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        let leaves = Arc::clone(&leaves);
        async move {
            sleep(3 * SECOND).await;
            leaves.lock().expect("no panic").push((ctx.user_id().to_owned(), ctx.reason().to_string()));
        }
    });
    let members = join_all((0..3).map(|_| member(&pond))).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (3, 0, 0));
    assert_about(start.elapsed(), 3 * SECOND);
    let mut expected: Vec<_> =
        members.iter().map(|(client, _)| (client.id().to_owned(), "connection_closed".to_owned())).collect();
    expected.sort_unstable();
    let mut left = left.lock().expect("no panic").clone();
    left.sort_unstable();
    assert_eq!(left, expected);
}

#[tokio::test(start_paused = true)]
async fn the_leave_handler_of_an_evicted_member_is_waited_for() {
    let (pond, endpoint, lobby) = pond();
    lobby.on_leave(async |_: LeaveContext| sleep(3 * SECOND).await);
    let (client, _room) = member(&pond).await;
    let start = Instant::now();
    endpoint.channel("/room/1").expect("ours").evict(client.id(), "go").await.expect("a member");
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (1, 0, 0));
    assert_about(start.elapsed(), 3 * SECOND);
}

/// A lobby whose messages `work` take some time, and are then broadcast.
fn works(lobby: &Lobby, takes: Duration) {
    lobby.on_event("work", move |ctx: EventContext| async move {
        sleep(takes).await;
        ctx.broadcast("worked", &json!({ "by": ctx.user_id() }))?;
        ctx.reply("work", &json!({}))
    });
}

#[tokio::test(start_paused = true)]
async fn what_has_been_received_is_finished_and_heard_by_those_who_are_still_there() {
    let (pond, _, lobby) = pond();
    works(&lobby, 2 * SECOND);
    let mut rooms = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (client, room) = member(&pond).await;
        // The second one waits for the first.
        room.send("work", json!({}));
        room.send("work", json!({}));
        rooms.push(room);
        ends.push(closed(client));
    }
    // All has been received once the handlers run.
    sleep(SECOND).await;
    let start = Instant::now();
    let shutdown = begin(&pond, Shutdown::within(60 * SECOND).spread(20 * SECOND));
    let mut heard = Vec::new();
    for (end, room) in ends.into_iter().zip(&mut rooms) {
        let (code, at) = end.await.expect("no panic");
        heard.push((at - start, code, events(room).await));
    }
    heard.sort_unstable();
    let [(first_at, _, first), (last_at, _, last)] = &heard[..] else { panic!("two clients") };
    assert_about(*first_at, Duration::ZERO);
    assert_eq!(first, &Vec::<String>::new(), "it has left, and gets no reply any more");
    assert_about(*last_at, 10 * SECOND);
    let worked = last.iter().filter(|event| *event == "worked").count();
    assert_eq!((worked, last.len()), (4, 6), "with its own replies: {last:?}");
    assert_eq!(counts(shutdown.await.expect("no panic")), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_running_handler_is_waited_for_when_its_client_has_gone() {
    let (pond, _, lobby) = pond();
    works(&lobby, 3 * SECOND);
    let (client, room) = member(&pond).await;
    room.send("work", json!({}));
    sleep(SECOND).await;
    client.close();
    client.closed().await.expect("it ends");
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_does_not_hold_it_past_the_deadline() {
    let (pond, _, lobby) = pond();
    lobby.on_event("wait", async |_: EventContext| std::future::pending::<()>().await);
    let (waiting, room) = member(&pond).await;
    let (_other, _) = member(&pond).await;
    room.send("wait", json!({}));
    sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (1, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    assert_eq!(waiting.closed().await.expect("it ends").code, Some(1001), "the client was told all the same");
}

#[tokio::test(start_paused = true)]
async fn handlers_without_a_connection_are_given_up_at_the_deadline() {
    let (pond, endpoint, lobby) = pond();
    let asked = gate();
    let ask = Arc::clone(&asked);
    pond.create_endpoint("/undecided", move |ctx: ConnectionContext| {
        ask.add_permits(1);
        async move {
            std::future::pending::<()>().await;
            Ok::<Connected, Error>(ctx.accept())
        }
    });
    lobby.on_leave(async |_: LeaveContext| std::future::pending::<()>().await);
    let (client, _room) = member(&pond).await;
    endpoint.channel("/room/1").expect("ours").evict(client.id(), "go").await.expect("a member");
    let _connecting = connect(&pond, "/undecided");
    pass(&asked).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (1, 0, 2));
    assert_about(start.elapsed(), 5 * SECOND);
}

// --- Clients that read slowly, or not at all -----------------------------------------------------------------------

type Raw = WebSocketStream<DuplexStream>;

/// A client that reads only when it is told to, and has joined. The stream holds so many bytes each way.
async fn narrow(pond: &PondSocket, capacity: usize) -> Raw {
    let mut socket = connect_in_memory(pond, "/", capacity).await;
    send(&mut socket, "/room/1", "JOIN_CHANNEL", "JOIN_CHANNEL").await;
    while next(&mut socket).await.expect("open")["event"] != "ACKNOWLEDGE" {}
    socket
}

async fn send(socket: &mut Raw, channel: &str, action: &str, event: &str) {
    socket.send(message(channel, action, event)).await.expect("open");
}

fn message(channel: &str, action: &str, event: &str) -> Message {
    let message =
        json!({ "action": action, "event": event, "channelName": channel, "requestId": event, "payload": {} });
    Message::text(message.to_string())
}

/// The next message, or the code of the close frame; `None` if there is neither.
async fn next(socket: &mut Raw) -> Result<Value, Option<u16>> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

fn broadcast(endpoint: &Endpoint, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    for number in 0..count {
        channel.broadcast("news", &json!({ "number": number })).expect("there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_was_sent_before_reaches_a_client_that_reads() {
    let (pond, endpoint, _) = pond();
    let mut members = join_all((0..3).map(|_| member(&pond))).await;
    broadcast(&endpoint, 3000);
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (3, 0, 0));
    for (client, room) in &mut members {
        for number in 0..3000 {
            assert_eq!(room.next("news").await.expect("sent before"), json!({ "number": number }));
        }
        assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    }
}

/// Far longer than a close handshake may take, and with far more waiting than may wait for long.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_thousands_of_messages_and_then_the_close_frame() {
    let (pond, endpoint, _) = pond();
    let mut slow = narrow(&pond, 1024).await;
    broadcast(&endpoint, 4000);
    let shutdown = begin(&pond, 120 * SECOND);
    for number in 0..4000 {
        sleep(Duration::from_millis(10)).await;
        assert_eq!(next(&mut slow).await.expect("sent before")["payload"]["number"], json!(number));
    }
    assert_eq!(next(&mut slow).await, Err(Some(1001)));
    assert_eq!(next(&mut slow).await, Err(None));
    assert_eq!(counts(shutdown.await.expect("no panic")), (1, 0, 0));
}

/// Its queue is over its bounds when the end comes. From then on nothing is added, and it may take its time.
#[tokio::test(start_paused = true)]
async fn a_slow_client_that_is_over_its_bounds_is_not_given_up_for_it_any_more() {
    let (pond, endpoint, _) = pond();
    let mut slow = narrow(&pond, 1024).await;
    broadcast(&endpoint, 1000);
    while pond.snapshot().endpoints[0].waiting_messages < 900 {
        sleep(GRAIN).await;
    }
    endpoint.connections()[0].disconnect();
    sleep(8 * SECOND).await;
    for number in 0..1000 {
        assert_eq!(next(&mut slow).await.expect("sent before")["payload"]["number"], json!(number));
    }
    assert_eq!(next(&mut slow).await, Err(Some(1000)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_no_clock_can_show_never_comes() {
    let (pond, ..) = pond();
    let (_client, _room) = member(&pond).await;
    assert_eq!(counts(pond.shutdown(Duration::MAX).await), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off_at_the_deadline() {
    let (pond, endpoint, _) = pond();
    let (reading, _room) = member(&pond).await;
    let mut deaf = narrow(&pond, 1024).await;
    broadcast(&endpoint, 1000);
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(8 * SECOND).await), (1, 1, 0));
    assert_about(start.elapsed(), 8 * SECOND);
    assert_eq!(reading.closed().await.expect("it ends").code, Some(1001));
    while next(&mut deaf).await.is_ok() {}
    assert_eq!(next(&mut deaf).await, Err(None), "there was no way to tell it");
    let left = &pond.snapshot().endpoints[0];
    assert_eq!((left.connections, left.closing, left.admitted, left.channels.len()), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_the_close_is_cut_off_at_the_deadline() {
    let (pond, ..) = pond();
    let mut mute = narrow(&pond, 1024).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (0, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    // Read past the WebSocket, which would have answered.
    let mut bytes = Vec::new();
    mute.get_mut().read_to_end(&mut bytes).await.expect("readable");
    let text = "the server is shutting down";
    let expected = [&[0x88, 2 + text.len() as u8, 0x03, 0xe9], text.as_bytes()].concat();
    assert_eq!(bytes, expected, "one close frame with 1001, and then the end");
}

// --- Raw WebSockets ------------------------------------------------------------------------------------------------

async fn raw_client(pond: &PondSocket, path: &str) -> Raw {
    connect_in_memory(pond, path, 64 * 1024).await
}

#[tokio::test(start_paused = true)]
async fn raw_websockets_are_closed_too_whether_they_read_or_write() {
    let (pond, ..) = pond();
    pond.create_websocket("/echo", async |mut socket: WebSocket| {
        while let Some(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    });
    pond.create_websocket("/ticks", async |mut socket: WebSocket| {
        while socket.send(pondsocket::Message::Text("tick".into())).await.is_ok() {
            sleep(SECOND / 10).await;
        }
    });
    let (mut echo, mut ticks) = (raw_client(&pond, "/echo").await, raw_client(&pond, "/ticks").await);
    echo.send(Message::text("hello")).await.expect("open");
    assert_eq!(echo.next().await.expect("open").expect("a frame"), Message::text("hello"));
    assert_eq!(ticks.next().await.expect("open").expect("a frame"), Message::text("tick"));
    let clients = [echo, ticks].map(|mut client| {
        tokio::spawn(async move {
            loop {
                match client.next().await {
                    Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                    Some(Ok(_)) => {}
                    other => panic!("no close frame but {other:?}"),
                }
            }
        })
    });
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (2, 0, 0));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    for client in clients {
        assert_eq!(client.await.expect("a close frame"), Some(1001));
    }
}

#[tokio::test(start_paused = true)]
async fn a_raw_websocket_whose_handler_never_ends_is_cut_off_at_the_deadline() {
    let (pond, ..) = pond();
    pond.create_websocket("/deaf", async |_socket: WebSocket| std::future::pending().await);
    let mut client = raw_client(&pond, "/deaf").await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (0, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 1001, "the peer is told, whatever the handler does");
    assert!(!matches!(client.next().await, Some(Ok(_))), "the connection has gone");
    assert_eq!(pond.snapshot().endpoints[1].admitted, 0);
}

// --- More than once ------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn it_may_be_called_at_the_same_time_and_again() {
    let (pond, _, lobby) = pond();
    works(&lobby, 3 * SECOND);
    let (client, room) = member(&pond).await;
    room.send("work", json!({}));
    sleep(SECOND).await;
    let start = Instant::now();
    let both = [begin(&pond, 10 * SECOND), begin(&pond, 20 * SECOND)];
    for report in join_all(both).await {
        assert_eq!(counts(report.expect("no panic")), (1, 0, 0));
    }
    assert_about(start.elapsed(), 2 * SECOND);
    assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (0, 0, 0), "nobody is left");
    assert_about(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn when_it_was_cancelled_it_goes_on_when_called_again_and_says_what_it_said_first() {
    let (pond, ..) = pond();
    let clients: Vec<_> =
        join_all((0..4).map(|_| member(&pond))).await.into_iter().map(|(client, _)| closed(client)).collect();
    let how = Shutdown::within(60 * SECOND).spread(20 * SECOND).for_restart();
    assert!(timeout(7 * SECOND, pond.shutdown(how)).await.is_err(), "two of four are told at 0 and at 5 s");
    assert!(pond.is_draining());
    assert_eq!(pond.snapshot().endpoints[0].connections, 2);
    assert_eq!(pond.test_client().connect("/").await.expect_err("refused").code(), Some(503));
    assert_eq!(counts(pond.shutdown(SECOND).await), (2, 0, 0), "of those who were left");
    for client in clients {
        assert_eq!(client.await.expect("no panic").0, Some(1012));
    }
}

// --- What comes before the close frame -----------------------------------------------------------------------------

/// How the server ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Disconnect,
    Close,
    Evict,
    Shutdown,
}

/// Others publish all the time, also into the same channel. Each client must see all that was broadcast before the end,
/// in order, and then how it ends.
async fn ends_behind_what_was_sent(end: End) {
    const CLIENTS: usize = 20;
    let (pond, endpoint, lobby) = pond_with(Options::default().send_channel_buffer(1 << 16).outbox_bytes(64 << 20));
    // Decided for each recipient: those messages take another way.
    lobby.on_outgoing("filtered", |_: &OutgoingContext| Outgoing::Pass);
    let (_server, address) = serve(&pond).await;
    let mut peers = Vec::new();
    for client in 0..CLIENTS {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/room/all", json!({})).await;
        peer.join(&format!("/room/{client}"), json!({})).await;
        peers.push(peer);
    }
    let stop = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, channel) = (Arc::clone(&stop), endpoint.channel("/room/all").expect("ours"));
            tokio::spawn(async move {
                while stop.load(Ordering::Relaxed) == 0 {
                    channel.ready().await;
                    // A full channel is what `ready` waits for.
                    let _ = channel.broadcast("load", &json!({}));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let ids: Vec<_> = peers.iter().map(|peer| peer.id.clone()).collect();
    let readers: Vec<_> = peers
        .into_iter()
        .map(|mut peer| {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                loop {
                    match peer.frame().await {
                        Some(Message::Text(text)) => {
                            let message: Value = serde_json::from_str(&text).expect("JSON");
                            match message["event"].as_str() {
                                Some("load") => {}
                                _ => heard.push(message),
                            }
                        }
                        Some(Message::Close(frame)) => return (frame.map(|frame| u16::from(frame.code)), heard),
                        Some(_) => {}
                        None => panic!("no close frame behind {heard:?}"),
                    }
                }
            })
        })
        .collect();
    for (client, id) in ids.iter().enumerate() {
        let channel = endpoint.channel(&format!("/room/{client}")).expect("ours");
        for number in 0..100 {
            let event = if number % 10 == 9 { "filtered" } else { "plain" };
            channel.broadcast(event, &json!({ "number": number })).expect("there is room");
        }
        match end {
            End::Disconnect => endpoint.disconnect(id).expect("connected"),
            End::Close => channel.close(),
            End::Evict => {
                channel.evict(id, "go").await.expect("a member");
                endpoint.disconnect(id).expect("connected");
            }
            End::Shutdown => {}
        }
    }
    let code = match end {
        End::Shutdown => {
            assert_eq!(counts(pond.shutdown(10 * SECOND).await), (CLIENTS, 0, 0));
            1001
        }
        _ => 1000,
    };
    for reader in readers {
        let (closed, heard) = reader.await.expect("no panic");
        assert_eq!(closed, Some(code), "{end:?}");
        let (numbered, rest) = heard.split_at(heard.len().min(100));
        for (message, number) in numbered.iter().zip(0..) {
            assert_eq!(message["payload"]["number"], json!(number), "{end:?}");
        }
        let rest: Vec<_> = rest.iter().filter_map(|message| message["event"].as_str()).collect();
        let expected: &[&str] = if matches!(end, End::Evict) { &["evicted", "EVICTED"] } else { &[] };
        assert_eq!((numbered.len(), &rest[..]), (100, expected), "{end:?}");
    }
    stop.store(1, Ordering::Relaxed);
    for load in load {
        load.await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_disconnect_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Disconnect).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_channel_is_closed_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Close).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eviction_right_before_a_disconnect_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Evict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_right_before_a_shutdown_comes_before_the_close_frame() {
    ends_behind_what_was_sent(End::Shutdown).await;
}

/// A client that is in two channels, and a server which ends it while the first of them still has something for it. On
/// one thread all of this is handled before anything is delivered. Either may be the first to deliver.
async fn what_comes_before_the_close(last: &[Message], other_is_first: bool) -> Vec<String> {
    let (pond, _, lobby) = pond();
    lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({})));
    lobby.on_event("evict-me", async |ctx: EventContext| {
        let user = ctx.user_id().to_owned();
        ctx.evict(&user, "go").await
    });
    lobby.on_event("end", async |ctx: EventContext| ctx.connection().disconnect());
    let mut client = narrow(&pond, 64 * 1024).await;
    send(&mut client, "/room/2", "JOIN_CHANNEL", "JOIN_CHANNEL").await;
    while next(&mut client).await.expect("open")["event"] != "ACKNOWLEDGE" {}
    // Both have delivered, and nothing is on its way any more.
    sleep(SECOND).await;
    if other_is_first {
        client.feed(message("/room/2", "BROADCAST", "say")).await.expect("open");
    }
    for message in last {
        client.feed(message.clone()).await.expect("open");
    }
    client.feed(message("/room/2", "BROADCAST", "end")).await.expect("open");
    client.flush().await.expect("open");
    let mut heard = Vec::new();
    loop {
        match next(&mut client).await {
            Ok(message) if message["channelName"] == "/room/1" => {
                heard.push(message["event"].as_str().expect("checked").to_owned())
            }
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, Some(1000));
                return heard;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_that_was_left_still_has_comes_before_the_close_frame() {
    let room = |action, event| message("/room/1", action, event);
    let last = [room("BROADCAST", "say"), room("LEAVE_CHANNEL", "LEAVE_CHANNEL")];
    for other_is_first in [false, true] {
        let heard = what_comes_before_the_close(&last, other_is_first).await;
        assert_eq!(heard, ["said", "EXIT_ACKNOWLEDGE"], "{other_is_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_channel_that_evicts_still_has_comes_before_the_close_frame() {
    let last = ["say", "evict-me", "say"].map(|event| message("/room/1", "BROADCAST", event));
    for other_is_first in [false, true] {
        let heard = what_comes_before_the_close(&last, other_is_first).await;
        assert_eq!(heard, ["said", "evicted", "EVICTED", "NOT_FOUND"], "{other_is_first}");
    }
}

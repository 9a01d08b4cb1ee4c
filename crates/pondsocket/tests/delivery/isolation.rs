//! Nobody is hurt by others: slow clients, waiting handlers, panics and full queues each stay where they are. Through
//! real sockets, and where it is about seconds over in-memory streams with the clock paused.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby, Options, Payload,
    PondSocket,
};
use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer, connect_in_memory, eventually, serve};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

/// What one message of a test that fills buffers carries.
const LARGE: usize = 32 * 1024;

/// A pond with these options, and one lobby that lets everybody in.
fn pond(options: Options) -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    (pond, endpoint, lobby)
}

/// What tests let handlers wait at.
#[derive(Clone, Debug)]
struct Gate {
    open: Arc<Semaphore>,
    reached: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> Gate {
        Gate { open: Arc::new(Semaphore::new(0)), reached: Arc::default() }
    }

    async fn pass(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.expect("never closed").forget();
    }

    fn let_through(&self, count: usize) {
        self.open.add_permits(count);
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Makes messages of this name wait at the gate, and then be answered.
    fn guard(&self, lobby: &Lobby) {
        let gate = self.clone();
        lobby.on_event("wait", move |ctx: EventContext| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                ctx.reply("wait", &json!({}))
            }
        });
    }
}

async fn ask(peer: &mut Peer, channel: &str) {
    peer.nothing_before_reply(channel, "echo").await;
}

// --- Clients that do not read -------------------------------------------------------------------------------------

/// A member that has joined and never reads from then on, and one that does.
async fn stalled_and_healthy(address: SocketAddr) -> (Peer, Peer) {
    let mut stalled = Peer::connect_narrow(address, "/", 4096).await;
    stalled.join("/room/1", json!({})).await;
    let mut healthy = Peer::connect(address, "/").await;
    healthy.join("/room/1", json!({})).await;
    (stalled, healthy)
}

/// Sends `count` large messages; each must reach the healthy member before the next is sent.
async fn fill(endpoint: &Endpoint, healthy: &mut Peer, from: usize, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    let filler = "x".repeat(LARGE);
    for number in from..from + count {
        channel.broadcast("large", &json!({ "number": number, "filler": filler })).expect("there is room");
        let message = healthy.next().await;
        assert_eq!(message["payload"]["number"], json!(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_delays_nobody_and_misses_nothing_within_its_bounds() {
    let (pond, endpoint, _) = pond(Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    fill(&endpoint, &mut healthy, 0, 400).await;
    assert_eq!(endpoint.channel("/room/1").expect("ours").member_count(), 2, "it was still there all the time");
    for number in 0..400 {
        assert_eq!(stalled.next().await["payload"]["number"], json!(number));
    }
    ask(&mut stalled, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_its_bounds_for_too_long_is_the_end_of_a_client() {
    let bounds = Options::default().outbox_bytes(16 << 20).send_channel_buffer(32);
    let (pond, endpoint, _) = pond(bounds.send_timeout(Duration::from_millis(200)));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    // The kernel takes some of it; then more than 32 messages wait, and far fewer than four times as many.
    let mut sent = 0;
    let channel = endpoint.channel("/room/1").expect("ours");
    let start = Instant::now();
    while channel.member_count() == 2 {
        assert!(start.elapsed() < DEADLINE, "it was never given up");
        if sent < 400 {
            fill(&endpoint, &mut healthy, sent, 1).await;
            sent += 1;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(200));
    fill(&endpoint, &mut healthy, sent, 10).await;
    // What it had begun to receive is whole, then it is told why.
    let mut number = 0;
    let close = loop {
        match stalled.frame().await {
            Some(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).expect("whole messages only");
                assert_eq!(message["payload"]["number"], json!(number));
                number += 1;
            }
            Some(Message::Close(frame)) => break frame.expect("with a code"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((u16::from(close.code), &*close.reason), (1013, "too slow"));
    assert!(number < sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_far_over_its_bounds_is_given_up_at_once() {
    // No time that has to pass is its end.
    let patient = Options::default().send_timeout(3600 * SECOND).write_wait(3600 * SECOND);
    let (pond, endpoint, _) = pond(patient.outbox_bytes(LARGE));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    let channel = endpoint.channel("/room/1").expect("ours");
    let mut sent = 0;
    while channel.member_count() == 2 {
        fill(&endpoint, &mut healthy, sent, 1).await;
        sent += 1;
    }
    let close = stalled.closed().await.expect("a close frame");
    assert_eq!((u16::from(close.code), &*close.reason), (1013, "too slow"));
    ask(&mut healthy, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_dropped_after_write_wait() {
    let bounds = Options::default().outbox_bytes(64 << 20).send_channel_buffer(4096);
    let (pond, endpoint, _) = pond(bounds.write_wait(Duration::from_millis(200)));
    let (_server, address) = serve(&pond).await;
    let (mut stalled, mut healthy) = stalled_and_healthy(address).await;
    let start = Instant::now();
    fill(&endpoint, &mut healthy, 0, 400).await;
    eventually("it is dropped", || endpoint.connections().len() == 1).await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    fill(&endpoint, &mut healthy, 400, 10).await;
    assert_eq!(stalled.closed().await, None, "there was no way to tell it");
}

// --- Runtimes of others -------------------------------------------------------------------------------------------

/// Whoever publishes may do so from where nothing runs, or goes on running: members hear of it all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_does_not_depend_on_the_runtime_of_its_publisher() {
    let (pond, endpoint, _) = pond(Options::default());
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/room/1", json!({})).await;
    let channel = endpoint.channel("/room/1").expect("ours");

    let (done, wait) = std::sync::mpsc::channel::<()>();
    let publisher = std::thread::spawn(move || {
        let broadcast = |event: &str| channel.broadcast(event, &json!({})).map(|delivery| delivery.local);
        assert_eq!(broadcast("from a plain thread").expect("there is room"), 1);

        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { broadcast("from a runtime that ends").expect("there is room") });
        drop(runtime);

        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async { broadcast("from a runtime that stands still").expect("there is room") });
        // It still exists, but nobody drives it.
        wait.recv().expect("the test is done");
        drop(runtime);
    });
    for event in ["from a plain thread", "from a runtime that ends", "from a runtime that stands still"] {
        assert_eq!(peer.next().await["event"], event);
    }
    ask(&mut peer, "/room/1").await;
    done.send(()).expect("it waits");
    publisher.join().expect("no panic");
}

/// One pond, served first by one runtime and then by another, as tests do.
#[test]
fn a_channel_outlives_the_runtime_that_it_was_made_on() {
    let (pond, endpoint, _) = pond(Options::default());
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    for _ in 0..2 {
        runtime().expect("a runtime").block_on(async {
            let (_server, address) = serve(&pond).await;
            let mut peer = Peer::connect(address, "/").await;
            peer.join("/room/1", json!({})).await;
            assert_eq!(endpoint.channel("/room/1").expect("ours").member_count(), 1, "no ghost of the last round");
            endpoint.channel("/room/1").expect("ours").broadcast("news", &json!({})).expect("there is room");
            assert_eq!(peer.next().await["event"], "news");
        });
    }
}

// --- Handlers that wait, panic or take too long --------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_handler_delays_only_its_connection_in_its_channel() {
    let (pond, _, lobby) = pond(Options::default());
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let (mut one, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    for channel in ["/room/1", "/room/2"] {
        one.join(channel, json!({})).await;
        other.join(channel, json!({})).await;
    }
    let first = one.event("/room/1", "wait", json!({})).await;
    let second = one.event("/room/1", "wait", json!({})).await;
    // The same connection in another channel, its pings, and another connection in the same channel go on.
    ask(&mut one, "/room/2").await;
    one.socket.send(Message::Ping("are you there".into())).await.expect("open");
    assert_eq!(one.frame().await, Some(Message::Pong("are you there".into())));
    ask(&mut other, "/room/1").await;
    assert_eq!(gate.reached(), 1, "the second message waits for the first");
    gate.let_through(2);
    for id in [first, second] {
        assert_eq!(one.next().await["requestId"], json!(id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_hurts_only_its_call() {
    let (pond, endpoint, lobby) = pond(Options::default());
    lobby.on_event("at-once", |_: EventContext| -> std::future::Ready<()> { panic!("on purpose") });
    lobby.on_event("later", async |ctx: EventContext| {
        tokio::task::yield_now().await;
        ctx.channel().broadcast("before", &json!({}))?;
        assert!(ctx.event().is_empty(), "on purpose");
        ctx.reply("later", &json!({}))
    });
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { assert!(ctx.user_id().is_empty(), "on purpose") }
    });
    endpoint.create_channel("/closed", async |ctx: JoinContext| {
        assert!(ctx.user_id().is_empty(), "on purpose");
        Ok::<Joined, Error>(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    other.join("/room/1", json!({})).await;
    for round in 1..=3 {
        peer.join("/room/1", json!({})).await;
        for event in ["at-once", "later"] {
            let id = peer.event("/room/1", event, json!({})).await;
            let failure = peer.until("INTERNAL_ERROR").await;
            assert_eq!((&failure["requestId"], &failure["payload"]["code"]), (&json!(id), &json!(500)));
            assert!(!failure.to_string().contains("on purpose"), "the text of a panic is for the log: {failure}");
            ask(&mut peer, "/room/1").await;
        }
        assert_eq!(other.next().await["event"], "before");
        assert_eq!(peer.join_declined("/closed", json!({})).await["code"], 500);
        peer.leave("/room/1").await;
        eventually("the leave handler has run", || left.load(Ordering::SeqCst) == round).await;
    }
    ask(&mut other, "/room/1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_handlers_of_a_connection_run_at_once_than_may() {
    let (pond, _, lobby) = pond(Options::default().max_concurrent_handlers(2));
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    other.join("/room/1", json!({})).await;
    let mut ids = Vec::new();
    for n in 1..=4 {
        peer.join(&format!("/room/{n}"), json!({})).await;
    }
    for n in 1..=4 {
        ids.push(peer.event(&format!("/room/{n}"), "wait", json!({})).await);
    }
    // The pong says that everything has been read; others have handlers of their own.
    peer.socket.send(Message::Ping("read".into())).await.expect("open");
    assert_eq!(peer.frame().await, Some(Message::Pong("read".into())));
    ask(&mut other, "/room/1").await;
    assert_eq!(gate.reached(), 2);
    for (through, running) in [(1, 3), (2, 4), (3, 4), (4, 4)] {
        gate.let_through(1);
        let answer = peer.next().await;
        assert!(ids.contains(&answer["requestId"].as_str().expect("checked").to_owned()));
        eventually("the next one runs", || gate.reached() == running).await;
        assert!(gate.reached() <= through + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_evicted_and_goes_cancels_what_its_handler_waits_for() {
    let (pond, endpoint, lobby) = pond(Options::default());
    let (begun, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (start, end) = (Arc::clone(&begun), Arc::clone(&ended));
    lobby.on_event("until-gone", move |ctx: EventContext| {
        let (start, end) = (Arc::clone(&start), Arc::clone(&end));
        async move {
            start.add_permits(1);
            ctx.cancelled().await;
            end.add_permits(1);
        }
    });
    let (_server, address) = serve(&pond).await;
    for evicted in [false, true] {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/room/1", json!({})).await;
        peer.event("/room/1", "until-gone", json!({})).await;
        timeout(DEADLINE, begun.acquire()).await.expect("it runs").expect("open").forget();
        if evicted {
            endpoint.channel("/room/1").expect("ours").evict(&peer.id, "go").await.expect("a member");
            peer.until("EVICTED").await;
        }
        peer.socket.close(None).await.expect("open");
        let cancelled = timeout(DEADLINE, ended.acquire()).await;
        cancelled.unwrap_or_else(|_| panic!("not cancelled; evicted: {evicted}")).expect("open").forget();
    }
}

// --- Full queues ---------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_full_receive_queue_stops_the_reading_until_there_is_room() {
    const COUNT: usize = 400;
    let (pond, _, lobby) = pond(Options::default().receive_channel_buffer(4));
    let gate = Gate::new();
    gate.guard(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/room/1", json!({})).await;
    let (mut sink, mut stream) = peer.socket.split();
    let filler = "x".repeat(2 * LARGE);
    let mut sending = tokio::spawn(async move {
        for number in 0..COUNT {
            let message = json!({
                "action": "BROADCAST", "event": "wait", "channelName": "/room/1",
                "requestId": number.to_string(), "payload": { "filler": filler },
            });
            sink.send(Message::text(message.to_string())).await.expect("the server has not gone");
        }
        sink
    });
    // 25 MB are more than all buffers between the two hold: while nobody reads, this cannot end.
    assert!(timeout(SECOND / 2, &mut sending).await.is_err(), "the server went on reading");
    assert_eq!(gate.reached(), 1);
    gate.let_through(COUNT);
    for number in 0..COUNT {
        let frame = timeout(DEADLINE, stream.next()).await.expect("in time").expect("open").expect("a frame");
        let answer: Value = serde_json::from_str(frame.to_text().expect("text")).expect("JSON");
        assert_eq!(answer["requestId"], json!(number.to_string()));
    }
    drop(sending.await.expect("everything was taken"));
}

// On one thread: on several, a delivery that the joins have started may still take a portion of what the handler queues.
#[tokio::test]
async fn the_hard_limit_of_a_channel_refuses_and_ready_waits_for_room() {
    let (pond, _, lobby) = pond(Options::default().channel_queue(10));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let refusals = Arc::clone(&refused);
    lobby.on_event("flood", move |ctx: EventContext| {
        let refusals = Arc::clone(&refusals);
        async move {
            // Nothing is delivered while this handler does not wait: the limit is reached in one go.
            for number in 0..100 {
                if let Err(error) = ctx.broadcast("flood", &json!({ "number": number })) {
                    refusals.lock().expect("no panic").push((number, error.code()));
                    ctx.channel().ready().await;
                    ctx.broadcast("flood", &json!({ "number": number }))?;
                }
            }
            ctx.reply("done", &json!({}))
        }
    });
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut other) = (Peer::connect(address, "/").await, Peer::connect(address, "/").await);
    peer.join("/room/1", json!({})).await;
    other.join("/room/1", json!({})).await;
    peer.event("/room/1", "flood", json!({})).await;
    for number in 0..100 {
        assert_eq!(peer.next().await["payload"]["number"], json!(number));
        assert_eq!(other.next().await["payload"]["number"], json!(number));
    }
    assert_eq!(peer.next().await["event"], "done");
    let refused = refused.lock().expect("no panic").clone();
    assert_eq!(refused.first(), Some(&(40, 503)), "four times the soft limit: {refused:?}");
}

// --- Seconds, with the clock paused ----------------------------------------------------------------------------------

/// A client over a stream in memory.
struct Local {
    socket: WebSocketStream<DuplexStream>,
    start: Instant,
}

impl Local {
    /// Connects and joins `/room/1`; the stream holds `capacity` bytes each way.
    async fn join(pond: &PondSocket, capacity: usize) -> Local {
        let socket = connect_in_memory(pond, "/", capacity).await;
        let mut local = Local { socket, start: Instant::now() };
        local.send("JOIN_CHANNEL", "JOIN_CHANNEL", json!({})).await;
        local.until("ACKNOWLEDGE").await;
        local.start = Instant::now();
        local
    }

    async fn send(&mut self, action: &str, event: &str, payload: Value) {
        self.send_to("/room/1", action, event, payload).await;
    }

    async fn send_to(&mut self, channel: &str, action: &str, event: &str, payload: Value) {
        let message = json!({
            "action": action, "event": event, "channelName": channel, "requestId": event, "payload": payload,
        });
        self.socket.send(Message::text(message.to_string())).await.expect("open");
    }

    async fn until(&mut self, event: &str) -> Value {
        loop {
            let frame = self.socket.next().await.expect("open").expect("a frame");
            let Message::Text(text) = frame else { continue };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["event"] == event {
                return message;
            }
        }
    }

    /// The code of the close frame, or `None` if the stream just ended.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Checks that this much time has passed, and little more.
    fn assert_elapsed(&self, expected: Duration) {
        let elapsed = self.start.elapsed();
        assert!(elapsed >= expected && elapsed < expected + SECOND / 10, "{elapsed:?} in place of {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_silent_connection_and_only_who_answers_none_is_dropped() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut answering = Local::join(&pond, 64 * 1024).await;
    let silent = Local::join(&pond, 64 * 1024).await;
    let mut pings = 0;
    while answering.start.elapsed() < 300 * SECOND {
        // Reading a ping answers it. Meanwhile nobody reads for the other one.
        let Ok(frame) = timeout(SECOND, answering.socket.next()).await else { continue };
        pings += usize::from(matches!(frame, Some(Ok(Message::Ping(_)))));
        let (elapsed, connections) = (silent.start.elapsed(), endpoint.connections().len());
        assert!(elapsed >= 60 * SECOND || connections == 2, "{connections} after {elapsed:?}");
        assert!(elapsed <= 60 * SECOND + SECOND / 10 || connections == 1, "{connections} after {elapsed:?}");
    }
    assert!((9..=10).contains(&pings), "{pings} pings in five minutes");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_after_pong_wait() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut silent = Local::join(&pond, 64 * 1024).await;
    eventually_paused(|| endpoint.connections().is_empty()).await;
    silent.assert_elapsed(60 * SECOND);
    assert_eq!(silent.closed().await, None);
}

/// Waits for it in steps of a moment, as the paused clock goes.
async fn eventually_paused(mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < 600 * SECOND, "it never becomes so");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_cancelled_at_its_deadline_and_its_caller_told() {
    let (pond, endpoint, lobby) = pond(Options::default());
    Gate::new().guard(&lobby);
    endpoint.create_channel("/slow", async |ctx: JoinContext| {
        std::future::pending::<()>().await;
        Ok::<Joined, Error>(ctx.accept())
    });
    let mut peer = Local::join(&pond, 64 * 1024).await;
    peer.send("BROADCAST", "wait", json!({})).await;
    peer.send("BROADCAST", "echo", json!({ "behind": true })).await;
    let failure = peer.until("INTERNAL_ERROR").await;
    assert_eq!((&failure["requestId"], &failure["payload"]["code"]), (&json!("wait"), &json!(504)));
    peer.assert_elapsed(30 * SECOND);
    assert_eq!(peer.until("echo").await["payload"], json!({ "behind": true }));

    peer.start = Instant::now();
    peer.send_to("/slow", "JOIN_CHANNEL", "JOIN_CHANNEL", json!({})).await;
    let decline = peer.until("UNAUTHORIZED").await;
    assert_eq!((&decline["action"], &decline["payload"]["code"]), (&json!("SYSTEM"), &json!(504)));
    peer.assert_elapsed(30 * SECOND);
    assert_eq!(endpoint.channel("/slow").expect("ours").member_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_receive_queue_that_does_not_move_for_write_wait_ends_the_connection() {
    let (pond, endpoint, lobby) = pond(Options::default().receive_channel_buffer(4));
    Gate::new().guard(&lobby);
    let mut peer = Local::join(&pond, 64 * 1024).await;
    for _ in 0..20 {
        peer.send("BROADCAST", "wait", json!({})).await;
    }
    assert_eq!(peer.closed().await, Some(1013));
    peer.assert_elapsed(10 * SECOND);
    eventually_paused(|| endpoint.connections().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_receive_queue_that_moves_may_stay_full() {
    let (pond, _, lobby) = pond(Options::default().receive_channel_buffer(4));
    lobby.on_event("slow", async |ctx: EventContext| {
        sleep(3 * SECOND).await;
        ctx.reply("slow", &json!({}))
    });
    let mut peer = Local::join(&pond, 64 * 1024).await;
    for _ in 0..20 {
        peer.send("BROADCAST", "slow", json!({})).await;
    }
    for _ in 0..20 {
        peer.until("slow").await;
    }
    peer.assert_elapsed(60 * SECOND);
}

/// Broadcasts `count` large messages.
fn flood(endpoint: &Endpoint, count: usize) {
    let channel = endpoint.channel("/room/1").expect("ours");
    let payload = json!({ "filler": "x".repeat(LARGE) });
    for _ in 0..count {
        channel.broadcast("large", &payload).expect("there is room");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_is_dropped_after_write_wait() {
    let (pond, endpoint, _) = pond(Options::default());
    let mut stalled = Local::join(&pond, 4096).await;
    let mut other = Local::join(&pond, 4 << 20).await;
    flood(&endpoint, 3);
    other.until("large").await;
    eventually_paused(|| endpoint.connections().len() == 1).await;
    stalled.assert_elapsed(10 * SECOND);
    assert_eq!(stalled.closed().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_over_its_bounds_for_send_timeout_is_given_up() {
    let (pond, endpoint, _) = pond(Options::default().outbox_bytes(3 * LARGE));
    let mut stalled = Local::join(&pond, 4096).await;
    flood(&endpoint, 8);
    eventually_paused(|| endpoint.connections().is_empty()).await;
    stalled.assert_elapsed(5 * SECOND);
    assert_eq!(stalled.closed().await, Some(1013));
}

#[tokio::test]
async fn an_in_memory_stream_is_served() {
    let (pond, ..) = pond(Options::default());
    let mut peer = Local::join(&pond, 1024).await;
    peer.send("BROADCAST", "echo", json!({ "long": "x".repeat(8 * 1024) })).await;
    assert_eq!(peer.until("echo").await["payload"]["long"].as_str().map(str::len), Some(8 * 1024));
}

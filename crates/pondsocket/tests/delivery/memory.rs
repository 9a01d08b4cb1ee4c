//! The memory that a server holds for clients: its bounds, its limits and its release.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    ConnectionContext, EndpointOptions, Error, EventContext, JoinContext, Joined, Options, PondSocket, Result,
};
use serde_json::json;
use testkit::{Message, Recorder, connect_in_memory, eventually};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

const KIB: usize = 1024;

/// The most bytes of one read, and the step in which a connection reports its memory.
const READ: usize = 64 * KIB;
const STEP: usize = 4 * KIB;

/// The most memory for unhandled messages of one connection (docs/operations.md, Memory).
fn most_received(options: &Options) -> usize {
    options.receive_bytes + (options.max_concurrent_handlers + 3) * options.max_message_size + READ + STEP
}

struct Held {
    pond: PondSocket,
    counted: Recorder,
    /// Each permit lets one handler of "wait" continue.
    gate: Arc<Semaphore>,
}

fn held(options: Options) -> Held {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room/*", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    lobby.on_event("wait", move |ctx: EventContext| {
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.map_err(Error::internal)?.forget();
            ctx.reply("wait", &())
        }
    });
    lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    Held { pond, counted, gate }
}

type Socket = WebSocketStream<DuplexStream>;

fn message(action: &str, event: &str, channel: &str, bytes: usize) -> String {
    let message = json!({
        "action": action, "event": event, "channelName": channel, "requestId": "q",
        "payload": { "filler": "x".repeat(bytes) },
    });
    message.to_string()
}

impl Held {
    /// A client that is in this many channels.
    async fn client(&self, rooms: usize) -> Socket {
        let mut socket = connect_in_memory(&self.pond, "/", 16 * KIB).await;
        assert!(text(&mut socket).await.contains("CONNECTION"));
        for room in 0..rooms {
            let join = message("JOIN_CHANNEL", "JOIN_CHANNEL", &format!("/room/{room}"), 0);
            socket.send(Message::text(join)).await.expect("open");
            assert!(text(&mut socket).await.contains("ACKNOWLEDGE"));
        }
        socket
    }

    fn received(&self) -> usize {
        self.pond.snapshot().endpoints[0].received_bytes
    }

    fn used(&self) -> usize {
        self.pond.snapshot().memory.used
    }

    fn has_reached(&self, limit: &str) -> bool {
        self.counted.of("limit_reached").contains(&format!("/ {limit}"))
    }
}

async fn text(socket: &mut Socket) -> String {
    loop {
        match socket.next().await.expect("open").expect("a frame") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("no text: {other:?}"),
        }
    }
}

/// The close code, after any other frames.
async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => return frame.expect("a code").code.into(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

/// The unhandled messages are bounded in bytes for any number, size and distribution over channels. The rest is
/// not read, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn unhandled_messages_are_bounded_in_bytes_and_none_is_lost() {
    for (rooms, size, count) in
        [(1, 100, 400), (1, 30 * KIB, 40), (1, 60 * KIB, 20), (5, 60 * KIB, 40), (20, 7 * KIB, 99)]
    {
        let options = Options::default().max_message_size(64 * KIB).receive_bytes(100 * KIB);
        let held = held(options.clone().handler_timeout(Duration::from_secs(3600)));
        let socket = held.client(rooms).await;
        let (mut writing, mut reading) = socket.split();
        let write = async {
            for n in 0..count {
                let text = message("BROADCAST", "wait", &format!("/room/{}", n % rooms), size);
                writing.send(Message::text(text)).await.expect("it reads in the end");
            }
        };
        let read = async {
            let pauses = || held.has_reached("receive_bytes") || count * size < options.receive_bytes;
            eventually("it is not read any more", pauses).await;
            let (received, most) = (held.received(), most_received(&options));
            assert!(received <= most, "{received} bytes are held of {count} times {size}, not {most}");
            held.gate.add_permits(count);
            let mut answers = 0;
            while answers < count {
                let Some(Ok(frame)) = reading.next().await else { panic!("only {answers} are handled") };
                if let Message::Text(text) = frame {
                    assert!(text.contains(r#""event":"wait""#), "{text}");
                    answers += 1;
                }
                assert!(held.received() <= most);
            }
        };
        tokio::join!(write, read);
        eventually("nothing is held", || held.received() == 0 && held.used() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_its_own_bound_of_unhandled_bytes() {
    let held = held(Options::default().handler_timeout(Duration::from_secs(3600)));
    let endpoint = held.pond.endpoints().remove(0);
    let _small = endpoint.options(EndpointOptions { receive_bytes: Some(10 * KIB), ..Default::default() });
    let mut socket = held.client(1).await;
    for _ in 0..5 {
        socket.send(Message::text(message("BROADCAST", "wait", "/room/0", 5 * KIB))).await.expect("open");
    }
    eventually("it is not read any more", || held.has_reached("receive_bytes")).await;
    held.gate.add_permits(5);
    for _ in 0..5 {
        assert!(text(&mut socket).await.contains(r#""event":"wait""#));
    }
}

/// Messages of a lost connection are counted and keep its permit, so reconnecting does not accumulate memory.
#[tokio::test(start_paused = true)]
async fn unhandled_messages_of_a_lost_connection_are_counted_until_they_are_handled() {
    let options = Options::default().max_connections(2).handler_timeout(Duration::from_secs(3600));
    let held = held(options);
    for lost in 1..=2 {
        let mut socket = held.client(1).await;
        for _ in 0..3 {
            socket.send(Message::text(message("BROADCAST", "wait", "/room/0", 50 * KIB))).await.expect("open");
        }
        eventually("all are read", || held.received() >= lost * 150 * KIB).await;
        drop(socket);
        eventually("it has gone", || held.pond.snapshot().endpoints[0].closing == lost).await;
        assert!(held.received() >= lost * 150 * KIB, "what it left is counted");
    }
    let endpoint = held.pond.snapshot().endpoints.remove(0);
    assert_eq!((endpoint.connections, endpoint.admitted), (0, 2));
    let refused = held.pond.test_client().connect("/").await.expect_err("their places are taken");
    assert_eq!(refused.refusal().map(|refused| refused.status().as_u16()), Some(503));

    // Running handlers alone keep no permit.
    for left in (2..6).rev() {
        held.gate.add_permits(1);
        eventually("one is handled", || held.received() < (left + 1) * 50 * KIB).await;
    }
    eventually("places are free", || held.pond.snapshot().endpoints[0].admitted == 0).await;
    assert!(held.received() >= 100 * KIB, "but what they are at work on is counted");
    held.gate.add_permits(2);
    eventually("nothing is held", || held.received() == 0 && held.used() == 0).await;
    eventually("no connection is left", || held.pond.snapshot().endpoints[0].closing == 0).await;
}

#[tokio::test(start_paused = true)]
async fn under_memory_pressure_large_holders_are_paused_first_and_then_all_clients() {
    let options = Options::default().memory_limit(400 * KIB).retry_after(Duration::from_secs(7));
    let options = options.max_concurrent_handlers(20);
    let held = held(options.handler_timeout(Duration::from_secs(3600)));
    let mut small = held.client(1).await;
    let mut large = held.client(11).await;
    for room in 0..10 {
        let text = message("BROADCAST", "wait", &format!("/room/{room}"), 30 * KIB);
        large.send(Message::text(text)).await.expect("open");
    }
    eventually("three quarters are used", || held.used() >= 300 * KIB).await;
    large.send(Message::text(message("BROADCAST", "echo", "/room/10", 0))).await.expect("open");
    eventually("it is not read", || held.pond.snapshot().memory.paused == 1).await;
    assert!(held.has_reached("memory"));
    small.send(Message::text(message("BROADCAST", "echo", "/room/0", 0))).await.expect("open");
    assert!(text(&mut small).await.contains(r#""event":"echo""#), "others are read");

    let mut others = Vec::new();
    for _ in 0..4 {
        let mut other = held.client(1).await;
        other.send(Message::text(message("BROADCAST", "wait", "/room/0", 30 * KIB))).await.expect("open");
        others.push(other);
    }
    eventually("all is used", || held.used() >= 400 * KIB).await;
    let refused = held.pond.test_client().connect("/").await.expect_err("no client is accepted");
    let refused = refused.refusal().expect("over HTTP");
    assert_eq!(
        (refused.status().as_u16(), refused.headers().get("retry-after").map(|after| after.as_bytes())),
        (503, Some(b"7".as_slice()))
    );
    assert_eq!(held.counted.of("connection_declined"), ["/ 503 memory_limit"]);
    let memory = held.pond.snapshot().memory;
    assert_eq!((memory.refused, memory.limit), (1, 400 * KIB));
    small.send(Message::text(message("BROADCAST", "echo", "/room/0", 0))).await.expect("open");
    eventually("another connection is paused too", || held.pond.snapshot().memory.paused >= 2).await;

    held.gate.add_permits(14);
    for _ in 0..11 {
        text(&mut large).await;
    }
    for socket in others.iter_mut().chain([&mut small]) {
        text(socket).await;
    }
    eventually("nothing is held", || held.used() == 0).await;
    assert_eq!(held.pond.snapshot().memory.paused, 0);
    held.client(1).await;
}

/// The most memory of a channel without its members' outboxes (docs/operations.md, Memory), with one framing in use and
/// messages of this many bytes.
fn most_of_channel(options: &Options, message: usize) -> usize {
    let portion = 256 * KIB + message + options.max_presence_list;
    4 * options.channel_queue_bytes + message + portion + 2 * portion + 2 * STEP
}

/// The most memory of a client's outbox (in the same section).
fn most_of_outbox(options: &Options, message: usize) -> usize {
    4 * options.outbox_bytes + 256 * KIB + message + 2 * STEP
}

/// Broadcasts into room 0 until that is refused. Returns the number of broadcasts.
fn flood(held: &Held, bytes: usize) -> (usize, Error) {
    let channel = held.pond.endpoints()[0].channel("/room/0").expect("a lobby matches");
    let mut broadcasts = (0..10_000).map(|_| channel.broadcast("flood", &json!({ "filler": "x".repeat(bytes) })));
    let refused = broadcasts.by_ref().enumerate().find_map(|(sent, broadcast)| Some((sent, broadcast.err()?)));
    refused.expect("it has a bound")
}

#[tokio::test(start_paused = true)]
async fn queued_broadcasts_are_counted_once_for_all_members() {
    let held = held(Options::default());
    let mut members = Vec::new();
    for _ in 0..20 {
        members.push(held.client(1).await);
    }
    let channel = held.pond.endpoints()[0].channel("/room/0").expect("a lobby matches");
    for _ in 0..100 {
        channel.broadcast("flood", &json!({ "filler": "x".repeat(8 * KIB) })).expect("room");
    }
    let waiting = || held.pond.snapshot().endpoints[0].channels[0].queued_bytes == 0;
    eventually("all of it waits for the members", waiting).await;
    let used = held.used();
    assert!((700 * KIB..3 * 800 * KIB).contains(&used), "{used} bytes are held for 800 KiB in 20 outboxes");
    for member in &mut members {
        for _ in 0..100 {
            assert!(text(member).await.contains("flood"));
        }
    }
    eventually("nothing is held", || held.used() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn without_memory_broadcasts_are_refused_until_members_take_queued_ones() {
    let held = held(Options::default().memory_limit(600 * KIB));
    let mut member = held.client(1).await;
    let (sent, refused) = flood(&held, 10 * KIB);
    assert_eq!((refused.code(), held.counted.of("limit_reached").contains(&"/ memory_full".to_owned())), (503, true));
    assert!(held.used() <= 600 * KIB + 3 * (256 + 10) * KIB, "{} bytes are held", held.used());
    for _ in 0..sent {
        assert!(text(&mut member).await.contains("flood"));
    }
    eventually("nothing is held", || held.used() == 0).await;
    let channel = held.pond.endpoints()[0].channel("/room/0").expect("a lobby matches");
    channel.broadcast("again", &json!({})).expect("there is memory again");
    assert!(text(&mut member).await.contains("again"));
}

#[tokio::test(start_paused = true)]
async fn a_channel_and_a_stalled_member_hold_no_more_than_documented() {
    for (queue, outbox, message) in [(64, 64, 10), (200, 30, 1), (20, 400, 60), (300, 20, 100)] {
        let options = Options::default().channel_queue_bytes(queue * KIB).outbox_bytes(outbox * KIB);
        let held = held(options.clone());
        let mut member = held.client(1).await;
        let most = most_of_channel(&options, message * KIB) + most_of_outbox(&options, message * KIB);
        let mut peak = 0;
        // Between two floods deliveries wait for the member, which is closed in the end.
        while held.pond.snapshot().endpoints[0].connections > 0 {
            let (_, refused) = flood(&held, message * KIB);
            assert_eq!((refused.code(), refused.message()), (503, "the channel's queue is full"));
            peak = peak.max(held.used());
            tokio::time::sleep(Duration::from_millis(400)).await;
            peak = peak.max(held.used());
        }
        assert!(peak <= most, "{peak} bytes are held, not {most}, with {queue}, {outbox}, {message}");
        assert!(peak >= 4 * queue * KIB, "only {peak} bytes are held");
        assert_eq!(closed(&mut member).await, 1013);
        drop(member);
        eventually("nothing is held", || held.used() == 0).await;
    }
}

/// The header of a frame of this length, and only the beginning of its payload.
async fn begin(socket: &mut Socket, announced: usize, sent: usize) {
    let announced = u64::try_from(announced).expect("a size");
    let mut frame = vec![0x81, 0xff];
    frame.extend_from_slice(&announced.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend(std::iter::repeat_n(b' ', sent));
    socket.get_mut().write_all(&frame).await.expect("open");
}

#[tokio::test(start_paused = true)]
async fn incomplete_messages_are_counted_and_stalled_senders_are_closed_without_memory() {
    let held = held(Options::default().memory_limit(400 * KIB).write_wait(Duration::from_secs(3)));
    let mut small = held.client(1).await;
    let mut large = Vec::new();
    while held.pond.snapshot().memory.used < 300 * KIB {
        let mut socket = held.client(1).await;
        let before = held.used();
        begin(&mut socket, 500 * KIB, 80 * KIB).await;
        eventually("it is counted", || held.used() >= before + 64 * KIB).await;
        large.push(socket);
    }
    // Further bytes are not read, so no message completes. Some clients are closed until there is memory again.
    for socket in &mut large {
        socket.get_mut().write_all(b"    ").await.expect("open");
    }
    eventually("there is memory again", || held.used() < 300 * KIB).await;
    // The choice of the closed clients is not specified.
    let mut codes = Vec::new();
    for socket in &mut large {
        codes.extend(timeout(Duration::from_secs(1), closed(socket)).await);
    }
    assert!(codes.contains(&1013) && codes.iter().all(|code| *code == 1013), "{codes:?}");
    small.send(Message::text(message("BROADCAST", "echo", "/room/0", 0))).await.expect("open");
    assert!(text(&mut small).await.contains(r#""event":"echo""#));
}

#[tokio::test(start_paused = true)]
async fn incomplete_messages_are_released_with_their_connection() -> Result<()> {
    let held = held(Options::default());
    let mut socket = held.client(1).await;
    begin(&mut socket, 500 * KIB, 200 * KIB).await;
    eventually("it is counted", || held.received() >= 200 * KIB && held.used() == held.received()).await;
    drop(socket);
    eventually("nothing is held", || held.received() == 0 && held.used() == 0).await;
    Ok(())
}

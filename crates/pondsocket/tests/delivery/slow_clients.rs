//! Messages for a client that does not read are dropped according to the policy of its endpoint or of the event, and
//! never at the expense of order, whole frames, necessary messages or other clients. Over TCP, over a
//! stream in memory, and compressed.
//!
//! The disconnection of a client that is over its bounds for too long (`SlowClient::Disconnect`) is
//! tested in `isolation/`.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::DeflateDecoder;
use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EndpointOptions, Error, EventContext, JoinContext, Joined, Lobby, Options,
    Payload, PondSocket, Result, SlowClient,
};
use serde_json::{Value, json};
use testkit::{DEADLINE, Message, Peer, Recorder, connect_in_memory, eventually, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

/// The number of messages that may wait.
const ROOM: usize = 8;

/// The number of messages that are sent, far more than the buffers hold.
const SENT: usize = 48;

struct SlowClientServer {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    counted: Recorder,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").unwrap_or("slow").to_owned();
    Ok(ctx.accept().user_id(&name))
}

fn served(policy: SlowClient) -> SlowClientServer {
    let counted = Recorder::default();
    let options = Options::default().send_channel_buffer(ROOM).outbox_bytes(64 << 20).write_buffer_size(16 * 1024);
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let own = EndpointOptions { slow_client: Some(policy), enable_compression: Some(true), ..Default::default() };
    let endpoint = pond.create_endpoint("/", connect).options(own);
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    endpoint.create_channel("/seen/:n", async |ctx: JoinContext| {
        let joined = ctx.accept().reply("welcome", &json!({}));
        Ok::<Joined, Error>(joined.track(&json!({ "mood": 0 })))
    });
    SlowClientServer { pond, endpoint, lobby, counted }
}

impl SlowClientServer {
    /// Broadcasts large messages of this name; each must reach the member that reads before the next is sent.
    async fn fill(&self, event: &str, healthy: &mut Peer, numbers: std::ops::Range<usize>) {
        let channel = self.endpoint.channel("/room/1").expect("ours");
        for number in numbers {
            channel.broadcast(event, &json!({ "number": number, "filler": filler(number) })).expect("room");
            assert_eq!(healthy.next().await["payload"]["number"], json!(number));
        }
    }

    /// Counts the messages that were dropped for the slow client with this reason.
    fn dropped(&self, reason: &str) -> usize {
        let start = format!("/ slow {reason} ");
        let counted = self.counted.of("message_dropped").into_iter();
        counted.filter_map(|line| line.strip_prefix(&start)?.parse::<usize>().ok()).sum()
    }

    async fn healthy(&self, address: SocketAddr) -> Peer {
        let mut healthy = Peer::connect(address, "/?name=healthy").await;
        healthy.join("/room/1", json!({})).await;
        healthy
    }
}

/// 16 KiB that hardly shrink in compression.
pub(super) fn filler(seed: usize) -> String {
    let mut state = seed as u64 + 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 58) as u8 % 64).to_ascii_lowercase()
    };
    (0..16 * 1024).map(next).map(|char| if matches!(char, '"' | '\\') { '_' } else { char }).collect()
}

/// The kinds of connection of a client that reads only on request of the test.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Tcp,
    Memory,
    Deflate,
}

#[expect(clippy::large_enum_variant, reason = "a test has one or two of them")]
pub(super) enum Slow {
    Tcp(Box<Peer>),
    Memory(WebSocketStream<DuplexStream>),
    Deflate(TcpStream),
}

impl Slow {
    /// Connects and joins `/room/1`.
    async fn join(over: Over, served: &SlowClientServer, address: SocketAddr) -> Slow {
        let mut slow = Slow::connect(over, &served.pond, address, "/").await;
        slow.join_with("/room/1", json!({})).await;
        slow
    }

    pub(super) async fn connect(over: Over, pond: &PondSocket, address: SocketAddr, path: &str) -> Slow {
        match over {
            Over::Tcp => Slow::Tcp(Box::new(Peer::connect_narrow(address, path, 4096).await)),
            Over::Memory => Slow::Memory(connect_in_memory(pond, path, 4096).await),
            Over::Deflate => Slow::Deflate(deflated(address, path).await),
        }
    }

    /// Joins a channel, and drops what it receives up to the acknowledgement.
    pub(super) async fn join_with(&mut self, channel: &str, payload: Value) {
        self.send_with("JOIN_CHANNEL", "JOIN_CHANNEL", channel, ("join", payload)).await;
        while self.next().await["requestId"] != "join" {}
    }

    pub(super) async fn send(&mut self, action: &str, event: &str, channel: &str, id: &str) {
        self.send_with(action, event, channel, (id, json!({ "id": id }))).await;
    }

    async fn send_with(&mut self, action: &str, event: &str, channel: &str, (id, payload): (&str, Value)) {
        let message =
            json!({ "action": action, "event": event, "channelName": channel, "requestId": id, "payload": payload });
        let text = message.to_string();
        match self {
            Slow::Tcp(peer) => peer.text(&text).await,
            Slow::Memory(socket) => socket.send(Message::text(text)).await.expect("the server reads"),
            Slow::Deflate(stream) => {
                // Final, text, masked with zeros (RFC 6455 section 5.2).
                let mut frame = vec![0x81];
                match u8::try_from(text.len()) {
                    Ok(length @ ..126) => frame.push(0x80 | length),
                    _ => {
                        frame.push(0x80 | 126);
                        frame.extend_from_slice(&u16::try_from(text.len()).expect("short").to_be_bytes());
                    }
                }
                frame.extend_from_slice(&[0; 4]);
                frame.extend_from_slice(text.as_bytes());
                stream.write_all(&frame).await.expect("the server reads");
            }
        }
    }

    /// The next message, which must be whole.
    pub(super) async fn next(&mut self) -> Value {
        let text = match self {
            Slow::Tcp(peer) => return peer.next().await,
            Slow::Memory(socket) => loop {
                let frame = timeout(DEADLINE, socket.next()).await.expect("in time").expect("open").expect("a frame");
                if let Message::Text(text) = frame {
                    break text.to_string();
                }
            },
            Slow::Deflate(stream) => timeout(DEADLINE, inflate_next(stream)).await.expect("in time"),
        };
        serde_json::from_str(&text).expect("a whole message")
    }

    /// Sends a request, and returns all messages up to its reply.
    pub(super) async fn catch_up(&mut self, id: &str) -> Vec<Value> {
        self.send("BROADCAST", "echo", "/room/1", id).await;
        self.until(id).await
    }

    pub(super) async fn until(&mut self, id: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await;
            if message["requestId"] == json!(id) {
                return messages;
            }
            messages.push(message);
        }
    }
}

/// A connection with compressed messages (RFC 7692).
async fn deflated(address: SocketAddr, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("any size is possible");
    let mut stream = socket.connect(address).await.expect("it listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("permessage-deflate"), "{head}");
    stream
}

/// Reads frames up to a text, and inflates it if it is compressed.
async fn inflate_next(stream: &mut TcpStream) -> String {
    loop {
        let (first, length) = (stream.read_u8().await.expect("open"), stream.read_u8().await.expect("open"));
        let length = match length {
            126 => usize::from(stream.read_u16().await.expect("open")),
            127 => usize::try_from(stream.read_u64().await.expect("open")).expect("it fits"),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a whole frame");
        match first {
            0x81 => return String::from_utf8(payload).expect("text"),
            0xC1 => {
                // The common end of all messages is left out on the wire (RFC 7692 section 7.2.1).
                payload.extend_from_slice(&[0, 0, 0xFF, 0xFF]);
                let mut text = String::new();
                // There is no last block: the stream ends behind the text.
                let _ = DeflateDecoder::new(&payload[..]).read_to_string(&mut text);
                return text;
            }
            0x89 => {}
            other => panic!("neither a text nor a ping: {other:#x}"),
        }
    }
}

fn numbers(messages: &[Value], event: &str) -> Vec<usize> {
    let ours = messages.iter().filter(|message| message["event"] == event);
    ours.map(|message| message["payload"]["number"].as_u64().expect("a number") as usize).collect()
}

pub(super) const EVERYWHERE: [Over; 3] = [Over::Tcp, Over::Memory, Over::Deflate];

#[tokio::test(flavor = "multi_thread")]
async fn drop_oldest_keeps_the_order_and_the_newest_messages() {
    for over in EVERYWHERE {
        let served = served(SlowClient::DropOldest);
        let (_server, address) = serve(&served.pond).await;
        let mut slow = Slow::join(over, &served, address).await;
        let mut healthy = served.healthy(address).await;
        served.fill("large", &mut healthy, 0..SENT).await;
        let got = numbers(&slow.catch_up("q").await, "large");
        let dropped = served.dropped("oldest");
        assert!(dropped > SENT / 2, "{over:?}: {dropped}");
        assert!(got.is_sorted_by(|a, b| a < b), "{over:?}: {got:?}");
        assert_eq!(got.len() + dropped, SENT, "{over:?}: what does not arrive was counted");
        // Beside them there is room for the frame that was begun, and for the reply.
        assert!(got.ends_with(&Vec::from_iter(SENT - ROOM + 2..SENT)), "{over:?}: the newest are there: {got:?}");
        served.fill("large", &mut healthy, SENT..SENT + 1).await;
        assert_eq!(slow.next().await["payload"]["number"], json!(SENT), "{over:?}: it keeps up again");
        assert_eq!(served.dropped("oldest"), dropped);
        assert_eq!(served.endpoint.connections().len(), 2, "{over:?}: no client was disconnected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_newest_keeps_an_unbroken_sequence_of_messages() {
    for over in EVERYWHERE {
        let served = served(SlowClient::DropNewest);
        let (_server, address) = serve(&served.pond).await;
        let mut slow = Slow::join(over, &served, address).await;
        let mut healthy = served.healthy(address).await;
        served.fill("large", &mut healthy, 0..SENT).await;
        let got = numbers(&slow.catch_up("q").await, "large");
        let dropped = served.dropped("newest");
        assert!(dropped > SENT / 2, "{over:?}: {dropped}");
        assert_eq!(got, Vec::from_iter(0..SENT - dropped), "{over:?}");
        served.fill("large", &mut healthy, SENT..SENT + 1).await;
        assert_eq!(slow.next().await["payload"]["number"], json!(SENT), "{over:?}: it keeps up again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_an_event_overrides_that_of_the_endpoint() {
    for (endpoint, event) in [
        (SlowClient::Disconnect, SlowClient::DropOldest),
        (SlowClient::DropNewest, SlowClient::DropOldest),
        (SlowClient::DropOldest, SlowClient::DropNewest),
        (SlowClient::DropOldest, SlowClient::Disconnect),
    ] {
        let served = served(endpoint);
        served.lobby.slow_client("own/*", event);
        let (_server, address) = serve(&served.pond).await;
        let mut slow = Slow::join(Over::Tcp, &served, address).await;
        let mut healthy = served.healthy(address).await;
        // Never four times the bound, at which the client would be closed.
        let sent = ROOM * 2;
        fill_until(&served, &mut healthy, 1).await;
        served.fill("own/event", &mut healthy, 0..sent).await;
        let got = numbers(&slow.catch_up("q").await, "own/event");
        let dropped = (served.dropped("oldest"), served.dropped("newest"));
        match event {
            SlowClient::DropOldest => {
                assert!(got.ends_with(&[sent - 1]) && got.len() < sent, "{endpoint:?}, {event:?}: {got:?}");
                assert!(dropped.0 > 0, "{endpoint:?}, {event:?}: {dropped:?}");
            }
            SlowClient::DropNewest => {
                assert_eq!(got, Vec::from_iter(0..got.len()), "{endpoint:?}, {event:?}");
                assert!(got.len() < sent && dropped.1 > 0, "{endpoint:?}, {event:?}: {got:?}, {dropped:?}");
            }
            SlowClient::Disconnect => assert_eq!(got, Vec::from_iter(0..sent), "{endpoint:?}: nothing is dropped"),
        }
    }
}

/// Broadcasts until this many messages wait for the slow client.
async fn fill_until(served: &SlowClientServer, healthy: &mut Peer, waiting: usize) {
    let full = || served.pond.snapshot().endpoints[0].waiting_messages >= waiting;
    for number in 0.. {
        if full() {
            return;
        }
        assert!(number < SENT, "its buffers are never full");
        served.fill("large", healthy, number..number + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_memberships_are_never_dropped() {
    for (over, policy) in EVERYWHERE
        .into_iter()
        .flat_map(|over| [SlowClient::DropOldest, SlowClient::DropNewest].map(|policy| (over, policy)))
    {
        let served = served(policy);
        let (_server, address) = serve(&served.pond).await;
        let mut slow = Slow::join(over, &served, address).await;
        let mut healthy = served.healthy(address).await;
        fill_until(&served, &mut healthy, ROOM).await;
        slow.send("BROADCAST", "echo", "/room/1", "reply").await;
        slow.send("BROADCAST", "dance", "/room/1", "error").await;
        slow.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/seen/1", "ack").await;
        slow.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/nowhere", "decline").await;
        let joined = || served.counted.of("join_declined").len() == 1;
        eventually("all of it is handled", joined).await;
        served.fill("large", &mut healthy, SENT..SENT + 2 * ROOM).await;
        served.endpoint.channel("/room/1").expect("ours").evict("slow", "too slow").await.expect("a member");
        slow.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/seen/1", "exit").await;

        let mut told = Vec::new();
        let is_last = |told: &String| told == "/seen/1 EXIT_ACKNOWLEDGE" || told == "/room/1 EVICTED";
        while told.iter().filter(|told| is_last(told)).count() < 2 {
            let message = slow.next().await;
            if message["action"] != "BROADCAST" {
                let text = |field: &str| message[field].as_str().expect("checked").to_owned();
                told.push(format!("{} {}", text("channelName"), text("event")));
            }
        }
        let of = |channel: &str| {
            let events = told.iter().filter_map(|told| told.strip_prefix(channel)?.strip_prefix(' '));
            events.collect::<Vec<_>>()
        };
        assert_eq!(of("/room/1"), ["echo", "NOT_FOUND", "evicted", "EVICTED"], "{over:?}, {policy:?}");
        assert_eq!(of("/seen/1"), ["ACKNOWLEDGE", "welcome", "JOIN", "EXIT_ACKNOWLEDGE"], "{over:?}, {policy:?}");
        assert_eq!(of("/nowhere"), ["NOT_FOUND", "UNAUTHORIZED"], "{over:?}, {policy:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_dropped_only_if_a_newer_list_follows() {
    const MOODS: u64 = 3 * ROOM as u64;
    for over in EVERYWHERE {
        let served = served(SlowClient::DropNewest);
        let (_server, address) = serve(&served.pond).await;
        let mut slow = Slow::join(over, &served, address).await;
        let mut healthy = served.healthy(address).await;
        for channel in ["/seen/1", "/seen/2"] {
            slow.send("JOIN_CHANNEL", "JOIN_CHANNEL", channel, channel).await;
            slow.until(channel).await;
            slow.send("BROADCAST", "nothing", channel, "read").await;
            slow.until("read").await;
        }
        fill_until(&served, &mut healthy, ROOM).await;
        let (first, second) = (served.endpoint.channel("/seen/1"), served.endpoint.channel("/seen/2"));
        let (first, second) = (first.expect("ours"), second.expect("ours"));
        second.update_presence("slow", &json!({ "mood": "once" })).await.expect("a member");
        for mood in 1..=MOODS {
            first.update_presence("slow", &json!({ "mood": mood })).await.expect("a member");
            // Each is a delivery of its own.
            let delivered = || served.pond.snapshot().endpoints[0].channels.iter().all(|channel| channel.queued == 0);
            eventually("it is delivered", delivered).await;
        }
        let messages = slow.catch_up("q").await;
        let moods = |channel: &str| {
            let ours =
                messages.iter().filter(|message| message["event"] == "UPDATE" && message["channelName"] == channel);
            ours.map(|message| message["payload"]["presence"][0]["mood"].clone()).collect::<Vec<_>>()
        };
        let seen = moods("/seen/1");
        assert_eq!(seen.last(), Some(&json!(MOODS)), "{over:?}: the last list is there");
        assert_eq!(moods("/seen/2"), [json!("once")], "{over:?}: no newer one follows in this channel");
        let outdated = served.dropped("outdated");
        assert!(outdated > 0, "{over:?}");
        // Presence as of its delivery: several changes may be in one list, but each has a frame, or was dropped.
        assert_eq!(seen.len() + outdated, MOODS as usize, "{over:?}");
    }
}

/// Over an in-memory stream only the connection's task writes, so many messages may wait for a client
/// of any speed.
#[tokio::test]
async fn a_reading_client_misses_nothing_of_a_burst() {
    for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
        let served = served(policy);
        let (_server, address) = serve(&served.pond).await;
        let mut quick = Slow::join(Over::Memory, &served, address).await;
        let channel = served.endpoint.channel("/room/1").expect("ours");
        for round in 0..3 {
            for number in 0..100 {
                channel.broadcast("burst", &json!({ "number": number })).expect("room");
            }
            for number in 0..100 {
                assert_eq!(quick.next().await["payload"]["number"], json!(number), "{policy:?}, round {round}");
            }
        }
        assert_eq!(served.counted.of("message_dropped"), Vec::<String>::new());
    }
}

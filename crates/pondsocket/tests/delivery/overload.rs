//! More than can be delivered at once: whoever reads misses nothing and stays, whatever others do; whoever publishes is
//! slowed down; and whoever does not read holds the others up for a stated time. Through real sockets, with readers as tasks
//! of their own; where it is about seconds over in-memory streams with the clock paused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Options, Payload, PondSocket,
    Result, SlowClient,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{EventPeer, Message, Peer, Recorder, connect_in_memory, eventually, serve};
use tokio::io::DuplexStream;
use tokio::net::TcpSocket;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::{WebSocketStream, client_async};

const SECOND: Duration = Duration::from_secs(1);

/// How long a reader may take for everything, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Served {
    pond: PondSocket,
    endpoint: Endpoint,
    counted: Recorder,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").ok_or(Error::unauthorized("who are you?"))?.to_owned();
    Ok(ctx.accept().user_id(&name))
}

#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    size: Option<usize>,
}

/// Shows who it is, and so many bytes more, if it says how many.
async fn join(ctx: JoinContext, Payload(Shown { size }): Payload<Shown>) -> Result<Joined> {
    let name = ctx.user_id().to_owned();
    let joined = ctx.accept();
    Ok(match size {
        Some(size) => joined.track(&presence(&name, 0, size)),
        None => joined,
    })
}

fn presence(name: &str, number: usize, size: usize) -> Value {
    json!({ "name": name, "number": number, "filler": "x".repeat(size) })
}

#[derive(Deserialize)]
struct Change {
    number: usize,
    size: usize,
}

/// Options for readers that the machine may stop for a while: what is about seconds is shown with the clock paused.
fn patient() -> Options {
    Options::default().pacing_wait(60 * SECOND).send_timeout(60 * SECOND).write_wait(60 * SECOND)
}

fn served(options: Options) -> Served {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("say", async |ctx: EventContext, Payload(said): Payload<Value>| ctx.broadcast("said", &said));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    lobby.on_event("show", async |ctx: EventContext, Payload(change): Payload<Change>| {
        ctx.update_presence(&presence(ctx.user_id(), change.number, change.size))
    });
    Served { pond, endpoint, counted }
}

impl Served {
    /// Who was closed, and why; those who closed themselves aside.
    fn given_up(&self) -> Vec<String> {
        let mut closed = self.counted.of("connection_closed");
        closed.retain(|line| !line.ends_with(" client") && !line.ends_with(" lost"));
        closed
    }
}

/// One message of a client in a frame, masked with zeros, and so not changed by it (RFC 6455 section 5.2).
fn frame(event: &str, id: usize, payload: &Value) -> Vec<u8> {
    let message = json!({
        "action": "BROADCAST", "event": event, "channelName": "/room/1", "requestId": format!("r{id}"), "payload": payload,
    });
    let text = message.to_string();
    let mut frame = vec![0x81];
    match text.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("a short message").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// What a member has heard when it has read everything.
#[derive(Debug, Default)]
struct Heard {
    /// The numbers of the changes of each user, in the order in which it heard of them.
    changes: HashMap<String, Vec<usize>>,
    /// The last whole list: whose entries, and the number of each.
    list: HashMap<String, usize>,
    /// How many entries the longest list had.
    longest: usize,
    /// How many messages did not carry the whole list.
    partial: usize,
    said: Vec<usize>,
}

impl Heard {
    fn note(&mut self, message: &Value) {
        let payload = &message["payload"];
        let number = |value: &Value| value["number"].as_u64().expect("a number") as usize;
        let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
        if message["action"] == "PRESENCE" {
            let changed = &payload["changed"];
            if message["event"] != "LEAVE" {
                self.changes.entry(name(changed)).or_default().push(number(changed));
            }
            let list = payload["presence"].as_array().expect("checked");
            self.longest = self.longest.max(list.len());
            if payload["partial"] == true {
                self.partial += 1;
                let shown: &[Value] = if message["event"] == "LEAVE" { &[] } else { std::slice::from_ref(changed) };
                assert_eq!(list, shown, "nothing but the change");
            } else {
                self.list = list.iter().map(|entry| (name(entry), number(entry))).collect();
            }
        } else if message["event"] == "said" {
            self.said.push(number(payload));
        }
    }
}

/// Reads until it is told to stop, or fails.
fn reader(mut peer: Peer) -> JoinHandle<(Heard, Peer)> {
    tokio::spawn(async move {
        let mut heard = Heard::default();
        let reading = async {
            loop {
                match peer.message().await {
                    Ok(message) if message["event"] == "stop" => return,
                    Ok(message) => heard.note(&message),
                    Err(closed) => panic!("{} was thrown out: {closed:?}", peer.id),
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("everything comes in time");
        (heard, peer)
    })
}

async fn member(address: SocketAddr, name: &str, shown: Option<usize>) -> Peer {
    let mut peer = Peer::connect(address, &format!("/?name={name}")).await;
    peer.join("/room/1", json!({ "size": shown })).await;
    peer
}

/// Tells everybody that nothing more comes, as soon as there is room for it.
async fn stop(endpoint: &Endpoint) {
    let channel = endpoint.channel("/room/1").expect("ours");
    while channel.broadcast("stop", &json!({})).is_err() {
        channel.ready().await;
    }
}

// --- Presence ---------------------------------------------------------------------------------------------------------

/// One member shows something else so many times in one write; the others, and itself, only read.
async fn changes_at_once(members: usize, size: usize, changes: usize) {
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 1..members {
        readers.push(reader(member(address, &format!("m{number}"), Some(size)).await));
    }
    let mut sender = member(address, "m0", Some(size)).await;
    let all: Vec<u8> =
        (1..=changes).flat_map(|number| frame("show", number, &json!({ "number": number, "size": size }))).collect();
    sender.bytes(&all).await;
    readers.push(reader(sender));
    // The last change has been made: what is sent now comes behind it.
    let channel = served.endpoint.channel("/room/1").expect("ours");
    let is_made = || channel.presence::<Value>().expect("JSON")["m0"]["number"] == json!(changes);
    timeout(PATIENCE, async {
        while !is_made() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all changes are made");
    stop(&served.endpoint).await;
    let truth: HashMap<_, _> =
        (0..members).map(|number| (format!("m{number}"), if number == 0 { changes } else { 0 })).collect();
    for reader in readers {
        let (heard, peer) = reader.await.expect("it was not thrown out");
        let (heard_of, is_itself) = (&heard.changes["m0"], peer.id == "m0");
        assert!(
            heard_of.iter().copied().eq(0..=changes),
            "each change, in order: {} of them, {is_itself}",
            heard_of.len()
        );
        assert_eq!(heard.list, truth, "the list at the end is the true one");
        assert!(heard.partial > changes / 2, "{} of {changes}", heard.partial);
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_hears_of_1500_changes_of_presence_in_one_write() {
    changes_at_once(7, 1024, 1500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_hears_of_150_changes_of_much_presence_in_one_write() {
    changes_at_once(7, 12 * 1024, 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_comes_at_once_and_comes_back_sees_everybody() {
    const CROWD: usize = 60;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    for round in 0..2 {
        let mut coming = JoinSet::new();
        for number in 0..CROWD {
            coming.spawn(async move { member(address, &format!("m{number}"), Some(8 * 1024)).await });
        }
        let readers: Vec<_> = coming.join_all().await.into_iter().map(reader).collect();
        stop(&served.endpoint).await;
        let mut peers = Vec::new();
        for reader in readers {
            let (heard, peer) = reader.await.expect("it was not thrown out");
            let names: Vec<_> = heard.list.keys().collect();
            assert_eq!(names.len(), CROWD, "round {round}: {names:?}");
            peers.push(peer);
        }
        // All of them are lost at once, and come back as soon as the server has seen it.
        peers.into_iter().for_each(Peer::reset);
        eventually("all have gone", || served.endpoint.connections().is_empty()).await;
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

/// The small rooms that there are by far the most of: each change comes with the whole list, as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_room_is_told_the_whole_list_with_each_change() {
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut ada = member(address, "ada", Some(10)).await;
    let bob = reader(member(address, "bob", Some(10)).await);
    let all: Vec<u8> =
        (1..=50).flat_map(|number| frame("show", number, &json!({ "number": number, "size": 10 }))).collect();
    ada.bytes(&all).await;
    let id = ada.event("/room/1", "echo", json!({})).await;
    while ada.next().await["requestId"] != json!(id) {}
    stop(&served.endpoint).await;
    let (heard, _) = bob.await.expect("it was not thrown out");
    assert_eq!((heard.partial, heard.changes["ada"].last()), (0, Some(&50)));
}

#[tokio::test(start_paused = true)]
async fn a_channel_shows_no_more_than_it_may() -> Result<(), Box<dyn std::error::Error>> {
    let entry = presence("ada", 0, 1000).to_string().len();
    let served = served(Options::default().max_channel_presence(2 * entry + 100));
    let client = served.pond.test_client();
    let (ada, bob) = (client.connect("/?name=ada").await?, client.connect("/?name=bob").await?);
    let cyd = client.connect("/?name=cyd").await?;
    let room = ada.join("/room/1", json!({ "size": 1000 })).await?;
    let other = bob.join("/room/1", json!({ "size": 900 })).await?;
    let declined = cyd.join("/room/1", json!({ "size": 1000 })).await.expect_err("too much");
    assert_eq!(declined.code(), Some(413));
    let refused = room.request("show", json!({ "number": 1, "size": 2000 })).await.expect_err("too much");
    assert_eq!(refused.code(), Some(413));
    let message = refused.rejection().expect("an answer").message().to_owned();
    assert_eq!(message, "the presence of all members would be over the limit");
    let channel = served.endpoint.channel("/room/1")?;
    let _cyd = cyd.join("/room/1", json!({})).await?;
    let too_much = presence("cyd", 0, 1000);
    assert_eq!(channel.track("cyd", &too_much).map_err(|error| error.code()), Err(413));
    assert_eq!(channel.update_presence("cyd", &too_much).await.map_err(|error| error.code()), Err(413));
    assert_eq!(channel.presence::<Value>()?.len(), 2, "nothing has changed");
    assert_eq!(channel.presence::<Value>()?["ada"]["number"], 0);
    assert_eq!(served.counted.of("limit_reached"), vec!["/ channel_presence"; 4]);
    // What is smaller than before always fits, and whoever leaves makes room.
    other.send("show", json!({ "number": 1, "size": 10 }));
    eventually("it fits", || channel.track("cyd", &presence("cyd", 0, 900)).is_ok()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_too_large_for_some_clients_is_told_change_by_change() {
    let served = served(patient().max_presence_list(8 * 1024));
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 0..12 {
        readers.push(reader(member(address, &format!("m{number}"), Some(1024)).await));
    }
    stop(&served.endpoint).await;
    for (number, reader) in readers.into_iter().enumerate() {
        let (heard, _) = reader.await.expect("it was not thrown out");
        // Each has a little more than a kilobyte.
        assert_eq!(heard.longest.max(7), 7, "no list of more than 8 KiB");
        assert_eq!(heard.changes.len(), 12 - number, "each that came from then on: {:?}", heard.changes.keys());
        assert!(heard.partial > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_repeated_within_a_delivery_up_to_a_size() {
    for (repeated, expect_partial) in [(1 << 20, 0), (1, 19)] {
        let served = served(Options::default().presence_batch(repeated));
        let mut ada = Local::join(&served.pond, "ada", 1 << 20, Some(100)).await;
        let channel = served.endpoint.channel("/room/1").expect("ours");
        // Nothing is delivered while nobody waits: all of it is one delivery.
        for number in 1..=20 {
            channel.update_presence("ada", &presence("ada", number, 100)).await.expect("a member");
        }
        let mut heard = Heard::default();
        while heard.changes.get("ada").is_none_or(|changes| changes.last() != Some(&20)) {
            heard.note(&ada.next().await.expect("it reads"));
        }
        assert_eq!((heard.partial, heard.list["ada"]), (expect_partial, 20), "{repeated}");
    }
}

// --- Broadcasts ---------------------------------------------------------------------------------------------------------

fn said(number: usize, filler: &str) -> Value {
    json!({ "number": number, "filler": filler })
}

/// Publishes so many messages as fast as the server takes them, and reads at the same time.
fn publisher(peer: Peer, count: usize, size: usize) -> JoinHandle<Heard> {
    tokio::spawn(async move {
        let (mut sink, mut stream) = peer.socket.split();
        let filler = "x".repeat(size);
        let write = async {
            for number in 0..count {
                let message = json!({
                    "action": "BROADCAST", "event": "say", "channelName": "/room/1",
                    "requestId": format!("r{number}"), "payload": said(number, &filler),
                });
                sink.feed(Message::text(message.to_string())).await.expect("the server reads");
            }
            sink.flush().await.expect("the server reads");
        };
        let mut heard = Heard::default();
        let read = async {
            while heard.said.len() < count {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => heard.note(&serde_json::from_str(&text).expect("JSON")),
                    Some(Ok(Message::Ping(_))) => {}
                    other => panic!("the publisher was thrown out: {other:?}"),
                }
            }
        };
        timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("everything is published in time");
        heard
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_reads_gets_10_000_broadcasts_that_come_at_once() {
    const COUNT: usize = 10_000;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut readers = Vec::new();
    for number in 1..4 {
        readers.push(reader(member(address, &format!("m{number}"), None).await));
    }
    let mut stream = EventPeer::connect(address, "/?name=stream").await;
    stream.join("/room/1", json!({})).await;
    let stream = tokio::spawn(async move {
        let mut heard = Heard::default();
        while heard.said.len() < COUNT {
            heard.note(&stream.next().await);
        }
        heard
    });
    let publisher = publisher(member(address, "m0", None).await, COUNT, 1024);
    let publisher = publisher.await.expect("it was not thrown out");
    stop(&served.endpoint).await;
    let mut all = vec![publisher, stream.await.expect("it was not thrown out")];
    for reader in readers {
        all.push(reader.await.expect("it was not thrown out").0);
    }
    for heard in all {
        assert!(heard.said.iter().copied().eq(0..COUNT), "all of them, in order: {}", heard.said.len());
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
    assert_eq!(served.counted.of("limit_reached"), Vec::<String>::new());
}

/// A member that takes `bytes` each `pause`, and whose kernel holds little of what it does not take.
async fn throttled(address: SocketAddr, bytes: usize, pause: Duration) -> JoinHandle<Vec<usize>> {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("any size is possible");
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let stream = socket.connect(address).await.expect("it listens");
    let (mut from_server, mut to_server) = stream.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(theirs);
    tokio::spawn(async move {
        // The client has gone, or the server: the other side sees it.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; bytes];
        while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut from_server, &mut buffer).await {
            if tokio::io::AsyncWriteExt::write_all(&mut to_client, &buffer[..read]).await.is_err() {
                return;
            }
            sleep(pause.mul_f64(read as f64 / bytes as f64)).await;
        }
    });
    let url = format!("ws://{address}/?name=throttled");
    let mut socket = client_async(url, ours).await.expect("let in").0;
    let message = json!({
        "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/room/1", "requestId": "join", "payload": {},
    });
    socket.send(Message::text(message.to_string())).await.expect("the server reads");
    while !text(&mut socket).await.expect("open").contains("ACKNOWLEDGE") {}
    tokio::spawn(async move {
        let mut heard = Heard::default();
        while let Some(text) = text(&mut socket).await {
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["event"] == "stop" {
                return heard.said;
            }
            heard.note(&message);
        }
        panic!("it was thrown out");
    })
}

/// The next text; `None` at the end.
async fn text(socket: &mut WebSocketStream<DuplexStream>) -> Option<String> {
    loop {
        match timeout(PATIENCE, socket.next()).await.expect("something in time") {
            Some(Ok(Message::Text(text))) => return Some(text.to_string()),
            Some(Ok(Message::Ping(_))) => {}
            _ => return None,
        }
    }
}

/// A publisher at full speed goes as fast as whoever reads, be it slower by far, and whoever reads loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_goes_no_faster_than_a_member_that_reads() {
    const COUNT: usize = 800;
    let served = served(patient().write_buffer_size(16 * 1024));
    let (_server, address) = serve(&served.pond).await;
    let quick = reader(member(address, "quick", None).await);
    // 2 MB in a second, and 8 KiB at once.
    let slow = throttled(address, 8 * 1024, Duration::from_millis(4)).await;
    let publisher = publisher(member(address, "publisher", None).await, COUNT, 8 * 1024);
    assert!(publisher.await.expect("it was not thrown out").said.iter().copied().eq(0..COUNT));
    stop(&served.endpoint).await;
    assert!(slow.await.expect("it was not thrown out").iter().copied().eq(0..COUNT), "all of them, in order");
    assert!(quick.await.expect("it was not thrown out").0.said.iter().copied().eq(0..COUNT));
    assert_eq!(served.given_up(), Vec::<String>::new());
    assert_eq!(served.counted.of("limit_reached"), Vec::<String>::new(), "nobody was left behind");
}

// --- Members that do not read, with the clock paused ----------------------------------------------------------------------

/// A member over a stream in memory.
struct Local {
    socket: WebSocketStream<DuplexStream>,
}

impl Local {
    /// Joins `/room/1`; the stream holds `capacity` bytes each way.
    async fn join(pond: &PondSocket, name: &str, capacity: usize, shown: Option<usize>) -> Local {
        let socket = connect_in_memory(pond, &format!("/?name={name}"), capacity).await;
        let mut local = Local { socket };
        let message = json!({
            "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/room/1", "requestId": "join",
            "payload": { "size": shown },
        });
        local.socket.send(Message::text(message.to_string())).await.expect("open");
        while local.next().await.expect("let in")["event"] != "ACKNOWLEDGE" {}
        local
    }

    /// The next message, or the code of the close frame; `None` if there is neither.
    async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

/// Broadcasts large messages as fast as the channel takes them. Answers how long it takes until a member that reads
/// everything has read the last one.
async fn flood(served: &Served, healthy: &mut Local, numbers: std::ops::Range<usize>, size: usize) -> Duration {
    let channel = served.endpoint.channel("/room/1").expect("ours");
    let begun = Instant::now();
    let publish = async {
        for number in numbers.clone() {
            channel.ready().await;
            channel.broadcast("said", &json!({ "number": number, "filler": "x".repeat(size) })).expect("room");
        }
    };
    let read = async {
        for number in numbers.clone() {
            let message = healthy.next().await.expect("it reads");
            assert_eq!(message["payload"]["number"], json!(number));
        }
    };
    tokio::join!(publish, read);
    begun.elapsed()
}

/// How large a message of these tests is, where nothing else is said.
const LARGE: usize = 64 * 1024;

/// What the clock of a test and the timer's grain add.
const SLACK: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_member_that_stops_reading_holds_the_others_up_for_pacing_wait_and_is_the_only_one_closed() {
    for wait in [2 * SECOND, SECOND / 2] {
        let served = served(Options::default().pacing_wait(wait));
        let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut stalled = Local::join(&served.pond, "stalled", 64 * 1024, None).await;
        let took = flood(&served, &mut healthy, 0..200, LARGE).await;
        assert!(took >= wait && took <= wait + SLACK, "{took:?} in place of {wait:?}");
        eventually("it is closed", || served.endpoint.connections().len() == 1).await;
        let mut got = 0;
        let code = loop {
            match stalled.next().await {
                Ok(message) => {
                    assert_eq!(message["payload"]["number"], json!(got), "what it gets is without holes");
                    got += 1;
                }
                Err(code) => break code,
            }
        };
        assert_eq!((code, stalled.next().await.err()), (Some(1013), Some(None)));
        eventually("it has gone", || served.given_up().len() == 1).await;
        assert!(served.given_up()[0].ends_with("1013 too_slow"), "{:?}", served.given_up());
        assert!(served.counted.of("limit_reached").contains(&"/ pacing".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn without_pacing_wait_nobody_is_waited_for() {
    let served = served(Options::default().pacing_wait(Duration::ZERO));
    let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
    let _stalled = Local::join(&served.pond, "stalled", 64 * 1024, None).await;
    let mut took = Duration::ZERO;
    for number in 0..150 {
        // It has read all there was.
        took += flood(&served, &mut healthy, number..number + 1, LARGE).await;
    }
    assert!(took <= SLACK, "{took:?}");
    assert_eq!(served.endpoint.connections().len(), 1, "four times as much waited as may");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_had_taken_nothing_for_long_costs_the_others_nothing() {
    let served = served(Options::default());
    let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
    let _stalled = Local::join(&served.pond, "stalled", 1024, None).await;
    flood(&served, &mut healthy, 0..8, LARGE).await;
    sleep(3 * SECOND).await;
    let took = flood(&served, &mut healthy, 8..200, LARGE).await;
    assert!(took <= SLACK, "{took:?}");
    eventually("it is closed", || served.endpoint.connections().len() == 1).await;
}

/// Each of them reads until the one before has been given up, and then stops.
#[tokio::test(start_paused = true)]
async fn however_many_members_stop_one_after_the_other_the_others_are_held_up_for_no_more_than_the_budget() {
    const MEMBERS: usize = 12;
    for budget in [4 * SECOND, SECOND] {
        let served = served(Options::default().pacing_budget(budget).outbox_bytes(64 * 1024));
        let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut members = Vec::new();
        for number in 0..MEMBERS {
            members.push(Local::join(&served.pond, &format!("m{number}"), 64 * 1024, None).await);
        }
        let mut held_up = Duration::ZERO;
        let begun = Instant::now();
        let mut first = 0;
        while let Some(stalled) = members.pop() {
            let readers: Vec<_> = members
                .drain(..)
                .map(|mut member| {
                    tokio::spawn(async move {
                        for number in first..first + 150 {
                            assert_eq!(member.next().await.expect("it reads")["payload"]["number"], json!(number));
                        }
                        member
                    })
                })
                .collect();
            held_up += flood(&served, &mut healthy, first..first + 150, 4096).await;
            first += 150;
            for reader in readers {
                members.push(reader.await.expect("no panic"));
            }
            drop(stalled);
        }
        let bound = budget + begun.elapsed() / 10 + MEMBERS as u32 * (budget / 40 + SLACK);
        assert!(held_up >= budget.min(2 * SECOND) && held_up <= bound, "{held_up:?}, and no more than {bound:?}");
    }
}

/// What it takes is enough to be waited for, or it is not.
#[tokio::test(start_paused = true)]
async fn a_member_that_takes_pacing_rate_is_waited_for_and_one_that_takes_less_is_not() {
    for (rate, is_waited_for) in [(200 * 1024, true), (400 * 1024, false)] {
        let served = served(Options::default().pacing_rate(rate));
        let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
        let mut slow = Local::join(&served.pond, "slow", 16 * 1024, None).await;
        // Each message has 64 KiB: some 256 KiB in a second.
        let reading = tokio::spawn(async move {
            for number in 0..100 {
                match slow.next().await {
                    Ok(message) => assert_eq!(message["payload"]["number"], json!(number)),
                    Err(code) => return code,
                }
                sleep(SECOND / 4).await;
            }
            None
        });
        flood(&served, &mut healthy, 0..100, LARGE).await;
        let closed = reading.await.expect("no panic");
        assert_eq!(closed, if is_waited_for { None } else { Some(1013) }, "{rate}");
        assert_eq!(served.counted.of("limit_reached").contains(&"/ pacing".to_owned()), !is_waited_for);
    }
}

/// Whoever says that it can miss something is never waited for.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_member_that_may_miss_something() {
    for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
        let served = served(Options::default().slow_client(policy));
        let mut healthy = Local::join(&served.pond, "healthy", 64 * 1024, None).await;
        let _stalled = Local::join(&served.pond, "stalled", 1024, None).await;
        let reading = tokio::spawn(async move { while healthy.next().await.is_ok() {} });
        let channel = served.endpoint.channel("/room/1").expect("ours");
        let begun = Instant::now();
        for number in 0..200 {
            channel.ready().await;
            channel.broadcast("said", &said(number, &"x".repeat(64 * 1024))).expect("room");
        }
        channel.ready().await;
        assert!(begun.elapsed() <= SLACK, "{policy:?}: {:?}", begun.elapsed());
        assert!(served.counted.of("message_dropped").iter().any(|line| line.starts_with("/ stalled ")));
        reading.abort();
    }
}

// --- What one client makes for itself ---------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_gets_a_pong_for_each_of_its_pings_however_many_it_sends_at_once() {
    const COUNT: usize = 20_000;
    let served = served(patient());
    let (_server, address) = serve(&served.pond).await;
    let mut tcp = Peer::connect(address, "/?name=tcp").await;
    // An empty ping, masked with zeros.
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(COUNT);
    tcp.bytes(&pings).await;
    for _ in 0..COUNT {
        assert_eq!(tcp.frame().await, Some(Message::Pong("".into())));
    }
    // Only the connection's task can write to a stream in memory, as to one with TLS.
    let mut memory = Local::join(&served.pond, "memory", 1 << 20, None).await;
    tokio::io::AsyncWriteExt::write_all(memory.socket.get_mut(), &pings).await.expect("room");
    for _ in 0..COUNT {
        let frame = timeout(PATIENCE, memory.socket.next()).await.expect("in time");
        assert!(matches!(frame, Some(Ok(Message::Pong(_)))), "{frame:?}");
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_gets_an_answer_to_each_of_its_messages_however_many_it_sends_at_once() {
    const COUNT: usize = 1500;
    let served = served(patient().send_channel_buffer(16));
    let (_server, address) = serve(&served.pond).await;
    let mut tcp = member(address, "tcp", None).await;
    let mut memory = Local::join(&served.pond, "memory", 1 << 20, None).await;
    for event in ["echo", "nothing"] {
        let all: Vec<u8> = (0..COUNT).flat_map(|number| frame(event, number, &json!({ "number": number }))).collect();
        tcp.bytes(&all).await;
        tokio::io::AsyncWriteExt::write_all(memory.socket.get_mut(), &all).await.expect("room");
        for number in 0..COUNT {
            assert_eq!(tcp.next().await["requestId"], json!(format!("r{number}")));
            let message = timeout(PATIENCE, memory.next()).await.expect("in time").expect("open");
            assert_eq!(message["requestId"], json!(format!("r{number}")));
        }
    }
    assert_eq!(served.given_up(), Vec::<String>::new());
}

/// A client that asks and does not read is not read either: it cannot make the server hold more than its bounds allow.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_read_is_given_up_when_it_has_taken_nothing_for_send_timeout() {
    let served = served(Options::default());
    let mut silent = Local::join(&served.pond, "silent", 4096, None).await;
    let asked = Instant::now();
    let (mut most, mut writing) = (0, true);
    let ask = frame("echo", 0, &json!({ "filler": "x".repeat(10_000) }));
    while !served.endpoint.connections().is_empty() {
        if writing {
            let write = tokio::io::AsyncWriteExt::write_all(silent.socket.get_mut(), &ask);
            writing = timeout(SECOND / 10, write).await.is_ok();
        } else {
            sleep(SECOND / 10).await;
        }
        most = most.max(served.pond.snapshot().endpoints[0].waiting_bytes);
        assert!(asked.elapsed() < 60 * SECOND, "it stays");
    }
    assert!(most <= 2 * (1 << 20) + 2 * ask.len(), "{most} bytes waited");
    assert!(asked.elapsed() >= 5 * SECOND && asked.elapsed() <= 7 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(silent.next().await.err(), None, "what it had begun to receive is whole");
}

/// Nothing is delivered while the handler does not wait: what it replies stays in the channel's queue.
#[tokio::test(start_paused = true)]
async fn replies_have_a_place_in_a_channels_queue_up_to_its_hard_limit() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::default().channel_queue_bytes(10_000);
    let served = served(options);
    let lobby = served.endpoint.create_channel("/replies", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("fill", async |ctx: EventContext| {
        while ctx.broadcast("filler", &json!({ "filler": "x".repeat(1000) })).is_ok() {}
        let refused = ctx.reply("fill", &json!({})).expect_err("it is full");
        assert_eq!(refused.code(), 503);
        ctx.channel().ready().await;
        ctx.reply("fill", &json!({ "sent": true }))
    });
    let ada = served.pond.test_client().connect("/?name=ada").await?;
    let room = ada.join("/replies", json!({})).await?;
    assert_eq!(room.request("fill", json!({})).await?, json!({ "sent": true }));
    assert_eq!(served.counted.of("limit_reached"), ["/ channel_queue", "/ channel_queue"]);
    Ok(())
}

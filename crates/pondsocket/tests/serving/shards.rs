//! A server with shards, and ports on which several servers listen.
#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Listener, Options, Payload, PondSocket,
    Result, Server, ServerOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{DEADLINE, EventPeer, HttpClient, OrderLoad, Peer, eventually, serve_with, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::sleep;

/// Enough clients for each of four shards to get one: the probability that one gets none is 10⁻¹².
const MANY: usize = 100;

#[derive(Deserialize)]
struct LaterMessage {
    ms: u64,
    payload: Value,
}

/// A pond with one lobby, in which members are tracked.
fn pond_with(options: Options) -> PondSocket {
    let pond = PondSocket::with_options(options).expect("valid");
    let endpoint = pond.create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| {
        Ok::<_, Error>(ctx.accept().track(&json!({ "shard": shard() })))
    });
    lobby
        .on_event("later", async |ctx: EventContext, Payload(later): Payload<LaterMessage>| {
            sleep(Duration::from_millis(later.ms)).await;
            ctx.broadcast("later", &later.payload)
        })
        .on_event("message", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.broadcast("message", &payload)
        })
        .on_event("ask", async |ctx: EventContext| ctx.reply("answer", &json!({})))
        .on_event("panic", async |_: EventContext| -> Result<()> { panic!("a fault of the application") });
    pond
}

fn pond() -> PondSocket {
    pond_with(Options::default())
}

/// The name of the current thread.
fn shard() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Options with shards, and a page that has the name of the shard.
fn sharded(shards: usize) -> ServerOptions {
    named(shard).shards(shards)
}

/// Options with a page that has this text.
fn named(text: impl Fn() -> String + Send + Sync + 'static) -> ServerOptions {
    ServerOptions::default().metrics("/name", text)
}

fn names(count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("pond-shard-{number}")).collect()
}

async fn ask_over(stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let mut client = HttpClient(stream);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
    let answer = client.rest().await;
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: `{answer}`")).1.trim_end().to_owned()
}

async fn ask(address: SocketAddr, path: &str) -> String {
    ask_over(TcpStream::connect(address).await.expect("it listens"), path).await
}

/// The bodies of the answers to many clients, with their numbers.
async fn ask_often(address: SocketAddr) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..MANY {
        *answers.entry(ask(address, "/name").await).or_default() += 1;
    }
    answers
}

fn texts(answers: &BTreeMap<String, usize>) -> BTreeSet<String> {
    answers.keys().cloned().collect()
}

/// The number of sockets that listen on a port.
fn listening(port: u16) -> usize {
    let table = fs::read_to_string("/proc/self/net/tcp").expect("the table of sockets");
    // The second field is the local address, the fourth the state, 0A for listening.
    let is_one = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == "0A"
    };
    table.lines().skip(1).filter(is_one).count()
}

/// A path for a socket in a new folder.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shards").join(std::process::id().to_string());
    fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

/// Members of one channel, on whatever shards the system has selected for them.
async fn members(address: SocketAddr, count: usize) -> Vec<Peer> {
    let mut members = Vec::new();
    for _ in 0..count {
        let mut peer = Peer::connect(address, "/ws").await;
        let id = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room/1", json!({})).await;
        let answer = peer.until("ACKNOWLEDGE").await;
        assert_eq!(answer["requestId"], json!(id));
        members.push(peer);
    }
    members
}

async fn answers(peer: &mut Peer) {
    let id = peer.event("/room/1", "ask", json!({})).await;
    assert_eq!(peer.until("answer").await["requestId"], json!(id));
}

/// Has the receiver complete when the current thread ends.
fn note_end(end: oneshot::Sender<()>) {
    thread_local! {
        static ENDS: RefCell<Vec<oneshot::Sender<()>>> = const { RefCell::new(Vec::new()) };
    }
    ENDS.with_borrow_mut(|ends| ends.push(end));
}

/// A lobby whose join handlers note the ends of their threads.
fn noting_ends(pond: &PondSocket) -> Arc<Mutex<Vec<oneshot::Receiver<()>>>> {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&ends);
    pond.create_endpoint("/noting", move |ctx: ConnectionContext| {
        let (sender, receiver) = oneshot::channel();
        note_end(sender);
        noted.lock().expect("no panic").push(receiver);
        async move { Ok::<_, Error>(ctx.accept()) }
    });
    ends
}

async fn all_ended(ends: &Mutex<Vec<oneshot::Receiver<()>>>) {
    let ends = std::mem::take(&mut *ends.lock().expect("no panic"));
    assert!(!ends.is_empty());
    for end in ends {
        soon("end of the thread", end).await.expect_err("the thread's values are dropped with it");
    }
}

#[tokio::test]
async fn all_shards_listen_on_the_one_free_port() {
    let (mut server, address) = serve_with(&pond(), sharded(4)).await;
    assert_eq!(server.local_addrs(), [address]);
    assert_eq!(listening(address.port()), 4);
    assert_eq!(texts(&ask_often(address).await), names(4));
    server.stop(DEADLINE).await;
    assert_eq!(listening(address.port()), 0);
}

#[tokio::test]
async fn members_on_different_shards_receive_the_same_messages_in_the_same_order() {
    let (_server, address) = serve_with(&pond(), sharded(3)).await;
    let load = OrderLoad { channels: 8, publishers: 4, receivers: 8, joiners: 2, messages: 36, seed: 0x5eed };
    let deliveries = load.run(address, "/ws", "/room").await;
    assert!(deliveries >= 8 * 8 * 4 * 36, "only {deliveries} deliveries");
}

#[tokio::test]
async fn the_presence_of_a_channel_has_members_of_all_shards() {
    let (_server, address) = serve_with(&pond(), sharded(2)).await;
    let mut members = members(address, 40).await;
    let mut last = Peer::connect(address, "/ws").await;
    last.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room/1", json!({})).await;
    for member in &mut members {
        let list = loop {
            let message = member.until("JOIN").await;
            if message["payload"]["presence"].as_array().is_some_and(|list| list.len() == 41) {
                break message;
            }
        };
        let list = list["payload"]["presence"].as_array().expect("a list");
        let shards = list.iter().map(|presence| presence["shard"].as_str().expect("a name").to_owned());
        assert_eq!(shards.collect::<BTreeSet<_>>(), names(2));
    }
}

#[tokio::test]
async fn requests_of_an_event_stream_reach_it_from_other_shards() {
    let (_server, address) = serve_with(&pond(), sharded(2)).await;
    let mut member = members(address, 1).await.remove(0);
    let mut streams = Vec::new();
    // Each request has a socket of its own: with 16 streams some are on another shard than their stream.
    for number in 0..16 {
        let mut stream = EventPeer::connect(address, "/ws").await;
        let id = stream.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/room/1", json!({})).await;
        assert_eq!(stream.until("ACKNOWLEDGE").await["requestId"], json!(id));
        stream.event("/room/1", "message", json!({ "number": number })).await;
        assert_eq!(member.until("message").await["payload"]["number"], json!(number));
        streams.push(stream);
    }
    for stream in &mut streams {
        assert!(stream.until("message").await["payload"]["number"].is_u64());
    }
}

#[tokio::test]
async fn sockets_of_other_listeners_are_handed_over_to_the_shards_in_turns() {
    let mut server = Server::with_options(pond(), sharded(3)).expect("valid");
    let (socket, foreign) = (path("turns.sock"), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = foreign.local_addr().expect("bound");
    let local = Listener::unix(&socket, 0o600).expect("a free path");
    server.start_on([local, Listener::from_tcp(foreign).expect("non-blocking")]).expect("it starts");
    assert_eq!(listening(address.port()), 1, "the options of its socket are not known");
    let mut answers = BTreeMap::<String, usize>::new();
    for turn in 0..6 {
        let name = match turn % 2 {
            0 => ask(address, "/name").await,
            _ => ask_over(UnixStream::connect(&socket).await.expect("it listens"), "/name").await,
        };
        *answers.entry(name).or_default() += 1;
    }
    assert_eq!(answers, names(3).into_iter().map(|name| (name, 2)).collect());
    server.stop(DEADLINE).await;
    assert!(TcpStream::connect(address).await.is_err() && !socket.exists(), "nobody listens any more");
}

#[tokio::test]
async fn websockets_over_a_handed_over_socket_work() {
    let mut server = Server::with_options(pond(), sharded(2)).expect("valid");
    let foreign = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = foreign.local_addr().expect("bound");
    server.start_on([Listener::from_tcp(foreign).expect("non-blocking")]).expect("it starts");
    let mut members = members(address, 4).await;
    members[0].event("/room/1", "message", json!({ "text": "to all" })).await;
    for member in &mut members {
        assert_eq!(member.until("message").await["payload"]["text"], "to all");
    }
}

#[tokio::test]
async fn a_stop_closes_the_connections_of_all_shards_and_ends_their_threads() {
    let pond = pond();
    let ends = noting_ends(&pond);
    let (mut server, address) = serve_with(&pond, sharded(2)).await;
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(Peer::connect(address, "/noting").await);
    }
    // Each is dropped once it has its close frame, so that the server need not wait for an answer.
    let closed = join_all(clients.into_iter().map(async |mut client: Peer| client.closed().await));
    let (report, closed) = tokio::join!(server.stop(DEADLINE), closed);
    let report = report.expect("it ran");
    assert_eq!((report.closed, report.cut, report.abandoned), (MANY, 0, 0));
    let codes = closed.into_iter().map(|frame| u16::from(frame.expect("a close frame").code));
    assert_eq!(codes.collect::<BTreeSet<_>>(), [1001].into());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    all_ended(&ends).await;
}

#[tokio::test]
async fn a_channel_that_keeps_messages_keeps_no_thread_after_a_stop() {
    let pond = pond();
    let endpoint = pond.create_endpoint("/kept", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    lobby.history(History::new());
    let ends = noting_ends(&pond);
    let (mut server, address) = serve_with(&pond, sharded(2)).await;
    let noted = join_all((0..16).map(|_| Peer::connect(address, "/noting"))).await;
    let mut member = Peer::connect(address, "/kept").await;
    member.join("/room/1", json!({})).await;
    endpoint.channel("/room/1").expect("a name").broadcast("message", &json!({})).expect("room");
    assert_eq!(member.next().await["event"], json!("message"));
    drop((member, noted));
    server.stop(DEADLINE).await;
    assert_eq!(endpoint.channel("/room/1").expect("a name").history(9).len(), 1);
    all_ended(&ends).await;
}

#[tokio::test]
async fn websockets_outlive_a_dropped_server_on_their_shards() {
    let pond = pond();
    let ends = noting_ends(&pond);
    let (server, address) = serve_with(&pond, sharded(2)).await;
    let noted = join_all((0..16).map(|_| Peer::connect(address, "/noting"))).await;
    let mut members = members(address, 8).await;
    drop(server);
    eventually("it no longer listens", || listening(address.port()) == 0).await;
    members[0].event("/room/1", "message", json!({ "text": "still here" })).await;
    for member in &mut members {
        assert_eq!(member.until("message").await["payload"]["text"], "still here");
    }
    drop((members, noted));
    all_ended(&ends).await;
    // The pond can be served again: its timer was not on a shard.
    let (_server, address) = serve_with(&pond, sharded(2)).await;
    answers(&mut self::members(address, 1).await[0]).await;
}

#[tokio::test]
async fn tasks_that_handlers_have_started_run_to_their_end_after_a_stop() {
    let (pond, gate) = (pond(), Arc::new(Semaphore::new(0)));
    let ends = noting_ends(&pond);
    let (sender, finished) = oneshot::channel();
    let (gate_of_task, sender) = (Arc::clone(&gate), Mutex::new(Some(sender)));
    pond.create_endpoint("/task", move |ctx: ConnectionContext| {
        let (gate, sender) = (Arc::clone(&gate_of_task), sender.lock().expect("no panic").take());
        tokio::spawn(async move {
            gate.acquire().await.expect("open").forget();
            sender.expect("one client").send(shard())
        });
        async move { Ok::<_, Error>(ctx.accept()) }
    });
    let (mut server, address) = serve_with(&pond, sharded(1)).await;
    drop((Peer::connect(address, "/noting").await, Peer::connect(address, "/task").await));
    server.stop(DEADLINE).await;
    gate.add_permits(1);
    assert_eq!(soon("end of the task", finished).await.as_deref(), Ok("pond-shard-0"));
    all_ended(&ends).await;
}

#[tokio::test]
async fn pending_sockets_of_all_shards_have_one_limit() {
    let options = sharded(4).max_pending(4).pending_reserve(0).idle_timeout(Duration::MAX);
    let (_server, address) = serve_with(&pond(), options).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut client = HttpClient(TcpStream::connect(address).await.expect("it listens"));
        client.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.until("ok\n").await;
        idle.push(client);
    }
    assert_eq!(ask(address, "/health").await, "ok");
    // One of them was evicted, from whatever shard.
    let ends = idle.iter_mut().map(|client| Box::pin(client.rest()));
    let (rest, evicted, others) = select_all(ends).await;
    drop(others);
    assert_eq!(rest, "");
    idle.remove(evicted);
    for client in &mut idle {
        client.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        client.until("ok\n").await;
    }
}

#[tokio::test]
async fn a_socket_waits_for_a_permit_that_another_shard_gives_back() {
    let patient = Duration::MAX;
    let options = sharded(4).max_pending(2).pending_reserve(0).read_timeout(patient).pressure_timeout(patient);
    let (_server, address) = serve_with(&pond(), options).await;
    let silent = [TcpStream::connect(address).await, TcpStream::connect(address).await];
    // One on each of several shards: none can be evicted, since all have the same address.
    let waiting = (0..20).map(|_| tokio::spawn(async move { ask(address, "/health").await }));
    let waiting: Vec<_> = waiting.collect();
    drop(silent);
    for answer in waiting {
        assert_eq!(answer.await.expect("an answer"), "ok");
    }
}

#[tokio::test]
async fn connections_of_all_shards_have_one_limit() {
    let (_server, address) = serve_with(&pond_with(Options::default().max_connections(8)), sharded(4)).await;
    let mut connected = Vec::new();
    for _ in 0..8 {
        connected.push(Peer::connect(address, "/ws").await);
    }
    for _ in 0..8 {
        assert_eq!(Peer::refused(address, "/ws").await.0, 503);
    }
}

#[tokio::test]
async fn a_client_that_sends_nothing_times_out_on_every_shard() {
    let options = sharded(2).read_timeout(Duration::from_millis(100));
    let (_server, address) = serve_with(&pond(), options).await;
    for _ in 0..8 {
        let silent = TcpStream::connect(address).await.expect("it listens");
        assert_eq!(HttpClient(silent).rest().await, "");
    }
}

#[tokio::test]
async fn a_panic_of_a_handler_affects_no_other_client_of_its_shard() {
    let (_server, address) = serve_with(&pond(), sharded(2)).await;
    let mut members = members(address, 8).await;
    for member in &mut members {
        let id = member.event("/room/1", "panic", json!({})).await;
        let failed = loop {
            let message = member.next().await;
            if message["requestId"] == json!(id) {
                break message;
            }
        };
        assert_eq!(failed["payload"]["code"], json!(500), "{failed}");
    }
    for member in &mut members {
        answers(member).await;
    }
    assert_eq!(texts(&ask_often(address).await), names(2));
}

#[tokio::test]
async fn probes_on_an_admin_listener_are_answered_while_all_shards_are_blocked() {
    let (pond, socket) = (pond(), path("blocked.sock"));
    let blocked = Arc::new(Barrier::new(3));
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let gate = Arc::clone(&blocked);
    pond.create_endpoint("/blocking", move |_: ConnectionContext| {
        arrived.send(shard()).expect("the test waits");
        gate.wait();
        async { Err::<Connected, _>(Error::forbidden("after a while")) }
    });
    let mut server = Server::with_options(pond, sharded(2)).expect("valid");
    let admin = Listener::bind("127.0.0.1:0").await.expect("a free port").admin();
    server.start_on([Listener::unix(&socket, 0o600).expect("a free path"), admin]).expect("it starts");
    let address = server.local_addr().expect("the admin listener");
    let (mut clients, mut shards) = (Vec::new(), BTreeSet::new());
    for _ in 0..2 {
        let mut client = UnixStream::connect(&socket).await.expect("it listens");
        client.write_all(testkit::upgrade("/blocking").as_bytes()).await.expect("it reads");
        clients.push(client);
        shards.insert(soon("the handler", arrivals.recv()).await.expect("a name"));
    }
    assert_eq!(shards, names(2), "both are blocked");
    assert_eq!(ask(address, "/health").await, "ok");
    blocked.wait();
    for mut client in clients {
        let mut answer = [0; 12];
        soon("an answer", client.read_exact(&mut answer)).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 403");
    }
}

#[tokio::test]
async fn a_port_of_shards_is_taken_for_another_server() {
    for shards in [0, 2] {
        let (_server, address) = serve_with(&pond(), sharded(2)).await;
        let mut other = Server::with_options(pond(), sharded(shards)).expect("valid");
        let error = other.start(&address.to_string()).await.expect_err("taken");
        let message = format!("cannot listen on {address}: Address already in use (os error 98)");
        assert_eq!((error.code(), error.message()), (503, &*message));
        assert_eq!(texts(&ask_often(address).await), names(2), "its clients do not notice");
    }
}

#[tokio::test]
async fn two_servers_share_a_port_until_one_of_them_stops() {
    for shards in [0, 2] {
        let (pond, gate) = (pond(), Arc::new(Semaphore::new(0)));
        let (at_gate, (arrived, mut arrival)) = (Arc::clone(&gate), mpsc::unbounded_channel());
        pond.create_endpoint("/gate", move |ctx: ConnectionContext| {
            let gate = Arc::clone(&at_gate);
            arrived.send(()).expect("the test waits");
            async move {
                gate.acquire().await.expect("open").forget();
                Ok::<_, Error>(ctx.accept())
            }
        });
        let old = named(|| "old".into()).reuse_port(true).shards(shards);
        let (mut old, address) = serve_with(&pond, old).await;
        // A client of the old server, which is still served when all new ones reach the other.
        let mut last = HttpClient(TcpStream::connect(address).await.expect("it listens"));
        last.send(testkit::upgrade("/gate")).await;
        soon("client at the gate", arrival.recv()).await.expect("one client");

        let new = named(|| "new".into()).reuse_port(true).shards(shards);
        let mut new = Server::with_options(self::pond(), new).expect("valid");
        new.start(&address.to_string()).await.expect("the port is shared");
        assert_eq!(texts(&ask_often(address).await), ["new".to_owned(), "old".to_owned()].into());

        let stopping = tokio::spawn(async move { old.stop(DEADLINE).await });
        eventually("only one server listens", || listening(address.port()) == shards.max(1)).await;
        assert_eq!(ask_often(address).await, [("new".to_owned(), MANY)].into());
        assert!(!stopping.is_finished(), "the old server has a client");
        gate.add_permits(1);
        last.rest().await;
        soon("end of the old server", stopping).await.expect("no panic");
        assert_eq!(ask_often(address).await, [("new".to_owned(), MANY)].into());
    }
}

#[tokio::test]
async fn connections_in_the_backlog_of_a_server_that_stops_sharing_a_port_are_answered() {
    let (mut server, address) = serve_with(&pond(), ServerOptions::default().reuse_port(true)).await;
    // Until the test waits, the server's task does not run: these connections stay in the backlog.
    let clients = (0..20).map(|_| {
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        client.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it listens");
        client
    });
    let clients: Vec<_> = clients.collect();
    let reading = tokio::task::spawn_blocking(|| {
        let answer = |mut client: std::net::TcpStream| {
            client.set_read_timeout(Some(DEADLINE)).expect("a time");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("an answer and no reset");
            answer
        };
        clients.into_iter().map(answer).collect::<Vec<_>>()
    });
    server.stop(DEADLINE).await;
    for answer in reading.await.expect("all are answered") {
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
}

#[tokio::test]
async fn a_port_is_shared_only_by_servers_that_both_allow_it() {
    for (one, other) in [(true, false), (false, true)] {
        let (_server, address) = serve_with(&pond(), ServerOptions::default().reuse_port(one)).await;
        let mut second = Server::with_options(pond(), ServerOptions::default().reuse_port(other)).expect("valid");
        let error = second.start(&address.to_string()).await.expect_err("taken");
        assert!(error.message().contains("Address already in use"), "{error}");
    }
    let socket = format!("unix:{}", path("shared.sock").display());
    assert_eq!(Listener::bind_reuse_port(&socket).await.expect_err("no port").code(), 503);
}

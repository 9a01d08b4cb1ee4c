//! A proxy that speaks WebSocket itself on both sides answers pings and close frames in place of the client.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EndpointOptions, EventContext, History, JoinContext, Joined, Options,
    PondSocket, Recovery, Result,
};
use serde_json::json;
use testkit::{Peer, Recorder, eventually, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_hdr_async, connect_async};

/// A proxy between clients and the server. Both of its sides answer pings and close frames by themselves.
struct Relay {
    address: SocketAddr,
    state: Arc<RelayState>,
}

#[derive(Default)]
struct RelayState {
    /// The clients are not reached any more.
    is_cut: AtomicBool,
    /// The number of messages of the server that no client has got.
    withheld: AtomicUsize,
}

impl Relay {
    async fn before(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(RelayState::default());
        let relay = Relay { address, state: Arc::clone(&state) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                // A side that has ended ends the other one.
                tokio::spawn(pass_on(stream, server, Arc::clone(&state)));
            }
        });
        relay
    }

    fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    fn withheld(&self) -> usize {
        self.state.withheld.load(Ordering::SeqCst)
    }
}

#[expect(clippy::result_large_err, reason = "the type of the callback is given")]
async fn pass_on(stream: TcpStream, server: SocketAddr, state: Arc<RelayState>) -> std::result::Result<(), Error> {
    let mut path = String::new();
    let note = |request: &Request, response: Response| {
        path = request.uri().to_string();
        Ok(response)
    };
    let mut client = accept_hdr_async(stream, note).await?;
    let (mut upstream, _) = connect_async(format!("ws://{server}{path}")).await?;
    loop {
        tokio::select! {
            Some(message) = upstream.next() => match message? {
                message @ Message::Text(_) if !state.is_cut.load(Ordering::SeqCst) => client.send(message).await?,
                Message::Text(_) => {
                    state.withheld.fetch_add(1, Ordering::SeqCst);
                }
                _ => {}
            },
            Some(message) = client.next() => {
                let message = message?;
                if message.is_text() {
                    upstream.send(message).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

struct Chat {
    endpoint: Endpoint,
    pond: PondSocket,
    recoveries: Arc<Mutex<Vec<Recovery>>>,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("bob").session("6f1e6b1c-session-of-bob"))
}

fn chat(options: Options) -> Chat {
    counted_by(Recorder::default(), options)
}

fn counted_by(recorder: Recorder, options: Options) -> Chat {
    // A ping is due behind each message, if any is.
    let options = options.proof_interval(Duration::ZERO);
    let pond = PondSocket::with_options(options).expect("valid options").metrics(recorder);
    let endpoint = pond.create_endpoint("/api/socket", connect);
    let recoveries = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&recoveries);
    let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
        noted.lock().expect("no panic").push(ctx.recovery());
        async { Ok::<Joined, pondsocket::Error>(ctx.accept()) }
    });
    lobby.history(History::new());
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answered", &json!({})));
    Chat { endpoint, pond, recoveries }
}

impl Chat {
    fn say(&self, n: u64) {
        let channel = self.endpoint.channel("/chat/a").expect("a name");
        channel.broadcast("said", &json!({ "n": n })).expect("room");
    }

    async fn is_left(&self) {
        eventually("the end of the connection", || {
            let endpoint = &self.pond.snapshot().endpoints[0];
            endpoint.connections == 0 && endpoint.closing == 0
        })
        .await;
    }

    /// Joins, and returns what is received up to the message with the number `last`.
    async fn join(&self, address: SocketAddr, last: u64) -> (Peer, Recovery, Vec<u64>) {
        let mut bob = Peer::connect(address, "/api/socket").await;
        bob.join("/chat/a", json!({})).await;
        let recovery = *self.recoveries.lock().expect("no panic").last().expect("a join");
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            numbers.push(bob.next().await["payload"]["n"].as_u64().expect("a number"));
        }
        (bob, recovery, numbers)
    }
}

#[tokio::test]
async fn without_pong_proofs_nothing_is_lost_behind_a_proxy_that_answers_pings() {
    nothing_is_lost_behind_a_proxy(chat(Options::default().pong_proofs(false))).await;
}

/// Only this endpoint is behind such a proxy.
#[tokio::test]
async fn an_endpoint_without_pong_proofs_loses_nothing_behind_a_proxy_that_answers_pings() {
    let mut chat = chat(Options::default());
    chat.endpoint = chat.endpoint.options(EndpointOptions::default().pong_proofs(false));
    nothing_is_lost_behind_a_proxy(chat).await;
}

/// The endpoint is not behind the proxy for which the server has turned proofs off: nothing comes twice.
#[tokio::test]
async fn an_endpoint_with_pong_proofs_repeats_nothing_whatever_the_others_do() {
    let mut chat = chat(Options::default().pong_proofs(false));
    chat.endpoint = chat.endpoint.options(EndpointOptions::default().pong_proofs(true));
    let (_server, address) = serve(&chat.pond).await;
    let mut bob = Peer::connect(address, "/api/socket").await;
    bob.join("/chat/a", json!({})).await;
    chat.say(1);
    assert_eq!(bob.next().await["payload"]["n"], 1);
    // The pong is written with the request, and so read before the reply.
    bob.event("/chat/a", "ask", json!({})).await;
    assert_eq!(bob.next().await["event"], "answered");
    bob.reset();
    chat.is_left().await;
    chat.say(2);
    let (_bob, recovery, numbers) = chat.join(address, 2).await;
    assert_eq!((recovery, numbers), (Recovery::Resumed { missed: 1, may_repeat: 0 }, vec![2]));
}

/// The messages that the proxy had received when it lost the client come again. Were its answers trusted, 2 to 4 would be lost.
async fn nothing_is_lost_behind_a_proxy(chat: Chat) {
    let (_server, address) = serve(&chat.pond).await;
    let relay = Relay::before(address).await;
    let mut bob = Peer::connect(relay.address, "/api/socket").await;
    bob.join("/chat/a", json!({})).await;
    chat.say(1);
    assert_eq!(bob.next().await["payload"]["n"], 1);
    relay.cut();
    for n in 2..5 {
        chat.say(n);
    }
    // Behind the reply the proxy has answered what was ahead of it, too.
    for withheld in [4, 5] {
        bob.event("/chat/a", "ask", json!({})).await;
        eventually("the reply", || relay.withheld() == withheld).await;
    }
    bob.reset();
    chat.is_left().await;
    chat.say(5);
    let (_bob, recovery, numbers) = chat.join(address, 5).await;
    assert_eq!((recovery, numbers), (Recovery::Resumed { missed: 5, may_repeat: 4 }, vec![1, 2, 3, 4, 5]));
}

/// A close frame that the proxy answers proves nothing either.
#[tokio::test]
async fn without_pong_proofs_an_answer_to_a_close_frame_proves_nothing() {
    let chat = chat(Options::default().pong_proofs(false));
    let (_server, address) = serve(&chat.pond).await;
    let mut bob = Peer::connect(address, "/api/socket").await;
    bob.join("/chat/a", json!({})).await;
    chat.say(1);
    assert_eq!(bob.next().await["payload"]["n"], 1);
    let id = bob.id.clone();
    chat.endpoint.connection(&id).expect("connected").disconnect();
    assert!(bob.closed().await.is_some());
    // tungstenite answers the close frame when it is read on.
    assert_eq!(bob.frame().await, None);
    chat.is_left().await;
    let (_bob, recovery, numbers) = chat.join(address, 1).await;
    assert_eq!((recovery, numbers), (Recovery::Resumed { missed: 1, may_repeat: 1 }, vec![1]));
}

/// The connection before may be one that only a proxy keeps open, so it does not stand in the way.
#[tokio::test]
async fn without_pong_proofs_a_client_that_comes_back_ends_its_connection_before() {
    let chat = chat(Options::default().pong_proofs(false));
    let (_server, address) = serve(&chat.pond).await;
    let mut before = Peer::connect(address, "/api/socket").await;
    before.join("/chat/a", json!({})).await;
    chat.say(1);
    // It is read, so that it answers pings.
    let before = tokio::spawn(async move { before.closed().await });
    let (_bob, recovery, numbers) = chat.join(address, 1).await;
    assert_eq!((recovery, numbers), (Recovery::Resumed { missed: 1, may_repeat: 1 }, vec![1]));
    let close = before.await.expect("no panic").expect("a close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1008, "superseded"));
}

/// The command with which operators test a proxy: `curl` answers no ping.
fn check(address: SocketAddr) -> Command {
    const PAGE: &str = include_str!("../../../../docs/operations.md");
    let command = PAGE
        .split("```sh\n")
        .find_map(|block| block.split_once("\n```").map(|(code, _)| code).filter(|code| code.starts_with("curl ")));
    let command = command.expect("the command").replace("https://chat.example.com", &format!("http://{address}"));
    let mut check = Command::new("sh");
    check.args(["-c", &command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    check
}

/// The server ends a client that answers no pings, unless a proxy answers them.
#[tokio::test]
async fn the_command_of_the_page_tells_whether_a_proxy_answers_pings() {
    let recorder = Recorder::default();
    let (interval, wait) = (Duration::from_millis(100), Duration::from_millis(400));
    let options = Options::default().ping_interval(interval).pong_wait(wait);
    let chat = counted_by(recorder.clone(), options);
    let (_server, address) = serve(&chat.pond).await;
    let ended = check(address).status().await.expect("curl");
    assert!(ended.success(), "the server ends the connection: {ended}");
    assert_eq!(recorder.of("connection_closed").len(), 1);
    assert!(recorder.of("connection_closed")[0].ends_with(" silent"), "{:?}", recorder.of("connection_closed"));

    let relay = Relay::before(address).await;
    let mut curl = check(relay.address).spawn().expect("curl");
    eventually("a connection", || recorder.of("connection_opened").len() == 2).await;
    // A client that answers nothing, and is there for as long: it is ended, and the one behind the proxy is not.
    let ended = check(address).status().await.expect("curl");
    assert!(ended.success(), "{ended}");
    assert_eq!(recorder.of("connection_closed").len(), 2);
    assert!(curl.try_wait().expect("our child").is_none(), "behind the proxy it is still there");
    curl.kill().await.expect("our child");
}

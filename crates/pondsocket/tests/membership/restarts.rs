//! Histories and sessions outlive a server that is shut down, by a file.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::testing::bus::MemoryHub;
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, GapReason, History, JoinContext, Joined, Options,
    Outgoing, OutgoingContext, Payload, PondSocket, Recovery, Result, Server, Shutdown,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Peer, eventually, serve};

const KEY: &str = "6f1e6b1c-session-of-bob";

/// A folder for the file of some servers, one after the other.
struct Deployment(TempDir);

impl Deployment {
    fn new() -> Deployment {
        Deployment(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("histories")
    }

    fn options(&self) -> Options {
        Options::default().proof_interval(Duration::ZERO).history_file(self.file())
    }

    /// The next server, with the same application.
    fn next(&self) -> Chat {
        Chat::new(self.options(), History::new())
    }
}

struct Chat {
    pond: PondSocket,
    endpoint: Endpoint,
    recoveries: Arc<Mutex<Vec<Recovery>>>,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let (user, key) = (ctx.query("user").unwrap_or("ada").to_owned(), ctx.query("key").unwrap_or_default().to_owned());
    Ok(ctx.accept().user_id(&user).session(&key))
}

impl Chat {
    fn new(options: Options, history: History) -> Chat {
        let pond = PondSocket::with_options(options).expect("valid options");
        let endpoint = pond.create_endpoint("/", connect);
        let recoveries = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&recoveries);
        let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
            noted.lock().expect("no panic").push(ctx.recovery());
            async { Ok::<Joined, Error>(ctx.accept()) }
        });
        lobby.history(history);
        lobby.on_event("ask", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.reply("answered", &payload)
        });
        lobby.on_event("say", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.broadcast_from("said", &payload).map(drop)
        });
        Chat { pond, endpoint, recoveries }
    }

    async fn serve(&self) -> (Server, SocketAddr) {
        serve(&self.pond).await
    }

    fn say(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            self.endpoint.channel("/chat/a").expect("a name").broadcast("said", &json!({ "n": n })).expect("room");
        }
    }

    /// The last recovery that the join handler has seen.
    fn recovery(&self) -> Recovery {
        *self.recoveries.lock().expect("no panic").last().expect("a join")
    }

    fn position(&self) -> String {
        self.endpoint.channel("/chat/a").expect("a name").position().expect("open").to_string()
    }

    async fn stop(&self) {
        self.pond.shutdown(Duration::from_secs(5)).await;
    }
}

async fn join(address: SocketAddr, path: &str, payload: Value) -> Peer {
    let mut peer = Peer::connect(address, path).await;
    peer.join("/chat/a", payload).await;
    peer
}

/// Joins with a position, and returns it as a client that knows the last one.
async fn ada(address: SocketAddr, position: &str) -> Peer {
    join(address, "/?user=ada", json!({ "$resume": position })).await
}

/// Joins as a client that knows nothing of positions.
async fn bob(address: SocketAddr) -> Peer {
    join(address, &format!("/?user=bob&key={KEY}"), json!({})).await
}

/// The numbers of the next messages, and the position of the last one.
async fn numbers(peer: &mut Peer, count: usize) -> (Vec<u64>, String) {
    let (mut numbers, mut position) = (Vec::new(), String::new());
    for _ in 0..count {
        let message = peer.next().await;
        assert_eq!(message["event"], json!("said"), "{message}");
        numbers.push(message["payload"]["n"].as_u64().expect("a number"));
        position = message["requestId"].as_str().expect("a position").to_owned();
    }
    (numbers, position)
}

/// Reads the close frame, and answers it.
async fn close(peer: &mut Peer) -> Option<u16> {
    let code = peer.closed().await.map(|frame| frame.code.into());
    assert_eq!(peer.frame().await, None);
    code
}

fn resumed(missed: usize, may_repeat: usize) -> Recovery {
    Recovery::Resumed { missed, may_repeat }
}

fn gap(recovery: Recovery) -> String {
    match recovery {
        Recovery::Gap(reason) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn clients_resume_at_the_next_server_as_if_it_were_the_same() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    let (mut ada_before, mut bob_before) = (ada(address, "").await, bob(address).await);
    let mut lost = join(address, &format!("/?user=cy&key={KEY}-cy"), json!({})).await;
    chat.say(1..4);
    let (_, position) = numbers(&mut ada_before, 3).await;
    for peer in [&mut bob_before, &mut lost] {
        assert_eq!(numbers(peer, 3).await.0, [1, 2, 3]);
        peer.nothing_before_reply("/chat/a", "ask").await;
    }
    for peer in [ada_before, lost] {
        peer.reset();
    }
    eventually("the loss is noticed", || chat.pond.snapshot().endpoints[0].connections == 1).await;
    chat.say(4..6);
    let (_, closed) = tokio::join!(chat.pond.shutdown(Shutdown::within(Duration::from_secs(5)).for_restart()), async {
        assert_eq!(numbers(&mut bob_before, 2).await.0, [4, 5]);
        close(&mut bob_before).await
    });
    assert_eq!(closed, Some(1012));

    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    assert!(!deployment.file().exists(), "it is used once");
    let mut ada = ada(address, &position).await;
    assert_eq!(chat.recovery(), resumed(2, 0));
    let mut bob = bob(address).await;
    assert_eq!(chat.recovery(), resumed(0, 0), "it has answered the close frame");
    let mut cy = join(address, &format!("/?user=cy&key={KEY}-cy"), json!({})).await;
    assert_eq!(chat.recovery(), resumed(2, 0));
    chat.say(6..7);
    assert_eq!(numbers(&mut ada, 3).await.0, [4, 5, 6]);
    assert_eq!(numbers(&mut cy, 3).await.0, [4, 5, 6]);
    let (last, sixth) = numbers(&mut bob, 1).await;
    let epoch = position.split('.').next().expect("an epoch");
    assert_eq!((last, sixth), (vec![6], format!("{epoch}.6")), "offsets go on");
}

#[tokio::test]
async fn a_file_is_used_by_one_server_only() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    let copy = fs::read(deployment.file()).expect("written");
    let (first, second) = (deployment.next(), deployment.next());
    let (_first_server, address) = first.serve().await;
    let (_second_server, other) = second.serve().await;
    ada(address, &position).await;
    ada(other, &position).await;
    assert_eq!((first.recovery(), gap(second.recovery())), (resumed(0, 0), "epoch".to_owned()));
    // The second one has started later. Who resumes there would miss what it has sent, if the first one's histories came back.
    first.stop().await;
    assert!(!deployment.file().exists(), "it is not the owner any more");
    second.stop().await;
    assert_ne!(fs::read(deployment.file()).expect("written"), copy);
}

#[tokio::test]
async fn what_nobody_has_asked_for_goes_on_to_the_next_server() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    // Neither of them has a client. The second one has not even been served.
    let chat = deployment.next();
    let (mut server, _) = chat.serve().await;
    server.stop(Duration::from_secs(5)).await;
    deployment.next().stop().await;
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    let mut ada = ada(address, &position).await;
    assert_eq!(chat.recovery(), resumed(0, 0));
    chat.say(3..4);
    assert_eq!(numbers(&mut ada, 1).await.0, [3]);
}

#[tokio::test]
async fn messages_ahead_of_the_first_client_go_on_in_the_same_history() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    let chat = deployment.next();
    chat.say(3..4);
    let texts: Vec<Value> = chat
        .endpoint
        .channel("/chat/a")
        .expect("a name")
        .history(9)
        .iter()
        .map(|kept| kept.payload().expect("JSON"))
        .collect();
    assert_eq!(texts, [json!({ "n": 1 }), json!({ "n": 2 }), json!({ "n": 3 })]);
    let (_server, address) = chat.serve().await;
    let mut ada = ada(address, &position).await;
    assert_eq!(numbers(&mut ada, 1).await.0, [3]);
}

#[tokio::test]
async fn a_mounted_server_goes_on_with_endpoints_that_are_created_later() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    let pond = PondSocket::with_options(deployment.options()).expect("valid options");
    let app = axum::Router::new().fallback_service(pond.service());
    assert!(!deployment.file().exists());
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/chat/:room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.history(History::new());
    lobby.on_outgoing("said", |_: &OutgoingContext| Outgoing::Block);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(axum::serve(listener, app).into_future());
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/chat/a", json!({ "$resume": position.replace(".2", ".0") })).await;
    endpoint.channel("/chat/a").expect("a name").broadcast("other", &json!({})).expect("room");
    assert_eq!(ada.next().await["event"], json!("other"), "the handlers of this server decide about the others");
    assert_eq!(endpoint.channel("/chat/a").expect("a name").history(9).len(), 3);
    pond.shutdown(Duration::ZERO).await;
    assert!(deployment.file().exists());
}

#[tokio::test]
async fn a_sender_does_not_get_its_own_message_back() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    let mut sender = ada(address, "").await;
    let position = chat.position();
    sender.event("/chat/a", "say", json!({ "n": 1 })).await;
    sender.nothing_before_reply("/chat/a", "ask").await;
    sender.reset();
    chat.stop().await;
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    ada(address, &position).await;
    assert_eq!(chat.recovery(), resumed(0, 0));
    join(address, "/?user=eve", json!({ "$resume": position })).await;
    assert_eq!(chat.recovery(), resumed(1, 0));
}

#[tokio::test]
async fn the_rules_and_lobbies_of_the_next_server_apply() {
    let second = History::new().messages(1);
    for (history, pattern, expected) in [
        (second.clone(), "/chat/:room", resumed(1, 0)),
        (second, "/:kind/:room", resumed(1, 0)),
        (History::new().ttl(Duration::from_millis(1)), "/chat/:room", Recovery::Gap(GapReason::Epoch)),
        (History::new().stamp("_pos"), "/chat/:room", Recovery::Gap(GapReason::Epoch)),
        (History::new(), "/rooms/:room", Recovery::New),
    ] {
        let deployment = Deployment::new();
        let chat = deployment.next();
        chat.say(1..4);
        let position = chat.position().replace(".3", ".2");
        chat.stop().await;
        tokio::time::sleep(Duration::from_millis(5)).await;

        let pond = PondSocket::with_options(deployment.options()).expect("valid options");
        let endpoint = pond.create_endpoint("/", connect);
        let outcome = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&outcome);
        let join = move |ctx: JoinContext| {
            *noted.lock().expect("no panic") = Some(ctx.recovery());
            async { Ok::<Joined, Error>(ctx.accept()) }
        };
        endpoint.create_channel(pattern, join.clone()).history(history.clone());
        if pattern == "/rooms/:room" {
            endpoint.create_channel("/chat/:room", join);
        }
        let (_server, address) = serve(&pond).await;
        ada(address, &position).await;
        assert_eq!(*outcome.lock().expect("no panic"), Some(expected), "{pattern} {history:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_too_old_is_ignored() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let chat = Chat::new(deployment.options().resume_window(Duration::from_millis(10)), History::new());
    let (_server, address) = chat.serve().await;
    ada(address, &position).await;
    assert_eq!(gap(chat.recovery()), "epoch");
    assert!(!deployment.file().exists());
}

/// Writes other bytes in place of a file, with other permissions.
fn replace(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("written");
}

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_is_refused() {
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 5] = [
        ("truncated", |path| replace(path, &fs::read(path).expect("a file")[..300])),
        ("changed", |path| {
            let text = fs::read_to_string(path).expect("a file");
            assert!(text.contains(r#""n":1"#));
            replace(path, text.replace(r#""n":1"#, r#""n":7"#).as_bytes());
        }),
        ("foreign", |path| replace(path, b"root:x:0:0:root:/root:/bin/bash\n")),
        ("empty", |path| replace(path, b"")),
        ("directory", |path| {
            fs::remove_file(path).expect("a file");
            fs::create_dir(path).expect("a folder");
        }),
    ];
    for (how, spoil) in spoil {
        let deployment = Deployment::new();
        let chat = deployment.next();
        chat.say(1..3);
        let position = chat.position();
        chat.stop().await;
        spoil(&deployment.file());
        let chat = deployment.next();
        let (_server, address) = chat.serve().await;
        ada(address, &position).await;
        assert_eq!(gap(chat.recovery()), "epoch", "{how}");
        assert!(deployment.file().exists(), "{how}: it may not be ours");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_readable_by_its_owner_only_and_not_read_if_others_can_write_it() {
    use std::os::unix::fs::PermissionsExt;

    let deployment = Deployment::new();
    let chat = deployment.next();
    chat.say(1..3);
    let position = chat.position();
    chat.stop().await;
    let mode = fs::metadata(deployment.file()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(deployment.file(), fs::Permissions::from_mode(0o622)).expect("ours");
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    ada(address, &position).await;
    assert_eq!(gap(chat.recovery()), "epoch");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_does_not_hold_up_the_shutdown() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    let client = ada(address, "").await;
    fs::remove_dir_all(deployment.0.path()).expect("ours");
    client.reset();
    let report = tokio::time::timeout(Duration::from_secs(10), chat.pond.shutdown(Duration::from_secs(5))).await;
    assert_eq!(report.expect("in time").cut, 0);
    // It does not start with a file that it cannot write either, and serves its clients all the same.
    let chat = deployment.next();
    let (_server, address) = chat.serve().await;
    ada(address, "").await;
    assert_eq!(chat.recovery(), Recovery::New);
}

#[tokio::test]
async fn over_the_limit_of_all_histories_the_newest_messages_go_on() {
    let deployment = Deployment::new();
    let chat = deployment.next();
    let filler = "x".repeat(3000);
    for room in ["a", "b"] {
        let channel = chat.endpoint.channel(&format!("/chat/{room}")).expect("a name");
        for _ in 0..3 {
            channel.broadcast("said", &json!({ "filler": filler })).expect("room");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let position = chat.position().replace(".3", ".0");
    chat.stop().await;
    let chat = Chat::new(deployment.options().history_bytes(15_500), History::new());
    let (_server, address) = chat.serve().await;
    ada(address, &position).await;
    // Nothing of it is left, so it has ended, as any channel without members and messages.
    assert_eq!(gap(chat.recovery()), "epoch");
    assert_eq!(chat.endpoint.channel("/chat/b").expect("a name").history(9).len(), 3);
    assert!(chat.pond.snapshot().history.used <= 15_500);
}

#[test]
fn a_file_and_a_bus_exclude_each_other() {
    let options = Options::default().bus(MemoryHub::new().node()).history_file("histories");
    let error = PondSocket::with_options(options).expect_err("refused");
    assert_eq!(error.message(), "history_file cannot be combined with a bus");
    let error = PondSocket::with_options(Options::default().history_file("..")).expect_err("refused");
    assert_eq!(error.message(), "history_file must be the path of a file");
}

//! Clients with a session that come back while something is slow: the join handler, the thread of their older connection, or
//! the upgrade of the new one. They miss nothing silently.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pondsocket::metrics::ConnectionInfo;
use pondsocket::{
    Endpoint, Error, EventContext, GapReason, History, Hooks, JoinContext, Joined, Options, PondSocket, Recovery,
    Result,
};
use serde_json::{Value, json};
use testkit::{BOB, EventPeer, Peer, SessionChat, connect_session, eventually, resumed, serve};
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(20);

/// A chat whose join handlers wait until they are let go on, as for a database. A client that has not recovered gets a snapshot.
struct SlowChat {
    pond: PondSocket,
    endpoint: Endpoint,
    seen: Arc<Mutex<Vec<Recovery>>>,
    gate: Arc<Semaphore>,
}

fn slow_chat_with(options: Options, history: History) -> SlowChat {
    let pond = PondSocket::with_options(options.proof_interval(Duration::ZERO)).expect("valid options");
    let endpoint = pond.create_endpoint("/", connect_session);
    let (seen, gate) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(Semaphore::new(0)));
    let (noted, waits) = (Arc::clone(&seen), Arc::clone(&gate));
    let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(ctx.recovery());
        let waits = Arc::clone(&waits);
        async move {
            let asked = ctx.payload::<Value>()?;
            let position = ctx.position();
            waits.acquire().await.expect("open").forget();
            let recovered = ctx.recovered();
            let joined = ctx.accept();
            Ok::<Joined, Error>(match asked["always"] == true {
                true => joined.reply("snapshot", &json!({})).replay_from(position),
                false if recovered => joined,
                false => joined.reply("snapshot", &json!({})),
            })
        }
    });
    lobby.history(history);
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answered", &json!({})));
    SlowChat { pond, endpoint, seen, gate }
}

fn slow_chat() -> SlowChat {
    slow_chat_with(Options::default(), History::new().messages(4))
}

impl SlowChat {
    fn say(&self, numbers: std::ops::Range<u64>) {
        let channel = self.endpoint.channel("/chat/a").expect("a name");
        for n in numbers {
            channel.broadcast("said", &json!({ "n": n })).expect("room");
        }
    }

    fn seen(&self) -> Vec<Recovery> {
        self.seen.lock().expect("no panic").clone()
    }

    async fn until_seen(&self, joins: usize) {
        eventually("the join handler runs", || self.seen().len() == joins).await;
    }

    /// Bob has received the first three messages, and has missed the next three.
    async fn bob_has_missed_three(&self, address: SocketAddr) {
        let mut bob = Peer::connect(address, BOB).await;
        self.gate.add_permits(1);
        bob.join("/chat/a", json!({})).await;
        assert_eq!(bob.next().await["event"], "snapshot");
        self.say(1..4);
        assert_eq!(bob.numbers(3).await, [1, 2, 3]);
        bob.nothing_before_reply("/chat/a", "ask").await;
        bob.reset();
        eventually("the loss is noticed", || self.pond.snapshot().endpoints[0].connections == 0).await;
        self.say(4..7);
    }
}

#[tokio::test]
async fn a_gap_that_opens_while_the_join_handler_runs_is_seen_by_a_second_run() {
    let chat = slow_chat();
    let (_server, address) = serve(&chat.pond).await;
    chat.bob_has_missed_three(address).await;
    let mut bob = Peer::connect(address, BOB).await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    chat.until_seen(2).await;
    // More than twice of what the history keeps.
    chat.say(7..43);
    chat.gate.add_permits(2);
    assert_eq!(bob.next().await["event"], "ACKNOWLEDGE");
    assert_eq!(bob.next().await["event"], "snapshot");
    chat.say(43..44);
    assert_eq!(bob.numbers(1).await, [43]);
    assert_eq!(chat.seen(), [Recovery::New, resumed(3, 0), Recovery::Gap(GapReason::Trimmed)]);
    // The position is used up.
    bob.leave("/chat/a").await;
    chat.gate.add_permits(1);
    bob.join("/chat/a", json!({})).await;
    assert_eq!(chat.seen()[3..], [Recovery::New]);
}

#[tokio::test]
async fn a_gap_that_opens_while_the_join_handler_of_an_event_stream_runs_is_seen_by_a_second_run() {
    let chat = slow_chat();
    let (_server, address) = serve(&chat.pond).await;
    chat.bob_has_missed_three(address).await;
    let mut bob = EventPeer::connect(address, BOB).await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    chat.until_seen(2).await;
    chat.say(7..43);
    chat.gate.add_permits(2);
    bob.until("ACKNOWLEDGE").await;
    assert_eq!(bob.next().await["event"], "snapshot");
    chat.say(43..44);
    assert_eq!(bob.numbers(1).await, [43]);
    assert_eq!(chat.seen()[1..], [resumed(3, 0), Recovery::Gap(GapReason::Trimmed)]);
}

#[tokio::test]
async fn a_history_that_is_emptied_while_the_join_handler_runs_is_a_gap_for_a_second_run() {
    let options = Options::default().history_bytes(64 * 1024);
    let chat = slow_chat_with(options, History::new().bytes(60 * 1024));
    let (_server, address) = serve(&chat.pond).await;
    chat.bob_has_missed_three(address).await;
    let mut bob = Peer::connect(address, BOB).await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    chat.until_seen(2).await;
    // More than all histories may have, while there is no other one that could be emptied.
    let own = chat.endpoint.channel("/chat/a").expect("a name");
    for _ in 0..35 {
        own.broadcast("said", &json!({ "filler": "x".repeat(2000) })).expect("room");
    }
    eventually("it is emptied", || own.history(9).is_empty()).await;
    chat.gate.add_permits(2);
    assert_eq!(bob.next().await["event"], "ACKNOWLEDGE");
    assert_eq!(bob.next().await["event"], "snapshot");
    assert_eq!(chat.seen()[1..], [resumed(3, 0), Recovery::Gap(GapReason::Trimmed)]);
}

#[tokio::test]
async fn a_user_that_is_evicted_while_the_join_handler_runs_joins_as_a_new_one() {
    let chat = slow_chat();
    let (_server, address) = serve(&chat.pond).await;
    let mut other = Peer::connect(address, "/?user=bob").await;
    chat.gate.add_permits(1);
    other.join("/chat/a", json!({})).await;
    let mut bob = Peer::connect(address, BOB).await;
    chat.gate.add_permits(1);
    bob.join("/chat/a", json!({})).await;
    assert_eq!(bob.next().await["event"], "snapshot");
    bob.nothing_before_reply("/chat/a", "ask").await;
    bob.reset();
    eventually("the loss is noticed", || chat.pond.snapshot().endpoints[0].connections == 1).await;
    chat.say(1..3);
    let mut bob = Peer::connect(address, BOB).await;
    bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    chat.until_seen(3).await;
    chat.endpoint.channel("/chat/a").expect("a name").evict("bob", "no more").await.expect("a member");
    chat.gate.add_permits(2);
    bob.until("ACKNOWLEDGE").await;
    assert_eq!(bob.next().await["event"], "snapshot");
    assert_eq!(chat.seen()[2..], [resumed(2, 0), Recovery::New]);
}

#[tokio::test]
async fn the_join_handler_runs_once_for_a_client_that_is_told_of_the_gap_itself_or_gets_a_snapshot_in_any_case() {
    for always in [true, false] {
        let chat = slow_chat();
        let (_server, address) = serve(&chat.pond).await;
        chat.bob_has_missed_three(address).await;
        let position = chat.endpoint.channel("/chat/a").expect("a name").position().expect("open").to_string();
        let mut bob = Peer::connect(address, BOB).await;
        let payload = if always { json!({ "always": true }) } else { json!({ "$resume": position }) };
        bob.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", payload).await;
        chat.until_seen(2).await;
        // What the handler holds is there all the same.
        chat.say(7..if always { 9 } else { 43 });
        chat.gate.add_permits(1);
        let answer = bob.next().await;
        if always {
            assert_eq!(
                (&answer["event"], bob.next().await["event"].as_str()),
                (&json!("ACKNOWLEDGE"), Some("snapshot"))
            );
            assert_eq!(bob.numbers(2).await, [7, 8]);
        } else {
            assert_eq!(answer["payload"]["gap"], "trimmed", "{answer}");
        }
        assert_eq!(chat.seen().len(), 2);
    }
}

/// Something that holds its thread until the test lets it go on.
#[derive(Clone)]
struct Blocker {
    begun: Arc<Semaphore>,
    go_on: Arc<Mutex<Receiver<()>>>,
}

impl Blocker {
    fn new() -> (Blocker, Sender<()>) {
        let (go_on, waits) = channel();
        (Blocker { begun: Arc::new(Semaphore::new(0)), go_on: Arc::new(Mutex::new(waits)) }, go_on)
    }

    fn block(&self) {
        self.begun.add_permits(1);
        let _ = self.go_on.lock().expect("no panic").recv_timeout(LONG);
    }

    async fn until_begun(&self) {
        tokio::time::timeout(LONG, self.begun.acquire()).await.expect("in time").expect("open").forget();
        // Another thread of the runtime wakes, and looks after the sockets in place of the one that is blocked.
        tokio::spawn(async {}).await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_whose_older_connection_does_not_get_to_run_misses_nothing() {
    let chat = slow_chat_with(Options::default(), History::new());
    let (blocker, go_on) = Blocker::new();
    let blocks = blocker.clone();
    let lobby = chat.endpoint.create_channel("/busy/:room", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("block", move |_: EventContext| {
        blocks.block();
        async {}
    });
    let (_server, address) = serve(&chat.pond).await;
    let mut older = Peer::connect(address, BOB).await;
    chat.gate.add_permits(9);
    older.join("/chat/a", json!({})).await;
    assert_eq!(older.next().await["event"], "snapshot");
    older.join("/busy/a", json!({})).await;
    chat.say(1..3);
    assert_eq!(older.numbers(2).await, [1, 2]);
    older.nothing_before_reply("/chat/a", "ask").await;
    older.event("/busy/a", "block", json!({})).await;
    blocker.until_begun().await;
    older.reset();
    chat.say(3..5);
    let mut bob = Peer::connect(address, BOB).await;
    bob.join("/chat/a", json!({})).await;
    // All of it may have arrived: the older connection cannot say what it was sent.
    assert_eq!(chat.seen().last(), Some(&resumed(2, 2)));
    assert_eq!(bob.numbers(2).await, [3, 4]);
    bob.nothing_before_reply("/chat/a", "ask").await;
    go_on.send(()).expect("it waits");
    eventually("the older one has ended", || chat.pond.snapshot().endpoints[0].connections == 1).await;
    // The session is that of the new one.
    bob.reset();
    eventually("the loss is noticed", || chat.pond.snapshot().endpoints[0].connections == 0).await;
    chat.say(5..6);
    let mut bob = Peer::connect(address, BOB).await;
    bob.join("/chat/a", json!({})).await;
    assert_eq!(chat.seen().last(), Some(&resumed(1, 0)));
    assert_eq!(bob.numbers(1).await, [5]);
}

/// Blocks connects of Bob once that is armed.
struct SlowConnects(Blocker, Arc<Semaphore>);

impl Hooks for SlowConnects {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        if connection.user_id() == "bob"
            && let Ok(armed) = self.1.try_acquire()
        {
            armed.forget();
            self.0.block();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_comes_back_keeps_its_place_among_the_sessions() {
    let (blocker, go_on) = Blocker::new();
    let armed = Arc::new(Semaphore::new(0));
    let options = Options::default().proof_interval(Duration::ZERO).max_sessions(1);
    let pond = PondSocket::with_options(options).expect("valid options");
    let pond = pond.hooks(SlowConnects(blocker.clone(), Arc::clone(&armed)));
    let endpoint = pond.create_endpoint("/", connect_session);
    let seen = Arc::<Mutex<Vec<_>>>::default();
    let noted = Arc::clone(&seen);
    let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
        noted.lock().expect("no panic").push((ctx.user_id().to_owned(), ctx.recovery()));
        async { Ok::<Joined, Error>(ctx.accept()) }
    });
    lobby.history(History::new());
    let (_server, address) = serve(&pond).await;
    let connections = || pond.snapshot().endpoints[0].connections;
    let bob = async || {
        let mut bob = Peer::connect(address, BOB).await;
        bob.join("/chat/a", json!({})).await;
        bob
    };
    bob().await.reset();
    eventually("the loss is noticed", || connections() == 0).await;
    armed.add_permits(1);
    let (mut again, _eve) = tokio::join!(bob(), async {
        blocker.until_begun().await;
        // A new client comes before the connection of the other one has begun.
        let mut eve = Peer::connect(address, "/?user=eve&key=6f1e6b1c-session-of-eve").await;
        eve.join("/chat/a", json!({})).await;
        go_on.send(()).expect("it waits");
        eve
    });
    endpoint.channel("/chat/a").expect("a name").broadcast("said", &json!({ "n": 1 })).expect("room");
    assert_eq!(again.numbers(1).await, [1]);
    again.reset();
    eventually("the loss is noticed", || connections() == 1).await;
    let mut again = bob().await;
    let bobs = seen.lock().expect("no panic").clone().into_iter().filter(|(user, _)| user == "bob");
    let recoveries: Vec<_> = bobs.map(|(_, recovery)| recovery.is_complete()).collect();
    assert_eq!(recoveries, [false, true, true]);
    assert_eq!(again.numbers(1).await, [1]);
    assert_eq!(pond.snapshot().endpoints[0].sessions, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_connections_that_are_made_at_the_same_time_the_later_attempt_has_the_session() {
    for is_lost in [true, false] {
        let (blocker, go_on) = Blocker::new();
        let armed = Arc::new(Semaphore::new(0));
        let options = Options::default().proof_interval(Duration::ZERO);
        let hooks = SlowConnects(blocker.clone(), Arc::clone(&armed));
        let chat = SessionChat::with_hooks(options, History::new(), hooks);
        let (_server, address) = serve(&chat.pond).await;
        let bob = async || {
            let mut bob = Peer::connect(address, BOB).await;
            bob.join("/chat/a", json!({})).await;
            bob
        };
        bob().await.reset();
        chat.is_empty().await;
        chat.say(1..3);
        armed.add_permits(1);
        let (mut first, second) = tokio::join!(Peer::connect(address, BOB), async {
            blocker.until_begun().await;
            // The page gives up, and connects again, while its first attempt is still on its way.
            let mut second = bob().await;
            assert_eq!((chat.recovery(), second.numbers(2).await), (resumed(2, 0), vec![1, 2]));
            second.nothing_before_reply("/chat/a", "ask").await;
            let second = if is_lost {
                second.reset();
                chat.is_empty().await;
                None
            } else {
                Some(second)
            };
            chat.say(3..5);
            go_on.send(()).expect("it waits");
            second
        });
        let mut goes_on = if let Some(second) = second {
            assert_eq!(first.closed().await.map(|frame| u16::from(frame.code)), Some(1008));
            second
        } else {
            // It goes on where the other one was.
            first.join("/chat/a", json!({})).await;
            assert_eq!(chat.recovery(), resumed(2, 0));
            first
        };
        assert_eq!(goes_on.numbers(2).await, [3, 4]);
        goes_on.nothing_before_reply("/chat/a", "ask").await;
        goes_on.reset();
        chat.is_empty().await;
        bob().await;
        assert_eq!(chat.recovery(), resumed(0, 0));
    }
}

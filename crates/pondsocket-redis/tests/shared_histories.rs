//! Two servers that share the histories of their channels over a real Redis, and clients that know their positions.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pondsocket::cluster::Bus;
use pondsocket::{
    ConnectionContext, Error, EventContext, History, JoinContext, Joined, Options, Payload, PondSocket, Position,
    Result, Server, Shutdown,
};
use pondsocket_redis::RedisBus;
use serde_json::{Value, json};
use support::options;
use testkit::{DEADLINE, Peer, RedisServer, eventually, serve};
use tokio::time::{Instant, timeout};

const CHANNEL: &str = "/chat/1";

struct Node {
    address: SocketAddr,
    pond: PondSocket,
    _server: Server,
}

async fn start(redis: &RedisServer, name: &str) -> Node {
    let bus = Arc::new(RedisBus::new(options(redis)).expect("valid options"));
    let options = Options::default().bus(Arc::clone(&bus)).node_name(name.to_owned());
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| {
        let key = ctx.query("key").unwrap_or_default().to_owned();
        Ok(ctx.accept().session(&key))
    });
    endpoint
        .create_channel("/closed/:room", async |_: JoinContext| -> Result<Joined> { Err(Error::forbidden("closed")) })
        .history(History::new());
    let lobby = endpoint.create_channel("/chat/:room", async |ctx: JoinContext| Ok(ctx.accept()));
    lobby.history(History::new().messages(5000));
    lobby.on_event("say", async |ctx: EventContext, Payload(payload): Payload<Value>| -> Result<()> {
        ctx.broadcast_from("said", &payload)?;
        Ok(())
    });
    let orders = AtomicUsize::new(0);
    lobby.on_event("order", move |ctx: EventContext| {
        let number = orders.fetch_add(1, Ordering::SeqCst) + 1;
        async move { ctx.reply("ordered", &json!({ "number": number, "note": "\u{fc}\r\n\"".repeat(20) })) }
    });
    let (server, address) = serve(&pond).await;
    // Until then it would give positions of its own, of which its clients would be told.
    eventually("a connection", || bus.stats().up).await;
    Node { address, pond, _server: server }
}

/// A client in the channel that resumes at its position, and the payload of the acknowledgement.
async fn join(node: &Node, position: &Value) -> (Peer, Value) {
    let mut peer = Peer::connect(node.address, "/").await;
    peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", CHANNEL, json!({ "$resume": position })).await;
    let answer = peer.next().await;
    assert_eq!(answer["event"], "ACKNOWLEDGE", "{answer}");
    (peer, answer["payload"].clone())
}

async fn say(peer: &mut Peer, n: u64) {
    peer.event(CHANNEL, "say", json!({ "n": n })).await;
}

/// A client that knows the last number and position that it has received, and was told of gaps.
struct Reader {
    peer: Peer,
    position: Value,
    last: u64,
    /// `true` if a loss was reported since the last message.
    told: bool,
    gaps: usize,
}

impl Reader {
    async fn new(node: &Node) -> Reader {
        let (peer, answer) = join(node, &json!("")).await;
        Reader { peer, position: answer["position"].clone(), last: 0, told: false, gaps: 0 }
    }

    /// Leaves this node, and resumes on another one.
    async fn moves_to(&mut self, node: &Node) {
        let (peer, answer) = join(node, &self.position).await;
        self.peer = peer;
        if answer["recovered"] != json!(true) {
            self.is_told(answer["position"].clone());
        }
    }

    fn is_told(&mut self, position: Value) {
        self.position = position;
        self.told = true;
        self.gaps += 1;
    }

    /// Reads what comes within this time.
    async fn reads_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Ok(message) = timeout(end - Instant::now(), self.peer.message()).await {
            let message = message.unwrap_or_else(|closed| panic!("closed: {closed:?}"));
            self.takes(&message);
        }
    }

    fn takes(&mut self, message: &Value) {
        match message["event"].as_str() {
            // A message without a position was sent while the node could not reach the history, which does not have it.
            Some("said") if message["requestId"].as_str().is_none_or(|id| id.parse::<Position>().is_err()) => {}
            Some("said") => {
                let n = message["payload"]["n"].as_u64().expect("a number");
                // Who was told of a gap begins with the position that it was told.
                let is_next = n == self.last + 1 || self.told;
                assert!(is_next, "{message} behind {} at {} without a word", self.last, self.position);
                (self.last, self.told) = (n, false);
                self.position = message["requestId"].clone();
            }
            Some("RESYNC") => self.is_told(message["payload"]["position"].clone()),
            other => panic!("{other:?}: {message}"),
        }
    }
}

/// Whatever happens to Redis, a client that lacks messages of a history, or gets some again, was told of a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_is_told_when_redis_fails() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let (one, two) = (start(&redis, "one").await, start(&redis, "two").await);
    let (mut ada, _) = join(&one, &json!("")).await;
    let mut bob = Reader::new(&two).await;
    let mut n = 0;
    let pause = Duration::from_millis(3);
    for round in 0..10 {
        for step in 0..40 {
            n += 1;
            say(&mut ada, n).await;
            bob.reads_for(pause).await;
            if step != 20 {
                continue;
            }
            match round % 5 {
                0 => drop(redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await),
                1 => drop(redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]).await),
                2 => drop(redis.command::<String>(&["FLUSHALL"]).await),
                3 => drop(redis.command::<String>(&["SCRIPT", "FLUSH"]).await),
                _ => {
                    redis.kill().await;
                    redis.restart().await;
                }
            }
        }
        bob.reads_for(Duration::from_millis(100)).await;
        bob.moves_to([&one, &two][round % 2]).await;
    }
    // At last everything arrives again.
    let deadline = Instant::now() + DEADLINE;
    while bob.last < n {
        n += 1;
        say(&mut ada, n).await;
        bob.reads_for(Duration::from_millis(200)).await;
        assert!(Instant::now() < deadline, "nothing arrives any more: {} of {n}", bob.last);
    }
    println!("{n} messages, {} gaps", bob.gaps);
    assert!(bob.gaps > 0, "a Redis that has lost its data must be told");
}

/// Sends a message with this id, and returns its answer.
async fn order(peer: &mut Peer, id: u64) -> Value {
    let message = json!({
        "action": "BROADCAST", "event": "order", "channelName": CHANNEL, "requestId": id.to_string(), "payload": {},
    });
    peer.text(&message.to_string()).await;
    peer.next().await
}

/// The session of a client has its answers with it, through Redis.
#[tokio::test]
async fn a_repeat_at_another_node_is_answered_as_before() {
    let redis = RedisServer::start().await;
    let (one, two) = (start(&redis, "one").await, start(&redis, "two").await);
    let client = async |node: &Node| {
        let mut peer = Peer::connect(node.address, "/?key=6f1e6b1c-session-of-bob").await;
        peer.join(CHANNEL, json!({ "$resume": "" })).await;
        peer
    };
    let mut peer = client(&one).await;
    let mut answers = Vec::new();
    for id in 0..100 {
        answers.push(order(&mut peer, id).await);
    }
    let pond = one.pond.clone();
    let stop = tokio::spawn(async move { pond.shutdown(Shutdown::within(DEADLINE).for_restart()).await });
    peer.closed().await;
    assert_eq!(peer.frame().await, None);
    stop.await.expect("no panic");
    let mut peer = client(&two).await;
    for (id, answer) in (0..).zip(answers) {
        assert_eq!(order(&mut peer, id).await, answer);
    }
    assert_eq!(order(&mut peer, 100).await["payload"]["number"], json!(1), "the first one of this node");
}

/// The keys of histories that end with a text, with the seconds until they expire.
async fn lives(redis: &RedisServer, channel: &str) -> Vec<i64> {
    let keys: Vec<String> = redis.command(&["KEYS", &format!("*__history__*{channel}*")]).await;
    let mut lives = Vec::new();
    for key in keys {
        lives.push(redis.command(&["TTL", &key]).await);
    }
    lives
}

/// Clients that no join handler accepts leave nothing in Redis for longer than a minute. The epoch that a member was told stays.
#[tokio::test]
async fn declined_clients_leave_nothing_in_redis() {
    const DECLINED: usize = 100;
    const A_DAY: i64 = 24 * 3600;
    let redis = RedisServer::start().await;
    let (one, two) = (start(&redis, "one").await, start(&redis, "two").await);
    let (ada, told) = join(&one, &json!("")).await;
    let mut stranger = Peer::connect(two.address, "/").await;
    for number in 0..DECLINED {
        stranger.send("JOIN_CHANNEL", "JOIN_CHANNEL", &format!("/closed/{number}"), json!({})).await;
        assert_eq!(stranger.next().await["payload"]["code"], json!(403));
    }
    let left = lives(&redis, "/closed/").await;
    assert!(left.len() <= DECLINED && left.iter().all(|life| (-2..=60).contains(life)), "{left:?}");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let used = lives(&redis, CHANNEL).await;
        assert_eq!(used.len(), 1, "{used:?}");
        if used[0] > A_DAY {
            break;
        }
        assert!(Instant::now() < deadline, "{used:?}");
    }
    // At another node, after the first one has closed the channel or not.
    drop(ada);
    let (_bob, answer) = join(&two, &told["position"]).await;
    assert_eq!((&answer["recovered"], &answer["position"]), (&json!(true), &told["position"]));
    assert!(lives(&redis, CHANNEL).await[0] > A_DAY - 60);
}

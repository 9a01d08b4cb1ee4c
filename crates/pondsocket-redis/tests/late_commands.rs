//! Commands that Redis executes after the bus has given up their connection, and has sent their messages again on the next one.

mod support;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pondsocket::cluster::{Append, Appended, Bus, Epoch, HistoryStore, Position};
use pondsocket_redis::{RedisBus, RedisOptions};
use support::{Node, options};
use testkit::{DEADLINE, RedisServer, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const TOPIC: &str = "pondsocket:v1:default:api/socket:/chat/1";

/// A network between a bus and Redis. Bytes may be on their way for long, also after their sender has closed the connection.
struct Network {
    address: SocketAddr,
    /// The number of the last connection that is held up, and of the last one that there is.
    holds: Arc<watch::Sender<usize>>,
    connections: watch::Receiver<usize>,
    /// `true` if the next answer of a script is lost with its connection.
    loses_answer: Arc<AtomicBool>,
    /// Receives for each connection that has ended, if something was held up on it.
    ended: mpsc::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl Network {
    async fn start(redis: &RedisServer) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, port) = (listener.local_addr().expect("an address"), redis.port);
        let (holds, (count, connections)) = (Arc::new(watch::Sender::new(0)), watch::channel(0));
        let (of_ways, ended) = mpsc::channel(9);
        let (of_listener, mut tasks) = (Arc::clone(&holds), JoinSet::new());
        let loses_answer = Arc::new(AtomicBool::new(false));
        let loses = Arc::clone(&loses_answer);
        tasks.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let (number, holds, ended) = (*count.borrow(), of_listener.subscribe(), of_ways.clone());
                let loses = Arc::clone(&loses);
                ways.spawn(async move {
                    let redis = TcpStream::connect(("127.0.0.1", port)).await.expect("Redis");
                    if carry(client, redis, number, holds, &loses).await {
                        let _ = ended.send(()).await;
                    }
                });
            }
        });
        Network { address, holds, connections, loses_answer, ended, _tasks: tasks }
    }

    /// Closes the connection on which Redis next answers a script, in place of the answer.
    fn lose_answer(&self) {
        self.loses_answer.store(true, Ordering::SeqCst);
    }

    /// Holds up all that is sent on the present connections.
    fn hold(&self) {
        self.holds.send_replace(*self.connections.borrow());
    }

    /// Lets what was held up on a connection arrive, and waits until Redis has executed it, and has noticed the end of the connection.
    async fn release(&mut self) {
        self.holds.send_replace(0);
        soon("end of a connection", self.ended.recv()).await.expect("the network is there");
    }
}

/// Carries what the two sides of a connection send, until Redis has ended it, or an answer is lost. Returns `true` if something was
/// held up.
async fn carry(
    client: TcpStream,
    redis: TcpStream,
    number: usize,
    mut holds: watch::Receiver<usize>,
    loses_answer: &AtomicBool,
) -> bool {
    let ((mut from_client, mut to_client), (mut from_redis, mut to_redis)) = (client.into_split(), redis.into_split());
    let forth = async {
        let (mut bytes, mut was_held) = (vec![0; 1 << 16], false);
        loop {
            // The end of the client is on its way as all else.
            let read = from_client.read(&mut bytes).await.unwrap_or(0);
            was_held |= read > 0 && *holds.borrow() >= number;
            let _ = holds.wait_for(|holds| *holds < number).await;
            if read == 0 || to_redis.write_all(&bytes[..read]).await.is_err() {
                let _ = to_redis.shutdown().await;
                return was_held;
            }
        }
    };
    let back = async {
        let (mut bytes, mut is_open) = (vec![0; 1 << 16], true);
        while let Ok(read @ 1..) = from_redis.read(&mut bytes).await {
            // A script answers by a text, and a subscription by arrays.
            if bytes[0] == b'$' && loses_answer.swap(false, Ordering::SeqCst) {
                return true;
            }
            // The client may be gone before Redis has answered.
            is_open = is_open && to_client.write_all(&bytes[..read]).await.is_ok();
        }
        false
    };
    let (mut forth, mut back) = (pin!(forth), pin!(back));
    tokio::select! {
        was_held = &mut forth => {
            back.await;
            was_held
        }
        is_lost = &mut back => if is_lost { false } else { forth.await },
    }
}

/// Options with which a bus soon gives up a connection without answers.
fn impatient(options: RedisOptions) -> RedisOptions {
    options.command_timeout(Duration::from_millis(200)).probe_interval(Duration::from_millis(300))
}

fn message(id: &str, size: usize) -> Append {
    Append {
        topic: TOPIC.into(),
        head: format!("{id} at ").into(),
        tail: ".".repeat(size).into(),
        id: format!("{id} ").into(),
        is_repeated: false,
        epoch: Epoch::new(id.len() as u32),
        messages: 10_000,
        bytes: usize::MAX,
        ttl: Duration::from_secs(60),
    }
}

/// Appends messages as a node does: those whose outcome is unknown again, until all have positions.
async fn append_at_last(bus: &RedisBus, mut batch: Vec<Append>) -> Vec<Position> {
    let (deadline, mut positions) = (Instant::now() + DEADLINE, Vec::new());
    loop {
        let outcomes = soon("outcomes", bus.append(batch.clone())).await;
        let mut again = Vec::new();
        for (mut append, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Appended::At(position) => positions.push(position),
                Appended::Unknown(_) => {
                    append.is_repeated = true;
                    again.push(append);
                }
                Appended::NotSent(_) => again.push(append),
            }
        }
        if again.is_empty() {
            return positions;
        }
        batch = again;
        assert!(Instant::now() < deadline, "{} messages are never appended", batch.len());
        sleep(Duration::from_millis(1)).await;
    }
}

/// The ids of the messages of the history, in their order.
async fn ids(node: &Node) -> Vec<String> {
    let history = soon("history", node.bus.read(&TOPIC.into(), None, 10_000)).await.expect("a history");
    let text = |data: &[u8]| String::from_utf8_lossy(data).split(" at ").next().expect("an id").to_owned();
    history.messages.iter().map(|message| text(&message.data)).collect()
}

/// The message was held up in the network, and comes behind its repeat, on a connection that the bus has given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_behind_its_repeat_is_not_appended_again() {
    let redis = RedisServer::start().await;
    let mut network = Network::start(&redis).await;
    let mut witness = Node::listening(options(&redis), &[TOPIC]).await;
    let node = Node::listening(impatient(RedisOptions::default().port(network.address.port())), &[]).await;
    let mut appended = vec!["first".to_owned()];
    let first = append_at_last(&node.bus, vec![message("first", 0)]).await[0];
    for round in 0..3 {
        network.hold();
        let held: Vec<_> = ["a", "b"].iter().map(|name| format!("{name}{round}")).collect();
        let repeated = append_at_last(&node.bus, held.iter().map(|id| message(id, 0)).collect()).await;
        appended.extend(held);
        let last = Position { offset: appended.len() as u64, ..first };
        assert_eq!(repeated, [Position { offset: last.offset - 1, ..last }, last], "on the next connection");
        network.release().await;
        let id = format!("behind {round}");
        let behind = append_at_last(&node.bus, vec![message(&id, 0)]).await;
        assert_eq!(behind, [Position { offset: last.offset + 1, ..last }]);
        appended.push(id);
    }
    // Another node has connections of its own, with smaller numbers.
    append_at_last(&witness.bus, vec![message("of another", 0)]).await;
    appended.push("of another".into());
    assert_eq!(ids(&witness).await, appended);
    for id in &appended {
        let (_, text) = witness.message().await;
        assert_eq!(text.split(" at ").next(), Some(&**id), "published once");
    }
}

/// A Redis that was suspended executes what it has of the old connection, and the repeats of the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_appended_once_when_redis_resumes_with_two_connections() {
    const MESSAGES: usize = 64;
    let redis = RedisServer::start().await;
    let witness = Node::listening(options(&redis), &[]).await;
    let node = Node::listening(impatient(options(&redis)), &[]).await;
    append_at_last(&node.bus, vec![message("first", 0)]).await;
    redis.freeze();
    let batch: Vec<_> = (0..MESSAGES).map(|n| message(&n.to_string(), 4000)).collect();
    let outcomes = soon("outcomes", node.bus.append(batch.clone())).await;
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Appended::Unknown(_))), "{outcomes:?}");
    let deadline = Instant::now() + DEADLINE;
    while !matches!(&node.bus.append(vec![message("probe", 0)]).await[..], [Appended::NotSent(_)]) {
        assert!(Instant::now() < deadline, "the connection is not given up");
    }
    redis.thaw();
    append_at_last(&node.bus, batch.into_iter().map(|append| Append { is_repeated: true, ..append }).collect()).await;
    let ids: Vec<_> = ids(&witness).await.into_iter().filter(|id| id.parse::<usize>().is_ok()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (MESSAGES, MESSAGES));
}

/// Redis has executed a command, and the connection is lost ahead of its answer: each message is appended and published once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_appended_once_while_answers_are_lost() {
    const MESSAGES: usize = 30;
    let redis = RedisServer::start().await;
    let mut witness = Node::listening(options(&redis), &[TOPIC]).await;
    let appending = async |name: &str| {
        let network = Network::start(&redis).await;
        let node = Node::listening(RedisOptions::default().port(network.address.port()), &[]).await;
        let mut losses = 0;
        for number in 0..MESSAGES {
            if number % 2 == 1 {
                network.lose_answer();
                losses += 1;
            }
            append_at_last(&node.bus, vec![message(&format!("{name}{number}"), 0)]).await;
        }
        assert_eq!(node.bus.stats().unknown, losses, "each loss makes one outcome unknown");
    };
    tokio::join!(appending("ada"), appending("bob"));
    let kept = ids(&witness).await;
    assert_eq!((kept.len(), kept.iter().collect::<HashSet<_>>().len()), (2 * MESSAGES, 2 * MESSAGES));
    for id in &kept {
        let (_, text) = witness.message().await;
        assert_eq!(text.split(" at ").next(), Some(&**id), "published once");
    }
}

//! Throughput of messages from one bus through Redis to another (bar B9), and the latency of one (bar B10), both also of
//! messages that are appended to histories. To be run by hand:
//! `cargo test --release -p pondsocket-redis --test throughput -- --ignored --nocapture --test-threads 1`

mod support;

use std::time::Duration;

use bytes::Bytes;
use pondsocket::cluster::{Append, Appended, Bus, BusEvent, Epoch, HistoryStore, Outcome, Publish, Topic};
use pondsocket_redis::RedisBus;
use support::{Node, options};
use testkit::RedisServer;
use tokio::time::{Instant, interval};

const MESSAGES: usize = 400_000;
const BATCH: usize = 256;

/// The way of a message: published only, or appended to a history, too.
#[derive(Clone, Copy, Debug)]
enum Way {
    Publish,
    Append,
}

impl Way {
    /// Sends a batch, and returns the time of its outcomes, which must be good.
    async fn send(self, bus: &RedisBus, batch: impl Iterator<Item = (Topic, Bytes)>) -> Instant {
        match self {
            Way::Publish => {
                let batch = batch.map(|(topic, data)| Publish { topic, data }).collect();
                let outcomes = bus.publish(batch).await;
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Sent { .. })));
            }
            Way::Append => {
                let append = |(topic, data): (Topic, Bytes)| Append {
                    topic,
                    // In the middle of a message, as that of a node.
                    head: data.slice(..data.len() / 2),
                    tail: data.slice(data.len() / 2..),
                    id: "an id".into(),
                    is_repeated: false,
                    epoch: Epoch::new(1),
                    messages: 256,
                    bytes: usize::MAX,
                    ttl: Duration::from_secs(120),
                };
                let outcomes = bus.append(batch.map(append).collect()).await;
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::At(_))));
            }
        }
        Instant::now()
    }
}

/// The names of topics, as they are in a cluster.
fn topics(count: usize) -> Vec<Topic> {
    (0..count).map(|number| format!("pondsocket:v1:default:api/socket:/chat/{number}").as_str().into()).collect()
}

async fn listening(redis: &RedisServer, topics: &[Topic]) -> Node {
    Node::listening(options(redis), &topics.iter().map(Topic::as_str).collect::<Vec<_>>()).await
}

/// The seconds of CPU that Redis has spent.
async fn busy(redis: &RedisServer) -> f64 {
    let info: String = redis.command(&["INFO", "cpu"]).await;
    let seconds = |key: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
        line.trim_start_matches(':').trim().parse().expect("seconds")
    };
    seconds("used_cpu_user:") + seconds("used_cpu_sys:")
}

/// The seconds of CPU that this process, with both nodes, has spent.
fn own_busy() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = |task: std::io::Result<std::fs::DirEntry>| -> f64 {
        let text = std::fs::read_to_string(task.expect("a task").path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0.0)
    };
    tasks.map(nanos).sum::<f64>() / 1e9
}

async fn flood(way: Way, count: usize) {
    let redis = RedisServer::start().await;
    let topics = topics(count);
    let (mut node, publisher) = (listening(&redis, &topics).await, listening(&redis, &[]).await);
    let (before, own, start) = (busy(&redis).await, own_busy(), Instant::now());
    let sending = tokio::spawn(async move {
        let data = Bytes::from(vec![b'x'; 300]);
        for batch in 0..MESSAGES / BATCH {
            let topic = |number: usize| topics[(batch * BATCH + number) % topics.len()].clone();
            way.send(&publisher.bus, (0..BATCH).map(|number| (topic(number), data.clone()))).await;
        }
    });
    let (mut received, mut batch) = (0, Vec::new());
    while received < MESSAGES / BATCH * BATCH {
        node.events.next_batch(&mut batch, 1024).await;
        for event in batch.drain(..) {
            assert!(!matches!(event, BusEvent::Gap { .. } | BusEvent::Down { .. }), "{event:?}");
            received += usize::from(matches!(event, BusEvent::Message { .. }));
        }
    }
    let nodes = own_busy() - own;
    sending.await.expect("no panic");
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), busy(&redis).await - before);
    let each = |cpu: f64| cpu * 1e6 / received as f64;
    println!(
        "{way:?}, {count} topics, 300 bytes: {:.0} messages/s, {:.2} us of Redis and {:.2} us of both nodes each",
        received as f64 / seconds,
        each(cpu),
        each(nodes)
    );
}

/// Ten thousand messages a second for three seconds: the time until another node has each, and until its outcome is known.
async fn latency(way: Way, count: usize) {
    let redis = RedisServer::start().await;
    let topics = topics(count);
    let (mut node, publisher) = (listening(&redis, &topics).await, listening(&redis, &[]).await);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let mut outcomes = tokio::task::JoinSet::new();
        let mut ticks = interval(Duration::from_millis(1));
        for tick in 0..3000 {
            ticks.tick().await;
            let began = Instant::now();
            let data = Bytes::from(format!("{};{}", (began - start).as_nanos(), "x".repeat(300)));
            let topic = |number: usize| topics[(tick * 10 + number) % topics.len()].clone();
            let batch: Vec<_> = (0..10).map(|number| (topic(number), data.clone())).collect();
            let bus = publisher.bus.clone();
            outcomes.spawn(async move { way.send(&bus, batch.into_iter()).await - began });
        }
        (outcomes.join_all().await, publisher)
    });
    let mut took = Vec::new();
    while took.len() < 30_000 {
        let text = node.message().await.1;
        let sent: u128 = text.split(';').next().and_then(|sent| sent.parse().ok()).expect("a time");
        took.push(start.elapsed() - Duration::from_nanos(sent as u64));
    }
    let (mut outcomes, _publisher) = sending.await.expect("no panic");
    for (what, times) in [("received", &mut took), ("outcome", &mut outcomes)] {
        times.sort_unstable();
        let at = |part: usize| times[times.len() * part / 1000];
        println!(
            "{way:?}, {count} topics, 10,000 messages/s, {what}: p50 {:?}, p99 {:?}, p99.9 {:?}",
            at(500),
            at(990),
            at(999)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    for way in [Way::Publish, Way::Append] {
        for count in [1, 100, 1000] {
            flood(way, count).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn latency_at_ten_thousand_messages_a_second() {
    for way in [Way::Publish, Way::Append] {
        for count in [1, 100] {
            latency(way, count).await;
        }
    }
}

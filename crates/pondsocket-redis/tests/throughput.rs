//! Throughput of messages from one bus through Redis to another (bar B9), and the latency of one (bar B10). To be run
//! by hand:
//! `cargo test --release -p pondsocket-redis --test throughput -- --ignored --nocapture`

mod support;

use std::time::Duration;

use pondsocket::cluster::{Bus, BusEvent, Outcome, Publish, Topic};
use support::{Node, options};
use testkit::RedisServer;
use tokio::time::{Instant, interval};

const MESSAGES: usize = 400_000;
const BATCH: usize = 256;

async fn busy(redis: &RedisServer) -> f64 {
    let info: String = redis.command(&["INFO", "cpu"]).await;
    let seconds = |key: &str| -> f64 {
        let line = info.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
        line.trim_start_matches(':').trim().parse().expect("seconds")
    };
    seconds("used_cpu_user:") + seconds("used_cpu_sys:")
}

async fn flood(topics: usize) {
    let redis = RedisServer::start().await;
    let names: Vec<_> = (0..topics).map(|number| format!("pondsocket:v1:default:api/socket:/chat/{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (mut node, publisher) =
        (Node::listening(options(&redis), &names).await, Node::listening(options(&redis), &[]).await);
    let (before, start) = (busy(&redis).await, Instant::now());
    let topics: Vec<_> = names.iter().map(|name| Topic::from(*name)).collect();
    let sending = tokio::spawn(async move {
        let data = bytes::Bytes::from(vec![b'x'; 300]);
        for batch in 0..MESSAGES / BATCH {
            let message =
                |number: usize| Publish::new(topics[(batch * BATCH + number) % topics.len()].clone(), data.clone());
            let outcomes = publisher.bus.publish((0..BATCH).map(message).collect()).await;
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Sent { .. })));
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
    sending.await.expect("no panic");
    let (rate, cpu) = (received as f64 / start.elapsed().as_secs_f64(), busy(&redis).await - before);
    let each = cpu * 1e6 / received as f64;
    println!("{} topics, 300 bytes: {rate:.0} messages/s, {each:.2} us of Redis each", names.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    flood(1).await;
    flood(1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn latency_at_ten_thousand_messages_a_second() {
    let redis = RedisServer::start().await;
    let (mut node, publisher) =
        (Node::listening(options(&redis), &["t"]).await, Node::listening(options(&redis), &[]).await);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(1));
        for _ in 0..3000 {
            ticks.tick().await;
            let now = start.elapsed().as_nanos().to_string();
            drop(publisher.bus.publish((0..10).map(|_| Publish::new("t", now.clone())).collect()));
        }
        publisher
    });
    let mut took = Vec::new();
    while took.len() < 30_000 {
        let sent: u128 = node.message().await.1.parse().expect("a time");
        took.push(start.elapsed().as_nanos() - sent);
    }
    drop(sending.await);
    took.sort_unstable();
    let at = |part: usize| Duration::from_nanos(took[took.len() * part / 1000] as u64);
    println!("10,000 messages/s: p50 {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
}

//! The dashboard for Grafana: each of its queries is sent to a Prometheus that scrapes two nodes, whose clients cause as many events
//! as possible. `./test board` runs it.

mod prometheus;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use e2e_tests::ContractServer;
use pondsocket_metrics::names;
use prometheus::{Prometheus, get};
use serde_json::{Value, json};
use testkit::{Peer, RedisServer};
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Metrics that clients of two contract servers do not cause: there may be no samples of these.
const RARE: [&str; 13] = [
    names::BLOCKED,
    names::BUS_DROPPED,
    names::BUS_GAPS,
    names::CAUGHT_UP,
    names::CLUSTER_EXCESS,
    names::DIVERGENCES,
    names::DROPPED,
    names::GAPS,
    names::GRACE,
    names::HISTORY_DETACHED,
    names::NAMES_TAKEN,
    names::REPEATS,
    names::SOCKETS_CLOSED,
];

/// A query of a panel.
struct Query {
    panel: String,
    text: String,
}

fn board() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops/grafana/pondsocket.json");
    serde_json::from_str(&std::fs::read_to_string(file).expect("the board")).expect("JSON")
}

/// The queries, with variables replaced as Grafana does with everything selected.
fn queries(board: &Value) -> Vec<Query> {
    let panels = board["panels"].as_array().expect("panels").iter();
    let with_targets = panels.filter_map(|panel| Some((panel["title"].as_str()?, panel["targets"].as_array()?)));
    let all = with_targets.flat_map(|(title, targets)| targets.iter().map(move |target| (title, target)));
    all.map(|(title, target)| {
        let text = target["expr"].as_str().expect("a query");
        let text = text.replace("$instance", ".*").replace("$endpoint", ".*").replace("$__rate_interval", "1m");
        Query { panel: title.to_owned(), text }
    })
    .collect()
}

impl Query {
    /// The metrics in the query.
    fn metrics(&self) -> impl Iterator<Item = &str> {
        let words = self.text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        words.filter(|word| word.starts_with("pondsocket_"))
    }

    fn is_rare(&self) -> bool {
        self.metrics().all(|metric| RARE.contains(&metric))
    }
}

/// The metric of a sample: those of a histogram have three suffixes.
fn metric(sample: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|kind| sample.strip_suffix(kind)).unwrap_or(sample)
}

/// Causes all events that clients can cause.
async fn cause_events(here: SocketAddr, there: SocketAddr, redis: &RedisServer) {
    const PATH: &str = "/api/socket?token=t";
    Peer::refused(here, "/api/socket").await;
    let (mut ada, mut bob) = (Peer::connect(here, PATH).await, Peer::connect(there, PATH).await);
    let (named, unnamed) = (json!({ "username": "ann" }), json!({}));
    let long = format!("/chat/{}", "x".repeat(1000));
    let resume = json!({ "username": "ann", "$resume": "" });
    for peer in [&mut ada, &mut bob] {
        peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/history/1", resume.clone()).await;
        for (room, payload) in [("/chat/1", &named), ("/plain/1", &named), ("/chat/2", &unnamed), (&long, &named)] {
            peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", room, payload.clone()).await;
        }
        for event in ["message", "fail", "panic"] {
            peer.event("/chat/1", event, json!({})).await;
        }
        peer.event("/history/1", "message", json!({})).await;
        peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/plain/1", json!({})).await;
        peer.until("message").await;
    }
    // A frame with an undefined opcode (RFC 6455 section 5.2).
    let mut broken = Peer::connect(here, PATH).await;
    broken.bytes(&[0x83, 0x80, 0, 0, 0, 0]).await;
    broken.closed().await;
    redis.command::<u32>(&["PUBLISH", "pondsocket:v1:default:api/socket:/chat/1", "nonsense"]).await;
}

#[test]
fn the_board_has_every_metric_and_no_other() {
    let board = board();
    let queries = queries(&board);
    let asked: HashSet<_> = queries.iter().flat_map(Query::metrics).map(metric).collect();
    let all: HashSet<_> = names::ALL.iter().copied().collect();
    assert_eq!(asked.symmetric_difference(&all).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[tokio::test]
#[ignore = "needs Redis and Prometheus: ./test board"]
async fn every_query_has_a_result_in_a_real_scrape() {
    let redis = RedisServer::start().await;
    let here = ContractServer::start_as_node(&redis.url(), "here").await;
    let there = ContractServer::start_as_node(&redis.url(), "there").await;
    let prometheus = Prometheus::start(&[here.address, there.address]).await;
    // A rate needs two samples, with the event between them.
    while prometheus.query("count(up == 1) == 2").await.expect("a query").is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    let deadline = Instant::now() + TIMEOUT;
    for query in queries(&board()) {
        loop {
            match prometheus.query(&query.text).await {
                Err(error) => panic!("{}: {}: {error}", query.panel, query.text),
                Ok(samples) if !samples.is_empty() || query.is_rare() => break,
                Ok(_) => assert!(Instant::now() < deadline, "{} shows nothing: {}", query.panel, query.text),
            }
            cause_events(here.address, there.address, &redis).await;
        }
    }
    let (status, scrape) = get(here.address, "/metrics").await.expect("it listens");
    assert_eq!(status, 200);
    for name in names::ALL.iter().filter(|name| !RARE.contains(name)) {
        assert!(scrape.contains(&format!("# TYPE {name} ")), "{name} is not scraped");
    }
}

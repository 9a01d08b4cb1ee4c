//! Histories that three nodes share over one Redis: clients that know their positions miss nothing, get nothing twice and nothing in
//! another order, whatever happens to connections, nodes and Redis; or they are told, and only when Redis lost what it had
//! or was away for longer than nodes wait for it.
//!
//! A publisher on each node sends numbered messages all the time. Readers connect through balancers of their own, come back to another
//! node after each loss, and record positions. They are raw WebSockets and the published JavaScript client with `resume.js`, over
//! WebSockets and event streams.
//!
//! `./test nothing_lost` runs it; the long form repeats all faults in random order. `NOTHING_LOST_SEED` repeats the random choices of a run.

mod balancer;
mod cluster;
mod faults;
mod log;
mod publisher;
mod reader;

use std::env::var;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::Rng;
use tokio::time::Instant;

use cluster::Cluster;
use faults::FAULTS;

/// The time for which the long form goes on.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis and the published JavaScript client: ./test nothing_lost"]
async fn nothing_is_lost_and_nothing_comes_twice_on_any_node() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let seed = var("NOTHING_LOST_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number"));
    println!("NOTHING_LOST_SEED={seed}");
    let mut cluster = Cluster::start(Rng::new(seed)).await;
    for fault in FAULTS {
        cluster.bears(fault).await;
    }
    let is_long = var("NOTHING_LOST_LONG").is_ok_and(|long| !long.is_empty());
    let end = Instant::now() + LONG;
    while is_long && Instant::now() < end {
        let fault = &FAULTS[cluster.rng.index(FAULTS.len())];
        cluster.bears(fault).await;
    }
    cluster.ends().await;
}

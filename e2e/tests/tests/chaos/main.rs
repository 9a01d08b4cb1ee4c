//! A server with malicious and broken clients: more than 2,500 misbehave at once, in several rounds, and healthy clients must not be
//! affected. After a round nothing may be left of it: no connection, no channel, no task, no open socket, no memory.
//!
//! `./test chaos` runs it. `CHAOS_ROUNDS` is the number of rounds after those for warming up; the long form has ten.

mod healthy;
mod misbehaving;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use e2e_tests::{ContractServer, Holdings, allow_descriptors};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use healthy::HealthyClients;
use misbehaving::{MISBEHAVING, MisbehavingClient};

/// The least number of messages that each healthy client must get through while the misbehaving clients are connected.
const RECEIVED: u64 = 200;

/// The longest time until the server has released everything of clients that have disconnected.
const RELEASE: Duration = Duration::from_secs(30);

/// The number of rounds until the allocator has its arenas, and the number of rounds of which the best one counts.
const WARM_UP: usize = 3;
const BEST_OF: usize = 3;

/// The growth of resident memory allowed between the first and the last rounds, as a factor and as KiB on top: the
/// number of pages that stay half used depends on what coincided in a round.
const MEMORY_GROWTH: f64 = 1.10;
const HALF_USED: f64 = 1024.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs the machine for itself: ./test chaos"]
async fn healthy_clients_are_not_affected_and_nothing_is_left_of_misbehaving_ones() {
    let rounds = std::env::var("CHAOS_ROUNDS").map_or(2 * BEST_OF, |rounds| rounds.parse().expect("a number"));
    assert!(rounds >= 2 * BEST_OF, "the first and the last ones are compared");
    allow_descriptors(8192);
    let mut server = ContractServer::start().await;
    let untouched = server.holdings().await;
    // The first connection starts the tasks that all connections share.
    HealthyClients::join(server.address, "warm-up").await.publish_until(watch::channel(true).1).await;
    // The last delivery ends shortly after the last client has disconnected, so the state must be stable for a while.
    let (descriptors, mut before, mut alike) = (untouched.descriptors, untouched, 0);
    let is_steady = |now: &Holdings| {
        alike = if *now == before { alike + 1 } else { 0 };
        before.clone_from(now);
        alike > 5 && now.connections == 0 && now.descriptors == descriptors
    };
    let idle = settle(&mut server, is_steady).await;
    assert!(idle.channels.is_empty(), "{idle:?}");

    let progress = ProgressBar::new((WARM_UP + rounds) as u64);
    progress.set_style(ProgressStyle::with_template("{bar:30} round {pos}/{len} {elapsed} {msg}").expect("a template"));
    let (mut memory, mut received) = (Vec::new(), 0);
    for number in 0..WARM_UP + rounds {
        received += round(server.address, number).await;
        assert_eq!(settle(&mut server, |now| *now == idle).await, idle);
        let kibibytes = server.memory() / 1024;
        progress.set_message(format!("{received} messages received, {kibibytes} KiB"));
        progress.inc(1);
        memory.push(kibibytes);
    }
    progress.abandon();
    println!("{received} messages received; resident after each round, {WARM_UP} to warm up first, in KiB: {memory:?}");
    let best = |rounds: &[u64]| *rounds.iter().min().expect("some rounds");
    let (first, last) = (best(&memory[WARM_UP..][..BEST_OF]), best(&memory[memory.len() - BEST_OF..]));
    assert!(last as f64 <= first as f64 * MEMORY_GROWTH + HALF_USED, "memory grows: {memory:?}");
}

/// Connects all clients at once, and ends them. Returns the number of messages that the healthy clients have received.
async fn round(address: SocketAddr, number: usize) -> usize {
    let healthy = HealthyClients::join(address, &number.to_string()).await;
    let (release, released) = watch::channel(false);
    let (mut passing, mut staying) = (JoinSet::new(), JoinSet::new());
    for (kind, count) in MISBEHAVING {
        for index in 0..count {
            let client =
                MisbehavingClient { kind, address, room: healthy.room(index), number: (number << 32 | index) as u64 };
            let clients = if kind.stays() { &mut staying } else { &mut passing };
            clients.spawn(client.misbehave(released.clone()));
        }
    }
    let (stop, stopped) = watch::channel(false);
    let progress = healthy.progress();
    let publishing = tokio::spawn(healthy.publish_until(stopped));
    passing.join_all().await;
    progress.reach(RECEIVED).await;
    release.send(true).expect("some clients stay");
    staying.join_all().await;
    stop.send(true).expect("the healthy clients are connected");
    publishing.await.expect("a healthy client was affected")
}

/// Waits until the resources of the server satisfy a condition, or returns them after the longest time.
async fn settle(server: &mut ContractServer, mut is_settled: impl FnMut(&Holdings) -> bool) -> Holdings {
    let start = Instant::now();
    loop {
        let now = server.holdings().await;
        if is_settled(&now) || start.elapsed() > RELEASE {
            return now;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

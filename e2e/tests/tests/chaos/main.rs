//! A server among the malicious and the broken: more than 2,500 clients misbehave at once, round after round, and
//! meanwhile those who behave must not notice. When a round is over nothing may be left of it: no connection, no channel,
//! no task, no open socket, no memory.
//!
//! `./test chaos` runs it. `CHAOS_ROUNDS` says how many rounds there are, after those to warm up; the long form has ten.

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
const HEARD: u64 = 200;

/// The longest time until the server has released everything of the clients that have gone.
const FORGET: Duration = Duration::from_secs(30);

/// The number of rounds until the allocator has its arenas, and the number of rounds of which the best one counts.
const WARM_UP: usize = 3;
const BEST_OF: usize = 3;

/// The growth of resident memory allowed between the first and the last rounds, as a factor and as KiB on top: the
/// number of pages that stay half used depends on what coincided in a round.
const MEMORY_GROWTH: f64 = 1.10;
const HALF_USED: f64 = 1024.0;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "for a while it needs the machine for itself: ./test chaos"]
async fn those_who_behave_notice_nothing_and_nothing_is_left_of_the_others() {
    let rounds = std::env::var("CHAOS_ROUNDS").map_or(2 * BEST_OF, |rounds| rounds.parse().expect("a number"));
    assert!(rounds >= 2 * BEST_OF, "the first and the last ones are compared");
    allow_descriptors(8192);
    let mut server = ContractServer::start().await;
    let untouched = server.holdings().await;
    // The first connection starts what all of them share.
    HealthyClients::join(server.address, "warm-up").await.talk_until(watch::channel(true).1).await;
    // The last delivery ends a moment after the last client has gone: what is so for a while stays so.
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
    let (mut memory, mut heard) = (Vec::new(), 0);
    for number in 0..WARM_UP + rounds {
        heard += round(server.address, number).await;
        assert_eq!(settle(&mut server, |now| *now == idle).await, idle);
        let kibibytes = server.memory() / 1024;
        progress.set_message(format!("{heard} messages heard, {kibibytes} KiB"));
        progress.inc(1);
        memory.push(kibibytes);
    }
    progress.abandon();
    println!("{heard} messages heard; resident after each round, {WARM_UP} to warm up first, in KiB: {memory:?}");
    let best = |rounds: &[u64]| *rounds.iter().min().expect("some rounds");
    let (first, last) = (best(&memory[WARM_UP..][..BEST_OF]), best(&memory[memory.len() - BEST_OF..]));
    assert!(last as f64 <= first as f64 * MEMORY_GROWTH + HALF_USED, "memory grows: {memory:?}");
}

/// Lets everybody in at once, and all go again; answers how many messages the healthy clients have heard.
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
    let talking = tokio::spawn(healthy.talk_until(stopped));
    passing.join_all().await;
    progress.reach(HEARD).await;
    release.send(true).expect("somebody stays");
    staying.join_all().await;
    stop.send(true).expect("the healthy clients are there");
    talking.await.expect("the healthy clients have noticed something")
}

/// Waits until the server has only what it should have.
async fn settle(server: &mut ContractServer, mut is_settled: impl FnMut(&Holdings) -> bool) -> Holdings {
    let start = Instant::now();
    loop {
        let now = server.holdings().await;
        if is_settled(&now) || start.elapsed() > FORGET {
            return now;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

//! A whole cluster in one thread: nodes, users, a Redis that loses what it may lose, and a checker. One seed is one
//! schedule, and the same seed is the same schedule on every machine (docs/cluster.md, How it is tested).
//!
//! ```sh
//! cargo test --release -p pondsocket-proto --test simulator                       # the short form
//! SIM_SEEDS=10000 cargo test --release -p pondsocket-proto --test simulator       # the long form
//! SIM_SEED=42 cargo test --release -p pondsocket-proto --test simulator replay -- --nocapture
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `schedule` | the decisions of a seed before anything happens |
//! | `world` | all parts together, and the one queue of events |
//! | `redis`, `leases`, `lease_renewals` | messages in flight; the table of leases |
//! | `node`, `server_channel` | a server around a core; a channel as its members see it |
//! | `foreign`, `foreign_js`, `foreign_go` | servers of other languages |
//! | `user_actions`, `faults` | actions of users; faults and their repair |
//! | `oracle`, `checker` | the users that each node should show; the rules that no output may break |
//! | `convergence` | the course of a schedule |
//! | `grace` | users that lose their node or connection, and come back in time or not |
//! | `histories` | channels with a history that all nodes share, their store in Redis, and their clients |
//! | `sabotage` | broken rules, to test the checker |

mod checker;
mod convergence;
mod faults;
mod foreign;
mod foreign_go;
mod foreign_js;
mod format;
mod grace;
mod histories;
mod lease_renewals;
mod leases;
mod node;
mod oracle;
mod redis;
mod sabotage;
mod schedule;
mod server_channel;
mod trace;
mod user_actions;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use convergence::{Report, run};
use indicatif::{ProgressBar, ProgressStyle};
use sabotage::Sabotage;
use trace::Trace;

/// Seeds that have failed once, one a line, each with what was wrong.
const REGRESSIONS: &str = include_str!("regressions.txt");

/// The number of lines of a failure's trace that are printed.
const LAST_LINES: usize = 60;

/// The seeds among which each broken rule has to be found.
const SABOTAGED: u64 = 3000;

/// Rules that matter in few schedules, each with a seed that has detected it. That seed is tried first, to save time.
const RARE: [(Sabotage, u64); 1] = [(Sabotage::HastyJoins, 1013)];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn nodes_converge_after_any_faults() {
    let count = number("SIM_SEEDS").unwrap_or(if cfg!(debug_assertions) { 50 } else { 1000 });
    let first = number("SIM_FIRST_SEED").unwrap_or(1);
    let (next, events, failures) = (AtomicU64::new(first), AtomicU64::new(0), Mutex::new(Vec::new()));
    let progress = if count > 2000 { ProgressBar::new(count) } else { ProgressBar::hidden() };
    progress.set_style(ProgressStyle::with_template("{pos}/{len} {wide_bar} {eta}").expect("a template"));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let report = run(seed, Trace::off(), None);
            events.fetch_add(report.events, Ordering::Relaxed);
            progress.inc(1);
            if let Some(violation) = report.violation {
                failures.lock().expect("no thread panics with the lock").push((seed, violation));
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get()).clamp(2, 8);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    progress.finish_and_clear();
    let mut failures = failures.into_inner().expect("no thread has panicked");
    failures.sort_by_key(|(seed, _)| *seed);
    println!("{count} seeds from {first}, {} events", events.into_inner());
    failures.iter().for_each(|(seed, violation)| println!("seed {seed}: {violation}"));
    if let Some((seed, _)) = failures.first() {
        explain(*seed);
        panic!("{} of {count} seeds failed", failures.len());
    }
}

#[test]
fn seeds_that_have_failed_once_pass() {
    for line in REGRESSIONS.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a seed first");
        if let Some(violation) = run(seed, Trace::off(), None).violation {
            explain(seed);
            panic!("seed {seed}: {violation} ({line})");
        }
    }
}

/// Prints the whole trace of the seed in `SIM_SEED`.
#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    let Report { violation, trace, events } = run(seed, Trace::on(), None);
    trace.lines().iter().for_each(|line| println!("{line}"));
    println!("{events} events");
    assert!(violation.is_none(), "seed {seed}: {}", violation.expect("there is one"));
}

fn explain(seed: u64) {
    let Report { violation, trace, .. } = run(seed, Trace::on(), None);
    let Some(violation) = violation else {
        return println!("seed {seed} fails, and not when it is run again: something is not deterministic");
    };
    let lines = trace.lines();
    println!("\nseed {seed}: {violation}\nthe plan: {}", lines.first().map(String::as_str).unwrap_or_default());
    println!("the last lines of {}:", lines.len());
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().for_each(|line| println!("{line}"));
    println!(
        "all of it: SIM_SEED={seed} cargo test --release -p pondsocket-proto --test simulator replay -- --nocapture"
    );
}

#[test]
fn a_seed_is_one_schedule() {
    for seed in 1..4 {
        let (one, other) = (run(seed, Trace::on(), None), run(seed, Trace::on(), None));
        assert_eq!(one.trace.lines(), other.trace.lines(), "seed {seed}");
    }
}

/// The checker detects each broken rule within a few seeds, and nothing where no rule is broken.
#[test]
fn broken_rules_are_detected() {
    for sabotage in Sabotage::ALL {
        let find = |seed| Some((seed, run(seed, Trace::off(), Some(sabotage)).violation?));
        let is_sound = |(seed, _): &(u64, _)| run(*seed, Trace::off(), None).violation.is_none();
        let likely = RARE.into_iter().filter(|(rare, _)| *rare == sabotage).map(|(_, seed)| seed);
        let found = likely.chain(1..=SABOTAGED).filter_map(find).find(is_sound);
        let (seed, violation) = found.unwrap_or_else(|| panic!("the checker does not detect {sabotage:?}"));
        println!("{sabotage:?} is found by seed {seed}: {violation}");
    }
}

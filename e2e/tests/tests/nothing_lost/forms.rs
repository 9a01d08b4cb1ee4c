//! The forms of the test: connections that are cut, nodes that are killed, nodes that are restarted, and a Redis that fails. Each is
//! short, or as long as it takes to say something about rare cases.

use std::fmt::Write;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::balancer::Noticed;
use crate::cluster::{self, Cluster, Setup};
use crate::faults::{FAULTS, Fault};
use crate::reader::Kind::{self, Page, Python, Raw, Rust, Stock, Stream};
use crate::store::Store;
use crate::tally::Tally;

/// The time without a network in which the published Python client, which tries to connect once, after a second, can come back.
const SHORT_CUT: (u64, u64) = (0, 700);

/// The traffic that may come again to a client with a session when its node is killed.
const UNPROVEN: Duration = Duration::from_millis(2500);

/// A form: its name, its clusters in the short and the long form, and what happens.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) short: Setup,
    pub(crate) long: Setup,
    pub(crate) extent: Extent,
}

/// The extent of what happens, in the short and in the long form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// Each connection is cut once in a period, until the time has passed.
    Cuts { away: Duration, period: [Duration; 2], time: [Duration; 2] },
    /// The number of runs.
    Kills([usize; 2]),
    /// The number of runs.
    Restarts([usize; 2]),
    /// Every fault of the short form once; in the long form random ones until so many messages were sent.
    Faults { messages: usize },
}

const fn seconds(time: u64) -> Duration {
    Duration::from_secs(time)
}

const fn setup(name: &'static str, nodes: usize, store: Store, lobby: &'static str, readers: Readers) -> Setup {
    Setup { name, nodes, store, lobby, rooms: 1, interval: Duration::from_millis(25), readers }
}

type Readers = &'static [(Kind, usize)];

const FEW: Readers = &[(Raw, 2), (Page, 2), (Stream, 1), (Stock, 2), (Rust, 1), (Python, 1)];
const THIRTY: Readers = &[(Raw, 4), (Page, 4), (Stream, 2), (Stock, 14), (Rust, 4), (Python, 2)];
const THOUSAND: Readers = &[(Raw, 50), (Page, 50), (Stream, 50), (Stock, 700), (Rust, 100), (Python, 50)];
/// Presence needs a session, which a client over event streams does not take to another node.
const PRESENT: Readers = &[(Raw, 4), (Page, 4), (Stock, 10), (Rust, 3), (Python, 3)];
const MANY_ROOMS: Readers = &[(Raw, 20), (Page, 20), (Stream, 20), (Stock, 20), (Rust, 10), (Python, 10)];

fn of_cuts(name: &'static str, nodes: usize, store: Store) -> Form {
    let short = setup(name, nodes, store, "/history", THIRTY);
    // Five messages in a second for each of a thousand clients.
    let interval = Duration::from_millis(200 * nodes as u64);
    let long = Setup { interval, ..setup(name, nodes, store, "/history", THOUSAND) };
    let [period, time] = [[seconds(7), seconds(20)], [seconds(14), seconds(600)]];
    Form { name, short, long, extent: Extent::Cuts { away: seconds(2), period, time } }
}

fn of_faults(name: &'static str, store: Store, messages: usize) -> Form {
    let short = setup(name, 3, store, "/history", FEW);
    // Twenty rooms with a hundred messages in a second each: at most 1000 are replayed to a client that comes back.
    let interval = Duration::from_millis(30);
    let long = Setup { rooms: 20, interval, ..setup(name, 3, store, "/history", MANY_ROOMS) };
    Form { name, short, long, extent: Extent::Faults { messages } }
}

fn of_nodes(name: &'static str, extent: Extent) -> Form {
    let setup = || setup(name, 3, Store::Redis, cluster::WATCHED, PRESENT);
    Form { name, short: setup(), long: setup(), extent }
}

pub(crate) fn forms() -> Vec<Form> {
    vec![
        of_cuts("cuts, one node", 1, Store::None),
        of_cuts("cuts, three nodes", 3, Store::Redis),
        of_nodes("node killed", Extent::Kills([2, 50])),
        of_nodes("rolling restart", Extent::Restarts([1, 20])),
        of_faults("Redis fails", Store::Redis, 500_000),
        of_faults("Redis with a file fails", Store::AppendOnly, 250_000),
        of_faults("Redis fails over", Store::Monitored, 250_000),
    ]
}

impl Extent {
    /// Lets it happen. Returns a remark for the table.
    ///
    /// `percent` is the part of the long form; `None` stands for the short form.
    pub(crate) async fn run(self, cluster: &mut Cluster, percent: Option<usize>) -> String {
        let form = usize::from(percent.is_some());
        let part = |of: usize| (of * percent.unwrap_or(100)).div_ceil(100);
        match self {
            Extent::Cuts { away, period, time } => {
                let time = Duration::from_secs(part(time[form].as_secs() as usize) as u64);
                cuts(cluster, away, period[form], time).await
            }
            Extent::Kills(runs) => kills(cluster, part(runs[form])).await,
            Extent::Restarts(runs) => restarts(cluster, part(runs[form])).await,
            Extent::Faults { messages } => faults(cluster, part(messages), percent.is_some()).await,
        }
    }
}

/// All readers lose their connections once in a period, one after the other.
async fn cuts(cluster: &mut Cluster, away: Duration, period: Duration, time: Duration) -> String {
    let (begin, pause) = (Instant::now(), period / cluster.readers.len() as u32);
    let (mut next, mut shown, mut cuts) = (begin, begin, 0);
    // The same order in each period, so that a client has the time to come back before it is cut again.
    let mut order: Vec<usize> = (0..cluster.readers.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, cluster.rng.index(at + 1));
    }
    while begin.elapsed() < time {
        for &reader in &order {
            sleep_until(next).await;
            next += pause;
            let is_brief = cluster.readers[reader].log.kind == Python;
            let away = if is_brief { Duration::from_millis(cluster.rng.range(SHORT_CUT)) } else { away };
            let noticed = if cluster.rng.per_mille(333) { Noticed::ByClient } else { Noticed::ByBoth };
            cluster.readers[reader].balancer.cut(away, noticed);
            cuts += 1;
        }
        if shown.elapsed() > seconds(30) {
            shown = Instant::now();
            progress(cluster, begin, &format!("{cuts} cuts"));
        }
    }
    cluster.wait_until_healthy("the cuts").await;
    let total = cluster.total();
    nobody_was_told(cluster, &total, "cuts");
    format!("{cuts} cuts in {:.0} s", begin.elapsed().as_secs_f64())
}

/// SIGKILL of a node, and a start under the same name, again and again.
async fn kills(cluster: &mut Cluster, runs: usize) -> String {
    let begin = Instant::now();
    for run in 1..=runs {
        // Until the nodes have noted what has arrived since the last one.
        sleep(Duration::from_millis(cluster.rng.range((3000, 4000)))).await;
        let node = cluster.rng.index(cluster.setup.nodes);
        cluster.kill(node);
        sleep(Duration::from_millis(1500)).await;
        cluster.start_node(node).await;
        cluster.wait_until_healthy("the kill").await;
        if run % 10 == 0 {
            progress(cluster, begin, &format!("{run} of {runs} kills"));
        }
    }
    let total = cluster.total();
    nobody_was_told(cluster, &total, "kills");
    let Setup { nodes, interval, .. } = cluster.setup;
    let most = UNPROVEN.as_millis() / interval.as_millis() * nodes as u128;
    if u128::from(total.most_again) > most {
        cluster.found(format!("{} messages came again, of at most {most}", total.most_again));
    }
    format!("{runs} kills; at most {most} messages may come again")
}

/// SIGTERM and a start of all nodes, one after the other, again and again. Nobody may see another one leave or join.
async fn restarts(cluster: &mut Cluster, runs: usize) -> String {
    let begin = Instant::now();
    for run in 1..=runs {
        for node in 0..cluster.setup.nodes {
            cluster.stop(node).await;
            cluster.start_node(node).await;
            // As a deploy does, which waits until the new node serves clients.
            cluster.wait_until_healthy("the restart").await;
        }
        if run % 5 == 0 {
            progress(cluster, begin, &format!("{run} of {runs} restarts"));
        }
    }
    let total = cluster.total();
    nobody_was_told(cluster, &total, "restarts");
    if (total.again, total.presence) != (0, 0) {
        let Tally { again, presence, last_presence, .. } = total;
        cluster.found(format!("{again} messages came again, {presence} JOIN and LEAVE were seen: {last_presence:?}"));
    }
    format!("{runs} restarts of all nodes")
}

async fn faults(cluster: &mut Cluster, messages: usize, is_long: bool) -> String {
    let begin = Instant::now();
    let possible: Vec<_> =
        FAULTS.iter().filter(|it| it.stores.contains(&cluster.setup.store) && (is_long || !it.is_long)).collect();
    let (mut count, mut told, mut shown) = (0, 0, begin);
    // Each once, then random ones.
    while count < possible.len() || (is_long && cluster.sent() < messages) {
        let fault = match possible.get(count) {
            Some(fault) => fault,
            None => possible[cluster.rng.index(possible.len())],
        };
        inject(cluster, fault).await;
        count += 1;
        told += usize::from(fault.is_told);
        if shown.elapsed() > seconds(30) {
            shown = Instant::now();
            progress(cluster, begin, &format!("{count} faults"));
        }
    }
    format!("{count} faults, of which {told} had to be told")
}

/// Lets a fault happen, and checks that nobody has noticed more than he may.
async fn inject(cluster: &mut Cluster, fault: &Fault) {
    let Fault { name, is_told, cause, .. } = fault;
    let (begin, before) = (Instant::now(), cluster.tallies());
    cause(cluster).await;
    let healed = cluster.wait_until_healthy(name).await;
    let after = cluster.tallies();
    let since: Vec<_> = after.iter().zip(&before).map(|(after, before)| after.since(before)).collect();
    let all = Tally::sum(&since);
    let mut line = String::new();
    // Writing into a string never fails.
    let _ = write!(line, "{}: {name}: {:.1} s", cluster.setup.name, begin.elapsed().as_secs_f64());
    let _ = write!(line, ", healed after {:.1} s, {} messages received", healed.as_secs_f64(), all.messages);
    let _ = write!(line, ", {} gaps told, {} joined anew, {} not kept", all.gaps, all.anew, all.unkept);
    println!("{line}, {} again, {} again behind a gap", all.again, all.behind_gap);
    let names: Vec<_> = cluster.readers.iter().map(|reader| reader.log.name.clone()).collect();
    for (reader, since) in names.iter().zip(&since) {
        if since.is_owed_notice {
            cluster.found(format!("{name}: {reader} was not told that its node was alone: {since:?}"));
        }
        if *is_told && since.told() == 0 {
            cluster.found(format!("{name}: {reader} was not told of the gap"));
        }
    }
    if !is_told {
        nobody_was_told(cluster, &all, name);
    }
}

fn nobody_was_told(cluster: &mut Cluster, tally: &Tally, what: &str) {
    let Tally { gaps, anew, unkept, behind_gap, .. } = tally;
    if (gaps, anew, unkept, behind_gap) != (&0, &0, &0, &0) {
        cluster.found(format!(
            "{what}: nobody may notice anything, but {gaps} gaps were told, {anew} were new, {unkept} messages had no \
             position, {behind_gap} came again behind a gap"
        ));
    }
}

fn progress(cluster: &Cluster, begin: Instant, what: &str) {
    let (name, total) = (cluster.setup.name, cluster.total());
    let (seconds, sent) = (begin.elapsed().as_secs(), cluster.sent());
    let Tally { messages, missing, repeats, disorder, again, .. } = total;
    println!(
        "{name}: {seconds} s, {what}, {sent} messages sent, {messages} received, {missing} missing, {repeats} repeats, \
         {disorder} in another order, {again} again"
    );
}

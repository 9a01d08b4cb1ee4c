//! A node is killed, and all its clients come back to the two other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::SIZE;
use crate::load::{Client, ClientPool, ClientSpec, Latency, Resume};
use crate::process::{Cpu, Redis, ServerProcess};
use crate::suite::driver::LoadDriver;
use crate::suite::run::{Run, prefer_this_thread};
use crate::suite::sample::Sample;
use crate::suite::scenario::{STORM_GAPS, STORM_P99};

/// The time until published clients try to connect again, without jitter.
const RETRY: Duration = Duration::from_secs(1);

/// The clients that connect at the same time: the accept queues of the nodes do not hold all of them.
const AT_ONCE: usize = 2000;

/// The interval of messages in each channel of the clients that come back.
const MESSAGES: Duration = Duration::from_secs(1);

/// The healthy room: its members, a half at each node that stays, and the interval of its messages.
const HEALTHY: usize = 40;
const HEALTHY_MESSAGES: Duration = Duration::from_millis(20);

/// The time in which the nodes notice the death of the third one, when all clients are back.
const SETTLE: Duration = Duration::from_secs(3);

/// The time of undisturbed messages before the node is killed, at the least: percentiles need enough of them.
const BEFORE: Duration = Duration::from_secs(4);

/// A load with a thread of its own, so that it does not wait for the clients that come back.
struct Background {
    stop: Arc<AtomicBool>,
    /// The number of times at which latencies were asked for.
    marks: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(LoadDriver, Vec<Latency>)>>,
}

impl Run<'_> {
    /// Kills one of three nodes, and measures the time until all its clients have joined at the others.
    pub(super) fn history_storm(&self, clients: usize, channels: usize) -> Result<Sample> {
        let redis = Redis::start(self.environment.core)?;
        let node = |name| self.start_with(&[("REDIS_URL", &redis.url), ("NODE_NAME", name)]);
        let (killed, others) = (node("a")?, [node("b")?, node("c")?]);
        let feed = self.publishers(&others[0], (0..channels).map(channel))?;
        let healthy = self.healthy(&others)?;
        let mut pool = self.pool()?;
        pool.add(
            (0..clients).map(|index| self.client(&killed, &channel(index % channels), first_resume(index, channels))),
        )?;
        let feed = Background::start(feed, MESSAGES, || {});
        // The clients that come back are many, and have a thread of the same core: without precedence a message of the room would
        // wait for the end of their time slices, before it is sent and when it arrives.
        let healthy = Background::start(healthy, HEALTHY_MESSAGES, prefer_this_thread);
        poll_for(&mut pool, self.lasting.max(BEFORE))?;
        healthy.mark();

        let cpu = |nodes: &[ServerProcess; 2]| -> Result<Cpu> {
            Ok(nodes[0].cpu()?.plus(nodes[1].cpu()?).plus(redis.cpu()?))
        };
        drop(killed);
        let lost = Instant::now();
        let specs = self.back(&pool, &others, channels)?;
        // Before they connect again: a process has a limited number of descriptors.
        drop(pool);
        sleep(RETRY.saturating_sub(lost.elapsed()));
        healthy.mark();
        let (before, start) = (cpu(&others)?, Instant::now());
        let mut back = self.pool()?;
        back.connect_at_once(AT_ONCE);
        back.add(specs)?;
        let took = start.elapsed();
        healthy.mark();
        let spent = cpu(&others)?.since(before);

        // The reference: the same members, without anybody who arrives.
        poll_for(&mut back, SETTLE)?;
        healthy.mark();
        poll_for(&mut back, BEFORE)?;
        healthy.mark();
        let (mut feed, _) = feed.stop()?;
        let (mut healthy, latencies) = healthy.stop()?;
        poll_for(&mut back, RETRY)?;
        // On a machine that is so busy that Redis does not answer for two seconds.
        let told: Vec<Option<u64>> = back.clients().iter().map(told_of_gap).collect();
        let lost = back.settle(|client| told[client].unwrap_or(feed.publishers[client % channels].sent))?;
        let lost = lost + feed.settle()? + healthy.settle()?;
        let [undisturbed, _, storm, _, after] = latencies[..] else {
            return Err(anyhow!("the healthy room had no messages"));
        };
        let mut sample = self.costs(&others[0], spent, clients as u64, took)?;
        sample.figure = took.as_secs_f64();
        sample.latency = Some(storm);
        sample.lost = lost;
        let exact = back.clients().iter().filter(|client| !client.told_of_gap);
        sample.out_of_order = exact.map(|client| client.deliveries.out_of_order).sum::<u64>()
            + feed.pool.out_of_order()
            + healthy.pool.out_of_order();
        sample.further.insert(STORM_GAPS.into(), told.iter().flatten().count() as f64);
        sample.further.insert(STORM_P99.into(), storm.p99 / undisturbed.p99);
        sample.further.insert("healthy p99 before, ms".into(), undisturbed.p99);
        sample.further.insert("healthy p99 in the storm, ms".into(), storm.p99);
        sample.further.insert("healthy max in the storm, ms".into(), storm.max);
        sample.further.insert("healthy p99 after, ms".into(), after.p99);
        sample.further.insert("healthy p99 in the storm, times that after".into(), storm.p99 / after.p99);
        sample.further.insert("healthy p50 in the storm, ms".into(), storm.p50);
        sample.further.insert("healthy p50 after, ms".into(), after.p50);
        sample.further.insert("µs CPU per client, nodes and Redis".into(), spent.total * 1e6 / clients as f64);
        let forgotten = back.clients().iter().filter(|client| client.is_new).count();
        sample.further.insert("clients that were taken for new ones".into(), forgotten as f64);
        let repeated = back.clients().iter().map(|client| client.deliveries.repeated).sum::<u64>();
        sample.further.insert(
            "messages that came twice per client with a session".into(),
            repeated as f64 * 2.0 / clients as f64,
        );
        Ok(sample)
    }

    /// A room whose members are half at one node and half at the other, and whose first member publishes.
    fn healthy(&self, nodes: &[ServerProcess; 2]) -> Result<LoadDriver> {
        let (mut driver, mut specs) = (LoadDriver::new(self.pool()?, SIZE), Vec::new());
        for (node, publishers) in nodes.iter().zip([1, 0]) {
            driver.add_room(&mut specs, &self.client(node, "/plain/healthy", Resume::Never), HEALTHY / 2, publishers);
        }
        driver.subscriptions = vec![0..1; HEALTHY];
        driver.pool.add(specs)?;
        Ok(driver)
    }

    /// The same clients at the nodes that are left, with all that they have received.
    fn back(&self, pool: &ClientPool, nodes: &[ServerProcess; 2], channels: usize) -> Result<Vec<ClientSpec>> {
        let specs = pool.clients().iter().enumerate().map(|(index, client)| {
            let mut deliveries = client.deliveries.clone();
            let resume = match first_resume(index, channels) {
                Resume::From(_) => {
                    // The channel has one publisher, whose first message has the offset 1.
                    Resume::From(format!("{}.{}", client.epoch()?, deliveries.of(index % channels)).into())
                }
                session => {
                    deliveries.allow_repeats();
                    session
                }
            };
            let node = &nodes[index / channels % 2];
            Ok(ClientSpec { deliveries, ..self.client(node, client.channel(), resume) })
        });
        specs.collect()
    }
}

/// Half of the clients know their positions, and the others are published clients as they are, with sessions. Both are in all
/// channels, and come back to both nodes.
fn first_resume(index: usize, channels: usize) -> Resume {
    match index / channels / 2 % 2 {
        0 => Resume::From("".into()),
        _ => Resume::Session(format!("the-session-of-client-{index:06}").into()),
    }
}

/// The messages that a client has received, if it was told that others are missing.
fn told_of_gap(client: &Client) -> Option<u64> {
    client.told_of_gap.then_some(client.deliveries.received)
}

fn channel(number: usize) -> String {
    format!("/history/{number}")
}

fn poll_for(pool: &mut ClientPool, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        pool.poll(Duration::from_millis(10))?;
    }
    Ok(())
}

impl Background {
    /// Starts the load. `prepare` runs first, on its thread.
    fn start(mut driver: LoadDriver, every: Duration, prepare: fn()) -> Background {
        let (stop, marks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, marked) = (Arc::clone(&stop), Arc::clone(&marks));
        let thread = thread::spawn(move || {
            prepare();
            let mut latencies = Vec::new();
            driver.pool.recorder().begin(Instant::now());
            // Channels that all got their message at the same moment would be a storm of their own.
            driver.pace_in_turn(every, |driver, _| {
                while latencies.len() < marked.load(Ordering::Relaxed) {
                    latencies.push(driver.pool.latency().unwrap_or_default());
                    driver.pool.recorder().begin(Instant::now());
                }
                !stopped.load(Ordering::Relaxed)
            })?;
            Ok((driver, latencies))
        });
        Background { stop, marks, thread }
    }

    /// Takes the latencies of all messages since the mark before.
    fn mark(&self) {
        self.marks.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the load, and returns the latencies up to each mark.
    fn stop(self) -> Result<(LoadDriver, Vec<Latency>)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?
    }
}

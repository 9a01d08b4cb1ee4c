//! One run of a scenario: a fresh server, clients, a load, and the measured values.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use bench::wire::client as wire;
use rustls::ClientConfig;

use super::driver::{LoadDriver, MessageKind, Publisher};
use super::sample::Sample;
use super::scenario::{
    CHURN_CONNECTED, Load, PUBLISHER, RECEIVER, REDIS, STALLED_CPU, STALLED_MEMORY, STALLED_P99, Scenario,
};
use super::server::{Environment, LIMIT, Server};
use crate::cluster::{ClusterLoad, Fixture};
use crate::load::{ClientPool, ClientSpec, Deliveries, Latency, Resume};
use crate::process::{self, Cpu};

/// The most of its own messages that a publisher may have in flight.
const WINDOW: u64 = 4;

/// The fewest messages from which a p99 latency is taken at a low rate. Of a second's fifty it would be that of the slowest one
/// alone.
const FEWEST_FOR_P99: u32 = 500;

/// Connections that are opened and closed before memory or joins are measured.
const WARM_UP: usize = 500;

/// Members of each channel, in scenarios with many channels.
const PER_CHANNEL: usize = 10;

/// The time without any message after which all clients have received all messages about joins.
const QUIET: Duration = Duration::from_millis(500);

/// A run of a scenario with a server.
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) server: &'a Server,
    pub(super) environment: &'a Environment,
    /// The measured time. A warm-up of a quarter of it, at most a second, comes before.
    pub(super) lasting: Duration,
    /// The seed of the order within the run.
    pub(super) seed: u64,
    /// The configuration of clients over TLS.
    pub(super) tls: Arc<ClientConfig>,
}

impl Run<'_> {
    /// Runs it and returns the measured values.
    pub(super) fn sample(&self) -> Result<Sample> {
        match self.scenario.load {
            Load::Paced { members, size, every } => {
                let (server, mut driver) = self.driver(1, members, 1, size, 0)?;
                self.measure(&server, &mut driver, |driver, end| driver.pace(every, end))
            }
            Load::Saturated { rooms, members, publishers, size } => {
                let (server, mut driver) = self.driver(rooms, members, publishers, size, 0)?;
                self.measure(&server, &mut driver, |driver, end| driver.saturate(WINDOW, end))
            }
            Load::Echo { clients, size } => {
                let (server, mut driver) = self.driver(clients, 1, 1, size, 0)?;
                driver.kind = MessageKind::Echo;
                self.measure(&server, &mut driver, |driver, end| driver.saturate(1, end))
            }
            Load::Beside { small, large, every } => {
                let lasting = self.lasting.max(every * FEWEST_FOR_P99);
                Run { lasting, tls: Arc::clone(&self.tls), ..*self }.beside(small, large, every)
            }
            Load::Stalled { readers, stalled, size, every } => self.stalled(readers, stalled, size, every),
            Load::Idle { connections, channels, presence } => self.idle(connections, channels, presence),
            Load::Large { connections, size } => self.large(connections, size),
            Load::Join { connections } => self.join(connections),
            Load::Storm { connections } => self.storm(connections),
            Load::Reconnect { connections } => self.reconnect(connections),
            Load::Churn { connections, rounds } => self.churn(connections, rounds),
            Load::Nodes(load) => self.nodes(load),
            Load::History(load) => self.history(load),
        }
    }

    fn start(&self) -> Result<process::ServerProcess> {
        self.server.start(self.scenario, self.environment)
    }

    pub(super) fn pool(&self) -> Result<ClientPool> {
        ClientPool::new(Some(self.tls.clone()))
    }

    pub(super) fn spec(&self, server: &process::ServerProcess, channels: &Arc<[String]>) -> ClientSpec {
        ClientSpec {
            address: server.address,
            dialect: self.server.dialect,
            transport: self.server.transport(self.scenario),
            channels: channels.clone(),
            eager: true,
            stalled: false,
            source: None,
            resume: Resume::Never,
            deliveries: Deliveries::default(),
        }
    }

    /// Starts a server, with these numbers of members and publishers in each room, and of members that do not read. Publishers are
    /// the first members of their rooms. Over event streams they have a WebSocket for publishing.
    fn driver(
        &self,
        rooms: usize,
        members: usize,
        publishers: usize,
        size: usize,
        stalled: usize,
    ) -> Result<(process::ServerProcess, LoadDriver)> {
        let server = self.start()?;
        let (mut driver, mut specs) = (LoadDriver::new(self.pool()?, size), Vec::new());
        for room in 0..rooms {
            let member = self.spec(&server, &(Arc::new([format!("/plain/r{room}")]) as Arc<[String]>));
            driver.add_room(&mut specs, &member, members, publishers);
            driver.add_room(&mut specs, &ClientSpec { stalled: true, ..member }, stalled, 0);
        }
        driver.pool.add(specs)?;
        Ok((server, driver))
    }

    /// Applies a load, first to warm up, then with measurement.
    fn measure(
        &self,
        server: &process::ServerProcess,
        driver: &mut LoadDriver,
        mut load: impl FnMut(&mut LoadDriver, Instant) -> Result<()>,
    ) -> Result<Sample> {
        let warm_up = (self.lasting / 4).min(Duration::from_secs(1));
        load(driver, Instant::now() + warm_up)?;
        let lost_before = driver.settle()?;
        let (received, out_of_order, before, start) =
            (driver.pool.received(), driver.pool.out_of_order(), server.cpu()?, Instant::now());
        driver.pool.recorder().begin(start);
        load(driver, start + self.lasting)?;
        let lost = driver.settle()?.saturating_sub(lost_before);
        let cpu = server.cpu()?.since(before);
        let count = driver.pool.received() - received;
        Ok(Sample {
            lost: lost + lost_before,
            out_of_order: driver.pool.out_of_order() - out_of_order,
            latency: driver.pool.latency(),
            ..self.costs(server, cpu, count, start.elapsed())?
        })
    }

    /// CPU time for each of `count` messages or connections, and memory. It is an error if there are none.
    pub(super) fn costs(
        &self,
        server: &process::ServerProcess,
        cpu: Cpu,
        count: u64,
        took: Duration,
    ) -> Result<Sample> {
        ensure!(count > 0, "no message has arrived");
        Ok(Sample {
            figure: cpu.total * 1e6 / count as f64,
            count,
            seconds: took.as_secs_f64(),
            cpu: cpu.total,
            user: cpu.user,
            rss: server.rss()?,
            peak_rss: server.peak_rss()?,
            ..Sample::default()
        })
    }

    fn stalled(&self, readers: usize, stalled: usize, size: usize, every: Duration) -> Result<Sample> {
        let once = |stalled| {
            let (server, mut driver) = self.driver(1, readers, 1, size, stalled)?;
            self.measure(&server, &mut driver, |driver, end| driver.pace(every, end))
        };
        let (without, mut with) = (once(0)?, once(stalled)?);
        let p99 = |sample: &Sample| sample.latency.unwrap_or_default().p99;
        with.further.insert(STALLED_CPU.into(), with.figure / without.figure);
        with.further.insert(STALLED_P99.into(), p99(&with) / p99(&without));
        let more = with.peak_rss as f64 - without.peak_rss as f64;
        with.further.insert(STALLED_MEMORY.into(), more / f64::from(1 << 20));
        with.lost += without.lost;
        with.out_of_order += without.out_of_order;
        Ok(with)
    }

    fn beside(&self, small: usize, large: usize, every: Duration) -> Result<Sample> {
        let (server, mut quiet) = self.driver(1, small, 1, 100, 0)?;
        let alone = thread::scope(|scope| {
            let measured = scope.spawn(|| {
                prefer_this_thread();
                self.measure(&server, &mut quiet, |driver, end| driver.pace(every, end))
            });
            measured.join()
        });
        let without = alone.map_err(|_| anyhow!("the thread of the small room panicked"))??;
        let (channel, mut pool): (Arc<[String]>, _) = (Arc::new(["/plain/large".to_owned()]), self.pool()?);
        pool.add(vec![self.spec(&server, &channel); large])?;
        // Publishers are distinguished by their numbers in a pool of clients, so the large room has a pool of its own.
        let publishers =
            (0..10).map(|client| Publisher { client, channel: channel[0].clone(), sent: 0 }).collect::<Vec<_>>();
        let mut loud = LoadDriver { publishers, subscriptions: vec![0..10; large], ..LoadDriver::new(pool, 100) };
        let (before, start) = (server.cpu()?, Instant::now());
        // The small room has a thread of its own, so that its messages do not wait behind those of the large room in the load.
        // Both threads have one core, which the large room occupies: without precedence a due message, and then its arrival,
        // would each wait for the end of the other thread's time slice.
        let lasting = self.lasting;
        let paced = thread::spawn(move || -> Result<LoadDriver> {
            prefer_this_thread();
            quiet.pool.recorder().begin(start);
            quiet.pace(every, start + lasting)?;
            Ok(quiet)
        });
        loud.saturate(WINDOW, start + lasting)?;
        let mut quiet = paced.join().map_err(|_| anyhow!("the thread of the small room panicked"))??;
        let lost = loud.settle()? + quiet.settle()?;
        let cpu = server.cpu()?.since(before);
        let latency = quiet.pool.latency();
        let p99 = |latency: Option<Latency>| latency.unwrap_or_default().p99;
        let mut sample = self.costs(&server, cpu, loud.pool.received() + quiet.pool.received(), start.elapsed())?;
        sample.figure = p99(latency) / p99(without.latency);
        sample.further.insert("p99 alone, ms".into(), p99(without.latency));
        sample.further.insert("p99 beside, ms".into(), p99(latency));
        let out_of_order = loud.pool.out_of_order() + quiet.pool.out_of_order();
        Ok(Sample { latency, lost: lost + without.lost, out_of_order, ..sample })
    }

    /// Opens connections which each join `channels` rooms of ten.
    fn members(
        &self,
        server: &process::ServerProcess,
        connections: usize,
        channels: usize,
        presence: bool,
    ) -> Result<ClientPool> {
        let prefix = if presence { "presence" } else { "plain" };
        let rooms = (connections / PER_CHANNEL).max(1);
        let mut pool = self.pool()?;
        pool.add((0..connections).map(|index| {
            let channels = (0..channels).map(|number| format!("/{prefix}/{number}r{}", index % rooms)).collect();
            self.spec(server, &channels)
        }))?;
        Ok(pool)
    }

    fn idle(&self, connections: usize, channels: usize, presence: bool) -> Result<Sample> {
        let server = self.start()?;
        drop(self.members(&server, WARM_UP, channels, presence)?);
        let (before, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        let pool = self.members(&server, connections, channels, presence)?;
        let took = start.elapsed();
        let after = server.settled_rss()?;
        let sample = self.costs(&server, server.cpu()?.since(cpu), connections as u64, took)?;
        drop(pool);
        Ok(Sample { figure: after.saturating_sub(before) as f64 / connections as f64, ..sample })
    }

    fn large(&self, connections: usize, size: usize) -> Result<Sample> {
        let server = self.start()?;
        drop(self.members(&server, WARM_UP, 1, false)?);
        let mut pool = self.members(&server, connections, 1, false)?;
        let (before, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        for client in 0..connections {
            let channel = pool.clients()[client].channel().to_owned();
            let text = self.server.dialect.echo(&channel, 0, &wire::payload(client, 0, size));
            pool.send(client, &wire::text(&text))?;
            let deadline = Instant::now() + Duration::from_secs(10);
            while pool.clients()[client].deliveries.received == 0 {
                pool.poll(Duration::from_millis(10))?;
                (Instant::now() < deadline).then_some(()).context("a large message does not come back")?;
            }
        }
        let took = start.elapsed();
        let after = server.settled_rss()?;
        let sample = self.costs(&server, server.cpu()?.since(cpu), connections as u64, took)?;
        Ok(Sample { figure: (after as f64 - before as f64) / connections as f64, ..sample })
    }

    fn join(&self, connections: usize) -> Result<Sample> {
        let server = self.start()?;
        drop(self.members(&server, WARM_UP, 1, false)?);
        // Otherwise the end of these connections would be part of the measurement.
        server.settled_rss()?;
        let (before, start) = (server.cpu()?, Instant::now());
        let pool = self.members(&server, connections, 1, false)?;
        let sample = self.costs(&server, server.cpu()?.since(before), connections as u64, start.elapsed())?;
        drop(pool);
        Ok(sample)
    }

    fn storm(&self, connections: usize) -> Result<Sample> {
        let server = self.start()?;
        let (channel, mut pool): (Arc<[String]>, _) = (Arc::new(["/presence/storm".to_owned()]), self.pool()?);
        pool.add(vec![ClientSpec { eager: false, ..self.spec(&server, &channel) }; connections])?;
        let (before, bytes, start) = (server.cpu()?, pool.bytes(), Instant::now());
        pool.join_all()?;
        let joined = start.elapsed();
        let end = pool.until_quiet(QUIET)?;
        let mut sample = self.costs(&server, server.cpu()?.since(before), connections as u64, end - start)?;
        sample.further.insert("ms until all had joined".into(), joined.as_secs_f64() * 1e3);
        sample.further.insert("ms until all had heard of all".into(), (end - start).as_secs_f64() * 1e3);
        let each = (pool.bytes() - bytes) as f64 / connections as f64;
        sample.further.insert("kB received by each".into(), each / 1e3);
        Ok(sample)
    }

    /// Opens and closes connections in rounds.
    fn churn(&self, connections: usize, rounds: usize) -> Result<Sample> {
        let server = self.start()?;
        let (fresh, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        let (mut connected, mut closed) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let pool = self.members(&server, connections, 1, false)?;
            connected.push(server.settled_rss()? as f64);
            drop(pool);
            closed.push(server.settled_rss()? as f64);
        }
        let opened = (connections * rounds) as u64;
        let mut sample = self.costs(&server, server.cpu()?.since(cpu), opened, start.elapsed())?;
        let last = |rss: &[f64]| rss[rss.len() - 1];
        sample.figure = last(&closed) / closed[0];
        sample.further.insert(CHURN_CONNECTED.into(), last(&connected) / connected[0]);
        sample.further.insert("MB before round 1".into(), fresh as f64 / 1e6);
        sample.further.insert("MB after round 1".into(), closed[0] / 1e6);
        sample.further.insert("MB after the last round".into(), last(&closed) / 1e6);
        Ok(sample)
    }

    /// Two nodes with a Redis between them. The limit is two processes that use the client library of Redis alone.
    fn nodes(&self, load: ClusterLoad) -> Result<Sample> {
        let Environment { programs, core, .. } = self.environment;
        let fixture = match self.server.name {
            LIMIT => Fixture::bare(&programs.contract, &programs.bare, *core)?,
            _ => Fixture::nodes(self.server.dialect, *core, |redis, name| {
                self.server.start_node(self.scenario, self.environment, redis, name)
            })?,
        };
        let run = load.run(fixture, self.lasting)?;
        let further = [PUBLISHER, RECEIVER, REDIS].iter().enumerate();
        ensure!(run.messages > 0, "no message has arrived");
        let cpu = run.cpu.iter().fold(Cpu::default(), |sum, cpu| sum.plus(*cpu));
        Ok(Sample {
            figure: cpu.total * 1e6 / run.messages as f64,
            count: run.messages,
            seconds: run.seconds,
            cpu: cpu.total,
            user: cpu.user,
            latency: run.latency()?,
            lost: run.lost,
            out_of_order: run.out_of_order,
            rss: run.rss,
            peak_rss: run.rss,
            further: further.map(|(program, name)| ((*name).to_owned(), run.micros(program))).collect(),
            ..Sample::default()
        })
    }

    fn reconnect(&self, connections: usize) -> Result<Sample> {
        let server = self.start()?;
        let pool = self.members(&server, connections, 1, false)?;
        let (before, start) = (server.cpu()?, Instant::now());
        drop(pool);
        let pool = self.members(&server, connections, 1, false)?;
        let took = start.elapsed();
        let mut sample = self.costs(&server, server.cpu()?.since(before), connections as u64, took)?;
        sample.further.insert("ms until all were back".into(), took.as_secs_f64() * 1e3);
        drop(pool);
        Ok(sample)
    }
}

/// Lets this thread run as soon as it has something to do, if the system allows it.
pub(super) fn prefer_this_thread() {
    if !process::take_precedence() {
        eprintln!("no precedence for the thread of the small room: its latency includes time slices of the load");
    }
}

//! One run: a fresh server, clients, a load, and what it measured.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bench::wire::client as wire;
use rustls::ClientConfig;

use super::sample::Sample;
use super::scenario::{Load, Scenario};
use super::server::{Place, Server};
use crate::load::{Crowd, Latency, Seat, Transport};
use crate::process::{self, Cpu};

/// The most of its own messages that a publisher may wait for.
const WINDOW: u64 = 4;

/// Connections that come and go before memory or joins are measured.
const WARM_UP: usize = 500;

/// Members of a channel where there are many.
const PER_CHANNEL: usize = 10;

/// The time without anything for a client after which all have been told of all joins.
const QUIET: Duration = Duration::from_millis(500);

/// A run that is about to begin.
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) server: &'a Server,
    pub(super) place: &'a Place,
    /// The time for which a load is measured. A quarter of it, at the most a second, goes before, to warm up.
    pub(super) lasting: Duration,
    /// The certificates that clients over TLS trust.
    pub(super) tls: Arc<ClientConfig>,
}

/// Clients who publish into one channel.
struct Publisher {
    client: usize,
    channel: String,
    sent: u64,
}

/// The kind of message that publishers send.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Talk {
    Publish,
    Echo,
}

/// A crowd with its publishers.
struct Stage {
    crowd: Crowd,
    publishers: Vec<Publisher>,
    /// The publishers that each client hears.
    hears: Vec<std::ops::Range<usize>>,
    talk: Talk,
    size: usize,
}

impl Run<'_> {
    /// Measures.
    pub(super) fn sample(&self) -> Result<Sample> {
        match self.scenario.load {
            Load::Paced { members, size, every } => {
                let (server, mut stage) = self.stage(1, members, 1, size, 0)?;
                self.measure(&server, &mut stage, |stage, end| stage.pace(every, end))
            }
            Load::Saturated { rooms, members, publishers, size } => {
                let (server, mut stage) = self.stage(rooms, members, publishers, size, 0)?;
                self.measure(&server, &mut stage, |stage, end| stage.saturate(WINDOW, end))
            }
            Load::Echo { clients, size } => {
                let (server, mut stage) = self.stage(clients, 1, 1, size, 0)?;
                stage.talk = Talk::Echo;
                self.measure(&server, &mut stage, |stage, end| stage.saturate(1, end))
            }
            Load::Beside { small, large, every } => self.beside(small, large, every),
            Load::Stalled { readers, stalled, size, every } => self.stalled(readers, stalled, size, every),
            Load::Idle { connections, channels, presence } => self.idle(connections, channels, presence),
            Load::Large { connections, size } => self.large(connections, size),
            Load::Join { connections } => self.join(connections),
            Load::Storm { connections } => self.storm(connections),
            Load::Reconnect { connections } => self.reconnect(connections),
        }
    }

    fn start(&self) -> Result<process::Server> {
        self.server.start(self.scenario, self.place)
    }

    fn crowd(&self) -> Result<Crowd> {
        Crowd::new(Some(self.tls.clone()))
    }

    fn seat(&self, server: &process::Server, channels: &Arc<[String]>) -> Seat {
        Seat {
            address: server.address,
            dialect: self.server.dialect,
            transport: self.server.transport(self.scenario),
            channels: channels.clone(),
            eager: true,
            stalled: false,
        }
    }

    /// A server with rooms, so many members and publishers in each, and so many members that do not read. Publishers come
    /// first in their rooms; those of rooms on event streams have a WebSocket to publish on.
    fn stage(
        &self,
        rooms: usize,
        members: usize,
        publishers: usize,
        size: usize,
        stalled: usize,
    ) -> Result<(process::Server, Stage)> {
        let server = self.start()?;
        let mut stage =
            Stage { crowd: self.crowd()?, publishers: Vec::new(), hears: Vec::new(), talk: Talk::Publish, size };
        let mut seats = Vec::new();
        for room in 0..rooms {
            let channel = format!("/plain/r{room}");
            let channels: Arc<[String]> = Arc::new([channel.clone()]);
            let first = stage.publishers.len();
            for member in 0..members {
                let mut seat = self.seat(&server, &channels);
                if member < publishers {
                    stage.publishers.push(Publisher { client: seats.len(), channel: channel.clone(), sent: 0 });
                    if seat.transport == Transport::EventStream {
                        seat.transport = Transport::Plain;
                    }
                }
                stage.hears.push(first..first + publishers);
                seats.push(seat);
            }
            for _ in 0..stalled {
                stage.hears.push(0..0);
                seats.push(Seat { stalled: true, ..self.seat(&server, &channels) });
            }
        }
        stage.crowd.add(seats)?;
        Ok((server, stage))
    }

    /// Puts a load on a stage, first to warm up, then to be measured.
    fn measure(
        &self,
        server: &process::Server,
        stage: &mut Stage,
        mut load: impl FnMut(&mut Stage, Instant) -> Result<()>,
    ) -> Result<Sample> {
        let warm_up = (self.lasting / 4).min(Duration::from_secs(1));
        load(stage, Instant::now() + warm_up)?;
        let lost_before = stage.settle()?;
        let (received, disorder, before, start) =
            (stage.crowd.received(), stage.crowd.disorder(), server.cpu()?, Instant::now());
        stage.crowd.timeline().begin(start);
        load(stage, start + self.lasting)?;
        let lost = stage.settle()?.saturating_sub(lost_before);
        let cpu = server.cpu()?.since(before);
        let count = stage.crowd.received() - received;
        Ok(Sample {
            lost: lost + lost_before,
            disorder: stage.crowd.disorder() - disorder,
            latency: stage.crowd.timeline().latency(),
            ..self.costs(server, cpu, count, start.elapsed())?
        })
    }

    /// CPU time for each of so many messages or connections.
    fn costs(&self, server: &process::Server, cpu: Cpu, count: u64, took: Duration) -> Result<Sample> {
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
            let (server, mut stage) = self.stage(1, readers, 1, size, stalled)?;
            self.measure(&server, &mut stage, |stage, end| stage.pace(every, end))
        };
        let (without, mut with) = (once(0)?, once(stalled)?);
        let p99 = |sample: &Sample| sample.latency.unwrap_or_default().p99;
        with.further.insert("cpu, times that without".into(), with.figure / without.figure);
        with.further.insert("p99, times that without".into(), p99(&with) / p99(&without));
        with.lost += without.lost;
        with.disorder += without.disorder;
        Ok(with)
    }

    fn beside(&self, small: usize, large: usize, every: Duration) -> Result<Sample> {
        let (server, mut quiet) = self.stage(1, small, 1, 100, 0)?;
        let without = self.measure(&server, &mut quiet, |stage, end| stage.pace(every, end))?;
        let (channel, mut crowd): (Arc<[String]>, _) = (Arc::new(["/plain/large".to_owned()]), self.crowd()?);
        crowd.add(vec![self.seat(&server, &channel); large])?;
        // Publishers are told apart by their numbers within a crowd; this is another one.
        let publishers =
            (0..10).map(|client| Publisher { client, channel: channel[0].clone(), sent: 0 }).collect::<Vec<_>>();
        let mut loud =
            Stage { crowd, hears: vec![0..publishers.len(); large], publishers, talk: Talk::Publish, size: 100 };
        let (before, start) = (server.cpu()?, Instant::now());
        // The small room has a thread of its own, so that its messages do not wait until the load has read those of the large one.
        let lasting = self.lasting;
        let paced = thread::spawn(move || -> Result<Stage> {
            quiet.crowd.timeline().begin(start);
            quiet.pace(every, start + lasting)?;
            Ok(quiet)
        });
        loud.saturate(WINDOW, start + lasting)?;
        let mut quiet = paced.join().map_err(|_| anyhow!("the thread of the small room panicked"))??;
        let lost = loud.settle()? + quiet.settle()?;
        let cpu = server.cpu()?.since(before);
        let latency = quiet.crowd.timeline().latency();
        let p99 = |latency: Option<Latency>| latency.unwrap_or_default().p99;
        let mut sample = self.costs(&server, cpu, loud.crowd.received() + quiet.crowd.received(), start.elapsed())?;
        sample.figure = p99(latency) / p99(without.latency);
        sample.further.insert("p99 without, ms".into(), p99(without.latency));
        sample.further.insert("p99 with, ms".into(), p99(latency));
        let disorder = loud.crowd.disorder() + quiet.crowd.disorder();
        Ok(Sample { latency, lost: lost + without.lost, disorder, ..sample })
    }

    /// Opens connections in rooms of ten, `channels` of them each, or lets them come and go.
    fn members(&self, server: &process::Server, connections: usize, channels: usize, presence: bool) -> Result<Crowd> {
        let prefix = if presence { "presence" } else { "plain" };
        let rooms = (connections / PER_CHANNEL).max(1);
        let mut crowd = self.crowd()?;
        crowd.add((0..connections).map(|index| {
            let channels = (0..channels).map(|number| format!("/{prefix}/{number}r{}", index % rooms)).collect();
            self.seat(server, &channels)
        }))?;
        Ok(crowd)
    }

    fn idle(&self, connections: usize, channels: usize, presence: bool) -> Result<Sample> {
        let server = self.start()?;
        drop(self.members(&server, WARM_UP, channels, presence)?);
        let (before, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        let crowd = self.members(&server, connections, channels, presence)?;
        let took = start.elapsed();
        let after = server.settled_rss()?;
        let sample = self.costs(&server, server.cpu()?.since(cpu), connections as u64, took)?;
        drop(crowd);
        Ok(Sample { figure: after.saturating_sub(before) as f64 / connections as f64, ..sample })
    }

    fn large(&self, connections: usize, size: usize) -> Result<Sample> {
        let server = self.start()?;
        drop(self.members(&server, WARM_UP, 1, false)?);
        let mut crowd = self.members(&server, connections, 1, false)?;
        let (before, cpu, start) = (server.settled_rss()?, server.cpu()?, Instant::now());
        for client in 0..connections {
            let channel = crowd.clients()[client].channel().to_owned();
            let text = self.server.dialect.echo(&channel, 0, &wire::payload(client, 0, size));
            crowd.send(client, &wire::text(&text))?;
            let deadline = Instant::now() + Duration::from_secs(10);
            while crowd.clients()[client].ledger.received == 0 {
                crowd.poll(Duration::from_millis(10))?;
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
        let (before, start) = (server.cpu()?, Instant::now());
        let crowd = self.members(&server, connections, 1, false)?;
        let sample = self.costs(&server, server.cpu()?.since(before), connections as u64, start.elapsed())?;
        drop(crowd);
        Ok(sample)
    }

    fn storm(&self, connections: usize) -> Result<Sample> {
        let server = self.start()?;
        let (channel, mut crowd): (Arc<[String]>, _) = (Arc::new(["/presence/storm".to_owned()]), self.crowd()?);
        crowd.add(vec![Seat { eager: false, ..self.seat(&server, &channel) }; connections])?;
        let (before, bytes, start) = (server.cpu()?, crowd.bytes(), Instant::now());
        crowd.join_all()?;
        let joined = start.elapsed();
        let end = crowd.until_quiet(QUIET)?;
        let mut sample = self.costs(&server, server.cpu()?.since(before), connections as u64, end - start)?;
        sample.further.insert("ms until all had joined".into(), joined.as_secs_f64() * 1e3);
        sample.further.insert("ms until all had heard of all".into(), (end - start).as_secs_f64() * 1e3);
        let each = (crowd.bytes() - bytes) as f64 / connections as f64;
        sample.further.insert("kB received by each".into(), each / 1e3);
        Ok(sample)
    }

    fn reconnect(&self, connections: usize) -> Result<Sample> {
        let server = self.start()?;
        let crowd = self.members(&server, connections, 1, false)?;
        let (before, start) = (server.cpu()?, Instant::now());
        drop(crowd);
        let crowd = self.members(&server, connections, 1, false)?;
        let took = start.elapsed();
        let mut sample = self.costs(&server, server.cpu()?.since(before), connections as u64, took)?;
        sample.further.insert("ms until all were back".into(), took.as_secs_f64() * 1e3);
        drop(crowd);
        Ok(sample)
    }
}

impl Stage {
    /// Sends the next message of a publisher, which was due at this time.
    fn send(&mut self, publisher: usize, due: Instant) -> Result<()> {
        let Publisher { client, channel, sent } = &mut self.publishers[publisher];
        let (dialect, payload) = (self.crowd.dialect(*client), wire::payload(publisher, *sent, self.size));
        let text = match self.talk {
            Talk::Publish => dialect.publish(channel, *sent, &payload),
            Talk::Echo => dialect.echo(channel, *sent, &payload),
        };
        *sent += 1;
        self.crowd.timeline().due(publisher, due);
        self.crowd.send(*client, &wire::text(&text))
    }

    /// Sends at a pace that waits for nobody: what could not be sent in time is sent as soon as possible, and counts from when
    /// it was due.
    fn pace(&mut self, every: Duration, end: Instant) -> Result<()> {
        let mut next = Instant::now();
        while next < end {
            let now = Instant::now();
            if now >= next {
                for publisher in 0..self.publishers.len() {
                    self.send(publisher, next)?;
                }
                next += every;
                self.crowd.poll(Duration::ZERO)?;
            } else {
                // A poll may last for a millisecond more than it should, which would count as latency.
                self.crowd.poll((next - now).saturating_sub(Duration::from_millis(2)))?;
            }
        }
        Ok(())
    }

    /// Sends whenever a publisher has got enough of its own messages back.
    fn saturate(&mut self, window: u64, end: Instant) -> Result<()> {
        while Instant::now() < end {
            for publisher in 0..self.publishers.len() {
                loop {
                    let (client, sent) = (self.publishers[publisher].client, self.publishers[publisher].sent);
                    if sent - self.crowd.clients()[client].ledger.of(publisher).min(sent) >= window {
                        break;
                    }
                    self.send(publisher, Instant::now())?;
                }
            }
            self.crowd.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Waits for what is on its way; answers how many messages did not come.
    fn settle(&mut self) -> Result<u64> {
        let Stage { crowd, publishers, hears, .. } = self;
        crowd.settle(|client| publishers[hears[client].clone()].iter().map(|publisher| publisher.sent).sum())
    }
}

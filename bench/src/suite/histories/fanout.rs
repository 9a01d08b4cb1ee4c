//! The cost of a delivery in a channel that keeps its messages, as a multiple of that in a channel that does not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::load::Resume;
use crate::process::{Cpu, ServerProcess};
use crate::statistics::median;
use crate::suite::driver::LoadDriver;
use crate::suite::run::Run;
use crate::suite::sample::Sample;
use crate::suite::scenario::{POSITIONS_CPU, SESSIONS_CPU};

/// The most of its own messages that a publisher may have in flight.
const WINDOW: u64 = 4;

/// The shortest turn of a server. Clients with sessions are pinged once a second: a shorter turn would have more pings.
const TURN: Duration = Duration::from_secs(2);

/// The load ahead of a turn. Clients with sessions are due for a ping since their last turn, which they get there. The others send a
/// frame there, too: Linux delays the acknowledgements of a host that has answered, until it is silent for 40 ms, and then they cost the
/// sender more. Clients that answer only the pings that keep a connection alive differ in nothing else, because a busy channel has no
/// such silence (`net.ipv4.tcp_pingpong_thresh`).
const WARM_UP: Duration = Duration::from_millis(300);

/// A server with its clients.
struct Side {
    server: ServerProcess,
    driver: LoadDriver,
    cpu: Cpu,
    count: u64,
    seconds: f64,
    /// µs of CPU for each delivery, by turn.
    turns: Vec<f64>,
}

impl Run<'_> {
    /// Applies the load in turn to three servers, which are all up with their clients, in another order for each turn.
    pub(super) fn history_fanout(&self, members: usize, every: Option<Duration>) -> Result<Sample> {
        let mut sides = [
            self.side(&[], Resume::Never, members)?,
            self.side(&[("PLAIN_HISTORY", "on")], Resume::From("".into()), members)?,
            self.side(&[("PLAIN_HISTORY", "on"), ("SESSIONS", "on")], Resume::Never, members)?,
        ];
        let mut random = fastrand::Rng::with_seed(self.seed);
        let turns = (self.lasting.as_secs_f64() / TURN.as_secs_f64()).floor().max(1.0) as u32;
        for _ in 0..turns {
            let mut order = [0, 1, 2];
            random.shuffle(&mut order);
            for side in order {
                sides[side].turn(self.lasting / turns, every)?;
            }
        }
        let [without, positions, sessions] = &sides;
        let mut sample = self.costs(&positions.server, positions.cpu, positions.count, Duration::ZERO)?;
        sample.seconds = positions.seconds;
        sample.latency = positions.driver.pool.latency();
        let times = |side: &Side| median(side.turns.iter().zip(&without.turns).map(|(side, without)| side / without));
        sample.further.insert(POSITIONS_CPU.into(), times(positions));
        sample.further.insert(SESSIONS_CPU.into(), times(sessions));
        sample.further.insert("µs CPU per delivery without a history".into(), median(without.turns.iter().copied()));
        sample.out_of_order = sides.iter().map(|side| side.driver.pool.out_of_order()).sum();
        Ok(sample)
    }

    fn side(&self, variables: &[(&str, &str)], resume: Resume, members: usize) -> Result<Side> {
        let server = self.start_with(variables)?;
        let (mut driver, mut specs) = (LoadDriver::new(self.pool()?, 100), Vec::new());
        driver.add_room(&mut specs, &self.client(&server, "/plain/r0", resume), members, 1);
        driver.pool.add(specs)?;
        Ok(Side { server, driver, cpu: Cpu::default(), count: 0, seconds: 0.0, turns: Vec::new() })
    }
}

impl Side {
    /// Applies the load for this long, after a warm-up.
    fn turn(&mut self, lasting: Duration, every: Option<Duration>) -> Result<()> {
        self.driver.pool.speak();
        self.load(every, WARM_UP)?;
        let (received, before, start) = (self.driver.pool.received(), self.server.cpu()?, Instant::now());
        self.load(every, lasting)?;
        let (cpu, count) = (self.server.cpu()?.since(before), self.driver.pool.received() - received);
        ensure!(count > 0, "no message has arrived");
        self.cpu = self.cpu.plus(cpu);
        self.count += count;
        self.seconds += start.elapsed().as_secs_f64();
        self.turns.push(cpu.total * 1e6 / count as f64);
        Ok(())
    }

    fn load(&mut self, every: Option<Duration>, lasting: Duration) -> Result<()> {
        let end = Instant::now() + lasting;
        match every {
            Some(every) => self.driver.pace(every, end)?,
            None => self.driver.saturate(WINDOW, end)?,
        }
        let lost = self.driver.settle()?;
        ensure!(lost == 0, "{lost} messages were lost");
        Ok(())
    }
}

//! The cost of a shared history: two nodes and a Redis, with a history and without.

use anyhow::{Context, Result, ensure};
use bench::wire::dialect::Dialect;

use crate::cluster::{ClusterLoad, Fixture, Measurement};
use crate::load::Latency;
use crate::process::Cpu;
use crate::suite::run::Run;
use crate::suite::sample::Sample;
use crate::suite::scenario::{APPEND_INTERVAL, LOCAL_ADDED};

impl Run<'_> {
    /// Runs each load with a history and without, one directly after the other.
    pub(super) fn history_nodes(&self) -> Result<Sample> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut pair = |load| {
            let first = random.bool();
            let (one, other) = (self.nodes_with(load, first)?, self.nodes_with(load, !first)?);
            Ok::<_, anyhow::Error>(if first { (one, other) } else { (other, one) })
        };
        let (steady, local, flood) = (pair(ClusterLoad::Steady)?, pair(ClusterLoad::Local)?, pair(ClusterLoad::Flood)?);
        let (kept, plain) = &steady;
        let (latency, without) = (latency(kept)?, latency(plain)?);
        let cpu = kept.cpu.iter().fold(Cpu::default(), |sum, cpu| sum.plus(*cpu));
        let mut sample = Sample {
            figure: latency.p99 - without.p99,
            count: kept.messages,
            seconds: kept.seconds,
            cpu: cpu.total,
            user: cpu.user,
            latency: Some(latency),
            rss: kept.rss,
            peak_rss: kept.rss,
            ..Sample::default()
        };
        for run in [&steady, &local, &flood].into_iter().flat_map(|(kept, plain)| [kept, plain]) {
            sample.lost += run.lost;
            sample.out_of_order += run.out_of_order;
        }
        let further = &mut sample.further;
        further.insert("p50, ms more than without history".into(), latency.p50 - without.p50);
        further.insert("p99 without history, ms".into(), without.p99);
        let (local, local_without) = (self::latency(&local.0)?, self::latency(&local.1)?);
        further.insert(LOCAL_ADDED.into(), local.p99 - local_without.p99);
        further.insert("p99 within a node, ms".into(), local.p99);
        for (index, name) in ["publishing node", "receiving node", "Redis"].into_iter().enumerate() {
            further.insert(format!("{name}, µs CPU per message"), kept.micros(index));
            further.insert(format!("{name}, µs CPU without history"), plain.micros(index));
            further.insert(format!("{name}, µs CPU as fast as it goes"), flood.0.micros(index));
        }
        further.insert(APPEND_INTERVAL.into(), 1e6 / flood.0.rate());
        further.insert("messages/s, as fast as it goes".into(), flood.0.rate());
        further.insert("the same without history".into(), flood.1.rate());
        Ok(sample)
    }

    /// Runs a load on fresh nodes.
    fn nodes_with(&self, load: ClusterLoad, history: bool) -> Result<Measurement> {
        let core = self.environment.core;
        let start = |redis: &str, name: &str| {
            let kept = if history { "on" } else { "off" };
            self.start_with(&[("REDIS_URL", redis), ("NODE_NAME", name), ("PLAIN_HISTORY", kept)])
        };
        let fixture = match load {
            ClusterLoad::Local => Fixture::node(core, start)?,
            _ => Fixture::nodes(Dialect::Pond, core, start)?,
        };
        let run = load.run(fixture, self.lasting)?;
        ensure!(run.messages > 0, "no message has arrived");
        Ok(run)
    }
}

fn latency(run: &Measurement) -> Result<Latency> {
    run.latency()?.context("no latencies")
}

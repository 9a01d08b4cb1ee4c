//! The cost of what clients have missed: of one that has missed much, and of many that have missed the same.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{HEADER, WINDOW};
use crate::load::{ClientSpec, Resume};
use crate::process::{Cpu, ServerProcess};
use crate::suite::driver::LoadDriver;
use crate::suite::run::Run;
use crate::suite::sample::Sample;

/// Clients that resume before CPU time is measured.
const WARM_UP: usize = 20;

/// The channel of all clients.
const CHANNEL: &str = "/history/r0";

impl Run<'_> {
    /// Lets clients resume one after the other, and measures the CPU time of a join with its replay.
    pub(super) fn history_replay(&self, clients: usize, messages: usize) -> Result<Sample> {
        let (server, publisher, text) = self.kept(messages)?;
        let epoch = publisher.pool.clients()[0].epoch()?;
        let (start, end) = (self.member(&server, epoch, 0), self.member(&server, epoch, messages as u64));
        let began = Instant::now();
        let replayed = self.one_by_one(&server, &start, clients, messages as u64)?;
        let took = began.elapsed();
        let joined = self.one_by_one(&server, &end, clients, 0)?;
        let mut sample = self.costs(&server, replayed, clients as u64, took)?;
        sample.figure = replayed.total * 1e3 / clients as f64;
        sample.further.insert("bytes of a message".into(), text);
        sample.further.insert("ms CPU of a join that misses nothing".into(), joined.total * 1e3 / clients as f64);
        Ok(sample)
    }

    /// Lets many clients resume at the same time.
    pub(super) fn history_resume(&self, clients: usize, messages: usize) -> Result<Sample> {
        let (server, publisher, _) = self.kept(messages)?;
        let spec = self.member(&server, publisher.pool.clients()[0].epoch()?, 0);
        let mut pool = self.pool()?;
        pool.add(vec![spec.clone(); WARM_UP])?;
        for client in 0..WARM_UP {
            pool.join_one(client, messages as u64)?;
        }
        let mut pool = self.pool()?;
        let connecting = server.cpu()?;
        pool.add(vec![spec; clients])?;
        let (before, start) = (server.cpu()?, Instant::now());
        pool.join_all()?;
        let lost = pool.settle(|_| messages as u64)?;
        let took = start.elapsed();
        let cpu = server.cpu()?.since(before);
        let mut sample = self.costs(&server, cpu, clients as u64, took)?;
        (sample.figure, sample.lost, sample.out_of_order) = (cpu.total, lost, pool.out_of_order());
        sample.further.insert("s until all had everything".into(), took.as_secs_f64());
        sample.further.insert("s CPU of their connections".into(), before.since(connecting).total);
        Ok(sample)
    }

    /// A server with a channel that keeps this number of messages, their publisher, and the size of their texts.
    fn kept(&self, messages: usize) -> Result<(ServerProcess, LoadDriver, f64)> {
        let server = self.start_with(&[("HISTORY_MESSAGES", &messages.to_string())])?;
        let mut driver = self.publishers(&server, [CHANNEL.to_owned()].into_iter())?;
        let before = driver.pool.bytes();
        driver.publish(WINDOW, messages as u64)?;
        let text = (driver.pool.bytes() - before) as f64 / messages as f64 - HEADER;
        Ok((server, driver, text))
    }

    /// A client that has received this number of messages of the channel.
    fn member(&self, server: &ServerProcess, epoch: &str, received: u64) -> ClientSpec {
        let position: Arc<str> = format!("{epoch}.{received}").into();
        ClientSpec { eager: false, ..self.client(server, CHANNEL, Resume::From(position)) }
    }

    /// Lets open connections join one after the other, and returns the CPU time of the joins.
    fn one_by_one(&self, server: &ServerProcess, spec: &ClientSpec, clients: usize, messages: u64) -> Result<Cpu> {
        let mut pool = self.pool()?;
        pool.add(vec![spec.clone(); WARM_UP + clients])?;
        for client in 0..WARM_UP {
            pool.join_one(client, messages)?;
        }
        let before = server.cpu()?;
        for client in WARM_UP..WARM_UP + clients {
            pool.join_one(client, messages)?;
        }
        ensure!(pool.out_of_order() == 0, "messages were replayed out of order");
        Ok(server.cpu()?.since(before))
    }
}

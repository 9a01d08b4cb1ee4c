use std::net::TcpListener;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::Connection;

use super::server::rss_of;
use super::{ChildProcess, Cpu, pinned};

/// The longest time until a started Redis answers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A `redis-server` that keeps nothing; it is killed when this is dropped.
pub(crate) struct Redis {
    child: ChildProcess,
    /// The URL at which it listens.
    pub(crate) url: String,
    connection: Connection,
}

impl Redis {
    /// Starts one on a free port, pinned to `core`.
    pub(crate) fn start(core: Option<usize>) -> Result<Redis> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut command = pinned("redis-server", core);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        let child = command.current_dir(std::env::temp_dir()).stdout(Stdio::null()).spawn();
        let mut child = ChildProcess(child.context("cannot start redis-server")?);
        let url = format!("redis://127.0.0.1:{port}");
        let (client, deadline) = (redis::Client::open(url.as_str())?, Instant::now() + TIMEOUT);
        loop {
            if let Ok(connection) = client.get_connection() {
                return Ok(Redis { child, url, connection });
            }
            ensure!(child.0.try_wait()?.is_none(), "redis-server has ended by itself");
            ensure!(Instant::now() < deadline, "redis-server does not answer");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until each of these topics has `count` subscribers.
    pub(crate) fn wait_for_subscribers(&mut self, topics: &[String], count: usize) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let counts: Vec<(String, usize)> =
                redis::cmd("PUBSUB").arg("NUMSUB").arg(topics).query(&mut self.connection)?;
            if counts.iter().all(|(_, subscribers)| *subscribers == count) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "there are too few subscribers: {counts:?}");
            sleep(Duration::from_millis(1));
        }
    }

    /// The bytes before and behind `text` in the first message on `topic` that holds it; `publish` sends that message.
    /// Nodes also publish there what has nothing to do with it: who has joined, and who subscribes.
    pub(crate) fn around(
        &mut self,
        text: &str,
        topic: &str,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<(String, String)> {
        let mut listener = self.connection.as_pubsub();
        listener.subscribe(topic)?;
        publish()?;
        listener.set_read_timeout(Some(TIMEOUT))?;
        loop {
            let message: String = listener.get_message()?.get_payload()?;
            if let Some((head, tail)) = message.split_once(text) {
                return Ok((head.to_owned(), tail.to_owned()));
            }
        }
    }

    /// Its resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        rss_of(self.child.0.id())
    }

    /// The CPU time that it has spent so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        Cpu::of(self.child.0.id())
    }
}

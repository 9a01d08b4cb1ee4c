//! Processes that never outlive the one that has started them.
//!
//! A child is this program with a subcommand. Its only line of output is the address at which it can be reached. It ends when its
//! standard input ends. The parent stops it by closing that, and the system closes it when the parent dies.

use std::env;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{self, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The longest time until a child is ready, and until it has ended after a stop.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A child that is ready. Dropping it ends it.
pub(crate) struct Child {
    process: process::Child,
    pid: u32,
    /// Taken out of `process`, whose `wait` would close it.
    input: ChildStdin,
    address: String,
}

impl Child {
    /// Starts this program with these arguments and waits until it is ready.
    pub(crate) async fn start<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Child> {
        let mut process = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C must reach the launcher alone, which stops its children in order.
            .process_group(0)
            .spawn()?;
        let pid = process.id().context("it has ended at once")?;
        let input = process.stdin.take().context("it has no input")?;
        let output = process.stdout.take().context("it has no output")?;
        let mut lines = BufReader::new(output).lines();
        match timeout(TIMEOUT, lines.next_line()).await.context("it is not ready in time")?? {
            Some(address) => Ok(Child { process, pid, input, address }),
            None => bail!("it has ended at once"),
        }
    }

    /// The address at which it can be reached.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end. May be dropped and called again.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends it as a crash would: SIGKILL.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.process.kill().await
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        drop(self.input);
        match timeout(TIMEOUT, self.process.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => self.process.kill().await,
        }
    }
}

/// Completes when this process, a child, has to end.
pub(crate) async fn told_to_end() {
    let (gone, seen) = oneshot::channel();
    // A thread, since the runtime waits for its own reads at the end, and this one may never be done.
    thread::spawn(move || {
        // Errors are dropped: at an error of the input the parent is gone as well, and the receiver of `gone` may be dropped.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = gone.send(());
    });
    // An error means that the thread has ended, so the input has.
    let _ = seen.await;
}

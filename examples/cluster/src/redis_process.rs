//! A Redis that keeps nothing, on a port of its own.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::child::told_to_end;

/// The longest time until Redis is ready.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The number of ports that are tried: another program may take a free one before Redis does.
const ATTEMPTS: usize = 3;

/// Fails with instructions if Redis is not installed.
pub(crate) async fn check_installed() -> Result<()> {
    match Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "there is no redis-server: `apt install redis-server` or `brew install redis`, or use one with --redis URL"
            )
        }
        Err(error) => Err(error).context("cannot run redis-server"),
    }
}

/// Runs Redis, prints its address, and kills it when the standard input ends. As a direct child, Redis would outlive a
/// launcher that is killed.
pub(crate) async fn run() -> Result<()> {
    let folder = TempDir::with_prefix("cluster-redis-")?;
    let (mut redis, port) = start(&folder).await?;
    println!("redis://127.0.0.1:{port}");
    tokio::select! {
        ended = redis.wait() => bail!("Redis has ended: {}", ended?),
        () = told_to_end() => Ok(redis.kill().await?),
    }
}

async fn start(folder: &TempDir) -> Result<(Child, u16)> {
    for _ in 0..ATTEMPTS {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut redis = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if timeout(TIMEOUT, is_ready(&mut redis)).await.context("Redis is not ready in time")?? {
            return Ok((redis, port));
        }
    }
    bail!("Redis does not start: try `redis-server --port 0`")
}

/// Returns `true` when it is ready, `false` if it has ended.
async fn is_ready(redis: &mut Child) -> Result<bool> {
    let mut lines = BufReader::new(redis.stdout.take().context("Redis has no output")?).lines();
    while let Some(line) = lines.next_line().await? {
        if line.contains("Ready to accept connections") {
            // Redis logs more lines, and would block if they were not read.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(true);
        }
    }
    Ok(false)
}

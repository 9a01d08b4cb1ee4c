//! A proxy as a process of its own, with its configuration from `ops/`.

pub(crate) mod haproxy;
pub(crate) mod nginx;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::DEADLINE;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// The values that a test fills into a configuration.
pub(crate) struct Settings {
    pub(crate) servers: [SocketAddr; 2],
    /// The idle timeout, such as `75s`.
    pub(crate) idle: &'static str,
}

/// A running proxy. Its drop stops it.
pub(crate) struct RunningProxy {
    pub(crate) address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl RunningProxy {
    /// Starts it and waits until it listens.
    async fn start(mut program: Command, address: SocketAddr, folder: TempDir) -> RunningProxy {
        let process = program.spawn().expect("it is installed");
        let mut proxy = RunningProxy { address, process, _folder: folder };
        let deadline = Instant::now() + DEADLINE;
        while let Err(error) = TcpStream::connect(address).await {
            let ended = proxy.process.try_wait().expect("it is our child");
            assert!(ended.is_none() && Instant::now() < deadline, "{error}; the proxy: {ended:?}");
            sleep(DEADLINE / 1000).await;
        }
        proxy
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        // SIGTERM, because SIGKILL would leave its workers behind.
        let id = self.process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(Err(error)) = id.map(|id| kill_process(id, Signal::TERM)) {
            eprintln!("the proxy is not stopped: {error}");
        }
        // Waits for its end before its folder is removed.
        let deadline = Instant::now() + DEADLINE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(DEADLINE / 1000);
        }
    }
}

/// A configuration of `ops/` with other values. Each replaced value must exist; the rest stays as it is published.
fn configuration(file: &str, values: &[(&str, &str)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops").join(file);
    let text = fs::read_to_string(file).expect("a configuration");
    values.iter().fold(text, |text, (theirs, ours)| {
        assert!(text.contains(theirs), "the configuration has no `{theirs}`");
        text.replace(theirs, ours)
    })
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
}

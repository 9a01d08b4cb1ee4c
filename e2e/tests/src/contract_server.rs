//! A contract server of one's own, for as long as one test runs.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Starting may include compiling.
const START: Duration = Duration::from_secs(600);
/// The server lets its clients go within ten seconds.
const STOP: Duration = Duration::from_secs(20);

/// Killed when it is dropped.
#[derive(Debug)]
pub struct ContractServer {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl ContractServer {
    /// Builds the server if need be, starts it on a free port and waits until it listens.
    pub async fn start() -> ContractServer {
        // On Unix `cargo run` becomes the program that it has built, so that the child is the server itself.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "--quiet", "--package", "contract"]);
        ContractServer::spawn(cargo).await
    }

    /// The same, with so many file descriptors at the most.
    pub async fn start_with_descriptors(limit: u32) -> ContractServer {
        // A compiler may need more.
        let build = Command::new(env!("CARGO")).args(["build", "--quiet", "--package", "contract"]).status().await;
        assert!(build.expect("cargo starts").success(), "the contract server compiles");
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {limit} && exec '{}' run --quiet --package contract", env!("CARGO"));
        shell.args(["-c", &script]);
        ContractServer::spawn(shell).await
    }

    async fn spawn(mut command: Command) -> ContractServer {
        let mut process =
            command.env("PORT", "0").stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("cargo starts");
        let output = process.stdout.take().expect("its output is piped");
        let mut lines = BufReader::new(output).lines();
        let line = timeout(START, lines.next_line())
            .await
            .expect("a first line in time")
            .expect("text")
            .expect("a first line");
        let port = line.strip_prefix("listening ").and_then(|port| port.parse().ok()).expect("listening PORT");
        ContractServer { process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Whether every file descriptor below a limit is taken (Linux). What the server has inherited may lie above it.
    pub fn has_used_up(&self, limit: u32) -> bool {
        let id = self.process.id().expect("it runs");
        (0..limit).all(|descriptor| std::fs::symlink_metadata(format!("/proc/{id}/fd/{descriptor}")).is_ok())
    }

    /// Asks the server to stop, as an operator does: with SIGTERM.
    pub async fn terminate(&self) {
        let id = self.process.id().expect("it runs").to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(status.expect("kill starts").success(), "the server is there to be told");
    }

    /// Waits until the server has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(STOP, self.process.wait()).await.expect("the server ends in time").expect("it is our child")
    }
}

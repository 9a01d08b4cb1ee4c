//! A Redis server for one test, and the failures that can happen to it.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// The most time for a server to start. It is usually ready at once, but not on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A `redis-server`, or a sentinel, that keeps nothing, on a port of its own. Killed when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    /// The port, on 127.0.0.1.
    pub port: u16,
    process: Child,
    folder: TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> RedisServer {
        RedisServer::start_with(&[]).await
    }

    /// Starts a server with further arguments.
    pub async fn start_with(arguments: &[&str]) -> RedisServer {
        RedisServer::launch(|port, _| {
            let all = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
            all.iter().chain(arguments).map(ToString::to_string).collect()
        })
        .await
    }

    /// Starts a sentinel for a primary, under the name `main`, with a quorum of one. A server counts as down after two seconds: a
    /// shorter time has made it take a primary on a busy machine for dead.
    pub async fn start_sentinel(primary: &RedisServer) -> RedisServer {
        let watched = primary.port;
        RedisServer::launch(|port, folder| {
            let file = folder.join("sentinel.conf");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {watched} 1\n\
                 sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 3000\n"
            );
            std::fs::write(&file, settings).expect("a file");
            vec![file.to_str().expect("a path").into(), "--sentinel".into()]
        })
        .await
    }

    async fn launch(arguments: impl Fn(u16, &Path) -> Vec<String>) -> RedisServer {
        let mut log = String::new();
        for _ in 0..5 {
            let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
            let arguments = arguments(port, folder.path());
            let process = spawn(folder.path(), &arguments);
            let mut server = RedisServer { port, process, folder, arguments };
            // Another process may have taken the port since it was checked.
            if server.is_ready().await {
                return server;
            }
            log = server.log();
        }
        panic!("redis-server has ended by itself: {log}");
    }

    /// The URL for clients.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server with SIGKILL, as a power cut would.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("it is our child");
    }

    /// Shuts the server down without saving, and waits until it has ended.
    pub async fn shut_down(&mut self) {
        // The connection ends in place of an answer.
        let _ = self.try_command::<()>(&["SHUTDOWN", "NOSAVE"]).await;
        self.process.wait().await.expect("it is our child");
    }

    /// Starts the server again on the same port, and waits until it answers.
    pub async fn restart(&mut self) {
        self.process = spawn(self.folder.path(), &self.arguments);
        assert!(self.is_ready().await, "redis-server has ended by itself: {}", self.log());
    }

    /// Suspends the server with SIGSTOP: the kernel still accepts connections, but nothing is answered.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Resumes the server with SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Executes a command on a connection of its own, and waits for the answer without a deadline.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Executes a command on a connection of its own.
    ///
    /// # Errors
    /// If there is no connection, or Redis refuses the command.
    pub async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = Client::open(("127.0.0.1", self.port))?;
        // The default would be a second, which a busy machine may take.
        let connected = Some(Duration::from_secs(10));
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(connected);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }

    /// A value of the server's `INFO`, such as `role` in the section `replication`.
    pub async fn info(&self, section: &str, name: &str) -> String {
        let info: String = self.command(&["INFO", section]).await;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
    }

    async fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + START;
        // A server with a password refuses `PING`, but is ready.
        let answers = |answer: &RedisResult<String>| match answer {
            Ok(_) => true,
            Err(error) => error.code() == Some("NOAUTH"),
        };
        while !answers(&self.try_command(&["PING"]).await) {
            if self.process.try_wait().expect("it is our child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer: {}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.id().expect("it runs");
        let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("not 0");
        kill_process(pid, signal).expect("the process exists");
    }

    /// The text that the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A free port below the range from which systems choose ports, so that no other process gets it while its server is
/// stopped.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        // From the process id, because several test processes run at once.
        let port = 20_000 + ((std::process::id() as u16).wrapping_mul(37) % 10_000 + step) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = File::create(folder.join("log")).expect("a file");
    let mut command = Command::new("redis-server");
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    let child = command.kill_on_drop(true).spawn();
    child.expect("these tests need the program `redis-server` (Debian: apt-get install redis-server)")
}

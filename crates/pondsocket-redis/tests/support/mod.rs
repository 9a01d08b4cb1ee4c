//! A Redis of our own, and a node that reads what its bus says.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::cluster::{
    Bus, BusError, BusEvent, BusEvents, BusSink, Outcome, Publish, Session, SinkLimits, Stop, Stopper, Topic,
};
use pondsocket_redis::{RedisBus, RedisOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A `redis-server` that keeps nothing, on a port of its own. It is killed when it is dropped.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    child: Mutex<Child>,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

/// A port below those that systems hand out by themselves, so that nobody takes it while its server is away.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + ((std::process::id() as u16).wrapping_mul(37) % 10_000 + step) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl RedisServer {
    pub(crate) async fn start() -> RedisServer {
        RedisServer::with(&[]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> RedisServer {
        let arguments = arguments.iter().map(|argument| argument.to_string());
        let nothing_kept = ["--save", "", "--appendonly", "no"].map(String::from);
        RedisServer::launch(|port, _| {
            let address = ["--port", &port.to_string(), "--bind", "127.0.0.1"].map(String::from);
            address.into_iter().chain(nothing_kept.clone()).chain(arguments.clone()).collect()
        })
        .await
    }

    /// A sentinel that alone decides about the primary `main`.
    pub(crate) async fn sentinel(primary: &RedisServer) -> RedisServer {
        let watched = primary.port;
        RedisServer::launch(|port, folder| {
            let file = folder.join("sentinel.conf");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {watched} 1\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n"
            );
            std::fs::write(&file, settings).expect("a file");
            vec![file.to_str().expect("a path").into(), "--sentinel".into()]
        })
        .await
    }

    async fn launch(arguments: impl Fn(u16, &Path) -> Vec<String>) -> RedisServer {
        for attempt in 0.. {
            let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
            let arguments = arguments(port, folder.path());
            let child = Mutex::new(spawn(folder.path(), &arguments));
            let server = RedisServer { port, child, folder, arguments };
            if server.is_ready().await {
                return server;
            }
            // Somebody else may have been faster with the port.
            assert!(attempt < 5, "redis-server has ended by itself: {}", server.log());
        }
        unreachable!("it is asserted before")
    }

    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::default().port(self.port)
    }

    /// As with a power cut: `kill -9`.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().expect("no panic");
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Sends a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.lock().expect("no panic").id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("the program `kill`");
        assert!(done.success());
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&self) {
        self.kill();
        *self.child.lock().expect("no panic") = spawn(self.folder.path(), &self.arguments);
        assert!(self.is_ready().await, "redis-server has ended by itself: {}", self.log());
    }

    /// Does a command by a connection of its own.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_command(words).await.expect("an answer")
    }

    async fn try_command<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    }

    async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.try_command::<String>(&["PING"]).await {
                Ok(_) => return true,
                // It may want a password.
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) => {}
            }
            if self.child.lock().expect("no panic").try_wait().expect("a child").is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer: {}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a file");
    let mut command = Command::new("redis-server");
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
    command.spawn().expect("these tests need the program `redis-server` (Debian: apt-get install redis-server)")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A node whose bus runs.
pub(crate) struct Node {
    pub(crate) bus: Arc<RedisBus>,
    pub(crate) events: BusEvents,
    pub(crate) stopper: Stopper,
    pub(crate) running: JoinHandle<Result<(), BusError>>,
}

#[track_caller]
pub(crate) fn soon<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        match timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{at}: no {what} within {DEADLINE:?}"),
        }
    }
}

/// Waits until it holds.
#[track_caller]
pub(crate) fn eventually(what: &'static str, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < deadline, "{at}: {what} does not come true");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Node {
    pub(crate) fn start(options: RedisOptions, topics: &[&str]) -> Node {
        let bus = Arc::new(RedisBus::new(options).expect("options that can work"));
        let topics: Vec<_> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        bus.interest(&topics, &[]);
        let (sink, events) = BusSink::new(SinkLimits::default());
        let (stopper, stop) = Stop::new();
        let running = tokio::spawn(bus.clone().run(sink, stop));
        Node { bus, events, stopper, running }
    }

    /// A node that is up and listens.
    pub(crate) async fn listening(options: RedisOptions, topics: &[&str]) -> Node {
        let mut node = Node::start(options, topics);
        node.next_up().await;
        node.subscribed(topics).await;
        node
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> impl Future<Output = BusEvent> {
        let event = soon("event", self.events.next());
        async { event.await.expect("the bus has ended") }
    }

    pub(crate) async fn next_up(&mut self) -> Session {
        loop {
            if let BusEvent::Up { session } = self.event().await {
                return session;
            }
        }
    }

    pub(crate) async fn next_down(&mut self) -> BusError {
        loop {
            if let BusEvent::Down { reason } = self.event().await {
                return reason;
            }
        }
    }

    /// Waits until all of these were subscribed; other events are skipped.
    pub(crate) async fn subscribed(&mut self, topics: &[&str]) {
        let mut missing: std::collections::HashSet<Topic> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        while !missing.is_empty() {
            if let BusEvent::Subscribed { topics, .. } = self.event().await {
                for topic in &topics {
                    missing.remove(topic);
                }
            }
        }
    }

    /// The next message; `Up`, `Down` and `Subscribed` are skipped.
    pub(crate) async fn message(&mut self) -> (Topic, String) {
        loop {
            match self.event().await {
                BusEvent::Message { topic, data } => {
                    return (topic, String::from_utf8(data.to_vec()).expect("text"));
                }
                BusEvent::Gap { lost, cause } => panic!("a gap, {cause:?}: {lost}"),
                _ => {}
            }
        }
    }

    pub(crate) async fn publish(&self, topic: &str, data: &str) -> Outcome {
        let outcomes = soon("outcome", self.bus.publish(vec![Publish::new(topic, data.to_owned())])).await;
        let [outcome] = outcomes.try_into().expect("one outcome");
        outcome
    }

    /// Publishes until it is sent, as after a return of Redis.
    pub(crate) async fn publish_at_last(&self, topic: &str, data: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !matches!(self.publish(topic, data).await, Outcome::Sent { .. }) {
            assert!(Instant::now() < deadline, "it is never sent");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

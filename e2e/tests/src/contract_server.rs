//! A contract server for the duration of one test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// The longest time to start: a program of another language may be compiled first.
const START: Duration = Duration::from_secs(600);
/// The longest time to stop: the server drains for up to ten seconds.
const STOP: Duration = Duration::from_secs(20);
/// The longest time for an answer on a busy machine.
const ANSWER: Duration = Duration::from_secs(10);

/// Settings with which the C library returns freed memory to the system, so that resident memory is memory in use. By default each
/// thread keeps an arena of freed memory.
const RETURN_MEMORY: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536")];

/// A contract server. Its drop kills it.
#[derive(Debug)]
pub struct ContractServer {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// The address at which it listens.
    pub address: SocketAddr,
}

/// The resources that a server holds for its clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holdings {
    /// The tasks of its runtime.
    pub tasks: u64,
    /// Open files and sockets.
    pub descriptors: usize,
    /// Connections, including those that are being accepted or closed.
    pub connections: u64,
    /// The names of its live channels.
    pub channels: Vec<String>,
}

impl ContractServer {
    /// Builds the server if need be, starts it on a free port and waits until it listens.
    pub async fn start() -> ContractServer {
        ContractServer::started_by(Command::new(ContractServer::program().await)).await
    }

    /// Starts it with settings in its environment.
    pub async fn start_with(settings: &[(&str, &str)]) -> ContractServer {
        let mut command = Command::new(ContractServer::program().await);
        command.envs(settings.iter().copied());
        ContractServer::started_by(command).await
    }

    /// Starts it as a node of the cluster on a Redis.
    pub async fn start_as_node(redis: &str, name: &str) -> ContractServer {
        ContractServer::start_with(&[("REDIS_URL", redis), ("NODE_NAME", name)]).await
    }

    /// Starts it with a limit of file descriptors.
    pub async fn start_with_descriptors(limit: u32) -> ContractServer {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\"")]).arg(ContractServer::program().await);
        ContractServer::started_by(shell).await
    }

    /// The program: `CONTRACT_BIN`, or a build of its own, in the profile of the test itself and beside it.
    pub async fn program() -> &'static Path {
        static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
        let build = async {
            if let Some(built) = std::env::var_os("CONTRACT_BIN") {
                return PathBuf::from(built);
            }
            // The package alone, or no test, would be another choice of features, and dependencies would be built again.
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--workspace", "--all-features"]);
            cargo.args(["--bin", "contract", "--test", "shutdown"]);
            if !cfg!(debug_assertions) {
                cargo.arg("--release");
            }
            assert!(cargo.status().await.expect("cargo starts").success(), "the contract server compiles");
            let test = std::env::current_exe().expect("a path");
            test.ancestors().nth(2).expect("PROFILE/deps/TEST").join("contract")
        };
        PROGRAM.get_or_init(|| build).await
    }

    /// Starts it by a program that is a server, or executes one, and that prints its port as the contract server does.
    pub async fn started_by(mut program: Command) -> ContractServer {
        program.env("PORT", "0").envs(RETURN_MEMORY).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = program.spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let port = next_line(&mut output, "listening ", START).await.parse().expect("a port");
        ContractServer { process, output, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Returns `true` if every file descriptor below a limit is in use (Linux). Inherited descriptors may be above the limit.
    pub fn has_used_up(&self, limit: u32) -> bool {
        let taken = |descriptor| fs::symlink_metadata(self.proc(&format!("fd/{descriptor}"))).is_ok();
        (0..limit).all(taken)
    }

    /// Sends SIGTERM, as an operator does to stop the server.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGSTOP: the process does nothing, and its connections stay open.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT, after `freeze`.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until the server has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(STOP, self.process.wait()).await.expect("the server ends in time").expect("it is our child")
    }

    /// The resources that the server holds now.
    pub async fn holdings(&mut self) -> Holdings {
        let snapshot = self.snapshot().await;
        let endpoints = snapshot["pond"]["endpoints"].as_array().expect("endpoints");
        let count = |endpoint: &Value, what: &str| endpoint[what].as_u64().expect("a number");
        let channels = endpoints.iter().flat_map(|endpoint| endpoint["channels"].as_array().expect("channels"));
        Holdings {
            tasks: snapshot["tasks"].as_u64().expect("a number"),
            descriptors: fs::read_dir(self.proc("fd")).expect("it runs").count(),
            connections: endpoints.iter().map(|it| count(it, "admitted").max(count(it, "closing"))).sum(),
            channels: channels.map(|channel| channel["name"].as_str().expect("a name").to_owned()).collect(),
        }
    }

    /// Returns `true` if it reports that its bus is up.
    pub async fn has_bus(&mut self) -> bool {
        self.snapshot().await["pond"]["cluster"]["up"].as_bool().expect("it is a node")
    }

    async fn snapshot(&mut self) -> Value {
        self.signal(Signal::USR1);
        let snapshot = next_line(&mut self.output, "snapshot ", ANSWER).await;
        serde_json::from_str(&snapshot).expect("JSON")
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that its resident memory has ever been, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the server runs");
    }

    fn pid(&self) -> Pid {
        let id = self.process.id().expect("it runs");
        Pid::from_raw(id.try_into().expect("as the kernel counts")).expect("not 0")
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid())
    }
}

/// Raises the limit of open files and sockets for this process and the servers that it starts.
pub fn allow_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let wanted = Rlimit { current: Some(count), maximum: limit.maximum };
        setrlimit(Resource::Nofile, wanted).expect("the hard limit allows so many");
    }
}

/// The rest of the next line of output, which must have this prefix.
async fn next_line(output: &mut Lines<BufReader<ChildStdout>>, prefix: &str, limit: Duration) -> String {
    let line = timeout(limit, output.next_line()).await.expect("a line in time").expect("text").expect("a line");
    line.strip_prefix(prefix).unwrap_or_else(|| panic!("not `{prefix}` but `{line}`")).to_owned()
}

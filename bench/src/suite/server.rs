//! The servers that are compared: how each is started, what it speaks, and what it cannot do.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bench::wire::dialect::Dialect;

use super::histories::HistoryLoad;
use super::scenario::{Load, Scenario};
use crate::load::Transport;
use crate::plan::Programs;
use crate::process;

/// A server that takes part in scenarios.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) about: &'static str,
    program: Program,
    variables: &'static [(&'static str, &'static str)],
    pub(crate) dialect: Dialect,
    /// The reason why it does not support a scenario.
    blank: fn(&Scenario) -> Option<&'static str>,
}

/// The program of a server.
#[derive(Eq, PartialEq)]
enum Program {
    /// Beside the runner.
    Ours(&'static str),
    /// A file of its folder below `bench/peers`.
    Peer(&'static str),
    /// A script for Node, of the same.
    Node(&'static str),
}

/// The programs, and the parts of the machine that they need.
pub(crate) struct Environment {
    pub(crate) programs: Programs,
    pub(crate) peers: PathBuf,
    /// The core on which they run.
    pub(crate) core: Option<usize>,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The library mimalloc, if it is installed.
    pub(crate) mimalloc: Option<PathBuf>,
    /// `redis-server` is installed.
    pub(crate) has_redis: bool,
}

/// Our server.
pub(crate) const OURS: &str = "ours";
/// Our server with metrics off.
pub(crate) const OURS_NO_METRICS: &str = "ours, no metrics";
/// Our server with another allocator.
pub(crate) const OURS_MIMALLOC: &str = "ours, mimalloc";
/// The reference server, which does the minimum that the protocol requires.
pub(crate) const LIMIT: &str = "limit";

/// All servers, in the order of reports.
pub(crate) const SERVERS: &[Server] = &[
    Server {
        name: LIMIT,
        about: "the minimum: one `write(2)` for each message and receiver",
        program: Program::Ours("limit"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |scenario| match scenario.load {
            Load::Churn { .. } => Some("it never reuses the places of closed connections"),
            _ => scenario.load.needs_presence().then_some("it has no presence"),
        },
    },
    Server {
        name: "limit, coalescing",
        about: "the same with one write for each receiver and wake-up",
        program: Program::Ours("limit"),
        variables: &[("COALESCE", "1")],
        dialect: Dialect::Pond,
        blank: |scenario| {
            let publishes = matches!(scenario.load, Load::Saturated { .. } | Load::Paced { .. });
            (!publishes || scenario.transport != Transport::Plain).then_some("there is nothing to coalesce")
        },
    },
    Server {
        name: OURS,
        about: "the contract server, with metrics on",
        program: Program::Ours("contract"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |_| None,
    },
    Server {
        name: OURS_NO_METRICS,
        about: "the same with metrics off",
        program: Program::Ours("contract"),
        variables: &[("METRICS", "off")],
        dialect: Dialect::Pond,
        blank: |scenario| (!matches!(scenario.load, Load::Echo { .. })).then_some("only in the echo scenarios"),
    },
    Server {
        name: OURS_MIMALLOC,
        about: "the same with the allocator mimalloc, preloaded, instead of that of glibc",
        program: Program::Ours("contract"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |scenario| {
            let memory = matches!(
                scenario.load,
                Load::Idle { .. } | Load::Large { .. } | Load::Churn { .. } | Load::History(HistoryLoad::Memory)
            );
            (!memory).then_some("only in scenarios about memory")
        },
    },
    Server {
        name: "pondsocket",
        about: "the published crates pondsocket 0.1.4 and pondsocket-axum",
        program: Program::Peer("pondsocket/target/release/bench-pondsocket"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |scenario| match scenario.transport {
            Transport::Compressed => Some("axum's WebSockets do not compress"),
            Transport::EventStream => Some("its adapter for axum has WebSockets only"),
            _ if matches!(scenario.load, Load::Nodes(_)) => {
                Some("a broadcast to all but the sender does not reach other nodes")
            }
            _ => None,
        },
    },
    Server {
        name: "socketioxide",
        about: "socketioxide 0.18.9 on axum",
        program: Program::Peer("socketioxide/target/release/bench-socketioxide"),
        variables: &[],
        dialect: Dialect::SocketIo,
        blank: |scenario| match scenario.transport {
            Transport::Compressed => Some("it does not compress"),
            _ => socket_io_lacks(scenario),
        },
    },
    Server {
        name: "socket.io",
        about: "socket.io 4.8.4 on Node, with the native add-ons of ws",
        program: Program::Node("socket.io/server.mjs"),
        variables: &[("NODE_ENV", "production")],
        dialect: Dialect::SocketIo,
        blank: socket_io_lacks,
    },
    Server {
        name: "ws",
        about: "ws 8.23.0 on Node with bufferutil; the rooms are thirty lines of its own",
        program: Program::Node("ws/server.mjs"),
        variables: &[("NODE_ENV", "production")],
        dialect: Dialect::Pond,
        blank: |scenario| match scenario.transport {
            Transport::EventStream => Some("it has WebSockets only"),
            _ if matches!(scenario.load, Load::Nodes(_)) => Some("it has no bus between nodes"),
            _ => scenario.load.needs_presence().then_some("it has no presence"),
        },
    },
    Server {
        name: "centrifuge",
        about: "centrifuge 0.40.1 for Go, the library of Centrifugo",
        program: Program::Peer("centrifuge/centrifuge"),
        variables: &[],
        dialect: Dialect::Centrifuge,
        blank: |_| None,
    },
];

/// Our server on different runtimes.
pub(crate) const RUNTIMES: &[Server] = &[
    runtime(OURS, "the contract server on one multi-threaded runtime, with `global_queue_interval` 1", &[]),
    runtime("ours, 2 shards", "the same with two shards", &[("SHARDS", "2")]),
    runtime("ours, queue 31", "`global_queue_interval` 31", &[("GLOBAL_QUEUE_INTERVAL", "31")]),
    runtime("ours, events 16", "`event_interval` 16 instead of 61", &[("EVENT_INTERVAL", "16")]),
    // Has no effect unless the contract server is built with `RUSTFLAGS="--cfg tokio_unstable"`.
    runtime("ours, no LIFO", "`disable_lifo_slot`", &[("LIFO_SLOT", "off")]),
];

/// Our server with and without a history.
pub(crate) const HISTORIES: &[Server] = &[
    runtime(OURS, "the contract server, which keeps no history", &[]),
    runtime("ours, history", "the same, which keeps the messages of all channels", &[("PLAIN_HISTORY", "on")]),
    runtime(
        "ours, sessions",
        "the same, with a session for each connection",
        &[("PLAIN_HISTORY", "on"), ("SESSIONS", "on")],
    ),
];

/// The limit server with different system calls.
pub(crate) const SYSTEM_CALLS: &[Server] = &[
    limit(LIMIT, "epoll and `write(2)`", Program::Ours("limit"), &[]),
    limit("limit, io_uring", "tokio-uring (`bench/uring`)", URING, &[]),
    limit("limit, io_uring coop", "the same with `setup_coop_taskrun`", URING, &[("COOPERATIVE", "1")]),
];

const URING: Program = Program::Peer("../uring/target/release/bench-uring");

const fn limit(
    name: &'static str,
    about: &'static str,
    program: Program,
    variables: &'static [(&'static str, &'static str)],
) -> Server {
    let blank = |scenario: &Scenario| match scenario.load {
        Load::Paced { .. } | Load::Saturated { .. } | Load::Echo { .. } => None,
        _ => Some("only where messages are sent"),
    };
    Server { name, about, program, variables, dialect: Dialect::Pond, blank }
}

const fn runtime(
    name: &'static str,
    about: &'static str,
    variables: &'static [(&'static str, &'static str)],
) -> Server {
    let program = Program::Ours("contract");
    Server { name, about, program, variables, dialect: Dialect::Pond, blank: |_| None }
}

fn socket_io_lacks(scenario: &Scenario) -> Option<&'static str> {
    match scenario.transport {
        Transport::EventStream => Some("its other transport is long polling"),
        _ if matches!(scenario.load, Load::Nodes(_)) => Some("its bus is a package of its own"),
        _ => scenario.load.needs_presence().then_some("it has no presence"),
    }
}

impl Server {
    /// The reason why it does not take part in a scenario, if it does not.
    pub(crate) fn blank(&self, scenario: &Scenario, environment: &Environment) -> Option<String> {
        let has_history = match scenario.load {
            Load::History(HistoryLoad::Memory) => matches!(self.name, OURS | OURS_MIMALLOC),
            Load::History(_) => self.name == OURS,
            _ => true,
        };
        if !has_history {
            return Some("it keeps no history, or none that the load can read".to_owned());
        }
        if let Some(why) = (self.blank)(scenario) {
            return Some(why.to_owned());
        }
        if scenario.load.needs_redis() && !environment.has_redis {
            return Some("redis-server is not installed".to_owned());
        }
        if self.name == OURS_MIMALLOC && environment.mimalloc.is_none() {
            return Some("libmimalloc is not installed".to_owned());
        }
        let file = self.file(environment);
        let missing =
            !file.exists() || matches!(self.program, Program::Node(_)) && !file.with_file_name("node_modules").exists();
        missing.then(|| match self.program {
            URING => "not built: cargo build --release, in bench/uring".to_owned(),
            _ => format!("not built: bench/peers/build {}", self.name),
        })
    }

    /// The transport of its clients. The limit server has plain WebSockets only, which are the minimum for all transports.
    pub(crate) fn transport(&self, scenario: &Scenario) -> Transport {
        if self.name.starts_with(LIMIT) { Transport::Plain } else { scenario.transport }
    }

    /// Returns `true` for a server of another project.
    pub(crate) fn is_peer(&self) -> bool {
        !matches!(self.program, Program::Ours(_))
    }

    /// Starts it.
    pub(crate) fn start(&self, scenario: &Scenario, environment: &Environment) -> Result<process::ServerProcess> {
        self.start_with(scenario, environment, &[])
    }

    /// Starts it as a node of this name.
    pub(crate) fn start_node(
        &self,
        scenario: &Scenario,
        environment: &Environment,
        redis: &str,
        name: &str,
    ) -> Result<process::ServerProcess> {
        self.start_with(scenario, environment, &[("REDIS_URL", redis), ("NODE_NAME", name)])
    }

    /// Starts it with further variables.
    pub(crate) fn start_with(
        &self,
        scenario: &Scenario,
        environment: &Environment,
        more: &[(&str, &str)],
    ) -> Result<process::ServerProcess> {
        let file = self.file(environment);
        let mut variables: Vec<(&OsStr, &OsStr)> =
            self.variables.iter().chain(more).map(|(name, value)| (OsStr::new(*name), OsStr::new(*value))).collect();
        match self.transport(scenario) {
            Transport::Tls => {
                variables.push((OsStr::new("TLS_CERTIFICATE"), environment.certificate.as_os_str()));
                variables.push((OsStr::new("TLS_KEY"), environment.key.as_os_str()));
            }
            Transport::Compressed => variables.push((OsStr::new("COMPRESSION"), OsStr::new("on"))),
            Transport::Plain | Transport::EventStream => {}
        }
        if let Some(library) = environment.mimalloc.as_ref().filter(|_| self.name == OURS_MIMALLOC) {
            variables.push((OsStr::new("LD_PRELOAD"), library.as_os_str()));
        }
        match self.program {
            Program::Node(_) => {
                process::ServerProcess::start_with(Path::new("node"), &[file.as_os_str()], environment.core, variables)
            }
            Program::Ours(_) | Program::Peer(_) => {
                process::ServerProcess::start_with(&file, &[], environment.core, variables)
            }
        }
    }

    fn file(&self, environment: &Environment) -> PathBuf {
        match self.program {
            Program::Ours(name) => environment.programs.folder.join(name),
            Program::Peer(path) | Program::Node(path) => environment.peers.join(path),
        }
    }
}

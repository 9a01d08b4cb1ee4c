//! The servers that are compared: how each is started, what it speaks, and what it cannot do.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use bench::wire::dialect::Dialect;

use super::scenario::{Load, Scenario};
use crate::load::Transport;
use crate::process;

/// A server that scenarios are run against.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// One line for people.
    pub(crate) about: &'static str,
    program: Program,
    variables: &'static [(&'static str, &'static str)],
    pub(crate) dialect: Dialect,
    /// The reason why it is not in a scenario.
    blank: fn(&Scenario) -> Option<&'static str>,
}

/// The place of its program.
enum Program {
    /// Beside the runner.
    Ours(&'static str),
    /// A file of its folder below `bench/peers`.
    Peer(&'static str),
    /// A script for Node, of the same.
    Node(&'static str),
}

/// The folders of programs, and what they are told of the machine.
pub(crate) struct Place {
    pub(crate) programs: PathBuf,
    pub(crate) peers: PathBuf,
    /// The core on which they run.
    pub(crate) core: Option<usize>,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// mimalloc as a library to be preloaded, if the machine has it.
    pub(crate) mimalloc: Option<PathBuf>,
}

/// Our server.
pub(crate) const OURS: &str = "ours";
/// The least that the protocol allows.
pub(crate) const LIMIT: &str = "limit";

/// All servers, in the order of reports.
pub(crate) const SERVERS: &[Server] = &[
    Server {
        name: LIMIT,
        about: "one `write(2)` for each message and receiver, and nothing else",
        program: Program::Ours("limit"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |scenario| scenario.load.needs_presence().then_some("it has no presence"),
    },
    Server {
        name: "limit, coalescing",
        about: "the same with one write for each receiver and wake-up",
        program: Program::Ours("limit"),
        variables: &[("COALESCE", "1")],
        dialect: Dialect::Pond,
        blank: |scenario| {
            let talks = matches!(scenario.load, Load::Saturated { .. } | Load::Paced { .. });
            (!talks || scenario.transport != Transport::Plain).then_some("nothing to coalesce: as limit")
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
        name: "ours, no metrics",
        about: "the same with metrics off",
        program: Program::Ours("contract"),
        variables: &[("METRICS", "off")],
        dialect: Dialect::Pond,
        blank: |scenario| (!matches!(scenario.load, Load::Echo { .. })).then_some("only compared in echo"),
    },
    Server {
        name: "ours, mimalloc",
        about: "the same with mimalloc preloaded instead of the allocator of glibc",
        program: Program::Ours("contract"),
        variables: &[],
        dialect: Dialect::Pond,
        blank: |scenario| {
            let memory = matches!(scenario.load, Load::Idle { .. } | Load::Large { .. });
            (!memory).then_some("only compared where memory is")
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

fn socket_io_lacks(scenario: &Scenario) -> Option<&'static str> {
    match scenario.transport {
        Transport::EventStream => Some("its other transport is long polling"),
        _ => scenario.load.needs_presence().then_some("it has no presence"),
    }
}

impl Server {
    /// The reason why it is not in a scenario here, if it is not.
    pub(crate) fn blank(&self, scenario: &Scenario, place: &Place) -> Option<String> {
        if let Some(why) = (self.blank)(scenario) {
            return Some(why.to_owned());
        }
        if self.name.ends_with("mimalloc") && place.mimalloc.is_none() {
            return Some("libmimalloc is not installed".to_owned());
        }
        let file = self.file(place);
        let missing =
            !file.exists() || matches!(self.program, Program::Node(_)) && !file.with_file_name("node_modules").exists();
        missing.then(|| format!("not built: bench/peers/build {}", self.name))
    }

    /// The transport of its clients. The limit server has one only: it is the same least in all scenarios.
    pub(crate) fn transport(&self, scenario: &Scenario) -> Transport {
        if self.name.starts_with(LIMIT) { Transport::Plain } else { scenario.transport }
    }

    /// Returns `true` for a server of another project.
    pub(crate) fn is_peer(&self) -> bool {
        !matches!(self.program, Program::Ours(_))
    }

    /// Starts it.
    pub(crate) fn start(&self, scenario: &Scenario, place: &Place) -> Result<process::Server> {
        let file = self.file(place);
        let mut variables: Vec<(&OsStr, &OsStr)> =
            self.variables.iter().map(|(name, value)| (OsStr::new(*name), OsStr::new(*value))).collect();
        match self.transport(scenario) {
            Transport::Tls => {
                variables.push((OsStr::new("TLS_CERTIFICATE"), place.certificate.as_os_str()));
                variables.push((OsStr::new("TLS_KEY"), place.key.as_os_str()));
            }
            Transport::Compressed => variables.push((OsStr::new("COMPRESSION"), OsStr::new("on"))),
            Transport::Plain | Transport::EventStream => {}
        }
        if let Some(library) = place.mimalloc.as_ref().filter(|_| self.name.ends_with("mimalloc")) {
            variables.push((OsStr::new("LD_PRELOAD"), library.as_os_str()));
        }
        match self.program {
            Program::Node(_) => {
                process::Server::start_with(Path::new("node"), &[file.as_os_str()], place.core, variables)
            }
            Program::Ours(_) | Program::Peer(_) => process::Server::start_with(&file, &[], place.core, variables),
        }
    }

    fn file(&self, place: &Place) -> PathBuf {
        match self.program {
            Program::Ours(name) => place.programs.join(name),
            Program::Peer(path) | Program::Node(path) => place.peers.join(path),
        }
    }
}

//! A node, as a process of its own.

use std::fmt;
use std::net::SocketAddr;

use e2e_tests::ContractServer;
use tokio::process::Command;

/// The implementation of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    Ours,
    Python,
    Rust,
}

/// The seconds without heartbeats after which published servers consider another node dead: as short as possible, since nodes of
/// this server send one every 30 s.
const HEARTBEAT_TIMEOUT: &str = "45";

impl Language {
    /// Starts a node. Its drop kills it with SIGKILL.
    pub(crate) async fn start(self, redis: &str, name: &str) -> ContractServer {
        if self == Language::Ours {
            return ContractServer::start_as_node(redis, &format!("{OUR_NAMES}{name}")).await;
        }
        let mut program = Command::new(format!("{}/../servers/{self}/run", env!("CARGO_MANIFEST_DIR")));
        program.env("REDIS_URL", redis).env("HEARTBEAT_TIMEOUT", HEARTBEAT_TIMEOUT);
        ContractServer::started_by(program).await
    }
}

/// The prefix of the names of this server's nodes, and so of the ids in their messages.
pub(crate) const OUR_NAMES: &str = "ours-";

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Language::Ours => "ours",
            Language::Python => "python",
            Language::Rust => "rust",
        })
    }
}

/// The address to which the clients of a node connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeAddress {
    pub(crate) address: SocketAddr,
    pub(crate) is_ours: bool,
}

impl NodeAddress {
    pub(crate) fn of(language: Language, node: &ContractServer) -> NodeAddress {
        NodeAddress { address: node.address, is_ours: language == Language::Ours }
    }
}

/// The nodes that run during all cases.
pub(crate) struct Nodes {
    ours: [ContractServer; 2],
    python: ContractServer,
    rust: ContractServer,
}

impl Nodes {
    pub(crate) async fn start(redis: &str) -> Nodes {
        let (one, two, python, rust) = tokio::join!(
            Language::Ours.start(redis, "one"),
            Language::Ours.start(redis, "two"),
            Language::Python.start(redis, ""),
            Language::Rust.start(redis, ""),
        );
        Nodes { ours: [one, two], python, rust }
    }

    /// An acting node, and another one that observes.
    pub(crate) fn pair(&self, (here, there): (Language, Language)) -> (NodeAddress, NodeAddress) {
        (self.address(here, 0), self.address(there, 1))
    }

    fn address(&self, language: Language, number: usize) -> NodeAddress {
        let node = match language {
            Language::Ours => &self.ours[number],
            Language::Python => &self.python,
            Language::Rust => &self.rust,
        };
        NodeAddress::of(language, node)
    }
}

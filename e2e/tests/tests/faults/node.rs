//! A node, as a process of its own, and its way to Redis.

use std::net::IpAddr;

use e2e_tests::ContractServer;
use e2e_tests::network::{Cut, Namespace, Proxy};
use tokio::process::Command;

pub(crate) struct Node {
    name: String,
    state: State,
    // It goes after the node.
    way: Way,
}

pub(crate) enum State {
    Answers(ContractServer),
    /// It stands still, with all its connections open.
    Frozen(ContractServer),
    Ended,
}

/// The path of a node to Redis.
pub(crate) enum Way {
    Straight {
        url: String,
    },
    /// At the address that sentinels give.
    Sentinels {
        nodes: String,
    },
    Proxy(Proxy),
    /// The node has a network of its own.
    Namespace {
        namespace: Namespace,
        redis: u16,
    },
}

impl Node {
    pub(crate) async fn start(name: &str, way: Way) -> Node {
        let mut node = Node { name: name.to_owned(), state: State::Ended, way };
        node.start_again().await;
        node
    }

    /// Starts it under the same name.
    pub(crate) async fn start_again(&mut self) {
        let program = ContractServer::program().await;
        let mut command = match &self.way {
            Way::Namespace { namespace, .. } => namespace.command(program),
            _ => Command::new(program),
        };
        command.env("NODE_NAME", &self.name);
        match &self.way {
            Way::Straight { url } => command.env("REDIS_URL", url),
            Way::Sentinels { nodes } => command.env("REDIS_SENTINELS", nodes),
            Way::Proxy(proxy) => command.env("REDIS_URL", format!("redis://{}", proxy.address)),
            Way::Namespace { namespace, redis } => command
                .env("REDIS_URL", format!("redis://{}:{redis}", namespace.outside))
                .env("HOST", namespace.inside.to_string()),
        };
        let mut server = ContractServer::started_by(command).await;
        if let Way::Namespace { namespace, .. } = &self.way {
            server.address.set_ip(IpAddr::V4(namespace.inside));
        }
        self.state = State::Answers(server);
    }

    /// The server, if it answers.
    pub(crate) fn server(&self) -> Option<&ContractServer> {
        if let State::Answers(server) = &self.state { Some(server) } else { None }
    }

    /// Returns `true` if it reports that its bus is up.
    pub(crate) async fn has_bus(&mut self) -> bool {
        if let State::Answers(server) = &mut self.state { server.has_bus().await } else { false }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.state = State::Ended;
    }

    /// SIGTERM, and waits until it has ended.
    pub(crate) async fn stop(&mut self) {
        let State::Answers(mut server) = std::mem::replace(&mut self.state, State::Ended) else {
            panic!("{} does not run", self.name)
        };
        server.terminate();
        assert!(server.ended().await.success(), "it ends in good order");
    }

    pub(crate) fn freeze(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Answers(server) => {
                server.freeze();
                State::Frozen(server)
            }
            state => state,
        }
    }

    pub(crate) fn thaw(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Frozen(server) => {
                server.thaw();
                State::Answers(server)
            }
            state => state,
        }
    }

    /// Cuts its way to Redis.
    pub(crate) fn cut(&self, what: Cut) {
        match &self.way {
            Way::Proxy(proxy) => proxy.cut(what),
            Way::Namespace { namespace, .. } => namespace.cut(what),
            Way::Straight { .. } | Way::Sentinels { .. } => panic!("this way cannot be cut"),
        }
    }

    /// Pulls the plug on its side of Redis.
    pub(crate) fn unplug(&self) {
        match &self.way {
            Way::Namespace { namespace, .. } => namespace.unplug(),
            _ => self.cut(Cut::Both),
        }
    }

    /// Undoes either.
    pub(crate) fn heal(&self) {
        match &self.way {
            Way::Proxy(proxy) => proxy.heal(),
            Way::Namespace { namespace, .. } => namespace.heal(),
            Way::Straight { .. } | Way::Sentinels { .. } => {}
        }
    }
}

//! A node, as a process of its own, and its route to Redis.

use std::net::IpAddr;

use e2e_tests::ContractServer;
use e2e_tests::network::{Cut, Namespace, Proxy};
use tokio::process::Command;

pub(crate) struct Node {
    name: String,
    state: NodeState,
    // Declared after the process, so that it is dropped after it.
    route: Route,
}

pub(crate) enum NodeState {
    Answers(ContractServer),
    /// It is stopped with SIGSTOP, with all its connections open.
    Frozen(ContractServer),
    Ended,
}

/// The route from a node to Redis.
pub(crate) enum Route {
    Direct {
        url: String,
    },
    /// Directly, to the address that sentinels return.
    Sentinels {
        nodes: String,
    },
    Proxy(Proxy),
    /// From a network namespace of the node.
    Namespace {
        namespace: Namespace,
        redis: u16,
    },
}

impl Node {
    pub(crate) async fn start(name: &str, route: Route) -> Node {
        let mut node = Node { name: name.to_owned(), state: NodeState::Ended, route };
        node.start_again().await;
        node
    }

    /// Starts it under the same name.
    pub(crate) async fn start_again(&mut self) {
        let program = ContractServer::program().await;
        let mut command = match &self.route {
            Route::Namespace { namespace, .. } => namespace.command(program),
            _ => Command::new(program),
        };
        command.env("NODE_NAME", &self.name);
        match &self.route {
            Route::Direct { url } => command.env("REDIS_URL", url),
            Route::Sentinels { nodes } => command.env("REDIS_SENTINELS", nodes),
            Route::Proxy(proxy) => command.env("REDIS_URL", format!("redis://{}", proxy.address)),
            Route::Namespace { namespace, redis } => command
                .env("REDIS_URL", format!("redis://{}:{redis}", namespace.outside))
                .env("HOST", namespace.inside.to_string()),
        };
        let mut server = ContractServer::started_by(command).await;
        if let Route::Namespace { namespace, .. } = &self.route {
            server.address.set_ip(IpAddr::V4(namespace.inside));
        }
        self.state = NodeState::Answers(server);
    }

    /// The server, if it runs and is not frozen.
    pub(crate) fn server(&self) -> Option<&ContractServer> {
        if let NodeState::Answers(server) = &self.state { Some(server) } else { None }
    }

    /// Returns `true` if it reports that its bus is up.
    pub(crate) async fn has_bus(&mut self) -> bool {
        if let NodeState::Answers(server) = &mut self.state { server.has_bus().await } else { false }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.state = NodeState::Ended;
    }

    /// Stops it with SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self) {
        let NodeState::Answers(mut server) = std::mem::replace(&mut self.state, NodeState::Ended) else {
            panic!("{} does not run", self.name)
        };
        server.terminate();
        assert!(server.ended().await.success(), "it ends in good order");
    }

    pub(crate) fn freeze(&mut self) {
        self.state = match std::mem::replace(&mut self.state, NodeState::Ended) {
            NodeState::Answers(server) => {
                server.freeze();
                NodeState::Frozen(server)
            }
            state => state,
        }
    }

    pub(crate) fn thaw(&mut self) {
        self.state = match std::mem::replace(&mut self.state, NodeState::Ended) {
            NodeState::Frozen(server) => {
                server.thaw();
                NodeState::Answers(server)
            }
            state => state,
        }
    }

    /// Cuts its route to Redis.
    pub(crate) fn cut(&self, what: Cut) {
        match &self.route {
            Route::Proxy(proxy) => proxy.cut(what),
            Route::Namespace { namespace, .. } => namespace.cut(what),
            Route::Direct { .. } | Route::Sentinels { .. } => panic!("this route cannot be cut"),
        }
    }

    /// Takes the network device down, or cuts both directions if there is none.
    pub(crate) fn unplug(&self) {
        match &self.route {
            Route::Namespace { namespace, .. } => namespace.unplug(),
            _ => self.cut(Cut::Both),
        }
    }

    /// Restores the route.
    pub(crate) fn heal(&self) {
        match &self.route {
            Route::Proxy(proxy) => proxy.heal(),
            Route::Namespace { namespace, .. } => namespace.heal(),
            Route::Direct { .. } | Route::Sentinels { .. } => {}
        }
    }
}

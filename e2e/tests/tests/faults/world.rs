//! Three nodes, a Redis, and the routes between them.

use e2e_tests::network::{Namespace, Proxy};
use testkit::{MonitoredRedis, RedisServer};

use crate::node::{Node, Route};

pub(crate) const NODES: usize = 3;

/// The number of the node to which faults of a single node are applied.
pub(crate) const VICTIM: usize = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    /// All nodes connect to Redis directly.
    Plain,
    /// The victim connects through a proxy.
    Proxied,
    /// The victim connects from a network namespace; through a proxy if the system allows none.
    Isolated,
    /// All nodes find Redis by a sentinel, which monitors a primary and its replica.
    Monitored,
}

/// The processes of a world. The nodes are dropped first.
pub(crate) struct Processes {
    pub(crate) nodes: Vec<Node>,
    /// The only Redis, or the one that is the primary at first.
    pub(crate) redis: RedisServer,
    pub(crate) replica: Option<RedisServer>,
    pub(crate) sentinel: Option<RedisServer>,
    /// A remark about a substitute that the system required.
    pub(crate) note: String,
}

impl World {
    pub(crate) async fn begin(self) -> Processes {
        match self {
            World::Plain => plain().await,
            World::Proxied => proxied().await,
            World::Isolated => match Namespace::new() {
                Ok(namespace) => isolated(namespace).await,
                Err(reason) => Processes { note: format!("by a proxy: {reason}"), ..proxied().await },
            },
            World::Monitored => monitored().await,
        }
    }
}

async fn plain() -> Processes {
    let redis = RedisServer::start().await;
    let routes = direct(&redis);
    start(redis, routes).await
}

async fn proxied() -> Processes {
    let redis = RedisServer::start().await;
    let mut routes = direct(&redis);
    routes[VICTIM] = Route::Proxy(Proxy::to(redis.port).await);
    start(redis, routes).await
}

async fn isolated(namespace: Namespace) -> Processes {
    let outside = namespace.outside.to_string();
    let redis = RedisServer::start_with(&["--bind", "127.0.0.1", &outside, "--protected-mode", "no"]).await;
    let mut routes = direct(&redis);
    routes[VICTIM] = Route::Namespace { namespace, redis: redis.port };
    start(redis, routes).await
}

async fn monitored() -> Processes {
    let MonitoredRedis { primary, replica, sentinel } = MonitoredRedis::start().await;
    let sentinels = format!("127.0.0.1:{}", sentinel.port);
    let routes = [(); NODES].map(|()| Route::Sentinels { nodes: sentinels.clone() });
    Processes { replica: Some(replica), sentinel: Some(sentinel), ..start(primary, routes).await }
}

fn direct(redis: &RedisServer) -> [Route; NODES] {
    [(); NODES].map(|()| Route::Direct { url: redis.url() })
}

async fn start(redis: RedisServer, routes: [Route; NODES]) -> Processes {
    let mut nodes = Vec::new();
    for (name, route) in ["one", "two", "three"].into_iter().zip(routes) {
        nodes.push(Node::start(name, route).await);
    }
    Processes { nodes, redis, replica: None, sentinel: None, note: String::new() }
}

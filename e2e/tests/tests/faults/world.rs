//! Three nodes, a Redis, and how they get to it.

use std::time::Duration;
use testkit::RedisServer;

use e2e_tests::network::{Namespace, Proxy};
use tokio::time::{Instant, sleep};

use crate::node::{Node, Way};

pub(crate) const NODES: usize = 3;

/// The number of the node that things are done to, if it is one.
pub(crate) const VICTIM: usize = 2;

/// The longest time until all processes are ready.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    /// All nodes get straight to Redis.
    Plain,
    /// The victim through a proxy.
    Proxied,
    /// The victim out of a network of its own; if the system cannot make one, through a proxy.
    Walled,
    /// All nodes ask a sentinel, who watches a primary and its replica.
    Guarded,
}

/// The processes of a world. The nodes end first.
pub(crate) struct Processes {
    pub(crate) nodes: Vec<Node>,
    /// The only one, or at first the primary.
    pub(crate) redis: RedisServer,
    pub(crate) replica: Option<RedisServer>,
    pub(crate) sentinel: Option<RedisServer>,
    /// A remark on what this world could not provide.
    pub(crate) note: String,
}

impl World {
    pub(crate) async fn begin(self) -> Processes {
        match self {
            World::Plain => plain().await,
            World::Proxied => proxied().await,
            World::Walled => match Namespace::new() {
                Ok(namespace) => walled(namespace).await,
                Err(reason) => Processes { note: format!("by a proxy: {reason}"), ..proxied().await },
            },
            World::Guarded => guarded().await,
        }
    }
}

async fn plain() -> Processes {
    let redis = RedisServer::start().await;
    let ways = straight(&redis);
    start(redis, ways).await
}

async fn proxied() -> Processes {
    let redis = RedisServer::start().await;
    let mut ways = straight(&redis);
    ways[VICTIM] = Way::Proxy(Proxy::to(redis.port).await);
    start(redis, ways).await
}

async fn walled(namespace: Namespace) -> Processes {
    let outside = namespace.outside.to_string();
    let redis = RedisServer::start_with(&["--bind", "127.0.0.1", &outside, "--protected-mode", "no"]).await;
    let mut ways = straight(&redis);
    ways[VICTIM] = Way::Namespace { namespace, redis: redis.port };
    start(redis, ways).await
}

async fn guarded() -> Processes {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let sentinel = RedisServer::start_sentinel(&primary).await;
    // It knows the replica once that is in step and it has asked.
    let deadline = Instant::now() + PATIENCE;
    while !sentinel.info("sentinel", "master0").await.contains("slaves=1") {
        assert!(Instant::now() < deadline, "the sentinel does not see the replica");
        sleep(Duration::from_millis(50)).await;
    }
    let sentinels = format!("127.0.0.1:{}", sentinel.port);
    let ways = [(); NODES].map(|()| Way::Sentinels { nodes: sentinels.clone() });
    Processes { replica: Some(replica), sentinel: Some(sentinel), ..start(primary, ways).await }
}

fn straight(redis: &RedisServer) -> [Way; NODES] {
    [(); NODES].map(|()| Way::Straight { url: redis.url() })
}

async fn start(redis: RedisServer, ways: [Way; NODES]) -> Processes {
    let mut nodes = Vec::new();
    for (name, way) in ["one", "two", "three"].into_iter().zip(ways) {
        nodes.push(Node::start(name, way).await);
    }
    Processes { nodes, redis, replica: None, sentinel: None, note: String::new() }
}

//! The faults of the cluster.

use std::pin::Pin;
use std::time::Duration;

use crate::cluster::{Cluster, NODES};

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// `true` if every reader must be told of a gap; otherwise none may notice anything.
    pub(crate) is_told: bool,
    pub(crate) cause: for<'a> fn(&'a mut Cluster) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

const fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Nodes wait two seconds for Redis. After a longer time they go on by themselves, and so everybody is told of a gap when Redis is back.
pub(crate) const FAULTS: &[Fault] = &[
    Fault { name: "connections cut", is_told: false, cause: |it| Box::pin(it.live(millis(3000))) },
    Fault { name: "node killed", is_told: false, cause: |it| Box::pin(node_killed(it)) },
    Fault { name: "nodes restarted one by one", is_told: false, cause: |it| Box::pin(nodes_restarted(it)) },
    Fault {
        name: "connections to Redis killed",
        is_told: false,
        cause: |it| Box::pin(connections_killed(it, "normal")),
    },
    Fault { name: "subscriptions killed", is_told: false, cause: |it| Box::pin(connections_killed(it, "pubsub")) },
    Fault { name: "Redis paused for a second", is_told: false, cause: |it| Box::pin(paused(it, 1000)) },
    Fault { name: "Redis frozen for a second", is_told: false, cause: |it| Box::pin(frozen(it, 1000)) },
    Fault { name: "Redis paused for four seconds", is_told: true, cause: |it| Box::pin(paused(it, 4000)) },
    Fault { name: "Redis frozen for four seconds", is_told: true, cause: |it| Box::pin(frozen(it, 4000)) },
    Fault { name: "Redis restarted without its data", is_told: true, cause: |it| Box::pin(redis_restarted(it)) },
];

/// SIGKILL, and a start under the same name.
async fn node_killed(cluster: &mut Cluster) {
    let node = cluster.rng.index(NODES);
    cluster.kill(node);
    cluster.live(millis(1500)).await;
    cluster.start_node(node).await;
    cluster.live(millis(500)).await;
}

/// SIGTERM, and a start under the same name, of one after the other.
async fn nodes_restarted(cluster: &mut Cluster) {
    for node in 0..NODES {
        cluster.stop(node).await;
        cluster.start_node(node).await;
        cluster.live(millis(300)).await;
    }
}

/// CLIENT KILL of all connections of a type, again and again.
async fn connections_killed(cluster: &mut Cluster, kind: &str) {
    let mut killed = 0;
    for _ in 0..4 {
        killed += cluster.redis.command::<u64>(&["CLIENT", "KILL", "TYPE", kind]).await;
        cluster.live(millis(500)).await;
    }
    assert!(killed > 0, "there was no connection to kill");
}

/// CLIENT PAUSE: commands are executed and answered only afterwards.
async fn paused(cluster: &mut Cluster, time: u64) {
    let _: () = cluster.redis.command(&["CLIENT", "PAUSE", &time.to_string(), "ALL"]).await;
    cluster.live(millis(time + 500)).await;
}

/// SIGSTOP: connections are accepted by the system, and nothing is answered.
async fn frozen(cluster: &mut Cluster, time: u64) {
    cluster.redis.freeze();
    cluster.live(millis(time)).await;
    cluster.redis.thaw();
    cluster.live(millis(500)).await;
}

/// SIGKILL, and a start with nothing, which takes less time than nodes wait.
async fn redis_restarted(cluster: &mut Cluster) {
    cluster.redis.kill().await;
    cluster.live(millis(500)).await;
    cluster.redis.restart().await;
    cluster.live(millis(500)).await;
}

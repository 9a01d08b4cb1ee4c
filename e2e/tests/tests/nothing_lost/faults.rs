//! Faults of connections, nodes and Redis.

use std::pin::Pin;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::store::Store::{AppendOnly, Monitored, Redis};
use crate::store::{Store, detach_replica, exchange, lag, promotion};

pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The clusters in which it can happen.
    pub(crate) stores: &'static [Store],
    /// `true` if it is in the long form only.
    pub(crate) is_long: bool,
    /// `true` if every reader must be told of a gap; otherwise none may notice anything.
    pub(crate) is_told: bool,
    pub(crate) cause: for<'a> fn(&'a mut Cluster) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
}

const fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

const fn short(
    name: &'static str,
    stores: &'static [Store],
    is_told: bool,
    cause: for<'a> fn(&'a mut Cluster) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
) -> Fault {
    Fault { name, stores, is_long: false, is_told, cause }
}

const fn long(
    name: &'static str,
    stores: &'static [Store],
    is_told: bool,
    cause: for<'a> fn(&'a mut Cluster) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
) -> Fault {
    Fault { name, stores, is_long: true, is_told, cause }
}

/// All kinds of Redis.
const ANY: &[Store] = &[Redis, AppendOnly, Monitored];
/// Without a sentinel, which would take a server that it does not reach for dead.
const ALONE: &[Store] = &[Redis, AppendOnly];

/// Nodes wait two seconds for Redis. After a longer time they go on by themselves, and so everybody is told of a gap when Redis is back.
pub(crate) const FAULTS: &[Fault] = &[
    short("connections cut", &[Redis], false, |it| Box::pin(it.live(millis(3000)))),
    long("node killed", ANY, false, |it| Box::pin(node_killed(it))),
    long("nodes restarted one by one", ANY, false, |it| Box::pin(nodes_restarted(it))),
    short("connections to Redis killed", &[Redis], false, |it| Box::pin(connections_killed(it, "normal", 4))),
    short("subscriptions killed", &[Redis], false, |it| Box::pin(connections_killed(it, "pubsub", 4))),
    long("connections to Redis killed for long", ALONE, false, |it| Box::pin(connections_killed(it, "normal", 30))),
    long("subscriptions killed for long", ALONE, false, |it| Box::pin(connections_killed(it, "pubsub", 30))),
    short("Redis paused for a second", &[Redis], false, |it| Box::pin(paused(it, 1000))),
    short("Redis frozen for a second", &[Redis], false, |it| Box::pin(frozen(it, 1000))),
    short("Redis paused for four seconds", &[AppendOnly], true, |it| Box::pin(paused(it, 4000))),
    short("Redis frozen for four seconds", &[Redis], true, |it| Box::pin(frozen(it, 4000))),
    long("Redis paused for thirty seconds", ALONE, true, |it| Box::pin(paused(it, 30_000))),
    short("Redis restarted without its data", &[Redis], true, |it| Box::pin(redis_killed(it))),
    short("Redis killed and restarted with its data", &[AppendOnly], true, |it| Box::pin(redis_killed(it))),
    short("Redis restarted with its data", &[AppendOnly], true, |it| Box::pin(redis_restarted(it))),
    short("a replica that lags becomes the primary", &[Monitored], true, |it| Box::pin(lagging_promoted(it))),
    short("failover by command", &[Monitored], true, |it| Box::pin(failed_over(it))),
];

/// SIGKILL, and a start under the same name.
async fn node_killed(cluster: &mut Cluster) {
    let node = cluster.rng.index(cluster.setup.nodes);
    cluster.kill(node);
    cluster.live(millis(1500)).await;
    cluster.start_node(node).await;
    cluster.live(millis(500)).await;
}

/// SIGTERM, and a start under the same name, of one after the other.
async fn nodes_restarted(cluster: &mut Cluster) {
    for node in 0..cluster.setup.nodes {
        cluster.stop(node).await;
        cluster.start_node(node).await;
        cluster.live(millis(300)).await;
    }
}

/// CLIENT KILL of all connections of a type, each half second.
async fn connections_killed(cluster: &mut Cluster, kind: &str, times: usize) {
    let mut killed = 0;
    for _ in 0..times {
        killed += cluster.redis.server().command::<u64>(&["CLIENT", "KILL", "TYPE", kind]).await;
        cluster.live(millis(500)).await;
    }
    assert!(killed > 0, "there was no connection to kill");
}

/// CLIENT PAUSE: commands are executed and answered only afterwards.
async fn paused(cluster: &mut Cluster, time: u64) {
    let _: () = cluster.redis.server().command(&["CLIENT", "PAUSE", &time.to_string(), "ALL"]).await;
    cluster.live(millis(time + 500)).await;
}

/// SIGSTOP: connections are accepted by the system, and nothing is answered.
async fn frozen(cluster: &mut Cluster, time: u64) {
    cluster.redis.server().freeze();
    cluster.live(millis(time)).await;
    cluster.redis.server().thaw();
    cluster.live(millis(500)).await;
}

/// SIGKILL and a start, which takes less time than nodes wait.
async fn redis_killed(cluster: &mut Cluster) {
    cluster.redis.server().kill().await;
    cluster.live(millis(500)).await;
    cluster.redis.server().restart().await;
    cluster.live(millis(500)).await;
}

/// SHUTDOWN, which closes the connections, and a start.
async fn redis_restarted(cluster: &mut Cluster) {
    cluster.redis.server().shut_down().await;
    cluster.live(millis(500)).await;
    cluster.redis.server().restart().await;
    cluster.live(millis(500)).await;
}

/// The replica receives nothing for a second. Then the primary is killed, and the sentinel promotes the replica, which lacks
/// messages that clients have received.
async fn lagging_promoted(cluster: &mut Cluster) {
    detach_replica(cluster.redis.monitored()).await;
    cluster.live(millis(1000)).await;
    let lag = lag(cluster.redis.monitored()).await;
    assert!(lag > 0, "the replica lacks nothing: {lag}");
    cluster.redis.server().kill().await;
    promotion(cluster.redis.monitored()).await;
    cluster.redis.server().restart().await;
    exchange(cluster.redis.monitored()).await;
    cluster.live(millis(500)).await;
}

/// A failover by command, with both servers alive.
async fn failed_over(cluster: &mut Cluster) {
    let _: () = cluster.redis.monitored().sentinel.command(&["SENTINEL", "FAILOVER", "main"]).await;
    promotion(cluster.redis.monitored()).await;
    exchange(cluster.redis.monitored()).await;
    cluster.live(millis(500)).await;
}

//! The Redis of a cluster.

use std::time::Duration;

use testkit::{MonitoredRedis, RedisServer};
use tokio::time::{Instant, sleep};

/// The longest time that a failover or a synchronization may take.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Store {
    /// A node without others keeps its histories itself.
    None,
    Redis,
    /// A Redis that has its data after a restart.
    AppendOnly,
    /// A primary and a replica, which a sentinel monitors.
    Monitored,
}

pub(crate) enum Redis {
    None,
    One(Box<RedisServer>),
    Monitored(Box<MonitoredRedis>),
}

impl Redis {
    pub(crate) async fn start(store: Store) -> Redis {
        match store {
            Store::None => Redis::None,
            Store::Redis => Redis::One(Box::new(RedisServer::start().await)),
            Store::AppendOnly => {
                Redis::One(Box::new(RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await))
            }
            Store::Monitored => Redis::Monitored(Box::new(MonitoredRedis::start().await)),
        }
    }

    /// The setting by which nodes find it.
    pub(crate) fn setting(&self) -> Option<(&'static str, String)> {
        match self {
            Redis::None => None,
            Redis::One(redis) => Some(("REDIS_URL", redis.url())),
            Redis::Monitored(it) => Some(("REDIS_SENTINELS", format!("127.0.0.1:{}", it.sentinel.port))),
        }
    }

    /// The server that nodes use.
    pub(crate) fn server(&mut self) -> &mut RedisServer {
        match self {
            Redis::None => panic!("there is no Redis"),
            Redis::One(redis) => redis,
            Redis::Monitored(it) => &mut it.primary,
        }
    }

    pub(crate) fn monitored(&mut self) -> &mut MonitoredRedis {
        match self {
            Redis::Monitored(it) => it,
            _ => panic!("there is no sentinel"),
        }
    }
}

/// Lets the replica receive nothing more of what the primary gets.
pub(crate) async fn detach_replica(redis: &MonitoredRedis) {
    let _: () = redis.replica.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
}

/// The number of bytes of replication that the replica lacks.
pub(crate) async fn lag(redis: &MonitoredRedis) -> i64 {
    let offset = async |server: &RedisServer| server.info("replication", "master_repl_offset").await;
    let parse = |text: String| text.parse::<i64>().expect("a number");
    parse(offset(&redis.primary).await) - parse(offset(&redis.replica).await)
}

/// Waits until the sentinel has made the replica the primary.
pub(crate) async fn promotion(redis: &MonitoredRedis) {
    let deadline = Instant::now() + TIMEOUT;
    while !redis.sentinel.has_promoted(&redis.replica).await {
        assert!(Instant::now() < deadline, "no failover: {}", redis.sentinel.log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Makes the old primary the replica of the new one, and waits until they are synchronized and the sentinel knows.
pub(crate) async fn exchange(redis: &mut MonitoredRedis) {
    std::mem::swap(&mut redis.primary, &mut redis.replica);
    let port = redis.primary.port.to_string();
    let link = format!("port={},state=online", redis.replica.port);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let _: () = redis.replica.command(&["REPLICAOF", "127.0.0.1", &port]).await;
        for _ in 0..40 {
            let state: String = redis.primary.command(&["INFO", "replication"]).await;
            if state.contains(&link) {
                return;
            }
            assert!(Instant::now() < deadline, "no synchronization: {state}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

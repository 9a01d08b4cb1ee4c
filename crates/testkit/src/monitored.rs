//! A Redis with a replica and a sentinel.

use tokio::time::{Duration, Instant, sleep};

use crate::RedisServer;

/// The longest time until the sentinel sees the replica.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A primary and its replica, which a sentinel monitors under the name `main`, with a quorum of one.
#[derive(Debug)]
pub struct MonitoredRedis {
    /// The primary at first.
    pub primary: RedisServer,
    /// The replica at first.
    pub replica: RedisServer,
    /// The sentinel.
    pub sentinel: RedisServer,
}

impl MonitoredRedis {
    /// Starts all three, and waits until the sentinel lists the replica.
    pub async fn start() -> MonitoredRedis {
        let primary = RedisServer::start().await;
        let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
        let sentinel = RedisServer::start_sentinel(&primary).await;
        let monitored = MonitoredRedis { primary, replica, sentinel };
        let deadline = Instant::now() + TIMEOUT;
        // It lists the replica once that is synchronised and it has polled the primary.
        while !monitored.sentinel.info("sentinel", "master0").await.contains("slaves=1") {
            assert!(Instant::now() < deadline, "the sentinel does not see the replica");
            sleep(Duration::from_millis(50)).await;
        }
        monitored
    }
}

impl RedisServer {
    /// Returns `true` if this sentinel has made a replica the primary, and the replica is it.
    pub async fn has_promoted(&self, replica: &RedisServer) -> bool {
        let address = format!("address=127.0.0.1:{},", replica.port);
        self.info("sentinel", "master0").await.contains(&address)
            && replica.info("replication", "role").await == "master"
    }
}

//! Another Redis becomes the primary.

use std::time::Duration;
use testkit::RedisServer;

use tokio::time::Instant;

use crate::judge::HEALING;
use crate::stage::{Stage, subscribers};
use crate::world::NODES;

/// The longest time that a sentinel may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// `kill -9` of the primary: the sentinel notices, and promotes the replica.
pub(crate) async fn primary_killed(stage: &mut Stage) {
    stage.redis.kill().await;
    let deadline = Instant::now() + PATIENCE;
    while !is_promoted(stage).await {
        assert!(Instant::now() < deadline, "no failover");
        stage.live(Duration::from_millis(100)).await;
    }
    nodes_follow(stage).await;
}

/// Both live, and change places. The sentinel leaves the old primary as it was for some ten seconds, and so the nodes there.
pub(crate) async fn told_to_fail_over(stage: &mut Stage) {
    let _: () = sentinel(stage).command(&["SENTINEL", "FAILOVER", "main"]).await;
    let deadline = Instant::now() + PATIENCE;
    while !(is_promoted(stage).await && stage.redis.info("replication", "role").await == "slave") {
        assert!(Instant::now() < deadline, "no failover");
        stage.live(Duration::from_millis(100)).await;
    }
    nodes_follow(stage).await;
    assert_eq!(subscribers(&stage.redis).await, 0, "somebody listens to the old primary");
}

/// People go on until all nodes are at the new primary.
async fn nodes_follow(stage: &mut Stage) {
    let promoted = Instant::now();
    while subscribers(replica(stage)).await < NODES {
        assert!(promoted.elapsed() < HEALING, "not all nodes have followed");
        stage.live(Duration::from_millis(100)).await;
    }
    stage.note = format!("followed after {:.1} s", promoted.elapsed().as_secs_f64());
}

/// Returns `true` if the replica is the primary, also for the sentinel.
async fn is_promoted(stage: &Stage) -> bool {
    let address = format!("address=127.0.0.1:{},", replica(stage).port);
    sentinel(stage).info("sentinel", "master0").await.contains(&address)
        && replica(stage).info("replication", "role").await == "master"
}

fn replica(stage: &Stage) -> &RedisServer {
    stage.replica.as_ref().expect("this world has one")
}

fn sentinel(stage: &Stage) -> &RedisServer {
    stage.sentinel.as_ref().expect("this world has one")
}

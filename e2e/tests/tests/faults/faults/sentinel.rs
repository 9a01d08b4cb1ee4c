//! Failovers to another primary.

use std::time::Duration;
use testkit::RedisServer;

use tokio::time::Instant;

use crate::checker::HEALING;
use crate::fixture::{Fixture, subscribers};
use crate::world::NODES;

/// The longest time that a sentinel may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// SIGKILL of the primary: the sentinel notices that, and promotes the replica.
pub(crate) async fn primary_killed(fixture: &mut Fixture) {
    fixture.redis.kill().await;
    let deadline = Instant::now() + TIMEOUT;
    while !is_promoted(fixture).await {
        assert!(Instant::now() < deadline, "no failover");
        fixture.live(Duration::from_millis(100)).await;
    }
    nodes_follow(fixture).await;
}

/// A failover by command, with both servers alive. The sentinel does not reconfigure the old primary for some ten seconds, so that
/// nodes could stay connected to it.
pub(crate) async fn failover_by_command(fixture: &mut Fixture) {
    let _: () = sentinel(fixture).command(&["SENTINEL", "FAILOVER", "main"]).await;
    let deadline = Instant::now() + TIMEOUT;
    while !(is_promoted(fixture).await && fixture.redis.info("replication", "role").await == "slave") {
        assert!(Instant::now() < deadline, "no failover");
        fixture.live(Duration::from_millis(100)).await;
    }
    nodes_follow(fixture).await;
    assert_eq!(subscribers(&fixture.redis).await, 0, "a node is still subscribed at the old primary");
}

/// Members are active until all nodes are connected to the new primary.
async fn nodes_follow(fixture: &mut Fixture) {
    let promoted = Instant::now();
    while subscribers(replica(fixture)).await < NODES {
        assert!(promoted.elapsed() < HEALING, "not all nodes have followed");
        fixture.live(Duration::from_millis(100)).await;
    }
    fixture.note = format!("followed after {:.1} s", promoted.elapsed().as_secs_f64());
}

/// Returns `true` if the replica is the primary, also for the sentinel.
async fn is_promoted(fixture: &Fixture) -> bool {
    sentinel(fixture).has_promoted(replica(fixture)).await
}

fn replica(fixture: &Fixture) -> &RedisServer {
    fixture.replica.as_ref().expect("this world has one")
}

fn sentinel(fixture: &Fixture) -> &RedisServer {
    fixture.sentinel.as_ref().expect("this world has one")
}

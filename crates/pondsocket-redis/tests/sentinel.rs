//! Sentinels make another Redis the primary: the bus follows.

mod support;

use std::time::Duration;

use pondsocket::cluster::{Bus, NodeId};
use pondsocket_redis::{RedisOptions, SentinelOptions};
use support::Node;
use testkit::{DEADLINE, RedisServer, free_port, soon};
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed() {
    let mut primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let sentinel = RedisServer::start_sentinel(&primary).await;
    let deadline = Instant::now() + DEADLINE;
    // It knows the replica once the replica is in step and it has asked.
    while !sentinel.command::<String>(&["INFO", "sentinel"]).await.contains("slaves=1") {
        assert!(Instant::now() < deadline, "the sentinel does not see the replica");
        sleep(Duration::from_millis(50)).await;
    }

    let unreachable = ("127.0.0.1", free_port());
    let sentinels = SentinelOptions::new("main", [unreachable, ("127.0.0.1", sentinel.port)]);
    let mut node = Node::listening(RedisOptions::default().sentinel(sentinels), &["t"]).await;
    let me = NodeId { name: "ada".into(), incarnation: 1 };
    let bus = node.bus.clone();
    let leases = bus.leases().expect("leases");
    leases.renew(&me, Duration::from_secs(60)).await.expect("a lease of the primary");

    primary.kill().await;
    node.next_down().await;
    let lost = Instant::now();
    soon("return", node.next_up()).await;
    node.subscribed(&["t"]).await;
    println!("back {:?} after the loss of the primary", lost.elapsed());
    node.publish_at_last("t", "on the new primary").await;
    assert_eq!(node.message().await.1, "on the new primary");
    while let Err(error) = leases.renew(&me, Duration::from_secs(60)).await {
        assert!(Instant::now() < lost + DEADLINE, "{error}");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(replica.command::<String>(&["INFO", "replication"]).await.contains("role:master"));
}

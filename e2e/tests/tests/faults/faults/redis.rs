//! Faults of Redis: it ends, freezes, closes connections, loses its data, or has no memory left. None of them may look like the
//! end of a node.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::{Fixture, subscribers};
use crate::world::NODES;

/// SIGKILL, and a restart without data.
pub(crate) async fn killed(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.kill().await;
    fixture.live(outage).await;
    fixture.redis.restart().await;
}

/// Repeated SIGKILL, whether or not the cluster has healed in between.
pub(crate) async fn comes_and_goes(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (outage, pause) = (fixture.random(100..5000), fixture.random(100..4000));
        killed(fixture, outage).await;
        fixture.live(pause).await;
    }
}

/// SHUTDOWN NOSAVE, which closes all connections.
pub(crate) async fn shut_down(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.shut_down().await;
    fixture.live(outage).await;
    fixture.redis.restart().await;
}

/// SIGSTOP: connections are accepted by the system, and nothing is answered.
pub(crate) async fn frozen(fixture: &mut Fixture, time: Duration) {
    fixture.redis.freeze();
    fixture.live(time).await;
    fixture.redis.thaw();
}

/// CLIENT PAUSE: commands are executed and answered only afterwards.
pub(crate) async fn paused(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CLIENT", "PAUSE", &time.as_millis().to_string(), "ALL"]).await;
    fixture.live(time).await;
}

/// Repeated CLIENT PAUSE for about the lifetime of a lease.
pub(crate) async fn pauses_often(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (fixture.random(2500..6000), fixture.random(500..3000));
        paused(fixture, time).await;
        fixture.live(pause).await;
    }
}

/// CLIENT KILL of all subscribers, twice a second.
pub(crate) async fn cuts_subscribers(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    let mut killed = 0;
    while Instant::now() < end {
        killed += fixture.redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        fixture.live(Duration::from_millis(500)).await;
    }
    assert!(killed > 0, "there was no subscriber to disconnect");
}

/// Repeated FLUSHALL, which removes all leases.
pub(crate) async fn flushed(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let _: () = fixture.redis.command(&["FLUSHALL"]).await;
        let pause = fixture.random(50..1000);
        fixture.live(pause).await;
    }
}

/// No memory is left and nothing is evicted: leases cannot be renewed, but messages are delivered.
pub(crate) async fn full(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await;
    let refused = fixture.redis.try_command::<()>(&["SET", "a", "b"]).await.expect_err("no memory");
    assert_eq!(refused.code(), Some("OOM"), "{refused}");
    fixture.live(time).await;
    let _: () = fixture.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
}

/// A node is frozen while others publish, and Redis disconnects it because it does not read.
pub(crate) async fn cuts_slow_reader(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 2mb 1mb 2"]).await;
    fixture.hide();
    fixture.freeze();
    let deadline = Instant::now() + Duration::from_secs(60);
    while subscribers(&fixture.redis).await == NODES {
        assert!(Instant::now() < deadline, "the frozen node was not disconnected");
        for sender in fixture.members.iter().filter(|member| member.resides) {
            sender.send(0, 50_000);
        }
        fixture.live(Duration::from_millis(100)).await;
    }
    fixture.live(time).await;
    fixture.thaw();
}

/// Redis is down, and meanwhile a node ends, which other nodes cannot notice.
pub(crate) async fn away_while_a_node_dies(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.kill().await;
    fixture.live(outage / 2).await;
    fixture.kill();
    fixture.live(outage / 2).await;
    fixture.redis.restart().await;
}

//! Redis ends, hangs, cuts connections, forgets, or has no memory left. None of that is the death of a node.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::{Stage, subscribers};
use crate::world::NODES;

/// SIGKILL; it comes back empty.
pub(crate) async fn killed(stage: &mut Stage, outage: Duration) {
    stage.redis.kill().await;
    stage.live(outage).await;
    stage.redis.restart().await;
}

/// SIGKILL, again and again, and each time it is back before all has healed, or not.
pub(crate) async fn comes_and_goes(stage: &mut Stage, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (outage, pause) = (stage.random(100..5000), stage.random(100..4000));
        killed(stage, outage).await;
        stage.live(pause).await;
    }
}

/// SHUTDOWN NOSAVE: it closes all connections in good order.
pub(crate) async fn shut_down(stage: &mut Stage, outage: Duration) {
    stage.redis.shut_down().await;
    stage.live(outage).await;
    stage.redis.restart().await;
}

/// SIGSTOP: it accepts and takes everything, and answers nothing.
pub(crate) async fn frozen(stage: &mut Stage, time: Duration) {
    stage.redis.freeze();
    stage.live(time).await;
    stage.redis.thaw();
}

/// CLIENT PAUSE: it answers nobody, and does afterwards what it was sent.
pub(crate) async fn paused(stage: &mut Stage, time: Duration) {
    let _: () = stage.redis.command(&["CLIENT", "PAUSE", &time.as_millis().to_string(), "ALL"]).await;
    stage.live(time).await;
}

/// For about as long as a lease lasts, again and again.
pub(crate) async fn pauses_often(stage: &mut Stage, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (stage.random(2500..6000), stage.random(500..3000));
        paused(stage, time).await;
        stage.live(pause).await;
    }
}

/// CLIENT KILL of all subscribers, twice a second.
pub(crate) async fn cuts_subscribers(stage: &mut Stage, time: Duration) {
    let end = Instant::now() + time;
    let mut killed = 0;
    while Instant::now() < end {
        killed += stage.redis.command::<u64>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        stage.live(Duration::from_millis(500)).await;
    }
    assert!(killed > 0, "there was nobody to cut");
}

/// FLUSHALL, again and again: the leases are gone.
pub(crate) async fn flushed(stage: &mut Stage, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let _: () = stage.redis.command(&["FLUSHALL"]).await;
        let pause = stage.random(50..1000);
        stage.live(pause).await;
    }
}

/// It has no memory left and evicts nothing: no lease can be renewed. Messages go on.
pub(crate) async fn full(stage: &mut Stage, time: Duration) {
    let _: () = stage.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await;
    let refused = stage.redis.try_command::<()>(&["SET", "a", "b"]).await.expect_err("no memory");
    assert_eq!(refused.code(), Some("OOM"), "{refused}");
    stage.live(time).await;
    let _: () = stage.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
}

/// A node stands still while others talk, and Redis cuts it off because it does not read.
pub(crate) async fn cuts_slow_reader(stage: &mut Stage, time: Duration) {
    let _: () = stage.redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 2mb 1mb 2"]).await;
    stage.hide();
    stage.freeze();
    let deadline = Instant::now() + Duration::from_secs(60);
    while subscribers(&stage.redis).await == NODES {
        assert!(Instant::now() < deadline, "nobody is too slow");
        for speaker in stage.members.iter().filter(|member| member.resides) {
            speaker.say(0, 50_000);
        }
        stage.live(Duration::from_millis(100)).await;
    }
    stage.live(time).await;
    stage.thaw();
}

/// It is away, and meanwhile a node dies, of which nobody can hear.
pub(crate) async fn away_while_a_node_dies(stage: &mut Stage, outage: Duration) {
    stage.redis.kill().await;
    stage.live(outage / 2).await;
    stage.kill();
    stage.live(outage / 2).await;
    stage.redis.restart().await;
}

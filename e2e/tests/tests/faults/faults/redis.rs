//! Redis ends, hangs, cuts connections, forgets, or has no memory left. None of that is the death of a node.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::{Fixture, subscribers};
use crate::world::NODES;

/// SIGKILL; it comes back empty.
pub(crate) async fn killed(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.kill().await;
    fixture.live(outage).await;
    fixture.redis.restart().await;
}

/// SIGKILL, again and again, and each time it is back before all has healed, or not.
pub(crate) async fn comes_and_goes(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (outage, pause) = (fixture.random(100..5000), fixture.random(100..4000));
        killed(fixture, outage).await;
        fixture.live(pause).await;
    }
}

/// SHUTDOWN NOSAVE: it closes all connections in good order.
pub(crate) async fn shut_down(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.shut_down().await;
    fixture.live(outage).await;
    fixture.redis.restart().await;
}

/// SIGSTOP: it accepts and takes everything, and answers nothing.
pub(crate) async fn frozen(fixture: &mut Fixture, time: Duration) {
    fixture.redis.freeze();
    fixture.live(time).await;
    fixture.redis.thaw();
}

/// CLIENT PAUSE: it answers nobody, and does afterwards what it was sent.
pub(crate) async fn paused(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CLIENT", "PAUSE", &time.as_millis().to_string(), "ALL"]).await;
    fixture.live(time).await;
}

/// For about as long as a lease lasts, again and again.
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
    assert!(killed > 0, "there was nobody to cut");
}

/// FLUSHALL, again and again: the leases are gone.
pub(crate) async fn flushed(fixture: &mut Fixture, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        let _: () = fixture.redis.command(&["FLUSHALL"]).await;
        let pause = fixture.random(50..1000);
        fixture.live(pause).await;
    }
}

/// It has no memory left and evicts nothing: no lease can be renewed. Messages go on.
pub(crate) async fn full(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await;
    let refused = fixture.redis.try_command::<()>(&["SET", "a", "b"]).await.expect_err("no memory");
    assert_eq!(refused.code(), Some("OOM"), "{refused}");
    fixture.live(time).await;
    let _: () = fixture.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
}

/// A node stands still while others talk, and Redis cuts it off because it does not read.
pub(crate) async fn cuts_slow_reader(fixture: &mut Fixture, time: Duration) {
    let _: () = fixture.redis.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 2mb 1mb 2"]).await;
    fixture.hide();
    fixture.freeze();
    let deadline = Instant::now() + Duration::from_secs(60);
    while subscribers(&fixture.redis).await == NODES {
        assert!(Instant::now() < deadline, "nobody is too slow");
        for speaker in fixture.members.iter().filter(|member| member.resides) {
            speaker.say(0, 50_000);
        }
        fixture.live(Duration::from_millis(100)).await;
    }
    fixture.live(time).await;
    fixture.thaw();
}

/// It is away, and meanwhile a node dies, of which nobody can hear.
pub(crate) async fn away_while_a_node_dies(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.kill().await;
    fixture.live(outage / 2).await;
    fixture.kill();
    fixture.live(outage / 2).await;
    fixture.redis.restart().await;
}

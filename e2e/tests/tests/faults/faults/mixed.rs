//! Random faults one after the other, some at the same time, without pauses.

use std::time::Duration;

use tokio::time::Instant;

use super::redis;
use crate::fixture::Fixture;

pub(crate) async fn mixed(fixture: &mut Fixture, time: Duration) {
    fixture.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (fixture.random(100..6000), fixture.random(0..2000));
        match fixture.rng.below(8) {
            0 => {
                fixture.kill();
                fixture.live(time).await;
                fixture.start().await;
            }
            1 => {
                fixture.stop().await;
                fixture.start().await;
            }
            2 => {
                fixture.freeze();
                fixture.live(time).await;
                fixture.thaw();
            }
            3 => redis::killed(fixture, time).await,
            4 => redis::paused(fixture, time).await,
            5 => redis::cuts_subscribers(fixture, Duration::from_millis(1)).await,
            6 => redis::flushed(fixture, Duration::from_millis(1)).await,
            _ => node_replaced_without_redis(fixture, time).await,
        }
        fixture.live(pause).await;
    }
}

/// A node is replaced while Redis is down, so that other nodes notice neither its end nor its restart.
async fn node_replaced_without_redis(fixture: &mut Fixture, outage: Duration) {
    fixture.redis.kill().await;
    fixture.live(outage / 3).await;
    fixture.kill();
    fixture.live(outage / 3).await;
    fixture.start().await;
    fixture.live(outage / 3).await;
    fixture.redis.restart().await;
}

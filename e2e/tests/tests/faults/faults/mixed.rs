//! One fault after the other, and some at once, without a rest.

use std::time::Duration;

use tokio::time::Instant;

use super::redis;
use crate::stage::Stage;

pub(crate) async fn mixed(stage: &mut Stage, time: Duration) {
    stage.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (stage.random(100..6000), stage.random(0..2000));
        match stage.rng.below(8) {
            0 => {
                stage.kill();
                stage.live(time).await;
                stage.start().await;
            }
            1 => {
                stage.stop().await;
                stage.start().await;
            }
            2 => {
                stage.freeze();
                stage.live(time).await;
                stage.thaw();
            }
            3 => redis::killed(stage, time).await,
            4 => redis::paused(stage, time).await,
            5 => redis::cuts_subscribers(stage, Duration::from_millis(1)).await,
            6 => redis::flushed(stage, Duration::from_millis(1)).await,
            _ => node_replaced_without_redis(stage, time).await,
        }
        stage.live(pause).await;
    }
}

/// Nobody can hear that a node dies, nor that it is there again.
async fn node_replaced_without_redis(stage: &mut Stage, outage: Duration) {
    stage.redis.kill().await;
    stage.live(outage / 3).await;
    stage.kill();
    stage.live(outage / 3).await;
    stage.start().await;
    stage.live(outage / 3).await;
    stage.redis.restart().await;
}

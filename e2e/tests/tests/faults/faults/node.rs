//! A node ends, or stands still.

use std::time::Duration;

use tokio::time::Instant;

use crate::stage::Stage;

/// The lifetime of a lease, the time between two looks at them, and a bit.
pub(crate) const CRASH: Duration = Duration::from_millis(5500);

const GOODBYE: Duration = Duration::from_secs(1);

/// `kill -9`; it comes back under its name, with new people.
pub(crate) async fn killed(stage: &mut Stage) {
    let departure = stage.kill();
    stage.live(CRASH + Duration::from_secs(1)).await;
    stage.was_told_of(&departure, CRASH);
    stage.start().await;
}

/// It is back before anybody has noticed.
pub(crate) async fn replaced(stage: &mut Stage) {
    stage.kill();
    stage.start().await;
}

/// SIGTERM.
pub(crate) async fn stopped(stage: &mut Stage) {
    let departure = stage.stop().await;
    stage.live(GOODBYE).await;
    stage.was_told_of(&departure, GOODBYE);
    stage.start().await;
}

/// SIGSTOP and SIGCONT. Its people seem gone meanwhile, and some of them really go.
pub(crate) async fn frozen(stage: &mut Stage, time: Duration) {
    let departure = stage.hide();
    stage.freeze();
    stage.live(time).await;
    stage.was_told_of(&departure, CRASH);
    stage.thaw();
}

/// For less than the lifetime of a lease: nobody may notice.
pub(crate) async fn frozen_for_a_moment(stage: &mut Stage) {
    stage.freeze();
    stage.live(Duration::from_secs(2)).await;
    stage.thaw();
}

/// For about as long as its lease lasts, again and again.
pub(crate) async fn frozen_often(stage: &mut Stage, time: Duration) {
    stage.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (stage.random(500..7000), stage.random(100..3000));
        stage.freeze();
        stage.live(time).await;
        stage.thaw();
        stage.live(pause).await;
    }
}

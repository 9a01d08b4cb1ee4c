//! A node ends, or stands still.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::Fixture;

/// The lifetime of a lease, the time between two looks at them, and a bit.
pub(crate) const CRASH: Duration = Duration::from_millis(5500);

const GOODBYE: Duration = Duration::from_secs(1);

/// `kill -9`; it comes back under its name, with new people.
pub(crate) async fn killed(fixture: &mut Fixture) {
    let departure = fixture.kill();
    fixture.live(CRASH + Duration::from_secs(1)).await;
    fixture.was_told_of(&departure, CRASH);
    fixture.start().await;
}

/// It is back before anybody has noticed.
pub(crate) async fn replaced(fixture: &mut Fixture) {
    fixture.kill();
    fixture.start().await;
}

/// SIGTERM.
pub(crate) async fn stopped(fixture: &mut Fixture) {
    let departure = fixture.stop().await;
    fixture.live(GOODBYE).await;
    fixture.was_told_of(&departure, GOODBYE);
    fixture.start().await;
}

/// SIGSTOP and SIGCONT. Its people seem gone meanwhile, and some of them really go.
pub(crate) async fn frozen(fixture: &mut Fixture, time: Duration) {
    let departure = fixture.hide();
    fixture.freeze();
    fixture.live(time).await;
    fixture.was_told_of(&departure, CRASH);
    fixture.thaw();
}

/// For less than the lifetime of a lease: nobody may notice.
pub(crate) async fn frozen_for_a_moment(fixture: &mut Fixture) {
    fixture.freeze();
    fixture.live(Duration::from_secs(2)).await;
    fixture.thaw();
}

/// For about as long as its lease lasts, again and again.
pub(crate) async fn frozen_often(fixture: &mut Fixture, time: Duration) {
    fixture.hide();
    let end = Instant::now() + time;
    while Instant::now() < end {
        let (time, pause) = (fixture.random(500..7000), fixture.random(100..3000));
        fixture.freeze();
        fixture.live(time).await;
        fixture.thaw();
        fixture.live(pause).await;
    }
}

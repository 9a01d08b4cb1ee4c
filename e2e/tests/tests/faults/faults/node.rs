//! Nodes that end or freeze.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::Fixture;

/// The lifetime of a lease, the interval of checks, and a margin.
pub(crate) const CRASH: Duration = Duration::from_millis(5500);

const SHUTDOWN: Duration = Duration::from_secs(1);

/// SIGKILL, and a restart under the same name with new members.
pub(crate) async fn killed(fixture: &mut Fixture) {
    let departure = fixture.kill();
    fixture.live(CRASH + Duration::from_secs(1)).await;
    fixture.check_leaves(&departure, CRASH);
    fixture.start().await;
}

/// SIGKILL, and a restart before other nodes have noticed.
pub(crate) async fn replaced(fixture: &mut Fixture) {
    fixture.kill();
    fixture.start().await;
}

/// SIGTERM, after which other nodes remove its members at once.
pub(crate) async fn stopped(fixture: &mut Fixture) {
    let departure = fixture.stop().await;
    fixture.live(SHUTDOWN).await;
    fixture.check_leaves(&departure, SHUTDOWN);
    fixture.start().await;
}

/// SIGSTOP and SIGCONT. Its members seem gone meanwhile, and some of them really leave.
pub(crate) async fn frozen(fixture: &mut Fixture, time: Duration) {
    let departure = fixture.hide();
    fixture.freeze();
    fixture.live(time).await;
    fixture.check_leaves(&departure, CRASH);
    fixture.thaw();
}

/// SIGSTOP for less than the lifetime of a lease, which must have no effect.
pub(crate) async fn frozen_for_a_moment(fixture: &mut Fixture) {
    fixture.freeze();
    fixture.live(Duration::from_secs(2)).await;
    fixture.thaw();
}

/// Repeated SIGSTOP for about the lifetime of a lease.
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

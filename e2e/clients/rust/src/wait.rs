//! Waiting, always with an end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Returns when `probe` answers true; panics, saying `what` was awaited, when it does not in time.
pub async fn until(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !probe() {
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for anything that was wrongly sent to have arrived.
pub async fn settle() {
    sleep(Duration::from_millis(250)).await;
}

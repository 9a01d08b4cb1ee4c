use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What time it is for a node: milliseconds since 1970 when it began, and from then on as they pass, whatever becomes of
/// the machine's clock.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    wall: u64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        #[cfg(feature = "testing")]
        let wall = wall.saturating_add_signed(crate::testing::clock_ahead());
        Clock { start: Instant::now(), wall }
    }

    pub(super) fn now(&self) -> u64 {
        self.wall + self.start.elapsed().as_millis() as u64
    }

    /// When that is, for a timer.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at.saturating_sub(self.wall))
    }
}

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The clock of a node, in milliseconds since 1970. It reads the machine's clock once, at the start, and then runs by
/// the monotonic clock, so that later changes of the machine's clock have no effect.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    wall: u64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        // A clock before 1970 counts as 1970: it must not stop the server.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        #[cfg(feature = "testing")]
        let wall = wall.saturating_add_signed(crate::testing::clock_ahead());
        Clock { start: Instant::now(), wall }
    }

    pub(super) fn now(&self) -> u64 {
        self.wall + self.start.elapsed().as_millis() as u64
    }

    /// Converts a time of this clock to an instant, for a timer.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at.saturating_sub(self.wall))
    }
}

//! The pause before the next attempt to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// A thousand nodes then make some two thousand attempts a second, each of which costs a refused connection. With a
/// longer pause, nodes would stay disconnected for longer after Redis is back.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// A connection that is lost sooner does not show that Redis is usable. One that lasts for so long does, also if it is killed again and
/// again: with long pauses between such connections a node would seem to have no Redis.
const USABLE: Duration = Duration::from_millis(250);

/// Doubling pauses with full jitter: a random time up to the pause, so that nodes which lost Redis at the same moment
/// do not all return at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        // 16 doublings exceed `MAX_DELAY`; the bound keeps the shift from overflowing.
        let longest = FIRST.saturating_mul(1 << self.attempts.min(16)).min(MAX_DELAY);
        self.attempts = self.attempts.saturating_add(1);
        longest.mul_f64(random() as f64 / u64::MAX as f64)
    }

    /// Starts again with the shortest pause, if the connection has lasted for long enough.
    pub(crate) fn lasted(&mut self, time: Duration) {
        if time >= USABLE {
            self.reset();
        }
    }

    /// Starts again with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A random number, good enough to spread load: the keys of the standard hasher are random.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_can_be_reset() {
        let mut backoff = Backoff::default();
        assert!(backoff.pause() <= FIRST);
        let most = (0..1000).map(|_| backoff.pause()).max().expect("some");
        assert!(most <= MAX_DELAY && most > MAX_DELAY / 2, "{most:?}");
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn only_a_connection_that_has_lasted_for_a_moment_ends_the_long_pauses() {
        let mut backoff = Backoff { attempts: 5 };
        backoff.lasted(USABLE - Duration::from_millis(1));
        assert_eq!(backoff.attempts, 5);
        backoff.lasted(USABLE);
        assert_eq!(backoff.attempts, 0);
    }
}

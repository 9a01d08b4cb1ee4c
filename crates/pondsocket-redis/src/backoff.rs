//! The pause before the next attempt to connect.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
/// A thousand nodes then make some two thousand attempts a second, each of which costs a refused connection. With a
/// longer pause, nodes would stay disconnected for longer after Redis is back.
const LONGEST: Duration = Duration::from_secs(1);

/// Doubling pauses with full jitter: a random time up to the pause, so that nodes which lost Redis at the same moment
/// do not all return at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        // 16 doublings exceed `LONGEST`; the bound keeps the shift from overflowing.
        let longest = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        longest.mul_f64(random() as f64 / u64::MAX as f64)
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
        assert!(most <= LONGEST && most > LONGEST / 2, "{most:?}");
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}

//! A token bucket: so many at once, and so many a second.

use std::time::Duration;

use tokio::time::Instant;

/// The amount that may be taken, and how fast it grows back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// A second.
    pub(crate) per_second: f64,
    /// The most that can be saved up.
    pub(crate) burst: f64,
}

/// The amount that one key has left. It begins full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket { left: rate.burst, at: now }
    }

    /// Takes `cost`. `Err` gives the time after which it will be there; nothing is taken then. More than the burst may be
    /// taken at once from a full bucket: it is owed, and paid for by waiting.
    pub(crate) fn take(&mut self, rate: Rate, cost: f64, now: Instant) -> Result<(), Duration> {
        self.refill(rate, now);
        let needed = cost.min(rate.burst);
        if self.left < needed {
            let after = (needed - self.left) / rate.per_second;
            return Err(Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX));
        }
        self.left -= cost;
        Ok(())
    }

    /// Returns `true` if it has nothing to remember.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.left >= rate.burst
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn the_burst_is_there_at_once_and_the_rest_comes_in_time() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        let mut take = |after: u64| bucket.take(RATE, 1.0, start + Duration::from_millis(after));
        assert_eq!([take(0), take(0), take(0)], [Ok(()); 3]);
        assert_eq!(take(0), Err(Duration::from_millis(500)));
        assert_eq!(take(400), Err(Duration::from_millis(100)));
        assert_eq!(take(500), Ok(()));
        assert_eq!(take(600), Err(Duration::from_millis(400)));
    }

    #[test]
    fn what_takes_longer_than_time_can_count_is_refused_all_the_same() {
        let (rate, start) = (Rate { per_second: 1e-30, burst: 1.0 }, Instant::now());
        let mut bucket = Bucket::full(rate, start);
        assert_eq!([bucket.take(rate, 1.0, start), bucket.take(rate, 1.0, start)], [Ok(()), Err(Duration::MAX)]);
    }

    #[test]
    fn a_cost_above_the_burst_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!(bucket.take(RATE, 5.0, start), Ok(()));
        assert_eq!(bucket.take(RATE, 1.0, start), Err(Duration::from_millis(1500)));
        assert!(!bucket.is_full(RATE, start + Duration::from_millis(2400)));
        assert!(bucket.is_full(RATE, start + Duration::from_millis(2500)));
    }
}

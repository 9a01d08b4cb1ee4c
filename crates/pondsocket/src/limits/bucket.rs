//! A token bucket, which limits a rate and allows bursts.

use std::time::Duration;

use tokio::time::Instant;

/// The capacity of a bucket, and the rate at which it is refilled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Tokens that are added in a second.
    pub(crate) per_second: f64,
    /// The most tokens that the bucket holds.
    pub(crate) burst: f64,
}

/// The tokens that are left. A bucket begins full. It is refilled when it is used, from the time that has passed, and
/// so needs no timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Bucket {
        Bucket { left: rate.burst, at: now }
    }

    /// Takes `cost` tokens. `Err` has the time after which they will be there; nothing is taken then. More than the
    /// burst can be taken at once from a full bucket: the balance is negative afterwards, and later requests wait for
    /// it.
    pub(crate) fn take(&mut self, rate: Rate, cost: f64, now: Instant) -> Result<(), Duration> {
        self.refill(rate, now);
        // A cost above the burst would never be there, so a full bucket is enough for it.
        let needed = cost.min(rate.burst);
        if self.left < needed {
            let after = (needed - self.left) / rate.per_second;
            // A rate close to 0 gives a time that no `Duration` holds.
            return Err(Duration::try_from_secs_f64(after).unwrap_or(Duration::MAX));
        }
        self.left -= cost;
        Ok(())
    }

    /// Returns `true` if the bucket is full, and so the same as a new one: it need not be kept.
    pub(crate) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.left >= rate.burst
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        // Saturating: callers on several threads may read the clock before they get the lock, and so come out of order.
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.at = now;
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn the_burst_is_available_at_once_and_refilled_over_time() {
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
    fn a_wait_beyond_the_range_of_durations_is_refused() {
        let (rate, start) = (Rate { per_second: 1e-30, burst: 1.0 }, Instant::now());
        let mut bucket = Bucket::full(rate, start);
        assert_eq!([bucket.take(rate, 1.0, start), bucket.take(rate, 1.0, start)], [Ok(()), Err(Duration::MAX)]);
    }

    #[test]
    fn a_cost_above_the_burst_delays_later_requests() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RATE, start);
        assert_eq!(bucket.take(RATE, 5.0, start), Ok(()));
        assert_eq!(bucket.take(RATE, 1.0, start), Err(Duration::from_millis(1500)));
        assert!(!bucket.is_full(RATE, start + Duration::from_millis(2400)));
        assert!(bucket.is_full(RATE, start + Duration::from_millis(2500)));
    }
}

//! A token bucket that limits the rate of new subscriptions. Redis handles commands one by one, so a large batch of
//! subscriptions would delay the messages of all nodes.

use std::time::Duration;

use tokio::time::Instant;

/// The tokens added each second.
const RATE: u32 = 50_000;
/// The most tokens that are kept, and so the most topics subscribed at once after a pause.
const BURST: u32 = 4096;

/// Tokens, one for each topic. `RATE` of them are added each second, up to `BURST`.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    filled: u32,
    since: Instant,
}

impl TokenBucket {
    pub(crate) fn new(now: Instant) -> TokenBucket {
        TokenBucket { filled: BURST, since: now }
    }

    /// Returns the number of topics that may be subscribed now.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        // Less than one token does not move `since`: with frequent calls it would otherwise be lost each time.
        let more = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(RATE);
        if more >= 1.0 {
            self.filled = (f64::from(self.filled) + more).min(f64::from(BURST)) as u32;
            self.since = now;
        }
        self.filled as usize
    }

    /// Removes the tokens of topics that have been subscribed.
    pub(crate) fn take(&mut self, count: usize) {
        self.filled = self.filled.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Returns the time at which more topics may be subscribed: after 5 ms there are 250 tokens, enough for a large
    /// command.
    pub(crate) fn next(&self) -> Instant {
        self.since + Duration::from_millis(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(start);
        assert_eq!(bucket.available(start), BURST as usize);
        bucket.take(BURST as usize);
        assert_eq!(bucket.available(start), 0);
        assert_eq!(bucket.available(start + Duration::from_millis(10)), 500);
        bucket.take(200);
        assert_eq!(bucket.available(start + Duration::from_millis(20)), 800);
        assert_eq!(bucket.available(start + Duration::from_secs(9)), BURST as usize);
        assert!(bucket.next() > start + Duration::from_secs(9));
    }
}

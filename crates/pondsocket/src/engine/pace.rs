//! The time for which a channel waits for a member that does not keep up: plain data, which gets the time as an argument.
//!
//! ```text
//!  keeps up --(more waits for it than may)--> waited for --(its credit is spent)--> left behind
//!     ^                                          |                                      |
//!     |------------(it has taken enough)---------'                                      |
//!     '----------------------(less than half of what may wait waits)--------------------'
//! ```
//!
//! A member that the channel waits for misses nothing. A member that is left behind is subject to its slow-client policy.

use std::time::Duration;

use tokio::time::Instant;

/// The conditions on which others wait for a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacingLimits {
    /// The time for which it may take nothing, if it had taken enough before.
    pub(crate) wait: Duration,
    /// The bytes that pay for one second.
    pub(crate) rate: usize,
}

impl PacingLimits {
    /// The time for which others wait for a member that has taken so many bytes.
    fn worth(self, bytes: usize) -> Duration {
        let nanos = (bytes as u128 * 1_000_000_000 / self.rate.max(1) as u128).min(self.wait.as_nanos());
        // Not more than the wait, which is below a year.
        Duration::from_nanos(nanos as u64)
    }
}

/// For how long others still wait for one connection. While something waits for the connection its credit is spent by
/// the time that passes; the bytes that it takes give it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    left: Duration,
    /// The moment at which the credit was as much: when it last took something, or when something began to wait.
    at: Instant,
    left_behind: bool,
}

impl Credit {
    pub(crate) fn new(terms: PacingLimits, now: Instant) -> Credit {
        Credit { left: terms.wait, at: now, left_behind: false }
    }

    /// The moment when it last took something, or when something began to wait for it.
    pub(crate) fn since(&self) -> Instant {
        self.at
    }

    /// Nothing waited until now.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.at = now;
    }

    /// It has taken so many bytes at once, while nothing waited.
    pub(crate) fn earn(&mut self, bytes: usize, terms: PacingLimits) {
        // Nearly always it has all that it may have, and each write of a delivery comes here.
        if self.left < terms.wait {
            self.left = (self.left + terms.worth(bytes)).min(terms.wait);
        }
    }

    /// It has taken so many bytes of what waited.
    pub(crate) fn take(&mut self, bytes: usize, terms: PacingLimits, now: Instant) {
        self.left = self.left_at(now);
        self.at = now;
        self.earn(bytes, terms);
    }

    /// The moment at which it is spent, if nothing more is taken.
    pub(crate) fn ends(&self) -> Instant {
        self.at + self.left
    }

    /// Returns whether others wait, now that more waits for it than may.
    pub(crate) fn holds(&mut self, now: Instant) -> bool {
        self.left_behind |= self.left_at(now).is_zero();
        !self.left_behind
    }

    pub(crate) fn is_left_behind(&self) -> bool {
        self.left_behind
    }

    /// Others do not wait any longer.
    pub(crate) fn leave_behind(&mut self) {
        self.left_behind = true;
    }

    /// It keeps up again.
    pub(crate) fn catch_up(&mut self) {
        self.left_behind = false;
    }

    fn left_at(&self, now: Instant) -> Duration {
        self.left.saturating_sub(now.saturating_duration_since(self.at))
    }
}

/// The divisor of what one second of not waiting gives back to a channel.
const REFILL: u32 = 10;

/// The shortest wait of a channel whose allowance is spent, as a part of the whole.
const SHORTEST: u32 = 40;

/// For how long one channel may still be held up in vain: however many members stop one after the other, the others are
/// held up for this, a tenth of the time, and a moment for each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    most: Duration,
    left: Duration,
    at: Option<Instant>,
}

impl Allowance {
    pub(crate) fn new(most: Duration) -> Allowance {
        Allowance { most, left: most, at: None }
    }

    /// For how long one member may be waited for.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        if let Some(at) = self.at.replace(now) {
            self.left = (self.left + now.saturating_duration_since(at) / REFILL).min(self.most);
        }
        self.left.max(self.most / SHORTEST)
    }

    /// It was waited in vain.
    pub(crate) fn spend(&mut self, waited: Duration, now: Instant) {
        self.left = self.left.saturating_sub(waited);
        self.at = Some(now);
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: PacingLimits = PacingLimits { wait: Duration::from_secs(2), rate: 1000 };

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_channel_waits_once_for_a_client_that_takes_nothing() {
        let start = Instant::now();
        let mut credit = Credit::new(TERMS, start);
        assert!(credit.holds(start) && credit.holds(start + millis(1999)));
        assert!(!credit.holds(start + millis(2000)));
        credit.take(5000, TERMS, start + millis(2500));
        assert!(!credit.holds(start + millis(2500)), "before it has caught up");
        credit.catch_up();
        assert!(credit.holds(start + millis(4499)) && !credit.holds(start + millis(4500)));
    }

    #[test]
    fn a_channel_does_not_wait_for_a_client_that_was_stalled_before() {
        let start = Instant::now();
        let mut credit = Credit::new(TERMS, start);
        credit.begin(start + millis(100));
        assert_eq!(credit.since(), start + millis(100));
        assert!(!credit.holds(start + millis(2100)), "it is looked at for the first time");
    }

    #[test]
    fn a_channel_waits_without_limit_for_a_client_that_takes_the_required_rate() {
        let start = Instant::now();
        let (mut enough, mut less) = (Credit::new(TERMS, start), Credit::new(TERMS, start));
        let mut lasted = 0;
        for step in 1..=1000 {
            let now = start + millis(100) * step;
            assert!(enough.holds(now));
            lasted += u32::from(less.holds(now));
            enough.take(100, TERMS, now);
            less.take(80, TERMS, now);
        }
        // Of each 100 ms it pays for 80: what is missing takes 2 s after 95 of them.
        assert_eq!(lasted, 95);
    }

    #[test]
    fn a_channel_whose_allowance_is_spent_waits_for_a_moment_only_and_regains_it_slowly() {
        let start = Instant::now();
        let mut allowance = Allowance::new(millis(4000));
        assert_eq!(allowance.wait(start), millis(4000));
        allowance.spend(millis(3000), start + millis(3000));
        assert_eq!(allowance.wait(start + millis(3000)), millis(1000));
        allowance.spend(millis(1000), start + millis(4000));
        assert_eq!(allowance.wait(start + millis(4000)), millis(100));
        assert_eq!(allowance.wait(start + millis(14_000)), millis(1000));
        assert_eq!(allowance.wait(start + millis(1_000_000)), millis(4000));
    }

    proptest! {
        /// However a member takes: over any time it is waited for no longer than its bytes pay for, and the wait.
        #[test]
        fn each_wait_reduces_the_allowance(steps in prop::collection::vec((0..500u64, 0..800usize), 1..200)) {
            let start = Instant::now();
            let (mut credit, mut now, mut waited, mut taken) = (Credit::new(TERMS, start), start, Duration::ZERO, 0);
            for (pause, bytes) in steps {
                if credit.holds(now) {
                    waited += millis(pause).min(credit.ends() - now);
                }
                now += millis(pause);
                credit.take(bytes, TERMS, now);
                taken += bytes;
                prop_assert!(waited <= TERMS.wait + Duration::from_secs_f64(taken as f64 / TERMS.rate as f64) + millis(1));
            }
        }

        /// However many members stop, and however long each is to be waited for.
        #[test]
        fn all_waits_without_progress_are_bounded(steps in prop::collection::vec((0..3000u64, 0..5000u64), 1..200)) {
            let start = Instant::now();
            let (most, mut now, mut waited) = (millis(4000), start, Duration::ZERO);
            let mut allowance = Allowance::new(most);
            for (count, (pause, wanted)) in (1u32..).zip(steps) {
                now += millis(pause);
                let wait = allowance.wait(now).min(millis(wanted));
                now += wait;
                allowance.spend(wait, now);
                waited += wait;
                prop_assert!(waited <= most + (now - start) / REFILL + most / SHORTEST * count);
            }
        }
    }
}

//! The time for which a channel waits for a member that does not keep up: plain data, which gets the time as an argument.
//!
//! ```text
//!  keeps up --(its queue is over its bounds)--> waited for --(its credit is spent)--> left behind
//!     ^                                            |                                      |
//!     |-------------(it has taken enough)----------'                                      |
//!     '----------------------(its queue is less than half full)---------------------------'
//! ```
//!
//! A member that the channel waits for misses no message. A member that is left behind is subject to its slow-client policy.

use std::time::Duration;

use tokio::time::Instant;

/// The conditions on which a channel waits for a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacingLimits {
    /// The time for which a member with full credit may take nothing.
    pub(crate) wait: Duration,
    /// The bytes that are worth one second.
    pub(crate) rate: usize,
}

impl PacingLimits {
    /// The time that these bytes are worth, in nanoseconds.
    fn worth(self, bytes: usize) -> u64 {
        (bytes as u128 * 1_000_000_000 / self.rate.max(1) as u128).min(u128::from(self.wait())) as u64
    }

    /// `wait` in nanoseconds. It is less than a year, so it fits.
    fn wait(self) -> u64 {
        self.wait.as_nanos() as u64
    }
}

/// The remaining time for which channels wait for one connection. While its queue is not empty, time spends the credit, and
/// the bytes that the connection takes restore it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    /// In nanoseconds, which are half of a `Duration`: every connection has one.
    left: u64,
    /// The time of that credit: when the connection last took bytes, or when its queue began to fill.
    at: Instant,
    left_behind: bool,
}

impl Credit {
    pub(crate) fn new(terms: PacingLimits, now: Instant) -> Credit {
        Credit { left: terms.wait(), at: now, left_behind: false }
    }

    /// The time at which the connection last took bytes, or at which its queue began to fill.
    pub(crate) fn since(&self) -> Instant {
        self.at
    }

    /// Notes that the queue was empty until now.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.at = now;
    }

    /// Notes that the connection has taken bytes at once, while its queue was empty.
    pub(crate) fn earn(&mut self, bytes: usize, terms: PacingLimits) {
        // Checked first, because each write of a delivery comes here and the credit is nearly always full.
        let most = terms.wait();
        if self.left < most {
            self.left = (self.left + terms.worth(bytes)).min(most);
        }
    }

    /// Notes that the connection has taken bytes of its queue.
    pub(crate) fn take(&mut self, bytes: usize, terms: PacingLimits, now: Instant) {
        self.left = self.left_at(now);
        // The queue may have begun to fill after `now`, which is the time at which the connection's task was polled.
        self.at = self.at.max(now);
        self.earn(bytes, terms);
    }

    /// The time at which the credit is spent, if no more bytes are taken.
    pub(crate) fn ends(&self) -> Instant {
        self.at + Duration::from_nanos(self.left)
    }

    /// Returns whether channels wait for the connection, whose queue is over its bounds.
    pub(crate) fn holds(&mut self, now: Instant) -> bool {
        self.left_behind |= self.left_at(now) == 0;
        !self.left_behind
    }

    pub(crate) fn is_left_behind(&self) -> bool {
        self.left_behind
    }

    /// Notes that channels do not wait any more.
    pub(crate) fn leave_behind(&mut self) {
        self.left_behind = true;
    }

    /// Notes that the connection keeps up again.
    pub(crate) fn catch_up(&mut self) {
        self.left_behind = false;
    }

    fn left_at(&self, now: Instant) -> u64 {
        self.left.saturating_sub(now.saturating_duration_since(self.at).as_nanos() as u64)
    }
}

/// The seconds without a wait that restore one second of the allowance of a channel.
const REFILL: u32 = 10;

/// The shortest wait of a channel whose allowance is spent, as the divisor of the budget.
const SHORTEST: u32 = 40;

/// The remaining time for which members that take nothing may hold up one channel. If any number of members stop reading one
/// after the other, the channel loses this budget, a tenth of the time, and one short wait for each of them.
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

    /// The time for which the channel may wait for one member.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        if let Some(at) = self.at.replace(now) {
            self.left = (self.left + now.saturating_duration_since(at) / REFILL).min(self.most);
        }
        self.left.max(self.most / SHORTEST)
    }

    /// Notes that the channel has waited in vain.
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

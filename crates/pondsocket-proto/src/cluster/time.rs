/// Monotonic time, derived from a clock that may be set back. All waiting times are measured by it, so that a clock
/// that is set back does not stop them.
#[derive(Debug, Default)]
pub(super) struct Time {
    /// The last reading of the clock.
    clock: u64,
    /// The time by which the clock has been set back in all.
    behind: u64,
}

impl Time {
    /// Converts a reading of the clock. The result never decreases, and after a step back it advances with the clock
    /// again.
    pub(super) fn read(&mut self, clock: u64) -> u64 {
        self.behind = self.behind.saturating_add(self.clock.saturating_sub(clock));
        self.clock = clock;
        clock.saturating_add(self.behind)
    }

    /// Converts a result of `read` to the time of the clock, for deadlines that the caller waits for.
    pub(super) fn by_clock(&self, at: u64) -> u64 {
        at.saturating_sub(self.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_a_clock_is_set_back() {
        let mut time = Time::default();
        assert_eq!(
            [1_000_000, 1_000_500, 400_500, 400_600].map(|clock| time.read(clock)),
            [1_000_000, 1_000_500, 1_000_500, 1_000_600]
        );
        assert_eq!(time.by_clock(1_000_700), 400_700);
        assert_eq!([900_000, 100_000, 100_001].map(|clock| time.read(clock)), [1_500_000, 1_500_000, 1_500_001]);
    }
}

/// A deterministic random number generator (SplitMix64): the core has no source of randomness but its seed, so that the
/// simulator can repeat a run. It draws jitter and ids, never secrets.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn draw_id(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// Draws a time that differs from `time` by a tenth at most.
    pub(super) fn about(&mut self, time: u64) -> u64 {
        time - time / 10 + self.draw() % (time / 5 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draws = |seed| {
            let mut random = Random::new(seed);
            [random.draw(), random.draw()]
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(draws(1)[0], draws(1)[1]);
    }

    #[test]
    fn about_a_time_is_at_most_a_tenth_off() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            let time = random.about(1000);
            assert!((900..=1100).contains(&time), "{time}");
        }
        assert_eq!(random.about(0), 0);
    }
}

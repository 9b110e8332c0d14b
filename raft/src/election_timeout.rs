//! Draws election timeouts from a seed, so that a run is repeatable. The timeouts need not be secret.

/// The pseudorandom number generator SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct TimeoutGenerator(u64);

impl TimeoutGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from `low` up to, but not including, twice `low`.
    pub(crate) fn timeout(&mut self, low: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        low + usize::try_from(mixed % (low as u64).max(1)).unwrap_or_default()
    }
}

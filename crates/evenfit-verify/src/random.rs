//! Reproducible random numbers: published figures depend on their sequence.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// SplitMix64 (Steele, Lea and Flood, 2014), whose numbers are the same everywhere and for good.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + (self.bits() % u64::from(high - low + 1)) as u32
    }

    /// From 1 to `2^log2_max`, each power of two as likely as another.
    pub fn log_uniform(&mut self, log2_max: u32) -> u32 {
        let high = 1 << self.between(1, log2_max);
        self.between(high / 2, high)
    }

    /// A number below `bound`, mostly far below: each halving is as likely as the last.
    pub(crate) fn small(&mut self, bound: usize) -> usize {
        let halvings = self.below(bound.max(1).ilog2() as usize + 1);
        self.below((bound >> halvings).max(1))
    }
}

//! How a heap cuts its pool and searches it.

/// The granule and the bins of a heap: all that its bounds depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The granule in bytes.
    pub granule_bytes: u64,
    /// Every doubling of sizes has `1 << division_log2` bins; sizes below `2 << division_log2` granules have one each.
    pub division_log2: u32,
}

impl Cut {
    /// `evenfit::Standard`.
    pub const STANDARD: Self = Self {
        granule_bytes: 16,
        division_log2: 4,
    };
    /// `evenfit::Compact`.
    pub const COMPACT: Self = Self {
        granule_bytes: 8,
        division_log2: 3,
    };

    /// The granules of a block for `size_bytes`: at least one.
    pub fn granules(self, size_bytes: u64) -> u64 {
        size_bytes.div_ceil(self.granule_bytes).max(1)
    }

    /// Granules that an alignment may cost beside the block: none up to a granule.
    pub fn slack(self, align_bytes: u64) -> u64 {
        (align_bytes / self.granule_bytes).max(1) - 1
    }

    /// The bin of a free block.
    pub fn bin(self, granules: u64) -> u64 {
        let exponent = (granules | 1 << self.division_log2).ilog2() - self.division_log2;
        (u64::from(exponent) << self.division_log2) + (granules >> exponent)
    }

    /// The smallest block of `bin`.
    pub fn smallest(self, bin: u64) -> u64 {
        let division = self.division_log2;
        let exponent = (bin >> division).saturating_sub(1);
        (bin - (exponent << division)) << exponent
    }

    /// The smallest size at which a free block is surely found for `granules`: R(r) of the proof.
    pub fn surely(self, granules: u64) -> u64 {
        let bin = self.bin(granules);
        if self.smallest(bin) == granules {
            granules
        } else {
            self.smallest(bin + 1)
        }
    }

    /// Bytes of a region, based at a multiple of a granule, whose pool has `granules`: 2 bits of map a granule and
    /// one more for the end, in pairs of 64-bit words, then the pool.
    pub fn region_bytes(self, granules: u64) -> u64 {
        let map_bytes = (granules / 64 + 1) * 16;
        map_bytes + granules * self.granule_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_follow_each_other_and_begin_with_their_smallest() {
        for division_log2 in 0..5 {
            let cut = Cut {
                granule_bytes: 16,
                division_log2,
            };
            for granules in 1..3000 {
                let bin = cut.bin(granules);
                assert!(cut.smallest(bin) <= granules && granules < cut.smallest(bin + 1));
                assert!(cut.bin(granules + 1) - bin <= 1);
                assert!(cut.surely(granules) >= granules);
            }
        }
    }

    #[test]
    fn small_sizes_are_exact() {
        assert!((1..=32).all(|r| Cut::STANDARD.surely(r) == r));
        assert_eq!(Cut::STANDARD.surely(33), 34);
        assert_eq!(Cut::STANDARD.surely(1001), 1024);
        assert!((1..=16).all(|r| Cut::COMPACT.surely(r) == r));
    }
}

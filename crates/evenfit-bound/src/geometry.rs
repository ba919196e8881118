//! How a heap divides its pool and searches it.

/// The granule and the bins of a heap: all that its bounds depend on.
///
/// The constants are those of 64-bit machines. On 32-bit machines `Compact` is the same, and the
/// others have shorter bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The granule in bytes.
    pub granule_bytes: u64,
    /// The start and the length of every block are multiples of this number of granules: 1 or 2.
    pub align_granules: u64,
    /// Blocks of fewer granules have a bin for each length. A power of two.
    pub short_end: u64,
    /// From there on every doubling has `1 << division_log2` bins.
    pub division_log2: u32,
}

impl Cut {
    /// The shortest block, in granules.
    pub const BLOCK_MIN: u64 = 2;

    /// `evenfit::Standard`.
    pub const STANDARD: Self =
        Self { granule_bytes: 8, align_granules: 1, short_end: 32, division_log2: 2 };
    /// `evenfit::Aligned`.
    pub const ALIGNED: Self = Self { align_granules: 2, ..Self::STANDARD };
    /// `evenfit::Wide`.
    pub const WIDE: Self = Self { granule_bytes: 16, ..Self::STANDARD };
    /// `evenfit::Compact`.
    pub const COMPACT: Self = Self { short_end: 16, ..Self::STANDARD };

    /// The geometries, as a contract names them.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("standard", Self::STANDARD),
        ("aligned", Self::ALIGNED),
        ("wide", Self::WIDE),
        ("compact", Self::COMPACT),
    ];

    /// The geometry of that name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMED.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, cut)| cut)
    }

    /// Its name, if it is one of the heap's own.
    pub fn name(self) -> Option<&'static str> {
        let found = Self::NAMED.into_iter().find(|(_, cut)| *cut == self);
        found.map(|(name, _)| name)
    }

    /// The granules that a request of `size_bytes` asks for. Its block may be one longer: see
    /// [`absorbs`](Self::absorbs).
    pub fn granules(self, size_bytes: u64) -> u64 {
        let align_bytes = self.granule_bytes * self.align_granules;
        let rounded = size_bytes.div_ceil(align_bytes) * self.align_granules;
        rounded.max(Self::BLOCK_MIN)
    }

    /// Granules that an alignment may cost beside the block: none up to the alignment of all
    /// blocks. The granules left over before the block must be none or a block; if they would be
    /// one, they are one and the alignment.
    pub fn slack(self, align_bytes: u64) -> u64 {
        if align_bytes <= self.granule_bytes * self.align_granules {
            0
        } else {
            align_bytes / self.granule_bytes + 1
        }
    }

    /// The alignment in granules that has this slack.
    pub(crate) fn align_of(slack: u64) -> u64 {
        slack.saturating_sub(1).max(1)
    }

    /// Whether a single granule may be left over, which the block before it then absorbs.
    pub fn absorbs(self) -> bool {
        self.align_granules < Self::BLOCK_MIN
    }

    /// The bin of a free block. Rises with the length.
    pub fn bin(self, granules: u64) -> u64 {
        if granules < self.short_end {
            return granules;
        }
        let log2 = granules.ilog2();
        let doublings = u64::from(log2 - self.short_end.ilog2());
        let part = granules >> (log2 - self.division_log2);
        self.short_end + (doublings << self.division_log2) + part - (1 << self.division_log2)
    }

    /// The shortest block of `bin`.
    pub fn smallest(self, bin: u64) -> u64 {
        if bin < self.short_end {
            return bin;
        }
        let above = bin - self.short_end;
        let parts = 1 << self.division_log2;
        let log2 = self.short_end.ilog2() + (above >> self.division_log2) as u32;
        (parts + above % parts) << (log2 - self.division_log2)
    }

    /// The length from which on any free block is found for `granules`: R(r) of the proof.
    pub fn surely(self, granules: u64) -> u64 {
        let bin = self.bin(granules);
        if self.smallest(bin) == granules { granules } else { self.smallest(bin + 1) }
    }

    /// Bytes of a region whose pool has at least `granules`, if it starts at a multiple of the
    /// blocks' alignment. `None`: more than 64 bits count. The directory has 32 bits
    /// (`Compact`: 16) for each `short_end` granules, rounded up, and 32 (16) more; the map one bit
    /// for each granule and 64 more.
    pub fn region_bytes(self, granules: u64) -> Option<u64> {
        self.region_bytes_with(granules, 0)
    }

    /// As `region_bytes`, with `slab_bytes` bytes of slab metadata before the directory.
    pub(crate) fn region_bytes_with(self, granules: u64, slab_bytes: u64) -> Option<u64> {
        let granules = granules.checked_next_multiple_of(self.align_granules)?;
        let entry_bytes = if self.short_end == 16 { 2 } else { 4 };
        let metadata_bytes =
            slab_bytes + (granules / self.short_end + 1) * entry_bytes + granules / 8 + 8;
        let align_bytes = self.granule_bytes * self.align_granules;
        granules
            .checked_mul(self.granule_bytes)?
            .checked_add(metadata_bytes.checked_next_multiple_of(align_bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_follow_each_other_and_begin_with_their_smallest() {
        for short_log2 in 2..6 {
            for division_log2 in 0..=short_log2 {
                let cut = Cut { short_end: 1 << short_log2, division_log2, ..Cut::STANDARD };
                for granules in 2..3000 {
                    let bin = cut.bin(granules);
                    assert!(cut.smallest(bin) <= granules && granules < cut.smallest(bin + 1));
                    assert!(cut.bin(granules + 1) - bin <= 1);
                    assert!(cut.surely(granules) >= granules);
                }
            }
        }
    }

    #[test]
    fn short_sizes_are_exact_and_long_ones_within_a_quarter() {
        assert!((2..=32).all(|r| Cut::STANDARD.surely(r) == r));
        assert_eq!(Cut::STANDARD.surely(33), 40);
        assert_eq!(Cut::STANDARD.surely(1025), 1280);
        assert!((2..=16).all(|r| Cut::COMPACT.surely(r) == r));
        assert_eq!(Cut::COMPACT.surely(17), 20);
    }

    #[test]
    fn granules_and_slack_are_the_heaps() {
        assert_eq!([0, 1, 16, 17].map(|n| Cut::STANDARD.granules(n)), [2, 2, 2, 3]);
        assert_eq!([0, 1, 16, 17].map(|n| Cut::ALIGNED.granules(n)), [2, 2, 2, 4]);
        assert_eq!([1, 32, 33].map(|n| Cut::WIDE.granules(n)), [2, 2, 3]);
        assert_eq!([1, 8, 16, 64].map(|a| Cut::STANDARD.slack(a)), [0, 0, 3, 9]);
        assert_eq!([8, 16, 32].map(|a| Cut::ALIGNED.slack(a)), [0, 0, 5]);
    }
}

//! The integrity check. It gives an answer for any content of the region.
//!
//! It trusts only the heap's own value: top, end, counters and heads of bins. Every index read from
//! the map, the directory, descriptors or links is tested before it is used, so a region full of
//! garbage can't make it crash.

use crate::blocks::Run;
use crate::geometry::Geometry;
use crate::heap::Heap;
use crate::slabs::SlabTally;
use crate::tiers::Tiers;
use crate::{BlockState, CheckError};

/// The totals of all blocks that the map shows.
#[derive(Default)]
struct Tally {
    used_granules: usize,
    used_blocks: usize,
    listed_blocks: usize,
    has_rest: bool,
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Checks the whole heap: map, directory, links, bins, slabs and counters. Linear in the number
    /// of blocks and the length of the map.
    ///
    /// Whatever was written over the region, the answer is `Ok` or the first thing found wrong. It
    /// never panics.
    ///
    /// # Errors
    /// [`CheckError`] says what is wrong and where.
    pub fn check(&self) -> Result<(), CheckError> {
        let mut slab_tally = SlabTally::default();
        let tally = self.check_map(&mut slab_tally)?;
        self.blocks.check_bins(tally.listed_blocks)?;
        if let Some(slabs) = self.slabs() {
            slabs.check_lists(&slab_tally, self.blocks.top)?;
        }
        let counters = &self.blocks.counters;
        if tally.used_granules != counters.used
            || tally.used_blocks != counters.live
            || tally.has_rest != (self.blocks.rest != Run::NONE)
        {
            return Err(CheckError::Counters {
                counted_bytes: tally.used_granules * G::GRANULE_BYTES,
                remembered_bytes: counters.used * G::GRANULE_BYTES,
            });
        }
        Ok(())
    }

    fn check_map(&self, slab_tally: &mut SlabTally) -> Result<Tally, CheckError> {
        let blocks = &self.blocks;
        let mut tally = Tally::default();
        let mut start = 0;
        let mut after_free = false;
        while start < blocks.top {
            let offset_bytes = start * G::GRANULE_BYTES;
            let (end, state) = self.block_from(start).ok_or(CheckError::Mark { offset_bytes })?;
            if blocks.shows_free_before(start) != after_free
                || after_free && state == BlockState::Free
            {
                return Err(CheckError::Neighbour { offset_bytes });
            }
            after_free = state == BlockState::Free;
            if !blocks.marks_agree(start, end, after_free) {
                return Err(CheckError::InnerMark { offset_bytes });
            }
            if after_free {
                if blocks.is_rest(start) {
                    tally.has_rest = true;
                } else {
                    tally.listed_blocks += 1;
                    if !blocks.is_linked(start, end) {
                        return Err(CheckError::Link { offset_bytes });
                    }
                }
            } else {
                tally.used_granules += end - start;
                tally.used_blocks += 1;
            }
            if let (BlockState::Slab { .. }, Some(slabs)) = (state, self.slabs())
                && !slabs.check_slab(start, slab_tally)
            {
                return Err(CheckError::Slab { offset_bytes });
            }
            start = end;
        }
        if start != blocks.top || after_free || !blocks.top_agrees() {
            return Err(CheckError::Neighbour { offset_bytes: blocks.top * G::GRANULE_BYTES });
        }
        Ok(tally)
    }
}

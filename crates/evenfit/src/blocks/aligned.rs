//! Blocks with a larger alignment than the geometry's. They are cut out of a free block, and a part
//! of it may stay free before them.

use super::allocate::Allocated;
use super::find::Found;
use super::map::{FREE_START, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Pool, Run};
use crate::geometry::Geometry;

/// Where an aligned block lies in the free block that it is cut from.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    found: Found,
    /// The free block, or the unused end of the pool.
    run: Run,
    aligned: usize,
}

impl Fit {
    /// How long the aligned block can be, in granules.
    fn room(self) -> usize {
        self.run.end - self.aligned
    }
}

impl<G: Geometry> Blocks<G> {
    /// Allocates a block of `len` granules at a multiple of `align` bytes, which is more than the
    /// geometry's. O(1).
    ///
    /// # Safety
    /// `len` is a request's length; `align` is a power of two.
    #[inline(never)]
    pub(super) unsafe fn allocate_aligned(&mut self, len: usize, align: usize) -> Allocated {
        debug_assert!(len >= GRANULES_MIN && align.is_power_of_two());
        let Fit { found, mut run, aligned } = self.find_aligned(len, align)?;
        // SAFETY: the run found is free, so its memory is the heap's (I2), and it has room for
        // `len` granules from `aligned` on.
        unsafe {
            match found {
                Found::Listed(bin) => run = self.pop_head(bin, aligned - run.start + len)?,
                Found::Rest => self.rest = Run::NONE,
                Found::Top => {
                    run.end = aligned + len;
                    self.set_top(run.end);
                }
            }
            self.map.clear(run.start, FREE_START);
            self.map.clear(run.end, TWO_BEFORE);
            if run.start < aligned {
                self.insert(Run { start: run.start, end: aligned });
            }
            run.start = aligned;
            let len = self.split(run, len, false);
            Some(self.allocated(aligned, len))
        }
    }

    /// The free block for an aligned request. The candidates are, in this order: the block that an
    /// ordinary request of this length would get; a block long enough for any position of the
    /// aligned block in it; the rest; the top. The first one with room at the alignment is used.
    /// O(1).
    #[inline(never)]
    pub(super) fn find_aligned(&self, len: usize, align: usize) -> Option<Fit> {
        let longest = len.checked_add(align / G::GRANULE_BYTES + 1)?;
        let ways = [Some(len), Some(longest), None, None];
        ways.into_iter().zip([None, None, Some(Found::Rest), Some(Found::Top)]).find_map(
            |(search, found)| {
                let found = match search {
                    Some(len) => self.find(len),
                    None => found,
                };
                let fit = self.fit(found?, align)?;
                (fit.room() >= len).then_some(fit)
            },
        )
    }

    /// The free block that an ordinary request is cut from. O(1).
    #[inline(always)]
    fn find(&self, len: usize) -> Option<Found> {
        // SAFETY: each short length is the number of a bin.
        if len < G::SHORT_END && unsafe { self.bins.is_filled(len) } {
            return Some(Found::Listed(len));
        }
        self.find_fit(len)
    }

    /// Where the first aligned block can begin in a free one, if there is room for a block of any
    /// length. What stays before it is empty or long enough to be a block.
    #[inline(always)]
    fn fit(&self, found: Found, align: usize) -> Option<Fit> {
        let run = match found {
            // SAFETY: a bin that a search finds is filled.
            Found::Listed(bin) => unsafe {
                let start = self.bins.head(bin) as usize;
                let end = start + self.head_len(bin);
                Run { start, end }
            },
            Found::Rest => self.rest,
            Found::Top => Run { start: self.top, end: self.end },
        };
        let address = self.pool.at(run.start).addr();
        let mut before = (address.wrapping_neg() & (align - 1)) / G::GRANULE_BYTES;
        if before != 0 && before < GRANULES_MIN {
            before += align / G::GRANULE_BYTES;
        }
        let aligned = run.start.checked_add(before)?;
        (aligned < run.end).then_some(Fit { found, run, aligned })
    }

    /// The longest request in granules that `allocate_aligned` serves now. O(1): it reads the head
    /// of each bin.
    pub(crate) fn largest_aligned(&self, align: usize) -> usize {
        let step = Pool::<G>::GRANULES_ALIGN;
        let room = |found| self.fit(found, align).map_or(0, Fit::room);
        let serves = |len: usize| len >= GRANULES_MIN && self.find_aligned(len, align).is_some();
        let surely = self.largest().saturating_sub(align / G::GRANULE_BYTES + 1) / step * step;
        let mut largest = surely.max(room(Found::Rest)).max(room(Found::Top));
        for bin in 0..super::Bins::<G>::COUNT {
            // SAFETY: `bin < COUNT`.
            let room =
                if unsafe { self.bins.is_filled(bin) } { room(Found::Listed(bin)) } else { 0 };
            // A request prefers other blocks to one that is a single granule longer. So the block
            // measured here may serve only a request that is one step shorter than its room.
            for len in [room, room.saturating_sub(step)] {
                if len > largest && serves(len) {
                    largest = len;
                }
            }
        }
        if largest < GRANULES_MIN { 0 } else { largest }
    }
}

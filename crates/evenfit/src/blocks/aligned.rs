//! Blocks aligned higher than the geometry aligns all: cut out of a free block, of which a part may stay before them.

use super::allocate::Allocated;
use super::find::Found;
use super::map::{FREE_START, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Pool, Run};
use crate::geometry::Geometry;

/// Where an aligned block lies in the free one it is cut from.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    found: Found,
    /// The free block, or the unused end of the pool.
    run: Run,
    aligned: usize,
}

impl Fit {
    /// How long the block can be.
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
        let Fit { found, mut run, aligned } = self.find_aligned(len, align)?;
        // SAFETY: the run is free.
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

    /// The free block for an aligned request: that of an ordinary one if it lies well; else one so long that it must do; else the
    /// rest or the top, if they lie well. O(1).
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

    /// The free block that a request is cut from. O(1).
    #[inline(always)]
    fn find(&self, len: usize) -> Option<Found> {
        // SAFETY: a short length is a bin.
        if len < G::SHORT_END && unsafe { self.bins.is_filled(len) } {
            return Some(Found::Listed(len));
        }
        self.find_fit(len)
    }

    /// Where the first aligned block can begin in a free one, if one of any length can. What stays before it must be a block.
    #[inline(always)]
    fn fit(&self, found: Found, align: usize) -> Option<Fit> {
        let run = match found {
            // SAFETY: what is found is a filled bin.
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

    /// The longest request in granules that `allocate_aligned` serves now. O(1): it looks at the head of each bin.
    pub(crate) fn largest_aligned(&self, align: usize) -> usize {
        let step = Pool::<G>::GRANULES_ALIGN;
        let room = |found| self.fit(found, align).map_or(0, Fit::room);
        let serves = |len: usize| len >= GRANULES_MIN && self.find_aligned(len, align).is_some();
        let surely = self.largest().saturating_sub(align / G::GRANULE_BYTES + 1) / step * step;
        let mut largest = surely.max(room(Found::Rest)).max(room(Found::Top));
        for bin in 0..super::Bins::<G>::COUNT {
            // SAFETY: the bin is one.
            let room =
                if unsafe { self.bins.is_filled(bin) } { room(Found::Listed(bin)) } else { 0 };
            // A block longer by one granule than a short request is its last choice, so its room may go to one granule less only.
            for len in [room, room.saturating_sub(step)] {
                if len > largest && serves(len) {
                    largest = len;
                }
            }
        }
        if largest < GRANULES_MIN { 0 } else { largest }
    }
}

//! Blocks aligned higher than the geometry aligns all: cut out of a free block, of which a part may stay before them.

use super::allocate::{Allocated, Found};
use super::map::{FREE_START, HERE, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, NO_REST, Pool};
use crate::geometry::Geometry;

/// Where an aligned block lies in the free one it is cut from.
#[derive(Clone, Copy)]
struct Fit {
    found: Found,
    /// The free block, or the unused end of the pool.
    start: usize,
    end: usize,
    aligned: usize,
}

impl<G: Geometry> Blocks<G> {
    /// Allocates a block of `len` granules at a multiple of `align` bytes, which is more than the geometry's. O(1).
    ///
    /// # Safety
    /// As for `allocate_short`; `align` is a power of two.
    #[inline(never)]
    pub(crate) unsafe fn allocate_aligned(&mut self, len: usize, align: usize) -> Allocated {
        let Fit {
            found,
            start,
            mut end,
            aligned,
        } = self.find_aligned(len, align)?;
        // SAFETY: the run from start to end is free.
        unsafe {
            match found {
                Found::Listed(bin) => _ = self.take_head(bin, start, aligned - start + len)?,
                Found::Rest => (self.rest, self.rest_end) = (NO_REST, NO_REST),
                Found::Top => {
                    end = aligned + len;
                    self.top = end;
                    self.map.set(end, HERE);
                }
            }
            self.map.clear(start, FREE_START);
            self.map.clear(end, TWO_BEFORE);
            if start < aligned {
                self.add_free(start, aligned);
            }
            let len = self.split_used(aligned, len, end, false);
            Some(self.allocated(aligned, len))
        }
    }

    /// The free block for an aligned request: that of an ordinary one if it lies well; else one so long that it must do; else the
    /// rest or the top, if they lie well. O(1).
    #[inline(never)]
    fn find_aligned(&self, len: usize, align: usize) -> Option<Fit> {
        let longest = len.checked_add(align / G::GRANULE_BYTES + 1)?;
        let ways = [Some(len), Some(longest), None, None];
        ways.into_iter()
            .zip([None, None, Some(Found::Rest), Some(Found::Top)])
            .find_map(|(search, found)| {
                let found = match search {
                    Some(len) => self.find(len),
                    None => found,
                };
                let fit = self.fit(found?, align)?;
                (fit.end - fit.aligned >= len).then_some(fit)
            })
    }

    /// Whether an aligned request finds a free block.
    pub(super) fn can_align(&self, len: usize, align: usize) -> bool {
        self.find_aligned(len, align).is_some()
    }

    /// Where the first aligned block can begin in a free one, if one of any length can. What stays before it must be a block.
    #[inline(always)]
    fn fit(&self, found: Found, align: usize) -> Option<Fit> {
        let (start, end) = match found {
            // SAFETY: what is found is a filled bin.
            Found::Listed(bin) => unsafe {
                let start = self.bins.head(bin) as usize;
                (start, start + self.head_len(bin))
            },
            Found::Rest => (self.rest, self.rest_end),
            Found::Top => (self.top, self.end),
        };
        let address = self.pool.at(start).addr();
        let mut before = (address.wrapping_neg() & (align - 1)) / G::GRANULE_BYTES;
        if before != 0 && before < GRANULES_MIN {
            before += align / G::GRANULE_BYTES;
        }
        let aligned = start.checked_add(before)?;
        (aligned < end).then_some(Fit {
            found,
            start,
            end,
            aligned,
        })
    }

    /// The longest request in granules that `allocate_aligned` serves now. O(1): it looks at the head of each bin.
    pub(crate) fn largest_aligned(&self, align: usize) -> usize {
        let step = Pool::<G>::GRANULES_ALIGN;
        let room = |found| {
            self.fit(found, align)
                .map_or(0, |fit| fit.end - fit.aligned)
        };
        let serves = |len: usize| len >= GRANULES_MIN && self.can_align(len, align);
        let surely = self.largest().saturating_sub(align / G::GRANULE_BYTES + 1) / step * step;
        let mut largest = surely.max(room(Found::Rest)).max(room(Found::Top));
        for bin in 0..super::Bins::<G>::COUNT {
            // SAFETY: the bin is one.
            let room = if unsafe { self.bins.is_filled(bin) } {
                room(Found::Listed(bin))
            } else {
                0
            };
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

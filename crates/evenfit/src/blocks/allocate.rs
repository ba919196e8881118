//! Allocation: the list of just this size, the rest, a search, the top.

use core::ptr::NonNull;

use super::bins::Bins;
use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, NO_REST};
use crate::AllocError;
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

/// A block, as long as the caller may use it. `None`: no free block is long enough, or the one found was overwritten;
/// [`Blocks::why_none`] says which. A pair of registers, as a `Result` would not be.
pub(crate) type Allocated = Option<NonNull<[u8]>>;

/// A free block that serves a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The first of this bin.
    Listed(usize),
    /// The rest.
    Rest,
    /// The pool's end.
    Top,
}

impl<G: Geometry> Blocks<G> {
    /// Allocates a short block from the list of its own length, or from the rest. The outer `None`: that needs a search.
    ///
    /// # Safety
    /// `len` is what [`Pool::granules`](super::Pool::granules) makes of a request, as for all functions here.
    #[inline(always)]
    pub(crate) unsafe fn allocate_short(&mut self, len: usize) -> Option<Allocated> {
        debug_assert!(len >= GRANULES_MIN);
        // SAFETY: a short length is a bin.
        unsafe {
            if len < G::SHORT_END {
                if self.bins.is_filled(len) {
                    return Some(self.allocate_exact(len));
                }
                if len + GRANULES_MIN <= self.rest_len() {
                    return Some(Some(self.allocate_from_rest(len)));
                }
            }
        }
        None
    }

    /// Takes the first block of the list of a short length, as it is.
    ///
    /// # Safety
    /// The bin of this length is filled.
    #[inline(never)]
    unsafe fn allocate_exact(&mut self, len: usize) -> Allocated {
        // SAFETY: a bin's head is a block below the top (I4), and free if the map says so (I2).
        unsafe {
            let start = self.bins.head(len) as usize;
            let bit = opaque(1 << len);
            if !self.map.window(start).is_short_free(bit) || !self.pop(len, start) {
                return None;
            }
            let (blocks, start) = (reread(self), opaque(start));
            // All marks of a free block but the first go. Those of its end are the length's; in the shortest block they are those
            // of its start.
            blocks.map.flip(start, (NEXT | (TWO_BEFORE * bit)) & !HERE);
            Some(blocks.allocated(start, len))
        }
    }

    /// Cuts a block off the rest.
    ///
    /// # Safety
    /// At least the shortest block stays.
    #[inline(always)]
    unsafe fn allocate_from_rest(&mut self, len: usize) -> NonNull<[u8]> {
        let start = self.rest;
        self.rest = start + len;
        // SAFETY: the rest is free (I6), so it is nobody's.
        unsafe {
            if len < G::SHORT_END {
                self.map.flip_and_set(start, NEXT, FREE_START << len);
            } else {
                self.map.flip(start, NEXT);
                self.map.set(start + len, FREE_START);
            }
            self.allocated(start, len)
        }
    }

    /// How long the block of a slab is, in granules: as many as eight entries of the directory are for, and the least of its bin.
    pub(crate) const SLAB_LEN: usize = 8 * G::SHORT_END;

    /// Allocates the block of a slab. From the rest, if it can be cut from it, since that costs least; from the top, if that is all
    /// there is; or else by a search.
    #[inline(always)]
    pub(crate) fn allocate_for_slab(&mut self) -> Allocated {
        let len = Self::SLAB_LEN;
        // SAFETY: what is cut off is there.
        unsafe {
            if len + GRANULES_MIN <= self.rest_len() {
                return Some(self.allocate_from_rest(len));
            }
            // The first bin that is long enough begins with the length of slabs, so any block of it will do.
            let bin = const { Bins::<G>::of_long(Self::SLAB_LEN, Self::SLAB_LEN.ilog2() as usize) };
            if self.rest_len() < len && !self.bins.has_from(bin) {
                return (len <= self.end - self.top).then(|| self.allocate_from_top(len));
            }
            self.allocate_by_search(len)
        }
    }

    /// Allocates what is neither in the list of its own length nor cut from the rest.
    ///
    /// # Safety
    /// As for `allocate_short`.
    #[inline(never)]
    pub(crate) unsafe fn allocate_by_search(&mut self, len: usize) -> Allocated {
        // SAFETY: what is found is free and long enough.
        unsafe {
            let found = self.find_elsewhere(len)?;
            let blocks = reread(self);
            let (start, end);
            match found {
                Found::Listed(bin) => {
                    start = blocks.bins.head(bin) as usize;
                    end = start + blocks.take_head(bin, start, len)?;
                }
                Found::Rest => {
                    (start, end) = (blocks.rest, blocks.rest_end);
                    (blocks.rest, blocks.rest_end) = (NO_REST, NO_REST);
                }
                Found::Top => return Some(blocks.allocate_from_top(len)),
            }
            reread(blocks).allocate_from(start, end, len)
        }
    }

    /// Cuts a block off a free one that is in no list: what is left becomes the rest, and what was the rest is listed.
    ///
    /// # Safety
    /// A free block from `start` to `end`, at least `len` granules long, not the rest.
    #[inline(always)]
    unsafe fn allocate_from(&mut self, start: usize, end: usize, mut len: usize) -> Allocated {
        // SAFETY: the block is free, so it is nobody's.
        unsafe {
            if end - start - len < GRANULES_MIN {
                // A granule too many stays with the block.
                len = end - start;
                self.map.clear(end, TWO_BEFORE);
                self.map.clear(start, NEXT);
                self.map.set(start, HERE);
            } else {
                if len < G::SHORT_END {
                    self.map.flip_and_set(start, NEXT, FREE_START << len);
                } else {
                    self.map.flip(start, NEXT);
                    self.map.set(start + len, FREE_START);
                }
                let (old_rest, old_rest_end) = (self.rest, self.rest_end);
                (self.rest, self.rest_end) = (start + len, end);
                if old_rest != NO_REST {
                    self.push(old_rest, old_rest_end - old_rest);
                }
            }
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
            Some(self.allocated(start, len))
        }
    }

    /// Takes the first block of a filled bin out of its list, and returns its length. `None`: it was overwritten, or isn't the one
    /// that was found to have `least` granules; nothing is changed.
    ///
    /// # Safety
    /// `start` is the bin's head.
    #[inline(always)]
    pub(super) unsafe fn take_head(
        &mut self,
        bin: usize,
        start: usize,
        least: usize,
    ) -> Option<usize> {
        // SAFETY: a filled bin's head is below the top (I4, I5).
        unsafe {
            let window = self.map.window(start);
            let len = if bin < G::SHORT_END {
                if !window.is_short_free(opaque(1 << bin)) {
                    return None;
                }
                bin
            } else {
                if !window.is_long_free(G::SHORT_END) || start == self.rest {
                    return None;
                }
                let len = self.directory.len_at(start);
                if len < least {
                    return None;
                }
                len
            };
            self.pop(bin, start).then_some(len)
        }
    }

    /// # Safety
    /// The pool's end has room.
    #[inline(always)]
    unsafe fn allocate_from_top(&mut self, len: usize) -> NonNull<[u8]> {
        let start = self.top;
        self.top = start + len;
        // SAFETY: the new top lies in the pool or at its end.
        unsafe {
            self.map.set(self.top, HERE);
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
            self.allocated(start, len)
        }
    }

    /// Counts a new block.
    #[inline(always)]
    pub(super) unsafe fn allocated(&mut self, start: usize, len: usize) -> NonNull<[u8]> {
        self.counters.live = self.counters.live.wrapping_add(1);
        self.count_used(len);
        // SAFETY: the block lies in the pool.
        unsafe { self.pool.slice(start, len) }
    }

    /// Counts `len` granules more as used.
    #[inline(always)]
    pub(super) fn count_used(&mut self, len: usize) {
        self.counters.used = self.counters.used.wrapping_add(len);
        if self.counters.used > self.counters.used_peak {
            self.counters.used_peak = self.counters.used;
        }
    }

    /// Why a request of `len` granules was not served: a block that could serve it was overwritten, or there is none.
    #[cold]
    pub(crate) fn why_none(&self, len: usize, align: usize) -> AllocError {
        let is_found = if align <= G::ALIGN_BYTES {
            len <= self.largest()
        } else {
            self.can_align(len, align)
        };
        if is_found {
            AllocError::Corrupt
        } else if len > self.end {
            AllocError::TooLarge
        } else {
            AllocError::OutOfMemory
        }
    }

    /// The free block that a request is cut from: of good fit, or of the best where that costs nothing.
    ///
    /// A short request tries its own bin, the rest, bins of lengths that leave a block or nothing, the length that leaves one
    /// granule, and the top. A long one tries the first block of its own bin, the bins above, the rest, the top. O(1).
    #[inline(always)]
    pub(super) fn find(&self, len: usize) -> Option<Found> {
        // SAFETY: a short length is a bin.
        if len < G::SHORT_END && unsafe { self.bins.is_filled(len) } {
            return Some(Found::Listed(len));
        }
        self.find_elsewhere(len)
    }

    /// As `find`, for a request whose own bin is empty if it is short.
    #[inline(always)]
    fn find_elsewhere(&self, len: usize) -> Option<Found> {
        let in_rest = len <= self.rest_len();
        // SAFETY: bins are those that Bins names.
        unsafe {
            let above = if len < G::SHORT_END {
                if in_rest {
                    return Some(Found::Rest);
                }
                self.bins.first_above_short(len)
            } else {
                if len > self.end {
                    return None;
                }
                let bin = Bins::<G>::of(len);
                if self.bins.is_filled(bin)
                    && self.directory.len_at(self.bins.head(bin) as usize) >= len
                {
                    return Some(Found::Listed(bin));
                }
                self.bins.first_above(bin)
            };
            if let Some(bin) = above {
                return Some(Found::Listed(bin));
            }
            if in_rest {
                return Some(Found::Rest);
            }
            if len + 1 < G::SHORT_END && self.bins.is_filled(len + 1) {
                return Some(Found::Listed(len + 1));
            }
            if len <= self.end - self.top {
                return Some(Found::Top);
            }
        }
        None
    }

    /// How long the first block of a filled bin is.
    ///
    /// # Safety
    /// The bin is filled.
    #[inline(always)]
    pub(super) unsafe fn head_len(&self, bin: usize) -> usize {
        // SAFETY: a filled bin's head is a block below the top (I4, I5).
        unsafe {
            let start = self.bins.head(bin) as usize;
            if bin < G::SHORT_END {
                bin
            } else {
                self.directory.len_at(start)
            }
        }
    }

    /// The longest request that `find` serves, in granules: one more fails.
    pub(crate) fn largest(&self) -> usize {
        // SAFETY: the last filled bin is one.
        let listed = self
            .bins
            .last()
            .map_or(0, |bin| unsafe { self.head_len(bin) });
        // No block is longer than the pool, whatever was written over the directory.
        let listed = listed.min(self.end);
        let largest = listed.max(self.rest_len()).max(self.end - self.top);
        if largest < GRANULES_MIN { 0 } else { largest }
    }
}

//! Allocation: the list of just this size, the rest, a search, the top.

use core::ptr::NonNull;

use super::bins::Bins;
use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, NO_REST};
use crate::AllocError;
use crate::geometry::Geometry;

/// A block, as long as the caller may use it, or why there is none.
pub(crate) type Allocated = Result<NonNull<[u8]>, AllocError>;

/// A free block that serves a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The first of its bin.
    Listed {
        bin: usize,
        start: usize,
        len: usize,
    },
    /// The rest.
    Rest,
    /// The pool's end.
    Top,
}

impl<G: Geometry> Blocks<G> {
    /// Allocates a short block from the list of its own length, or from the rest. `None`: that needs a search.
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
                    return Some(Ok(self.allocate_from_rest(len)));
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
            let start = self.bins.head(len);
            if !self.map.window(start).is_short_free(len) || !self.pop(len, start) {
                return self.fail(AllocError::Corrupt);
            }
            // All marks of a free block but the first go. Those of its end are the length's; in the shortest block they are those of its start.
            let end_marks = 0b11 << len;
            self.map.flip(start, (NEXT | end_marks) & !HERE);
            Ok(self.allocated(start, len))
        }
    }

    /// Cuts a short block off the rest.
    ///
    /// # Safety
    /// At least the shortest block stays.
    #[inline(always)]
    unsafe fn allocate_from_rest(&mut self, len: usize) -> NonNull<[u8]> {
        let start = self.rest;
        self.rest = start + len;
        // SAFETY: the rest is free (I6), so it is nobody's.
        unsafe {
            self.map.clear(start, NEXT);
            self.map.set(start, FREE_START << len);
            self.allocated(start, len)
        }
    }

    /// Allocates what is neither in the list of its own length nor cut from the rest.
    ///
    /// # Safety
    /// As for `allocate_short`.
    #[inline(never)]
    pub(crate) unsafe fn allocate_by_search(&mut self, len: usize) -> Allocated {
        let Some(found) = self.find(len) else {
            return Err(AllocError::OutOfMemory);
        };
        // SAFETY: what is found is free and long enough.
        unsafe {
            let (start, end);
            let (mut old_rest, mut old_rest_len) = (0, 0);
            match found {
                Found::Listed {
                    bin,
                    start: listed,
                    len: listed_len,
                } => {
                    if !self.is_listed(listed, listed_len) || !self.pop(bin, listed) {
                        return Err(AllocError::Corrupt);
                    }
                    (start, end) = (listed, listed + listed_len);
                    (old_rest, old_rest_len) = (self.rest, self.rest_len());
                }
                Found::Rest => {
                    (start, end) = (self.rest, self.rest_end);
                    (self.rest, self.rest_end) = (NO_REST, NO_REST);
                }
                Found::Top => return Ok(self.allocate_from_top(len)),
            }
            let mut len = len;
            if end - start - len < GRANULES_MIN {
                // A granule too many stays with the block.
                len = end - start;
                self.map.clear(end, TWO_BEFORE);
                self.map.clear(start, NEXT);
                self.map.set(start, HERE);
            } else {
                (self.rest, self.rest_end) = (start + len, end);
                self.map.clear(start, NEXT);
                self.map.set(start + len, FREE_START);
                if old_rest_len != 0 {
                    self.push(old_rest, old_rest_len);
                }
            }
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
            Ok(self.allocated(start, len))
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

    /// Counts a request that failed.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail(&mut self, error: AllocError) -> Allocated {
        self.counters.failed = self.counters.failed.wrapping_add(1);
        Err(error)
    }

    /// Counts `len` granules more as used.
    #[inline(always)]
    pub(super) fn count_used(&mut self, len: usize) {
        self.counters.used = self.counters.used.wrapping_add(len);
        if self.counters.used > self.counters.used_peak {
            self.counters.used_peak = self.counters.used;
        }
    }

    /// The free block that a request is cut from: of good fit, or of the best where that costs nothing.
    ///
    /// A short request tries its own bin, the rest, bins of lengths that leave a block or nothing, the top, and at last the length that
    /// leaves one granule. A long one tries the first block of its own bin, the bins above, the rest, the top. O(1).
    #[inline(always)]
    pub(super) fn find(&self, len: usize) -> Option<Found> {
        if len > self.end {
            return None;
        }
        let in_rest = len <= self.rest_len();
        // SAFETY: bins are those that Bins names.
        unsafe {
            let above = if len < G::SHORT_END {
                if self.bins.is_filled(len) {
                    return Some(self.listed(len));
                }
                if in_rest {
                    return Some(Found::Rest);
                }
                self.bins.first_above_short(len)
            } else {
                let bin = Bins::<G>::of(len);
                if self.bins.is_filled(bin)
                    && let found @ Found::Listed { len: found_len, .. } = self.listed(bin)
                    && found_len >= len
                {
                    return Some(found);
                }
                self.bins.first_above(bin)
            };
            if let Some(bin) = above {
                return Some(self.listed(bin));
            }
            if in_rest {
                return Some(Found::Rest);
            }
            if len <= self.end - self.top {
                return Some(Found::Top);
            }
            if len + 1 < G::SHORT_END && self.bins.is_filled(len + 1) {
                return Some(self.listed(len + 1));
            }
        }
        None
    }

    /// # Safety
    /// The bin is filled.
    #[inline(always)]
    pub(super) unsafe fn listed(&self, bin: usize) -> Found {
        // SAFETY: a filled bin's head is a block below the top (I4, I5).
        unsafe {
            let start = self.bins.head(bin);
            debug_assert!(start < self.top);
            let len = if bin < G::SHORT_END {
                bin
            } else {
                self.directory.len_at(start)
            };
            Found::Listed { bin, start, len }
        }
    }

    /// The longest request that `find` serves, in granules: one more fails.
    pub(crate) fn largest(&self) -> usize {
        // SAFETY: the last filled bin is one.
        let listed = self
            .bins
            .last()
            .map_or(0, |bin| match unsafe { self.listed(bin) } {
                Found::Listed { len, .. } => len,
                Found::Rest | Found::Top => 0,
            });
        let largest = listed.max(self.rest_len()).max(self.end - self.top);
        if largest < GRANULES_MIN { 0 } else { largest }
    }
}

//! Which free block serves a request.

use super::bins::Bins;
use super::{Blocks, GRANULES_MIN};
use crate::AllocError;
use crate::geometry::Geometry;

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
    /// The free block that a request is cut from whose own bin is empty, if it is short: of good fit, or of
    /// the best where that costs nothing.
    ///
    /// A short request tries the rest, bins of lengths that leave a block or nothing, the length that leaves
    /// one granule, and the top. A long one tries the first block of its own bin, the bins above, the rest,
    /// the top. O(1).
    // Once in the code of a small machine: 270 bytes less.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) fn find_fit(&self, len: usize) -> Option<Found> {
        let in_rest = len <= self.rest.len();
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
            if bin < G::SHORT_END { bin } else { self.directory.len_at(start) }
        }
    }

    /// The longest request that `find` serves, in granules: one more fails.
    pub(crate) fn largest(&self) -> usize {
        // SAFETY: the last filled bin is one.
        let listed = self.bins.last().map_or(0, |bin| unsafe { self.head_len(bin) });
        // No block is longer than the pool, whatever was written over the directory.
        let listed = listed.min(self.end);
        let largest = listed.max(self.rest.len()).max(self.end - self.top);
        if largest < GRANULES_MIN { 0 } else { largest }
    }

    /// Why a request of `len` granules was not served: a block that could serve it was overwritten, or there is none.
    #[cold]
    pub(crate) fn explain_failure(&self, len: usize, align: usize) -> AllocError {
        let is_aligned_by_all = align <= G::ALIGN_BYTES;
        let is_found =
            if is_aligned_by_all { len <= self.largest() } else { self.can_align(len, align) };
        if is_found {
            AllocError::Corrupt
        } else if len > self.end || !(is_aligned_by_all || cfg!(feature = "over-alignment")) {
            AllocError::TooLarge
        } else {
            AllocError::OutOfMemory
        }
    }

    /// Whether an over-aligned request finds a free block.
    #[cfg(feature = "over-alignment")]
    fn can_align(&self, len: usize, align: usize) -> bool {
        self.find_aligned(len, align).is_some()
    }

    #[cfg(not(feature = "over-alignment"))]
    fn can_align(&self, _len: usize, _align: usize) -> bool {
        false
    }

    /// Over-aligned requests are never served.
    #[cfg(not(feature = "over-alignment"))]
    pub(crate) fn largest_aligned(&self, _align: usize) -> usize {
        0
    }
}

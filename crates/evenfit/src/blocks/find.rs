//! Which free block serves a request.

use super::bins::Bins;
use super::{Blocks, GRANULES_MIN};
use crate::AllocError;
use crate::geometry::Geometry;

/// A free block that serves a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The first block of this bin's list.
    Listed(usize),
    /// The rest.
    Rest,
    /// The unused end of the pool.
    Top,
}

impl<G: Geometry> Blocks<G> {
    /// The free block for a request that its own bin can't serve exactly: a good fit, or the best
    /// fit where that costs nothing.
    ///
    /// A short request, whose own bin is empty, tries in this order: the rest; the bins of lengths
    /// that leave a block or nothing; the length that leaves one granule; the top. A long one tries
    /// the first block of its own bin, the bins above, the rest, the top. O(1).
    // On a small machine one copy of this code takes 270 bytes less.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) fn find_fit(&self, len: usize) -> Option<Found> {
        let in_rest = len <= self.rest.len();
        // SAFETY: the bins come from `Bins::of`, from its searches, or are short lengths. A filled
        // bin's head is below the top (I4, I5).
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

    /// The length of the first block of a filled bin, in granules.
    ///
    /// # Safety
    /// The bin is filled.
    #[inline(always)]
    pub(super) unsafe fn head_len(&self, bin: usize) -> usize {
        // SAFETY: a filled bin's head is a block below the top (I4, I5).
        unsafe {
            debug_assert!(self.bins.is_filled(bin));
            let start = self.bins.head(bin) as usize;
            if bin < G::SHORT_END { bin } else { self.directory.len_at(start) }
        }
    }

    /// The longest request that succeeds now at the geometry's alignment, in granules. One more
    /// fails. O(1).
    pub(crate) fn largest(&self) -> usize {
        // SAFETY: `last` returns a filled bin.
        let listed = self.bins.last().map_or(0, |bin| unsafe { self.head_len(bin) });
        // The directory may have been overwritten, but no block is longer than the pool.
        let listed = listed.min(self.end);
        let largest = listed.max(self.rest.len()).max(self.end - self.top);
        if largest < GRANULES_MIN { 0 } else { largest }
    }

    /// Why a request of `len` granules failed. Where a free block could serve it, that block was
    /// overwritten.
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

    /// Whether a search finds a free block for an over-aligned request.
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

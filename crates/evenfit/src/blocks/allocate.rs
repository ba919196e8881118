//! Allocation: a block of just the length, a piece of the rest, a piece of what a search finds.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::find::Found;
use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Pool, Run};
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

/// A block, as long as the caller may use it. `None`: no free block is long enough, or the one found
/// was overwritten; [`Blocks::explain_failure`] says which. A pair of registers, as a `Result` would not be.
pub(crate) type Allocated = Option<NonNull<[u8]>>;

impl<G: Geometry> Blocks<G> {
    /// Allocates a block for `layout`. O(1).
    #[inline(never)]
    pub(crate) fn allocate(&mut self, layout: Layout) -> Allocated {
        let len = Pool::<G>::granules(layout.size());
        debug_assert!(len >= GRANULES_MIN);
        // SAFETY: a short length is a bin; what is cut off the rest is there.
        unsafe {
            if layout.align() > G::ALIGN_BYTES {
                #[cfg(feature = "over-alignment")]
                return self.allocate_aligned(len, layout.align());
                #[cfg(not(feature = "over-alignment"))]
                return None;
            }
            if len >= G::SHORT_END {
                return self.allocate_by_search(len);
            }
            if self.bins.is_filled(len) {
                return self.allocate_exact(len);
            }
            self.allocate_from_rest(len)
        }
    }

    /// Allocates the first block of the list of a short length, as it is.
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
            // All marks of a free block but the first go. Those of its end are the length's; in the
            // shortest block they are those of its start.
            blocks.map.flip(start, (NEXT | (TWO_BEFORE * bit)) & !HERE);
            blocks.counters.allocated(len);
            Some(blocks.pool.slice(start, len))
        }
    }

    /// Allocates the beginning of the rest, or where that is too short what a search finds.
    ///
    /// # Safety
    /// `len` is a request's length, and if it is short its bin is empty.
    #[inline(always)]
    pub(crate) unsafe fn allocate_from_rest(&mut self, len: usize) -> Allocated {
        // SAFETY: the rest is free (I6), so it is nobody's, and the shortest block stays of it.
        unsafe {
            if len + GRANULES_MIN > self.rest.len() {
                return self.allocate_by_search(len);
            }
            let start = self.rest.start;
            self.rest.start = start + len;
            self.mark_split(start, len);
            Some(self.allocated(start, len))
        }
    }

    /// Marks the first `len` granules of a free block as a used one; the others stay free.
    ///
    /// # Safety
    /// A free block starts there, and at least the shortest block is left of it.
    #[inline(always)]
    unsafe fn mark_split(&mut self, start: usize, len: usize) {
        // SAFETY: in the pool.
        unsafe {
            if len < G::SHORT_END {
                self.map.flip_and_set(start, NEXT, FREE_START << len);
            } else {
                self.map.flip(start, NEXT);
                self.map.set(start + len, FREE_START);
            }
        }
    }

    /// Allocates what is neither in the list of its own length nor cut from the rest. What is left of
    /// the free block found becomes the rest, and what was the rest is listed.
    ///
    /// # Safety
    /// `len` is a request's length, and if it is short its bin is empty.
    #[inline(never)]
    unsafe fn allocate_by_search(&mut self, mut len: usize) -> Allocated {
        // SAFETY: what is found is free, so it is nobody's, and long enough.
        unsafe {
            let found = self.find_fit(len)?;
            let blocks = reread(self);
            let run = match found {
                Found::Listed(bin) => blocks.pop_head(bin, len)?,
                Found::Rest => core::mem::replace(&mut blocks.rest, Run::NONE),
                Found::Top => {
                    let start = blocks.top;
                    blocks.top = start + len;
                    blocks.map.set(blocks.top, HERE);
                    return Some(blocks.allocated(start, len));
                }
            };
            let (blocks, Run { start, end }) = (reread(blocks), run);
            if run.len() - len < GRANULES_MIN {
                // A granule too many stays with the block.
                len = run.len();
                blocks.map.clear(end, TWO_BEFORE);
                blocks.map.clear(start, NEXT);
                blocks.map.set(start, HERE);
            } else {
                blocks.mark_split(start, len);
                let left = Run { start: start + len, end };
                let old_rest = core::mem::replace(&mut blocks.rest, left);
                if old_rest != Run::NONE {
                    blocks.push(old_rest);
                }
            }
            Some(blocks.allocated(start, len))
        }
    }

    /// Notes the length of a new block, and counts it.
    ///
    /// # Safety
    /// It lies in the pool, and is marked as used.
    #[inline(always)]
    pub(super) unsafe fn allocated(&mut self, start: usize, len: usize) -> NonNull<[u8]> {
        self.counters.allocated(len);
        // SAFETY: in the pool.
        unsafe {
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
            self.pool.slice(start, len)
        }
    }
}

//! Allocation: a listed block of exactly the length, a part of the rest, or a part of the block
//! that a search finds.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::find::Found;
use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Pool, Run};
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

/// A block, as long as the caller may use it. `None`: no free block is long enough, or the one
/// found was overwritten; [`Blocks::explain_failure`] says which. An `Option` is returned in a pair
/// of registers, which a `Result` would not be.
pub(crate) type Allocated = Option<NonNull<[u8]>>;

impl<G: Geometry> Blocks<G> {
    /// Allocates a block for `layout`. O(1).
    #[inline(never)]
    pub(crate) fn allocate(&mut self, layout: Layout) -> Allocated {
        let len = Pool::<G>::granules(layout.size());
        debug_assert!(len >= GRANULES_MIN);
        // SAFETY: each short length is the number of a bin. `len` is a request's length. Where
        // `allocate_from_rest` is called, the bin of a short length is empty.
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

    /// Allocates the first listed block of a short length, without splitting it.
    ///
    /// # Safety
    /// `len` is short, and its bin is filled.
    #[inline(never)]
    unsafe fn allocate_exact(&mut self, len: usize) -> Allocated {
        // SAFETY: a filled bin's head is below the top (I4, I5). It is free if the map says so
        // (I2).
        unsafe {
            debug_assert!(len < G::SHORT_END && self.bins.is_filled(len));
            let start = self.bins.head(len) as usize;
            let bit = opaque(1 << len);
            if !self.map.window(start).is_short_free(bit) || !self.pop(len, start) {
                return None;
            }
            let (blocks, start) = (reread(self), opaque(start));
            // All marks of a free block but the first are cleared. The position of its last two
            // marks depends on the length. In the shortest block they are also its first two.
            blocks.map.flip(start, (NEXT | (TWO_BEFORE * bit)) & !HERE);
            blocks.counters.allocated(len);
            Some(blocks.pool.slice(start, len))
        }
    }

    /// Allocates the beginning of the rest, or if that is too short, what a search finds.
    ///
    /// # Safety
    /// `len` is a request's length, and if it is short its bin is empty.
    #[inline(always)]
    pub(crate) unsafe fn allocate_from_rest(&mut self, len: usize) -> Allocated {
        debug_assert!(len >= GRANULES_MIN);
        // SAFETY: the rest is free (I6), so its memory is the heap's (I2). It is long enough for
        // the shortest block to remain.
        unsafe {
            debug_assert!(len >= G::SHORT_END || !self.bins.is_filled(len));
            if len + GRANULES_MIN > self.rest.len() {
                return self.allocate_by_search(len);
            }
            let start = self.rest.start;
            self.rest.start = start + len;
            self.mark_split(start, len);
            Some(self.allocated(start, len))
        }
    }

    /// Marks the first `len` granules of a free block as a used block. The others stay free.
    ///
    /// # Safety
    /// A free block starts at `start`, and at least the shortest block is left of it.
    #[inline(always)]
    unsafe fn mark_split(&mut self, start: usize, len: usize) {
        debug_assert!(len >= GRANULES_MIN && start + len + GRANULES_MIN <= self.top);
        // SAFETY: the free block lies below the top, so the map has its granules (I8).
        unsafe {
            if len < G::SHORT_END {
                self.map.flip_and_set(start, NEXT, FREE_START << len);
            } else {
                self.map.flip(start, NEXT);
                self.map.set(start + len, FREE_START);
            }
        }
    }

    /// Allocates a block when neither the list of its own length nor the rest can serve it. What is
    /// left of the free block found becomes the rest, and the old rest is listed.
    ///
    /// # Safety
    /// `len` is a request's length, and if it is short its bin is empty.
    #[inline(never)]
    unsafe fn allocate_by_search(&mut self, mut len: usize) -> Allocated {
        debug_assert!(len >= GRANULES_MIN);
        // SAFETY: the block found is free, so its memory is the heap's (I2), and it has at least
        // `len` granules.
        unsafe {
            debug_assert!(len >= G::SHORT_END || !self.bins.is_filled(len));
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
                // A single granule can't be a block, so it stays with this one.
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

    /// Records the length of a new block, and counts it.
    ///
    /// # Safety
    /// The block lies below the top, and is marked as used.
    #[inline(always)]
    pub(super) unsafe fn allocated(&mut self, start: usize, len: usize) -> NonNull<[u8]> {
        debug_assert!(len >= GRANULES_MIN && start + len <= self.top);
        self.counters.allocated(len);
        // SAFETY: as promised by the caller, the block lies below the top (I8).
        unsafe {
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
            self.pool.slice(start, len)
        }
    }
}

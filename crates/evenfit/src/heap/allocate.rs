//! Allocation: a slot or a block.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::AllocError;
use crate::blocks::{Allocated, Pool};
use crate::geometry::Geometry;
use crate::tiers::Tiers;

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Allocates an uninitialised block for `layout`. A size of 0 gets the shortest block or slot.
    ///
    /// The slice returned is at least `layout.size()` bytes long, and the caller may use all of it.
    /// Any alignment is served for which the pool has room. O(1).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the pool could never serve it, [`AllocError::OutOfMemory`] if it
    /// can't now, [`AllocError::Corrupt`] if the free block it would be cut from was overwritten.
    #[inline(always)]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match self.allocate_uncounted(layout) {
            Some(block) => Ok(block),
            None => Err(self.fail(layout)),
        }
    }

    /// As [`allocate`](Self::allocate), but doesn't count a failure, for callers that have an
    /// alternative.
    #[inline(always)]
    pub(crate) fn allocate_uncounted(&mut self, layout: Layout) -> Allocated {
        let slot = match self.slabs_mut() {
            Some((slabs, blocks)) if slabs.serve(layout) => slabs.allocate(layout.size(), blocks),
            _ => None,
        };
        let block = match slot {
            Some(slot) => Some(slot),
            None => self.blocks.allocate(layout),
        };
        block.map(|block| self.sanitized.allocated(block, layout.size()))
    }

    /// Counts a failed request, and finds the reason.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, layout: Layout) -> AllocError {
        self.count_failed();
        self.blocks.explain_failure(Pool::<G>::granules(layout.size()), layout.align())
    }

    pub(super) fn count_failed(&mut self) {
        self.blocks.counters.failed = self.blocks.counters.failed.wrapping_add(1);
    }

    /// Allocates a block for `layout` and zeroes all of it. O(1) and one write of the block.
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate(layout).map(zeroed)
    }
}

/// Zeroes a new block. All of it belongs to the caller, so all of it is zeroed, not only what was
/// asked for.
pub(crate) fn zeroed(block: NonNull<[u8]>) -> NonNull<[u8]> {
    // SAFETY: the slice is a new block, which nobody else has.
    unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
    block
}

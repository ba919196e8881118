//! Allocation: a slot or a block.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::AllocError;
use crate::blocks::{Allocated, Pool};
use crate::geometry::Geometry;
use crate::tiers::Tiers;

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Allocates a block for `layout`, uninitialised. A size of 0 gets the shortest block or slot.
    ///
    /// The slice returned is at least `layout.size()` bytes long, and the caller may use all of it. Any alignment is served that
    /// leaves room in the pool. O(1).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the pool could never serve it, [`AllocError::OutOfMemory`] if it can't now,
    /// [`AllocError::Corrupt`] if the free block it would be cut from was overwritten.
    #[inline(always)]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match self.allocate_uncounted(layout) {
            Some(block) => Ok(block),
            None => Err(self.fail(layout)),
        }
    }

    /// As [`allocate`](Self::allocate), for callers that know what else to try.
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

    /// Counts a request that failed, and says why it did.
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

/// Zeroes all of a new block, since all of it is its owner's.
pub(crate) fn zeroed(block: NonNull<[u8]>) -> NonNull<[u8]> {
    // SAFETY: the block is so long, and was handed to nobody else.
    unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
    block
}

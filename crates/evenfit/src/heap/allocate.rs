//! Allocation: a slot or a block.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::AllocError;
use crate::blocks::{Allocated, Blocks, Pool};
use crate::geometry::Geometry;
use crate::tiers::Tiers;

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Allocates a block for `layout`. A size of zero takes the shortest block.
    ///
    /// The slice returned is at least as long as asked: it is all the caller may use.
    /// Any alignment up to the pool's size is served. O(1).
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
        if let Some((slabs, _)) = self.slabs_mut()
            && slabs.serve(layout)
        {
            if let Some(slot) = slabs.allocate(layout.size()) {
                return Some(slot);
            }
            return self.allocate_slot(layout);
        }
        self.allocate_block(layout)
    }

    /// A slot that isn't where slots are taken from, or a block where there is no room for a slab.
    #[inline(never)]
    fn allocate_slot(&mut self, layout: Layout) -> Allocated {
        if let Some((slabs, blocks)) = self.slabs_mut()
            && let Some(slot) = slabs.allocate_elsewhere(layout.size(), blocks)
        {
            return Some(slot);
        }
        self.allocate_block(layout)
    }

    #[inline(never)]
    fn allocate_block(&mut self, layout: Layout) -> Allocated {
        if layout.align() > G::ALIGN_BYTES {
            return self.allocate_aligned(layout);
        }
        let len = Pool::<G>::granules(layout.size());
        // SAFETY: the length is a request's.
        match unsafe { self.blocks.allocate_short(len) } {
            Some(block) => block,
            None => self.allocate_searching(len),
        }
    }

    /// A block that is neither in the list of its own length nor cut from the rest.
    #[inline(never)]
    fn allocate_searching(&mut self, len: usize) -> Allocated {
        // SAFETY: the length is a request's.
        self.allocate_twice(len, |blocks| unsafe { blocks.allocate_by_search(len) })
    }

    /// A block aligned higher than all are.
    #[cold]
    #[inline(never)]
    fn allocate_aligned(&mut self, layout: Layout) -> Allocated {
        let len = Pool::<G>::granules(layout.size());
        // SAFETY: the length is a request's, the alignment a layout's.
        self.allocate_twice(len, |blocks| unsafe {
            blocks.allocate_aligned(len, layout.align())
        })
    }

    /// What the block tier allocates. If that is nothing, and the spare slab would make a block long enough, the spare is given back
    /// and it is asked once more.
    #[inline(always)]
    fn allocate_twice(
        &mut self,
        len: usize,
        allocate: impl Fn(&mut Blocks<G>) -> Allocated,
    ) -> Allocated {
        let block = allocate(&mut self.blocks);
        if block.is_none()
            && let Some((slabs, blocks)) = self.slabs_mut()
            && slabs.spare_len_merged(blocks) >= len
            && slabs.close_spare(blocks)
        {
            return allocate(blocks);
        }
        block
    }

    /// Counts a request that failed, and says why it did.
    #[cold]
    #[inline(never)]
    pub(super) fn fail(&mut self, layout: Layout) -> AllocError {
        self.count_failed();
        self.blocks
            .why_none(Pool::<G>::granules(layout.size()), layout.align())
    }

    pub(super) fn count_failed(&mut self) {
        self.blocks.counters.failed = self.blocks.counters.failed.wrapping_add(1);
    }

    /// Allocates a block for `layout` and zeroes all of it. O(1) and one write of the block.
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: the block is so long, and the caller's alone.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }
}

//! Finds the block that a pointer belongs to, or the reason to refuse it.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Blocks;
use super::pool::Pool;
use crate::FreeError;
use crate::geometry::Geometry;

/// Whether an address is a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) fn is_aligned(ptr: NonNull<u8>, align: usize) -> bool {
    ptr.addr().get() & (align - 1) == 0
}

impl<G: Geometry> Blocks<G> {
    /// The used block at `ptr`, if `layout` fits it: its first granule and its length. Without a
    /// layout, any used block. O(1).
    pub(crate) fn used_block(
        &self,
        ptr: NonNull<u8>,
        layout: Option<Layout>,
    ) -> Result<(usize, usize), FreeError> {
        let start = self.pool.granule_at(ptr);
        if start >= self.top {
            return Err(self.explain_refusal(ptr));
        }
        // SAFETY: `start` is below the top (I8).
        let (window, len) = unsafe { (self.map.window(start), self.used_len(start)) };
        // If the map shows a long block and the directory a short length, this is a slab, which
        // belongs to no caller (S2).
        if !window.is_used_start() || window.is_long_used(G::SHORT_END) && len < G::SHORT_END {
            return Err(self.explain_refusal(ptr));
        }
        // Only an overwritten directory has a length beyond the top.
        if len > self.top - start {
            return Err(FreeError::Corrupt);
        }
        if let Some(layout) = layout {
            let requested = Pool::<G>::granules(layout.size());
            if !Self::fits(len, requested) || !is_aligned(ptr, layout.align()) {
                return Err(FreeError::WrongLayout);
            }
        }
        Ok((start, len))
    }

    /// Why a pointer is not the start of a used block.
    #[cold]
    fn explain_refusal(&self, ptr: NonNull<u8>) -> FreeError {
        let offset_bytes = self.pool.offset_bytes(ptr);
        let granule = offset_bytes / G::GRANULE_BYTES;
        if granule >= self.end {
            return FreeError::OutsidePool;
        }
        if !offset_bytes.is_multiple_of(G::GRANULE_BYTES) {
            return FreeError::NotABlock;
        }
        // SAFETY: `granule` is below the top, which is evaluated first (I8).
        if granule >= self.top || unsafe { self.map.shows_free_around(granule) } {
            FreeError::AlreadyFree
        } else {
            FreeError::NotABlock
        }
    }

    /// Whether a block of `len` granules may be that of a request of `requested` granules. It may
    /// be one granule longer, where that granule couldn't be a block.
    #[inline(always)]
    pub(super) fn fits(len: usize, requested: usize) -> bool {
        len.wrapping_sub(requested) <= 1
    }

    /// The length of the slab's block at `start`: one granule more than a slab's, where that
    /// granule couldn't be a block.
    ///
    /// # Safety
    /// A slab starts there.
    #[inline(always)]
    pub(crate) unsafe fn slab_len(&self, start: usize) -> usize {
        // SAFETY: the slab's block lies below the top, so the granule behind the slab is at most
        // the top (I1, I8).
        let behind = unsafe { self.map.window(start + Self::SLAB_LEN) };
        Self::SLAB_LEN + !behind.is_marked() as usize
    }
}

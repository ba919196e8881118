//! Which block a pointer is of, or why it is none.

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
    /// The used block at `ptr`, if it may be of `layout`: its first granule and its length. Without a layout, whatever its length.
    pub(crate) fn used_block(
        &self,
        ptr: NonNull<u8>,
        layout: Option<Layout>,
    ) -> Result<(usize, usize), FreeError> {
        let start = self.pool.granule_at(ptr);
        if start >= self.top {
            return Err(self.explain_refusal(ptr));
        }
        // SAFETY: below the top.
        let (window, len) = unsafe { (self.map.window(start), self.used_len(start)) };
        // A long block of no long length is a slab: no block of a caller's.
        if !window.is_used_start() || window.is_long_used(G::SHORT_END) && len < G::SHORT_END {
            return Err(self.explain_refusal(ptr));
        }
        // Only a directory that was written over has a longer one.
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

    /// Names what is wrong with a pointer that is no block's.
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
        // SAFETY: in the pool.
        if granule >= self.top || unsafe { self.map.shows_free_around(granule) } {
            FreeError::AlreadyFree
        } else {
            FreeError::NotABlock
        }
    }

    /// Whether a block of `len` granules may be that of a request that needs so many: it can have got one more.
    #[inline(always)]
    pub(super) fn fits(len: usize, requested: usize) -> bool {
        len.wrapping_sub(requested) <= 1
    }

    /// The length of the block at `start` that is a slab: a granule more than a slab's, if it would have been left alone.
    ///
    /// # Safety
    /// A slab begins there.
    #[inline(always)]
    pub(crate) unsafe fn slab_len(&self, start: usize) -> usize {
        // SAFETY: where the slab ends, a block or the top begins, or a granule later.
        let behind = unsafe { self.map.window(start + Self::SLAB_LEN) };
        Self::SLAB_LEN + !behind.is_marked() as usize
    }
}

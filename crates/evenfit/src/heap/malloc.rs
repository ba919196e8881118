//! The interface for C: memory for any type, and blocks whose size the caller doesn't know.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Resized};
use crate::geometry::Geometry;
use crate::tiers::Tiers;
use crate::{AllocError, FreeError, ReallocError};

/// The alignment of C's `malloc`, in bytes.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

/// The layout of a block for C: aligned for any type. A size of at most 8 bytes is too small for a
/// type with a larger alignment, so it is aligned to 8.
fn malloc_layout(size_bytes: usize) -> Result<Layout, AllocError> {
    let align = if size_bytes <= 8 { 8 } else { MALLOC_ALIGN };
    Layout::from_size_align(size_bytes, align).map_err(|_| AllocError::TooLarge)
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Allocates `size_bytes` bytes aligned for any C type: to twice the width of a pointer, or to
    /// 8 if at most 8 bytes are requested. To free it, use [`try_free`](Self::try_free), or
    /// [`try_deallocate`](Self::try_deallocate) with that layout. O(1).
    ///
    /// On 64-bit machines use it with [`Aligned`](crate::Aligned) or [`Wide`](crate::Wide), where
    /// all blocks are aligned to 16. With [`Standard`](crate::Standard) each such request is
    /// over-aligned, and slabs don't serve it.
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    #[inline(always)]
    pub fn malloc(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        let layout = malloc_layout(size_bytes).inspect_err(|_| self.count_failed())?;
        self.allocate(layout)
    }

    /// Frees a block whose layout the caller doesn't know, or says why it refuses to; then the heap
    /// is unchanged. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate`](Self::try_deallocate), but never [`FreeError::WrongLayout`].
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline]
    pub unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        let old = self.old_block(ptr);
        // For a slot this attempt executes 50 instructions fewer than `free_checked`.
        if let Some((slabs, blocks)) = self.slabs_mut()
            && let Some(slot) = slabs.slot_of(ptr, None)
        {
            slabs.free(slot, blocks);
            old.freed();
            return Ok(());
        }
        // SAFETY: as promised by the caller.
        unsafe { self.free_checked(ptr, None) }
    }

    /// As [`reallocate`](Self::reallocate), for a block whose layout the caller doesn't know. The
    /// new block has [`malloc`](Self::malloc)'s alignment. O(1), and one copy if it moves.
    ///
    /// # Errors
    /// As for `reallocate`, but never [`FreeError::WrongLayout`].
    ///
    /// # Safety
    /// As for `reallocate`.
    pub unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let new = malloc_layout(new_bytes).inspect_err(|_| self.count_failed())?;
        // SAFETY: as promised by the caller.
        unsafe { self.reallocate_checked(ptr, None, new) }
    }

    /// As [`realloc`](Self::realloc), but leaves the copy to the caller, who can make it after
    /// releasing a lock on the heap. O(1). An exception is a pool without room for a new block:
    /// where the block can only move down over itself, the heap moves its content.
    ///
    /// # Errors
    /// As for `realloc`.
    ///
    /// # Safety
    /// As for `realloc`. If the new block is [`Elsewhere`](Resized::Elsewhere), the old block still
    /// has the content.
    pub unsafe fn realloc_uncopied(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<Resized, ReallocError> {
        let new = malloc_layout(new_bytes).inspect_err(|_| self.count_failed())?;
        // SAFETY: as promised by the caller.
        unsafe { self.reallocate_uncopied(ptr, None, new) }
    }
}

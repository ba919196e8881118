//! What C asks for: memory for any type, and blocks whose size the caller doesn't know.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::Heap;
use crate::geometry::Geometry;
use crate::tiers::Tiers;
use crate::{AllocError, FreeError, ReallocError};

/// What C asks of `malloc`'s alignment, in bytes.
const MALLOC_ALIGN: usize = 2 * size_of::<usize>();

/// The layout of a block for C: aligned for any type; what is too small for such a type is aligned to 8.
fn malloc_layout(size_bytes: usize) -> Result<Layout, AllocError> {
    let align = if size_bytes <= 8 { 8 } else { MALLOC_ALIGN };
    Layout::from_size_align(size_bytes, align).map_err(|_| AllocError::TooLarge)
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Allocates `size_bytes` bytes aligned for any C type, which is twice the width of a pointer; what is too small for such a type
    /// is aligned to 8. Given back by [`try_free`](Self::try_free), or by [`try_deallocate`](Self::try_deallocate) with that layout.
    /// O(1).
    ///
    /// On 64-bit machines choose [`Aligned`](crate::next::Aligned) or [`Wide`](crate::next::Wide), where that is every block's
    /// alignment.
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    #[inline(always)]
    pub fn malloc(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        let layout = malloc_layout(size_bytes).inspect_err(|_| self.count_failed())?;
        self.allocate(layout)
    }

    /// Gives a block back whose layout the caller doesn't know. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate`](Self::try_deallocate), less `WrongLayout`.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(never)]
    pub unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        let live = self.live_at(ptr, None);
        // SAFETY: it is live, and given up.
        let freed = live.and_then(|live| unsafe { self.free_live(live) });
        freed.map_err(|error| self.refused(error))
    }

    /// As [`reallocate`](Self::reallocate), for a block whose layout the caller doesn't know. O(1), and one copy where it moves.
    ///
    /// # Errors
    /// As for `reallocate`, less `WrongLayout`.
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
        match unsafe { self.reallocate_found(ptr, None, new) } {
            Some(block) => Ok(block),
            None => Err(self.why_not_reallocated(ptr, None, new)),
        }
    }
}

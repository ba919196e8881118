//! Freeing: a slot or a block, or a refusal.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::geometry::Geometry;
use crate::tiers::Tiers;
use crate::{FreeError, misuse};

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Frees a block. A pointer or layout that must be refused is handed to the misuse hook:
    /// see [`set_misuse_hook`](crate::set_misuse_hook). O(1).
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline(always)]
    pub unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if unsafe { !self.free(ptr, layout) } {
            // SAFETY: as above.
            unsafe { self.deallocate_checked(ptr, layout) }
        }
    }

    /// Frees a block, or says why not: then the heap is unchanged. O(1).
    ///
    /// # Errors
    /// - [`FreeError::OutsidePool`]: no address of this pool.
    /// - [`FreeError::NotABlock`]: not the start of a block.
    /// - [`FreeError::AlreadyFree`]: free memory: a free block, a free slot, or the unused end of the pool. Further than 56 granules
    ///   (24 on 32-bit machines) from the start of a free block, where constant time can't tell it from a used one, the answer is
    ///   `NotABlock`.
    /// - [`FreeError::WrongLayout`]: a live block starts here, but not one for this size, or the address isn't a multiple of the
    ///   alignment. Sizes that the same slots serve, or that differ by less than two granules, can't always be told apart.
    /// - [`FreeError::Corrupt`]: a free block beside this one was overwritten.
    ///
    /// # Safety
    /// Nothing may use the block afterwards. A pointer that is no live block of this heap is refused, but
    /// a pointer kept from an earlier block can't be told from the live block of the same layout that now starts there.
    #[inline(always)]
    pub unsafe fn try_deallocate(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        // SAFETY: as promised by the caller.
        unsafe {
            if self.free(ptr, layout) {
                return Ok(());
            }
            self.free_checked(ptr, Some(layout))
        }
    }

    /// Frees a block or slot, if the first look finds it. False: nothing is changed.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(always)]
    unsafe fn free(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let old = self.old_block(ptr);
        let is_freed = if let Some((slabs, blocks)) = self.slabs_mut()
            && slabs.serve(layout)
        {
            let slot = slabs.slot_of(ptr, layout.size());
            if let Some(slot) = slot {
                slabs.free(slot, blocks);
            }
            slot.is_some()
        } else {
            // SAFETY: as promised by the caller.
            unsafe { self.blocks.free(ptr, layout) }
        };
        if is_freed {
            old.freed();
        }
        is_freed
    }

    /// Frees a block or slot, in whichever tier it is, if it may be of `layout`; without a layout,
    /// whatever its size. Or names the misuse.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(never)]
    pub(super) unsafe fn free_checked(
        &mut self,
        ptr: NonNull<u8>,
        layout: Option<Layout>,
    ) -> Result<(), FreeError> {
        let old = self.old_block(ptr);
        let freed = match self.live_at(ptr, layout) {
            // SAFETY: it is live, and given up.
            Ok(live) => unsafe { self.free_live(live) },
            Err(error) => Err(error),
        };
        match freed {
            Ok(()) => old.freed(),
            Err(error) => return Err(self.refused(error)),
        }
        Ok(())
    }

    /// # Safety
    /// It is live, and given up.
    #[inline(always)]
    pub(super) unsafe fn free_live(&mut self, live: Live) -> Result<(), FreeError> {
        match live {
            Live::Slot(slot) => {
                if let Some((slabs, blocks)) = self.slabs_mut() {
                    slabs.free(slot, blocks);
                }
                Ok(())
            }
            Live::Block { start, len } => {
                // SAFETY: a used block, and given up.
                let is_freed =
                    unsafe { self.blocks.free_merging(start, len, self.blocks.map.window(start)) };
                is_freed.then_some(()).ok_or(FreeError::Corrupt)
            }
        }
    }

    /// As `free_checked`, and tells the misuse hook.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[cold]
    #[inline(never)]
    unsafe fn deallocate_checked(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if let Err(error) = unsafe { self.free_checked(ptr, Some(layout)) } {
            misuse::report(error, ptr, Some(layout));
        }
    }

    /// Counts a refusal.
    #[cold]
    pub(super) fn refused(&mut self, error: FreeError) -> FreeError {
        self.blocks.counters.refused = self.blocks.counters.refused.wrapping_add(1);
        error
    }
}

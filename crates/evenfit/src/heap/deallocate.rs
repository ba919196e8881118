//! Freeing: of a slot or of a block, or a refusal.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::geometry::Geometry;
use crate::tiers::Tiers;
use crate::{FreeError, misuse};

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Frees a block. A refused pointer or layout is reported to the misuse hook: see
    /// [`set_misuse_hook`](crate::set_misuse_hook). O(1).
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline(always)]
    pub unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if unsafe { !self.free(ptr, layout) } {
            // SAFETY: as promised by the caller.
            unsafe { self.deallocate_checked(ptr, layout) }
        }
    }

    /// Frees a block, or says why it refuses to; then the heap is unchanged. O(1).
    ///
    /// # Errors
    /// - [`FreeError::OutsidePool`]: not an address in this pool.
    /// - [`FreeError::NotABlock`]: not the start of a block.
    /// - [`FreeError::AlreadyFree`]: the memory is free: in a free block, in a free slot, or in the
    ///   unused end of the pool. More than 56 granules (24 on 32-bit machines) from the start of a
    ///   free block, constant time doesn't suffice to tell it from a used one, and the answer is
    ///   `NotABlock`.
    /// - [`FreeError::WrongLayout`]: a live block starts here, but not one of this size, or the
    ///   address isn't a multiple of the alignment. Sizes that the same slots serve, or that differ
    ///   by less than two granules, can't always be told apart.
    /// - [`FreeError::Corrupt`]: a free block beside this one was overwritten.
    ///
    /// # Safety
    /// Nothing may use the block afterwards. A pointer that isn't the start of a live block of this
    /// heap is refused. But a stale pointer to an earlier block can't be told from the live block
    /// of the same layout that starts there now.
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

    /// Frees a block or slot, in the frequent cases. False: the slow way must look again. Nothing
    /// is changed then.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(always)]
    unsafe fn free(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let old = self.old_block(ptr);
        let is_freed = if let Some((slabs, blocks)) = self.slabs_mut()
            && slabs.serve(layout)
        {
            let slot = slabs.slot_of(ptr, Some(layout.size()));
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

    /// Frees a block or slot of either tier, if `layout` fits it, or says why it refuses to.
    /// Without a layout, a block of any size.
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
            // SAFETY: `live_at` has found it live. As promised by the caller, nothing uses it
            // afterwards.
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
    /// `live` was found by `live_at`, and nothing uses it afterwards.
    ///
    /// # Errors
    /// [`FreeError::Corrupt`] if a block beside it was overwritten.
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
                // SAFETY: as promised by the caller: it is a used block, and nothing uses it
                // afterwards.
                let is_freed =
                    unsafe { self.blocks.free_merging(start, len, self.blocks.map.window(start)) };
                is_freed.then_some(()).ok_or(FreeError::Corrupt)
            }
        }
    }

    /// As `free_checked`, but reports a refusal to the misuse hook.
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

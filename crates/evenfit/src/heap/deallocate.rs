//! Freeing: a slot or a block, or a refusal.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::FreeError;
use crate::geometry::Geometry;
use crate::hooks::misuse;
use crate::slabs::Freed;
use crate::tiers::Tiers;

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Gives a block back. A pointer or layout that must be refused is handed to the misuse hook:
    /// see [`set_misuse_hook`](crate::set_misuse_hook). O(1).
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline(always)]
    pub unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe {
            if !self.free(ptr, layout) {
                self.deallocate_checked(ptr, layout);
            }
        }
    }

    /// Gives a block back, or says why not: then the heap is unchanged. O(1).
    ///
    /// # Errors
    /// - [`FreeError::OutsidePool`]: no address of this pool.
    /// - [`FreeError::NotABlock`]: inside a block, not at its start.
    /// - [`FreeError::AlreadyFree`]: free memory. Far inside a long free block, where constant time can't
    ///   tell it from a used one, the answer is `NotABlock`.
    /// - [`FreeError::WrongLayout`]: the size rounds to another number of granules than the block has, or the address
    ///   isn't a multiple of the alignment.
    /// - [`FreeError::Corrupt`]: a neighbouring free block was overwritten.
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
            self.free_checked(ptr, layout)
        }
    }

    /// Frees a block or slot, if the first look finds it. False: nothing is changed.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(always)]
    unsafe fn free(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        if let Some((slabs, blocks)) = self.slabs_mut()
            && slabs.serve(layout)
        {
            return match slabs.free(ptr, layout.size()) {
                Freed::Done => true,
                Freed::WordChanged(slot) => slabs.word_changed(slot, blocks),
                Freed::AlreadyFree | Freed::NotOfClass => false,
            };
        }
        // SAFETY: as promised by the caller.
        unsafe { self.free_block(ptr, layout) }
    }

    /// A block that isn't a slot, if the first look finds it.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(never)]
    unsafe fn free_block(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { self.blocks.free(ptr, layout) }
    }

    /// Frees what the first look didn't find, in whichever tier it is, or names the misuse.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[cold]
    #[inline(never)]
    unsafe fn free_checked(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        let freed = self.live_at(ptr, Some(layout)).and_then(|live| {
            // SAFETY: it is given up.
            unsafe { self.free_live(live) }
        });
        freed.map_err(|error| self.refused(error))
    }

    /// As `free_checked`, and tells the misuse hook.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[cold]
    #[inline(never)]
    unsafe fn deallocate_checked(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if let Err(error) = unsafe { self.free_checked(ptr, layout) } {
            misuse(error, ptr, Some(layout));
        }
    }

    /// # Safety
    /// It is live, and given up.
    #[inline(always)]
    pub(super) unsafe fn free_live(&mut self, live: Live) -> Result<(), FreeError> {
        match live {
            Live::Slot(slot) => {
                if let Some((slabs, blocks)) = self.slabs_mut() {
                    slabs.free_found(slot, blocks);
                }
                Ok(())
            }
            Live::Block { start, len } => {
                // SAFETY: a used block, and given up.
                let freed = unsafe {
                    self.blocks
                        .free_merging(start, len, self.blocks.map.window(start))
                };
                if freed {
                    Ok(())
                } else {
                    Err(FreeError::Corrupt)
                }
            }
        }
    }

    /// Counts a refusal.
    #[cold]
    pub(super) fn refused(&mut self, error: FreeError) -> FreeError {
        self.blocks.counters.refused = self.blocks.counters.refused.wrapping_add(1);
        error
    }
}

//! Reallocation: in place, else moved, else downwards over the free block before.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::blocks::{Allocated, Pool, is_aligned};
use crate::geometry::Geometry;
use crate::sanitizer::requested_bytes;
use crate::tiers::Tiers;
use crate::{AllocError, FreeError, ReallocError};

/// What became of a block that is to have another size, before any content was copied: see
/// [`Heap::realloc_uncopied`].
#[derive(Clone, Copy, Debug)]
pub enum Resized {
    /// The block is where it was, or the heap itself has moved it, content and all.
    Done(NonNull<[u8]>),
    /// A new block was allocated; the old one is still live and unchanged. Copy the smaller of both, and free the old one.
    Elsewhere {
        /// The new block.
        block: NonNull<[u8]>,
        /// How many bytes the old one has.
        old_bytes: usize,
    },
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Changes a block's size or alignment and keeps its content, up to the smaller size.
    ///
    /// In place where what follows the block allows; else in a new block; else downwards into a free block before it. To make a block
    /// smaller at its alignment never fails. O(1), and one copy of the payload where it moves.
    ///
    /// # Errors
    /// [`ReallocError`]; the old block is then live and unchanged.
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate), if it succeeds: the block is now the one returned.
    #[inline(never)]
    pub unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        unsafe { self.reallocate_checked(ptr, Some(old), new) }
    }

    /// As `reallocate`; without a layout, a block of whatever size, all of which is content.
    ///
    /// # Errors
    /// As for `reallocate`.
    ///
    /// # Safety
    /// As for `reallocate`.
    #[inline(always)]
    pub(super) unsafe fn reallocate_checked(
        &mut self,
        ptr: NonNull<u8>,
        old: Option<Layout>,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let old_block = self.old_block(ptr);
        let Some(live) = self.live_at_fast(ptr, old) else {
            return Err(self.explain_reallocation(ptr, old, new));
        };
        // SAFETY: it is live, and the caller's. Where there is a new block, the old one is live too, and
        // given up when its content is copied.
        let block = unsafe {
            match self.resize_or_allocate(live, ptr, old, new) {
                Some(Resized::Done(block)) => Some(block),
                Some(Resized::Elsewhere { block, old_bytes }) => {
                    let bytes = old_bytes.min(new.size());
                    block.cast::<u8>().copy_from_nonoverlapping(ptr, bytes);
                    let is_freed = self.free_live(live).is_ok();
                    if !is_freed {
                        // What surrounds the old block was overwritten, so it stays, and the new one goes.
                        let _ = self.try_deallocate(block.cast(), new);
                    }
                    is_freed.then_some(block)
                }
                None => None,
            }
        };
        match block {
            Some(block) => Ok(old_block.replaced_by(block, new.size())),
            None => Err(self.explain_reallocation(ptr, old, new)),
        }
    }

    /// All of a reallocation but the copy and the free that a new block needs.
    ///
    /// # Errors
    /// As for [`reallocate`](Self::reallocate).
    ///
    /// # Safety
    /// As for `reallocate`; the old block stays live where the new one is `Elsewhere`.
    pub(crate) unsafe fn reallocate_uncopied(
        &mut self,
        ptr: NonNull<u8>,
        old: Option<Layout>,
        new: Layout,
    ) -> Result<Resized, ReallocError> {
        let old_block = self.old_block(ptr);
        let Some(live) = self.live_at_fast(ptr, old) else {
            return Err(self.explain_reallocation(ptr, old, new));
        };
        // SAFETY: it is live, and the caller's.
        match unsafe { self.resize_or_allocate(live, ptr, old, new) } {
            Some(Resized::Done(block)) => {
                Ok(Resized::Done(old_block.replaced_by(block, new.size())))
            }
            Some(elsewhere) => Ok(elsewhere),
            None => Err(self.explain_reallocation(ptr, old, new)),
        }
    }

    /// In place, else a new block, else the last resort. `None`: nothing is changed.
    ///
    /// # Safety
    /// It is live, starts at `ptr`, is of `old` if that is known, and is the caller's.
    #[inline(always)]
    unsafe fn resize_or_allocate(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        old: Option<Layout>,
        new: Layout,
    ) -> Option<Resized> {
        // SAFETY: as promised by the caller.
        unsafe {
            if let Some(block) = self.resize_live(live, ptr, new) {
                return Some(Resized::Done(block));
            }
            let old_bytes =
                old.map_or_else(|| requested_bytes(ptr, self.live_bytes(live)), |old| old.size());
            if let Some(block) = self.allocate_uncounted(new) {
                return Some(Resized::Elsewhere { block, old_bytes });
            }
            self.resize_as_last_resort(live, ptr, old_bytes, new).map(Resized::Done)
        }
    }

    /// As [`reallocate`](Self::reallocate), but never moves the block: [`AllocError::OutOfMemory`] says that only a move
    /// would do, and is not counted as a failed request. O(1).
    ///
    /// # Errors
    /// [`ReallocError`]; the block is then live and unchanged.
    ///
    /// # Safety
    /// As for `reallocate`.
    pub unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let old_block = self.old_block(ptr);
        let live = self.live_at(ptr, Some(old)).map_err(|error| self.refused(error))?;
        // SAFETY: it is live, and the caller's.
        match unsafe { self.resize_live(live, ptr, new) } {
            Some(block) => Ok(old_block.replaced_by(block, new.size())),
            None => Err(AllocError::OutOfMemory.into()),
        }
    }

    /// The block or slot where it is, if it can be of `new`.
    ///
    /// # Safety
    /// It is live, starts at `ptr`, and is the caller's.
    #[inline(always)]
    unsafe fn resize_live(&mut self, live: Live, ptr: NonNull<u8>, new: Layout) -> Allocated {
        if !is_aligned(ptr, new.align()) {
            return None;
        }
        match live {
            Live::Slot(slot) => {
                let (slabs, _) = self.slabs_mut()?;
                let slot_bytes = slabs.slot_bytes(slot);
                slabs
                    .is_for(slot, new.size())
                    .then(|| NonNull::slice_from_raw_parts(ptr, slot_bytes))
            }
            Live::Block { start, len } => {
                let new_len = Pool::<G>::granules(new.size());
                // SAFETY: as promised by the caller.
                let resized = unsafe { self.blocks.resize(start, len, new_len) };
                resized.then(|| NonNull::slice_from_raw_parts(ptr, new_len * G::GRANULE_BYTES))
            }
        }
    }

    /// The last resort, where there is no new block to be had: a slot that is larger than need be is kept; a block moves down, over
    /// the free block before it.
    ///
    /// # Safety
    /// It is live, starts at `ptr`, has `old_bytes` of content, and is the caller's.
    #[cold]
    #[inline(never)]
    unsafe fn resize_as_last_resort(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        old_bytes: usize,
        new: Layout,
    ) -> Allocated {
        match live {
            Live::Slot(slot) => {
                let (slabs, _) = self.slabs_mut()?;
                let slot_bytes = slabs.slot_bytes(slot);
                let fits = is_aligned(ptr, new.align()) && slabs.shrink_in_slot(slot, new.size());
                fits.then(|| NonNull::slice_from_raw_parts(ptr, slot_bytes))
            }
            #[cfg(not(feature = "move-down"))]
            Live::Block { .. } => {
                _ = old_bytes;
                None
            }
            #[cfg(feature = "move-down")]
            Live::Block { start, len } => {
                // SAFETY: as promised by the caller.
                unsafe {
                    let new_len = Pool::<G>::granules(new.size());
                    let payload_bytes = old_bytes.min(new.size());
                    let align = new.align();
                    let moved = self.blocks.move_down(start, len, new_len, align, payload_bytes)?;
                    let block = NonNull::slice_from_raw_parts(moved, new_len * G::GRANULE_BYTES);
                    Some(self.sanitized.allocated(block, new.size()))
                }
            }
        }
    }

    /// Counts a reallocation that failed, and says why it did.
    #[cold]
    #[inline(never)]
    fn explain_reallocation(
        &mut self,
        ptr: NonNull<u8>,
        old: Option<Layout>,
        new: Layout,
    ) -> ReallocError {
        if let Err(error) = self.live_at(ptr, old) {
            return self.refused(error).into();
        }
        match self.fail(new) {
            // A free block was overwritten: the one that was to be used, or one beside the old block.
            AllocError::Corrupt => FreeError::Corrupt.into(),
            error => error.into(),
        }
    }
}

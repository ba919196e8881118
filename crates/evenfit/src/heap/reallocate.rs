//! Reallocation: in place, else to a new block, else down over the free block before.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::blocks::{Allocated, Pool, is_aligned};
use crate::geometry::Geometry;
use crate::sanitizer::requested_bytes;
use crate::tiers::Tiers;
use crate::{AllocError, FreeError, ReallocError};

/// The result of a reallocation before any content was copied: see [`Heap::realloc_uncopied`].
#[derive(Clone, Copy, Debug)]
pub enum Resized {
    /// The block is where it was, or the heap itself has moved it with its content.
    Done(NonNull<[u8]>),
    /// A new block was allocated, and the old one is still live and unchanged. Copy the content, up
    /// to the smaller of both sizes, and free the old one.
    Elsewhere {
        /// The new block.
        block: NonNull<[u8]>,
        /// The length of the old block's content, in bytes.
        old_bytes: usize,
    },
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Changes a block's size or alignment and keeps its content, up to the smaller size.
    ///
    /// The block stays in place if what follows it allows that. Otherwise it moves to a new block,
    /// or down into a free block before it. Making a block smaller at its alignment never fails.
    /// O(1), and one copy of the payload if it moves.
    ///
    /// # Errors
    /// [`ReallocError`]; then the old block is live and unchanged.
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate) if this succeeds: the block is now the one
    /// returned.
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

    /// As `reallocate`. Without a layout, the block may have any size, and all of it is content.
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
        // SAFETY: `live_at_fast` has found it live, and as promised by the caller nothing else uses
        // it. A new block doesn't overlap it. It is freed only after its content was copied.
        let block = unsafe {
            match self.resize_or_allocate(live, ptr, old, new) {
                Some(Resized::Done(block)) => Some(block),
                Some(Resized::Elsewhere { block, old_bytes }) => {
                    let bytes = old_bytes.min(new.size());
                    block.cast::<u8>().copy_from_nonoverlapping(ptr, bytes);
                    let is_freed = self.free_live(live).is_ok();
                    if !is_freed {
                        // A block beside the old one was overwritten. So the old block stays, and
                        // the new one is freed.
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

    /// A reallocation without the copy and the free that a new block needs.
    ///
    /// # Errors
    /// As for [`reallocate`](Self::reallocate).
    ///
    /// # Safety
    /// As for `reallocate`. The old block stays live if the new one is `Elsewhere`.
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
        // SAFETY: `live_at_fast` has found it live, and as promised by the caller nothing else uses
        // it.
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
    /// `live` is live, starts at `ptr`, has the layout `old` if that is given, and only the caller
    /// uses it.
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

    /// As [`reallocate`](Self::reallocate), but never moves the block. [`AllocError::OutOfMemory`]
    /// means that the block would have to move; this isn't counted as a failed request. O(1).
    ///
    /// # Errors
    /// [`ReallocError`]; then the block is live and unchanged.
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
        // SAFETY: `live_at` has found it live, and as promised by the caller nothing else uses it.
        match unsafe { self.resize_live(live, ptr, new) } {
            Some(block) => Ok(old_block.replaced_by(block, new.size())),
            None => Err(AllocError::OutOfMemory.into()),
        }
    }

    /// Resizes a block or slot in place, if `new` is possible there.
    ///
    /// # Safety
    /// `live` is live, starts at `ptr`, and only the caller uses it.
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
                debug_assert!(self.blocks.pool.granule_at(ptr) == start);
                let new_len = Pool::<G>::granules(new.size());
                // SAFETY: as promised by the caller.
                let resized = unsafe { self.blocks.resize(start, len, new_len) };
                resized.then(|| NonNull::slice_from_raw_parts(ptr, new_len * G::GRANULE_BYTES))
            }
        }
    }

    /// The last resort if no new block can be allocated: a slot that is larger than necessary is
    /// kept, and a block moves down over the free block before it.
    ///
    /// # Safety
    /// `live` is live, starts at `ptr`, has `old_bytes` bytes of content, and only the caller uses
    /// it.
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
                debug_assert!(self.blocks.pool.granule_at(ptr) == start);
                debug_assert!(old_bytes <= len * G::GRANULE_BYTES);
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

    /// Counts a failed reallocation, and finds the reason.
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
            // A free block was overwritten: the one that a new block would be cut from, or one
            // beside the old block.
            AllocError::Corrupt => FreeError::Corrupt.into(),
            error => error.into(),
        }
    }
}

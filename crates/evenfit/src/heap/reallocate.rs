//! Reallocation: in place, else moved, else downwards over the free block before.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::{Heap, Live};
use crate::blocks::{Pool, is_aligned};
use crate::geometry::Geometry;
use crate::tiers::Tiers;
use crate::{AllocError, ReallocError};

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
        let live = self
            .live_at(ptr, Some(old))
            .map_err(|error| self.refused(error))?;
        // SAFETY: it is live, and the caller's.
        unsafe { self.reallocate_live(live, ptr, old.size(), new) }
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
        let live = self
            .live_at(ptr, Some(old))
            .map_err(|error| self.refused(error))?;
        // SAFETY: it is live, and the caller's.
        unsafe { self.resize_live(live, ptr, new) }.ok_or(AllocError::OutOfMemory.into())
    }

    /// # Safety
    /// It is live, starts at `ptr`, has `old_bytes` of content, and is the caller's.
    #[inline(always)]
    pub(super) unsafe fn reallocate_live(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        old_bytes: usize,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        unsafe {
            match self.resize_live(live, ptr, new) {
                Some(block) => Ok(block),
                None => self.move_live(live, ptr, old_bytes, new),
            }
        }
    }

    /// The block or slot where it is, if it can be of `new`.
    ///
    /// # Safety
    /// It is live, starts at `ptr`, and is the caller's.
    #[inline(always)]
    unsafe fn resize_live(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        new: Layout,
    ) -> Option<NonNull<[u8]>> {
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
                unsafe {
                    self.blocks
                        .resize(start, len, new_len)
                        .then(|| self.blocks.pool.slice(start, new_len))
                }
            }
        }
    }

    /// A new block for the content of one that can't be resized where it is.
    ///
    /// # Safety
    /// As for `reallocate_live`.
    #[inline(never)]
    unsafe fn move_live(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        old_bytes: usize,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: both blocks are live, and not the same; the old one is given up where the new one stays.
        unsafe {
            match self.allocate_uncounted(new) {
                Some(moved) => {
                    moved
                        .cast::<u8>()
                        .copy_from_nonoverlapping(ptr, old_bytes.min(new.size()));
                    if let Err(error) = self.free_live(live) {
                        // The old block can't be given back, so it stays, and the new one goes.
                        let _ = self.try_deallocate(moved.cast(), new);
                        return Err(self.refused(error).into());
                    }
                    Ok(moved)
                }
                None => match self.keep_live(live, ptr, old_bytes, new) {
                    Some(block) => Ok(block),
                    None => Err(self.fail(new).into()),
                },
            }
        }
    }

    /// The last resort, where there is no new block to be had: a slot that is larger than need be is kept; a block takes what was a
    /// spare slab behind it, or moves downwards over the free block before it.
    ///
    /// # Safety
    /// As for `reallocate_live`.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn keep_live(
        &mut self,
        live: Live,
        ptr: NonNull<u8>,
        old_bytes: usize,
        new: Layout,
    ) -> Option<NonNull<[u8]>> {
        match live {
            Live::Slot(slot) => {
                let (slabs, _) = self.slabs_mut()?;
                let slot_bytes = slabs.slot_bytes(slot);
                let fits = is_aligned(ptr, new.align()) && slabs.keep_for(slot, new.size());
                fits.then(|| NonNull::slice_from_raw_parts(ptr, slot_bytes))
            }
            Live::Block { start, len } => {
                // SAFETY: as promised by the caller.
                unsafe {
                    if let Some(block) = self.resize_live(live, ptr, new) {
                        return Some(block);
                    }
                    let new_len = Pool::<G>::granules(new.size());
                    let payload_bytes = old_bytes.min(new.size());
                    let moved = self.blocks.resize_downwards(
                        start,
                        len,
                        new_len,
                        new.align(),
                        payload_bytes,
                    )?;
                    Some(NonNull::slice_from_raw_parts(
                        moved,
                        new_len * G::GRANULE_BYTES,
                    ))
                }
            }
        }
    }

    /// The last resort of [`reallocate`](Self::reallocate) alone: for those who have tried all else by themselves, without the lock.
    ///
    /// # Errors
    /// As for `reallocate`.
    ///
    /// # Safety
    /// As for `reallocate`.
    #[cold]
    pub(crate) unsafe fn reallocate_as_last_resort(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let live = self
            .live_at(ptr, Some(old))
            .map_err(|error| self.refused(error))?;
        // SAFETY: it is live, and the caller's.
        unsafe { self.keep_live(live, ptr, old.size(), new) }.ok_or(AllocError::OutOfMemory.into())
    }
}

//! Freeing of slots: they are looked up by their address, and an empty slab is given back at once.

use core::ptr::NonNull;

use super::classes::WORD_BITS;
use super::descriptor::{Class, Descriptor, Record, SlabId};
use super::{Slabs, Slot};
use crate::FreeError;
use crate::blocks::Blocks;
use crate::geometry::Geometry;

impl<G: Geometry> Slabs<G> {
    /// The used slot at `ptr`, if it is one of the class that serves `size`. `None`: [`slot_at`](Self::slot_at) tells more.
    #[inline(always)]
    pub(crate) fn slot_of(&self, ptr: NonNull<u8>, size: usize) -> Option<Slot> {
        let granule = self.granule_at(ptr);
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return None;
        }
        // SAFETY: the granule lies in a segment; what begins there is a slab or nothing, class 0's head (S1).
        unsafe {
            let slab_start = self.nearest_start(granule);
            let slab = Self::slab_at(slab_start);
            let class = Self::class_of(size);
            let record = self.record(class);
            let index = Self::index(record, (granule as u32).wrapping_sub(slab_start));
            let descriptor = self.descriptor(slab);
            let is_used = (*descriptor).class == class
                && index < (*record).slots as usize
                && !Descriptor::is_free(descriptor, index);
            is_used.then_some(Slot { slab, index, record })
        }
    }

    /// The used slot at `ptr`, if it may be one for `size` bytes; without a size, whatever its class. `None`: no slab is there.
    #[inline(never)]
    pub(crate) fn slot_at(
        &self,
        ptr: NonNull<u8>,
        size: Option<usize>,
    ) -> Result<Option<Slot>, FreeError> {
        let offset = ptr.addr().get().wrapping_sub(self.origin.addr());
        let granule = offset / G::GRANULE_BYTES;
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return Ok(None);
        }
        // SAFETY: as in `slot_of`.
        unsafe {
            let slab_start = self.nearest_start(granule);
            let distance = granule.wrapping_sub(slab_start as usize);
            if distance >= Self::SLAB_GRANULES {
                return Ok(None);
            }
            let slab = Self::slab_at(slab_start);
            let descriptor = self.descriptor(slab);
            let class = (*descriptor).class;
            if class == Class::NONE || !class.is_one() {
                return Ok(None);
            }
            let record = self.record(class);
            let index = Self::index(record, distance as u32);
            if index >= (*record).slots as usize || !offset.is_multiple_of(G::GRANULE_BYTES) {
                return Err(FreeError::NotABlock);
            }
            if Descriptor::is_free(descriptor, index) {
                return Err(FreeError::AlreadyFree);
            }
            if let Some(size) = size {
                let fits = size < self.request_bytes_end
                    && (*descriptor).least <= Self::class_of(size)
                    && Self::class_of(size) <= class;
                if !fits {
                    return Err(FreeError::WrongLayout);
                }
            }
            Ok(Some(Slot { slab, index, record }))
        }
    }

    /// Frees a used slot.
    #[inline(always)]
    pub(crate) fn free(&mut self, slot: Slot, blocks: &mut Blocks<G>) {
        let Slot { slab, index, record } = slot;
        // SAFETY: it is a slot of its slab.
        unsafe {
            let word = Descriptor::word(self.descriptor(slab), index / WORD_BITS);
            let before = word.read_unaligned();
            let now = Descriptor::with(before, index);
            debug_assert!(before != now);
            word.write_unaligned(now);
            (*record).live = (*record).live.wrapping_sub(1);
            if before == 0 || now == *(*record).all_free.get_unchecked(index / WORD_BITS) {
                self.word_changed(slab, now, record, blocks);
            }
        }
    }

    /// A word of the slab's free bits is `now` as it is, and had no free slot before, or has no used one any more: a slab that was full
    /// goes into its list, one that is empty is closed.
    ///
    /// # Safety
    /// A slab of the record's class.
    #[inline(never)]
    unsafe fn word_changed(
        &mut self,
        slab: SlabId,
        now: usize,
        record: *mut Record,
        blocks: &mut Blocks<G>,
    ) {
        // SAFETY: as promised by the caller.
        unsafe {
            let free = (*self.descriptor(slab)).free;
            if now & (now - 1) != 0 {
                if free == (*record).all_free {
                    self.close(slab, record, blocks);
                }
            } else if free[0] ^ free[1] == now && (*self.descriptor((*record).head)).next != slab {
                self.link(slab, record);
            }
        }
    }

    /// Puts a slab last in its class's list, so that it gathers free slots before its turn comes.
    ///
    /// # Safety
    /// A class's record, and a slab of that class with a free slot, in no list.
    #[inline(always)]
    unsafe fn link(&self, slab: SlabId, record: *mut Record) {
        // SAFETY: what the list links to are descriptors (S4).
        unsafe {
            let head = (*record).head;
            let last = (*self.descriptor(head)).prev;
            (*self.descriptor(slab)).next = head;
            (*self.descriptor(slab)).prev = last;
            (*self.descriptor(last)).next = slab;
            (*self.descriptor(head)).prev = slab;
            if last == head {
                self.set_current_word(record, slab);
            }
        }
    }

    /// Gives the block of an empty slab back. Where what surrounds it was overwritten, it stays as it is.
    ///
    /// # Safety
    /// A slab of the record's class, in its list, without a used slot.
    #[inline(never)]
    unsafe fn close(&mut self, slab: SlabId, record: *mut Record, blocks: &mut Blocks<G>) {
        // SAFETY: an empty slab is a used block that is nobody's; what the list links to are descriptors (S4).
        unsafe {
            let granule = self.start_of(slab);
            let start = granule - Self::BIAS;
            let len = blocks.slab_len(start);
            if !blocks.free_merging(start, len, blocks.map.window(start)) {
                return;
            }
            *self.start_word(granule) = 0;
            self.open -= 1;
            self.extra_granules -= (len - Self::SLAB_GRANULES) as u32;
            let Descriptor { next, prev, .. } = *self.descriptor(slab);
            (*self.descriptor(prev)).next = next;
            (*self.descriptor(next)).prev = prev;
            if prev == (*record).head {
                // The next allocation looks at the list.
                (*record).word = Descriptor::word(self.descriptor(prev), 0);
            }
        }
    }
}

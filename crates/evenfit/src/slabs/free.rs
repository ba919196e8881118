//! Freeing of slots. A slot is found by its address, and an empty slab is freed at once.

use core::ptr::NonNull;

use super::classes::WORD_BITS;
use super::descriptor::{Class, Descriptor, Record, SlabId};
use super::{Slabs, Slot};
use crate::FreeError;
use crate::blocks::Blocks;
use crate::geometry::Geometry;

impl<G: Geometry> Slabs<G> {
    /// The used slot at `ptr`, if it is of the class that serves `size`; without a size, of any
    /// class. `None`: [`slot_at`](Self::slot_at) finds out more. O(1).
    #[inline(always)]
    pub(crate) fn slot_of(&self, ptr: NonNull<u8>, size: Option<usize>) -> Option<Slot> {
        let granule = self.granule_at(ptr);
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return None;
        }
        // SAFETY: the granule lies in a segment. What is found there is a slab, or 0, which is the
        // head of class 0 (S1); both have descriptors (S9). The class has a record (S10).
        unsafe {
            let slab_start = self.nearest_start(granule);
            let slab = Self::slab_at(slab_start);
            let descriptor = self.descriptor(slab);
            let class = (*descriptor).class;
            let is_right = match size {
                Some(size) => class == Self::class_of(size),
                None => class.is_one(),
            };
            if !is_right {
                return None;
            }
            let record = self.record(class);
            let index = Self::index(record, (granule as u32).wrapping_sub(slab_start));
            let is_used =
                index < (*record).slots as usize && !Descriptor::is_free(descriptor, index);
            is_used.then_some(Slot { slab, index, record })
        }
    }

    /// The used slot at `ptr`, if it may be one of `size` bytes. Without a size, a slot of any
    /// class. `None`: the address lies in no slab. O(1).
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
        // SAFETY: as in `slot_of`. The class in the descriptor is used only if it has a record.
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

    /// Frees a used slot. O(1).
    #[inline(always)]
    pub(crate) fn free(&mut self, slot: Slot, blocks: &mut Blocks<G>) {
        let Slot { slab, index, record } = slot;
        // SAFETY: a `Slot` names a slab with a descriptor (S9), one of its slots, and the record of
        // its class (S10).
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

    /// Handles a word of free bits that has become `now`, and either had no free slot before or has
    /// no used slot any more. A slab that was full is put into the ring. An empty one is closed.
    ///
    /// # Safety
    /// `slab` is a slab of the record's class.
    #[inline(never)]
    unsafe fn word_changed(
        &mut self,
        slab: SlabId,
        now: usize,
        record: *mut Record,
        blocks: &mut Blocks<G>,
    ) {
        debug_assert!(now != 0);
        // SAFETY: as promised by the caller, so slab and head have descriptors (S9).
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

    /// Puts a slab last in its class's ring, so that more of its slots become free before it is
    /// used again.
    ///
    /// # Safety
    /// `record` is a class's (S10), and `slab` a slab of that class with a free slot, not in the
    /// ring.
    #[inline(always)]
    unsafe fn link(&self, slab: SlabId, record: *mut Record) {
        // SAFETY: what the ring links to has descriptors (S4, S9).
        unsafe {
            debug_assert!(Descriptor::has_free(self.descriptor(slab)));
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

    /// Frees the block of an empty slab. If a block beside it was overwritten, the slab stays as it
    /// is.
    ///
    /// # Safety
    /// `slab` is a slab of the record's class, in the ring, without a used slot.
    #[inline(never)]
    unsafe fn close(&mut self, slab: SlabId, record: *mut Record, blocks: &mut Blocks<G>) {
        // SAFETY: an empty slab is a used block that no caller uses. What the ring links to has
        // descriptors (S4, S9).
        unsafe {
            debug_assert!({ (*self.descriptor(slab)).free } == (*record).all_free);
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
                // The head's word has no free slot, so the next allocation searches the ring.
                (*record).word = Descriptor::word(self.descriptor(prev), 0);
            }
        }
    }
}

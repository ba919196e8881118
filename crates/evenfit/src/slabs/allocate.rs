//! Allocation of slots: from the class's current word of free bits, from another word, from another
//! slab, or from a new slab.

use core::ptr::NonNull;

use super::Slabs;
use super::classes::WORD_BITS;
use super::descriptor::{Class, Descriptor, Record, SlabId};
use crate::blocks::{Allocated, Blocks};
use crate::geometry::Geometry;
use crate::sanitizer::hide;

impl<G: Geometry> Slabs<G> {
    /// Allocates a slot for a request of `size` bytes, which slabs serve. `None`: there is no free
    /// slot, and no room for a new slab. O(1).
    #[inline(always)]
    pub(crate) fn allocate(&mut self, size: usize, blocks: &mut Blocks<G>) -> Allocated {
        debug_assert!(size < self.request_bytes_end);
        let record = self.record(Self::class_of(size));
        // SAFETY: the record is a class's (S10), and its word is one of free bits (S5).
        unsafe {
            match (*record).word.read_unaligned() {
                0 => self.allocate_slow(record, blocks),
                free => Some((*record).pop(free)),
            }
        }
    }

    /// Allocates a slot when the record's word has no free one: from the slab's other word, from
    /// the next slab, or from a new slab.
    ///
    /// # Safety
    /// `record` is a class's (S10), and its word has no free slot.
    #[inline(never)]
    unsafe fn allocate_slow(&mut self, record: *mut Record, blocks: &mut Blocks<G>) -> Allocated {
        // SAFETY: what the ring links to has descriptors (S4, S9). All slabs behind the first have
        // a free slot (S4), so the new word isn't 0.
        unsafe {
            debug_assert!((*record).word.read_unaligned() == 0);
            let head = (*record).head;
            let first = (*self.descriptor(head)).next;
            if !Descriptor::has_free(self.descriptor(first)) {
                // The first slab is full, and leaves the ring. It may also be the head, if the ring
                // has no slab.
                let next = (*self.descriptor(first)).next;
                if next == head {
                    return self.open(record, blocks);
                }
                (*self.descriptor(head)).next = next;
                (*self.descriptor(next)).prev = head;
                self.set_current_word(record, next);
            } else {
                self.set_current_word(record, first);
            }
            Some((*record).pop((*record).word.read_unaligned()))
        }
    }

    /// Makes the first word of this slab that has a free slot the class's current one.
    ///
    /// # Safety
    /// `record` is a class's (S10), and `slab` a slab of that class or its head.
    #[inline(always)]
    pub(super) unsafe fn set_current_word(&self, record: *mut Record, slab: SlabId) {
        // SAFETY: as promised by the caller, so the slab has a descriptor (S9).
        unsafe {
            let descriptor = self.descriptor(slab);
            let word = usize::from(Descriptor::word(descriptor, 0).read_unaligned() == 0);
            (*record).word = Descriptor::word(descriptor, word);
            let start_bytes = self.start_of(slab) * G::GRANULE_BYTES;
            let first_bytes = word * WORD_BITS * (*record).slot_bytes;
            (*record).slot = hide(self.origin.wrapping_add(start_bytes + first_bytes));
        }
    }

    /// Opens a slab for a class that has no free slot, and allocates its first slot. `None`: the
    /// block tier has no room.
    ///
    /// # Safety
    /// `record` is a class's (S10), and no slab in its ring has a free slot.
    #[inline(never)]
    unsafe fn open(&mut self, record: *mut Record, blocks: &mut Blocks<G>) -> Allocated {
        // SAFETY: the new block is this function's alone and as long as a slab, so it has a
        // descriptor (S9). A full slab that was first leaves the ring (S4). `SLAB_GRANULES` is the
        // length of a long request.
        unsafe {
            debug_assert!(!Descriptor::has_free(
                self.descriptor((*self.descriptor((*record).head)).next)
            ));
            let run = blocks.allocate_from_rest(Self::SLAB_GRANULES)?;
            let block = run.cast::<u8>();
            let granule = self.granule_at(block);
            *self.start_word(granule) = granule as u32;
            self.open += 1;
            self.extra_granules += (run.len() / G::GRANULE_BYTES - Self::SLAB_GRANULES) as u32;
            let slab = Self::slab_at(granule as u32);
            let descriptor = self.descriptor(slab);
            (*descriptor).start_low = granule as u32 % G::SHORT_END as u32;
            let class = Class::at(record.addr() - self.records.get().addr());
            (*descriptor).class = class;
            (*descriptor).least = class;
            let head = (*record).head;
            (*descriptor).next = head;
            (*descriptor).prev = head;
            (*self.descriptor(head)).next = slab;
            (*self.descriptor(head)).prev = slab;
            let [first, second] = (*record).all_free;
            Descriptor::word(descriptor, 0).write_unaligned(first - 1);
            Descriptor::word(descriptor, 1).write_unaligned(second);
            (*record).word = Descriptor::word(descriptor, 0);
            (*record).slot = hide(block.as_ptr());
            (*record).live = (*record).live.wrapping_add(1);
            Some(NonNull::slice_from_raw_parts(block, (*record).slot_bytes))
        }
    }
}

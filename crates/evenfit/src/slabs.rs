//! The slab tier: serves small requests from *slots*, equal parts of a block.
//!
//! # Slabs and their descriptors
//!
//! A slab is a used block of [`Slabs::SLAB_GRANULES`] granules at any position in the pool, cut
//! from its first byte on into slots of one size. Eight entries of the block tier's directory cover
//! a slab. The entry of its first granule stays the block tier's. No long block can start at the
//! granules of the other seven, so the slab uses these. All eight together are its *descriptor*:
//!
//! ```text
//!   granules     0         32        64        96            256       288
//!                |    [====|== slab ==|=========|== ...  =====|===]     |
//!   directory    | begin  | free bits, links, class ...       | other  |
//! ```
//!
//! The entry of the first granule holds less than a long block's length: the position of the slab's
//! start among the granules of this entry. The block tier therefore finds no block of a matching
//! length there, and refuses a pointer to it as one with a wrong length.
//!
//! The pool is also divided into *segments* as long as a slab. At most one slab starts in each, and
//! a word says where. So the slab that may contain an address is the one that starts in the
//! address's segment, or else the one that starts in the segment before.
//!
//! Slabs number the pool's granules from [`Slabs::BIAS`] on. The lower numbers stand for no memory:
//! the heads of the classes' lists have descriptors there, and the number 0 means that no slab
//! starts in a segment.
//!
//! # Invariants
//! - **S1 (starts)** A segment's word is the granule at which its slab starts, or 0.
//! - **S2 (entries)** The directory entry of a slab's first granule is less than the length of any
//!   long block.
//! - **S3 (free bits)** A set bit is a free slot. Bits beyond the last slot are 0.
//! - **S4 (lists)** The slabs of a class form a ring with the class's head. The ring has all slabs
//!   with a free slot. A full slab is in it only as the first.
//! - **S5 (word)** A class's record has the address of a word of free bits of the first slab in the
//!   ring, or of the head.
//! - **S6 (empty)** A slab has a used slot. An exception is a slab that could not be closed when
//!   its last slot was freed, since a block beside it had been overwritten.
//! - **S7 (least)** A slab's least class is at most its class. The two are equal when the slab is
//!   opened.
//! - **S8 (live)** A class's record counts its used slots.
//! - **S9 (extent)** There is a word for each of `segments` segments, and one before the first.
//!   From `descriptors` on there is a descriptor for each class's head and then the directory, so
//!   each slab that starts in a segment has its descriptor there. Only the slab tier accesses these
//!   words, the heads and the seven entries of a slab.
//! - **S10 (records)** A pointer to a record is made from a [`Class`], which is the number of a
//!   class, and points into `records`. No reference to `records` is live while one is used.

mod allocate;
mod check;
mod classes;
mod descriptor;
mod free;

pub(crate) use self::check::SlabTally;

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use self::classes::{CLASSES_MAX, REQUEST_BYTES_MAX, Table, WORDS};
use self::descriptor::{Class, Descriptor, Record, SlabId};
use crate::blocks::Blocks;
use crate::geometry::Geometry;

/// A used slot.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    slab: SlabId,
    index: usize,
    /// The record of the slab's class.
    record: *mut Record,
}

pub struct Slabs<G: Geometry> {
    /// Requests of fewer bytes are served. 0 if there are no slabs.
    request_bytes_end: usize,
    /// The address of granule 0, as slabs number granules.
    origin: *mut u8,
    starts: *mut u32,
    segments: usize,
    /// The descriptor of entry 0, as slabs number granules.
    descriptors: *mut u8,
    /// The number of slabs.
    open: usize,
    /// By how many granules the slabs' blocks are longer than slabs, in all.
    extra_granules: u32,
    /// In a cell, since functions with a shared reference write to a class's record by its address.
    records: UnsafeCell<[Record; CLASSES_MAX]>,
    geometry: core::marker::PhantomData<G>,
}

impl<G: Geometry> Slabs<G> {
    pub(crate) const SLAB_GRANULES: usize = Blocks::<G>::SLAB_LEN;
    pub(crate) const BIAS: usize = CLASSES_MAX * Self::SLAB_GRANULES;
    const SEGMENT_LOG2: u32 = Self::SLAB_GRANULES.ilog2();
    const ENTRY_LOG2: u32 = G::SHORT_END.ilog2();
    const ENTRY_BYTES: usize = size_of::<G::Length>();
    const TABLE: Table = classes::table::<G>(Self::SLAB_GRANULES);
    /// A head's descriptor takes as many bytes before the directory as a slab's takes in it.
    pub(crate) const HEADS_BYTES: usize = CLASSES_MAX * 8 * Self::ENTRY_BYTES;

    fn segments(granules: usize) -> usize {
        ((granules + Self::BIAS) >> Self::SEGMENT_LOG2) + 1
    }

    /// The length of the segments' words, in bytes. There is one more, so that the first segment
    /// has one before it.
    pub(crate) fn starts_bytes(granules: usize) -> usize {
        (Self::segments(granules) + 1) * size_of::<u32>()
    }

    /// A slab tier that serves no request.
    pub(crate) const fn none() -> Self {
        Self {
            request_bytes_end: 0,
            origin: core::ptr::null_mut(),
            starts: core::ptr::null_mut(),
            segments: 0,
            descriptors: core::ptr::null_mut(),
            open: 0,
            extra_granules: 0,
            records: UnsafeCell::new([const { Record::none() }; CLASSES_MAX]),
            geometry: core::marker::PhantomData,
        }
    }

    /// # Safety
    /// `starts` has the bytes that `starts_bytes` counts for `granules`, all zero and used by
    /// nothing else. The same holds for the `HEADS_BYTES` before the directory of `blocks`.
    pub(crate) unsafe fn new(starts: NonNull<u32>, blocks: &Blocks<G>, granules: usize) -> Self {
        const { assert!(!G::HAS_SLABS || size_of::<Descriptor>() <= 8 * Self::ENTRY_BYTES) };
        let directory = blocks.directory.start().as_ptr().cast::<u8>();
        let mut slabs = Self {
            request_bytes_end: Self::TABLE.largest + 1,
            origin: blocks.pool.base().as_ptr().wrapping_sub(Self::BIAS * G::GRANULE_BYTES),
            starts: starts.as_ptr(),
            segments: Self::segments(granules),
            descriptors: directory.wrapping_sub(Self::HEADS_BYTES),
            ..Self::none()
        };
        for number in 0..CLASSES_MAX {
            let head = (number * 8) as SlabId;
            let info = Self::TABLE.classes[number];
            slabs.records.get_mut()[number] = Record::new(info, head);
            // SAFETY: the heads lie in the `HEADS_BYTES` before the directory (S9). The class is
            // one (S10).
            unsafe {
                slabs.descriptor(head).write_unaligned(Descriptor::head(head));
                let record = slabs.record(Class::new(number));
                slabs.set_current_word(record, head);
            }
        }
        slabs
    }

    /// Whether slabs serve requests of this layout.
    #[inline(always)]
    pub(crate) fn serve(&self, layout: Layout) -> bool {
        layout.size() < self.request_bytes_end && layout.align() <= G::ALIGN_BYTES
    }

    #[inline(always)]
    fn record(&self, class: Class) -> *mut Record {
        self.records.get().cast::<u8>().wrapping_add(class.offset_bytes()).cast()
    }

    fn all_records(&self) -> &[Record; CLASSES_MAX] {
        // SAFETY: `self` is borrowed, and functions with a shared reference to it write to records
        // only for callers that have a mutable one.
        unsafe { &*self.records.get() }
    }

    #[inline(always)]
    fn class_of(size: usize) -> Class {
        debug_assert!(size <= REQUEST_BYTES_MAX);
        // SAFETY: callers pass sizes below `request_bytes_end`, so at most `REQUEST_BYTES_MAX`.
        unsafe { *Self::TABLE.of_size.get_unchecked(size) }
    }

    #[inline(always)]
    fn descriptor(&self, slab: SlabId) -> *mut Descriptor {
        self.descriptors.wrapping_add(slab as usize * Self::ENTRY_BYTES).cast()
    }

    /// The granule that starts at an address, as slabs number granules. A number beyond all
    /// segments if none starts there, or the address lies outside the pool.
    #[inline(always)]
    fn granule_at(&self, ptr: NonNull<u8>) -> usize {
        let offset = ptr.addr().get().wrapping_sub(self.origin.addr());
        offset.rotate_right(G::GRANULE_BYTES.ilog2())
    }

    /// Where the slab starts that may contain the granule; 0 if none starts in its segment or in
    /// the one before.
    ///
    /// # Safety
    /// The granule lies in a segment.
    #[inline(always)]
    unsafe fn nearest_start(&self, granule: usize) -> u32 {
        debug_assert!(granule >> Self::SEGMENT_LOG2 < self.segments);
        let segment = self.starts.wrapping_add(granule >> Self::SEGMENT_LOG2);
        // SAFETY: the granule lies in a segment, so there are a word of this segment and one before
        // it (S9).
        let (before, own) = unsafe { (*segment, *segment.wrapping_add(1)) };
        // Where no slab starts in the segment, `own - 1` wraps and is larger than any granule.
        core::hint::select_unpredictable(own.wrapping_sub(1) as usize >= granule, before, own)
    }

    #[inline(always)]
    fn slab_at(slab_start: u32) -> SlabId {
        slab_start >> Self::ENTRY_LOG2
    }

    /// Where a slab starts, as slabs number granules. The result lies in the slab's entry, even if
    /// the descriptor was overwritten.
    ///
    /// # Safety
    /// `slab` is a slab or a head.
    #[inline(always)]
    unsafe fn start_of(&self, slab: SlabId) -> usize {
        debug_assert!(slab < self.slabs_end());
        // SAFETY: as promised by the caller, so it has a descriptor (S9).
        let low = unsafe { (*self.descriptor(slab)).start_low } as usize % G::SHORT_END;
        (slab as usize) << Self::ENTRY_LOG2 | low
    }

    /// The number of the slot that starts `distance` granules behind its slab's start. A number
    /// beyond all slots if none starts there.
    ///
    /// # Safety
    /// `record` is a class's (S10).
    #[inline(always)]
    unsafe fn index(record: *const Record, distance: u32) -> usize {
        // SAFETY: as promised by the caller.
        distance.wrapping_mul(unsafe { (*record).inverse }).rotate_left(16) as usize
    }

    #[inline(always)]
    fn start_word(&self, granule: usize) -> *mut u32 {
        self.starts.wrapping_add((granule >> Self::SEGMENT_LOG2) + 1)
    }

    /// The slot's length in bytes. O(1).
    pub(crate) fn slot_bytes(&self, slot: Slot) -> usize {
        // SAFETY: a slot's record is its class's (S10).
        unsafe { (*slot.record).slot_bytes }
    }

    /// Whether the slot is of the class that serves `size`.
    pub(crate) fn is_for(&self, slot: Slot, size: usize) -> bool {
        size < self.request_bytes_end && self.record(Self::class_of(size)) == slot.record
    }

    /// Serves a request for fewer bytes from the same slot. False: it needs a larger slot.
    pub(crate) fn shrink_in_slot(&mut self, slot: Slot, size: usize) -> bool {
        if size >= self.request_bytes_end {
            return false;
        }
        let class = Self::class_of(size);
        // SAFETY: a slot's slab has a descriptor (S9).
        unsafe {
            let descriptor = self.descriptor(slot.slab);
            if class > (*descriptor).class {
                return false;
            }
            if class < (*descriptor).least {
                (*descriptor).least = class;
            }
        }
        true
    }

    /// The number of slabs.
    pub(crate) fn open_slabs(&self) -> usize {
        self.open
    }

    /// Whether this tier can serve requests.
    pub(crate) fn are_in_use(&self) -> bool {
        self.request_bytes_end != 0
    }

    /// Removes all slabs. The block tier was reset before.
    pub(crate) fn reset(&mut self, blocks: &Blocks<G>) {
        if let Some(starts) = NonNull::new(self.starts) {
            let granules = (self.segments - 1) * Self::SLAB_GRANULES - Self::BIAS;
            // SAFETY: the words of the segments and the heads are the slab tier's alone (S9). No
            // slab starts beyond the part of the pool that was used, so all words are zero
            // afterwards, as `new` requires.
            unsafe {
                starts.write_bytes(0, Self::segments(blocks.top_peak()).min(self.segments) + 1);
                let mut fresh = Self::new(starts, blocks, granules);
                fresh.segments = self.segments;
                *self = fresh;
            }
        }
    }

    /// The number of used slots, and the bytes of slabs that are in no used slot. O(1): it reads
    /// one record for each class.
    pub(crate) fn used(&self) -> (usize, usize) {
        let mut used_slots = 0;
        let granules = self.open * Self::SLAB_GRANULES + self.extra_granules as usize;
        let mut free_bytes = granules * G::GRANULE_BYTES;
        for record in self.all_records() {
            used_slots += record.live as usize;
            free_bytes = free_bytes.wrapping_sub(record.live as usize * record.slot_bytes);
        }
        (used_slots, free_bytes)
    }

    /// The first number beyond all slabs.
    fn slabs_end(&self) -> SlabId {
        (self.segments << (Self::SEGMENT_LOG2 - Self::ENTRY_LOG2)) as SlabId
    }

    /// The length of the largest free slot in bytes; 0 if there is none. O(1): it reads one record
    /// for each class.
    pub(crate) fn largest_free_slot(&self) -> usize {
        let is_free = |record: &&Record| {
            // SAFETY: what a head links to is a slab or the head, which have descriptors (S4, S9).
            // All slabs behind the first have a free slot (S4).
            unsafe {
                let first = (*self.descriptor(record.head)).next;
                let has_free =
                    |word| Descriptor::word(self.descriptor(first), word).read_unaligned() != 0;
                first < self.slabs_end()
                    && ((0..WORDS).any(has_free) || (*self.descriptor(first)).next != record.head)
            }
        };
        if !self.are_in_use() {
            return 0;
        }
        self.all_records()[1..Self::TABLE.count]
            .iter()
            .rev()
            .find(is_free)
            .map_or(0, |record| record.slot_bytes)
    }
}

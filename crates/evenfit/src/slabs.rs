//! The slab tier: serves small requests from *slots*, equal parts of a block.
//!
//! # Slabs and their descriptors
//!
//! A slab is a used block of [`Slabs::SLAB_GRANULES`] granules, wherever it lies, cut into slots of one size from its first byte on. It
//! is as long as eight entries of the block tier's directory are for. The entry that its first granule belongs to is the block tier's.
//! The seven behind can't be any long block's, so they are the slab's own, and with the first make up its *descriptor*:
//!
//! ```text
//!   granules     0         32        64        96            256       288
//!                |    [====|== slab ==|=========|== ...  =====|===]     |
//!   directory    | begin  | free bits, links, class ...       | other  |
//! ```
//!
//! What its own entry holds is less than a long block's length: where among the granules of that entry it begins. So the block tier
//! finds no block there whose length agrees, and refuses it as it refuses a wrong length.
//!
//! The pool is also divided into *segments* as long as a slab. At most one slab begins in each; a word tells where. So the slab that
//! may hold an address is the one that begins in its segment, or else the one before.
//!
//! Slabs number granules from [`Slabs::BIAS`] on. What comes before is no memory: there the heads of the classes' lists have their
//! descriptors, and 0 is where no slab begins.
//!
//! # Invariants
//! - **S1 (begins)** A segment's word is where its slab begins, or 0.
//! - **S2 (entries)** A slab's entry in the directory is less than any long block's length.
//! - **S3 (free bits)** A set bit is a free slot; bits beyond the slots are 0.
//! - **S4 (lists)** The slabs of a class are in a ring with the class's head if they have a free slot, or are the first.
//! - **S5 (word)** A class's record has the address of a word of free bits of the first slab in its list, or of the head.
//! - **S6 (empty)** A slab has a used slot, but if what surrounds it was overwritten when the last was freed.
//! - **S7 (least)** A slab's least class is at most its class, and is it when the slab is opened.
//! - **S8 (live)** A class's record counts its used slots.

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
    /// That of the slab's class.
    record: *mut Record,
}

pub struct Slabs<G: Geometry> {
    /// Requests of fewer bytes are served: none where there are no slabs.
    request_bytes_end: usize,
    /// The address of granule 0, as slabs number them.
    origin: *mut u8,
    starts: *mut u32,
    segments: usize,
    /// The descriptor of the slab that begins among granules 0 to `SHORT_END`, as slabs number them.
    descriptors: *mut u8,
    /// Slabs.
    open: usize,
    /// Granules that their blocks have more than a slab.
    extra_granules: u32,
    /// In a cell, since a class's record is reached from several functions by its address.
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
    /// A head's descriptor takes as much of what comes before the directory as a slab's takes of it.
    pub(crate) const HEADS_BYTES: usize = CLASSES_MAX * 8 * Self::ENTRY_BYTES;

    fn segments(granules: usize) -> usize {
        ((granules + Self::BIAS) >> Self::SEGMENT_LOG2) + 1
    }

    /// How long the words of the segments are: one more, so that the first has one before.
    pub(crate) fn starts_bytes(granules: usize) -> usize {
        (Self::segments(granules) + 1) * size_of::<u32>()
    }

    /// Slabs that serve nothing.
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
    /// `begins` are as long as `starts_bytes` says for `granules`, zero, and nobody else's; so are the `HEADS_BYTES` before the
    /// directory of `blocks`.
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
            // SAFETY: the heads lie before the directory.
            unsafe {
                slabs.descriptor(head).write_unaligned(Descriptor::head(head));
                let record = slabs.record(Class::new(number));
                slabs.set_current_word(record, head);
            }
        }
        slabs
    }

    /// Whether slabs serve a request.
    #[inline(always)]
    pub(crate) fn serve(&self, layout: Layout) -> bool {
        layout.size() < self.request_bytes_end && layout.align() <= G::ALIGN_BYTES
    }

    #[inline(always)]
    fn record(&self, class: Class) -> *mut Record {
        self.records.get().cast::<u8>().wrapping_add(class.offset_bytes()).cast()
    }

    fn all_records(&self) -> &[Record; CLASSES_MAX] {
        // SAFETY: nothing writes to a record while the heap is only looked at.
        unsafe { &*self.records.get() }
    }

    #[inline(always)]
    fn class_of(size: usize) -> Class {
        debug_assert!(size <= REQUEST_BYTES_MAX);
        // SAFETY: slabs serve no larger size.
        unsafe { *Self::TABLE.of_size.get_unchecked(size) }
    }

    #[inline(always)]
    fn descriptor(&self, slab: SlabId) -> *mut Descriptor {
        self.descriptors.wrapping_add(slab as usize * Self::ENTRY_BYTES).cast()
    }

    /// The granule at an address, as slabs number them; beyond all segments if it isn't the start of one, or outside the pool.
    #[inline(always)]
    fn granule_at(&self, ptr: NonNull<u8>) -> usize {
        let offset = ptr.addr().get().wrapping_sub(self.origin.addr());
        offset.rotate_right(G::GRANULE_BYTES.ilog2())
    }

    /// Where the slab begins that holds this granule, if any does; 0 if none begins in its segment or the one before.
    ///
    /// # Safety
    /// The granule lies in a segment.
    #[inline(always)]
    unsafe fn nearest_start(&self, granule: usize) -> u32 {
        let segment = self.starts.wrapping_add(granule >> Self::SEGMENT_LOG2);
        // SAFETY: there is a word before that of the first segment.
        let (before, own) = unsafe { (*segment, *segment.wrapping_add(1)) };
        // Where none begins it wraps, and so lies beyond any granule.
        core::hint::select_unpredictable(own.wrapping_sub(1) as usize >= granule, before, own)
    }

    #[inline(always)]
    fn slab_at(slab_start: u32) -> SlabId {
        slab_start >> Self::ENTRY_LOG2
    }

    /// Where a slab begins, as slabs number granules: among those of its entry, whatever was written over its descriptor.
    ///
    /// # Safety
    /// A slab or a head.
    #[inline(always)]
    unsafe fn start_of(&self, slab: SlabId) -> usize {
        // SAFETY: as promised by the caller.
        let low = unsafe { (*self.descriptor(slab)).start_low } as usize % G::SHORT_END;
        (slab as usize) << Self::ENTRY_LOG2 | low
    }

    /// The number of the slot that begins `distance` granules from its slab's begin, or one beyond all slots.
    #[inline(always)]
    unsafe fn index(record: *const Record, distance: u32) -> usize {
        // SAFETY: a class's record.
        distance.wrapping_mul(unsafe { (*record).inverse }).rotate_left(16) as usize
    }

    #[inline(always)]
    fn start_word(&self, granule: usize) -> *mut u32 {
        self.starts.wrapping_add((granule >> Self::SEGMENT_LOG2) + 1)
    }

    /// The slot's length in bytes.
    pub(crate) fn slot_bytes(&self, slot: Slot) -> usize {
        // SAFETY: a class's record.
        unsafe { (*slot.record).slot_bytes }
    }

    /// Whether the slot is of the class that serves `size`.
    pub(crate) fn is_for(&self, slot: Slot, size: usize) -> bool {
        size < self.request_bytes_end && self.record(Self::class_of(size)) == slot.record
    }

    /// Leaves a request for fewer bytes in a slot that is larger than it needs. False: it needs a larger one.
    pub(crate) fn shrink_in_slot(&mut self, slot: Slot, size: usize) -> bool {
        if size >= self.request_bytes_end {
            return false;
        }
        let class = Self::class_of(size);
        // SAFETY: the slot's slab is one.
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

    /// How many slabs there are.
    pub(crate) fn open_slabs(&self) -> usize {
        self.open
    }

    /// Whether there are slabs at all.
    pub(crate) fn are_in_use(&self) -> bool {
        self.request_bytes_end != 0
    }

    /// Forgets all slabs, of a block tier that was reset.
    pub(crate) fn reset(&mut self, blocks: &Blocks<G>) {
        if let Some(starts) = NonNull::new(self.starts) {
            let granules = (self.segments - 1) * Self::SLAB_GRANULES - Self::BIAS;
            // SAFETY: the words of the segments, and of the heads, are the slabs' alone; no slab begins beyond what was used.
            unsafe {
                starts.write_bytes(0, Self::segments(blocks.top_peak()).min(self.segments) + 1);
                let mut fresh = Self::new(starts, blocks, granules);
                fresh.segments = self.segments;
                *self = fresh;
            }
        }
    }

    /// Used slots, and the bytes of slabs that are in none.
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

    /// Beyond the descriptor of any slab.
    fn slabs_end(&self) -> SlabId {
        (self.segments << (Self::SEGMENT_LOG2 - Self::ENTRY_LOG2)) as SlabId
    }

    /// The length of the largest free slot, in bytes; 0 if there is none.
    pub(crate) fn largest_free_slot(&self) -> usize {
        let is_free = |record: &&Record| {
            // SAFETY: a record's word is one of free bits (S5). Behind the first slab of a list, all have a free slot (S4).
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

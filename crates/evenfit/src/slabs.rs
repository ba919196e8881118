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
//! - **S6 (spare)** At most one slab has no used slot: the spare, which is in its list.
//! - **S7 (least)** A slab's least class is at most its class, and is it when the slab is opened.
//! - **S8 (live)** A class's record counts its used slots.

mod check;
mod classes;
mod descriptor;

pub(crate) use self::check::Live;

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use self::classes::{CLASSES_MAX, REQUEST_BYTES_MAX, Table, WORD_BITS, WORDS};
use self::descriptor::{Class, Descriptor, Record, SlabId};
use crate::FreeError;
use crate::blocks::Blocks;
use crate::geometry::Geometry;

/// A used slot.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    slab: SlabId,
    index: usize,
}

/// What became of a slot that was to be freed.
pub(crate) enum Freed {
    Done,
    /// The word of free bits had none before, or has all now: [`Slabs::word_changed`] must be called.
    WordChanged(Slot),
    AlreadyFree,
    /// No slot of this class is there: [`Slabs::slot_at`] tells more.
    NotOfClass,
}

pub struct Slabs<G: Geometry> {
    /// Requests of fewer bytes are served: none where there are no slabs.
    request_bytes_end: usize,
    /// The address of granule 0, as slabs number them.
    origin: *mut u8,
    begins: *mut u32,
    segments: usize,
    /// The descriptor of the slab that begins among granules 0 to `SHORT_END`, as slabs number them.
    descriptors: *mut u8,
    spare: SlabId,
    /// Slabs, the spare included.
    open: usize,
    /// Granules in the blocks of slabs.
    granules: usize,
    /// In a cell, since a class's record is reached from several functions by its address.
    records: UnsafeCell<[Record; CLASSES_MAX]>,
    geometry: core::marker::PhantomData<G>,
}

impl<G: Geometry> Slabs<G> {
    pub(crate) const SLAB_GRANULES: usize = 8 * G::SHORT_END;
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
    pub(crate) fn begins_bytes(granules: usize) -> usize {
        (Self::segments(granules) + 1) * size_of::<u32>()
    }

    /// Slabs that serve nothing.
    pub(crate) const fn none() -> Self {
        Self {
            request_bytes_end: 0,
            origin: core::ptr::null_mut(),
            begins: core::ptr::null_mut(),
            segments: 0,
            descriptors: core::ptr::null_mut(),
            spare: 0,
            open: 0,
            granules: 0,
            records: UnsafeCell::new([const { Record::none() }; CLASSES_MAX]),
            geometry: core::marker::PhantomData,
        }
    }

    /// # Safety
    /// `begins` are as long as `begins_bytes` says for `granules`, zero, and nobody else's; so are the `HEADS_BYTES` before the
    /// directory of `blocks`.
    pub(crate) unsafe fn new(begins: NonNull<u32>, blocks: &Blocks<G>, granules: usize) -> Self {
        const { assert!(!G::HAS_SLABS || size_of::<Descriptor>() <= 8 * Self::ENTRY_BYTES) };
        let directory = blocks.directory.start().as_ptr().cast::<u8>();
        let mut slabs = Self {
            request_bytes_end: Self::TABLE.largest + 1,
            origin: blocks
                .pool
                .base()
                .as_ptr()
                .wrapping_sub(Self::BIAS * G::GRANULE_BYTES),
            begins: begins.as_ptr(),
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
                slabs
                    .descriptor(head)
                    .write_unaligned(Descriptor::head(head));
                let record = slabs.record(Class::new(number));
                slabs.look_at(record, head, 0);
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
        self.records
            .get()
            .cast::<u8>()
            .wrapping_add(class.offset_bytes())
            .cast()
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
        self.descriptors
            .wrapping_add(slab as usize * Self::ENTRY_BYTES)
            .cast()
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
    unsafe fn nearest(&self, granule: usize) -> u32 {
        let segment = self.begins.wrapping_add(granule >> Self::SEGMENT_LOG2);
        // SAFETY: there is a word before that of the first segment.
        let (before, own) = unsafe { (*segment, *segment.wrapping_add(1)) };
        // Where none begins it wraps, and so lies beyond any granule.
        core::hint::select_unpredictable(own.wrapping_sub(1) as usize >= granule, before, own)
    }

    #[inline(always)]
    fn slab_at(begin: u32) -> SlabId {
        begin >> Self::ENTRY_LOG2
    }

    /// Where a slab begins, as slabs number granules: among those of its entry, whatever was written over its descriptor.
    ///
    /// # Safety
    /// A slab or a head.
    #[inline(always)]
    unsafe fn begin(&self, slab: SlabId) -> usize {
        // SAFETY: as promised by the caller.
        let low = unsafe { (*self.descriptor(slab)).begin_low } as usize % G::SHORT_END;
        (slab as usize) << Self::ENTRY_LOG2 | low
    }

    /// The number of the slot that begins `distance` granules from its slab's begin, or one beyond all slots.
    #[inline(always)]
    unsafe fn index(record: *const Record, distance: u32) -> usize {
        // SAFETY: a class's record.
        distance
            .wrapping_mul(unsafe { (*record).inverse })
            .rotate_left(16) as usize
    }

    /// Allocates a slot for a request of `size` bytes that slabs serve, if the first place to look at has one.
    #[inline(always)]
    pub(crate) fn allocate(&mut self, size: usize) -> Option<NonNull<[u8]>> {
        // SAFETY: a class's record.
        unsafe { Self::take_first(self.record(Self::class_of(size))) }
    }

    /// Takes the first slot that the record's word has free.
    ///
    /// # Safety
    /// A class's record.
    #[inline(always)]
    unsafe fn take_first(record: *mut Record) -> Option<NonNull<[u8]>> {
        // SAFETY: the word is one of free bits (S5), so the slot is nobody's (S3).
        unsafe {
            let word = (*record).word.read_unaligned();
            if word == 0 {
                return None;
            }
            (*record).word.write_unaligned(word & (word - 1));
            (*record).live = (*record).live.wrapping_add(1);
            let slot_bytes = (*record).slot_bytes;
            let slot = (*record)
                .slot
                .wrapping_add(word.trailing_zeros() as usize * slot_bytes);
            Some(NonNull::slice_from_raw_parts(
                NonNull::new_unchecked(slot),
                slot_bytes,
            ))
        }
    }

    /// Allocates a slot where `allocate` found none: from the slab's other word, the next slab, or one that is opened for it. `None`: there is
    /// no room for a slab.
    #[inline(always)]
    pub(crate) fn allocate_elsewhere(
        &mut self,
        size: usize,
        blocks: &mut Blocks<G>,
    ) -> Option<NonNull<[u8]>> {
        let record = self.record(Self::class_of(size));
        // SAFETY: what the list links to are descriptors (S4).
        unsafe {
            let head = (*record).head;
            let first = (*self.descriptor(head)).next;
            if !self.look_into(record, first) {
                // It is full and leaves the list; or it is the head, and nothing changes.
                let next = (*self.descriptor(first)).next;
                (*self.descriptor(head)).next = next;
                (*self.descriptor(next)).prev = head;
                if !self.look_into(record, next) {
                    self.look_at(record, next, 0);
                    if !self.open(record, blocks) {
                        return None;
                    }
                }
            }
            Self::take_first(record)
        }
    }

    /// Slots are taken from a word of this slab from now on.
    ///
    /// # Safety
    /// A class's record, and a slab of that class or its head.
    #[inline(always)]
    unsafe fn look_at(&self, record: *mut Record, slab: SlabId, word: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            (*record).word = Descriptor::word(self.descriptor(slab), word);
            let begin_bytes = self.begin(slab) * G::GRANULE_BYTES;
            let first_bytes = word * WORD_BITS * (*record).slot_bytes;
            (*record).slot = self.origin.wrapping_add(begin_bytes + first_bytes);
        }
    }

    /// As `look_at`, if the slab has a free slot.
    ///
    /// # Safety
    /// As for `look_at`.
    #[inline(always)]
    unsafe fn look_into(&self, record: *mut Record, slab: SlabId) -> bool {
        for word in 0..WORDS {
            // SAFETY: as promised by the caller.
            unsafe {
                if Descriptor::word(self.descriptor(slab), word).read_unaligned() != 0 {
                    self.look_at(record, slab, word);
                    return true;
                }
            }
        }
        false
    }

    /// Puts a slab last in its class's list, so that it gathers free slots before its turn comes.
    ///
    /// # Safety
    /// A class's record, and a slab of that class with a free slot, in no list.
    #[inline(never)]
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
                self.look_into(record, slab);
            }
        }
    }

    /// Takes a slab out of its class's list.
    ///
    /// # Safety
    /// It is in it.
    #[inline(never)]
    unsafe fn unlink(&self, slab: SlabId) {
        // SAFETY: as in `link`.
        unsafe {
            let descriptor = self.descriptor(slab);
            let record = self.record((*descriptor).class);
            let (next, prev) = ((*descriptor).next, (*descriptor).prev);
            (*self.descriptor(prev)).next = next;
            (*self.descriptor(next)).prev = prev;
            if prev == (*record).head && !self.look_into(record, next) {
                self.look_at(record, next, 0);
            }
        }
    }

    /// Opens a slab for a class that has no free slot: the spare, or a new block.
    ///
    /// # Safety
    /// A class's record.
    #[inline(never)]
    unsafe fn open(&mut self, record: *mut Record, blocks: &mut Blocks<G>) -> bool {
        // SAFETY: the spare is a slab or the head of class 0; a new block is nobody's else.
        unsafe {
            let mut slab = self.spare;
            if self.is_empty(slab) {
                self.unlink(slab);
                self.spare = 0;
            } else {
                let Some(block) = blocks.allocate_by_search(Self::SLAB_GRANULES) else {
                    return false;
                };
                let granule = self.granule_at(block.cast());
                *self.begin_of(granule) = granule as u32;
                slab = Self::slab_at(granule as u32);
                (*self.descriptor(slab)).begin_low = granule as u32 % G::SHORT_END as u32;
                self.open += 1;
                self.granules += block.len() / G::GRANULE_BYTES;
            }
            let descriptor = self.descriptor(slab);
            let class = Class::at(record.addr() - self.records.get().addr());
            (*descriptor).class = class;
            (*descriptor).least = class;
            (*descriptor).free = (*record).all_free;
            self.link(slab, record);
        }
        true
    }

    #[inline(always)]
    fn begin_of(&self, granule: usize) -> *mut u32 {
        self.begins
            .wrapping_add((granule >> Self::SEGMENT_LOG2) + 1)
    }

    /// Whether it is a slab, not a head, and no slot of it is used.
    ///
    /// # Safety
    /// A slab or a head.
    #[inline(always)]
    unsafe fn is_empty(&self, slab: SlabId) -> bool {
        // SAFETY: as promised by the caller.
        unsafe {
            let descriptor = self.descriptor(slab);
            let class = (*descriptor).class;
            let free = (*descriptor).free;
            class != Class::NONE && class.is_one() && free == (*self.record(class)).all_free
        }
    }

    /// Gives the spare slab's block back. False: there is none, or what surrounds it was overwritten.
    #[inline(never)]
    pub(crate) fn close_spare(&mut self, blocks: &mut Blocks<G>) -> bool {
        let slab = self.spare;
        // SAFETY: an empty slab is a used block that is nobody's (S6).
        unsafe {
            if self.open == 0 || !self.is_empty(slab) {
                return false;
            }
            let descriptor = self.descriptor(slab);
            let granule = self.begin(slab);
            let start = granule - Self::BIAS;
            let len = Self::block_len(start, blocks);
            if !blocks.free_merging(start, len, blocks.map.window(start)) {
                return false;
            }
            self.unlink(slab);
            (*descriptor).class = Class::NONE;
            *self.begin_of(granule) = 0;
            self.spare = 0;
            self.open -= 1;
            self.granules -= len;
        }
        true
    }

    /// The length of the block at `start` that is a slab: a granule more than a slab's, if it would have been left alone.
    ///
    /// # Safety
    /// A slab begins there.
    #[inline(always)]
    pub(crate) unsafe fn block_len(start: usize, blocks: &Blocks<G>) -> usize {
        // SAFETY: where the slab ends, a block or the top begins, or a granule later.
        let behind = unsafe { blocks.map.window(start + Self::SLAB_GRANULES) };
        Self::SLAB_GRANULES + !behind.is_marked() as usize
    }

    /// Frees the slot at `ptr` if it is one of the class that serves `size`.
    #[inline(always)]
    pub(crate) fn free(&mut self, ptr: NonNull<u8>, size: usize) -> Freed {
        match self.slot_of(ptr, size) {
            // SAFETY: the slot is one of the record's class.
            Some((slot, record)) => unsafe { self.free_slot(slot, record) },
            None => Freed::NotOfClass,
        }
    }

    /// The used slot at `ptr`, if it is one of the class that serves `size`.
    #[inline(always)]
    pub(crate) fn used_slot_of(&self, ptr: NonNull<u8>, size: usize) -> Option<Slot> {
        let (slot, _) = self.slot_of(ptr, size)?;
        // SAFETY: the slot's slab is one.
        let is_free = unsafe { Descriptor::is_free(self.descriptor(slot.slab), slot.index) };
        (!is_free).then_some(slot)
    }

    /// The slot at `ptr`, used or free, if it is one of the class that serves `size`, and the class's record.
    #[inline(always)]
    fn slot_of(&self, ptr: NonNull<u8>, size: usize) -> Option<(Slot, *mut Record)> {
        let granule = self.granule_at(ptr);
        if granule >> Self::SEGMENT_LOG2 >= self.segments {
            return None;
        }
        // SAFETY: the granule lies in a segment; what begins there is a slab or nothing, class 0's head (S1).
        unsafe {
            let begin = self.nearest(granule);
            let slab = Self::slab_at(begin);
            let class = Self::class_of(size);
            let record = self.record(class);
            let index = Self::index(record, (granule as u32).wrapping_sub(begin));
            let descriptor = self.descriptor(slab);
            let is_slot = (*descriptor).class == class && index < (*record).slots as usize;
            is_slot.then_some((Slot { slab, index }, record))
        }
    }

    /// # Safety
    /// The slot is one of the record's class.
    #[inline(always)]
    unsafe fn free_slot(&mut self, slot: Slot, record: *mut Record) -> Freed {
        // SAFETY: as promised by the caller.
        unsafe {
            let word = Descriptor::word(self.descriptor(slot.slab), slot.index / WORD_BITS);
            let before = word.read_unaligned();
            let now = before | 1usize.wrapping_shl(slot.index as u32);
            if now == before {
                return Freed::AlreadyFree;
            }
            word.write_unaligned(now);
            (*record).live = (*record).live.wrapping_sub(1);
            if before == 0 || now == *(*record).all_free.get_unchecked(slot.index / WORD_BITS) {
                return Freed::WordChanged(slot);
            }
        }
        Freed::Done
    }

    /// The slot's word of free bits had no free slot before, or has no used one now: a slab that was full goes into its list, one
    /// that is empty becomes the spare. Always true.
    #[inline(never)]
    pub(crate) fn word_changed(&mut self, slot: Slot, blocks: &mut Blocks<G>) -> bool {
        // SAFETY: the slot's slab is one.
        unsafe {
            let descriptor = self.descriptor(slot.slab);
            let word = Descriptor::word(descriptor, slot.index / WORD_BITS).read_unaligned();
            if word & (word - 1) == 0 {
                let other =
                    Descriptor::word(descriptor, (slot.index / WORD_BITS) ^ 1).read_unaligned();
                let record = self.record((*descriptor).class);
                if other == 0 && (*self.descriptor((*record).head)).next != slot.slab {
                    self.link(slot.slab, record);
                }
            } else if self.is_empty(slot.slab) && self.spare != slot.slab {
                self.close_spare(blocks);
                self.spare = slot.slab;
            }
        }
        true
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
        // SAFETY: as in `free`.
        unsafe {
            let begin = self.nearest(granule);
            let distance = granule.wrapping_sub(begin as usize);
            if distance >= Self::SLAB_GRANULES {
                return Ok(None);
            }
            let slab = Self::slab_at(begin);
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
            Ok(Some(Slot { slab, index }))
        }
    }

    /// Frees a used slot that was found by [`slot_at`](Self::slot_at).
    #[inline(never)]
    pub(crate) fn free_found(&mut self, slot: Slot, blocks: &mut Blocks<G>) {
        // SAFETY: it is a slot of its slab.
        let freed = unsafe {
            let record = self.record((*self.descriptor(slot.slab)).class);
            self.free_slot(slot, record)
        };
        debug_assert!(!matches!(freed, Freed::AlreadyFree));
        if let Freed::WordChanged(slot) = freed {
            self.word_changed(slot, blocks);
        }
    }

    /// The slot's length in bytes.
    pub(crate) fn slot_bytes(&self, slot: Slot) -> usize {
        // SAFETY: the slot's slab is one.
        unsafe { (*self.record((*self.descriptor(slot.slab)).class)).slot_bytes }
    }

    /// Whether the slot is of the class that serves `size`.
    pub(crate) fn is_for(&self, slot: Slot, size: usize) -> bool {
        // SAFETY: the slot's slab is one.
        size < self.request_bytes_end
            && unsafe { (*self.descriptor(slot.slab)).class } == Self::class_of(size)
    }

    /// Leaves a request for fewer bytes in a slot that is larger than it needs. False: it needs a larger one.
    pub(crate) fn keep_for(&mut self, slot: Slot, size: usize) -> bool {
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

    /// Slabs, the spare included.
    pub(crate) fn open_slabs(&self) -> usize {
        self.open
    }

    /// Whether there are slabs at all.
    pub(crate) fn are_in_use(&self) -> bool {
        self.request_bytes_end != 0
    }

    /// Forgets all slabs, of a block tier that was reset.
    pub(crate) fn reset(&mut self, blocks: &Blocks<G>) {
        if let Some(begins) = NonNull::new(self.begins) {
            let granules = (self.segments - 1) * Self::SLAB_GRANULES - Self::BIAS;
            // SAFETY: the words of the segments, and of the heads, are the slabs' alone; no slab begins beyond what was used.
            unsafe {
                begins.write_bytes(0, Self::segments(blocks.top_peak()).min(self.segments) + 1);
                let mut fresh = Self::new(begins, blocks, granules);
                fresh.segments = self.segments;
                *self = fresh;
            }
        }
    }

    /// Used slots, and the bytes of slabs that are in none.
    pub(crate) fn used(&self) -> (usize, usize) {
        let mut used_slots = 0;
        let mut free_bytes = self.granules * G::GRANULE_BYTES;
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

    /// How long the free block would be that the spare slab would become, in granules; 0 without a spare.
    pub(crate) fn spare_len_merged(&self, blocks: &Blocks<G>) -> usize {
        // SAFETY: an empty slab is a used block.
        unsafe {
            if self.open == 0 || !self.is_empty(self.spare) {
                return 0;
            }
            let start = self.begin(self.spare) - Self::BIAS;
            blocks.merged_len(start, Self::block_len(start, blocks))
        }
    }
}

//! Slabs: small requests in a few instructions, from blocks cut into equal slots.
//!
//! A slab is one block of the block tier, [`SLAB_BYTES`] long, wherever such a block was free. Its slots all have the
//! size of its class, from the slab's first byte on: nothing of the slab's state lies inside it.
//!
//! **Finding a slab from a pointer.** The pool is seen as segments of `SLAB_BYTES`. As slabs are exactly so long and
//! never overlap, at most one slab *starts* in a segment, and its descriptor is that segment's entry in the directory.
//! A pointer therefore lies in the slab that starts in its own segment, if it lies behind that start, or else in the
//! slab that starts in the segment before: one comparison, no search.
//!
//! ```text
//!   segment        7              8              9
//!   pool     ...|....[slab of 7   |  ][slab of 8 |  ]..........|...
//!   descriptor       start, class,    start, class,  none
//!                    64 free bits     64 free bits
//! ```
//!
//! **Where the rest lives.** In the descriptor: a slab costs 24 bytes of directory per segment and no byte that a user of
//! the pool may reach. To the block tier it is a used block like any other. Only slots of 16 and 24 bytes are so many
//! that one word can't say which are free: the second word takes the place of the slab's size in the pair of the map that
//! a slab covers whatever its start (see `map.rs`), and looks like one.
//!
//! A free bit is set where a slot is free. Allocating takes the lowest of the class's first slab that has one;
//! freeing sets it, and a bit that is set already is a double free.
//! A pointer that is no multiple of the slot size from the slab's start is an interior pointer: multiplying by
//! 2^16 / slot size, rounded up, gives the slot's number in the upper half and, in the lower half, less than that factor
//! for a multiple only (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019, section 3.2).

use core::hint::select_unpredictable;

use crate::blocks::{BlockTier, Run};
use crate::check::CheckError;
use crate::geometry::Geometry;
use crate::map::{Map, PAIR_GRANULES};
use crate::walk::BlockState;

/// A slab's length in granules: two pairs' worth, so that it covers one pair whatever its start.
pub(crate) const SLAB_GRANULES: usize = 2 * PAIR_GRANULES;
const SEGMENT_LOG2: u32 = SLAB_GRANULES.ilog2();

/// A slab's length in bytes, with the only geometry that has slabs.
pub(crate) const SLAB_BYTES: usize = SLAB_GRANULES * GRANULE_BYTES;
const GRANULE_BYTES: usize = 16;

/// The largest request served from slabs, in bytes.
pub(crate) const LIMIT_BYTES: usize = 512;

/// How many slots a word of free bits stands for, and the second word, of which the map needs two bits.
const WORD_SLOTS: u32 = 64;
const SECOND_WORD_SLOTS: u32 = 62;

/// The classes up to this one need a second word.
const LAST_LONG: u8 = 2;

/// Slabs count in units of 8 bytes: every slot is so aligned. Pools with slabs have at most 2^32 units.
const UNIT_BYTES: usize = 8;
const UNIT_LOG2: u32 = UNIT_BYTES.ilog2();
const GRANULE_UNITS: usize = GRANULE_BYTES / UNIT_BYTES;
const SLAB_UNITS: usize = SLAB_BYTES / UNIT_BYTES;

/// What alignment every slot has, in bytes.
pub(crate) const SLOT_ALIGN: usize = UNIT_BYTES;

/// The slot sizes. Up to 128 every multiple of 8; above, the largest multiple of 8 of which so many fit a slab.
static SLOT_BYTES: [u16; CLASSES] = [
    0, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 168, 184, 200, 224,
    256, 288, 336, 400, 512,
];
pub(crate) const CLASSES: usize = 26;

/// The class of segments without a slab: it has no slots, so no pointer is in one. It is 0, so that a directory of zeroes
/// has no slabs.
pub(crate) const NO_CLASS: u8 = 0;

/// The class of the one empty slab that is kept. It has no slots either.
const SPARE: u8 = CLASSES as u8;

/// What the hot paths need to know of a class.
#[derive(Clone, Copy)]
#[repr(C)]
struct Class {
    /// 2^16 / slot size in units, rounded up.
    reciprocal: u16,
    /// How many slots a slab has in its first word.
    first_slots: u8,
    /// And in all.
    slots: u8,
}

/// The free bits of an empty slab: its first word, and its second.
static ALL_FREE: [u64; CLASSES] = all_free(0);
static ALL_FREE_SECOND: [u64; CLASSES] = all_free(WORD_SLOTS as u8);

const fn all_free(before: u8) -> [u64; CLASSES] {
    let mut table = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        let slots = CLASS_TABLE[class].slots.saturating_sub(before);
        table[class] = match slots {
            0 => 0,
            64.. => !0,
            1..64 => !0 >> (64 - slots),
        };
        assert!(before == 0 || (slots > 0) == (class <= LAST_LONG as usize));
        class += 1;
    }
    table
}

static CLASS_TABLE: [Class; CLASSES + 1] = class_table();

const fn class_table() -> [Class; CLASSES + 1] {
    let none = Class {
        reciprocal: 0,
        first_slots: 0,
        slots: 0,
    };
    let mut table = [none; CLASSES + 1];
    let mut index = 1;
    while index < CLASSES {
        let slot_bytes = SLOT_BYTES[index];
        let slots = (SLAB_BYTES / slot_bytes as usize) as u8;
        let most = (WORD_SLOTS + SECOND_WORD_SLOTS) as u8;
        let slots = if slots < most { slots } else { most };
        table[index] = Class {
            reciprocal: (1u32 << 16).div_ceil(slot_bytes as u32 / UNIT_BYTES as u32) as u16,
            first_slots: if slots < WORD_SLOTS as u8 {
                slots
            } else {
                WORD_SLOTS as u8
            },
            slots,
        };
        index += 1;
    }
    table
}

/// The class of a size in units of 8 bytes, at an alignment of 8; and at one of 16, where `NO_CLASS` is none.
static CLASS_OF_SIZE: [u8; LIMIT_BYTES / 8 + 1] = class_of_size(8);
static CLASS_OF_SIZE_16: [u8; LIMIT_BYTES / 8 + 1] = class_of_size(16);

const fn class_of_size(align: u16) -> [u8; LIMIT_BYTES / 8 + 1] {
    let mut classes = [NO_CLASS; LIMIT_BYTES / 8 + 1];
    let mut unit = 0;
    while unit < classes.len() {
        let mut class = 1;
        while SLOT_BYTES[class] < unit as u16 * 8 {
            class += 1;
        }
        if SLOT_BYTES[class].is_multiple_of(align) {
            classes[unit] = class as u8;
        } else if SLOT_BYTES[class] <= 128 {
            classes[unit] = class as u8 + 1;
        }
        unit += 1;
    }
    classes
}

/// What the directory holds for the slab that starts in a segment.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Bit n: slot n is free.
    free: u64,
    /// The unit that the slab starts at. Without a slab: `u32::MAX` if the slab before spills into this segment, else 0.
    start: u32,
    /// Of its class: see there.
    reciprocal: u16,
    first_slots: u8,
    /// 0 without a slab.
    class: u8,
    /// Its neighbours on the list of its class, a ring. Of no meaning while it has no free slot and isn't the first.
    next: Segment,
    prev: Segment,
}

impl Descriptor {
    const NONE: Self = Self {
        free: 0,
        start: 0,
        reciprocal: 0,
        first_slots: 0,
        class: NO_CLASS,
        next: 0,
        prev: 0,
    };

    /// Without a slab of its own, but with the end of the one before.
    const SPILL: Self = Self {
        start: u32::MAX,
        ..Self::NONE
    };
}

/// What stands before the first segment of a heap without slabs.
static NONE: Descriptor = Descriptor::NONE;

/// A segment's number.
type Segment = u32;

/// Units are numbered in 32 bits: pools with slabs have at most 32 GiB.
pub(crate) const GRANULES_MAX: usize = 1 << (u32::BITS - GRANULE_UNITS.ilog2());

/// A slot of a live slab, free or used.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) slab: Slab,
    pub(crate) index: u32,
}

impl Slot {
    #[inline(always)]
    pub(crate) fn class(self) -> u8 {
        self.slab.class()
    }

    #[inline(always)]
    pub(crate) fn is_in_second_word(self) -> bool {
        self.index >= WORD_SLOTS
    }
}

/// A live slab, by its descriptor in the directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slab(*mut Descriptor);

impl Slab {
    pub(crate) fn is_spare(self) -> bool {
        self.class() == SPARE
    }

    #[inline(always)]
    pub(crate) fn class(self) -> u8 {
        // SAFETY: as above.
        unsafe { (*self.0).class }
    }

    #[inline(always)]
    fn first_slots(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).first_slots }.into()
    }

    #[inline(always)]
    fn reciprocal(self) -> u16 {
        // SAFETY: as above.
        unsafe { (*self.0).reciprocal }
    }

    /// In units.
    #[inline(always)]
    fn start(self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.0).start }
    }

    /// Whether it is a slab and ends behind the segment that it starts in.
    #[inline(always)]
    fn spills(self) -> bool {
        self.class() != NO_CLASS && !(self.start() as usize).is_multiple_of(SLAB_UNITS)
    }

    /// As the block tier sees it.
    pub(crate) fn block(self) -> Run {
        let start = self.start() as usize / GRANULE_UNITS;
        Run {
            start,
            end: start + SLAB_GRANULES,
        }
    }

    #[inline(always)]
    fn free(self) -> u64 {
        // SAFETY: as above.
        unsafe { (*self.0).free }
    }

    #[inline(always)]
    fn set_free(self, free: u64) {
        // SAFETY: as above.
        unsafe { (*self.0).free = free }
    }

    /// The pair of the map that the slab covers.
    #[inline(always)]
    fn pair_index(self) -> usize {
        self.start() as usize / (GRANULE_UNITS * PAIR_GRANULES) + 1
    }

    /// Bit n: slot 64 + n is free. Only of a slab whose class has so many.
    #[inline(always)]
    fn free_second(self, map: Map) -> u64 {
        // SAFETY: the slab covers that pair of the map.
        unsafe { map.size_at(self.pair_index()) }
    }

    #[inline(always)]
    fn set_free_second(self, map: Map, free: u64) {
        // SAFETY: as above.
        unsafe { map.set_size_at(self.pair_index(), free) }
    }

    /// Both words.
    #[inline(always)]
    fn words(self, map: Map) -> [u64; 2] {
        let is_long = self.class().wrapping_sub(1) < LAST_LONG;
        [self.free(), if is_long { self.free_second(map) } else { 0 }]
    }

    #[inline(always)]
    fn next(self) -> Segment {
        // SAFETY: as above.
        unsafe { (*self.0).next }
    }

    #[inline(always)]
    fn prev(self) -> Segment {
        // SAFETY: as above.
        unsafe { (*self.0).prev }
    }

    #[inline(always)]
    fn set_next(self, next: Segment) {
        // SAFETY: as above.
        unsafe { (*self.0).next = next }
    }

    #[inline(always)]
    fn set_prev(self, prev: Segment) {
        // SAFETY: as above.
        unsafe { (*self.0).prev = prev }
    }

    /// The slot that starts at `unit`, if one of this slab does.
    #[inline(always)]
    fn slot(self, unit: usize) -> Option<Slot> {
        let slots = CLASS_TABLE.get(self.class() as usize)?.slots;
        let (index, is_multiple) = self.divide(unit);
        (is_multiple && index < slots.into()).then_some(Slot { slab: self, index })
    }

    /// How many whole slots lie between the slab's start and `unit`, and whether nothing is left over. `unit` is at most
    /// two segments behind it.
    #[inline(always)]
    fn divide(self, unit: usize) -> (u32, bool) {
        let reciprocal = self.reciprocal();
        let from_start = (unit as u32).wrapping_sub(self.start());
        let quotient = from_start.wrapping_mul(reciprocal.into());
        (quotient >> 16, (quotient as u16) < reciprocal)
    }

    /// Where the slot of this number starts, in bytes from the pool's start.
    #[inline(always)]
    fn slot_offset(self, index: u32, class: u8) -> usize {
        self.start() as usize * UNIT_BYTES + index as usize * Slabs::slot_bytes(class)
    }
}

/// What giving back a slot came to.
#[derive(Clone, Copy)]
pub(crate) enum GivenBack {
    /// Nothing: there is no such slot.
    NoSlot,
    /// Nothing, so far: it is one of the slab's second word, which `give_back_second` serves.
    NotYet(Slot),
    /// Nothing: it was free.
    AlreadyFree,
    /// The slab has free slots and used ones, as before.
    One,
    /// The word of the slab had no free slot before.
    FirstOfWord(Slab),
    /// All slots of one word of the slab are free.
    WholeWord(Slab),
}

/// What a check has counted over all slabs.
#[derive(Default)]
pub(crate) struct Live {
    slots: [u32; CLASSES],
    slabs: usize,
    /// Those with a free slot.
    listed: usize,
}

/// The slabs of one pool.
pub(crate) struct Slabs {
    /// The descriptor of segment 0; one that is `NONE` precedes it.
    directory: *mut Descriptor,
    /// The one that precedes it, of no slab: the directory as seen from the segment behind.
    before: *mut Descriptor,
    segments: usize,
    /// The largest request that slabs serve, in bytes: `LIMIT_BYTES`, or 0 in a heap without slabs.
    limit_bytes: usize,
    /// The empty slab that is kept, so that a class whose only slot comes and goes doesn't open and close a slab each time.
    spare: Slab,
    /// How many slabs there are, the spare one included.
    open: usize,
    /// The list of each class: its slabs with a free slot, of which the first may have become full since.
    heads: [Slab; CLASSES],
    /// Used slots of each class.
    live: [u32; CLASSES],
}

impl Slabs {
    /// Blocks only.
    pub(crate) fn without() -> Self {
        // Only the entry before the first is read, and none is written.
        Self::empty((&raw const NONE).wrapping_add(1).cast_mut(), 0)
    }

    /// No slabs yet.
    fn empty(directory: *mut Descriptor, segments: usize) -> Self {
        let before = directory.wrapping_sub(1);
        let none = Slab(before);
        Self {
            directory,
            before,
            segments,
            limit_bytes: if segments > 0 { LIMIT_BYTES } else { 0 },
            spare: none,
            open: 0,
            heads: [none; CLASSES],
            live: [0; CLASSES],
        }
    }

    /// Bytes of directory for a pool of `granules`.
    pub(crate) const fn directory_bytes(granules: usize) -> usize {
        (granules.div_ceil(SLAB_GRANULES) + 1) * size_of::<Descriptor>()
    }

    /// An empty directory.
    ///
    /// # Safety
    /// `directory` points to `directory_bytes(granules)` writable bytes, aligned, that nothing
    /// else touches.
    pub(crate) unsafe fn format(directory: *mut Descriptor, granules: usize) -> Self {
        for index in 0..granules.div_ceil(SLAB_GRANULES) + 1 {
            // SAFETY: the directory has one descriptor more than there are segments.
            unsafe { directory.add(index).write(Descriptor::NONE) }
        }
        // SAFETY: as promised by the caller, and without slabs all of it is zero.
        unsafe { Self::of_zeroes(directory, granules) }
    }

    /// As `format`, and all those bytes are zero: so is a directory without slabs.
    ///
    /// # Safety
    /// As for `format`.
    pub(crate) unsafe fn of_zeroes(directory: *mut Descriptor, granules: usize) -> Self {
        // SAFETY: the directory has one descriptor more than there are segments.
        Self::empty(
            unsafe { directory.add(1) },
            granules.div_ceil(SLAB_GRANULES),
        )
    }

    /// Where the directory lies, with the descriptor that precedes the first segment's.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn directory(&self) -> *const Descriptor {
        self.directory.wrapping_sub(1)
    }

    /// Forgets all slabs, none of which starts at `top` or behind it.
    pub(crate) fn reformat(&mut self, top: usize) {
        for segment in 0..top.div_ceil(SLAB_GRANULES).min(self.segments) {
            // SAFETY: the segment exists.
            unsafe { self.directory.add(segment).write(Descriptor::NONE) }
        }
        *self = Self::empty(self.directory, self.segments);
    }

    /// The class for a request of 1 to `LIMIT_BYTES` bytes at an alignment of at most `SLOT_ALIGN`.
    #[inline(always)]
    pub(crate) fn class_for(size_bytes: usize) -> u8 {
        // The sum can't overflow, and is one instruction where `div_ceil` is four.
        let unit = (size_bytes + 7) >> 3;
        debug_assert!(unit < CLASS_OF_SIZE.len());
        // SAFETY: the size is at most LIMIT_BYTES.
        unsafe { *CLASS_OF_SIZE.get_unchecked(unit) }
    }

    #[inline(always)]
    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether this pool has slabs at all.
    pub(crate) fn are_in_use(&self) -> bool {
        self.segments > 0
    }

    /// The class for a request of 1 to `LIMIT_BYTES` bytes at C's alignment, twice the width of a pointer, if slots of
    /// some class lie so.
    #[inline(always)]
    pub(crate) fn class_for_c(size_bytes: usize) -> Option<u8> {
        if 2 * size_of::<usize>() <= SLOT_ALIGN {
            return Some(Self::class_for(size_bytes));
        }
        let unit = (size_bytes + 7) >> 3;
        debug_assert!(unit < CLASS_OF_SIZE_16.len());
        // SAFETY: the size is at most LIMIT_BYTES.
        let class = unsafe { *CLASS_OF_SIZE_16.get_unchecked(unit) };
        (class != NO_CLASS).then_some(class)
    }

    /// The class for such a request at any alignment, if slots of some class lie so.
    #[inline(always)]
    pub(crate) fn class_for_aligned(size_bytes: usize, align: usize) -> Option<u8> {
        let class = match align {
            ..=SLOT_ALIGN => Self::class_for(size_bytes),
            GRANULE_BYTES => CLASS_OF_SIZE_16.get(size_bytes.div_ceil(8)).copied()?,
            _ => return None,
        };
        (class != NO_CLASS).then_some(class)
    }

    #[inline(always)]
    fn class(class: u8) -> &'static Class {
        debug_assert!(class <= SPARE);
        // SAFETY: classes come from the tables above.
        unsafe { CLASS_TABLE.get_unchecked(class as usize) }
    }

    /// The first word of an empty slab.
    #[inline(always)]
    fn all_free(class: u8) -> u64 {
        debug_assert!(class < SPARE);
        // SAFETY: classes come from the tables above.
        unsafe { *ALL_FREE.get_unchecked(class as usize) }
    }

    /// And its second.
    #[inline(always)]
    fn all_free_second(class: u8) -> u64 {
        debug_assert!(class < SPARE);
        // SAFETY: as above.
        unsafe { *ALL_FREE_SECOND.get_unchecked(class as usize) }
    }

    #[inline(always)]
    pub(crate) fn slot_bytes(class: u8) -> usize {
        debug_assert!(class != NO_CLASS && (class as usize) < CLASSES);
        // SAFETY: asked only for classes that slabs have.
        unsafe { *SLOT_BYTES.get_unchecked(class as usize) as usize }
    }

    /// How many slots a slab of this class has.
    pub(crate) fn slots(class: u8) -> usize {
        Self::class(class).slots.into()
    }

    /// The slab that starts in `segment`, if there is such a segment.
    #[inline(always)]
    fn slab(&self, segment: Segment) -> Option<Slab> {
        // SAFETY: the directory has so many segments.
        ((segment as usize) < self.segments)
            .then(|| Slab(unsafe { self.directory.add(segment as usize) }))
    }

    #[inline(always)]
    fn segment(&self, slab: Slab) -> Segment {
        // SAFETY: both are of the directory.
        unsafe { slab.0.offset_from(self.directory) as Segment }
    }

    /// What stands for no slab: the entry before the first, which has no slots.
    #[inline(always)]
    fn none(&self) -> Slab {
        Slab(self.before)
    }

    #[inline(always)]
    fn head(&self, class: u8) -> Slab {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: classes that slabs have are below CLASSES.
        unsafe { *self.heads.get_unchecked(class as usize) }
    }

    #[inline(always)]
    fn set_head(&mut self, class: u8, slab: Slab) {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: as above.
        unsafe { *self.heads.get_unchecked_mut(class as usize) = slab }
    }

    #[inline(always)]
    fn count(&mut self, class: u8, change: i32) {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: as above.
        let live = unsafe { self.live.get_unchecked_mut(class as usize) };
        *live = live.wrapping_add_signed(change);
    }

    /// Takes a slot from the first word of the class's first slab: its offset in the pool, in bytes. `None`: that word has
    /// no free slot.
    #[inline(always)]
    pub(crate) fn take_first(&mut self, class: u8) -> Option<usize> {
        self.take_from(self.head(class), class)
    }

    #[inline(always)]
    fn take_from(&mut self, slab: Slab, class: u8) -> Option<usize> {
        let free = slab.free();
        if free == 0 {
            return None;
        }
        slab.set_free(free & (free - 1));
        self.count(class, 1);
        Some(slab.slot_offset(free.trailing_zeros(), class))
    }

    #[inline(always)]
    fn take_second_from(&mut self, slab: Slab, class: u8, map: Map) -> Option<usize> {
        if class > LAST_LONG {
            return None;
        }
        let free = slab.free_second(map);
        if free == 0 {
            return None;
        }
        slab.set_free_second(map, free & (free - 1));
        self.count(class, 1);
        Some(slab.slot_offset(WORD_SLOTS + free.trailing_zeros(), class))
    }

    /// Takes a slot of the class when the first word of its first slab has none: from that slab's second word, else from
    /// the slab that follows, for which the full one leaves the list, else from a new one.
    #[inline(always)]
    pub(crate) fn take_any<G: Geometry>(
        &mut self,
        class: u8,
        blocks: &mut BlockTier<G>,
    ) -> Option<usize> {
        let first = self.head(class);
        if first != self.none() {
            if let Some(offset) = self.take_second_from(first, class, blocks.map) {
                return Some(offset);
            }
            self.unlink(first, class);
            // Any slab on the list but the first has a free slot.
            let first = self.head(class);
            if first != self.none() {
                return match self.take_from(first, class) {
                    None => self.take_second_from(first, class, blocks.map),
                    offset => offset,
                };
            }
        }
        self.open(class, blocks)
    }

    /// Makes a slab of a new block, its first slot taken: the slot's offset in the pool, in bytes.
    /// O(1): no list is threaded through it.
    #[inline(never)]
    fn open<G: Geometry>(&mut self, class: u8, blocks: &mut BlockTier<G>) -> Option<usize> {
        if class == NO_CLASS {
            return None;
        }
        let slab = if self.is_sound(self.spare) {
            let none = self.none();
            core::mem::replace(&mut self.spare, none)
        } else {
            self.new_slab(blocks)?
        };
        let Class {
            reciprocal,
            first_slots,
            ..
        } = *Self::class(class);
        // SAFETY: the descriptor is that of a slab without slots.
        unsafe {
            let descriptor = &mut *slab.0;
            descriptor.free = Self::all_free(class) & !1;
            descriptor.reciprocal = reciprocal;
            descriptor.first_slots = first_slots;
            descriptor.class = class;
        }
        if class <= LAST_LONG {
            slab.set_free_second(blocks.map, Self::all_free_second(class));
        }
        self.link(slab, class);
        self.count(class, 1);
        Some(slab.start() as usize * UNIT_BYTES)
    }

    /// Makes a slab without slots of a new block.
    #[inline(never)]
    fn new_slab<G: Geometry>(&mut self, blocks: &mut BlockTier<G>) -> Option<Slab> {
        if self.segments == 0 {
            return None;
        }
        let start = blocks.take_by_call(SLAB_GRANULES).ok()?;
        // SAFETY: the block lies in the pool, so its segment exists; no other slab starts there.
        let slab = Slab(unsafe { self.directory.add(start >> SEGMENT_LOG2) });
        let start = (start * GRANULE_UNITS) as u32;
        // SAFETY: as above.
        unsafe {
            *slab.0 = Descriptor {
                start,
                class: SPARE,
                ..Descriptor::NONE
            }
        }
        self.note_spill(slab, Descriptor::SPILL);
        self.open = self.open.wrapping_add(1);
        Some(slab)
    }

    /// The only slab that may hold `unit`, the `unit`th unit of the pool, if there is one.
    #[inline(always)]
    fn nearest(&self, unit: usize) -> Option<Slab> {
        let segment = unit / SLAB_UNITS;
        if segment >= self.segments {
            return None;
        }
        // SAFETY: the segment exists, and a descriptor precedes the first.
        unsafe {
            let starts_behind = (unit as u32) < (*self.directory.add(segment)).start;
            let directory = select_unpredictable(starts_behind, self.before, self.directory);
            Some(Slab(directory.add(segment)))
        }
    }

    /// The unit that starts at `offset_bytes`; no unit of a pool where none does.
    #[inline(always)]
    fn unit_at(offset_bytes: usize) -> usize {
        offset_bytes.rotate_right(UNIT_LOG2)
    }

    /// The slot that starts `offset_bytes` from the pool's start.
    #[inline(always)]
    pub(crate) fn slot_at(&self, offset_bytes: usize) -> Option<Slot> {
        let unit = Self::unit_at(offset_bytes);
        let slab = self.nearest(unit)?;
        slab.slot(unit)
    }

    /// Whether a slab starts at `granule`: to the block tier it looks like any used block.
    #[inline(always)]
    pub(crate) fn starts_at(&self, granule: usize) -> bool {
        self.slab((granule >> SEGMENT_LOG2) as Segment)
            .is_some_and(|slab| {
                slab.start() as usize == granule * GRANULE_UNITS && slab.class() != NO_CLASS
            })
    }

    /// Where the block that starts at `granule` ends, if it is a slab that keeps free bits where its size was.
    pub(crate) fn end_at(&self, granule: usize) -> Option<usize> {
        let slab = self.slab_at(granule)?;
        (slab.class() <= LAST_LONG).then(|| slab.block().end)
    }

    /// The slab that starts at `granule`.
    pub(crate) fn slab_at(&self, granule: usize) -> Option<Slab> {
        self.starts_at(granule)
            .then(|| self.slab((granule >> SEGMENT_LOG2) as Segment))?
    }

    /// The slab that `offset_bytes` from the pool's start lies in.
    pub(crate) fn slab_around(&self, offset_bytes: usize) -> Option<Slab> {
        let unit = offset_bytes / UNIT_BYTES;
        let slab = self.nearest(unit)?;
        let from_start = (unit as u32).wrapping_sub(slab.start()) as usize;
        (from_start < SLAB_UNITS && slab.class() != NO_CLASS).then_some(slab)
    }

    /// The words of a slab in a pool where anything may have been overwritten.
    fn words_found<G: Geometry>(&self, slab: Slab, blocks: &BlockTier<G>) -> [u64; 2] {
        if self.is_sound(slab) && slab.block().end <= blocks.top {
            slab.words(blocks.map)
        } else {
            [slab.free(), 0]
        }
    }

    /// What a walk over the pool says of a slab.
    pub(crate) fn state<G: Geometry>(&self, slab: Slab, blocks: &BlockTier<G>) -> BlockState {
        let words = self.words_found(slab, blocks);
        let free_slots = words.map(u64::count_ones).iter().sum::<u32>();
        let slots = CLASS_TABLE
            .get(slab.class() as usize)
            .map_or(0, |class| u32::from(class.slots));
        BlockState::Slab {
            // The spare one is all one slot.
            slot_bytes: SLOT_BYTES
                .get(slab.class() as usize)
                .map_or(SLAB_BYTES, |&bytes| bytes as usize),
            used_slots: slots.saturating_sub(free_slots) as usize,
        }
    }

    /// Whether the slot is used.
    pub(crate) fn is_used<G: Geometry>(&self, slot: Slot, blocks: &BlockTier<G>) -> bool {
        let word = self.words_found(slot.slab, blocks)[usize::from(slot.is_in_second_word())];
        word >> (slot.index % WORD_SLOTS) & 1 == 0
    }

    /// Gives back the slot of this class that starts `offset_bytes` from the pool's start, if one does.
    #[inline(always)]
    pub(crate) fn give_back_at(&mut self, offset_bytes: usize, class: u8) -> GivenBack {
        let unit = Self::unit_at(offset_bytes);
        let Some(slab) = self.nearest(unit) else {
            return GivenBack::NoSlot;
        };
        if slab.class() != class {
            return GivenBack::NoSlot;
        }
        let (index, is_multiple) = slab.divide(unit);
        if !is_multiple {
            return GivenBack::NoSlot;
        }
        let slot = Slot { slab, index };
        if index < slab.first_slots() {
            self.give_back_first(slot, class)
        } else if index < Self::class(class).slots.into() {
            GivenBack::NotYet(slot)
        } else {
            GivenBack::NoSlot
        }
    }

    /// Gives back a slot.
    #[inline(always)]
    pub(crate) fn give_back_slot(&mut self, slot: Slot, class: u8, map: Map) -> GivenBack {
        if slot.is_in_second_word() {
            self.give_back_second(slot, class, map)
        } else {
            self.give_back_first(slot, class)
        }
    }

    #[inline(always)]
    fn give_back_first(&mut self, slot: Slot, class: u8) -> GivenBack {
        let Slot { slab, index } = slot;
        let free = slab.free();
        let now = free | 1 << index;
        if now == free {
            return GivenBack::AlreadyFree;
        }
        slab.set_free(now);
        self.count(class, -1);
        if free == 0 {
            GivenBack::FirstOfWord(slab)
        } else if now == Self::all_free(class) {
            GivenBack::WholeWord(slab)
        } else {
            GivenBack::One
        }
    }

    /// Gives back a slot of a slab's second word.
    #[inline(always)]
    pub(crate) fn give_back_second(&mut self, slot: Slot, class: u8, map: Map) -> GivenBack {
        let Slot { slab, index } = slot;
        let free = slab.free_second(map);
        let now = free | 1 << (index % WORD_SLOTS);
        if now == free {
            return GivenBack::AlreadyFree;
        }
        slab.set_free_second(map, now);
        self.count(class, -1);
        if free == 0 {
            GivenBack::FirstOfWord(slab)
        } else if now == Self::all_free_second(class) {
            GivenBack::WholeWord(slab)
        } else {
            GivenBack::One
        }
    }

    /// The first slot of a word of the slab is free again: if the other word has none either, the slab goes on the list of
    /// its class, if it ever left.
    #[inline(always)]
    pub(crate) fn first_of_word(&mut self, slab: Slab, class: u8, map: Map) {
        let was_full = class > LAST_LONG || slab.free() == 0 || slab.free_second(map) == 0;
        if was_full && self.head(class) != slab {
            self.link(slab, class);
        }
    }

    /// Writes what the segment behind a slab that has none of its own holds, if the slab spills into it.
    #[inline(always)]
    fn note_spill(&self, slab: Slab, descriptor: Descriptor) {
        let behind = slab.0.wrapping_add(1);
        // SAFETY: a slab that spills over the end of its segment ends in the next, which the pool therefore has.
        unsafe {
            if slab.spills() && (*behind).class == NO_CLASS {
                *behind = descriptor;
            }
        }
    }

    /// All slots of a word of the slab are free: if all of the other are too, the slab becomes the spare one, and the one
    /// before it goes back to the block tier. If that can't be, since a link beside it was overwritten, the slab stays as
    /// it is, with all slots free.
    #[inline(always)]
    pub(crate) fn word_free<G: Geometry>(
        &mut self,
        slab: Slab,
        class: u8,
        blocks: &mut BlockTier<G>,
    ) {
        let is_empty =
            slab.words(blocks.map) == [Self::all_free(class), Self::all_free_second(class)];
        if !is_empty || self.spare != self.none() && !self.give_back_spare(blocks) {
            return;
        }
        self.unlink(slab, class);
        slab.set_free_second(blocks.map, SLAB_GRANULES as u64);
        // SAFETY: the descriptor is of the directory.
        unsafe {
            let descriptor = &mut *slab.0;
            descriptor.free = 0;
            descriptor.first_slots = 0;
            descriptor.class = SPARE;
        }
        self.spare = slab;
    }

    /// Gives the spare slab back to the block tier. False: there is none, or a link beside it was found overwritten.
    #[inline(never)]
    pub(crate) fn give_back_spare<G: Geometry>(&mut self, blocks: &mut BlockTier<G>) -> bool {
        let slab = self.spare;
        if !self.is_sound(slab) {
            return false;
        }
        // SAFETY: the slab is a used block of the tier, and nobody's any more.
        if unsafe { blocks.give_back_by_call(slab.block()) }.is_err() {
            return false;
        }
        self.spare = self.none();
        self.note_spill(slab, Descriptor::NONE);
        let before = Slab(slab.0.wrapping_sub(1));
        let left = if before.spills() {
            Descriptor::SPILL
        } else {
            Descriptor::NONE
        };
        // SAFETY: the descriptor is of the directory.
        unsafe { *slab.0 = left }
        self.open = self.open.wrapping_sub(1);
        true
    }

    /// The block of the spare slab.
    pub(crate) fn spare_block(&self) -> Option<Run> {
        self.is_sound(self.spare).then(|| self.spare.block())
    }

    /// Puts a slab at the end of its class's list, which is a ring: the last precedes the first.
    ///
    /// At the end, so that a slab that has just got its first free slot gathers more before its turn
    /// comes: fewer slabs come and go, and the footprint is smaller than with the newest in front.
    #[inline(always)]
    fn link(&mut self, slab: Slab, class: u8) {
        let this = self.segment(slab);
        let first = self.head(class);
        if first == self.none() {
            self.set_head(class, slab);
            slab.set_next(this);
            slab.set_prev(this);
            return;
        }
        // What was overwritten is left alone.
        if let Some(last) = self.slab(first.prev()) {
            slab.set_next(last.next());
            slab.set_prev(first.prev());
            last.set_next(this);
            first.set_prev(this);
        }
    }

    /// Takes a slab out of its class's list.
    #[inline(always)]
    fn unlink(&mut self, slab: Slab, class: u8) {
        // What was overwritten is left alone.
        let (Some(after), Some(before)) = (self.slab(slab.next()), self.slab(slab.prev())) else {
            return;
        };
        after.set_prev(slab.prev());
        before.set_next(slab.next());
        if self.head(class) == slab {
            let next = if after == slab { self.none() } else { after };
            self.set_head(class, next);
        }
    }

    /// Whether the slab is one, and starts in its own segment.
    #[inline(always)]
    fn is_sound(&self, slab: Slab) -> bool {
        slab != self.none()
            && slab.class() != NO_CLASS
            && slab.start() as usize / SLAB_UNITS == self.segment(slab) as usize
    }

    /// The slab that starts in `segment`, if there is such a segment and it is sound.
    fn sound_slab(&self, segment: Segment) -> Option<Slab> {
        self.slab(segment).filter(|&slab| self.is_sound(slab))
    }

    /// Used slots, and the bytes of slabs that aren't in used slots.
    pub(crate) fn used(&self) -> (usize, usize) {
        let mut slots = 0usize;
        let mut bytes = 0usize;
        for (&live, &slot_bytes) in self.live.iter().zip(&SLOT_BYTES) {
            slots = slots.wrapping_add(live as usize);
            bytes = bytes.wrapping_add((live as usize).wrapping_mul(slot_bytes as usize));
        }
        (slots, (self.open * SLAB_BYTES).wrapping_sub(bytes))
    }

    /// The size of the largest free slot of a size that is a multiple of `align`, in bytes, or 0.
    pub(crate) fn largest_free_slot<G: Geometry>(
        &self,
        align: usize,
        blocks: &BlockTier<G>,
    ) -> usize {
        // Behind a full first slab come only such with a free slot.
        let has_free = |head: Slab| {
            self.words_found(head, blocks) != [0; 2]
                || head != self.none() && head.next() != self.segment(head)
        };
        let filled = self
            .heads
            .iter()
            .zip(&SLOT_BYTES)
            .rev()
            .find(|&(&head, &slot)| usize::from(slot).is_multiple_of(align) && has_free(head));
        filled.map_or(0, |(_, &slot_bytes)| slot_bytes as usize)
    }

    /// Checks the descriptor of a slab that the map has shown, and counts its used slots into `live`.
    pub(crate) fn check_slab<G: Geometry>(
        &self,
        slab: Slab,
        blocks: &BlockTier<G>,
        live: &mut Live,
    ) -> Result<(), CheckError> {
        let error = CheckError::Slab {
            offset_bytes: slab.start() as usize * UNIT_BYTES,
        };
        if slab.class() == SPARE {
            live.slabs += 1;
            // One that no list holds was lost to an overwritten link beside it, which the check names.
            return if self.words_found(slab, blocks) == [0; 2] {
                Ok(())
            } else {
                Err(error)
            };
        }
        let Some(count) = live.slots.get_mut(slab.class() as usize) else {
            return Err(error);
        };
        if slab.class() == NO_CLASS {
            return Err(error);
        }
        let all_free = [
            Self::all_free(slab.class()),
            Self::all_free_second(slab.class()),
        ];
        let Class {
            slots,
            first_slots,
            reciprocal,
        } = *Self::class(slab.class());
        let free = self.words_found(slab, blocks);
        let agrees = slab.first_slots() == first_slots.into() && slab.reciprocal() == reciprocal;
        if !agrees || free[0] & !all_free[0] | free[1] & !all_free[1] != 0 {
            return Err(error);
        }
        let slots = u32::from(slots);
        let free_slots = free[0].count_ones() + free[1].count_ones();
        *count += slots - free_slots;
        live.slabs += 1;
        if free_slots > 0 || self.heads.contains(&slab) {
            live.listed += 1;
            let this = self.segment(slab);
            let of_class = |segment| {
                self.sound_slab(segment)
                    .filter(|other| other.class() == slab.class())
            };
            let leads_on = of_class(slab.next()).is_some_and(|next| next.prev() == this)
                && of_class(slab.prev()).is_some_and(|prev| prev.next() == this);
            if !leads_on {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Checks the lists, the directory and the counters against what all slabs of the map had in all.
    pub(crate) fn check_lists(&self, live: &Live) -> Result<(), CheckError> {
        let mut listed = 0;
        for (class, &head) in self.heads.iter().enumerate() {
            let mut next = Some(head).filter(|&head| head != self.none());
            while let Some(slab) = next {
                listed += 1;
                // Every slab with a free slot was found in the map, so more of them than there are is a cycle.
                let is_of_class = self.is_sound(slab) && slab.class() as usize == class;
                let after = self.slab(slab.next());
                let (true, Some(after)) = (is_of_class && listed <= live.listed, after) else {
                    return Err(CheckError::SlabList { class });
                };
                next = Some(after).filter(|&after| after != head);
            }
            if live.slots[class] != self.live[class] {
                return Err(CheckError::SlabList { class });
            }
        }
        let segments = || {
            let none = core::iter::once(self.none());
            none.chain((0..self.segments as Segment).filter_map(|segment| self.slab(segment)))
        };
        let described = segments().filter(|slab| slab.class() != NO_CLASS).count();
        let spills_agree = segments().zip(segments().skip(1)).all(|(before, slab)| {
            slab.class() != NO_CLASS || slab.start() == if before.spills() { u32::MAX } else { 0 }
        });
        // What stands for no slab is asked for slots like any other: a free bit there would be handed out.
        let none = self.none();
        let none_has_slots = none.free() != 0
            || none.start() != 0
            || none.first_slots() != 0
            || none.reciprocal() != 0;
        let agrees = listed == live.listed && [self.open, described] == [live.slabs; 2];
        if !agrees || !spills_agree || none_has_slots {
            return Err(CheckError::SlabList { class: CLASSES });
        }
        Ok(())
    }
}

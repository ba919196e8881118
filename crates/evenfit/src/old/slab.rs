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
//! **Where the rest lives.** Before the pool: 16 bytes of descriptor and 8 of links for each segment, and no byte that a
//! user of the pool may reach. To the block tier it is a used block like any other. Only slots of 16 and 24 bytes are so many
//! that one word can't say which are free: the second word takes the place of the slab's size in the pair of the map that
//! a slab covers whatever its start (see `map.rs`), and looks like one.
//!
//! A free bit is set where a slot is free. Allocating takes the lowest of the class's first slab that has one;
//! freeing sets it, and a bit that is set already is a double free.
//! A pointer that is no multiple of the slot size from the slab's start is an interior pointer: times the inverse of the
//! slot size modulo 2^32, a multiple becomes the slot's number and anything else a number beyond all slots' (Granlund,
//! Montgomery: Division by invariant integers using multiplication, 1994, section 9).

use core::hint::select_unpredictable;

use crate::old::blocks::{BlockTier, Run};
use crate::old::check::CheckError;
use crate::old::geometry::Geometry;
use crate::old::map::{Map, PAIR_GRANULES, Pair};
use crate::old::walk::BlockState;

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

/// A second word without a free slot.
const NONE_FREE_SECOND: u64 = Pair::SIZE;

/// The classes up to this one need a second word.
const LAST_LONG: Class = 2;

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
pub(crate) const NO_CLASS: Class = 0;

/// A slot size's number.
pub(crate) type Class = u32;

/// The slots that a class has in a slab's first word, and in all.
#[derive(Clone, Copy)]
struct Slots {
    first: u8,
    all: u8,
}

static SLOTS: [Slots; CLASSES] = slots();

const fn slots() -> [Slots; CLASSES] {
    let mut table = [Slots { first: 0, all: 0 }; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        let slots = SLAB_BYTES / SLOT_BYTES[class] as usize;
        let all = least(slots, (WORD_SLOTS + SECOND_WORD_SLOTS) as usize) as u8;
        let first = least(slots, WORD_SLOTS as usize) as u8;
        assert!((all > first) == (class <= LAST_LONG as usize));
        table[class] = Slots { first, all };
        class += 1;
    }
    table
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

/// So many bits, from the lowest on.
const fn ones(bits: u8) -> u64 {
    match bits {
        0 => 0,
        _ => !0 >> (64 - bits),
    }
}

/// The class of a size in bytes, at an alignment of 8; and at one of 16, where `NO_CLASS` is none. An entry for each
/// size, so that nothing is left to compute.
const CLASS_OF_SIZE: [u8; LIMIT_BYTES + 1] = class_of_size(8);
static CLASS_OF_SIZE_16: [u8; LIMIT_BYTES + 1] = class_of_size(16);

const fn class_of_size(align: u16) -> [u8; LIMIT_BYTES + 1] {
    let mut classes = [NO_CLASS as u8; LIMIT_BYTES + 1];
    let mut size = 0;
    let mut class = 1;
    while size < classes.len() {
        if SLOT_BYTES[class] < size as u16 {
            class += 1;
        }
        if SLOT_BYTES[class].is_multiple_of(align) {
            classes[size] = class as u8;
        } else if SLOT_BYTES[class] <= 128 {
            classes[size] = class as u8 + 1;
        }
        size += 1;
    }
    classes
}

/// What precedes the directory: the state of each class, and what the hot paths need to know of it, all to be reached
/// from one pointer.
#[repr(C)]
struct Classes {
    /// The list of each class: its slabs with a free slot, of which the first may have become full since.
    first: [Place; CLASSES],
    /// Where it ends. Of no meaning while there is none.
    last: [Place; CLASSES],
    /// Used slots.
    live: [u32; CLASSES],
    known: Known,
}

/// What never changes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Known {
    /// The free bits of an empty slab: its first word.
    all_free: [u64; CLASSES],
    /// A number of units that is a multiple of the slot's, times this, turned by half a word, is the slot's number. Any
    /// other number of units makes it more than any slot's.
    inverse: [u32; CLASSES],
    /// How many slots the first word has.
    first_slots: [u32; CLASSES],
    slot_bytes: [u16; CLASSES],
    class_of_size: [u8; LIMIT_BYTES + 1],
}

impl Known {
    /// Whether it is what it was. (Comparing it as one would call for C's library.)
    fn is_whole(&self) -> bool {
        fn is<T: Eq>(table: &[T], was: &[T]) -> bool {
            table.iter().zip(was).all(|(entry, was)| entry == was)
        }
        is(&self.all_free, &KNOWN.all_free)
            && is(&self.inverse, &KNOWN.inverse)
            && is(&self.first_slots, &KNOWN.first_slots)
            && is(&self.slot_bytes, &KNOWN.slot_bytes)
            && is(&self.class_of_size, &KNOWN.class_of_size)
    }
}

impl Classes {
    const EMPTY: Self = Self {
        first: [Place::NONE; CLASSES],
        last: [Place::NONE; CLASSES],
        live: [0; CLASSES],
        known: KNOWN,
    };
}

/// The entry of a class.
///
/// # Safety
/// The table is one, and has the class.
#[inline(always)]
unsafe fn entry<T>(table: *mut [T; CLASSES], class: Class) -> *mut T {
    debug_assert!((class as usize) < CLASSES);
    // SAFETY: as promised by the caller.
    unsafe { table.cast::<T>().add(class as usize) }
}

static KNOWN: Known = known();

const fn known() -> Known {
    let mut known = Known {
        all_free: [0; CLASSES],
        inverse: [0; CLASSES],
        first_slots: [0; CLASSES],
        slot_bytes: SLOT_BYTES,
        class_of_size: CLASS_OF_SIZE,
    };
    let mut class = 1;
    while class < CLASSES {
        known.all_free[class] = ones(SLOTS[class].first);
        known.inverse[class] = inverse(SLOT_BYTES[class] as u32 / UNIT_BYTES as u32);
        known.first_slots[class] = SLOTS[class].first as u32;
        class += 1;
    }
    known
}

/// With `units = odd << shift`: 1 / odd modulo 2^32, times 2^(16 - shift). Times `n * units` it is `n << 16` modulo 2^32;
/// were it `k << 16` for another number of units, below 2^16 as `k * units` is too, that number would be `k * units`.
const fn inverse(units: u32) -> u32 {
    let shift = units.trailing_zeros();
    let odd = units >> shift;
    // Newton: each step doubles the low bits that are right, of which an odd number has three for its own inverse.
    let mut inverse = odd;
    let mut right_bits = 3;
    while right_bits < u32::BITS {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        right_bits *= 2;
    }
    inverse << (16 - shift)
}

/// What the directory holds for the slab that starts in a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Descriptor {
    /// Bit n: slot n is free.
    free: u64,
    /// The unit that the slab starts at. Without a slab: `u32::MAX` if the slab before spills into this segment, else 0.
    start: u32,
    /// 0 without a slab.
    class: Class,
}

impl Descriptor {
    const NONE: Self = Self {
        free: 0,
        start: 0,
        class: NO_CLASS,
    };

    /// Without a slab of its own, but with the end of the one before.
    const SPILL: Self = Self {
        start: u32::MAX,
        ..Self::NONE
    };
}

/// A slab's neighbours on the list of its class. The first one's `prev` is of no meaning, and so are both of a slab that
/// is on no list.
#[derive(Clone, Copy)]
#[repr(C)]
struct Links {
    next: Place,
    prev: Place,
}

/// A slab by its place in the directory, times the length of its links, half that of its descriptor: both are reached
/// without an instruction more. Place 0 is that of the descriptor that precedes the first segment's, so of no slab.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct Place(u32);

impl Place {
    const NONE: Self = Self(0);
}

const DESCRIPTOR_LOG2: u32 = size_of::<Descriptor>().ilog2();
const LINKS_LOG2: u32 = size_of::<Links>().ilog2();
const _: () = assert!(size_of::<Descriptor>() == 2 * size_of::<Links>() && size_of::<Links>() == 8);

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
    pub(crate) fn class(self) -> Class {
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
    #[inline(always)]
    pub(crate) fn class(self) -> Class {
        // SAFETY: slabs are made from descriptors of the directory only.
        unsafe { (*self.0).class }
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

    /// What the segment behind holds if it has no slab of its own.
    #[inline(always)]
    fn left_behind(self) -> Descriptor {
        if self.spills() {
            Descriptor::SPILL
        } else {
            Descriptor::NONE
        }
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

    /// Bit n + 1: slot 64 + n is free. The first and the last bit are always set. Only of a slab whose class has so many.
    #[inline(always)]
    fn second(self, map: Map) -> u64 {
        // SAFETY: the slab covers that pair of the map.
        unsafe { map.size_word_at(self.pair_index()) }
    }

    #[inline(always)]
    fn set_second(self, map: Map, word: u64) {
        // SAFETY: as above.
        unsafe { map.set_size_word_at(self.pair_index(), word) }
    }

    /// Both words.
    #[inline(always)]
    fn words(self, map: Map) -> [u64; 2] {
        let second = if Slabs::has_second_words(self.class()) {
            self.second(map)
        } else {
            NONE_FREE_SECOND
        };
        [self.free(), second]
    }

    /// The number of the slot of this class that starts at `unit`, at most two segments behind the slab's start; more than any
    /// slot's if none does.
    #[inline(always)]
    fn index_at(self, unit: usize, inverse: u32) -> u32 {
        let from_start = (unit as u32).wrapping_sub(self.start());
        from_start.wrapping_mul(inverse).rotate_left(16)
    }

    /// Where the slot of this number starts, in bytes from the pool's start.
    #[inline(always)]
    fn slot_offset(self, index: u32, slot_bytes: usize) -> usize {
        self.start() as usize * UNIT_BYTES + index as usize * slot_bytes
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
    /// The state of the classes. The directory follows.
    classes: *mut Classes,
    /// The descriptor of segment 0.
    directory: *mut Descriptor,
    /// The one that precedes it, of no slab: the directory as seen from the segment behind.
    before: *mut Descriptor,
    /// The links of each descriptor, in the same order.
    links: *mut Links,
    /// The length of the segments' descriptors, in bytes.
    directory_bytes: usize,
    /// Slabs serve requests of less than so many bytes: 0 in a heap without slabs.
    small_end_bytes: usize,
    /// The slab that became empty last. No other is: it is kept where it is until another one becomes empty or a block is needed,
    /// so that a class whose only slot comes and goes doesn't open and close a slab each time.
    spare: Place,
    /// How many slabs there are.
    open: usize,
}

impl Slabs {
    /// Blocks only.
    pub(crate) fn without() -> Self {
        // Nothing is read of the classes without slabs, nor of a directory of no segments.
        Self::empty(core::ptr::null_mut(), 0)
    }

    /// No slabs yet.
    fn empty(classes: *mut Classes, segments: usize) -> Self {
        let before = classes.wrapping_add(1).cast::<Descriptor>();
        let directory = before.wrapping_add(1);
        Self {
            classes,
            directory,
            before,
            links: directory.wrapping_add(segments).cast(),
            directory_bytes: segments * size_of::<Descriptor>(),
            small_end_bytes: if segments > 0 { LIMIT_BYTES + 1 } else { 0 },
            spare: Place::NONE,
            open: 0,
        }
    }

    /// Bytes of metadata for a pool of `granules`: the classes, the directory and its links.
    pub(crate) const fn metadata_bytes(granules: usize) -> usize {
        let descriptors = granules.div_ceil(SLAB_GRANULES) + 1;
        size_of::<Classes>() + descriptors * (size_of::<Descriptor>() + size_of::<Links>())
    }

    /// How many of them describe the slabs, from the directory's start on.
    #[cfg(target_pointer_width = "64")]
    pub(crate) const fn directory_bytes(granules: usize) -> usize {
        (granules.div_ceil(SLAB_GRANULES) + 1) * size_of::<Descriptor>()
    }

    /// An empty directory.
    ///
    /// # Safety
    /// `metadata` points to `metadata_bytes(granules)` writable bytes, aligned, that nothing else touches.
    pub(crate) unsafe fn format(metadata: *mut u64, granules: usize) -> Self {
        // SAFETY: as promised by the caller. Place 0 has links too, which never lead on.
        unsafe {
            metadata.write_bytes(0, Self::metadata_bytes(granules) / size_of::<u64>());
            Self::of_zeroes(metadata, granules)
        }
    }

    /// As `format`, and all those bytes are zero: so is a directory without slabs.
    ///
    /// # Safety
    /// As for `format`.
    pub(crate) unsafe fn of_zeroes(metadata: *mut u64, granules: usize) -> Self {
        let classes = metadata.cast::<Classes>();
        // SAFETY: as promised by the caller.
        unsafe { classes.write(Classes::EMPTY) }
        Self::empty(classes, granules.div_ceil(SLAB_GRANULES))
    }

    /// To walk over a copy of a directory, of `directory_bytes(granules)`. Nothing else is there to be asked.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn of_copy(directory: *mut u64, granules: usize) -> Self {
        let classes = directory.cast::<Classes>().wrapping_sub(1);
        Self::empty(classes, granules.div_ceil(SLAB_GRANULES))
    }

    /// Where the directory lies, with the descriptor that precedes the first segment's.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn directory_start(&self) -> *const Descriptor {
        self.before
    }

    /// Forgets all slabs, none of which starts at `top` or behind it.
    pub(crate) fn reformat(&mut self, top: usize) {
        let segments = self.segments();
        if segments == 0 {
            return;
        }
        for segment in 0..top.div_ceil(SLAB_GRANULES).min(segments) {
            // SAFETY: the segment exists.
            unsafe { self.directory.add(segment).write(Descriptor::NONE) }
        }
        // SAFETY: there are classes where there are segments.
        unsafe { self.classes.write(Classes::EMPTY) }
        *self = Self::empty(self.classes, segments);
    }

    fn segments(&self) -> usize {
        self.directory_bytes >> DESCRIPTOR_LOG2
    }

    /// Whether slabs serve requests of so many bytes, where the alignment allows.
    #[inline(always)]
    pub(crate) fn serve(&self, size_bytes: usize) -> bool {
        size_bytes < self.small_end_bytes
    }

    /// Whether this pool has slabs at all.
    pub(crate) fn are_in_use(&self) -> bool {
        self.directory_bytes > 0
    }

    /// The class for a request that slabs serve, at an alignment of at most `SLOT_ALIGN`.
    #[inline(always)]
    pub(crate) fn class_for(&self, size_bytes: usize) -> Class {
        debug_assert!(self.are_in_use() && size_bytes < CLASS_OF_SIZE.len());
        // SAFETY: the size is at most LIMIT_BYTES, and there are slabs.
        unsafe {
            *(&raw const (*self.classes).known.class_of_size)
                .cast::<u8>()
                .add(size_bytes)
        }
        .into()
    }

    /// The class for a request that slabs serve, at C's alignment, twice the width of a pointer, if slots of
    /// some class lie so.
    #[inline(always)]
    pub(crate) fn class_for_c(&self, size_bytes: usize) -> Option<Class> {
        if 2 * size_of::<usize>() <= SLOT_ALIGN {
            return Some(self.class_for(size_bytes));
        }
        debug_assert!(size_bytes < CLASS_OF_SIZE_16.len());
        // SAFETY: the size is at most LIMIT_BYTES.
        let class = unsafe { *CLASS_OF_SIZE_16.get_unchecked(size_bytes) }.into();
        (class != NO_CLASS).then_some(class)
    }

    /// The class for a request at any alignment in a pool with slabs, if slots of some class are so long and lie so.
    pub(crate) fn class_for_aligned(size_bytes: usize, align: usize) -> Option<Class> {
        let classes = match align {
            ..=SLOT_ALIGN => &KNOWN.class_of_size,
            GRANULE_BYTES => &CLASS_OF_SIZE_16,
            _ => return None,
        };
        let class = Class::from(*classes.get(size_bytes)?);
        (class != NO_CLASS).then_some(class)
    }

    /// How many slots of the class a slab has.
    pub(crate) fn slots(class: Class) -> u32 {
        SLOTS
            .get(class as usize)
            .map_or(0, |slots| slots.all.into())
    }

    /// The first word of an empty slab.
    #[inline(always)]
    fn all_free(&self, class: Class) -> u64 {
        // SAFETY: there are classes where one of them is asked for, and it comes from the tables.
        unsafe { *entry(&raw mut (*self.classes).known.all_free, class) }
    }

    /// And its second.
    #[inline(always)]
    fn all_free_second(class: Class) -> u64 {
        const ALL_FREE: [u64; 1 + LAST_LONG as usize] = {
            let mut all_free = [NONE_FREE_SECOND; 1 + LAST_LONG as usize];
            let mut class = 1;
            while class < all_free.len() {
                all_free[class] |= ones(SLOTS[class].all - SLOTS[class].first) << 1;
                class += 1;
            }
            all_free
        };
        ALL_FREE
            .get(class as usize)
            .copied()
            .unwrap_or(NONE_FREE_SECOND)
    }

    /// How long a slot of the class is, in bytes.
    pub(crate) fn slot_bytes(class: Class) -> usize {
        SLOT_BYTES
            .get(class as usize)
            .map_or(0, |&bytes| bytes.into())
    }

    /// `slot_bytes` as a request needs it.
    #[inline(always)]
    pub(crate) fn slot_bytes_known(&self, class: Class) -> usize {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).known.slot_bytes, class) }.into()
    }

    #[inline(always)]
    fn inverse(&self, class: Class) -> u32 {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).known.inverse, class) }
    }

    #[inline(always)]
    fn first_slots(&self, class: Class) -> u32 {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).known.first_slots, class) }
    }

    #[inline(always)]
    fn first(&self, class: Class) -> Place {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).first, class) }
    }

    #[inline(always)]
    fn set_first(&mut self, class: Class, place: Place) {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).first, class) = place }
    }

    #[inline(always)]
    fn last(&self, class: Class) -> Place {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).last, class) }
    }

    #[inline(always)]
    fn set_last(&mut self, class: Class, place: Place) {
        // SAFETY: as above.
        unsafe { *entry(&raw mut (*self.classes).last, class) = place }
    }

    #[inline(always)]
    fn count(&mut self, class: Class, change: i32) {
        // SAFETY: as above.
        unsafe {
            let live = entry(&raw mut (*self.classes).live, class);
            *live = (*live).wrapping_add_signed(change);
        }
    }

    /// Whether the directory has that place, or it is that of no slab.
    #[inline(always)]
    fn has(&self, place: Place) -> bool {
        // Twice the one or half of the other: whichever is one instruction, and can't overflow.
        if usize::BITS > u32::BITS {
            2 * place.0 as usize <= self.directory_bytes
        } else {
            place.0 as usize <= self.directory_bytes / 2
        }
    }

    /// # Safety
    /// The directory has that place.
    #[inline(always)]
    unsafe fn slab_in(&self, place: Place) -> Slab {
        // SAFETY: as promised by the caller.
        Slab(unsafe {
            let before = self.classes.add(1).cast::<Descriptor>();
            before.byte_add(2 * place.0 as usize)
        })
    }

    #[inline(always)]
    fn place(&self, slab: Slab) -> Place {
        // SAFETY: both are of the directory.
        Place((unsafe { slab.0.byte_offset_from(self.before) } >> 1) as u32)
    }

    /// # Safety
    /// The directory has that place.
    #[inline(always)]
    unsafe fn links_of(&self, place: Place) -> *mut Links {
        // SAFETY: as promised by the caller.
        unsafe { self.links.byte_add(place.0 as usize) }
    }

    /// The slab that starts in `segment`, if there is such a segment; or what tells that none does.
    #[inline(always)]
    fn slab(&self, segment: usize) -> Option<Slab> {
        // SAFETY: the directory has so many segments.
        (segment < self.segments()).then(|| Slab(unsafe { self.directory.add(segment) }))
    }

    /// Takes a slot from the first word of the class's first slab: its offset in the pool, in bytes. `None`: that word has
    /// no free slot.
    #[inline(always)]
    pub(crate) fn take_first(&mut self, class: Class) -> Option<usize> {
        // SAFETY: the first place of a list is one of the directory.
        self.take_from(unsafe { self.slab_in(self.first(class)) }, class)
    }

    #[inline(always)]
    fn take_from(&mut self, slab: Slab, class: Class) -> Option<usize> {
        let free = slab.free();
        if free == 0 {
            return None;
        }
        slab.set_free(free & (free - 1));
        self.count(class, 1);
        Some(slab.slot_offset(free.trailing_zeros(), self.slot_bytes_known(class)))
    }

    #[inline(always)]
    fn take_second_from(&mut self, slab: Slab, class: Class, map: Map) -> Option<usize> {
        let word = slab.second(map);
        let free = word & !NONE_FREE_SECOND;
        if free == 0 {
            return None;
        }
        slab.set_second(map, word ^ (free & free.wrapping_neg()));
        self.count(class, 1);
        let index = WORD_SLOTS - 1 + free.trailing_zeros();
        Some(slab.slot_offset(index, self.slot_bytes_known(class)))
    }

    #[inline(always)]
    pub(crate) fn has_second_words(class: Class) -> bool {
        class <= LAST_LONG
    }

    /// Takes a slot of a class without second words when its first slab has none: of the slab behind, for which the full one
    /// leaves the list.
    #[inline(always)]
    pub(crate) fn take_next(&mut self, class: Class) -> Option<usize> {
        // Any slab on the list but the first has a free slot.
        let slab = self.next_slab(class)?;
        self.take_from(slab, class)
    }

    /// Takes a slot of a class with second words from that of its first slab.
    #[inline(always)]
    pub(crate) fn take_second(&mut self, class: Class, map: Map) -> Option<usize> {
        let first = self.first(class);
        if first == Place::NONE {
            return None;
        }
        // SAFETY: as in `take_first`.
        self.take_second_from(unsafe { self.slab_in(first) }, class, map)
    }

    /// Takes a slot of the class when its first slab has none: from the slab behind the first, if there is one, else from a
    /// new one.
    pub(crate) fn take_elsewhere<G: Geometry>(
        &mut self,
        class: Class,
        blocks: &mut BlockTier<G>,
    ) -> Option<usize> {
        match self.next_slab(class) {
            Some(slab) => match self.take_from(slab, class) {
                None if Self::has_second_words(class) => {
                    self.take_second_from(slab, class, blocks.map)
                }
                offset => offset,
            },
            None => self.open(class, blocks),
        }
    }

    /// Takes the class's first slab, which is full, if there is one, out of the list. The one behind is the first then.
    #[inline(always)]
    fn next_slab(&mut self, class: Class) -> Option<Slab> {
        // SAFETY: as in `take_first`. Place 0 has links too, with none behind.
        let next = unsafe { (*self.links_of(self.first(class))).next };
        if next == Place::NONE || !self.has(next) {
            // What was overwritten is not followed.
            self.set_first(class, Place::NONE);
            return None;
        }
        self.set_first(class, next);
        // SAFETY: the directory has it.
        Some(unsafe { self.slab_in(next) })
    }

    /// Makes a slab of a new block, its first slot taken, the only one on the list of its class: the slot's offset in the
    /// pool, in bytes. O(1): no list is threaded through it.
    #[inline(never)]
    fn open<G: Geometry>(&mut self, class: Class, blocks: &mut BlockTier<G>) -> Option<usize> {
        let slab = match self.spare_slab(blocks) {
            Some(slab) => {
                self.unlink(self.spare, slab.class());
                self.spare = Place::NONE;
                slab
            }
            None => self.new_slab(class, blocks)?,
        };
        // SAFETY: the descriptor is of the directory, and nobody has a slot of the slab.
        unsafe {
            let descriptor = &mut *slab.0;
            descriptor.free = self.all_free(class) & !1;
            descriptor.class = class;
        }
        slab.set_second(
            blocks.map,
            if Self::has_second_words(class) {
                Self::all_free_second(class)
            } else {
                Pair::size_word(SLAB_GRANULES).x
            },
        );
        let place = self.place(slab);
        self.set_first(class, place);
        self.set_last(class, place);
        // SAFETY: the directory has the slab's place.
        unsafe { (*self.links_of(place)).next = Place::NONE }
        self.count(class, 1);
        Some(slab.start() as usize * UNIT_BYTES)
    }

    /// Makes a slab of a new block, without a free slot yet.
    #[inline(never)]
    fn new_slab<G: Geometry>(&mut self, class: Class, blocks: &mut BlockTier<G>) -> Option<Slab> {
        let start = blocks.take_by_call(SLAB_GRANULES).ok()?;
        // The block lies in the pool, so its segment exists; no other slab starts there.
        let slab = self.slab(start >> SEGMENT_LOG2)?;
        // SAFETY: the descriptor is of the directory.
        unsafe {
            *slab.0 = Descriptor {
                free: 0,
                start: (start * GRANULE_UNITS) as u32,
                class,
            }
        }
        self.note_spill(slab, Descriptor::SPILL);
        self.open = self.open.wrapping_add(1);
        Some(slab)
    }

    /// The only slab that may hold `unit`, the `unit`th unit of the pool, if there is one.
    #[inline(always)]
    fn nearest(&self, unit: usize) -> Option<Slab> {
        let offset = (unit / SLAB_UNITS) << DESCRIPTOR_LOG2;
        if offset >= self.directory_bytes {
            return None;
        }
        // SAFETY: the segment exists, and a descriptor precedes the first.
        unsafe {
            let starts_behind = (unit as u32) < (*self.directory.byte_add(offset)).start;
            let directory = select_unpredictable(starts_behind, self.before, self.directory);
            Some(Slab(directory.byte_add(offset)))
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
        let class = slab.class();
        let slots = SLOTS.get(class as usize)?.all;
        let index = slab.index_at(unit, self.inverse(class));
        (index < slots.into()).then_some(Slot { slab, index })
    }

    /// Whether a slab starts at `granule`: to the block tier it looks like any used block.
    #[inline(always)]
    pub(crate) fn starts_at(&self, granule: usize) -> bool {
        self.slab_at(granule).is_some()
    }

    /// Where the block that starts at `granule` ends, if it is a slab that keeps free bits where its size was.
    pub(crate) fn end_at(&self, granule: usize) -> Option<usize> {
        let slab = self.slab_at(granule)?;
        (slab.class() <= LAST_LONG).then(|| slab.block().end)
    }

    /// The slab that starts at `granule`.
    #[inline(always)]
    pub(crate) fn slab_at(&self, granule: usize) -> Option<Slab> {
        self.slab(granule >> SEGMENT_LOG2).filter(|slab| {
            slab.start() as usize == granule * GRANULE_UNITS && slab.class() != NO_CLASS
        })
    }

    /// Whether what lies `offset_bytes` from the pool's start lies in a slab.
    pub(crate) fn is_in_slab(&self, offset_bytes: usize) -> bool {
        let unit = offset_bytes / UNIT_BYTES;
        self.nearest(unit).is_some_and(|slab| {
            let from_start = (unit as u32).wrapping_sub(slab.start()) as usize;
            from_start < SLAB_UNITS && slab.class() != NO_CLASS
        })
    }

    /// The words of a slab in a pool where anything may have been overwritten.
    fn words_found<G: Geometry>(&self, slab: Slab, blocks: &BlockTier<G>) -> [u64; 2] {
        if self.is_sound(slab) && slab.block().end <= blocks.top {
            slab.words(blocks.map)
        } else {
            [slab.free(), NONE_FREE_SECOND]
        }
    }

    /// How many slots they say are free.
    fn free_slots(words: [u64; 2]) -> u32 {
        words[0].count_ones() + (words[1] & !NONE_FREE_SECOND).count_ones()
    }

    /// What a walk over the pool says of a slab.
    pub(crate) fn state<G: Geometry>(&self, slab: Slab, blocks: &BlockTier<G>) -> BlockState {
        let free_slots = Self::free_slots(self.words_found(slab, blocks));
        BlockState::Slab {
            slot_bytes: Self::slot_bytes(slab.class()),
            used_slots: Self::slots(slab.class()).saturating_sub(free_slots) as usize,
        }
    }

    /// Whether the slot is used.
    pub(crate) fn is_used<G: Geometry>(&self, slot: Slot, blocks: &BlockTier<G>) -> bool {
        let [first, second] = self.words_found(slot.slab, blocks);
        if slot.is_in_second_word() {
            second & 2 << (slot.index % WORD_SLOTS) == 0
        } else {
            first & 1 << slot.index == 0
        }
    }

    /// Gives back the slot of this class that starts `offset_bytes` from the pool's start, if one does.
    #[inline(always)]
    pub(crate) fn give_back_at(&mut self, offset_bytes: usize, class: Class) -> GivenBack {
        let unit = Self::unit_at(offset_bytes);
        let Some(slab) = self.nearest(unit) else {
            return GivenBack::NoSlot;
        };
        if slab.class() != class {
            return GivenBack::NoSlot;
        }
        let index = slab.index_at(unit, self.inverse(class));
        let slot = Slot { slab, index };
        if index < self.first_slots(class) {
            self.give_back_first(slot, class)
        } else if index < Self::slots(class) {
            GivenBack::NotYet(slot)
        } else {
            GivenBack::NoSlot
        }
    }

    /// Gives back a slot.
    #[inline(always)]
    pub(crate) fn give_back_slot(&mut self, slot: Slot, class: Class, map: Map) -> GivenBack {
        if slot.is_in_second_word() {
            self.give_back_second(slot, class, map)
        } else {
            self.give_back_first(slot, class)
        }
    }

    #[inline(always)]
    fn give_back_first(&mut self, slot: Slot, class: Class) -> GivenBack {
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
        } else if now == self.all_free(class) {
            GivenBack::WholeWord(slab)
        } else {
            GivenBack::One
        }
    }

    /// Gives back a slot of a slab's second word.
    #[inline(always)]
    pub(crate) fn give_back_second(&mut self, slot: Slot, class: Class, map: Map) -> GivenBack {
        let Slot { slab, index } = slot;
        let free = slab.second(map);
        let now = free | 2 << (index % WORD_SLOTS);
        if now == free {
            return GivenBack::AlreadyFree;
        }
        slab.set_second(map, now);
        self.count(class, -1);
        if free == NONE_FREE_SECOND {
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
    pub(crate) fn first_of_word(&mut self, slab: Slab, class: Class, map: Map) {
        let was_full =
            class > LAST_LONG || slab.free() == 0 || slab.second(map) == NONE_FREE_SECOND;
        let place = self.place(slab);
        if was_full && self.first(class) != place {
            self.link(place, class);
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

    /// All slots of a word of the slab are free: if all of the other are too, the slab is the spare one, and the one
    /// before it goes back to the block tier.
    #[inline(always)]
    pub(crate) fn word_free<G: Geometry>(&mut self, slab: Slab, blocks: &mut BlockTier<G>) {
        if !self.is_empty(slab, blocks.map) {
            return;
        }
        let place = self.place(slab);
        // One that can't go, since a link beside it was overwritten, stays, with all slots free.
        if self.spare != place && self.spare != Place::NONE {
            self.give_back_spare(blocks);
        }
        self.spare = place;
    }

    /// Whether all slots are free.
    #[inline(always)]
    fn is_empty(&self, slab: Slab, map: Map) -> bool {
        let class = slab.class();
        slab.free() == self.all_free(class)
            && (!Self::has_second_words(class) || slab.second(map) == Self::all_free_second(class))
    }

    /// The slab that became empty last, if it still is.
    #[inline(always)]
    fn spare_slab<G: Geometry>(&self, blocks: &BlockTier<G>) -> Option<Slab> {
        let slab = self.sound_slab(self.spare)?;
        let is_spare = slab.block().end <= blocks.top && self.is_empty(slab, blocks.map);
        is_spare.then_some(slab)
    }

    /// Gives the spare slab back to the block tier. False: there is none, or a link beside it was found overwritten.
    #[inline(never)]
    pub(crate) fn give_back_spare<G: Geometry>(&mut self, blocks: &mut BlockTier<G>) -> bool {
        let Some(slab) = self.spare_slab(blocks) else {
            return false;
        };
        let class = slab.class();
        // The block tier reads the size there.
        slab.set_second(blocks.map, Pair::size_word(SLAB_GRANULES).x);
        // SAFETY: the slab is a used block of the tier, and nobody has a slot of it.
        if unsafe { blocks.give_back_by_call(slab.block()) }.is_err() {
            if Self::has_second_words(class) {
                slab.set_second(blocks.map, Self::all_free_second(class));
            }
            return false;
        }
        self.unlink(self.spare, class);
        self.spare = Place::NONE;
        self.note_spill(slab, Descriptor::NONE);
        let left = Slab(slab.0.wrapping_sub(1)).left_behind();
        // SAFETY: the descriptor is of the directory.
        unsafe { *slab.0 = left }
        self.open = self.open.wrapping_sub(1);
        true
    }

    /// The block of the spare slab.
    pub(crate) fn spare_block<G: Geometry>(&self, blocks: &BlockTier<G>) -> Option<Run> {
        self.spare_slab(blocks).map(Slab::block)
    }

    /// Puts a slab at the end of its class's list.
    ///
    /// At the end, so that a slab that has just got its first free slot gathers more before its turn
    /// comes: fewer slabs come and go, and the footprint is smaller than with the newest in front.
    #[inline(always)]
    fn link(&mut self, place: Place, class: Class) {
        // SAFETY: the directory has the place, and the last one where it was asked.
        unsafe {
            let links = self.links_of(place);
            (*links).next = Place::NONE;
            if self.first(class) == Place::NONE {
                self.set_first(class, place);
            } else {
                let last = self.last(class);
                // What was overwritten is left alone.
                if !self.has(last) {
                    return;
                }
                (*links).prev = last;
                (*self.links_of(last)).next = place;
            }
        }
        self.set_last(class, place);
    }

    /// Takes a slab out of its class's list.
    #[inline(always)]
    fn unlink(&mut self, place: Place, class: Class) {
        // SAFETY: the directory has the place, and the others where it was asked. Place 0 has links too.
        unsafe {
            let Links { next, prev } = *self.links_of(place);
            // What was overwritten is left alone.
            if !self.has(next) {
                return;
            }
            if self.first(class) == place {
                self.set_first(class, next);
                return;
            }
            if prev == Place::NONE || !self.has(prev) {
                return;
            }
            (*self.links_of(prev)).next = next;
            if next == Place::NONE {
                self.set_last(class, prev);
            } else {
                (*self.links_of(next)).prev = prev;
            }
        }
    }

    /// Whether the slab is one, and starts in its own segment.
    #[inline(always)]
    fn is_sound(&self, slab: Slab) -> bool {
        let segment = (self.place(slab).0 >> LINKS_LOG2).wrapping_sub(1);
        let has_class = slab.class().wrapping_sub(1) < CLASSES as Class - 1;
        has_class && slab.start() / SLAB_UNITS as u32 == segment
    }

    /// The slab at a place that may have been overwritten, if the directory has it and it is sound.
    fn sound_slab(&self, place: Place) -> Option<Slab> {
        if place == Place::NONE || !self.has(place) || !place.0.is_multiple_of(1 << LINKS_LOG2) {
            return None;
        }
        // SAFETY: the directory has it.
        Some(unsafe { self.slab_in(place) }).filter(|&slab| self.is_sound(slab))
    }

    /// Used slots, and the bytes of slabs that aren't in used slots.
    pub(crate) fn used(&self) -> (usize, usize) {
        let mut slots = 0usize;
        let mut bytes = 0usize;
        for (&live, &slot_bytes) in self.state_of_classes().live.iter().zip(&SLOT_BYTES) {
            slots = slots.wrapping_add(live as usize);
            bytes = bytes.wrapping_add((live as usize).wrapping_mul(slot_bytes as usize));
        }
        (slots, (self.open * SLAB_BYTES).wrapping_sub(bytes))
    }

    fn state_of_classes(&self) -> &Classes {
        if self.are_in_use() {
            // SAFETY: there are classes where there are segments, and any content is one of theirs.
            unsafe { &*self.classes }
        } else {
            const { &Classes::EMPTY }
        }
    }

    /// The size of the largest free slot of a size that is a multiple of `align`, in bytes, or 0.
    pub(crate) fn largest_free_slot<G: Geometry>(
        &self,
        align: usize,
        blocks: &BlockTier<G>,
    ) -> usize {
        // Behind a full first slab come only such with a free slot.
        let has_free = |first: Place| {
            self.sound_slab(first).is_some_and(|slab| {
                // SAFETY: the directory has the place.
                let next = unsafe { (*self.links_of(first)).next };
                Self::free_slots(self.words_found(slab, blocks)) > 0 || next != Place::NONE
            })
        };
        let filled = self
            .state_of_classes()
            .first
            .iter()
            .zip(&SLOT_BYTES)
            .rev()
            .find(|&(&first, &slot)| usize::from(slot).is_multiple_of(align) && has_free(first));
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
        let class = slab.class();
        let Some(count) = live.slots.get_mut(class as usize) else {
            return Err(error);
        };
        if class == NO_CLASS {
            return Err(error);
        }
        let all_free = [KNOWN.all_free[class as usize], Self::all_free_second(class)];
        let free = self.words_found(slab, blocks);
        if free[0] & !all_free[0] | free[1] & !all_free[1] != 0 {
            return Err(error);
        }
        let free_slots = Self::free_slots(free);
        *count += Self::slots(class) - free_slots;
        live.slabs += 1;
        let place = self.place(slab);
        let is_first = self.first(class) == place;
        if free_slots > 0 || is_first {
            live.listed += 1;
            // SAFETY: the directory has every place that a sound slab is at.
            let links = |place| unsafe { *self.links_of(place) };
            let of_class = |place| {
                self.sound_slab(place)
                    .is_some_and(|slab| slab.class() == class)
            };
            let Links { next, prev } = links(place);
            let leads_back = is_first || of_class(prev) && links(prev).next == place;
            let leads_on = if next == Place::NONE {
                self.last(class) == place
            } else {
                of_class(next) && links(next).prev == place
            };
            if !leads_on || !leads_back {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Checks the lists, the directory and the counters against what all slabs of the map had in all.
    pub(crate) fn check_lists(&self, live: &Live) -> Result<(), CheckError> {
        let mut listed = 0;
        let classes = self.state_of_classes();
        for (class, &first) in classes.first.iter().enumerate() {
            let mut place = first;
            while place != Place::NONE {
                listed += 1;
                let slab = self.sound_slab(place);
                let is_of_class = slab.is_some_and(|slab| slab.class() as usize == class);
                // Every slab with a free slot was found in the map, so more of them than there are is a cycle.
                if !is_of_class || listed > live.listed {
                    return Err(CheckError::SlabList { class });
                }
                // SAFETY: the directory has the place.
                place = unsafe { (*self.links_of(place)).next };
            }
            if live.slots[class] != classes.live[class] {
                return Err(CheckError::SlabList { class });
            }
        }
        let slabs = || (0..self.segments()).filter_map(|segment| self.slab(segment));
        let described = slabs().filter(|slab| slab.class() != NO_CLASS).count();
        // A descriptor precedes each.
        let none_agree = slabs().all(|slab| {
            let left = Slab(slab.0.wrapping_sub(1)).left_behind();
            // SAFETY: the descriptor is of the directory.
            slab.class() != NO_CLASS || unsafe { *slab.0 } == left
        });
        let is_whole = none_agree && self.begins_with_none() && classes.known.is_whole();
        let counted = [listed, self.open, described] == [live.listed, live.slabs, live.slabs];
        if !counted || !is_whole {
            return Err(CheckError::SlabList { class: CLASSES });
        }
        Ok(())
    }

    /// Whether what stands for no slab has no slots, and none behind it.
    fn begins_with_none(&self) -> bool {
        // SAFETY: a directory of segments begins with it, and so do the links.
        let found = || unsafe { (*self.before, (*self.links_of(Place::NONE)).next) };
        !self.are_in_use() || found() == (Descriptor::NONE, Place::NONE)
    }
}

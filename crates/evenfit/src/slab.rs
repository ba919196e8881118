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
//! **Where the rest lives.** A slab covers one pair of the map whatever its start (see `map.rs`), which therefore is
//! free for it and holds the links of its list, in the form of a size word: to the block tier it looks like the inside
//! of a long block, and no granule of a slab but the first like a block. So a slab costs 24 bytes of directory per
//! segment and nothing more, and no byte that a user of the pool may reach.
//!
//! A free bit is set where a slot is free. Allocating takes the lowest of the class's first slab that has one;
//! freeing sets it, and a bit that is set already is a double free.
//! A pointer that is no multiple of the slot size from the slab's start is an interior pointer: multiplying by
//! 2^32 / slot size, rounded up, gives the slot's number in the upper half and, in the lower half, less than that factor
//! for a multiple only (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019, section 3.2).

use crate::blocks::{BlockTier, Run, TakeError};
use crate::check::CheckError;
use crate::geometry::Geometry;
use crate::map::{Map, PAIR_GRANULES, Pair};
use crate::walk::BlockState;

/// A slab's length in granules: two pairs' worth, so that it covers one pair whatever its start.
pub(crate) const SLAB_GRANULES: usize = 2 * PAIR_GRANULES;
const SEGMENT_LOG2: u32 = SLAB_GRANULES.ilog2();

/// A slab's length in bytes, with the only geometry that has slabs.
pub(crate) const SLAB_BYTES: usize = SLAB_GRANULES * GRANULE_BYTES;
const GRANULE_BYTES: usize = 16;

/// The largest request served from slabs, in bytes.
pub(crate) const LIMIT_BYTES: usize = 256;

/// How many slots a word of free bits stands for.
const WORD_SLOTS: u32 = 64;

/// Slabs count in units of 8 bytes: every slot is so aligned. Pools with slabs have at most 2^32 units.
const UNIT_BYTES: usize = 8;
const UNIT_LOG2: u32 = UNIT_BYTES.ilog2();
const GRANULE_UNITS: usize = GRANULE_BYTES / UNIT_BYTES;
const SLAB_UNITS: usize = SLAB_BYTES / UNIT_BYTES;

/// What alignment every slot has, in bytes.
pub(crate) const SLOT_ALIGN: usize = UNIT_BYTES;

/// The slot sizes. Up to 128 every multiple of 8; above, the largest multiple of 8 of which so many fit a slab.
static SLOT_BYTES: [u16; CLASSES] = [
    0, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 168, 184, 200, 224, 256,
];
pub(crate) const CLASSES: usize = 22;

/// The class of segments without a slab: it has no slots, so no pointer is in one. It is 0, so that a directory of zeroes
/// has no slabs.
pub(crate) const NO_CLASS: u8 = 0;

/// The class of the one empty slab that is kept. It has no slots either.
const SPARE: u8 = CLASSES as u8;

/// What the hot paths need to know of a class.
#[derive(Clone, Copy)]
#[repr(C)]
struct Class {
    /// 2^32 / slot size in units, rounded up.
    reciprocal: u32,
    /// How many slots a slab has in its first word.
    first_slots: u32,
    /// And in all.
    slots: u32,
    /// The free bits of slots 0 to 63 where all are free, and those of 64 to 127.
    all_free: [u64; 2],
}

static CLASS_TABLE: [Class; CLASSES + 1] = class_table();

const fn class_table() -> [Class; CLASSES + 1] {
    let none = Class {
        reciprocal: 0,
        first_slots: 0,
        slots: 0,
        all_free: [0; 2],
    };
    let mut table = [none; CLASSES + 1];
    let mut index = 1;
    while index < CLASSES {
        let slot_bytes = SLOT_BYTES[index];
        let slots = (SLAB_BYTES / slot_bytes as usize) as u32;
        table[index] = Class {
            reciprocal: (1u64 << 32).div_ceil(slot_bytes as u64 / UNIT_BYTES as u64) as u32,
            first_slots: if slots < WORD_SLOTS {
                slots
            } else {
                WORD_SLOTS
            },
            slots,
            all_free: [
                !0u64 >> (64 - if slots < 64 { slots } else { 64 }),
                if slots > 64 {
                    !0u64 >> (128 - slots)
                } else {
                    0
                },
            ],
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
    /// Bit n of word w: slot 64 w + n is free.
    free: [u64; 2],
    /// The unit that the slab starts at. Without a slab: `u32::MAX` if the slab before spills into this segment, else 0.
    start: u32,
    /// 0 without a slab.
    class: u8,
}

impl Descriptor {
    const NONE: Self = Self {
        free: [0; 2],
        start: 0,
        class: NO_CLASS,
    };

    /// Without a slab of its own, but with the end of the one before.
    const SPILL: Self = Self {
        start: u32::MAX,
        ..Self::NONE
    };
}

/// What stands before the first segment of a heap without slabs.
static NONE: Descriptor = Descriptor::NONE;

/// A segment's number as links and heads hold it; the entry before the first stands for none.
type Segment = i32;
const NO_SEGMENT: Segment = -1;

/// Links hold a segment in 24 bits: pools with slabs have at most 32 GiB.
const SEGMENT_BITS: u32 = 24;
pub(crate) const GRANULES_MAX: usize = SLAB_GRANULES << SEGMENT_BITS;

/// What a slab on its class's list keeps in `X` of the pair that it covers.
#[derive(Clone, Copy)]
struct Links {
    next: Segment,
    prev: Segment,
}

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

    pub(crate) fn is_in_second_word(self) -> bool {
        self.index >= WORD_SLOTS
    }
}

/// A live slab, by its descriptor in the directory.
#[derive(Clone, Copy)]
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
    fn word(self, word: usize) -> u64 {
        // SAFETY: as above.
        unsafe { (*self.0).free[word] }
    }

    #[inline(always)]
    fn set_word(self, word: usize, free: u64) {
        // SAFETY: as above.
        unsafe { (*self.0).free[word] = free }
    }

    #[inline(always)]
    fn words(self) -> [u64; 2] {
        // SAFETY: as above.
        unsafe { (*self.0).free }
    }

    /// What a walk over the pool says of it.
    pub(crate) fn state(self) -> BlockState {
        let free_slots = self.words().map(u64::count_ones).iter().sum::<u32>();
        let slots = CLASS_TABLE
            .get(self.class() as usize)
            .map_or(0, |class| class.slots);
        BlockState::Slab {
            // The spare one is all one slot.
            slot_bytes: SLOT_BYTES
                .get(self.class() as usize)
                .map_or(SLAB_BYTES, |&bytes| bytes as usize),
            used_slots: slots.saturating_sub(free_slots) as usize,
        }
    }

    /// The pair of the map that the slab covers.
    #[inline(always)]
    pub(crate) fn pair_index(self) -> usize {
        self.start() as usize / (GRANULE_UNITS * PAIR_GRANULES) + 1
    }

    #[inline(always)]
    fn links(self, map: Map) -> Links {
        // SAFETY: the slab covers that pair of the map.
        let links = unsafe { map.pair(self.pair_index()) }.x >> 1;
        let segment = |bits: u64| (bits & ((1 << SEGMENT_BITS) - 1)) as Segment;
        Links {
            next: segment(links),
            prev: segment(links >> SEGMENT_BITS),
        }
    }

    #[inline(always)]
    fn set_links(self, map: Map, links: Links) {
        let links = links.next as u64 | (links.prev as u64) << SEGMENT_BITS;
        // SAFETY: the slab covers that pair of the map.
        unsafe { map.set_pair(self.pair_index(), Pair::size_word(links as usize)) }
    }

    /// The slot that starts at `unit`, if one of this slab, which is of `class`, does.
    #[inline(always)]
    fn slot(self, unit: usize, class: u8) -> Option<Slot> {
        let class = CLASS_TABLE.get(class as usize)?;
        let (index, is_multiple) = self.divide(unit, class);
        (is_multiple && index < class.slots).then_some(Slot { slab: self, index })
    }

    /// How many whole slots lie between the slab's start and `unit`, and whether nothing is left over.
    #[inline(always)]
    fn divide(self, unit: usize, class: &Class) -> (u32, bool) {
        let from_start = (unit as u32).wrapping_sub(self.start());
        let quotient = from_start as u64 * class.reciprocal as u64;
        (
            (quotient >> 32) as u32,
            (quotient as u32) < class.reciprocal,
        )
    }

    /// Where the slot of this number starts, in bytes from the pool's start.
    #[inline(always)]
    fn slot_offset(self, index: u32, class: u8) -> usize {
        self.start() as usize * UNIT_BYTES + index as usize * Slabs::slot_bytes(class)
    }
}

/// What giving back a slot made of its slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It has free slots and used ones, as before.
    Mixed,
    /// Its first slot is free again.
    FirstFree,
    /// All slots of this word are free.
    AllFree,
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
    segments: usize,
    /// The empty slab that is kept, so that a class whose only slot comes and goes doesn't open and close a slab each time.
    spare: Segment,
    /// How many slabs there are, the spare one included.
    open: usize,
    /// The list of each class: its slabs with a free slot, of which the first may have become full since.
    heads: [Segment; CLASSES],
    /// Used slots of each class.
    live: [u32; CLASSES],
}

impl Slabs {
    /// Blocks only.
    pub(crate) fn none() -> Self {
        Self {
            // Only the entry before the first is read, and none is written.
            directory: (&raw const NONE).wrapping_add(1).cast_mut(),
            segments: 0,
            spare: NO_SEGMENT,
            open: 0,
            heads: [NO_SEGMENT; CLASSES],
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
        Self {
            // SAFETY: the directory has one descriptor more than there are segments.
            directory: unsafe { directory.add(1) },
            segments: granules.div_ceil(SLAB_GRANULES),
            ..Self::none()
        }
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
        *self = Self {
            directory: self.directory,
            segments: self.segments,
            ..Self::none()
        };
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

    #[inline(always)]
    pub(crate) fn slot_bytes(class: u8) -> usize {
        debug_assert!(class != NO_CLASS && (class as usize) < CLASSES);
        // SAFETY: asked only for classes that slabs have.
        unsafe { *SLOT_BYTES.get_unchecked(class as usize) as usize }
    }

    /// The slab that starts in `segment`, which has one; or the empty one before all, for
    /// `NO_SEGMENT`.
    #[inline(always)]
    fn slab(&self, segment: Segment) -> Slab {
        // SAFETY: NO_SEGMENT is the entry before the first.
        Slab(unsafe { self.directory.offset(segment as isize) })
    }

    #[inline(always)]
    fn segment(&self, slab: Slab) -> Segment {
        // SAFETY: both are of the directory.
        unsafe { slab.0.offset_from(self.directory) as Segment }
    }

    #[inline(always)]
    fn head(&self, class: u8) -> Segment {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: classes that slabs have are below CLASSES.
        unsafe { *self.heads.get_unchecked(class as usize) }
    }

    #[inline(always)]
    fn set_head(&mut self, class: u8, segment: Segment) {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: as above.
        unsafe { *self.heads.get_unchecked_mut(class as usize) = segment }
    }

    #[inline(always)]
    fn count(&mut self, class: u8, change: i32) {
        debug_assert!((class as usize) < CLASSES);
        // SAFETY: as above.
        let live = unsafe { self.live.get_unchecked_mut(class as usize) };
        *live = live.wrapping_add_signed(change);
    }

    /// Takes a slot from the first word of the class's first slab: its offset in the pool, in bytes.
    /// `None`: that word has no free slot.
    #[inline(always)]
    pub(crate) fn take_first(&mut self, class: u8) -> Option<usize> {
        self.take_from::<0>(self.slab(self.head(class)), class)
    }

    /// Takes a slot from the second word of the class's first slab.
    /// `None`: that word has no free slot.
    #[inline(always)]
    pub(crate) fn take_second(&mut self, class: u8) -> Option<usize> {
        self.take_from::<1>(self.slab(self.head(class)), class)
    }

    #[inline(always)]
    fn take_from<const WORD: usize>(&mut self, slab: Slab, class: u8) -> Option<usize> {
        let free = slab.word(WORD);
        if free == 0 {
            return None;
        }
        slab.set_word(WORD, free & (free - 1));
        self.count(class, 1);
        Some(slab.slot_offset(WORD as u32 * WORD_SLOTS + free.trailing_zeros(), class))
    }

    /// Takes a slot from any slab of the class, or a new one.
    pub(crate) fn take<G: Geometry>(
        &mut self,
        class: u8,
        blocks: &mut BlockTier<G>,
    ) -> Result<usize, TakeError> {
        // The first slab may be full, the second is not.
        for _ in 0..2 {
            let taken = self.take_first(class).or_else(|| self.take_second(class));
            if let Some(offset) = taken {
                return Ok(offset);
            }
            if self.head(class) != NO_SEGMENT {
                self.unlink(self.slab(self.head(class)), blocks.map);
            }
        }
        self.open(class, blocks)
    }

    /// Makes a slab of a new block, its first slot taken: the slot's offset in the pool, in bytes.
    /// O(1): no list is threaded through it.
    #[inline(never)]
    fn open<G: Geometry>(
        &mut self,
        class: u8,
        blocks: &mut BlockTier<G>,
    ) -> Result<usize, TakeError> {
        let slab = match self.sound_slab(self.spare) {
            Some(spare) => {
                self.spare = NO_SEGMENT;
                spare
            }
            None => self.new_slab(blocks)?,
        };
        let [first, second] = Self::class(class).all_free;
        // SAFETY: the descriptor is that of a slab without slots.
        unsafe {
            (*slab.0).free = [first & !1, second];
            (*slab.0).class = class;
        }
        self.link(slab, blocks.map);
        self.count(class, 1);
        Ok(slab.start() as usize * UNIT_BYTES)
    }

    /// Makes a slab without slots of a new block.
    #[inline(never)]
    fn new_slab<G: Geometry>(&mut self, blocks: &mut BlockTier<G>) -> Result<Slab, TakeError> {
        if self.segments == 0 {
            return Err(TakeError::NoneFits);
        }
        let start = blocks.take(SLAB_GRANULES)?;
        let slab = self.slab((start >> SEGMENT_LOG2) as Segment);
        let start = (start * GRANULE_UNITS) as u32;
        // SAFETY: the block lies in the pool, so its segment exists; no other slab starts there.
        unsafe {
            *slab.0 = Descriptor {
                start,
                class: SPARE,
                ..Descriptor::NONE
            }
        }
        self.note_spill(slab, Descriptor::SPILL);
        self.open = self.open.wrapping_add(1);
        Ok(slab)
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
            let own = self.directory.add(segment);
            Some(Slab(if (unit as u32) < (*own).start {
                own.sub(1)
            } else {
                own
            }))
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
        slab.slot(unit, slab.class())
    }

    /// As `slot_at`, if it is a slot of this class and of the slab's first word.
    #[inline(always)]
    pub(crate) fn first_slot_of(&self, offset_bytes: usize, class: u8) -> Option<Slot> {
        let unit = Self::unit_at(offset_bytes);
        let slab = self.nearest(unit)?;
        if slab.class() != class {
            return None;
        }
        let class = Self::class(class);
        let (index, is_multiple) = slab.divide(unit, class);
        (is_multiple && index < class.first_slots).then_some(Slot { slab, index })
    }

    /// Whether a slab starts at `granule`: to the block tier it looks like any used block.
    #[inline(always)]
    pub(crate) fn starts_at(&self, granule: usize) -> bool {
        let segment = granule >> SEGMENT_LOG2;
        segment < self.segments && {
            let slab = self.slab(segment as Segment);
            slab.start() as usize == granule * GRANULE_UNITS && slab.class() != NO_CLASS
        }
    }

    /// The slab that starts at `granule`.
    pub(crate) fn slab_at(&self, granule: usize) -> Option<Slab> {
        self.starts_at(granule)
            .then(|| self.slab((granule >> SEGMENT_LOG2) as Segment))
    }

    /// The slab that `offset_bytes` from the pool's start lies in.
    pub(crate) fn slab_around(&self, offset_bytes: usize) -> Option<Slab> {
        let unit = offset_bytes / UNIT_BYTES;
        let slab = self.nearest(unit)?;
        let from_start = (unit as u32).wrapping_sub(slab.start()) as usize;
        (from_start < SLAB_UNITS && slab.class() != NO_CLASS).then_some(slab)
    }

    /// Whether the slot is used.
    pub(crate) fn is_used(slot: Slot) -> bool {
        slot.slab.words()[usize::from(slot.is_in_second_word())] >> (slot.index % WORD_SLOTS) & 1
            == 0
    }

    /// Gives back a slot of the first word. `None`: it was free already, and nothing is changed.
    #[inline(always)]
    pub(crate) fn give_back_first(&mut self, slot: Slot, class: u8) -> Option<Word> {
        self.give_back::<0>(slot.slab, slot.index, class)
    }

    /// Gives back a slot of the second word. `None`: it was free already, and nothing is changed.
    #[inline(always)]
    pub(crate) fn give_back_second(&mut self, slot: Slot, class: u8) -> Option<Word> {
        self.give_back::<1>(slot.slab, slot.index % WORD_SLOTS, class)
    }

    #[inline(always)]
    fn give_back<const WORD: usize>(&mut self, slab: Slab, bit: u32, class: u8) -> Option<Word> {
        let free = slab.word(WORD);
        let now = free | 1 << bit;
        if now == free {
            return None;
        }
        slab.set_word(WORD, now);
        self.count(class, -1);
        Some(if free == 0 && slab.word(1 - WORD) == 0 {
            Word::FirstFree
        } else if now == Self::class(class).all_free[WORD] {
            Word::AllFree
        } else {
            Word::Mixed
        })
    }

    /// The first slot of the slab is free again: it goes on the list of its class, if it ever left.
    #[inline(always)]
    pub(crate) fn first_free(&mut self, slab: Slab, map: Map) {
        if self.head(slab.class()) != self.segment(slab) {
            self.link(slab, map);
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

    /// All slots of a word of the slab are free: if all of the other are too, the slab is kept as the spare one, or goes
    /// back to the block tier if there is one.
    #[inline(always)]
    pub(crate) fn all_free<G: Geometry>(&mut self, slab: Slab, blocks: &mut BlockTier<G>) {
        if slab.words() != Self::class(slab.class()).all_free || !self.is_sound(slab) {
            return;
        }
        self.unlink(slab, blocks.map);
        // SAFETY: the descriptor is of the directory.
        unsafe {
            (*slab.0).free = [0; 2];
            (*slab.0).class = SPARE;
        }
        if self.spare != NO_SEGMENT {
            self.give_back_spare(blocks);
        }
        self.spare = self.segment(slab);
    }

    /// Gives the spare slab back to the block tier. False: there is none, or a link beside it was found overwritten.
    #[inline(never)]
    pub(crate) fn give_back_spare<G: Geometry>(&mut self, blocks: &mut BlockTier<G>) -> bool {
        let Some(slab) = self.sound_slab(self.spare) else {
            return false;
        };
        // SAFETY: the slab covers that pair of the map, is a used block of the tier, and nobody's any more.
        let given_back = unsafe {
            blocks.map.set_pair(slab.pair_index(), Pair::EMPTY);
            blocks.give_back(slab.block()).is_ok()
        };
        if given_back {
            self.spare = NO_SEGMENT;
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
        }
        given_back
    }

    /// The block of the spare slab.
    pub(crate) fn spare_block(&self) -> Option<Run> {
        self.sound_slab(self.spare).map(Slab::block)
    }

    /// Puts a slab at the end of its class's list, which is a ring: the last precedes the first.
    ///
    /// At the end, so that a slab that has just got its first free slot gathers more before its turn
    /// comes: fewer slabs come and go, and the footprint is smaller than with the newest in front.
    #[inline(always)]
    fn link(&mut self, slab: Slab, map: Map) {
        let this = self.segment(slab);
        let class = slab.class();
        // What was overwritten is left alone.
        if !self.is_sound(slab) || class as usize >= CLASSES {
            return;
        }
        let Some(first) = self.sound_slab(self.head(class)) else {
            self.set_head(class, this);
            slab.set_links(
                map,
                Links {
                    next: this,
                    prev: this,
                },
            );
            return;
        };
        let Some(last) = self.sound_slab(first.links(map).prev) else {
            return;
        };
        slab.set_links(
            map,
            Links {
                next: self.segment(first),
                prev: self.segment(last),
            },
        );
        first.set_links(
            map,
            Links {
                prev: this,
                ..first.links(map)
            },
        );
        last.set_links(
            map,
            Links {
                next: this,
                ..last.links(map)
            },
        );
    }

    /// Takes a slab out of its class's list.
    #[inline(always)]
    fn unlink(&mut self, slab: Slab, map: Map) {
        let this = self.segment(slab);
        let class = slab.class();
        // What was overwritten is left alone.
        if !self.is_sound(slab) || class as usize >= CLASSES {
            return;
        }
        let Links { next, prev } = slab.links(map);
        if next == this {
            self.set_head(class, NO_SEGMENT);
            return;
        }
        let (Some(after), Some(before)) = (self.sound_slab(next), self.sound_slab(prev)) else {
            return;
        };
        if self.head(class) == this {
            self.set_head(class, next);
        }
        before.set_links(
            map,
            Links {
                next,
                ..before.links(map)
            },
        );
        after.set_links(
            map,
            Links {
                prev,
                ..after.links(map)
            },
        );
    }

    /// Whether the slab starts in its own segment: one that doesn't was overwritten, and its start not to be followed.
    #[inline(always)]
    fn is_sound(&self, slab: Slab) -> bool {
        slab.start() as usize / SLAB_UNITS == self.segment(slab) as usize
    }

    /// The slab that starts in `segment`, if there is such a segment and it is sound.
    #[inline(always)]
    fn sound_slab(&self, segment: Segment) -> Option<Slab> {
        if segment as usize >= self.segments {
            return None;
        }
        Some(self.slab(segment)).filter(|&slab| self.is_sound(slab))
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
    pub(crate) fn largest_free_slot(&self, align: usize, map: Map) -> usize {
        let has_free = |head: Segment| {
            // Behind a full first slab come only such with a free slot.
            self.sound_slab(head)
                .is_some_and(|slab| slab.words() != [0; 2] || slab.links(map).next != head)
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
    pub(crate) fn check_slab(
        &self,
        slab: Slab,
        map: Map,
        live: &mut Live,
    ) -> Result<(), CheckError> {
        let error = CheckError::Slab {
            offset_bytes: slab.start() as usize * UNIT_BYTES,
        };
        if slab.class() == SPARE {
            live.slabs += 1;
            // One that no list holds was lost to an overwritten link beside it, which the check names.
            return if slab.words() == [0; 2] {
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
        let Class {
            all_free, slots, ..
        } = *Self::class(slab.class());
        let free = slab.words();
        if free[0] & !all_free[0] | free[1] & !all_free[1] != 0 {
            return Err(error);
        }
        let free_slots = free[0].count_ones() + free[1].count_ones();
        *count += slots - free_slots;
        live.slabs += 1;
        if free_slots > 0 || self.heads.contains(&self.segment(slab)) {
            live.listed += 1;
            let Links { next, prev } = slab.links(map);
            let this = self.segment(slab);
            let leads_on = |segment: Segment| {
                self.sound_slab(segment)
                    .is_some_and(|other| other.class() == slab.class())
            };
            if !leads_on(next)
                || !leads_on(prev)
                || self.slab(next).links(map).prev != this
                || self.slab(prev).links(map).next != this
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Checks the lists, the directory and the counters against what all slabs of the map had in all.
    pub(crate) fn check_lists(&self, map: Map, live: &Live) -> Result<(), CheckError> {
        let mut listed = 0;
        for (class, &head) in self.heads.iter().enumerate() {
            let mut segment = head;
            while segment != NO_SEGMENT {
                listed += 1;
                // Every slab with a free slot was found in the map, so more of them than there are is a cycle.
                let slab = self
                    .sound_slab(segment)
                    .filter(|slab| slab.class() as usize == class);
                let Some(slab) = slab.filter(|_| listed <= live.listed) else {
                    return Err(CheckError::SlabList { class });
                };
                segment = Some(slab.links(map).next)
                    .filter(|&next| next != head)
                    .unwrap_or(NO_SEGMENT);
            }
            if live.slots[class] != self.live[class] {
                return Err(CheckError::SlabList { class });
            }
        }
        let segments = || (-1..self.segments as Segment).map(|segment| self.slab(segment));
        let described = segments().filter(|slab| slab.class() != NO_CLASS).count();
        let spills_agree = segments().zip(segments().skip(1)).all(|(before, slab)| {
            slab.class() != NO_CLASS || slab.start() == if before.spills() { u32::MAX } else { 0 }
        });
        if listed != live.listed || [self.open, described] != [live.slabs; 2] || !spills_agree {
            return Err(CheckError::SlabList { class: CLASSES });
        }
        Ok(())
    }
}

//! The descriptor of a slab, and the record of a class.

use core::ptr::{self, NonNull};

use super::classes::{CLASSES_MAX, ClassInfo, WORD_BITS, WORDS};
use crate::sanitizer::hide;

/// A slab, numbered by the directory entry of its first granule, or the head of a class's list.
pub(super) type SlabId = u32;

/// A class, numbered by the offset of its record in bytes. Classes are ordered by their sizes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Class(u16);

impl Class {
    /// The class of no slab.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn new(number: usize) -> Self {
        Self((number * size_of::<Record>()) as u16)
    }

    /// The class whose record lies `offset_bytes` behind the first.
    pub(super) const fn at(offset_bytes: usize) -> Self {
        Self(offset_bytes as u16)
    }

    /// Whether a record lies at this offset. Only an overwritten descriptor has a class without
    /// one.
    pub(super) const fn is_one(self) -> bool {
        self.number() < CLASSES_MAX && self.0 as usize == self.number() * size_of::<Record>()
    }

    pub(super) const fn number(self) -> usize {
        self.0 as usize / size_of::<Record>()
    }

    #[inline(always)]
    pub(super) const fn offset_bytes(self) -> usize {
        self.0 as usize
    }
}

/// A slab's entries in the directory, from the entry of its first granule on.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub(super) struct Descriptor {
    /// The block tier's entry: where the slab starts among the granules of that entry (S2).
    pub(super) start_low: u32,
    /// A set bit is a free slot (S3).
    pub(super) free: [usize; WORDS],
    /// The neighbours in the class's ring (S4).
    pub(super) next: SlabId,
    pub(super) prev: SlabId,
    pub(super) class: Class,
    /// The smallest class that a request of this slab shrank to, while it kept its slot (S7).
    pub(super) least: Class,
}

impl Descriptor {
    /// A class's head: a slab without free slots, alone in its ring.
    pub(super) fn head(head: SlabId) -> Self {
        Self {
            start_low: 0,
            free: [0; WORDS],
            next: head,
            prev: head,
            class: Class::NONE,
            least: Class::NONE,
        }
    }

    /// The address of a word of free bits. It isn't always aligned.
    ///
    /// # Safety
    /// `descriptor` is a slab's or a head's (S9), and `word < WORDS`.
    #[inline(always)]
    pub(super) unsafe fn word(descriptor: *mut Self, word: usize) -> *mut usize {
        debug_assert!(word < WORDS);
        // SAFETY: as promised by the caller. Only the address is computed.
        unsafe { (&raw mut (*descriptor).free).cast::<usize>().wrapping_add(word) }
    }

    /// Whether the slab has a free slot.
    ///
    /// # Safety
    /// `descriptor` is a slab's or a head's (S9).
    #[inline(always)]
    pub(super) unsafe fn has_free(descriptor: *mut Self) -> bool {
        // SAFETY: as promised by the caller.
        let free = unsafe { (*descriptor).free };
        free.into_iter().any(|word| word != 0)
    }

    /// Whether the slot is free. The test is whether setting its bit would change the word, since
    /// that word is needed anyway when the slot is freed.
    ///
    /// # Safety
    /// `descriptor` is a slab's (S9), which has the slot.
    #[inline(always)]
    pub(super) unsafe fn is_free(descriptor: *mut Self, slot: usize) -> bool {
        debug_assert!(slot < WORDS * WORD_BITS);
        // SAFETY: as promised by the caller.
        unsafe {
            let word = Self::word(descriptor, slot / WORD_BITS).read_unaligned();
            Self::with(word, slot) == word
        }
    }

    /// A word of free bits with the bit of a slot set.
    #[inline(always)]
    pub(super) const fn with(word: usize, slot: usize) -> usize {
        word | 1usize.wrapping_shl(slot as u32)
    }
}

/// The record of a class: what is needed to allocate and free its slots.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Record {
    /// The word of free bits that slots are allocated from (S5).
    pub(super) word: *mut usize,
    /// The address of the slot of the word's lowest bit.
    pub(super) slot: *mut u8,
    pub(super) all_free: [usize; WORDS],
    pub(super) slot_bytes: usize,
    pub(super) inverse: u32,
    pub(super) slots: u32,
    /// The number of used slots (S8).
    pub(super) live: u32,
    pub(super) head: SlabId,
}

impl Record {
    pub(super) const fn none() -> Self {
        Self {
            word: ptr::null_mut(),
            slot: ptr::null_mut(),
            all_free: [0; WORDS],
            inverse: 0,
            slot_bytes: 0,
            slots: 0,
            live: 0,
            head: 0,
        }
    }

    pub(super) fn new(info: ClassInfo, head: SlabId) -> Self {
        Self {
            all_free: info.all_free,
            inverse: info.inverse,
            slot_bytes: info.slot_bytes as usize,
            slots: info.slots,
            head,
            ..Self::none()
        }
    }

    /// Allocates the first slot of the record's word.
    ///
    /// # Safety
    /// `free` is the value of the record's word, and not 0.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, free: usize) -> NonNull<[u8]> {
        debug_assert!(free != 0);
        // SAFETY: the word is one of free bits (S5), and the bit found is a free slot (S3), whose
        // address isn't null.
        unsafe {
            self.word.write_unaligned(free & (free - 1));
            self.live = self.live.wrapping_add(1);
            let offset_bytes = free.trailing_zeros() as usize * self.slot_bytes;
            let slot = hide(self.slot).wrapping_add(offset_bytes);
            NonNull::slice_from_raw_parts(NonNull::new_unchecked(slot), self.slot_bytes)
        }
    }
}

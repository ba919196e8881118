//! What is known of a slab, and of a class.

use core::ptr::{self, NonNull};

use super::classes::{CLASSES_MAX, ClassInfo, WORD_BITS, WORDS};
use crate::sanitizer::hide;

/// A slab by the entry of the directory that it begins in, or the head of a class's list.
pub(super) type SlabId = u32;

/// A class by where its record lies among the others, in bytes. They are in the order of their sizes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(super) struct Class(u16);

impl Class {
    /// No slab's.
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn new(number: usize) -> Self {
        Self((number * size_of::<Record>()) as u16)
    }

    /// The class whose record lies so many bytes behind the first.
    pub(super) const fn at(offset_bytes: usize) -> Self {
        Self(offset_bytes as u16)
    }

    /// Whether a record lies there. Only what was written over a descriptor can say otherwise.
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

/// A slab's part of the directory, from the entry of its first granule on.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub(super) struct Descriptor {
    /// The block tier's entry: where the slab begins among the granules of that entry.
    pub(super) start_low: u32,
    /// A set bit is a free slot.
    pub(super) free: [usize; WORDS],
    /// The neighbours in the class's ring. The first slab may have become full since it was put there.
    pub(super) next: SlabId,
    pub(super) prev: SlabId,
    pub(super) class: Class,
    /// The smallest class of which a request was left in a slot of this slab.
    pub(super) least: Class,
}

impl Descriptor {
    /// A class's head: a slab without free slots, in a ring with itself.
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

    /// A word of free bits. It need not be aligned.
    #[inline(always)]
    pub(super) unsafe fn word(descriptor: *mut Self, word: usize) -> *mut usize {
        debug_assert!(word < WORDS);
        // SAFETY: only the address is taken.
        unsafe { (&raw mut (*descriptor).free).cast::<usize>().wrapping_add(word) }
    }

    #[inline(always)]
    pub(super) unsafe fn has_free(descriptor: *mut Self) -> bool {
        // SAFETY: the caller's descriptor is one.
        let free = unsafe { (*descriptor).free };
        free.into_iter().any(|word| word != 0)
    }

    /// Whether the slot is free: whether the word is as it would be if it were, since that is the word to write when it is freed.
    #[inline(always)]
    pub(super) unsafe fn is_free(descriptor: *mut Self, slot: usize) -> bool {
        // SAFETY: the caller's descriptor is one, and has the slot.
        unsafe {
            let word = Self::word(descriptor, slot / WORD_BITS).read_unaligned();
            Self::with(word, slot) == word
        }
    }

    /// A word of free bits with that of a slot.
    #[inline(always)]
    pub(super) const fn with(word: usize, slot: usize) -> usize {
        word | 1usize.wrapping_shl(slot as u32)
    }
}

/// What a class has.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Record {
    /// The word of free bits that slots are taken from.
    pub(super) word: *mut usize,
    /// The slot of its lowest bit.
    pub(super) slot: *mut u8,
    pub(super) all_free: [usize; WORDS],
    pub(super) slot_bytes: usize,
    pub(super) inverse: u32,
    pub(super) slots: u32,
    /// Used slots.
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
    /// `free` is what the word holds, and not 0.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, free: usize) -> NonNull<[u8]> {
        debug_assert!(free != 0);
        // SAFETY: the slot is nobody's (S3).
        unsafe {
            self.word.write_unaligned(free & (free - 1));
            self.live = self.live.wrapping_add(1);
            let offset_bytes = free.trailing_zeros() as usize * self.slot_bytes;
            let slot = hide(self.slot).wrapping_add(offset_bytes);
            NonNull::slice_from_raw_parts(NonNull::new_unchecked(slot), self.slot_bytes)
        }
    }
}

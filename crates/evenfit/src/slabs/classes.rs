//! The sizes of slots, and the class that serves a request.

use super::descriptor::Class;
use crate::geometry::Geometry;

/// The largest request, in bytes, that slabs may serve.
pub(crate) const REQUEST_BYTES_MAX: usize = 512;
/// The number of classes at most. Class 0 belongs to no slab.
pub(super) const CLASSES_MAX: usize = 28;
/// The number of words with a slab's free bits, one bit for each slot.
pub(super) const WORDS: usize = 2;
pub(super) const WORD_BITS: usize = usize::BITS as usize;

/// What all slabs of a class have in common.
#[derive(Clone, Copy)]
pub(super) struct ClassInfo {
    pub(super) slot_bytes: u32,
    pub(super) slots: u32,
    /// Turns a distance in granules into the number of a slot: see [`inverse`].
    pub(super) inverse: u32,
    /// The free bits of an empty slab.
    pub(super) all_free: [usize; WORDS],
}

pub(super) struct Table {
    pub(super) classes: [ClassInfo; CLASSES_MAX],
    /// The number of classes, including class 0.
    pub(super) count: usize,
    /// The class that serves a size.
    pub(super) of_size: [Class; REQUEST_BYTES_MAX + 1],
    /// The largest size that is served, in bytes.
    pub(super) largest: usize,
}

/// A factor that divides by a slot's length of `granules` without a division. With `granules = odd
/// << shift` it is `1 / odd` modulo 2^32, times `2^(16 - shift)`. It turns `n * granules` into `n
/// << 16` modulo 2^32, and a distance that is no multiple into a number whose low bits aren't 0.
const fn inverse(granules: u32) -> u32 {
    let shift = granules.trailing_zeros();
    let odd = granules >> shift;
    // Newton's method: each step doubles the number of correct bits, which starts at three.
    let mut inverse = odd;
    let mut bits = 3;
    while bits < 32 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse << (16 - shift)
}

/// The class of slabs with `slots` slots of `bytes` bytes each.
const fn class<G: Geometry>(bytes: usize, slots: usize) -> ClassInfo {
    let mut all_free = [0usize; WORDS];
    let mut slot = 0;
    while slot < slots {
        all_free[slot / WORD_BITS] |= 1 << (slot % WORD_BITS);
        slot += 1;
    }
    // With a single slot in a word, freeing it would make the word both not full and empty.
    assert!(slots > 1 && all_free[1].count_ones() != 1);
    ClassInfo {
        slot_bytes: bytes as u32,
        slots: slots as u32,
        inverse: inverse((bytes / G::GRANULE_BYTES) as u32),
        all_free,
    }
}

/// The classes: each multiple of the alignment up to 16 granules. Above, for each number of slots
/// in a slab the largest size of which that number fits, if it is at least 16 bytes larger than the
/// last.
pub(super) const fn table<G: Geometry>(slab_granules: usize) -> Table {
    let slab_bytes = slab_granules * G::GRANULE_BYTES;
    let step = G::ALIGN_BYTES;
    let none = ClassInfo { slot_bytes: 0, slots: 0, inverse: 0, all_free: [0; WORDS] };
    let mut table = Table {
        classes: [none; CLASSES_MAX],
        count: 1,
        of_size: [Class::NONE; REQUEST_BYTES_MAX + 1],
        largest: 0,
    };
    let linear_end = 16 * G::GRANULE_BYTES;
    let mut fit = slab_bytes / linear_end;
    let mut size = 0;
    loop {
        let bytes = if table.largest == 0 {
            slab_bytes / (WORDS * WORD_BITS)
        } else if table.largest < linear_end {
            table.largest + step
        } else {
            fit -= 1;
            slab_bytes / fit / 16 * 16
        };
        let bytes = if bytes < 2 * G::GRANULE_BYTES { 2 * G::GRANULE_BYTES } else { bytes };
        if bytes > REQUEST_BYTES_MAX {
            break;
        }
        if table.largest >= linear_end && bytes < table.largest + 16 {
            continue;
        }
        assert!(table.count < CLASSES_MAX && bytes.is_multiple_of(step));
        table.classes[table.count] = class::<G>(bytes, slab_bytes / bytes);
        while size <= bytes {
            table.of_size[size] = Class::new(table.count);
            size += 1;
        }
        table.count += 1;
        table.largest = bytes;
        if fit < 3 {
            break;
        }
    }
    table
}

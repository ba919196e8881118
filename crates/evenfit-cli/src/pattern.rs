//! Filling a block with bytes that tell which block they belong to and where in it.

use std::ops::Range;
use std::ptr::NonNull;

const WORD: usize = size_of::<u64>();

/// The word that block `id` holds at the word index `index`.
fn word(id: u32, index: usize) -> u64 {
    // Odd multipliers (of the golden ratio and of SplitMix64) keep ids and places apart.
    let mixed = (u64::from(id) + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add((index as u64).wrapping_mul(0xBF58_476D_1CE4_E5B9));
    mixed ^ (mixed >> 29)
}

fn byte(id: u32, offset: usize) -> u8 {
    word(id, offset / WORD).to_ne_bytes()[offset % WORD]
}

/// Writes the pattern of block `id` into the bytes `range` of the block at `start`.
///
/// # Safety
/// The range is the caller's to write.
pub unsafe fn fill(start: NonNull<u8>, range: Range<usize>, id: u32) {
    let words = whole_words(&range);
    for offset in (range.start..words.start).chain(words.end..range.end) {
        // SAFETY: within the range.
        unsafe { start.add(offset).write(byte(id, offset)) };
    }
    for offset in words.step_by(WORD) {
        // SAFETY: the whole word is within the range.
        unsafe {
            start
                .add(offset)
                .cast::<u64>()
                .write_unaligned(word(id, offset / WORD))
        };
    }
}

/// The first offset in `range` at which the block at `start` doesn't hold the pattern of block `id`.
///
/// # Safety
/// The range is the caller's to read and was filled before.
pub unsafe fn first_difference(start: NonNull<u8>, range: Range<usize>, id: u32) -> Option<usize> {
    let words = whole_words(&range);
    let differs = |offset: &usize| {
        // SAFETY: within the range.
        unsafe { start.add(*offset).read() != byte(id, *offset) }
    };
    let differing_word = words.clone().step_by(WORD).find(|&offset| {
        // SAFETY: the whole word is within the range.
        let found = unsafe { start.add(offset).cast::<u64>().read_unaligned() };
        found != word(id, offset / WORD)
    });
    (range.start..words.start)
        .find(differs)
        .or_else(|| differing_word.and_then(|at| (at..at + WORD).find(differs)))
        .or_else(|| (words.end..range.end).find(differs))
}

/// The whole words in `range`, counted from the block's start; empty at its end if there is none.
fn whole_words(range: &Range<usize>) -> Range<usize> {
    let start = range.start.next_multiple_of(WORD).min(range.end);
    let end = range.end - range.end % WORD;
    if start < end {
        start..end
    } else {
        range.end..range.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_found_where_it_is() {
        let mut block = [0u8; 61];
        let start = NonNull::from(&mut block).cast::<u8>();
        for range in [0..61, 3..61, 0..5, 3..6, 7..9, 8..16, 5..5] {
            // SAFETY: the ranges lie in `block`, which is used through `start` alone.
            unsafe {
                start.write_bytes(0, 61);
                fill(start, range.clone(), 7);
                assert_eq!(first_difference(start, range.clone(), 7), None);
                for at in range.clone() {
                    let kept = start.add(at).read();
                    start.add(at).write(!kept);
                    assert_eq!(first_difference(start, range.clone(), 7), Some(at));
                    start.add(at).write(kept);
                }
                for outside in (0..61).filter(|at| !range.contains(at)) {
                    assert_eq!(start.add(outside).read(), 0, "{range:?} wrote at {outside}");
                }
            }
        }
    }

    #[test]
    fn the_pattern_of_another_block_or_place_differs() {
        let mut block = [0u8; 64];
        let start = NonNull::from(&mut block).cast::<u8>();
        // SAFETY: as above.
        unsafe {
            fill(start, 0..64, 1);
            assert!(first_difference(start, 0..64, 2).is_some());
            assert!(first_difference(start.add(8), 0..56, 1).is_some());
        }
    }
}

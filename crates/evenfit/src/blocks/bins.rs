//! Which list a free block belongs to.

use super::pool::{Link, end_mark};
use crate::geometry::{Geometry, Table};
use crate::opaque::opaque;

const WORD_BITS: usize = usize::BITS as usize;

/// A list for each short size, and four a doubling from there on: a list of long blocks holds sizes within a quarter of a power of two.
///
/// Between them there is a bin that is never filled, so that "two bins on" from the longest short one is the first long one.
pub(crate) struct Bins<G: Geometry> {
    heads: G::Heads,
    filled: G::Filled,
}

impl<G: Geometry> Bins<G> {
    pub(super) const COUNT: usize = <G::Heads as Table<u32>>::LEN;
    const WORDS: usize = <G::Filled as Table<usize>>::LEN;

    pub(super) fn new() -> Self {
        let mut heads = G::Heads::filled(0);
        for bin in 0..Self::COUNT {
            // SAFETY: bin < COUNT.
            unsafe { heads.set(bin, end_mark(bin)) };
        }
        Self { heads, filled: G::Filled::filled(0) }
    }

    /// The bin of blocks of `len` granules; rises with the length.
    #[inline(always)]
    pub(super) fn of(len: usize) -> usize {
        if len < G::SHORT_END {
            return len;
        }
        const {
            assert!(G::SHORT_END.is_power_of_two() && G::SHORT_END < WORD_BITS);
            assert!(
                G::SHORT_END + 4 * (G::GRANULES_MAX.ilog2() - G::SHORT_END.ilog2()) as usize + 4
                    <= Self::COUNT
            );
        }
        Self::of_long(len, opaque(len.ilog2() as usize))
    }

    /// As `of`, for a length that isn't short, and its logarithm.
    #[inline(always)]
    pub(super) const fn of_long(len: usize, log2: usize) -> usize {
        // The three highest bits of the length are its quarter: 4 to 7.
        let quarter = len >> (log2 - 2);
        log2 * 4 + quarter + G::SHORT_END - 4 * G::SHORT_END.ilog2() as usize - 3
    }

    /// The first block of the bin's list, or the list's end mark.
    #[inline(always)]
    pub(super) unsafe fn head(&self, bin: usize) -> Link {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: the caller's bin is one.
        unsafe { self.heads.get(bin) }
    }

    /// # Safety
    /// `bin` is one, as for all functions here.
    #[inline(always)]
    pub(super) unsafe fn set_head(&mut self, bin: usize, head: Link) {
        // SAFETY: as promised by the caller.
        unsafe { self.heads.set(bin, head) };
    }

    #[inline(always)]
    pub(super) unsafe fn is_filled(&self, bin: usize) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { self.filled.get(bin / WORD_BITS) >> (bin % WORD_BITS) & 1 != 0 }
    }

    #[inline(always)]
    pub(super) unsafe fn mark_filled(&mut self, bin: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let word = self.filled.get(bin / WORD_BITS);
            self.filled.set(bin / WORD_BITS, word | 1 << (bin % WORD_BITS));
        }
    }

    #[inline(always)]
    pub(super) unsafe fn mark_empty(&mut self, bin: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let word = self.filled.get(bin / WORD_BITS);
            self.filled.set(bin / WORD_BITS, word & !(1 << (bin % WORD_BITS)));
        }
    }

    /// The first filled bin whose blocks are all longer than a short `len`, but not by one granule only: that would be left alone.
    #[inline(always)]
    pub(super) fn first_above_short(&self, len: usize) -> Option<usize> {
        debug_assert!(len < G::SHORT_END);
        // SAFETY: there is a first word.
        let first = unsafe { self.filled.get(0) } & (!0b11 << len);
        self.first_from(0, first)
    }

    /// The first filled bin above one of long blocks.
    #[inline(always)]
    pub(super) fn first_above(&self, bin: usize) -> Option<usize> {
        let index = bin / WORD_BITS;
        // SAFETY: the bin is one.
        let word = unsafe { self.filled.get(index) } & (!1 << (bin % WORD_BITS));
        self.first_from(index, word)
    }

    /// The first bin set in `word`, which is what counts of the word at `index`, or in those behind.
    #[inline(always)]
    fn first_from(&self, mut index: usize, mut word: usize) -> Option<usize> {
        while word == 0 {
            index += 1;
            if index >= Self::WORDS {
                return None;
            }
            // SAFETY: index < WORDS.
            word = unsafe { self.filled.get(index) };
        }
        Some(index * WORD_BITS + word.trailing_zeros() as usize)
    }

    /// The last filled bin, which holds a longest listed block.
    pub(super) fn last(&self) -> Option<usize> {
        (0..Self::WORDS).rev().find_map(|index| {
            // SAFETY: index < WORDS.
            let word = unsafe { self.filled.get(index) };
            (word != 0).then(|| index * WORD_BITS + word.ilog2() as usize)
        })
    }
}

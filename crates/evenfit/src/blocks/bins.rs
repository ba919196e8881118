//! Which list a free block belongs to.

use super::pool::{Link, end_mark};
use crate::geometry::{Geometry, Table};
use crate::opaque::opaque;

const WORD_BITS: usize = usize::BITS as usize;

/// One list for each short length, then four lists for each doubling of the length. So a list of
/// long blocks holds lengths within a quarter of a power of two.
///
/// Between the two kinds there is a bin that is never filled. With it, "two bins further" leads
/// from the longest short length to the first list of long blocks.
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

    /// As `of`, for a long length and its logarithm to base 2, rounded down.
    #[inline(always)]
    pub(super) const fn of_long(len: usize, log2: usize) -> usize {
        // The three highest bits of the length, 4 to 7, number its quarter.
        let quarter = len >> (log2 - 2);
        log2 * 4 + quarter + G::SHORT_END - 4 * G::SHORT_END.ilog2() as usize - 3
    }

    /// The first block of the bin's list, or the list's end mark.
    ///
    /// # Safety
    /// `bin < COUNT`, as for all unsafe functions here.
    #[inline(always)]
    pub(super) unsafe fn head(&self, bin: usize) -> Link {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: as promised by the caller.
        unsafe { self.heads.get(bin) }
    }

    /// # Safety
    /// `bin < COUNT`.
    #[inline(always)]
    pub(super) unsafe fn set_head(&mut self, bin: usize, head: Link) {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: as promised by the caller.
        unsafe { self.heads.set(bin, head) };
    }

    #[inline(always)]
    pub(super) unsafe fn is_filled(&self, bin: usize) -> bool {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: as promised by the caller.
        unsafe { self.filled.get(bin / WORD_BITS) >> (bin % WORD_BITS) & 1 != 0 }
    }

    #[inline(always)]
    pub(super) unsafe fn mark_filled(&mut self, bin: usize) {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: as promised by the caller.
        unsafe {
            let word = self.filled.get(bin / WORD_BITS);
            self.filled.set(bin / WORD_BITS, word | 1 << (bin % WORD_BITS));
        }
    }

    #[inline(always)]
    pub(super) unsafe fn mark_empty(&mut self, bin: usize) {
        debug_assert!(bin < Self::COUNT);
        // SAFETY: as promised by the caller.
        unsafe {
            let word = self.filled.get(bin / WORD_BITS);
            self.filled.set(bin / WORD_BITS, word & !(1 << (bin % WORD_BITS)));
        }
    }

    /// The first filled bin whose blocks are all longer than a short `len`, but not by one granule
    /// only: that granule couldn't be a block.
    #[inline(always)]
    pub(super) fn first_above_short(&self, len: usize) -> Option<usize> {
        debug_assert!(len < G::SHORT_END);
        // SAFETY: there is at least one word.
        let first = unsafe { self.filled.get(0) } & (!0b11 << len);
        self.first_from(0, first)
    }

    /// The first filled bin above `bin`, which is one of long blocks.
    #[inline(always)]
    pub(super) fn first_above(&self, bin: usize) -> Option<usize> {
        debug_assert!(bin < Self::COUNT);
        let index = bin / WORD_BITS;
        // SAFETY: `bin < COUNT`, so its word exists.
        let word = unsafe { self.filled.get(index) } & (!1 << (bin % WORD_BITS));
        self.first_from(index, word)
    }

    /// The first bin that is set in `word`, the masked word at `index`, or in the words behind it.
    /// At most `WORDS` steps.
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

    /// The last filled bin. It holds the longest listed block or one of the same quarter.
    pub(super) fn last(&self) -> Option<usize> {
        (0..Self::WORDS).rev().find_map(|index| {
            // SAFETY: index < WORDS.
            let word = unsafe { self.filled.get(index) };
            (word != 0).then(|| index * WORD_BITS + word.ilog2() as usize)
        })
    }
}

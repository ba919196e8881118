//! Bins: lists of free blocks by size, and the two-level bitmap that finds one in a few instructions.
//!
//! Sizes below `2 << D` granules have a bin each; every doubling above is divided into `1 << D` bins
//! (`D`: [`Geometry::BIN_DIVISION_LOG2`]). The lists themselves run through the free blocks: see `links.rs`.

use crate::old::geometry::{Geometry, Link, Table};

/// A free block's size class.
#[inline(always)]
pub(crate) fn bin_of<G: Geometry>(granules: usize) -> usize {
    let division = G::BIN_DIVISION_LOG2;
    let exponent = (granules | 1 << division).ilog2() - division;
    ((exponent as usize) << division) + (granules >> exponent)
}

/// Sizes below this have a bin of their own.
pub(crate) const fn exact_below<G: Geometry>() -> usize {
    2 << G::BIN_DIVISION_LOG2
}

/// What ends the list of `bin`: a value of its own for each bin, above every granule number,
/// so that neither a list's end nor memory filled with one byte passes for the end of another list.
#[inline(always)]
pub(crate) fn end_mark<G: Geometry>(bin: usize) -> G::Link {
    G::Link::pack(G::Link::MAX - 1 - bin)
}

/// The bin whose list a link ends; no bin if it is no end mark.
#[inline(always)]
pub(crate) fn bin_ended_by<G: Geometry>(link: usize) -> usize {
    (G::Link::MAX - 1).wrapping_sub(link)
}

/// The most granules a pool may have: link values below the end marks.
pub(crate) const fn max_granules<G: Geometry>() -> usize {
    <G::Link as Link>::MAX - 1 - G::BINS
}

/// The heads of the lists and the bitmap of those that aren't empty.
pub(crate) struct Bins<G: Geometry> {
    /// Bit w: some bin of word w isn't empty.
    summary: u64,
    words: G::Words,
    heads: G::Heads,
}

impl<G: Geometry> Bins<G> {
    pub(crate) fn new() -> Self {
        let mut bins = Self {
            summary: 0,
            words: G::Words::filled(0),
            heads: G::Heads::filled(G::Link::pack(0)),
        };
        for bin in 0..G::BINS {
            // SAFETY: bin < BINS, the length of the table.
            unsafe { bins.heads.set(bin, end_mark::<G>(bin)) }
        }
        bins
    }

    /// The first block of `bin`, or its end mark.
    ///
    /// # Safety
    /// `bin < BINS`.
    #[inline(always)]
    pub(crate) unsafe fn head(&self, bin: usize) -> G::Link {
        // SAFETY: as promised by the caller.
        unsafe { self.heads.get(bin) }
    }

    /// Makes `link`, a block or the end mark, the first of `bin`.
    ///
    /// # Safety
    /// `bin < BINS`, and the bitmap is told by `mark_filled` or `mark_empty` if it must be.
    #[inline(always)]
    pub(crate) unsafe fn set_head(&mut self, bin: usize, link: G::Link) {
        // SAFETY: as promised by the caller.
        unsafe { self.heads.set(bin, link) }
    }

    /// Tells the bitmap that `bin` holds a block.
    ///
    /// # Safety
    /// `bin < BINS`.
    #[inline(always)]
    pub(crate) unsafe fn mark_filled(&mut self, bin: usize) {
        // SAFETY: as promised by the caller; there is a word for every 64 bins.
        unsafe {
            self.words
                .set(bin / 64, self.words.get(bin / 64) | 1 << (bin % 64))
        }
        self.summary |= 1 << (bin / 64);
    }

    /// Tells the bitmap that `bin` holds none.
    ///
    /// # Safety
    /// `bin < BINS`.
    #[inline(always)]
    pub(crate) unsafe fn mark_empty(&mut self, bin: usize) {
        // SAFETY: as promised by the caller; there is a word for every 64 bins.
        unsafe {
            let word = self.words.get(bin / 64) & !(1 << (bin % 64));
            self.words.set(bin / 64, word);
            if word == 0 {
                self.summary &= !(1 << (bin / 64));
            }
        }
    }

    /// The first bin at or after `bin` that isn't empty.
    ///
    /// # Safety
    /// `bin <= BINS`.
    #[inline(always)]
    pub(crate) unsafe fn first_filled(&self, bin: usize) -> Option<usize> {
        const {
            assert!(
                !G::BINS.is_multiple_of(64),
                "the bin after the last has a word"
            )
        }
        debug_assert!(bin <= G::BINS);
        let index = bin / 64;
        // SAFETY: bin <= BINS, which is no multiple of 64, and there is a word for every 64 bins.
        let word = unsafe { self.words.get(index) } & (!0 << (bin % 64));
        if word != 0 {
            return Some(index * 64 + word.trailing_zeros() as usize);
        }
        let later = self.summary & (!1 << index);
        if later == 0 {
            return None;
        }
        let index = later.trailing_zeros() as usize;
        // SAFETY: a bit of the summary stands for a word that exists.
        let word = unsafe { self.words.get(index) };
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// The last bin that isn't empty.
    pub(crate) fn last_filled(&self) -> Option<usize> {
        let index = self.summary.checked_ilog2()? as usize;
        // SAFETY: a bit of the summary stands for a word that exists.
        let word = unsafe { self.words.get(index) };
        Some(index * 64 + word.checked_ilog2()? as usize)
    }

    /// Whether the bitmap says that `bin` holds a block.
    pub(crate) fn is_filled(&self, bin: usize) -> bool {
        // SAFETY: of the bins before BINS only.
        bin < G::BINS && unsafe { self.first_filled(bin) } == Some(bin)
    }
}

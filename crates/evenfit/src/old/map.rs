//! The map: the out-of-band record of where blocks start and which are free.
//!
//! Two bits a granule, in two bitmaps `U` and `X` interleaved by word: a *pair* `[U, X]` covers 64 granules.
//!
//! | U | X | the granule |
//! |---|---|---|
//! | 0 | 0 | inside a block |
//! | 1 | 0 | a used block starts here |
//! | 1 | 1 | a used block starts here and the block before it is free |
//! | 0 | 1 | a free block starts here |
//!
//! The top's first granule carries `U = 1, X = 0`, so every block ends at a mark.
//!
//! A block's size is the distance to the next mark. A block so long that it *covers* whole pairs
//! (no mark of its own falls into them) keeps its size in the first and in the last pair it covers:
//!
//! ```text
//!   pair      k          k+1        k+2        k+3        k+4
//!   granules  ....S----  ---------  ---------  ---------  --S......
//!                 start  size word     0       size word    next start
//! ```
//!
//! A size word has `U = 0` and at least two bits of `X` set. Marks can't look like that: two starts of free blocks
//! always have the start of a used block between them, so a pair with `U = 0` holds at most one mark.
//! Sizes and neighbours are therefore found in two pairs at most, in either direction, however long a block is,
//! and nothing written into the pool can change them.

/// Granules that one pair describes.
pub(crate) const PAIR_GRANULES: usize = 64;

/// The map's words for 64 granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Pair {
    pub(crate) u: u64,
    pub(crate) x: u64,
}

/// Both bits of one granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Inside,
    Used,
    UsedAfterFree,
    Free,
}

impl Pair {
    pub(crate) const EMPTY: Self = Self { u: 0, x: 0 };

    /// The bits that every size word has: no other pair with `U = 0` has both. Those between are the size's.
    pub(crate) const SIZE: u64 = 1 | 1 << 63;

    /// The pair that a block of `granules` keeps where it covers a whole pair.
    #[inline(always)]
    pub(crate) fn size_word(granules: usize) -> Self {
        Self {
            u: 0,
            x: (granules as u64) << 1 | Self::SIZE,
        }
    }

    /// The size in granules kept here, if this pair is covered by a block.
    #[inline(always)]
    pub(crate) fn covered_by(self) -> Option<usize> {
        if self.u == 0 && self.x & self.x.wrapping_sub(1) != 0 {
            Some(((self.x & !(1 << 63)) >> 1) as usize)
        } else {
            None
        }
    }

    #[inline(always)]
    pub(crate) fn marks(self) -> u64 {
        self.u | self.x
    }
}

/// A pointer to the first pair. Every function's safety rests on `granule / 64` being a pair of the map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pairs: *mut Pair,
}

#[inline(always)]
fn bit(granule: usize) -> u64 {
    1u64 << (granule % PAIR_GRANULES)
}

impl Map {
    /// Bytes of map for a pool of `granules`: one more granule is described, so that a mark ends the last block.
    pub(crate) const fn bytes(granules: usize) -> usize {
        Self::pairs(granules) * size_of::<Pair>()
    }

    pub(crate) const fn pairs(granules: usize) -> usize {
        granules / PAIR_GRANULES + 1
    }

    /// # Safety
    /// `pairs` points to `Map::bytes(granules)` writable bytes, aligned for u64, that nothing else touches.
    pub(crate) unsafe fn format(pairs: *mut Pair, granules: usize) -> Self {
        for index in 0..Self::pairs(granules) {
            // SAFETY: index is one of the pairs.
            unsafe { pairs.add(index).write(Pair::EMPTY) }
        }
        Self { pairs }
    }

    /// # Safety
    /// As for `format`, and all those bytes are zero: so is an empty map.
    pub(crate) unsafe fn of_zeroes(pairs: *mut Pair) -> Self {
        Self { pairs }
    }

    /// Where it lies.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn address(self) -> *const Pair {
        self.pairs
    }

    /// Empties a map that has no mark beyond `top`.
    ///
    /// # Safety
    /// `top` is in the map.
    pub(crate) unsafe fn reformat(self, top: usize) -> Self {
        // SAFETY: the pairs up to the top's are this map's.
        unsafe { Self::format(self.pairs, top) }
    }

    /// # Safety
    /// `index` is a pair of the map.
    #[inline(always)]
    pub(crate) unsafe fn pair(self, index: usize) -> Pair {
        // SAFETY: the caller keeps index inside the map.
        unsafe { *self.pairs.add(index) }
    }

    /// What the pair at `index` keeps in the form of a size: see `Pair::SIZE`.
    ///
    /// # Safety
    /// `index` is a pair of the map.
    #[inline(always)]
    pub(crate) unsafe fn size_word_at(self, index: usize) -> u64 {
        // SAFETY: as promised by the caller.
        unsafe { (*self.pairs.add(index)).x }
    }

    /// # Safety
    /// As for `size_word_at`; a block covers that pair, and the word has all bits of `Pair::SIZE`.
    #[inline(always)]
    pub(crate) unsafe fn set_size_word_at(self, index: usize, word: u64) {
        // SAFETY: as promised by the caller.
        unsafe { (*self.pairs.add(index)).x = word }
    }

    /// # Safety
    /// `granule` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn mark(self, granule: usize) -> Mark {
        // SAFETY: as promised by the caller.
        let pair = unsafe { self.pair(granule / PAIR_GRANULES) };
        let (u, x) = (pair.u & bit(granule) != 0, pair.x & bit(granule) != 0);
        match (u, x) {
            (false, false) => Mark::Inside,
            (true, false) => Mark::Used,
            (true, true) => Mark::UsedAfterFree,
            (false, true) => Mark::Free,
        }
    }

    /// Whether a free block starts at `granule`.
    ///
    /// # Safety
    /// `granule` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn is_free(self, granule: usize) -> bool {
        // SAFETY: as promised by the caller.
        let pair = unsafe { self.pair(granule / PAIR_GRANULES) };
        (pair.x & !pair.u) >> (granule % PAIR_GRANULES) & 1 != 0
    }

    /// `is_free` for a granule that need not be marked: a size word's bits don't pass for a free block's mark.
    ///
    /// # Safety
    /// `granule` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn is_marked_free(self, granule: usize) -> bool {
        // SAFETY: as promised by the caller.
        let pair = unsafe { self.pair(granule / PAIR_GRANULES) };
        (pair.x & !pair.u) >> (granule % PAIR_GRANULES) & 1 != 0
            && (pair.u != 0 || pair.x & (pair.x - 1) == 0)
    }

    /// The one update of every allocation: the free block at `start` is used now, and what begins at `end` learns that the
    /// block before it is.
    ///
    /// # Safety
    /// Both are in the map.
    #[inline(always)]
    pub(crate) unsafe fn claim(self, start: usize, end: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let pair = self.pairs.add(start / PAIR_GRANULES);
            (*pair).u |= bit(start);
            (*pair).x ^= bit(start);
            (*self.pairs.add(end / PAIR_GRANULES)).x ^= bit(end);
        }
    }

    /// The one update of every free: the used block at `start` is free now, or the end of a free one if it followed one,
    /// and what begins at `end` learns that the block before it is, or is no start any more if it was free itself.
    ///
    /// # Safety
    /// Both are in the map.
    #[inline(always)]
    pub(crate) unsafe fn release(self, start: usize, end: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let pair = self.pairs.add(start / PAIR_GRANULES);
            (*pair).u &= !bit(start);
            (*pair).x ^= bit(start);
            (*self.pairs.add(end / PAIR_GRANULES)).x ^= bit(end);
        }
    }

    /// Changes only the hands of the block at `start`.
    ///
    /// # Safety
    /// `start` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn toggle_start(self, start: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let pair = self.pairs.add(start / PAIR_GRANULES);
            (*pair).u ^= bit(start);
            (*pair).x ^= bit(start);
        }
    }

    /// Tells what begins at `end` that the block before it changed hands.
    ///
    /// # Safety
    /// `end` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn toggle_end(self, end: usize) {
        // SAFETY: as promised by the caller.
        unsafe { (*self.pairs.add(end / PAIR_GRANULES)).x ^= bit(end) }
    }

    /// Sets or clears the mark of a used block or of the top at `granule`.
    ///
    /// # Safety
    /// `granule` is in the map.
    #[inline(always)]
    pub(crate) unsafe fn toggle_used(self, granule: usize) {
        // SAFETY: as promised by the caller.
        unsafe { (*self.pairs.add(granule / PAIR_GRANULES)).u ^= bit(granule) }
    }

    /// Whether a block from `start` to `end` covers a whole pair.
    #[inline(always)]
    pub(crate) fn covers(start: usize, end: usize) -> bool {
        end / PAIR_GRANULES > start / PAIR_GRANULES + 1
    }

    /// Writes the size words of a block from `start` to `end`, where it covers whole pairs.
    ///
    /// # Safety
    /// `start < end`, both are in the map, and no mark lies between them.
    #[inline(always)]
    pub(crate) unsafe fn write_size(self, start: usize, end: usize) {
        if Self::covers(start, end) {
            // SAFETY: both pairs lie between those of start and end.
            unsafe { self.write_covered_size(start, end) }
        }
    }

    /// `write_size` of a block that covers a pair.
    ///
    /// # Safety
    /// As for `write_size`, and it does.
    #[inline(always)]
    pub(crate) unsafe fn write_covered_size(self, start: usize, end: usize) {
        // SAFETY: both pairs lie between those of start and end.
        unsafe { self.write_covered(start, end, Pair::size_word(end - start)) }
    }

    /// Takes the size words of a block from `start` to `end` out again.
    ///
    /// # Safety
    /// As for `write_size`.
    #[inline(always)]
    pub(crate) unsafe fn clear_size(self, start: usize, end: usize) {
        if Self::covers(start, end) {
            // SAFETY: both pairs lie between those of start and end.
            unsafe { self.write_covered(start, end, Pair::EMPTY) }
        }
    }

    /// # Safety
    /// The block covers a pair.
    #[inline(always)]
    unsafe fn write_covered(self, start: usize, end: usize, pair: Pair) {
        // SAFETY: both pairs lie between those of start and end. U is 0 in a covered pair already.
        unsafe {
            (*self.pairs.add(start / PAIR_GRANULES + 1)).x = pair.x;
            (*self.pairs.add(end / PAIR_GRANULES - 1)).x = pair.x;
        }
    }

    /// Where the block at `start` ends: at the next mark.
    ///
    /// # Safety
    /// `start` is marked, below the top, and the pair after its own is in the map or the block ends in its own.
    #[inline(always)]
    pub(crate) unsafe fn end_of(self, start: usize) -> usize {
        let index = start / PAIR_GRANULES;
        // SAFETY: as promised by the caller.
        let later = (unsafe { self.pair(index) }.marks() >> (start % PAIR_GRANULES)) >> 1;
        if later != 0 {
            return start + 1 + later.trailing_zeros() as usize;
        }
        // SAFETY: no mark follows in this pair, and one must before the map ends.
        let next = unsafe { self.pair(index + 1) };
        match next.covered_by() {
            Some(granules) => start.wrapping_add(granules),
            None => (index + 1) * PAIR_GRANULES + next.marks().trailing_zeros() as usize,
        }
    }

    /// `end_of` for a map that may hold anything: `None` if the block would not end by `top`.
    ///
    /// # Safety
    /// `start < top`, and `top` is in the map.
    pub(crate) unsafe fn end_by(self, start: usize, top: usize) -> Option<usize> {
        let index = start / PAIR_GRANULES;
        // SAFETY: the pair of start is in the map.
        let later = (unsafe { self.pair(index) }.marks() >> (start % PAIR_GRANULES)) >> 1;
        if later == 0 && index == top / PAIR_GRANULES {
            return None;
        }
        // SAFETY: the block ends in its own pair, or the next is in the map.
        let end = unsafe { self.end_of(start) };
        (start < end && end <= top).then_some(end)
    }

    /// Where the block that ends at `end` starts; `end` itself if the map is garbage there.
    ///
    /// # Safety
    /// `end` is marked and a block lies before it.
    #[inline(always)]
    pub(crate) unsafe fn start_before(self, end: usize) -> usize {
        let index = end / PAIR_GRANULES;
        // SAFETY: as promised by the caller.
        let marks = unsafe { self.pair(index) }.marks();
        let earlier = marks & (bit(end) - 1);
        if earlier != 0 {
            return index * PAIR_GRANULES + 63 - earlier.leading_zeros() as usize;
        }
        if index == 0 {
            return end;
        }
        // SAFETY: it is the pair before one in the map.
        let previous = unsafe { self.pair(index - 1) };
        match previous.covered_by() {
            Some(granules) => end.wrapping_sub(granules),
            None => {
                (index * PAIR_GRANULES).wrapping_sub(1 + previous.marks().leading_zeros() as usize)
            }
        }
    }
}

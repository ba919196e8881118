//! The map: one bit for each granule, outside of the pool, so that nothing written into a block
//! reaches it.

use core::ptr::NonNull;

/// The address of the map's bits. The bit of granule g is bit g + 2, so the word read at g shows
/// two granules before it. Copies refer to the same memory.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    bits: NonNull<u8>,
}

/// Where a window shows a mark: at the granule that it was read at, and at the one behind.
pub(super) const HERE: usize = 1 << 2;
pub(super) const NEXT: usize = 1 << 3;
/// The two granules before.
pub(super) const TWO_BEFORE: usize = 0b11;
/// The first two granules of a free block.
pub(super) const FREE_START: usize = HERE | NEXT;

impl Map {
    /// The length of a map for `granules` granules. A window is read and written as one word, from
    /// the byte of its first bit on, so the map is a word longer than its bits.
    pub(crate) const fn bytes(granules: usize) -> usize {
        granules / 8 + size_of::<usize>()
    }

    /// # Safety
    /// The bytes that [`bytes`](Self::bytes) counts are used by this map alone, as long as it is
    /// used. They are zero.
    pub(crate) const unsafe fn new(bits: NonNull<u8>) -> Self {
        Self { bits }
    }

    pub(crate) fn start(self) -> NonNull<u8> {
        self.bits
    }

    #[inline(always)]
    fn word(self, granule: usize) -> *mut usize {
        self.bits.as_ptr().wrapping_add(granule / 8).cast()
    }

    /// What the map shows around a granule.
    ///
    /// # Safety
    /// The granule is at most the one that the map was made for, as for all unsafe functions here.
    #[inline(always)]
    pub(crate) unsafe fn window(self, granule: usize) -> Window {
        // SAFETY: the map is a word longer than its bits (I8).
        Window(unsafe { self.word(granule).read_unaligned() } >> (granule % 8))
    }

    /// Whether a granule lies in a free block, as far as one window tells. It can't tell if the
    /// block starts before the window.
    ///
    /// # Safety
    /// As for `window`.
    #[cold]
    pub(super) unsafe fn shows_free_around(self, granule: usize) -> bool {
        // SAFETY: as promised by the caller. A window is also read at a granule before, which the
        // map has too.
        unsafe {
            let window = self.window(granule);
            if window.is_marked() {
                return !window.is_used_start();
            }
            let back = granule.min(usize::BITS as usize - 9);
            let before = self.window(granule - back).0 & ((1 << (back + 2)) - 1);
            // A free block starts with two marks behind a granule without one. Two marks directly
            // before another mark are the end of a free block.
            before.checked_ilog2().is_some_and(|log2| log2 >= 2 && before >> (log2 - 2) == 0b110)
        }
    }

    /// # Safety
    /// As for `window`; `marks` are at most `usize::BITS - 7` bits.
    #[inline(always)]
    pub(super) unsafe fn set(self, granule: usize, marks: usize) {
        debug_assert!(marks >> (usize::BITS - 7) == 0);
        let word = self.word(granule);
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned(word.read_unaligned() | marks << (granule % 8)) }
    }

    /// # Safety
    /// As for `set`.
    #[inline(always)]
    pub(super) unsafe fn clear(self, granule: usize, marks: usize) {
        debug_assert!(marks >> (usize::BITS - 7) == 0);
        let word = self.word(granule);
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned(word.read_unaligned() & !(marks << (granule % 8))) }
    }

    /// Flips some marks and sets others.
    ///
    /// # Safety
    /// As for `set`.
    #[inline(always)]
    pub(super) unsafe fn flip_and_set(self, granule: usize, flipped: usize, set: usize) {
        debug_assert!((flipped | set) >> (usize::BITS - 7) == 0);
        let word = self.word(granule);
        let shift = granule % 8;
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned((word.read_unaligned() ^ flipped << shift) | set << shift) }
    }

    /// # Safety
    /// As for `set`.
    #[inline(always)]
    pub(super) unsafe fn flip(self, granule: usize, marks: usize) {
        debug_assert!(marks >> (usize::BITS - 7) == 0);
        let word = self.word(granule);
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned(word.read_unaligned() ^ marks << (granule % 8)) }
    }
}

/// What the map shows around a granule g: bit 0 is granule g - 2, bit 2 is g itself. At least the
/// low `usize::BITS - 7` bits are valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(super) usize);

impl Window {
    /// Whether a used block starts here. From two granules before on, the marks are then `.010`,
    /// `1110` or `0110`.
    #[inline(always)]
    pub(crate) fn is_used_start(self) -> bool {
        const USED: u32 = 1 << 0b0100 | 1 << 0b0101 | 1 << 0b0111;
        USED >> (self.0 & 15) & 1 != 0
    }

    /// Whether a free block starts here, or its last two granules do.
    #[inline(always)]
    pub(crate) fn is_free_start(self) -> bool {
        self.0 & 0b1110 == FREE_START
    }

    /// Whether the block that ends before this granule is free. One must end there.
    #[inline(always)]
    pub(super) fn follows_free(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// Whether the block that starts here is free. One must start here.
    #[inline(always)]
    pub(super) fn starts_free(self) -> bool {
        self.0 & NEXT != 0
    }

    /// Whether the block that starts `len` granules further is free. `len` is a short length, or
    /// the shortest long one.
    #[inline(always)]
    pub(super) fn shows_free_behind(self, len: usize) -> bool {
        self.0 >> len & NEXT != 0
    }

    /// Whether a block, used or free, or the top starts here. No block may cover this granule and
    /// start before it.
    #[inline(always)]
    pub(crate) fn is_marked(self) -> bool {
        self.0 & HERE != 0
    }

    /// Whether a free block of exactly one short length starts here: two marks at its start, two at
    /// its end, then a used block's start. `bit` is two to the power of the length.
    #[inline(always)]
    pub(super) fn is_short_free(self, bit: usize) -> bool {
        self.0 & (bit * 16 - 2) == (bit * 7) | FREE_START
    }

    /// Whether a used block of at least `short_end` granules starts here, if the granules before
    /// allow a start.
    #[inline(always)]
    pub(super) fn is_long_used(self, short_end: usize) -> bool {
        self.0 & ((1 << (short_end + 2)) - 4) == HERE
    }

    /// Whether a free block of at least `short_end` granules starts here.
    #[inline(always)]
    pub(super) fn is_long_free(self, short_end: usize) -> bool {
        self.0 & ((1 << short_end) - 2) == FREE_START
    }

    /// Whether the free block that starts here has at least `short_end` granules. The marks before
    /// it are ignored, since the block before may be in the course of being merged.
    #[inline(always)]
    pub(super) fn is_long(self, short_end: usize) -> bool {
        self.0 & ((1 << short_end) - HERE) == FREE_START
    }

    /// The length of the used block that starts here, if it is short. Less than two granules if
    /// none starts here.
    #[inline(always)]
    pub(super) fn short_used_len(self) -> usize {
        // The position of the next mark, or of this granule if it has no mark.
        let next = (self.0 ^ HERE) & !TWO_BEFORE;
        next.trailing_zeros() as usize - 2
    }

    /// The length of the free block that starts here, if it is short. Behind its first two marks
    /// come its last ones and the start of a used block, without a gap between: `11` `1` for two
    /// granules, `1` `11` `1` for three, and so on.
    #[inline(always)]
    pub(super) fn short_free_len(self) -> usize {
        let behind = self.0 >> 4;
        let lowest = behind & behind.wrapping_neg();
        behind.wrapping_add(lowest).trailing_zeros() as usize + 1
    }
}

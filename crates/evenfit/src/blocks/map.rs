//! The map: one bit for each granule, out of the pool's band, so that nothing written into a block reaches it.

use core::ptr::NonNull;

/// Where the bits of the map lie. Bit `g + 2` of the stream is granule g's, so that the word read at g shows two granules before it.
/// Copies refer to the same memory.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    bits: NonNull<u8>,
}

/// Marks by where a window shows them: the granule it was opened at, and the one behind.
pub(super) const HERE: usize = 1 << 2;
pub(super) const NEXT: usize = 1 << 3;
/// The two granules before.
pub(super) const TWO_BEFORE: usize = 0b11;
/// The first two granules of a free block.
pub(super) const FREE_START: usize = HERE | NEXT;

impl Map {
    /// A window is read and written as one word, from the byte of its first bit on.
    pub(crate) const fn bytes(granules: usize) -> usize {
        granules / 8 + size_of::<usize>()
    }

    /// # Safety
    /// So many bytes as `bytes` says are the map's alone, as long as it is used, and zero.
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
    /// The granule is at most the pool's end, as for all functions here.
    #[inline(always)]
    pub(crate) unsafe fn window(self, granule: usize) -> Window {
        // SAFETY: the map is a word longer than the end's byte.
        Window(unsafe { self.word(granule).read_unaligned() } >> (granule % 8))
    }

    /// Whether a granule lies in a free block, as far as one window tells: it doesn't show the start of a block that is longer.
    ///
    /// # Safety
    /// As for `window`.
    #[cold]
    pub(super) unsafe fn shows_free_around(self, granule: usize) -> bool {
        // SAFETY: at most the granule.
        unsafe {
            let window = self.window(granule);
            if window.is_marked() {
                return !window.is_used_start();
            }
            let back = granule.min(usize::BITS as usize - 9);
            let before = self.window(granule - back).0 & ((1 << (back + 2)) - 1);
            // A free block starts with two marks, behind a granule without; those before a used block's start are a free one's end.
            before.checked_ilog2().is_some_and(|log2| log2 >= 2 && before >> (log2 - 2) == 0b110)
        }
    }

    /// # Safety
    /// As for `window`; `marks` are at most `usize::BITS - 7` bits.
    #[inline(always)]
    pub(super) unsafe fn set(self, granule: usize, marks: usize) {
        let word = self.word(granule);
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned(word.read_unaligned() | marks << (granule % 8)) }
    }

    /// # Safety
    /// As for `set`.
    #[inline(always)]
    pub(super) unsafe fn clear(self, granule: usize, marks: usize) {
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
        let word = self.word(granule);
        let shift = granule % 8;
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned((word.read_unaligned() ^ flipped << shift) | set << shift) }
    }

    /// # Safety
    /// As for `set`.
    #[inline(always)]
    pub(super) unsafe fn flip(self, granule: usize, marks: usize) {
        let word = self.word(granule);
        // SAFETY: as in `window`.
        unsafe { word.write_unaligned(word.read_unaligned() ^ marks << (granule % 8)) }
    }
}

/// What the map shows of a granule g: bit 0 is granule g - 2, bit 2 is g itself. At least `usize::BITS - 7` bits are valid.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(super) usize);

impl Window {
    /// A used block starts here. Its marks and what surrounds it can be `.010`, `1110` and `0110`, from two before on.
    #[inline(always)]
    pub(crate) fn is_used_start(self) -> bool {
        const USED: u32 = 1 << 0b0100 | 1 << 0b0101 | 1 << 0b0111;
        USED >> (self.0 & 15) & 1 != 0
    }

    /// A free block starts here, or the last two granules of one do.
    #[inline(always)]
    pub(crate) fn is_free_start(self) -> bool {
        self.0 & 0b1110 == FREE_START
    }

    /// If a block ends before this granule: it is free.
    #[inline(always)]
    pub(super) fn follows_free(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// If a block starts here: it is free.
    #[inline(always)]
    pub(super) fn starts_free(self) -> bool {
        self.0 & NEXT != 0
    }

    /// The block that starts `len` granules on is free; `len` is short, or longer than that by one.
    #[inline(always)]
    pub(super) fn shows_free_behind(self, len: usize) -> bool {
        self.0 >> len & NEXT != 0
    }

    /// A block, used or free, or the top starts here, if it is known that none covers this granule.
    #[inline(always)]
    pub(crate) fn is_marked(self) -> bool {
        self.0 & HERE != 0
    }

    /// A free block starts here of just the short length of which `bit` is the power of two: two marks, and two marks and a used
    /// block's start where it ends.
    #[inline(always)]
    pub(super) fn is_short_free(self, bit: usize) -> bool {
        self.0 & (bit * 16 - 2) == (bit * 7) | FREE_START
    }

    /// A used block starts here that is no shorter than `short_end`, if what is before allows a start.
    #[inline(always)]
    pub(super) fn is_long_used(self, short_end: usize) -> bool {
        self.0 & ((1 << (short_end + 2)) - 4) == HERE
    }

    /// A free block starts here that is no shorter than `short_end`.
    #[inline(always)]
    pub(super) fn is_long_free(self, short_end: usize) -> bool {
        self.0 & ((1 << short_end) - 2) == FREE_START
    }

    /// The free block that starts here is no shorter than `short_end`. What is before doesn't matter: it may be being merged.
    #[inline(always)]
    pub(super) fn is_long(self, short_end: usize) -> bool {
        self.0 & ((1 << short_end) - HERE) == FREE_START
    }

    /// The length of the used block that starts here, which is short; less than two granules if none starts here.
    #[inline(always)]
    pub(super) fn short_used_len(self) -> usize {
        // Where the next mark is; or at this granule, if it has none.
        let next = (self.0 ^ HERE) & !TWO_BEFORE;
        next.trailing_zeros() as usize - 2
    }

    /// The length of the free block that starts here, which is short. Behind its first two granules there are its last ones and
    /// then a used block's start, without a gap between: `11` `1` for two granules, `1` + `11` `1` for three, and so on.
    #[inline(always)]
    pub(super) fn short_free_len(self) -> usize {
        let behind = self.0 >> 4;
        let lowest = behind & behind.wrapping_neg();
        behind.wrapping_add(lowest).trailing_zeros() as usize + 1
    }
}

//! How finely a pool is cut, and how wide the numbers are that describe it.

use core::fmt::Debug;

/// The constants of a pool: its granule, the alignment of its blocks and the width of its directory.
///
/// Implemented by [`Standard`], [`Aligned`], [`Wide`] and [`Compact`]; sealed, since the heap's proofs cover just these.
pub trait Geometry: sealed::Sealed + Copy + Debug + 'static {
    /// The unit that the pool is cut into, in bytes: a power of two. A block has at least two granules.
    const GRANULE_BYTES: usize;
    /// In bytes: addresses and lengths of all blocks are multiples of it.
    const ALIGN_BYTES: usize;
    /// The most granules that a pool can have.
    const GRANULES_MAX: usize;
    /// Whether a heap of this geometry can have slabs.
    const HAS_SLABS: bool;
    /// Blocks of fewer granules are *short*: there is a bin for each of their sizes, and the map alone tells where they end.
    /// The directory has an entry for as many granules.
    #[doc(hidden)]
    const SHORT_END: usize;
    /// An entry of the directory: the length of a long block, in granules.
    #[doc(hidden)]
    type Length: Length;
    /// The first block of each bin's list.
    #[doc(hidden)]
    type Heads: Table<u32>;
    /// A bit for each bin: set if its list has a block.
    #[doc(hidden)]
    type Filled: Table<usize>;
}

/// Granules of 8 bytes, pools of up to 32 GiB less 512 KiB. The default on 64-bit machines, where its metadata are 1/32 of the
/// pool; on 32-bit machines, where windows of the map are shorter, 3/64.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

/// As [`Standard`], but every block and every slot is aligned to 16 bytes, and sizes are rounded up to multiples of 16: what C's
/// `malloc` promises on 64-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Aligned;

/// Granules of 16 bytes, pools of up to 64 GiB less 1 MiB: for what is too large for [`Standard`]. The shortest block has 32
/// bytes; metadata are 1/64 of the pool on 64-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Wide;

/// Granules of 8 bytes and a directory of 16-bit numbers: pools of up to 511 KiB, blocks only, metadata of 1/32 of the pool. The
/// default on 32-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Compact;

/// A window of the map must show a short block and what surrounds it, so the width of a word decides.
const SHORT_END: usize = if usize::BITS == 64 { 32 } else { 16 };

/// How many bins number all sizes up to `1 << log2` granules: one for each short size, one that is never filled, then four a
/// doubling.
const fn bins(short_end: usize, log2: u32) -> usize {
    short_end + 1 + 4 * (log2 - short_end.ilog2()) as usize
}

const BINS: usize = bins(SHORT_END, 32);
const BINS_COMPACT: usize = bins(16, 16);

/// What 32-bit links can number: the marks of lists' ends lie above, and slabs number granules from further on.
const GRANULES_MAX: usize = u32::MAX as usize - (1 << 16);

macro_rules! geometry {
    ($name:ident: granule $granule:literal, align $align:literal) => {
        impl Geometry for $name {
            const GRANULE_BYTES: usize = $granule;
            const ALIGN_BYTES: usize = $align;
            const GRANULES_MAX: usize = GRANULES_MAX;
            const HAS_SLABS: bool = true;
            const SHORT_END: usize = SHORT_END;
            type Length = u32;
            type Heads = [u32; BINS];
            type Filled = [usize; BINS.div_ceil(usize::BITS as usize)];
        }
    };
}

geometry!(Standard: granule 8, align 8);
geometry!(Aligned: granule 8, align 16);
geometry!(Wide: granule 16, align 16);

impl Geometry for Compact {
    const GRANULE_BYTES: usize = 8;
    const ALIGN_BYTES: usize = 8;
    const GRANULES_MAX: usize = u16::MAX as usize;
    const HAS_SLABS: bool = false;
    const SHORT_END: usize = 16;
    type Length = u16;
    type Heads = [u32; BINS_COMPACT];
    type Filled = [usize; BINS_COMPACT.div_ceil(usize::BITS as usize)];
}

/// A length in granules, as the directory holds it.
#[doc(hidden)]
pub trait Length: Copy + 'static {
    /// Narrows `granules`, which must fit.
    fn pack(granules: usize) -> Self;
    /// The length in granules.
    fn unpack(self) -> usize;
}

macro_rules! length {
    ($type:ty) => {
        impl Length for $type {
            #[inline(always)]
            fn pack(granules: usize) -> Self {
                debug_assert!(granules <= Self::MAX as usize);
                granules as Self
            }
            #[inline(always)]
            fn unpack(self) -> usize {
                self as usize
            }
        }
    };
}

length!(u16);
length!(u32);

/// A fixed array whose length the geometry decides.
///
/// # Safety
/// `get` and `set` must reach `LEN` elements.
#[doc(hidden)]
pub unsafe trait Table<T: Copy>: Copy {
    /// How many elements there are.
    const LEN: usize;
    /// A table of `value`s.
    fn filled(value: T) -> Self;
    /// # Safety
    /// `index < LEN`.
    unsafe fn get(&self, index: usize) -> T;
    /// # Safety
    /// `index < LEN`.
    unsafe fn set(&mut self, index: usize, value: T);
}

// SAFETY: both functions reach all N elements.
unsafe impl<T: Copy, const N: usize> Table<T> for [T; N] {
    const LEN: usize = N;
    fn filled(value: T) -> Self {
        [value; N]
    }
    #[inline(always)]
    unsafe fn get(&self, index: usize) -> T {
        debug_assert!(index < N);
        // SAFETY: the caller keeps index < N.
        unsafe { *self.get_unchecked(index) }
    }
    #[inline(always)]
    unsafe fn set(&mut self, index: usize, value: T) {
        debug_assert!(index < N);
        // SAFETY: the caller keeps index < N.
        unsafe { *self.get_unchecked_mut(index) = value }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Standard {}
    impl Sealed for super::Aligned {}
    impl Sealed for super::Wide {}
    impl Sealed for super::Compact {}
}

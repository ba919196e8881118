//! The geometry of a pool: its granule, and the width of the numbers that describe it.

use core::fmt::Debug;

/// The constants of a pool: its granule, the alignment of its blocks and the width of its
/// directory.
///
/// Implemented by [`Standard`], [`Aligned`], [`Wide`] and [`Compact`]. It is sealed, since the
/// proofs about the heap cover only these.
pub trait Geometry: sealed::Sealed + Copy + Debug + 'static {
    /// The granule, the unit that the pool is cut into, in bytes: a power of two. A block has at
    /// least two granules.
    const GRANULE_BYTES: usize;
    /// The alignment in bytes: addresses and lengths of all blocks are multiples of it.
    const ALIGN_BYTES: usize;
    /// The largest number of granules of a pool.
    const GRANULES_MAX: usize;
    /// Whether a heap of this geometry can have slabs.
    const HAS_SLABS: bool;
    /// Blocks of fewer granules are *short*: each of their lengths has a bin, and the map alone
    /// shows where they end. The directory has one entry for this many granules.
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

/// Granules of 8 bytes, pools of up to 32 GiB less 512 KiB. The default on 64-bit machines, where
/// the metadata takes 1/32 of the pool. On 32-bit machines, where windows of the map are shorter,
/// it takes 3/64.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

/// As [`Standard`], but every block and every slot is aligned to 16 bytes, and sizes are rounded up
/// to multiples of 16. This is what C's `malloc` promises on 64-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Aligned;

/// Granules of 16 bytes, pools of up to 64 GiB less 1 MiB, for pools that are too large for
/// [`Standard`]. The shortest block has 32 bytes. The metadata takes 1/64 of the pool on 64-bit
/// machines.
#[derive(Clone, Copy, Debug)]
pub struct Wide;

/// Granules of 8 bytes and a directory of 16-bit numbers: pools of up to 511 KiB, blocks only. The
/// metadata takes 1/32 of the pool. The default on 32-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Compact;

/// A window of the map must show a short block and what surrounds it, so it depends on the width of
/// a word.
const SHORT_END: usize = if usize::BITS == 64 { 32 } else { 16 };

/// How many bins all lengths up to `1 << log2` granules need: one for each short length, one that
/// is never filled, then four for each doubling.
const fn bins(short_end: usize, log2: u32) -> usize {
    short_end + 1 + 4 * (log2 - short_end.ilog2()) as usize
}

const BINS: usize = bins(SHORT_END, 32);
const BINS_COMPACT: usize = bins(16, 16);

/// The largest number of granules that 32-bit links can express. The numbers above are for the end
/// marks of lists and for the offset at which slabs number granules.
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

/// A length in granules, as the directory stores it.
#[doc(hidden)]
pub trait Length: Copy + 'static {
    /// Narrows `granules`, which must fit in the type.
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

/// An array whose length the geometry decides.
///
/// # Safety
/// `get` and `set` must access any of `LEN` elements.
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

// SAFETY: both functions access any of the N elements.
unsafe impl<T: Copy, const N: usize> Table<T> for [T; N] {
    const LEN: usize = N;
    fn filled(value: T) -> Self {
        [value; N]
    }
    #[inline(always)]
    unsafe fn get(&self, index: usize) -> T {
        debug_assert!(index < N);
        // SAFETY: as promised by the caller.
        unsafe { *self.get_unchecked(index) }
    }
    #[inline(always)]
    unsafe fn set(&mut self, index: usize, value: T) {
        debug_assert!(index < N);
        // SAFETY: as promised by the caller.
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

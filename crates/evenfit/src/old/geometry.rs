//! How finely a pool is cut and how wide its links are.

use core::fmt::Debug;

pub(crate) use crate::geometry::Table;

/// The constants of a pool: its granule, the width of its links and how finely bins divide sizes.
///
/// Implemented by [`Standard`] and [`Compact`]; sealed, since the heap's proofs cover just these.
pub trait Geometry: sealed::Sealed + Copy + Debug + 'static {
    /// The unit the pool is cut into, in bytes: a power of two.
    const GRANULE_BYTES: usize;
    /// Every power of two of granules is divided into `1 << BIN_DIVISION_LOG2` bins.
    #[doc(hidden)]
    const BIN_DIVISION_LOG2: u32;
    /// How many bins there are.
    #[doc(hidden)]
    const BINS: usize;
    /// Whether small requests may be served from slabs.
    #[doc(hidden)]
    const HAS_SLABS: bool;
    /// The type of a link.
    #[doc(hidden)]
    type Link: Link;
    /// One link per bin.
    #[doc(hidden)]
    type Heads: Table<Self::Link>;
    /// One bit per bin.
    #[doc(hidden)]
    type Words: Table<u64>;
}

/// 16-byte granules, 32-bit links: pools up to 64 GiB (4 GiB of granules less the bins). The choice for 64-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

/// 8-byte granules, 16-bit links: pools up to 511 KiB. The choice for small devices.
#[derive(Clone, Copy, Debug)]
pub struct Compact;

impl Geometry for Standard {
    const GRANULE_BYTES: usize = 16;
    const BIN_DIVISION_LOG2: u32 = 4;
    const HAS_SLABS: bool = true;
    const BINS: usize = bins(32, Self::BIN_DIVISION_LOG2);
    type Link = u32;
    type Heads = [u32; bins(32, 4)];
    type Words = [u64; bins(32, 4).div_ceil(64)];
}

impl Geometry for Compact {
    const GRANULE_BYTES: usize = 8;
    const BIN_DIVISION_LOG2: u32 = 3;
    const HAS_SLABS: bool = false;
    const BINS: usize = bins(16, Self::BIN_DIVISION_LOG2);
    type Link = u16;
    type Heads = [u16; bins(16, 3)];
    type Words = [u64; bins(16, 3).div_ceil(64)];
}

/// How many bins number all sizes that a link of `link_bits` bits can number.
const fn bins(link_bits: u32, division_log2: u32) -> usize {
    let per_doubling = 1 << division_log2;
    (link_bits - division_log2) as usize * per_doubling + per_doubling
}

/// A granule number as stored in the pool, or the end of a bin's list.
#[doc(hidden)]
pub trait Link: Copy + Debug + Eq + 'static {
    /// The largest value a link can hold.
    const MAX: usize;
    /// Narrows `granule`, which must be at most `MAX`.
    fn pack(granule: usize) -> Self;
    /// The granule, or what marks the end of a list.
    fn unpack(self) -> usize;
    /// The link as its seal holds it.
    fn sealed(self) -> Self;
    /// Whether `seal` holds both `links`, sealed.
    ///
    /// # Safety
    /// Both can be read, and lie on addresses that are multiples of their length.
    unsafe fn is_seal_of(links: *const [Self; 2], seal: *const [Self; 2]) -> bool;
}

impl Link for u32 {
    const MAX: usize = u32::MAX as usize;
    #[inline(always)]
    fn pack(granule: usize) -> Self {
        granule as u32
    }
    #[inline(always)]
    fn unpack(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn sealed(self) -> Self {
        self ^ 0x9E37_79B9
    }
    #[inline(always)]
    unsafe fn is_seal_of(links: *const [Self; 2], seal: *const [Self; 2]) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { *links.cast::<u64>() ^ *seal.cast::<u64>() == 0x9E37_79B9_9E37_79B9 }
    }
}

impl Link for u16 {
    const MAX: usize = u16::MAX as usize;
    #[inline(always)]
    fn pack(granule: usize) -> Self {
        granule as u16
    }
    #[inline(always)]
    fn unpack(self) -> usize {
        self as usize
    }
    #[inline(always)]
    fn sealed(self) -> Self {
        self ^ 0x9E37
    }
    #[inline(always)]
    unsafe fn is_seal_of(links: *const [Self; 2], seal: *const [Self; 2]) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { *links.cast::<u32>() ^ *seal.cast::<u32>() == 0x9E37_9E37 }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Standard {}
    impl Sealed for super::Compact {}
}

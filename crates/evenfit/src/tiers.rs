//! The tiers of a heap as types, so that the code of a tier that a heap doesn't have isn't linked.

use crate::geometry::Geometry;
use crate::slabs::Slabs;

/// The tiers of a heap: blocks, which serve any request, and perhaps slabs, which serve small
/// requests faster.
///
/// Implemented by [`Auto`], [`BlocksOnly`] and [`WithSlabs`]; sealed.
pub trait Tiers: sealed::Sealed + Copy + core::fmt::Debug + 'static {
    /// The length of the region, in bytes, from which on small requests are served from slabs, if
    /// the geometry can have slabs.
    const SLABS_REGION_BYTES_MIN: usize;
    /// An array of one slab tier or of none.
    #[doc(hidden)]
    type Slabs<G: Geometry>: AsRef<[Slabs<G>]> + AsMut<[Slabs<G>]>;
    #[doc(hidden)]
    fn from<G: Geometry>(slabs: Slabs<G>) -> Self::Slabs<G>;
}

/// Slabs in regions of 1 MiB ([`SLABS_REGION_BYTES_MIN`](Tiers::SLABS_REGION_BYTES_MIN)) or more,
/// where they are faster. Blocks only in shorter regions, where half-empty slabs would cost too
/// much of the pool, and where the geometry is [`Compact`](crate::Compact).
#[derive(Clone, Copy, Debug)]
pub struct Auto;

/// Blocks only: needs the least space, and no code of slabs is linked.
#[derive(Clone, Copy, Debug)]
pub struct BlocksOnly;

/// Slabs, whatever the length of the region.
#[derive(Clone, Copy, Debug)]
pub struct WithSlabs;

impl Tiers for Auto {
    const SLABS_REGION_BYTES_MIN: usize = 1 << 20;
    type Slabs<G: Geometry> = [Slabs<G>; 1];
    fn from<G: Geometry>(slabs: Slabs<G>) -> [Slabs<G>; 1] {
        [slabs]
    }
}

impl Tiers for BlocksOnly {
    const SLABS_REGION_BYTES_MIN: usize = usize::MAX;
    type Slabs<G: Geometry> = [Slabs<G>; 0];
    fn from<G: Geometry>(_: Slabs<G>) -> [Slabs<G>; 0] {
        []
    }
}

impl Tiers for WithSlabs {
    const SLABS_REGION_BYTES_MIN: usize = 0;
    type Slabs<G: Geometry> = [Slabs<G>; 1];
    fn from<G: Geometry>(slabs: Slabs<G>) -> [Slabs<G>; 1] {
        [slabs]
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Auto {}
    impl Sealed for super::BlocksOnly {}
    impl Sealed for super::WithSlabs {}
}

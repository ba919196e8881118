//! How finely a pool is cut and how wide its links are.

/// The two constants of a pool: its granule and the width of its links.
///
/// Implemented by [`Standard`] and [`Compact`]; sealed, since the heap's proofs cover just these.
pub trait Geometry: sealed::Sealed + Copy {
    /// The unit the pool is cut into, in bytes: a power of two.
    const GRANULE_BYTES: usize;
}

/// 16-byte granules, 32-bit links: pools up to 64 GiB. The choice for 64-bit machines.
#[derive(Clone, Copy, Debug)]
pub struct Standard;

/// 8-byte granules, 16-bit links: pools up to 512 KiB. The choice for small devices.
#[derive(Clone, Copy, Debug)]
pub struct Compact;

impl Geometry for Standard {
    const GRANULE_BYTES: usize = 16;
}

impl Geometry for Compact {
    const GRANULE_BYTES: usize = 8;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Standard {}
    impl Sealed for super::Compact {}
}

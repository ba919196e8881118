//! A heap over a pool of exactly a given number of granules, for tests that compare it with
//! formulas.
#![allow(dead_code)] // Each test uses a part of it.

use std::mem::MaybeUninit;

use evenfit::{Builder, Geometry, Heap, Tiers};
use evenfit_bound::Cut;

/// The pool's first granule lies at a multiple of this many bytes.
pub const POOL_ALIGN_BYTES: usize = 1024;

/// Memory for the region of one heap.
pub struct Memory(Vec<MaybeUninit<u8>>);

impl Memory {
    pub fn new(region_bytes: u64) -> Self {
        let len = region_bytes as usize + 2 * POOL_ALIGN_BYTES;
        Self(vec![MaybeUninit::uninit(); len])
    }

    /// A heap whose pool has `granules`, in a region of `region_bytes`.
    pub fn heap<T: Tiers, G: Geometry>(
        &mut self,
        cut: Cut,
        granules: u64,
        region_bytes: u64,
    ) -> Heap<'_, T, G> {
        let pool_bytes = (granules * cut.granule_bytes) as usize;
        let pool_offset = region_bytes as usize - pool_bytes;
        let to_aligned = self.0.as_ptr().align_offset(POOL_ALIGN_BYTES);
        let from = to_aligned + pool_offset.next_multiple_of(POOL_ALIGN_BYTES) - pool_offset;
        let region = &mut self.0[from..from + region_bytes as usize];
        let heap = Builder::<T, G>::new().build(region).expect("long enough");
        assert_eq!(heap.stats().pool_bytes, pool_bytes);
        assert!((heap.pool_start() as usize).is_multiple_of(POOL_ALIGN_BYTES));
        heap
    }
}

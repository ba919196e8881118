//! What a heap with slabs makes of a small request, for those who size its pool.

use core::alloc::Layout;

use crate::old::map::Map;
use crate::old::slab::{LIMIT_BYTES, SLAB_BYTES, Slabs};

/// The slots that serve a small request in a heap with slabs ([`Tiers::WithSlabs`](crate::Tiers::WithSlabs)). All small
/// requests of one class share its slabs, and no other class does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotClass {
    /// How long a slot is, in bytes.
    pub slot_bytes: usize,
    /// How many of them a slab has.
    pub slots: usize,
}

impl SlotClass {
    /// How long a slab is, in bytes: one block of the pool.
    pub const SLAB_BYTES: usize = SLAB_BYTES;
    /// The largest request that slots serve, in bytes.
    pub const REQUEST_BYTES_MAX: usize = LIMIT_BYTES;

    /// The class that serves `layout`; a size of zero is served like one of a byte. `None`: a block of its own does. O(1).
    pub fn of(layout: Layout) -> Option<Self> {
        let class = Slabs::class_for_aligned(layout.size(), layout.align())?;
        Some(Self {
            slot_bytes: Slabs::slot_bytes(class),
            slots: Slabs::slots(class) as usize,
        })
    }

    /// How many bytes of metadata precede a pool of `granules` of 16 bytes with slabs, in a region that begins at a multiple of 16.
    pub fn metadata_bytes(granules: usize) -> usize {
        (Slabs::metadata_bytes(granules) + Map::bytes(granules)).next_multiple_of(16)
    }
}

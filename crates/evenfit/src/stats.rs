//! The statistics of a heap, and the blocks of its pool.

/// A snapshot of a heap's counters, in bytes and counts. Taken in O(1).
///
/// `used_bytes + free_bytes == pool_bytes` at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that blocks can be cut from: the region less its metadata and alignment loss.
    pub pool_bytes: usize,
    /// Bytes of the region that hold metadata or are lost to alignment and rounding.
    pub metadata_bytes: usize,
    /// Bytes in live blocks and used slots, as the heap rounds them.
    pub used_bytes: usize,
    /// The most bytes that were in used blocks at once since the heap was built or reset. Slabs
    /// count as a whole.
    pub peak_used_bytes: usize,
    /// Bytes that are neither in live blocks nor in used slots, contiguous or not.
    pub free_bytes: usize,
    /// The number of live blocks and used slots.
    pub live_blocks: usize,
    /// Requests for memory that failed since the heap was built.
    pub failed_requests: u64,
    /// Frees and reallocations refused as misuse since the heap was built.
    pub refused_frees: u64,
}

/// A block of the pool, as [`Heap::blocks`](crate::Heap::blocks) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block {
    /// Where it starts, in bytes from the start of the pool.
    pub offset_bytes: usize,
    /// Its length in bytes, as the heap rounds it.
    pub size_bytes: usize,
    /// What it holds.
    pub state: BlockState,
}

/// What a [`Block`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockState {
    /// A live block.
    Used,
    /// A block cut into equal slots for small requests.
    Slab {
        /// The size of a slot, in bytes.
        slot_bytes: usize,
        /// How many of them are used.
        used_slots: usize,
    },
    /// A free block.
    Free,
    /// The unused end of the pool, behind the last block.
    Top,
}

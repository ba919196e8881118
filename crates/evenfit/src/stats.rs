//! What a heap can say of itself in constant time.

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
    /// Bytes in live blocks, as the heap rounds them.
    pub used_bytes: usize,
    /// The most bytes ever taken from the pool at once.
    pub peak_used_bytes: usize,
    /// Bytes not in live blocks, in however many pieces.
    pub free_bytes: usize,
    /// How many blocks are live.
    pub live_blocks: usize,
    /// Requests for memory that failed since the heap was built.
    pub failed_requests: u64,
    /// Frees and reallocations refused as misuse since the heap was built.
    pub refused_frees: u64,
}

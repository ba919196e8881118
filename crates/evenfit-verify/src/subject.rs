//! The heap under test, behind one small trait.

mod heap;

pub use heap::{
    AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Promised, Slabs, WideBlocks, WideSlabs,
};

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, FreeError, InitError, ReallocError};
pub use evenfit_trace::replay::{Allocator, Piece};

/// The shortest block, in granules.
pub const GRANULES_MIN: usize = 2;

/// The largest request that a slab serves.
pub const SLOT_BYTES_MAX: usize = 512;

/// The rules of a heap for lengths, addresses and searches, which the model expects.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The unit that the pool is cut into, in bytes.
    pub granule_bytes: usize,
    /// Blocks and slots start at a multiple of it, and sizes are rounded up to one, in bytes.
    pub align_bytes: usize,
    /// The most granules by which a block may be longer than its rounded request; it may then be
    /// freed with any size between.
    pub granules_over_max: usize,
    /// For requests of fewer granules the search finds every free block that is long enough. From
    /// there on it divides each doubling into four size classes.
    pub exact_end: usize,
    /// Small requests may come from slabs.
    pub slabs: Option<SlabRules>,
}

/// The rules of a heap's slabs.
#[derive(Clone, Copy, Debug)]
pub struct SlabRules {
    /// The length of a slab in bytes.
    pub slab_bytes: usize,
    /// The length of the slot that serves a size; none if a block always does.
    pub slot_bytes: fn(usize) -> Option<usize>,
}

/// A heap as the driver sees it. Results are passed on unchanged.
pub trait Subject: Allocator + Sized {
    /// Its name in messages.
    const NAME: &'static str;
    /// Its rules.
    const RULES: Rules;
    /// Whether small requests may come from slabs.
    const HAS_SLABS: bool = Self::RULES.slabs.is_some();

    /// # Safety
    /// As `Heap::from_raw`.
    unsafe fn build(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError>;
    /// As `Heap::malloc`.
    fn malloc(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError>;
    /// # Safety
    /// As `Heap::try_free`.
    unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError>;
    /// # Safety
    /// As `Heap::resize_in_place`.
    unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    /// # Safety
    /// As `Heap::realloc`.
    unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    /// As `Heap::usable_size`.
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError>;
    /// As `Heap::largest_free_aligned`.
    fn largest_free_aligned(&mut self, align: usize) -> usize;
}

//! The heap: the interface for callers. Its methods take bytes and pointers, the tiers granules.

mod allocate;
mod builder;
mod deallocate;
mod malloc;
mod reallocate;

pub(crate) use self::allocate::zeroed;
pub use self::builder::Builder;
pub use self::reallocate::Resized;

use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::blocks::{Blocks, is_aligned};
use crate::geometry::Geometry;
use crate::sanitizer::{OldBlock, SanitizedPool, requested_bytes};
use crate::slabs::{Slabs, Slot};
use crate::tiers::Tiers;
use crate::{FreeError, InitError, Stats};

/// The tiers of a [`Heap`] that names none: [`Auto`](crate::Auto) on 64-bit machines,
/// [`BlocksOnly`](crate::BlocksOnly) on others.
#[cfg(target_pointer_width = "64")]
pub type DefaultTiers = crate::tiers::Auto;
/// The tiers of a [`Heap`] that names none: [`Auto`](crate::Auto) on 64-bit machines,
/// [`BlocksOnly`](crate::BlocksOnly) on others.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultTiers = crate::tiers::BlocksOnly;
/// The geometry of a [`Heap`] that names none: [`Standard`](crate::Standard) on 64-bit machines,
/// [`Compact`](crate::Compact) on others.
#[cfg(target_pointer_width = "64")]
pub type DefaultGeometry = crate::geometry::Standard;
/// The geometry of a [`Heap`] that names none: [`Standard`](crate::Standard) on 64-bit machines,
/// [`Compact`](crate::Compact) on others.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultGeometry = crate::geometry::Compact;

/// A heap over one fixed pool.
///
/// The region is divided once, into metadata and the pool. The metadata takes 1/32 of the pool,
/// with slabs 0.2 % and 1 KiB more; each geometry says where it differs. Every operation takes
/// bounded constant time, whatever the pool's size and content. A reallocation that must move adds
/// one copy of the payload. A refused call changes nothing but a counter.
///
/// Counters and heads of lists are in this value. Everything else is in the region, which contains
/// offsets and no addresses.
///
/// `T` are the tiers of the heap, `G` is its geometry. To choose them, start at
/// [`builder`](Heap::builder).
///
/// # Example
/// ```
/// use core::alloc::Layout;
/// use core::mem::MaybeUninit;
///
/// let mut region = [MaybeUninit::uninit(); 4096];
/// let mut heap = evenfit::Heap::from_region(&mut region)?;
/// let layout = Layout::new::<[u64; 8]>();
/// let block = heap.allocate(layout)?;
/// assert_eq!(block.len(), 64);
/// // SAFETY: the block came from this heap with this layout, and isn't used again.
/// unsafe { heap.try_deallocate(block.cast(), layout)? };
/// // SAFETY: a double free is refused.
/// let again = unsafe { heap.try_deallocate(block.cast(), layout) };
/// assert_eq!(again, Err(evenfit::FreeError::AlreadyFree));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The region is borrowed while the heap lives:
/// ```compile_fail,E0597
/// let heap = {
///     let mut region = [core::mem::MaybeUninit::uninit(); 4096];
///     evenfit::Heap::from_region(&mut region).unwrap()
/// };
/// heap.stats();
/// ```
pub struct Heap<'pool, T: Tiers = DefaultTiers, G: Geometry = DefaultGeometry> {
    pub(crate) blocks: Blocks<G>,
    slabs: T::Slabs<G>,
    region_bytes: usize,
    pool_offset_bytes: usize,
    /// How many granules the metadata is for. The pool may have fewer.
    granules_max: usize,
    sanitized: SanitizedPool,
    region: PhantomData<&'pool mut [MaybeUninit<u8>]>,
}

// SAFETY: the heap owns its region exclusively for 'pool (I8), and no part of it is bound to a
// thread.
unsafe impl<T: Tiers, G: Geometry> Send for Heap<'_, T, G> {}
// SAFETY: nothing is written through a shared reference.
unsafe impl<T: Tiers, G: Geometry> Sync for Heap<'_, T, G> {}

/// A live block or slot.
#[derive(Clone, Copy)]
enum Live {
    Slot(Slot),
    Block { start: usize, len: usize },
}

impl<'pool> Heap<'pool> {
    /// Builds a heap over `region`, of any length and alignment.
    ///
    /// Linear in the metadata, which is zeroed unless [`Builder::zeroed`] says that it is zero.
    ///
    /// # Errors
    /// [`InitError::RegionTooSmall`] if the region can't hold the metadata and a block,
    /// [`InitError::RegionTooLarge`] if it has more granules than the geometry can number.
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        Self::builder().build(region)
    }

    /// Builds a heap over `len_bytes` bytes from `base` on: a linker symbol, a mapping, memory of
    /// another allocator.
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// The bytes must be valid for reads and writes as long as the heap or one of its blocks is
    /// used, and nothing else may access them except through blocks of this heap.
    pub unsafe fn from_raw(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::builder().build_raw(base, len_bytes) }
    }

    /// Starts a builder, which has every choice by name: tiers, geometry, how long the pool may
    /// become.
    pub const fn builder() -> Builder<DefaultTiers, DefaultGeometry> {
        Builder::new()
    }
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Makes the pool longer by the `added_bytes` that follow its region, as far as there is
    /// metadata for them: see [`Builder::max_bytes`]. Returns by how many bytes the pool has grown:
    /// whole granules, and 0 if it is as long as it can be. O(1).
    ///
    /// # Safety
    /// The `added_bytes` directly behind the region must fulfil what [`from_raw`](Heap::from_raw)
    /// demands of the region.
    pub unsafe fn extend(&mut self, added_bytes: usize) -> usize {
        debug_assert!(self.blocks.end <= self.granules_max);
        let align_bytes = G::ALIGN_BYTES;
        let pool_bytes = self.blocks.end * G::GRANULE_BYTES;
        let unused_bytes = self.region_bytes - pool_bytes - self.pool_offset_bytes;
        let room_bytes =
            (self.granules_max * G::GRANULE_BYTES - pool_bytes).saturating_sub(unused_bytes);
        let added_bytes = added_bytes.min(room_bytes);
        let grown_bytes = (unused_bytes + added_bytes) / align_bytes * align_bytes;
        self.region_bytes += added_bytes;
        self.blocks.end += grown_bytes / G::GRANULE_BYTES;
        self.sanitized.extended(grown_bytes);
        grown_bytes
    }

    /// Frees all blocks at once. Linear in the metadata of the part of the pool that was used.
    ///
    /// The peak of used bytes starts again at 0; the counts of failed requests and refused frees go
    /// on.
    ///
    /// Afterwards, pointers to the old blocks are dangling.
    pub fn reset(&mut self) {
        self.blocks.reset();
        if let Some(slabs) = self.slabs.as_mut().first_mut() {
            slabs.reset(&self.blocks);
        }
        self.sanitized.reset();
    }

    /// A heap over copies of another heap's metadata, without a pool. It is only for walking.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn replica(blocks: Blocks<G>, slabs: Slabs<G>) -> Self {
        Self {
            region_bytes: 0,
            pool_offset_bytes: 0,
            granules_max: blocks.end,
            sanitized: SanitizedPool::new(blocks.pool.base(), 0),
            blocks,
            slabs: T::from(slabs),
            region: PhantomData,
        }
    }

    /// Whether small requests are served from slabs. O(1).
    #[must_use]
    pub fn has_slabs(&self) -> bool {
        self.slabs().is_some_and(Slabs::are_in_use)
    }

    pub(crate) fn slabs(&self) -> Option<&Slabs<G>> {
        self.slabs.as_ref().first()
    }

    #[inline(always)]
    fn slabs_mut(&mut self) -> Option<(&mut Slabs<G>, &mut Blocks<G>)> {
        Some((self.slabs.as_mut().first_mut()?, &mut self.blocks))
    }

    /// The live block or slot at `ptr`, if `layout` fits it. Without a layout, any live one. O(1).
    #[inline(always)]
    fn live_at(&self, ptr: NonNull<u8>, layout: Option<Layout>) -> Result<Live, FreeError> {
        if let Some(slabs) = self.slabs()
            && let Some(slot) = slabs.slot_at(ptr, layout.map(|layout| layout.size()))?
        {
            return match layout {
                Some(layout) if !is_aligned(ptr, layout.align()) => Err(FreeError::WrongLayout),
                _ => Ok(Live::Slot(slot)),
            };
        }
        let (start, len) = self.blocks.used_block(ptr, layout)?;
        Ok(Live::Block { start, len })
    }

    /// As `live_at`, without the reason for a refusal. Most slots are found by the first
    /// comparison.
    #[inline(always)]
    fn live_at_fast(&self, ptr: NonNull<u8>, layout: Option<Layout>) -> Option<Live> {
        if let Some(slabs) = self.slabs()
            && layout.is_none_or(|layout| slabs.serve(layout))
            && let Some(slot) = slabs.slot_of(ptr, layout.map(|layout| layout.size()))
        {
            return Some(Live::Slot(slot));
        }
        self.live_at(ptr, layout).ok()
    }

    /// How many bytes the caller may use at `ptr`, the start of a live block: at least the length
    /// of the slice that was returned for it. O(1).
    ///
    /// # Errors
    /// [`FreeError`] if no live block starts there.
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        // Not by `slot_of`, which relies on the words of segments: this must work on any bytes.
        Ok(requested_bytes(ptr, self.live_bytes(self.live_at(ptr, None)?)))
    }

    /// The block at `ptr`, whose bytes the sanitizers must poison if the call succeeds.
    #[inline(always)]
    fn old_block(&self, ptr: NonNull<u8>) -> OldBlock {
        OldBlock::new(ptr, || self.usable_size(ptr).ok())
    }

    fn live_bytes(&self, live: Live) -> usize {
        match live {
            Live::Slot(slot) => self.slabs().map_or(0, |slabs| slabs.slot_bytes(slot)),
            Live::Block { len, .. } => len * G::GRANULE_BYTES,
        }
    }

    /// The largest request in bytes that succeeds now at an alignment of [`Geometry::ALIGN_BYTES`]
    /// or less. One byte more fails. O(1).
    pub fn largest_free(&self) -> usize {
        let block_bytes = self.blocks.largest() * G::GRANULE_BYTES;
        let slot_bytes = self.slabs().map_or(0, Slabs::largest_free_slot);
        block_bytes.max(slot_bytes)
    }

    /// The largest request in bytes that succeeds now at an alignment of `align` bytes. One byte
    /// more fails. 0 if `align` is no power of two. O(1).
    pub fn largest_free_aligned(&self, align: usize) -> usize {
        if align <= G::ALIGN_BYTES {
            return if align.is_power_of_two() { self.largest_free() } else { 0 };
        }
        if !align.is_power_of_two() {
            return 0;
        }
        let granules = self.blocks.largest_aligned(align);
        granules * G::GRANULE_BYTES
    }

    /// The end of the pool that no block has ever covered. Memory there still has the content that
    /// it had when the heap was built. O(1).
    pub fn never_used(&self) -> NonNull<[u8]> {
        let start = self.blocks.top_peak();
        // SAFETY: the peak is at most the pool's end (I8).
        unsafe { self.blocks.pool.slice(start, self.blocks.end - start) }
    }

    /// The address of the pool's first granule, from which
    /// [`Block::offset_bytes`](crate::Block::offset_bytes) counts. O(1).
    pub fn pool_start(&self) -> *const u8 {
        self.blocks.pool.base().as_ptr()
    }

    /// The heap's counters. O(1).
    pub fn stats(&self) -> Stats {
        let counters = &self.blocks.counters;
        // If the map was overwritten, the counters may be wrong. They wrap instead of panicking.
        let bytes = |granules: usize| granules.wrapping_mul(G::GRANULE_BYTES);
        let (mut used_bytes, mut live_blocks) = (bytes(counters.used), counters.live);
        if let Some(slabs) = self.slabs() {
            let (used_slots, free_bytes) = slabs.used();
            used_bytes = used_bytes.wrapping_sub(free_bytes);
            live_blocks = live_blocks.wrapping_sub(slabs.open_slabs()).wrapping_add(used_slots);
        }
        Stats {
            pool_bytes: bytes(self.blocks.end),
            metadata_bytes: self.region_bytes - bytes(self.blocks.end),
            used_bytes,
            peak_used_bytes: bytes(counters.used_peak),
            free_bytes: bytes(self.blocks.end).wrapping_sub(used_bytes),
            live_blocks,
            failed_requests: counters.failed,
            refused_frees: counters.refused,
        }
    }
}

impl<T: Tiers, G: Geometry> core::fmt::Debug for Heap<'_, T, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Heap")
            .field("tiers", &core::any::type_name::<T>())
            .field("geometry", &core::any::type_name::<G>())
            .field("stats", &self.stats())
            .finish()
    }
}

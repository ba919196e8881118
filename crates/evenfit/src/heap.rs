//! The heap: what a caller sees. Bytes and pointers outside, granules inside.

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

/// The tiers of a [`Heap`] that names none: [`Auto`](crate::Auto) on 64-bit machines, [`BlocksOnly`](crate::BlocksOnly) on
/// others.
#[cfg(target_pointer_width = "64")]
pub type DefaultTiers = crate::tiers::Auto;
/// The tiers of a [`Heap`] that names none: [`Auto`](crate::Auto) on 64-bit machines, [`BlocksOnly`](crate::BlocksOnly) on
/// others.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultTiers = crate::tiers::BlocksOnly;
/// The geometry of a [`Heap`] that names none: [`Standard`](crate::Standard) on 64-bit machines, [`Compact`](crate::Compact) on
/// others.
#[cfg(target_pointer_width = "64")]
pub type DefaultGeometry = crate::geometry::Standard;
/// The geometry of a [`Heap`] that names none: [`Standard`](crate::Standard) on 64-bit machines, [`Compact`](crate::Compact) on
/// others.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultGeometry = crate::geometry::Compact;

/// A heap over one fixed pool.
///
/// The region handed over is divided once, into metadata and the pool. The metadata are 1/32 of the pool, with slabs 0.2 % and 1
/// KiB more; the geometries say where it is otherwise. Every operation takes bounded constant time, whatever the pool's size and
/// content; a reallocation that must move adds one copy of the payload. A call that is refused changes nothing but its own
/// counter.
///
/// Counters and heads of lists are in this value; all else is in the region, which holds offsets and no addresses.
///
/// `T` says which tiers the heap has, `G` how its pool is cut. To choose them start at [`builder`](Heap::builder).
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
/// assert_eq!(unsafe { heap.try_deallocate(block.cast(), layout) }, Err(evenfit::FreeError::AlreadyFree));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The region is borrowed as long as the heap lives:
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
    /// How many granules there is metadata for; the pool may have fewer.
    granules_max: usize,
    sanitized: SanitizedPool,
    region: PhantomData<&'pool mut [MaybeUninit<u8>]>,
}

// SAFETY: the heap owns its region exclusively for 'pool, and no part of it is bound to a thread.
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
    /// Linear in the metadata, which are zeroed; [`Builder::zeroed`] spares that.
    ///
    /// # Errors
    /// [`InitError::RegionTooSmall`] if the region can't hold the metadata and a block, [`InitError::RegionTooLarge`] if it has
    /// more granules than the geometry can number.
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        Self::builder().build(region)
    }

    /// Builds a heap over `len_bytes` bytes from `base` on: a linker symbol, a mapping, memory of another allocator.
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// The bytes must be valid for reads and writes as long as the heap is used, and nothing else may touch them but
    /// through blocks of this heap.
    pub unsafe fn from_raw(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::builder().build_raw(base, len_bytes) }
    }

    /// Every choice by name: tiers, geometry, how long the pool may become.
    pub const fn builder() -> Builder<DefaultTiers, DefaultGeometry> {
        Builder::new()
    }
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Makes the pool longer by the `added_bytes` that follow its region, as far as there are metadata for them: see
    /// [`Builder::max_bytes`]. Returns by how many bytes the pool has grown: whole granules, and 0 once it is as long as it can
    /// be. O(1).
    ///
    /// # Safety
    /// The bytes right behind the region must be valid, and used by nothing else, as those of the region are: see
    /// [`from_raw`](Heap::from_raw).
    pub unsafe fn extend(&mut self, added_bytes: usize) -> usize {
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

    /// Frees all blocks at once. Linear in the metadata of that part of the pool that was in use.
    ///
    /// The peak of used bytes starts again at 0; the counts of failed requests and refused frees go on.
    ///
    /// Pointers to the blocks must not be used any more.
    pub fn reset(&mut self) {
        self.blocks.reset();
        if let Some(slabs) = self.slabs.as_mut().first_mut() {
            slabs.reset(&self.blocks);
        }
        self.sanitized.reset();
    }

    /// A heap over copies of another's metadata, without a pool: only good to be walked.
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

    /// The live block or slot at `ptr`, if it may be of `layout`; without a layout, whatever its size.
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

    /// As `live_at`, for whom it doesn't matter why there is none: most slots are found at the first look.
    #[inline(always)]
    fn live_at_fast(&self, ptr: NonNull<u8>, layout: Option<Layout>) -> Option<Live> {
        if let (Some(slabs), Some(layout)) = (self.slabs(), layout)
            && slabs.serve(layout)
            && let Some(slot) = slabs.slot_of(ptr, layout.size())
        {
            return Some(Live::Slot(slot));
        }
        self.live_at(ptr, layout).ok()
    }

    /// How many bytes the caller may use at `ptr`, the start of a live block: no fewer than the slice had that was returned.
    /// O(1).
    ///
    /// # Errors
    /// [`FreeError`] if no live block starts there.
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        Ok(requested_bytes(ptr, self.live_bytes(self.live_at(ptr, None)?)))
    }

    /// What the sanitizers have to forget of the block at `ptr`, if the call succeeds.
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

    /// The largest request in bytes that succeeds now, at an alignment of [`Geometry::ALIGN_BYTES`] or less; one byte more fails.
    /// O(1).
    pub fn largest_free(&self) -> usize {
        let block_bytes = self.blocks.largest() * G::GRANULE_BYTES;
        let slot_bytes = self.slabs().map_or(0, Slabs::largest_free_slot);
        block_bytes.max(slot_bytes)
    }

    /// The largest request in bytes that succeeds now at an alignment of `align` bytes; one byte more fails. 0 if `align` is no
    /// power of two. O(1).
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

    /// The end of the pool that no block has ever covered: what the heap never needed, and where memory that was zero when it was
    /// handed over still is. O(1).
    pub fn never_used(&self) -> NonNull<[u8]> {
        let start = self.blocks.top_peak();
        // SAFETY: the peak lies in the pool or at its end.
        unsafe { self.blocks.pool.slice(start, self.blocks.end - start) }
    }

    /// The address of the pool's first granule: what [`Block::offset_bytes`](crate::Block::offset_bytes) counts from.
    pub fn pool_start(&self) -> *const u8 {
        self.blocks.pool.base().as_ptr()
    }

    /// The heap's counters. O(1).
    pub fn stats(&self) -> Stats {
        let counters = &self.blocks.counters;
        // The counters make no sense where the map was overwritten, but they can be asked.
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

//! The heap: what a caller sees. Bytes and pointers outside, granules inside.

mod allocate;
mod builder;
mod deallocate;
mod malloc;
mod reallocate;

pub use self::builder::Builder;

use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::blocks::{Blocks, is_aligned};
use crate::geometry::Geometry;
use crate::slabs::{Slabs, Slot};
use crate::tiers::Tiers;
use crate::{FreeError, InitError, Stats};

/// The tiers of a [`Heap`] that names none.
#[cfg(target_pointer_width = "64")]
pub type DefaultTiers = crate::tiers::Auto;
/// The tiers of a [`Heap`] that names none.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultTiers = crate::tiers::BlocksOnly;
/// The geometry of a [`Heap`] that names none.
#[cfg(target_pointer_width = "64")]
pub type DefaultGeometry = crate::geometry::Standard;
/// The geometry of a [`Heap`] that names none.
#[cfg(not(target_pointer_width = "64"))]
pub type DefaultGeometry = crate::geometry::Compact;

/// A heap over one fixed pool.
///
/// The region handed over is divided once, into metadata (3.2 % of it, 3.4 % with slabs) and the pool. Every operation takes bounded constant time, whatever the
/// pool's size and content; a reallocation that must move adds one copy of the payload. A refused call has changed nothing but its
/// own counter; a request that fails may have given an empty slab back to the pool, which no block notices.
///
/// The counters and the heads of lists live in this value, all else in the region, by offsets.
///
/// # Example
/// ```
/// # use evenfit::next as evenfit;
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
/// # use evenfit::next as evenfit;
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
    /// Takes time linear in the metadata, 1/32 of the region; everything after is constant time.
    ///
    /// # Errors
    /// [`InitError`] if the region can't hold the metadata and a block, or is longer than the geometry can number.
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

    /// Every choice by name: tiers, geometry, how far the pool may grow.
    pub const fn builder() -> Builder<DefaultTiers, DefaultGeometry> {
        Builder::new()
    }
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Makes the pool longer by the `added_bytes` that follow its region, as far as there is metadata. Returns by how many bytes the
    /// pool has grown: whole granules only, and 0 once it is as long as it can be. O(1).
    ///
    /// # Safety
    /// The bytes right behind the region must be the heap's as those of the region are: see [`from_raw`](Heap::from_raw).
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
        grown_bytes
    }

    /// Gives all blocks back at once. Linear in the part of the metadata that was used since the last reset.
    ///
    /// The peak begins anew; the counts of failed requests and refused frees go on.
    ///
    /// Collections that live in a shared heap keep it borrowed, so none can outlive this; raw pointers must not be used
    /// any more.
    pub fn reset(&mut self) {
        self.blocks.reset();
        if let Some(slabs) = self.slabs.as_mut().first_mut() {
            slabs.reset(&self.blocks);
        }
    }

    /// Whether small requests are served from slabs.
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
    fn live_at_once(&self, ptr: NonNull<u8>, layout: Option<Layout>) -> Option<Live> {
        if let (Some(slabs), Some(layout)) = (self.slabs(), layout)
            && slabs.serve(layout)
            && let Some(slot) = slabs.used_slot_of(ptr, layout.size())
        {
            return Some(Live::Slot(slot));
        }
        self.live_at(ptr, layout).ok()
    }

    /// How many bytes the caller may use at `ptr`, the start of a live block. O(1).
    ///
    /// # Errors
    /// [`FreeError`] where no live block starts.
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        Ok(self.live_bytes(self.live_at(ptr, None)?))
    }

    fn live_bytes(&self, live: Live) -> usize {
        match live {
            Live::Slot(slot) => self.slabs().map_or(0, |slabs| slabs.slot_bytes(slot)),
            Live::Block { len, .. } => len * G::GRANULE_BYTES,
        }
    }

    /// The largest request in bytes that succeeds now, at an alignment of [`Geometry::ALIGN_BYTES`] or less; one byte more fails. O(1).
    ///
    /// The next call may change it, even a longer request that fails: it gives an empty slab back, which then stands before the
    /// other free blocks of its bin.
    pub fn largest_free(&self) -> usize {
        let mut granules = self.blocks.largest();
        let mut slot_bytes = 0;
        if let Some(slabs) = self.slabs() {
            granules = granules.max(slabs.spare_len_merged(&self.blocks));
            slot_bytes = slabs.largest_free_slot();
        }
        (granules * G::GRANULE_BYTES).max(slot_bytes)
    }

    /// The largest request in bytes that succeeds now at an alignment of `align` bytes; one byte more fails. 0 if `align` is no power of two. O(1).
    ///
    /// Gives the empty slab that is kept back to the pool, where there is one.
    pub fn largest_free_aligned(&mut self, align: usize) -> usize {
        if align <= G::ALIGN_BYTES {
            return if align.is_power_of_two() {
                self.largest_free()
            } else {
                0
            };
        }
        if !align.is_power_of_two() {
            return 0;
        }
        if let Some((slabs, blocks)) = self.slabs_mut() {
            slabs.close_spare(blocks);
        }
        let granules = self.blocks.largest_aligned(align);
        granules * G::GRANULE_BYTES
    }

    /// The end of the pool that no block has ever covered, not even for a while: what the heap never needed, and where
    /// memory that was zero when it was handed over still is. O(1).
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
            live_blocks = live_blocks
                .wrapping_sub(slabs.open_slabs())
                .wrapping_add(used_slots);
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

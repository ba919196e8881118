//! The heap: bytes and pointers outside, granules inside.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::bins::max_granules;
use crate::blocks::{BlockTier, Corrupt, Run, TakeError};
use crate::hooks::misuse;
use crate::links::Pool;
use crate::map::{Map, Pair};
use crate::{AllocError, FreeError, Geometry, InitError, ReallocError, Standard, Stats};

/// A heap over one fixed pool.
///
/// The region handed over is laid out once:
///
/// ```text
///   region                                                              end
///   | map: 2 bits a granule | granule 0 | granule 1 |  ...  | granule n-1 |
///                           ^ the pool
/// ```
///
/// Every operation takes bounded constant time, whatever the pool's size and content; reallocations that must move
/// add one copy of the payload. A call that fails or refuses has changed nothing but its own counter.
///
/// The counters and bins (under 2 KiB for [`Standard`], under 400 bytes for [`Compact`](crate::Compact)) live in this value,
/// the map and the blocks in the region.
///
/// # Example
/// ```
/// use core::alloc::Layout;
/// use core::mem::MaybeUninit;
///
/// let mut region = [MaybeUninit::uninit(); 4096];
/// let mut heap: evenfit::Heap = evenfit::Heap::from_region(&mut region)?;
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
/// ```compile_fail
/// let heap: evenfit::Heap = {
///     let mut region = [core::mem::MaybeUninit::uninit(); 4096];
///     evenfit::Heap::from_region(&mut region).unwrap()
/// };
/// heap.stats();
/// ```
pub struct Heap<'pool, G: Geometry = Standard> {
    pub(crate) blocks: BlockTier<G>,
    region_bytes: usize,
    pool_offset_bytes: usize,
    /// How many granules the map was made for; the pool may have fewer.
    max_granules: usize,
    live: usize,
    failed: u64,
    refused: u64,
    region: PhantomData<&'pool mut [MaybeUninit<u8>]>,
}

// SAFETY: the heap owns its region exclusively for 'pool, and no part of it is bound to a thread.
unsafe impl<G: Geometry> Send for Heap<'_, G> {}
// SAFETY: nothing is written through a shared reference.
unsafe impl<G: Geometry> Sync for Heap<'_, G> {}

impl<'pool, G: Geometry> Heap<'pool, G> {
    /// Builds a heap over `region`, of any length and alignment.
    ///
    /// Takes time linear in the map, 1/64 of the region for [`Standard`]; everything after is constant time.
    ///
    /// # Errors
    /// [`InitError`] if the region can't hold the map and one granule, or has more granules than links can number.
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        let len_bytes = region.len();
        // SAFETY: the region is borrowed exclusively for 'pool.
        unsafe { Self::from_raw(NonNull::from(region).cast(), len_bytes) }
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
        unsafe { Self::build(base, len_bytes, len_bytes, Map::format) }
    }

    /// As [`from_raw`](Self::from_raw), over memory that is all zero, as fresh from the operating system: the map is
    /// then left untouched, so that no page of it is brought in before it is used. O(1).
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// As for `from_raw`, and every byte must be zero.
    pub unsafe fn from_raw_zeroed(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::build(base, len_bytes, len_bytes, |pairs, _| Map::of_zeroes(pairs)) }
    }

    /// As [`from_raw`](Self::from_raw), with a map for `max_bytes`, so that the pool can be made longer by
    /// [`extend`](Self::extend). The map is 1/64 of `max_bytes` and must fit in `len_bytes`.
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// As for `from_raw`.
    pub unsafe fn from_raw_extendable(
        base: NonNull<u8>,
        len_bytes: usize,
        max_bytes: usize,
    ) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::build(base, len_bytes, max_bytes.max(len_bytes), Map::format) }
    }

    /// # Safety
    /// As for `from_raw`; `map` makes an empty map of so many granules.
    unsafe fn build(
        base: NonNull<u8>,
        len_bytes: usize,
        max_bytes: usize,
        map: unsafe fn(*mut Pair, usize) -> Map,
    ) -> Result<Self, InitError> {
        let shape = Shape::fit::<G>(base, max_bytes)?;
        let granules = shape.granules_in::<G>(len_bytes)?;
        // SAFETY: the shape lies in the region, map and granules apart and aligned.
        unsafe {
            let map = map(
                base.add(shape.map_offset).cast::<Pair>().as_ptr(),
                shape.granules,
            );
            let pool = Pool::new(base.add(shape.pool_offset));
            Ok(Self {
                blocks: BlockTier::new(map, pool, granules),
                region_bytes: len_bytes,
                pool_offset_bytes: shape.pool_offset,
                max_granules: shape.granules,
                live: 0,
                failed: 0,
                refused: 0,
                region: PhantomData,
            })
        }
    }

    /// Makes the pool longer by the `added_bytes` that follow its region, as far as the map was made for. Returns by how
    /// many bytes the pool has grown: whole granules only, and 0 once it is as long as the map allows. O(1).
    ///
    /// # Safety
    /// The bytes right behind the region must be the heap's as those of the region are: see [`from_raw`](Self::from_raw).
    pub unsafe fn extend(&mut self, added_bytes: usize) -> usize {
        let pool_bytes = self.blocks.end * G::GRANULE_BYTES;
        let unused_bytes = self.region_bytes - pool_bytes - self.pool_offset_bytes;
        let room_bytes =
            (self.max_granules * G::GRANULE_BYTES - pool_bytes).saturating_sub(unused_bytes);
        let added_bytes = added_bytes.min(room_bytes);
        let granules = (unused_bytes + added_bytes) / G::GRANULE_BYTES;
        self.region_bytes += added_bytes;
        self.blocks.end += granules;
        granules * G::GRANULE_BYTES
    }

    /// Gives all blocks back at once. Linear in the part of the map that was used since the last reset.
    ///
    /// The peak begins anew; the counts of failed requests and refused frees go on.
    ///
    /// Collections that live in a shared heap keep it borrowed, so none can outlive this; raw pointers must not be used
    /// any more.
    pub fn reset(&mut self) {
        let BlockTier {
            map,
            pool,
            top,
            top_peak,
            end,
            ..
        } = self.blocks;
        // SAFETY: the map is this heap's, no mark lies beyond the top, and it goes on with the same pool.
        self.blocks = unsafe { BlockTier::new(map.reformat(top), pool, end) };
        self.blocks.top_peak = top_peak;
        self.live = 0;
    }

    /// Allocates a block for `layout`. A size of zero takes one granule.
    ///
    /// The slice returned is at least as long as asked: it is all the caller may use.
    /// Any alignment up to the pool's size is served. O(1).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the pool could never serve it, [`AllocError::OutOfMemory`] if it can't now.
    #[inline]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let granules = Self::granules(layout.size());
        let taken = if granules > self.blocks.end {
            Err(TakeError::NoneFits)
        } else if layout.align() <= G::GRANULE_BYTES {
            self.blocks.take(granules)
        } else {
            self.blocks.take_aligned(granules, layout.align())
        };
        match taken {
            Ok(start) => {
                self.live = self.live.wrapping_add(1);
                // SAFETY: the block lies in the pool.
                Ok(unsafe { self.slice(start, granules) })
            }
            Err(error) => Err(self.failed(error, granules)),
        }
    }

    /// As [`allocate`](Self::allocate), for callers that know what else to try.
    pub(crate) fn allocate_uncounted(&mut self, layout: Layout) -> Option<NonNull<[u8]>> {
        let failed = self.failed;
        let block = self.allocate(layout).ok();
        self.failed = failed;
        block
    }

    /// Allocates a block for `layout` and zeroes all of it. O(1) and one write of the block.
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    pub fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: the block is so long, and the caller's alone.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }

    /// Gives a block back. A pointer or layout that must be refused is handed to the misuse hook:
    /// see [`set_misuse_hook`](crate::set_misuse_hook). O(1).
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline]
    pub unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        if let Err(error) = unsafe { self.try_deallocate(ptr, layout) } {
            misuse(error, ptr, Some(layout));
        }
    }

    /// Gives a block back, or says why not: then the heap is unchanged. O(1).
    ///
    /// # Errors
    /// - [`FreeError::OutsidePool`]: no address of this pool.
    /// - [`FreeError::NotABlock`]: inside a block, not at its start.
    /// - [`FreeError::AlreadyFree`]: free memory. Far inside a long free block, where constant time can't
    ///   tell it from a used one, the answer is `NotABlock`.
    /// - [`FreeError::WrongLayout`]: the size rounds to another number of granules than the block has, or the address
    ///   isn't a multiple of the alignment.
    /// - [`FreeError::Corrupt`]: a neighbouring free block was overwritten.
    ///
    /// # Safety
    /// Nothing may use the block afterwards. A pointer that is no live block of this heap is refused, but
    /// a pointer kept from an earlier block can't be told from the live block of the same layout that now starts there.
    #[inline]
    pub unsafe fn try_deallocate(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        let freed = self
            .live_block(ptr, layout)
            // SAFETY: it is a used block, and the caller gives it up.
            .and_then(|block| Ok(unsafe { self.blocks.give_back(block) }?));
        self.note_freed(freed)
    }

    /// Gives a block back whose layout the caller doesn't know, as C's `free`. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate`](Self::try_deallocate), less `WrongLayout`.
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline]
    pub unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        let freed = self
            .block_at(ptr)
            // SAFETY: it is a used block, and the caller gives it up.
            .and_then(|block| Ok(unsafe { self.blocks.give_back(block) }?));
        self.note_freed(freed)
    }

    /// Makes a block longer: [`reallocate`](Self::reallocate) under the name of the `Allocator` trait.
    ///
    /// # Errors
    /// As for `reallocate`.
    ///
    /// # Safety
    /// As for `reallocate`.
    #[inline]
    pub unsafe fn grow(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        unsafe { self.reallocate(ptr, old, new) }
    }

    /// Makes a block shorter: [`reallocate`](Self::reallocate) under the name of the `Allocator` trait.
    ///
    /// # Errors
    /// As for `reallocate`.
    ///
    /// # Safety
    /// As for `reallocate`.
    #[inline]
    pub unsafe fn shrink(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        unsafe { self.reallocate(ptr, old, new) }
    }

    /// Changes a block's size or alignment and keeps its content, up to the smaller size.
    ///
    /// In place where what follows the block allows; else in a new block; else backwards into a free block before it.
    /// O(1), and one copy of the payload where it moves.
    ///
    /// # Errors
    /// [`ReallocError`]; the old block is then live and unchanged.
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate), if it succeeds: the block is now the one returned.
    pub unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let block = self.live_block(ptr, old);
        let block = self.note_refused(block)?;
        // SAFETY: it is a used block, and the caller gives it up if this succeeds.
        unsafe {
            match self.resize(block, ptr, new)? {
                Some(resized) => Ok(resized),
                None => self.reallocate_moving(block, old, new),
            }
        }
    }

    /// As [`reallocate`](Self::reallocate), but never moves the block: [`AllocError::OutOfMemory`] says that only a move
    /// would do, and is not counted as a failed request. O(1).
    ///
    /// # Errors
    /// [`ReallocError`]; the block is then live and unchanged.
    ///
    /// # Safety
    /// As for `reallocate`.
    pub unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let block = self.live_block(ptr, old);
        let block = self.note_refused(block)?;
        // SAFETY: it is a used block, and the caller's.
        unsafe { self.resize(block, ptr, new)? }.ok_or(AllocError::OutOfMemory.into())
    }

    /// As [`resize_in_place`](Self::resize_in_place) for callers that don't know the block's layout, as C's `realloc`.
    ///
    /// # Errors
    /// As for `resize_in_place`, less `WrongLayout`.
    ///
    /// # Safety
    /// As for `reallocate`.
    pub unsafe fn resize_in_place_unsized(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let block = self.block_at(ptr);
        let block = self.note_refused(block)?;
        let new = Layout::from_size_align(new_bytes, 1).map_err(|_| AllocError::TooLarge)?;
        // SAFETY: it is a used block, and the caller's.
        unsafe { self.resize(block, ptr, new)? }.ok_or(AllocError::OutOfMemory.into())
    }

    /// Resizes a block where it is, if what surrounds it allows.
    ///
    /// # Safety
    /// `block` is used, starts at `ptr` and is the caller's.
    #[inline(always)]
    unsafe fn resize(
        &mut self,
        block: Run,
        ptr: NonNull<u8>,
        new: Layout,
    ) -> Result<Option<NonNull<[u8]>>, FreeError> {
        let granules = Self::granules(new.size());
        // SAFETY: as promised by the caller; granules is at least one.
        unsafe {
            let resized = is_aligned(ptr, new) && self.blocks.resize(block, granules)?;
            Ok(resized.then(|| self.slice(block.start, granules)))
        }
    }

    /// # Safety
    /// `block` is used and the caller gives it up if this succeeds.
    #[cold]
    unsafe fn reallocate_moving(
        &mut self,
        block: Run,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        if block.end > self.blocks.top {
            self.refused += 1;
            return Err(FreeError::Corrupt.into());
        }
        let payload_bytes = old.size().min(new.size());
        // SAFETY: old and new block don't overlap; the old one is as long as its layout.
        unsafe {
            match self.allocate(new) {
                Ok(moved) => {
                    moved
                        .cast::<u8>()
                        .copy_from_nonoverlapping(self.blocks.pool.at(block.start), payload_bytes);
                    if let Err(Corrupt) = self.blocks.give_back(block) {
                        // The old block can't be given back, so it stays, and the new one goes.
                        self.refused += 1;
                        let _ = self.try_deallocate(moved.cast(), new);
                        return Err(FreeError::Corrupt.into());
                    }
                    self.live = self.live.wrapping_sub(1);
                    Ok(moved)
                }
                Err(error) => {
                    let granules = Self::granules(new.size());
                    let longer = granules > block.len();
                    let start = if longer {
                        self.blocks
                            .extend_backwards(block, granules, new.align(), payload_bytes)
                    } else {
                        Ok(None)
                    };
                    match start {
                        Ok(Some(start)) => {
                            self.failed -= 1;
                            Ok(self.slice(start, granules))
                        }
                        Ok(None) => Err(error.into()),
                        Err(Corrupt) => Err(FreeError::Corrupt.into()),
                    }
                }
            }
        }
    }

    /// How many bytes the caller may use at `ptr`, the start of a live block. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate_unsized`](Self::try_deallocate_unsized).
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        let block = self.block_at(ptr)?;
        if block.start < block.end && block.end <= self.blocks.top {
            Ok(block.len() * G::GRANULE_BYTES)
        } else {
            Err(FreeError::Corrupt)
        }
    }

    /// The largest request in bytes that succeeds now, at an alignment of a granule or less; one granule more fails.
    /// O(1).
    pub fn largest_free(&self) -> usize {
        self.blocks.largest() * G::GRANULE_BYTES
    }

    /// The end of the pool that no block has ever covered, not even for a while: what the heap never needed, and where
    /// memory that was zero when it was handed over still is. O(1).
    pub fn never_used(&self) -> NonNull<[u8]> {
        let BlockTier { top_peak, end, .. } = self.blocks;
        // SAFETY: the peak lies in the pool or at its end.
        unsafe { self.slice(top_peak, end - top_peak) }
    }

    /// The heap's counters. O(1).
    pub fn stats(&self) -> Stats {
        // The counters make no sense where the map was overwritten, but they can be asked.
        let bytes = |granules: usize| granules.wrapping_mul(G::GRANULE_BYTES);
        Stats {
            pool_bytes: bytes(self.blocks.end),
            metadata_bytes: self.region_bytes - bytes(self.blocks.end),
            used_bytes: bytes(self.blocks.used),
            peak_used_bytes: bytes(self.blocks.used_peak),
            free_bytes: bytes(self.blocks.end.wrapping_sub(self.blocks.used)),
            live_blocks: self.live,
            failed_requests: self.failed,
            refused_frees: self.refused,
        }
    }

    /// The granules of a block for `size_bytes`.
    #[inline(always)]
    fn granules(size_bytes: usize) -> usize {
        // A layout's size is at most isize::MAX, so the sum can't overflow.
        ((size_bytes + (G::GRANULE_BYTES - 1)) >> Pool::<G>::GRANULE_LOG2).max(1)
    }

    /// # Safety
    /// The block lies in the pool.
    #[inline(always)]
    unsafe fn slice(&self, start: usize, granules: usize) -> NonNull<[u8]> {
        // SAFETY: as promised by the caller.
        let ptr = unsafe { self.blocks.pool.at(start) };
        NonNull::slice_from_raw_parts(ptr, granules << Pool::<G>::GRANULE_LOG2)
    }

    /// The used block that starts at `ptr`.
    #[inline(always)]
    fn block_at(&self, ptr: NonNull<u8>) -> Result<Run, FreeError> {
        let offset = self.blocks.pool.offset_bytes(ptr);
        if offset.is_multiple_of(G::GRANULE_BYTES)
            && let Some(block) = self.blocks.used_block(offset >> Pool::<G>::GRANULE_LOG2)
        {
            return Ok(block);
        }
        Err(self.why_no_block(offset))
    }

    /// The used block that starts at `ptr`, if `layout` may be its.
    #[inline(always)]
    fn live_block(&self, ptr: NonNull<u8>, layout: Layout) -> Result<Run, FreeError> {
        let block = self.block_at(ptr)?;
        if block.len() != Self::granules(layout.size()) || !is_aligned(ptr, layout) {
            return Err(FreeError::WrongLayout);
        }
        Ok(block)
    }

    /// Names the misuse, from at most three pairs of the map.
    #[cold]
    #[inline(never)]
    fn why_no_block(&self, offset_bytes: usize) -> FreeError {
        let granule = offset_bytes >> Pool::<G>::GRANULE_LOG2;
        if granule >= self.blocks.end {
            return FreeError::OutsidePool;
        }
        if granule >= self.blocks.top || self.blocks.lies_in_free(granule) {
            return FreeError::AlreadyFree;
        }
        FreeError::NotABlock
    }

    #[inline(always)]
    fn note_freed(&mut self, freed: Result<(), FreeError>) -> Result<(), FreeError> {
        match freed {
            Ok(()) => self.live = self.live.wrapping_sub(1),
            Err(_) => self.refused += 1,
        }
        freed
    }

    #[inline(always)]
    fn note_refused(&mut self, block: Result<Run, FreeError>) -> Result<Run, FreeError> {
        if block.is_err() {
            self.refused += 1;
        }
        block
    }

    #[cold]
    #[inline(never)]
    fn failed(&mut self, error: TakeError, granules: usize) -> AllocError {
        self.failed += 1;
        match error {
            TakeError::Corrupt => AllocError::Corrupt,
            TakeError::NoneFits if granules > self.blocks.end => AllocError::TooLarge,
            TakeError::NoneFits => AllocError::OutOfMemory,
        }
    }
}

#[inline(always)]
fn is_aligned(ptr: NonNull<u8>, layout: Layout) -> bool {
    ptr.addr().get() & (layout.align() - 1) == 0
}

impl From<Corrupt> for FreeError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

impl<G: Geometry> core::fmt::Debug for Heap<'_, G> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Heap")
            .field("geometry", &core::any::type_name::<G>())
            .field("stats", &self.stats())
            .finish()
    }
}

/// Where map and pool lie in a region.
struct Shape {
    map_offset: usize,
    pool_offset: usize,
    granules: usize,
}

impl Shape {
    /// How many of the granules lie in the first `len_bytes` of the region.
    fn granules_in<G: Geometry>(&self, len_bytes: usize) -> Result<usize, InitError> {
        let too_small = InitError::RegionTooSmall {
            len_bytes,
            min_bytes: self.pool_offset + G::GRANULE_BYTES,
        };
        let pool_bytes = len_bytes.checked_sub(self.pool_offset).ok_or(too_small)?;
        match self.granules.min(pool_bytes / G::GRANULE_BYTES) {
            0 => Err(too_small),
            granules => Ok(granules),
        }
    }

    fn fit<G: Geometry>(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        let min_bytes = 2 * G::GRANULE_BYTES + Map::bytes(1) + align_of::<Pair>();
        let too_small = InitError::RegionTooSmall {
            len_bytes,
            min_bytes,
        };
        let map_offset = base.align_offset(align_of::<Pair>());
        let after_map = len_bytes.checked_sub(map_offset).ok_or(too_small)?;
        // A first guess that is never too low: each 64 granules need a pair, and one more granule is mapped.
        let group_bytes = 64 * G::GRANULE_BYTES + size_of::<Pair>();
        let mut granules = after_map / group_bytes * 64 + 64;
        // Each step down frees a granule; a pair and the alignment are worth only a few.
        while granules > 0 {
            let map_end = map_offset + Map::bytes(granules);
            let address = base.addr().get().wrapping_add(map_end);
            let pool_offset = map_end + (address.wrapping_neg() & (G::GRANULE_BYTES - 1));
            if len_bytes
                .checked_sub(pool_offset)
                .is_some_and(|rest| rest / G::GRANULE_BYTES >= granules)
            {
                if granules > max_granules::<G>() {
                    let max_bytes =
                        max_granules::<G>() * G::GRANULE_BYTES + Map::bytes(max_granules::<G>());
                    return Err(InitError::RegionTooLarge {
                        len_bytes,
                        max_bytes,
                    });
                }
                return Ok(Self {
                    map_offset,
                    pool_offset,
                    granules,
                });
            }
            granules -= 1;
        }
        Err(too_small)
    }
}

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
/// The counters and bins (under 2 KiB for [`Standard`], under 400 bytes for [`Compact`]) live in this value,
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
        let shape = Shape::fit::<G>(base, len_bytes)?;
        // SAFETY: the shape lies in the region, map and granules apart and aligned.
        unsafe {
            let map = Map::format(
                base.add(shape.map_offset).cast::<Pair>().as_ptr(),
                shape.granules,
            );
            let pool = Pool::new(base.add(shape.pool_offset));
            Ok(Self {
                blocks: BlockTier::new(map, pool, shape.granules),
                region_bytes: len_bytes,
                live: 0,
                failed: 0,
                refused: 0,
                region: PhantomData,
            })
        }
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
                self.live += 1;
                // SAFETY: the block lies in the pool.
                Ok(unsafe { self.slice(start, granules) })
            }
            Err(error) => Err(self.failed(error, granules)),
        }
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
            misuse(error)
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
        let block = match self.live_block(ptr, old) {
            Ok(block) => block,
            Err(error) => {
                self.refused += 1;
                return Err(error.into());
            }
        };
        let granules = Self::granules(new.size());
        // SAFETY: it is a used block; granules is at least one.
        unsafe {
            if is_aligned(ptr, new)
                && self
                    .blocks
                    .resize(block, granules)
                    .map_err(|Corrupt| FreeError::Corrupt)?
            {
                return Ok(self.slice(block.start, granules));
            }
            self.reallocate_moving(block, old, new)
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
                    self.live -= 1;
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
        Ok(self.block_at(ptr)?.len() * G::GRANULE_BYTES)
    }

    /// The largest request in bytes that succeeds now, at an alignment of a granule or less; one granule more fails.
    /// O(1).
    pub fn largest_free(&self) -> usize {
        self.blocks.largest() * G::GRANULE_BYTES
    }

    /// The heap's counters. O(1).
    pub fn stats(&self) -> Stats {
        let bytes = |granules: usize| granules * G::GRANULE_BYTES;
        Stats {
            pool_bytes: bytes(self.blocks.end),
            metadata_bytes: self.region_bytes - bytes(self.blocks.end),
            used_bytes: bytes(self.blocks.used),
            peak_used_bytes: bytes(self.blocks.used_peak),
            free_bytes: bytes(self.blocks.end - self.blocks.used),
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
            Ok(()) => self.live -= 1,
            Err(_) => self.refused += 1,
        }
        freed
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

//! The heap: bytes and pointers outside, granules inside.

use core::alloc::Layout;
use core::hint::black_box;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::hooks::misuse;
use crate::old::blocks::{BlockTier, Corrupt, Run, TakeError};
use crate::old::links::Pool;
use crate::old::map::Map;
use crate::old::shape::{Shape, Tiers};
use crate::old::slab::{Class, GivenBack, SLOT_ALIGN, Slab, Slabs, Slot};
use crate::old::watch::{self, Watch};
use crate::{AllocError, FreeError, Geometry, InitError, ReallocError, Standard, Stats};

/// What C asks of `malloc`'s alignment, in bytes.
const C_ALIGN: usize = 2 * size_of::<usize>();

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
/// add one copy of the payload. A refused call has changed nothing but its own
/// counter; a request that fails may have given an empty slab back to the pool, which no block notices.
///
/// The counters and bins (on a 64-bit machine 2,096 bytes for [`Standard`], 416 for [`Compact`](crate::Compact))
/// live in this value, the map and the blocks in the region.
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
    pub(crate) slabs: Slabs,
    region_bytes: usize,
    pool_offset_bytes: usize,
    /// How many granules the map was made for; the pool may have fewer.
    max_granules: usize,
    /// Used blocks that aren't slabs.
    pub(crate) live: usize,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    watch: Watch,
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
        Self::from_region_with(region, Tiers::Auto)
    }

    /// As [`from_region`](Self::from_region), and chooses whether small requests come from slabs.
    ///
    /// # Errors
    /// As for `from_region`.
    pub fn from_region_with(
        region: &'pool mut [MaybeUninit<u8>],
        tiers: Tiers,
    ) -> Result<Self, InitError> {
        let len_bytes = region.len();
        // SAFETY: the region is borrowed exclusively for 'pool.
        unsafe { Self::from_raw_with(NonNull::from(region).cast(), len_bytes, tiers) }
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
        unsafe { Self::from_raw_with(base, len_bytes, Tiers::Auto) }
    }

    /// As [`from_raw`](Self::from_raw), and chooses whether small requests come from slabs.
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// As for `from_raw`.
    pub unsafe fn from_raw_with(
        base: NonNull<u8>,
        len_bytes: usize,
        tiers: Tiers,
    ) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::build(base, len_bytes, len_bytes, tiers, false) }
    }

    /// As [`from_raw`](Self::from_raw), over memory that is all zero, as fresh from the operating system: the map is
    /// and the directory of slabs are then left untouched, so that no page of them is brought in before it is used. O(1).
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// As for `from_raw`, and every byte must be zero.
    pub unsafe fn from_raw_zeroed(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::build(base, len_bytes, len_bytes, Tiers::Auto, true) }
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
        unsafe { Self::from_raw_extendable_with(base, len_bytes, max_bytes, Tiers::Auto) }
    }

    /// As [`from_raw_extendable`](Self::from_raw_extendable), and chooses whether small requests come from slabs.
    ///
    /// # Errors
    /// As for [`from_region`](Self::from_region).
    ///
    /// # Safety
    /// As for `from_raw`.
    pub unsafe fn from_raw_extendable_with(
        base: NonNull<u8>,
        len_bytes: usize,
        max_bytes: usize,
        tiers: Tiers,
    ) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Self::build(base, len_bytes, max_bytes.max(len_bytes), tiers, false) }
    }

    /// # Safety
    /// As for `from_raw`; if `is_zero`, every byte is.
    unsafe fn build(
        base: NonNull<u8>,
        len_bytes: usize,
        max_bytes: usize,
        tiers: Tiers,
        is_zero: bool,
    ) -> Result<Self, InitError> {
        let shape = Shape::fit::<G>(base, max_bytes, tiers)?;
        let granules = shape.granules_in::<G>(len_bytes)?;
        // SAFETY: the shape lies in the region: directory, map and granules apart and aligned.
        unsafe {
            let slabs = if shape.has_slabs {
                let directory = base.add(shape.directory_offset).cast().as_ptr();
                if is_zero {
                    Slabs::of_zeroes(directory, shape.granules)
                } else {
                    Slabs::format(directory, shape.granules)
                }
            } else {
                Slabs::without()
            };
            let pairs = base.add(shape.map_offset).cast().as_ptr();
            let map = if is_zero {
                Map::of_zeroes(pairs)
            } else {
                Map::format(pairs, shape.granules)
            };
            let pool = Pool::new(base.add(shape.pool_offset));
            Ok(Self {
                blocks: BlockTier::new(map, pool, granules),
                slabs,
                region_bytes: len_bytes,
                pool_offset_bytes: shape.pool_offset,
                max_granules: shape.granules,
                live: 0,
                failed: 0,
                refused: 0,
                watch: Watch::over(pool.base(), granules * G::GRANULE_BYTES),
                region: PhantomData,
            })
        }
    }

    /// A heap of copied metadata, to be walked over and nothing else.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn replica(blocks: BlockTier<G>, slabs: Slabs) -> Self {
        Self {
            max_granules: blocks.end,
            blocks,
            slabs,
            region_bytes: 0,
            pool_offset_bytes: 0,
            live: 0,
            failed: 0,
            refused: 0,
            watch: Watch::nothing(),
            region: PhantomData,
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
        self.watch.extended(granules * G::GRANULE_BYTES);
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
        self.slabs.reformat(top);
        self.live = 0;
        self.watch.reset();
    }

    /// Allocates a block for `layout`. A size of zero takes one granule.
    ///
    /// The slice returned is at least as long as asked: it is all the caller may use.
    /// Any alignment up to the pool's size is served. O(1).
    ///
    /// # Errors
    /// [`AllocError::TooLarge`] if the pool could never serve it, [`AllocError::OutOfMemory`] if it can't now.
    #[inline(always)]
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate_unwatched(layout);
        self.watch.allocated(block, layout.size())
    }

    #[inline]
    fn allocate_unwatched(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if !self.is_small(layout.size()) {
            return self.allocate_block(layout);
        }
        if layout.align() > SLOT_ALIGN {
            return self.allocate_small(layout);
        }
        let class = self.slabs.class_for(layout.size());
        if let Some(offset) = self.slabs.take_first(class) {
            return Ok(self.slot(offset, class));
        }
        self.allocate_any(class, layout.size())
    }

    /// Whether a request of this size may come from a slab. Where there are slabs, one of zero bytes takes a slot of the smallest.
    #[inline(always)]
    fn is_small(&self, size_bytes: usize) -> bool {
        G::HAS_SLABS && self.slabs.serve(size_bytes)
    }

    #[inline(always)]
    fn slot(&self, offset_bytes: usize, class: Class) -> NonNull<[u8]> {
        // SAFETY: the slot lies in the pool.
        let ptr = unsafe { self.blocks.pool.base().add(offset_bytes) };
        NonNull::slice_from_raw_parts(ptr, self.slabs.slot_bytes_known(class))
    }

    /// What the first word of the class's first slab can't serve. The alignment need not be known: any that a class
    /// serves is at most a granule's, so a block serves it too.
    #[inline(never)]
    fn allocate_any(
        &mut self,
        class: Class,
        size_bytes: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if Slabs::has_second_words(class) {
            return self.allocate_second(class, size_bytes);
        }
        match self.slabs.take_next(class) {
            Some(offset) => Ok(self.slot(offset, class)),
            None => self.allocate_elsewhere(class, size_bytes),
        }
    }

    /// `allocate_any` of a class that has second words: it tries that of the first slab.
    #[inline(never)]
    fn allocate_second(
        &mut self,
        class: Class,
        size_bytes: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        match self.slabs.take_second(class, self.blocks.map) {
            Some(offset) => Ok(self.slot(offset, class)),
            None => self.allocate_elsewhere(class, size_bytes),
        }
    }

    /// What none of the class's first two words can serve.
    #[inline(never)]
    fn allocate_elsewhere(
        &mut self,
        class: Class,
        size_bytes: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        match self.slabs.take_elsewhere(class, &mut self.blocks) {
            Some(offset) => Ok(self.slot(offset, class)),
            // SAFETY: a small size is below isize::MAX at any alignment.
            None => self.allocate_block(unsafe {
                Layout::from_size_align_unchecked(size_bytes, SLOT_ALIGN)
            }),
        }
    }

    /// A small request for a higher alignment.
    #[inline(never)]
    fn allocate_small(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if let Some(class) = self.class_for(layout) {
            if let Some(offset) = self.slabs.take_first(class) {
                return Ok(self.slot(offset, class));
            }
            return self.allocate_any(class, layout.size());
        }
        self.allocate_block(layout)
    }

    #[inline(never)]
    fn allocate_block(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let granules = Self::granules(layout.size());
        let taken = if granules <= self.blocks.end && layout.align() <= G::GRANULE_BYTES {
            self.blocks.take(granules)
        } else {
            self.take_aligned(granules, layout.align())
        };
        match taken {
            Ok(start) => Ok(self.taken(start, granules)),
            Err(error) => self.allocate_after_all(granules, layout.align(), error),
        }
    }

    /// A request that the block tier couldn't serve, tried once more when the spare slab was given back.
    #[cold]
    #[inline(never)]
    fn allocate_after_all(
        &mut self,
        granules: usize,
        align: usize,
        error: TakeError,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let is_worth_it = G::HAS_SLABS && error == TakeError::NoneFits;
        if !is_worth_it || !self.slabs.give_back_spare(&mut self.blocks) {
            return Err(self.failed(error, granules));
        }
        let taken = if granules <= self.blocks.end && align <= G::GRANULE_BYTES {
            self.blocks.take_by_call(granules)
        } else {
            self.take_aligned(granules, align)
        };
        match taken {
            Ok(start) => Ok(self.taken(start, granules)),
            Err(error) => Err(self.failed(error, granules)),
        }
    }

    #[inline(always)]
    fn taken(&mut self, start: usize, granules: usize) -> NonNull<[u8]> {
        self.live = self.live.wrapping_add(1);
        // SAFETY: the block lies in the pool.
        unsafe { self.slice(start, granules) }
    }

    /// A block at a higher alignment than the granule's, or one too long for the pool.
    fn take_aligned(&mut self, granules: usize, align: usize) -> Result<usize, TakeError> {
        if granules > self.blocks.end {
            Err(TakeError::NoneFits)
        } else {
            self.blocks.take_aligned(granules, align)
        }
    }

    /// The class that a layout is served from, if it is small enough.
    fn class_for(&self, layout: Layout) -> Option<Class> {
        if !self.is_small(layout.size()) {
            return None;
        }
        Slabs::class_for_aligned(layout.size(), layout.align())
    }

    /// Allocates as C's `malloc`: `size_bytes` bytes aligned for any C type, which is twice the width of a pointer; what
    /// is too small for such a type is aligned to 8. Given back by
    /// [`try_deallocate_unsized`](Self::try_deallocate_unsized). O(1).
    ///
    /// # Errors
    /// As for [`allocate`](Self::allocate).
    #[inline(always)]
    pub fn allocate_unsized(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate_unsized_unwatched(size_bytes);
        self.watch.allocated(block, size_bytes)
    }

    #[inline]
    fn allocate_unsized_unwatched(
        &mut self,
        size_bytes: usize,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if self.is_small(size_bytes)
            && let Some(class) = self.slabs.class_for_c(size_bytes)
        {
            if let Some(offset) = self.slabs.take_first(class) {
                return Ok(self.slot(offset, class));
            }
            return self.allocate_any(class, size_bytes);
        }
        self.allocate_unsized_slowly(size_bytes)
    }

    /// How many bytes [`allocate_unsized`](Self::allocate_unsized) rounds a request to, where it is served as it should be:
    /// a small request comes from the block tier where there is no room for a slab. `None` beyond what a pool can have.
    pub fn rounded_unsized(&self, size_bytes: usize) -> Option<usize> {
        if self.is_small(size_bytes)
            && let Some(class) = self.slabs.class_for_c(size_bytes)
        {
            return Some(Slabs::slot_bytes(class));
        }
        size_bytes.max(1).checked_next_multiple_of(G::GRANULE_BYTES)
    }

    /// Whether the live block at `ptr` is as long as one of [`allocate_unsized`](Self::allocate_unsized) for `size_bytes`, so that
    /// giving it back with that size is not refused. A slot that
    /// [`resize_in_place_unsized`](Self::resize_in_place_unsized) has left as it was need not be. O(1).
    pub fn fits_unsized(&self, ptr: NonNull<u8>, size_bytes: usize) -> bool {
        match self.slot_at(ptr) {
            Some(slot) => {
                self.is_small(size_bytes)
                    && self.slabs.class_for_c(size_bytes) == Some(slot.class())
            }
            None => self
                .block_at(ptr)
                .is_ok_and(|block| Some(block.len()) == Self::granules_checked(size_bytes)),
        }
    }

    #[inline(never)]
    fn allocate_unsized_slowly(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        let align = if size_bytes <= 8 { 8 } else { C_ALIGN };
        match Layout::from_size_align(size_bytes, align) {
            Ok(layout) => self.allocate_small(layout),
            Err(_) => Err(self.failed(TakeError::NoneFits, usize::MAX)),
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
    #[inline(always)]
    pub unsafe fn try_deallocate(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        // SAFETY: as promised by the caller.
        watch::freeing(self, ptr, |heap| unsafe {
            heap.try_deallocate_unwatched(ptr, layout)
        })
    }

    /// # Safety
    /// As for `try_deallocate`.
    #[inline]
    unsafe fn try_deallocate_unwatched(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        if self.is_small(layout.size()) {
            if layout.align() <= SLOT_ALIGN {
                let class = self.slabs.class_for(layout.size());
                let offset = self.blocks.pool.offset_bytes(ptr);
                return match self.slabs.give_back_at(offset, class) {
                    GivenBack::NoSlot => {
                        // No block and no slot lies at less, and what isn't kept needs no register.
                        // SAFETY: a small size is below isize::MAX at any alignment.
                        let layout =
                            unsafe { Layout::from_size_align_unchecked(layout.size(), SLOT_ALIGN) };
                        // SAFETY: as promised by the caller.
                        unsafe { self.try_deallocate_small(ptr, layout) }
                    }
                    given_back => self.gave_back(given_back, class),
                };
            }
            // SAFETY: as promised by the caller.
            return unsafe { self.try_deallocate_small(ptr, layout) };
        }
        // SAFETY: as promised by the caller.
        unsafe { self.try_deallocate_block(ptr, layout) }
    }

    /// Gives a block back whose layout the caller doesn't know, as C's `free`. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate`](Self::try_deallocate), less `WrongLayout`.
    ///
    /// # Safety
    /// As for [`try_deallocate`](Self::try_deallocate).
    #[inline(always)]
    pub unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: as promised by the caller.
        watch::freeing(self, ptr, |heap| unsafe {
            heap.try_deallocate_unsized_unwatched(ptr)
        })
    }

    /// # Safety
    /// As for `try_deallocate_unsized`.
    #[inline]
    unsafe fn try_deallocate_unsized_unwatched(
        &mut self,
        ptr: NonNull<u8>,
    ) -> Result<(), FreeError> {
        match self.slot_at(ptr) {
            Some(slot) => self.give_back_slot(slot, slot.class()),
            // SAFETY: as promised by the caller.
            None => unsafe { self.try_deallocate_block_unsized(ptr) },
        }
    }

    #[inline(always)]
    fn give_back_slot(&mut self, slot: Slot, class: Class) -> Result<(), FreeError> {
        let given_back = self.slabs.give_back_slot(slot, class, self.blocks.map);
        self.gave_back(given_back, class)
    }

    /// The end of every way to free a slot, so its rarer cases are jumps to functions of their own.
    #[inline(always)]
    fn gave_back(&mut self, given_back: GivenBack, class: Class) -> Result<(), FreeError> {
        match given_back {
            GivenBack::One => Ok(()),
            GivenBack::NotYet(slot) => self.give_back_second(slot.slab, slot.index, class),
            GivenBack::FirstOfWord(slab) => self.first_of_word(slab, class),
            GivenBack::WholeWord(slab) => self.word_free(slab),
            GivenBack::AlreadyFree | GivenBack::NoSlot => Err(self.refused(FreeError::AlreadyFree)),
        }
    }

    #[cold]
    #[inline(never)]
    fn give_back_second(&mut self, slab: Slab, index: u32, class: Class) -> Result<(), FreeError> {
        let slot = Slot { slab, index };
        let given_back = self.slabs.give_back_second(slot, class, self.blocks.map);
        self.gave_back(given_back, class)
    }

    /// Always `Ok`, which the compiler is kept from knowing: the call can then be the caller's last jump.
    #[cold]
    #[inline(never)]
    fn first_of_word(&mut self, slab: Slab, class: Class) -> Result<(), FreeError> {
        self.slabs.first_of_word(slab, class, self.blocks.map);
        black_box(Ok(()))
    }

    /// As for `first_of_word`.
    #[cold]
    #[inline(never)]
    fn word_free(&mut self, slab: Slab) -> Result<(), FreeError> {
        self.slabs.word_free(slab, &mut self.blocks);
        black_box(Ok(()))
    }

    /// A slot for a higher alignment, or a small block.
    ///
    /// # Safety
    /// As for `try_deallocate`.
    #[inline(never)]
    unsafe fn try_deallocate_small(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        let Some(slot) = self.slot_at(ptr) else {
            // SAFETY: as promised by the caller.
            return unsafe { self.try_deallocate_block(ptr, layout) };
        };
        if self.class_for(layout) != Some(slot.class()) {
            let error = self.why_not_slot(slot);
            return Err(self.refused(error));
        }
        self.give_back_slot(slot, slot.class())
    }

    /// # Safety
    /// As for `try_deallocate`.
    #[inline(never)]
    unsafe fn try_deallocate_block(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        let block = self.live_block(ptr, layout);
        // SAFETY: the caller gives it up.
        unsafe { self.give_back_block(block) }
    }

    /// # Safety
    /// As for `try_deallocate_unsized`.
    #[inline(never)]
    unsafe fn try_deallocate_block_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        let block = self.block_at(ptr);
        // SAFETY: the caller gives it up.
        unsafe { self.give_back_block(block) }
    }

    /// # Safety
    /// The block, if it is one, is given up.
    #[inline(always)]
    unsafe fn give_back_block(&mut self, block: Result<Run, FreeError>) -> Result<(), FreeError> {
        // SAFETY: it is a used block, and given up.
        match block.and_then(|block| Ok(unsafe { self.blocks.give_back(block) }?)) {
            Ok(()) => {
                self.live = self.live.wrapping_sub(1);
                Ok(())
            }
            Err(error) => Err(self.refused(error)),
        }
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
    #[inline(always)]
    pub unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        watch::reallocating(self, ptr, new.size(), |heap| unsafe {
            heap.reallocate_unwatched(ptr, old, new)
        })
    }

    /// # Safety
    /// As for `reallocate`.
    #[inline(never)]
    unsafe fn reallocate_unwatched(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        unsafe {
            match self.small_slot_at(ptr, old) {
                Some(slot) => self.reallocate_slot(slot, ptr, old, new),
                None => self.reallocate_block(ptr, old, new),
            }
        }
    }

    /// # Safety
    /// As for `reallocate`.
    #[inline(always)]
    unsafe fn reallocate_slot(
        &mut self,
        slot: Slot,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        if let Some(resized) = self.resize_slot(slot, ptr, old, new)? {
            return Ok(resized);
        }
        let moved = self.allocate(new)?;
        // SAFETY: two live blocks, as long as their layouts.
        unsafe { copy(ptr, moved, old.size().min(new.size())) };
        self.give_back_slot(slot, slot.class())?;
        Ok(moved)
    }

    /// # Safety
    /// As for `reallocate`.
    #[inline(never)]
    unsafe fn reallocate_block(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let block = self.live_block(ptr, old);
        let block = block.map_err(|error| self.refused(error))?;
        // SAFETY: it is a used block, and the caller's.
        unsafe {
            if is_aligned(ptr, new) {
                let granules = Self::granules(new.size());
                let resized = self.blocks.resize(block, granules);
                if let Some(resized) = self.resized(block, granules, resized)? {
                    return Ok(resized);
                }
            }
            self.reallocate_moving(block, old, new)
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
    #[inline(always)]
    pub unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        watch::reallocating(self, ptr, new.size(), |heap| unsafe {
            heap.resize_in_place_unwatched(ptr, old, new)
        })
    }

    /// # Safety
    /// As for `resize_in_place`.
    unsafe fn resize_in_place_unwatched(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let resized = match self.small_slot_at(ptr, old) {
            Some(slot) => self.resize_slot(slot, ptr, old, new)?,
            None => {
                let block = self.live_block(ptr, old);
                let block = block.map_err(|error| self.refused(error))?;
                // SAFETY: it is a used block, and the caller's.
                unsafe { self.resize(block, ptr, new)? }
            }
        };
        resized.ok_or(AllocError::OutOfMemory.into())
    }

    /// As [`resize_in_place`](Self::resize_in_place) for callers that don't know the block's layout, as C's `realloc`.
    ///
    /// # Errors
    /// As for `resize_in_place`, less `WrongLayout`.
    ///
    /// # Safety
    /// As for `reallocate`.
    #[inline(always)]
    pub unsafe fn resize_in_place_unsized(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: as promised by the caller.
        watch::reallocating(self, ptr, new_bytes, |heap| unsafe {
            heap.resize_in_place_unsized_unwatched(ptr, new_bytes)
        })
    }

    /// # Safety
    /// As for `resize_in_place_unsized`.
    unsafe fn resize_in_place_unsized_unwatched(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        if let Some(slot) = self.slot_at(ptr) {
            if !self.slabs.is_used(slot, &self.blocks) {
                return Err(self.refused(FreeError::AlreadyFree).into());
            }
            let slot = NonNull::slice_from_raw_parts(ptr, Slabs::slot_bytes(slot.class()));
            return if new_bytes <= slot.len() {
                Ok(slot)
            } else {
                Err(AllocError::OutOfMemory.into())
            };
        }
        let block = self.block_at(ptr).map_err(|error| self.refused(error))?;
        let new = Layout::from_size_align(new_bytes, 1).map_err(|_| AllocError::TooLarge)?;
        // SAFETY: it is a used block, and the caller's.
        unsafe { self.resize(block, ptr, new)? }.ok_or(AllocError::OutOfMemory.into())
    }

    /// The slot that starts at `ptr`, if one may be of this layout.
    #[inline(always)]
    fn small_slot_at(&self, ptr: NonNull<u8>, layout: Layout) -> Option<Slot> {
        if self.is_small(layout.size()) {
            self.slot_at(ptr)
        } else {
            None
        }
    }

    /// The slot as it is, if it is used, of `old` and serves `new`. `None`: it doesn't serve it.
    #[inline(always)]
    fn resize_slot(
        &mut self,
        slot: Slot,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<Option<NonNull<[u8]>>, FreeError> {
        let class = Some(slot.class());
        if self.class_for(old) != class || !self.slabs.is_used(slot, &self.blocks) {
            let error = self.why_not_slot(slot);
            return Err(self.refused(error));
        }
        let slot_bytes = Slabs::slot_bytes(slot.class());
        let serves = self.class_for(new) == class;
        Ok(serves.then(|| NonNull::slice_from_raw_parts(ptr, slot_bytes)))
    }

    /// Resizes a block where it is, if what surrounds it allows.
    ///
    /// # Safety
    /// `block` is used, starts at `ptr` and is the caller's.
    unsafe fn resize(
        &mut self,
        block: Run,
        ptr: NonNull<u8>,
        new: Layout,
    ) -> Result<Option<NonNull<[u8]>>, FreeError> {
        if !is_aligned(ptr, new) {
            return Ok(None);
        }
        let granules = Self::granules(new.size());
        // SAFETY: as promised by the caller; granules is at least one.
        let resized = unsafe { self.blocks.resize_by_call(block, granules) };
        self.resized(block, granules, resized)
    }

    /// What the block tier made of a resize to `granules`, as a caller sees it.
    #[inline(always)]
    fn resized(
        &mut self,
        block: Run,
        granules: usize,
        resized: Result<bool, Corrupt>,
    ) -> Result<Option<NonNull<[u8]>>, FreeError> {
        match resized {
            // SAFETY: the block lies in the pool.
            Ok(true) => Ok(Some(unsafe { self.slice(block.start, granules) })),
            Ok(false) => Ok(None),
            Err(Corrupt) => Err(self.refused(FreeError::Corrupt)),
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
                    copy(self.blocks.pool.at(block.start), moved, payload_bytes);
                    if let Err(Corrupt) = self.blocks.give_back_by_call(block) {
                        // The old block can't be given back, so it stays, and the new one goes.
                        let _ = self.try_deallocate(moved.cast(), new);
                        return Err(self.refused(FreeError::Corrupt).into());
                    }
                    self.live = self.live.wrapping_sub(1);
                    Ok(moved)
                }
                Err(error) => {
                    // The spare slab may have been what followed the block, and is given back by now.
                    if let Some(resized) =
                        self.resize(block, self.blocks.pool.at(block.start), new)?
                    {
                        self.failed -= 1;
                        return Ok(resized);
                    }
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
                            let block = self.slice(start, granules);
                            Ok(self.watch.moved_backwards(block, new.size()))
                        }
                        Ok(None) => Err(error.into()),
                        Err(Corrupt) => Err(self.refused(FreeError::Corrupt).into()),
                    }
                }
            }
        }
    }

    /// How many bytes the caller may use at `ptr`, the start of a live block. O(1).
    ///
    /// # Errors
    /// As for [`try_deallocate_unsized`](Self::try_deallocate_unsized).
    #[inline(always)]
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        let usable_bytes = self.rounded_size(ptr);
        usable_bytes.map(|bytes| watch::requested(ptr, bytes))
    }

    fn rounded_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        match self.slot_at(ptr) {
            Some(slot) if self.slabs.is_used(slot, &self.blocks) => {
                Ok(Slabs::slot_bytes(slot.class()))
            }
            Some(_) => Err(FreeError::AlreadyFree),
            None => {
                let block = self.block_at(ptr)?;
                let is_sound = block.start < block.end && block.end <= self.blocks.top;
                if is_sound {
                    Ok(block.len() * G::GRANULE_BYTES)
                } else {
                    Err(FreeError::Corrupt)
                }
            }
        }
    }

    /// The largest request in bytes that succeeds now, at an alignment of 8 or less; one granule more fails. O(1).
    ///
    /// The next call may change it, even a longer request that fails: it gives an empty slab back, which then stands before the
    /// other free blocks of its bin.
    pub fn largest_free(&self) -> usize {
        self.largest_block()
            .max(self.slabs.largest_free_slot(1, &self.blocks))
    }

    /// The largest request that [`allocate_unsized`](Self::allocate_unsized) serves now, in bytes, where a granule is
    /// aligned for any C type: with [`Standard`], or on a 32-bit machine. O(1).
    pub fn largest_free_unsized(&self) -> usize {
        self.largest_block()
            .max(self.slabs.largest_free_slot(C_ALIGN, &self.blocks))
    }

    /// The largest request that the block tier serves now, in bytes, the spare slab given back if need be.
    fn largest_block(&self) -> usize {
        let spare = self
            .slabs
            .spare_block(&self.blocks)
            .map_or(0, |block| self.blocks.merged_len(block));
        self.blocks.largest().max(spare) * G::GRANULE_BYTES
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
        let (used_slots, slab_free_bytes) = self.slabs.used();
        let used_bytes = bytes(self.blocks.used).wrapping_sub(slab_free_bytes);
        Stats {
            pool_bytes: bytes(self.blocks.end),
            metadata_bytes: self.region_bytes - bytes(self.blocks.end),
            used_bytes,
            peak_used_bytes: bytes(self.blocks.used_peak),
            free_bytes: bytes(self.blocks.end).wrapping_sub(used_bytes),
            live_blocks: self.live.wrapping_add(used_slots),
            failed_requests: self.failed,
            refused_frees: self.refused,
        }
    }

    /// As `granules`, of any number of bytes.
    fn granules_checked(size_bytes: usize) -> Option<usize> {
        let rounded = size_bytes
            .max(1)
            .checked_next_multiple_of(G::GRANULE_BYTES)?;
        Some(rounded >> Pool::<G>::GRANULE_LOG2)
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
        let granule = offset >> Pool::<G>::GRANULE_LOG2;
        if offset.is_multiple_of(G::GRANULE_BYTES)
            && let Some(block) = self.blocks.used_block(granule)
            && !(G::HAS_SLABS && self.slabs.starts_at(granule))
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
        if granule >= self.blocks.top {
            return FreeError::AlreadyFree;
        }
        if G::HAS_SLABS && self.slabs.is_in_slab(offset_bytes) {
            let slot = self.slabs.slot_at(offset_bytes);
            return slot.map_or(FreeError::NotABlock, |slot| self.why_not_slot(slot));
        }
        if self.blocks.lies_in_free(granule) {
            FreeError::AlreadyFree
        } else {
            FreeError::NotABlock
        }
    }

    /// Names what is wrong with a slot whose class isn't that of the layout, or that is free.
    #[cold]
    fn why_not_slot(&self, slot: Slot) -> FreeError {
        if self.slabs.is_used(slot, &self.blocks) {
            FreeError::WrongLayout
        } else {
            FreeError::AlreadyFree
        }
    }

    /// The slot that starts at `ptr`, free or used.
    #[inline(always)]
    fn slot_at(&self, ptr: NonNull<u8>) -> Option<Slot> {
        if G::HAS_SLABS {
            self.slabs.slot_at(self.blocks.pool.offset_bytes(ptr))
        } else {
            None
        }
    }

    #[cold]
    #[inline(never)]
    fn refused(&mut self, error: FreeError) -> FreeError {
        self.refused += 1;
        error
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

/// # Safety
/// Both are live blocks of at least so many bytes, and not the same.
unsafe fn copy(from: NonNull<u8>, to: NonNull<[u8]>, bytes: usize) {
    // SAFETY: as promised by the caller.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(from, bytes) }
}

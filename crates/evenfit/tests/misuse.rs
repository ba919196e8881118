//! Every misuse of the list in `docs/design.md` is refused with its own error, by every call that
//! takes a pointer, and the region's bytes are the same before and after.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{
    Aligned, BlocksOnly, Builder, Compact, FreeError, Geometry, Heap, ReallocError, Standard,
    Tiers, Wide, WithSlabs,
};

/// Enough for two slabs of the widest geometry.
const REGION_BYTES: usize = 16 << 10;

/// A region whose bytes the test can read without the heap's knowledge.
struct Region(NonNull<u8>);

impl Region {
    const LAYOUT: Layout = Layout::new::<[u64; REGION_BYTES / 8]>();

    fn new() -> Self {
        // SAFETY: the layout is not of size zero.
        Self(NonNull::new(unsafe { std::alloc::alloc_zeroed(Self::LAYOUT) }).unwrap())
    }

    fn heap<T: Tiers, G: Geometry>(&self) -> Heap<'static, T, G> {
        // SAFETY: the region outlives the heap in each test, and is its alone.
        unsafe { Builder::new().build_raw(self.0, REGION_BYTES) }.unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        // SAFETY: initialised, and no call is running.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr(), REGION_BYTES) }.to_vec()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.0.as_ptr(), Self::LAYOUT) }
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn at(ptr: NonNull<u8>, offset: usize) -> NonNull<u8> {
    NonNull::new(ptr.as_ptr().wrapping_add(offset)).unwrap()
}

/// A heap and its region.
struct Tried<T: Tiers, G: Geometry> {
    region: Region,
    heap: Heap<'static, T, G>,
}

impl<T: Tiers, G: Geometry> Tried<T, G> {
    fn new() -> Self {
        let region = Region::new();
        let heap = region.heap();
        Self { region, heap }
    }

    fn allocate(&mut self, layout: Layout) -> NonNull<u8> {
        self.heap.allocate(layout).unwrap().cast()
    }

    fn free(&mut self, block: NonNull<u8>, layout: Layout) {
        // SAFETY: each test frees a live block once.
        unsafe { self.heap.try_deallocate(block, layout) }.unwrap();
    }

    /// Runs calls that must be refused: they change nothing but the count of refusals.
    fn unchanged_but_for(&mut self, refusals: u64, calls: impl FnOnce(&mut Heap<'static, T, G>)) {
        let bytes = self.region.bytes();
        let stats = self.heap.stats();
        calls(&mut self.heap);
        let mut after = self.heap.stats();
        assert_eq!(after.refused_frees, stats.refused_frees + refusals);
        after.refused_frees = stats.refused_frees;
        assert_eq!(after, stats, "a refused call changed a counter");
        assert!(self.region.bytes() == bytes, "a refused call changed the region");
        assert_eq!(self.heap.check(), Ok(()));
    }

    /// Passes `ptr` with the layout `told` to every call with a layout.
    fn refused_as(&mut self, ptr: NonNull<u8>, told: Layout, expected: FreeError) {
        let larger = layout(told.size().min(1 << 20) + 400, told.align().min(4096));
        let smaller = layout(told.size() / 3, told.align().min(4096));
        let refusal = Err(ReallocError::Free(expected));
        // SAFETY: misuse, which the heap promises to refuse.
        self.unchanged_but_for(5, |heap| unsafe {
            assert_eq!(heap.try_deallocate(ptr, told), Err(expected), "{told:?}");
            for new in [larger, smaller, told] {
                assert_eq!(heap.reallocate(ptr, told, new), refusal, "to {new:?}");
            }
            assert_eq!(heap.resize_in_place(ptr, told, smaller), refusal);
        });
    }

    /// Passes pointers into a live block of four granules, at granules and between them.
    fn refused_inside(&mut self, block: NonNull<u8>, told: Layout) {
        let granule = G::GRANULE_BYTES;
        for offset in [1, granule / 2, granule, granule + 1, 2 * granule, 4 * granule - 1] {
            self.refused(at(block, offset), told, FreeError::NotABlock);
        }
    }

    /// Passes `ptr` to every call with a pointer.
    fn refused(&mut self, ptr: NonNull<u8>, told: Layout, expected: FreeError) {
        self.refused_as(ptr, told, expected);
        // SAFETY: misuse, which the heap promises to refuse.
        self.unchanged_but_for(2, |heap| unsafe {
            assert_eq!(heap.try_free(ptr), Err(expected), "try_free");
            let refusal = Err(ReallocError::Free(expected));
            assert_eq!(heap.realloc(ptr, 100), refusal, "realloc");
            assert_eq!(heap.usable_size(ptr), Err(expected), "usable_size");
        });
    }

    /// Pointers that belong to nothing in the pool.
    fn refused_outside(&mut self, told: Layout) {
        let start = self.region.0;
        let past = at(start, REGION_BYTES);
        let on_stack = 0_u64;
        let boxed = Box::new(0_u64);
        let mut other = Self::new();
        for ptr in [
            start,
            at(start, 8),
            past,
            at(past, G::GRANULE_BYTES),
            NonNull::dangling(),
            at(NonNull::dangling(), usize::MAX / 2),
            NonNull::from(&on_stack).cast(),
            NonNull::from(&*boxed).cast(),
            other.allocate(told),
        ] {
            self.refused(ptr, told, FreeError::OutsidePool);
        }
    }

    /// Alignments that an address doesn't have.
    fn refused_alignments(&mut self, block: NonNull<u8>, size: usize) {
        for doubled in 1..8 {
            let align = 1 << (block.addr().get().trailing_zeros() + doubled);
            self.refused_as(block, layout(size, align), FreeError::WrongLayout);
        }
    }
}

fn every_misuse_of_blocks<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    let mut tried = Tried::<BlocksOnly, G>::new();
    let asked = layout(4 * granule, 1);
    let blocks = [(); 8].map(|()| tried.allocate(asked));

    // Double free, with the neighbours used.
    tried.free(blocks[1], asked);
    tried.refused(blocks[1], asked, FreeError::AlreadyFree);

    // Double free of what has merged with the free block before it.
    tried.free(blocks[2], asked);
    tried.refused(blocks[2], asked, FreeError::AlreadyFree);
    tried.refused(blocks[1], asked, FreeError::AlreadyFree);

    // Double free of what has merged with the top.
    tried.free(blocks[7], asked);
    tried.refused(blocks[7], asked, FreeError::AlreadyFree);

    // After reuse: the old pointer now lies inside another block; or at its start, with another
    // size.
    let longer = layout(8 * granule, 1);
    let reused = tried.allocate(longer);
    assert_eq!(reused, blocks[1]);
    tried.refused(blocks[2], asked, FreeError::NotABlock);
    tried.refused_as(blocks[1], asked, FreeError::WrongLayout);

    tried.refused_inside(blocks[4], asked);
    tried.refused_outside(asked);

    // Wrong sizes, down and up, to the extremes.
    for size in [0, 1, 2 * granule, 4 * granule + 1, 6 * granule, 2000, isize::MAX as usize] {
        tried.refused_as(blocks[4], layout(size, 1), FreeError::WrongLayout);
    }
    tried.refused_alignments(blocks[4], asked.size());

    // Correct calls still succeed.
    for block in [blocks[0], blocks[3], blocks[4], blocks[5], blocks[6]] {
        tried.free(block, asked);
    }
    tried.free(reused, longer);
    assert_eq!(tried.heap.largest_free(), tried.heap.stats().pool_bytes);
}

#[test]
fn every_misuse_of_blocks_is_refused() {
    every_misuse_of_blocks::<Standard>();
    every_misuse_of_blocks::<Aligned>();
    every_misuse_of_blocks::<Wide>();
    every_misuse_of_blocks::<Compact>();
}

fn every_misuse_of_slots<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    let mut tried = Tried::<WithSlabs, G>::new();
    let asked = layout(4 * granule, 1);
    let slots = [(); 8].map(|()| tried.allocate(asked));
    let block_size = layout(600, 1);
    let block = tried.allocate(block_size);

    // Double frees, of a slot and of the block beside its slab.
    tried.free(slots[1], asked);
    tried.refused(slots[1], asked, FreeError::AlreadyFree);
    tried.free(slots[2], asked);
    tried.refused(slots[1], asked, FreeError::AlreadyFree);
    tried.free(block, block_size);
    tried.refused(block, block_size, FreeError::AlreadyFree);

    // Slots that were never allocated, and the end of the slab, which is no slot.
    tried.refused(at(slots[0], 20 * asked.size()), asked, FreeError::AlreadyFree);

    tried.refused_inside(slots[4], asked);
    tried.refused_outside(asked);

    // Wrong sizes: of other slots, and of blocks.
    for size in [0, 1, 2 * granule, 4 * granule + 1, 6 * granule, 600, 2000, isize::MAX as usize] {
        tried.refused_as(slots[4], layout(size, 1), FreeError::WrongLayout);
    }
    tried.refused_alignments(slots[4], asked.size());

    for slot in [slots[0], slots[3], slots[4], slots[5], slots[6], slots[7]] {
        tried.free(slot, asked);
    }
    assert_eq!(tried.heap.largest_free(), tried.heap.stats().pool_bytes);
}

#[test]
fn every_misuse_of_slots_is_refused() {
    every_misuse_of_slots::<Standard>();
    every_misuse_of_slots::<Aligned>();
    every_misuse_of_slots::<Wide>();
}

/// A link overwritten after free is found before anything is written.
fn corrupt_link<T: Tiers, G: Geometry>(size: usize) {
    let Tried { region, mut heap } = Tried::<T, G>::new();
    let asked = layout(size, 1);
    let blocks: Vec<_> = (0..5).map(|_| heap.allocate(asked).unwrap().cast::<u8>()).collect();
    // SAFETY: live blocks, freed once; the write goes to freed memory, as a late writer's.
    unsafe {
        heap.try_deallocate(blocks[1], asked).unwrap();
        heap.try_deallocate(blocks[3], asked).unwrap();
        blocks[1].write_bytes(0x41, size);
    }
    assert!(heap.check().is_err(), "check names the damage");
    let bytes = region.bytes();
    let stats = heap.stats();
    // SAFETY: live blocks, whose free neighbour was overwritten, so they stay live.
    unsafe {
        for block in [blocks[0], blocks[2]] {
            let refused = heap.try_deallocate(block, asked);
            assert_eq!(refused, Err(FreeError::Corrupt));
            assert_eq!(heap.try_free(block), Err(FreeError::Corrupt));
        }
    }
    assert!(region.bytes() == bytes, "a refused call changed the region");
    assert_eq!(heap.stats().live_blocks, stats.live_blocks);
    assert_eq!(heap.stats().refused_frees, stats.refused_frees + 4);
}

#[test]
fn a_corrupt_link_is_refused() {
    for granules in [2, 10, 40] {
        corrupt_link::<BlocksOnly, Standard>(granules * Standard::GRANULE_BYTES);
        corrupt_link::<BlocksOnly, Aligned>(granules * Aligned::GRANULE_BYTES);
        corrupt_link::<BlocksOnly, Wide>(granules * Wide::GRANULE_BYTES);
        corrupt_link::<BlocksOnly, Compact>(granules * Compact::GRANULE_BYTES);
    }
    corrupt_link::<WithSlabs, Standard>(600);
}

/// How many granules from the start of a free block a pointer into it can be told from one into a
/// used block.
const TOLD_GRANULES: usize = usize::BITS as usize - 8;

/// A pointer to any granule of long and short blocks, used and free, is refused with the error for
/// the block that it points into. In the middle of a long free block, constant time can't tell, and
/// it is refused like one into a used block.
fn every_granule<G: Geometry>() {
    let mut region = vec![MaybeUninit::uninit(); 100 << 10];
    let mut heap = Builder::<BlocksOnly, G>::new().build(&mut region).unwrap();
    let granule_bytes = G::GRANULE_BYTES;
    let sizes =
        [5, 2, 70, 3, 2, 64, 300, 2, 3, 130, 129, 500, 63, 65, 4, 2, 40, 200, 400, 2, 128, 17];
    let of = |granules: usize| layout(granules * granule_bytes, 1);
    let blocks = sizes.map(|granules| {
        let block = heap.allocate(of(granules)).unwrap().cast::<u8>();
        (block, heap.usable_size(block).unwrap() / granule_bytes)
    });
    for (&(block, _), granules) in blocks.iter().zip(sizes).step_by(2) {
        // SAFETY: a live block, freed once.
        unsafe { heap.try_deallocate(block, of(granules)) }.unwrap();
    }
    for (index, &(block, granules)) in blocks.iter().enumerate() {
        let is_free = index % 2 == 0;
        for granule in 0..granules {
            if !is_free && granule == 0 {
                continue;
            }
            // SAFETY: refused.
            let answer = unsafe { heap.try_free(at(block, granule * granule_bytes)) };
            let is_told = granule <= TOLD_GRANULES || granules - granule <= 2;
            let expected =
                if is_free && is_told { FreeError::AlreadyFree } else { FreeError::NotABlock };
            assert_eq!(answer, Err(expected), "{granule} of {granules} granules");
        }
    }
}

#[test]
fn every_granule_is_named_for_what_it_lies_in() {
    every_granule::<Standard>();
    every_granule::<Aligned>();
    every_granule::<Wide>();
    every_granule::<Compact>();
}

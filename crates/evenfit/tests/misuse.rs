//! Every misuse of the list in `docs/design.md` is refused with its own error, through every call
//! that takes a pointer, and the region's bytes are the same before and after.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{Compact, FreeError, Geometry, Heap, ReallocError, Standard, Tiers};

const REGION_BYTES: usize = 4096;

/// A region on the heap, so that its bytes can be read behind the pool's back.
struct Region(NonNull<u8>);

impl Region {
    const LAYOUT: Layout = Layout::new::<[u64; REGION_BYTES / 8]>();

    fn new() -> Self {
        // SAFETY: the layout is not of size zero.
        Self(NonNull::new(unsafe { std::alloc::alloc_zeroed(Self::LAYOUT) }).unwrap())
    }

    fn heap<G: Geometry>(&self) -> Heap<'static, G> {
        // SAFETY: the region outlives the heap in each test, and is its alone.
        unsafe { Heap::from_raw(self.0, REGION_BYTES) }.unwrap()
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

/// Hands `ptr` as `told` to every call with a layout, and (if `bare`) to every call without:
/// each answers `expected` and changes nothing but the count of refusals.
fn refused<G: Geometry>(
    region: &Region,
    heap: &mut Heap<'static, G>,
    ptr: NonNull<u8>,
    told: Layout,
    bare: bool,
    expected: FreeError,
) {
    let bytes = region.bytes();
    let stats = heap.stats();
    let larger = layout(told.size().min(1 << 20) + 400, told.align().min(4096));
    let smaller = layout(told.size() / 3, told.align().min(4096));
    let refusal = Err(ReallocError::Free(expected));
    // SAFETY: misuse, which the heap promises to refuse.
    unsafe {
        assert_eq!(
            heap.try_deallocate(ptr, told),
            Err(expected),
            "try_deallocate"
        );
        assert_eq!(heap.grow(ptr, told, larger), refusal, "grow");
        assert_eq!(heap.shrink(ptr, told, smaller), refusal, "shrink");
        assert_eq!(heap.reallocate(ptr, told, larger), refusal, "reallocate");
        assert_eq!(
            heap.reallocate(ptr, told, told),
            refusal,
            "reallocate to the same"
        );
        if bare {
            assert_eq!(
                heap.try_deallocate_unsized(ptr),
                Err(expected),
                "try_deallocate_unsized"
            );
            assert_eq!(heap.usable_size(ptr), Err(expected), "usable_size");
        }
    }
    let mut after = heap.stats();
    assert_eq!(
        after.refused_frees,
        stats.refused_frees + 5 + u64::from(bare)
    );
    after.refused_frees = stats.refused_frees;
    assert_eq!(after, stats, "a refused call changed a counter");
    assert!(region.bytes() == bytes, "a refused call changed the region");
    assert_eq!(heap.check(), Ok(()));
}

fn every_misuse<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    let region = Region::new();
    let mut heap = region.heap::<G>();
    let asked = layout(3 * granule, 1);
    let take = |heap: &mut Heap<'static, G>| heap.allocate(asked).unwrap().cast::<u8>();
    let blocks: Vec<_> = (0..8).map(|_| take(&mut heap)).collect();
    let at =
        |ptr: NonNull<u8>, offset: usize| NonNull::new(ptr.as_ptr().wrapping_add(offset)).unwrap();

    // Double free, with the neighbours used.
    // SAFETY: live blocks, freed once.
    unsafe { heap.try_deallocate(blocks[1], asked) }.unwrap();
    refused(
        &region,
        &mut heap,
        blocks[1],
        asked,
        true,
        FreeError::AlreadyFree,
    );

    // Double free of what has merged with the free block before it.
    // SAFETY: as above.
    unsafe { heap.try_deallocate(blocks[2], asked) }.unwrap();
    refused(
        &region,
        &mut heap,
        blocks[2],
        asked,
        true,
        FreeError::AlreadyFree,
    );
    refused(
        &region,
        &mut heap,
        blocks[1],
        asked,
        true,
        FreeError::AlreadyFree,
    );

    // Double free of what has merged with the top.
    // SAFETY: as above.
    unsafe { heap.try_deallocate(blocks[7], asked) }.unwrap();
    refused(
        &region,
        &mut heap,
        blocks[7],
        asked,
        true,
        FreeError::AlreadyFree,
    );

    // After reuse: the old pointer now lies inside another block.
    let longer = layout(6 * granule, 1);
    let reused = heap.allocate(longer).unwrap().cast::<u8>();
    assert_eq!(reused, blocks[1]);
    refused(
        &region,
        &mut heap,
        blocks[2],
        asked,
        true,
        FreeError::NotABlock,
    );
    // Or at its start, with another size.
    refused(
        &region,
        &mut heap,
        blocks[1],
        asked,
        false,
        FreeError::WrongLayout,
    );

    // Interior pointers, at granules and between them.
    for offset in [
        1,
        granule / 2,
        granule,
        granule + 1,
        2 * granule,
        3 * granule - 1,
    ] {
        refused(
            &region,
            &mut heap,
            at(blocks[4], offset),
            asked,
            true,
            FreeError::NotABlock,
        );
    }

    // Pointers into the metadata, just outside the region, and to nowhere.
    let map_start = region.0;
    let past = at(region.0, REGION_BYTES);
    for ptr in [
        map_start,
        at(map_start, 8),
        past,
        at(past, granule),
        NonNull::dangling(),
        at(NonNull::dangling(), usize::MAX / 2),
    ] {
        refused(&region, &mut heap, ptr, asked, true, FreeError::OutsidePool);
    }
    // To the stack, and to another allocator's memory.
    let on_stack = 0_u64;
    refused(
        &region,
        &mut heap,
        NonNull::from(&on_stack).cast(),
        asked,
        true,
        FreeError::OutsidePool,
    );
    let boxed = Box::new(0_u64);
    refused(
        &region,
        &mut heap,
        NonNull::from(&*boxed).cast(),
        asked,
        true,
        FreeError::OutsidePool,
    );

    // A live block of another heap.
    let other_region = Region::new();
    let mut other = other_region.heap::<G>();
    let foreign = take(&mut other);
    refused(
        &region,
        &mut heap,
        foreign,
        asked,
        true,
        FreeError::OutsidePool,
    );

    // Wrong size, down and up, to the extremes.
    for size in [
        0,
        1,
        2 * granule,
        3 * granule + 1,
        4 * granule,
        2000,
        isize::MAX as usize,
    ] {
        refused(
            &region,
            &mut heap,
            blocks[4],
            layout(size, 1),
            false,
            FreeError::WrongLayout,
        );
    }

    // Wrong alignment: one that the address does not have.
    let address = blocks[4].addr().get();
    for doubled in 1..8 {
        let align = 1 << (address.trailing_zeros() + doubled);
        refused(
            &region,
            &mut heap,
            blocks[4],
            layout(asked.size(), align),
            false,
            FreeError::WrongLayout,
        );
    }

    // What was right all along still is.
    for block in [blocks[0], blocks[3], blocks[4], blocks[5], blocks[6]] {
        // SAFETY: live blocks, freed once.
        unsafe { heap.try_deallocate(block, asked) }.unwrap();
    }
    // SAFETY: as above.
    unsafe { heap.try_deallocate(reused, longer) }.unwrap();
    assert_eq!(heap.largest_free(), heap.stats().pool_bytes);
}

#[test]
fn every_misuse_is_refused_standard() {
    every_misuse::<Standard>();
}

#[test]
fn every_misuse_is_refused_compact() {
    every_misuse::<Compact>();
}

/// A link overwritten after free is found before anything is written.
fn corrupt_link<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    let region = Region::new();
    let mut heap = region.heap::<G>();
    let asked = layout(granule, 1);
    let blocks: Vec<_> = (0..5)
        .map(|_| heap.allocate(asked).unwrap().cast::<u8>())
        .collect();
    // SAFETY: live blocks, freed once; the write goes to freed memory, as a late writer's.
    unsafe {
        heap.try_deallocate(blocks[1], asked).unwrap();
        heap.try_deallocate(blocks[3], asked).unwrap();
        blocks[1].write_bytes(0x41, granule);
    }
    assert!(heap.check().is_err(), "check names the damage");
    let bytes = region.bytes();
    let stats = heap.stats();
    // SAFETY: a live block, whose free neighbour is damaged: it stays live.
    unsafe {
        assert_eq!(
            heap.try_deallocate(blocks[0], asked),
            Err(FreeError::Corrupt)
        );
        assert_eq!(
            heap.try_deallocate(blocks[2], asked),
            Err(FreeError::Corrupt)
        );
        assert_eq!(
            heap.try_deallocate_unsized(blocks[2]),
            Err(FreeError::Corrupt)
        );
    }
    assert!(region.bytes() == bytes, "a refused call changed the region");
    assert_eq!(heap.stats().live_blocks, stats.live_blocks);
    assert_eq!(heap.stats().refused_frees, stats.refused_frees + 3);
}

#[test]
fn a_corrupt_link_is_refused_standard() {
    corrupt_link::<Standard>();
}

#[test]
fn a_corrupt_link_is_refused_compact() {
    corrupt_link::<Compact>();
}

/// Every granule of long and short blocks, used and free: a pointer there is named for what it points into, and in free memory
/// for as far as 64 granules from either end.
fn every_granule<G: Geometry>() {
    const TOLD_GRANULES: usize = 64;
    let mut region = vec![MaybeUninit::uninit(); 100 << 10];
    let mut heap = Heap::<G>::from_region_with(&mut region, Tiers::BlocksOnly).unwrap();
    let sizes = [
        5, 1, 70, 3, 1, 64, 300, 2, 1, 130, 129, 500, 63, 65, 1, 1, 40, 200, 400, 1, 128, 17,
    ];
    let of = |granules: usize| layout(granules * G::GRANULE_BYTES, 1);
    let blocks = sizes.map(|granules| heap.allocate(of(granules)).unwrap().cast::<u8>());
    for (&block, granules) in blocks.iter().zip(sizes).step_by(2) {
        // SAFETY: a live block, freed once.
        unsafe { heap.try_deallocate(block, of(granules)) }.unwrap();
    }
    for (index, (&block, granules)) in blocks.iter().zip(sizes).enumerate() {
        for granule in 1..granules {
            // SAFETY: inside the block.
            let ptr = unsafe { block.add(granule * G::GRANULE_BYTES) };
            // SAFETY: refused.
            let answer = unsafe { heap.try_deallocate_unsized(ptr) };
            let is_near = granule.min(granules - granule) <= TOLD_GRANULES;
            let expected = if index % 2 != 0 {
                FreeError::NotABlock
            } else if is_near {
                FreeError::AlreadyFree
            } else {
                assert!(answer.is_err());
                continue;
            };
            assert_eq!(answer, Err(expected), "{granule} of {granules} granules");
        }
    }
}

#[test]
fn every_granule_is_named_for_what_it_lies_in() {
    every_granule::<Standard>();
    every_granule::<Compact>();
}

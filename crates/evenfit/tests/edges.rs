//! The limits of what is promised: the exact limit, the exact length, the exact figure. Each test
//! notices a change to the library that no other test noticed.

use std::alloc::Layout;
use std::mem::MaybeUninit;

use evenfit::{
    Aligned, AllocError, BlocksOnly, Builder, Compact, FirstFit, FreeError, Geometry, Heap,
    InitError, LockedHeap, ReallocError, SpinLock, Standard, Tiers, Wide, WithSlabs,
};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a layout")
}

fn blocks_only(region: &mut [MaybeUninit<u8>]) -> LockedHeap<'_, SpinLock, BlocksOnly, Standard> {
    LockedHeap::from_region(region).expect("a heap")
}

#[test]
fn a_budget_can_be_spent_to_the_last_byte() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap = blocks_only(&mut region);
    let budget = heap.budget("exact", 128);
    assert!(budget.allocate(layout(64)).is_ok());
    assert!(budget.allocate(layout(64)).is_ok(), "exactly what is left");
    assert_eq!(budget.stats().used_bytes, 128);
    assert_eq!(budget.allocate(layout(1)), Err(AllocError::OutOfMemory));
    let whole = heap.budget("whole", 128);
    assert!(whole.allocate(layout(128)).is_ok());
}

#[test]
fn rounding_counts_against_a_budget() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap = blocks_only(&mut region);
    let budget = heap.budget("rounded", 100);
    // 97 bytes take 104 of the pool, more than there ever is.
    assert_eq!(budget.allocate(layout(97)), Err(AllocError::TooLarge));
    assert!(budget.allocate(layout(48)).is_ok());
    // 49 bytes would fit in what is left, but take 56.
    assert_eq!(budget.allocate(layout(49)), Err(AllocError::OutOfMemory));
    assert_eq!(budget.stats().used_bytes, 48);
    assert_eq!(heap.stats().live_blocks, 1);
}

#[test]
fn what_a_budget_refuses_never_reaches_the_pool() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap = blocks_only(&mut region);
    let budget = heap.budget("small", 100);
    assert!(budget.allocate(layout(48)).is_ok());
    let peak_bytes = heap.stats().peak_used_bytes;
    for bytes in [53, 80, 100] {
        assert_eq!(budget.allocate(layout(bytes)), Err(AllocError::OutOfMemory));
    }
    assert_eq!(heap.stats().peak_used_bytes, peak_bytes);
}

#[test]
fn every_error_says_what_was_wrong() {
    let too_small = InitError::RegionTooSmall { len_bytes: 31, min_bytes: 97 };
    let too_large = InitError::RegionTooLarge { len_bytes: 4567, max_bytes: 1234 };
    for (text, parts) in [
        (too_small.to_string(), ["31", "97"]),
        (too_large.to_string(), ["4567", "1234"]),
        (InitError::AlreadyBuilt.to_string(), ["memory", "already"]),
        (AllocError::TooLarge.to_string(), ["pool", "larger"]),
        (AllocError::OutOfMemory.to_string(), ["no", "free block"]),
        (AllocError::Corrupt.to_string(), ["free", "overwritten"]),
        (FreeError::OutsidePool.to_string(), ["pointer", "pool"]),
        (FreeError::NotABlock.to_string(), ["start", "block"]),
        (FreeError::AlreadyFree.to_string(), ["free", "already"]),
        (FreeError::WrongLayout.to_string(), ["another", "layout"]),
        (FreeError::Corrupt.to_string(), ["free", "overwritten"]),
        (ReallocError::Alloc(AllocError::TooLarge).to_string(), ["pool", "larger"]),
        (ReallocError::Free(FreeError::NotABlock).to_string(), ["start", "block"]),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

/// The length that an error asks for suffices at every address, and is at most a given number of
/// bytes more than needed.
fn least_lengths(
    slack_bytes: usize,
    build: impl Fn(&mut [MaybeUninit<u8>]) -> Result<(), InitError>,
) {
    let mut memory = [MaybeUninit::uninit(); 4096];
    for skew in 0..32 {
        let region = &mut memory[skew..];
        let least =
            (0..3500).find(|&len| build(&mut region[..len]).is_ok()).expect("3500 bytes suffice");
        for len in 0..least {
            let Err(InitError::RegionTooSmall { len_bytes, min_bytes }) = build(&mut region[..len])
            else {
                panic!("{len} bytes at {skew} are too few");
            };
            assert_eq!(len_bytes, len);
            assert!(
                least <= min_bytes && min_bytes <= least + slack_bytes,
                "{skew}: {least}, {min_bytes}"
            );
            assert_eq!(build(&mut region[..min_bytes]), Ok(()), "{skew}: {min_bytes}");
        }
    }
}

/// The start of a region costs less than one alignment.
fn least_lengths_of<T: Tiers, G: Geometry>() {
    least_lengths(G::ALIGN_BYTES, |region| Builder::<T, G>::new().build(region).map(drop));
}

#[test]
fn the_length_that_an_error_asks_for_suffices_and_is_little_more_than_needed() {
    least_lengths_of::<BlocksOnly, Standard>();
    least_lengths_of::<BlocksOnly, Aligned>();
    least_lengths_of::<BlocksOnly, Wide>();
    least_lengths_of::<BlocksOnly, Compact>();
    least_lengths_of::<WithSlabs, Standard>();
    least_lengths_of::<WithSlabs, Aligned>();
    least_lengths_of::<WithSlabs, Wide>();
    least_lengths(32, |region| FirstFit::from_region(region).map(drop));
}

#[test]
fn the_longest_pool_is_as_long_as_the_error_says() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 64 << 10];
    let mut build = |max_bytes| {
        let builder = Builder::<BlocksOnly, Compact>::new().max_bytes(max_bytes);
        builder.build(&mut region).map(drop)
    };
    let Err(InitError::RegionTooLarge { len_bytes, max_bytes }) = build(1 << 20) else {
        panic!("16-bit lengths number less than 1 MiB");
    };
    assert_eq!(len_bytes, 1 << 20);
    assert!(build(max_bytes).is_ok());
    assert!(build(max_bytes + 64).is_err());
}

/// A list's end mark is a number that no granule has, up to the last granule of the longest pool.
#[test]
fn the_longest_pool_mistakes_no_granule_for_the_end_of_a_list() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 1 << 20];
    let builder = Builder::<BlocksOnly, Compact>::new();
    let Err(InitError::RegionTooLarge { max_bytes, .. }) = builder.build(&mut region) else {
        panic!("16-bit lengths number less than 1 MiB");
    };
    let mut heap = builder.build(&mut region[..max_bytes]).expect("a heap");
    let pool_bytes = heap.stats().pool_bytes;
    for size_bytes in [16, pool_bytes - 2000] {
        let rest_bytes = pool_bytes - size_bytes;
        let block = heap.allocate(layout(size_bytes)).expect("room");
        let rest = heap.allocate(layout(rest_bytes)).expect("room");
        // SAFETY: both are live, the first until it is freed; the rest is as long as said.
        unsafe {
            rest.cast::<u8>().write_bytes(0xA5, rest_bytes);
            heap.deallocate(block.cast(), layout(size_bytes));
            let bytes = std::slice::from_raw_parts(rest.cast::<u8>().as_ptr(), rest_bytes);
            assert!(bytes.iter().all(|&byte| byte == 0xA5), "{size_bytes}");
            assert_eq!(heap.check(), Ok(()));
            heap.deallocate(rest.cast(), layout(rest_bytes));
        }
    }
}

/// One request can have the whole pool at any alignment that the pool's start has, and at no higher
/// one.
#[test]
fn the_whole_pool_is_served_at_its_own_alignment() {
    let mut memory = [MaybeUninit::uninit(); 8192];
    let mut aligned = 0;
    for skew in 0..512 {
        let region = &mut memory[skew..skew + 5000];
        let builder = Builder::<BlocksOnly, Standard>::new();
        let mut heap = builder.build(region).expect("a heap");
        let pool_bytes = heap.stats().pool_bytes;
        let align = 1 << heap.pool_start().addr().trailing_zeros();
        let whole = |align| Layout::from_size_align(pool_bytes, align).expect("a layout");
        assert_eq!(heap.allocate(whole(2 * align)), Err(AllocError::OutOfMemory));
        let block = heap.allocate(whole(align)).expect("the whole pool");
        assert_eq!(block.len(), pool_bytes);
        // SAFETY: live, and freed once.
        unsafe { heap.deallocate(block.cast(), whole(align)) };
        aligned += usize::from(align > Standard::ALIGN_BYTES);
    }
    assert!(aligned > 100);
}

#[test]
fn a_heap_shows_its_counters() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let builder = Builder::<BlocksOnly, Standard>::new();
    let heap = builder.build(&mut region).expect("a heap");
    let text = format!("{heap:?}");
    let pool = format!("pool_bytes: {}", heap.stats().pool_bytes);
    assert!(
        text.contains("BlocksOnly") && text.contains("Standard") && text.contains(&pool),
        "{text}"
    );
}

/// The longest pools have the lengths that the geometries say. No memory is needed to be refused.
#[test]
#[cfg(target_pointer_width = "64")]
fn pools_of_up_to_64_gib_can_be_numbered() {
    fn refused<T: Tiers, G: Geometry>(max_bytes: usize) -> InitError {
        let mut region = [MaybeUninit::<u8>::uninit(); 4096];
        let builder = Builder::<T, G>::new().max_bytes(max_bytes);
        builder.build(&mut region).map(drop).expect_err("4 KiB")
    }
    fn reaches<T: Tiers, G: Geometry>(pool_bytes: usize) {
        let InitError::RegionTooLarge { max_bytes, .. } = refused::<T, G>(100 << 30) else {
            panic!("100 GiB are too long for any");
        };
        // One bit of map for each granule, as much in the directory, and a little for slabs.
        let metadata_bytes = pool_bytes / G::GRANULE_BYTES / 4;
        let metadata_bytes = metadata_bytes - metadata_bytes / 50..metadata_bytes * 11 / 10;
        assert!(
            (pool_bytes - (1 << 20)..pool_bytes + metadata_bytes.end).contains(&max_bytes),
            "{max_bytes}"
        );
        // A pool of this length is refused only since the region has no room for its metadata.
        let InitError::RegionTooSmall { min_bytes, .. } = refused::<T, G>(max_bytes) else {
            panic!("4 KiB can't hold the metadata of {max_bytes} bytes");
        };
        assert!(metadata_bytes.contains(&min_bytes), "{min_bytes}");
    }
    reaches::<BlocksOnly, Standard>(32 << 30);
    reaches::<WithSlabs, Standard>(32 << 30);
    reaches::<WithSlabs, Aligned>(32 << 30);
    reaches::<BlocksOnly, Wide>(64 << 30);
    reaches::<WithSlabs, Wide>(64 << 30);
}

#[test]
fn a_locked_heap_returns_its_heap() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap = blocks_only(&mut region);
    assert!(heap.allocate(layout(100)).is_ok());
    let inner = heap.into_inner().expect("it has one");
    assert_eq!(inner.stats().live_blocks, 1);
    let empty: LockedHeap = LockedHeap::empty();
    assert!(empty.into_inner().is_none());
}

/// The tables of bins are just as long as the longest pool needs.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_heap_value_is_small() {
    fn bytes<T: Tiers, G: Geometry>() -> usize {
        size_of::<Heap<'_, T, G>>()
    }
    let (blocks, compact) = (bytes::<BlocksOnly, Standard>(), bytes::<BlocksOnly, Compact>());
    let slabs = bytes::<WithSlabs, Standard>();
    println!("{blocks}, {compact}, and {slabs} bytes with slabs");
    // A head of 4 bytes for each bin, and a few words.
    assert!(blocks <= 4 * (33 + 4 * 27) + 200, "{blocks}");
    assert!(compact <= 4 * (17 + 4 * 12) + 200, "{compact}");
    assert!(slabs <= 4000, "{slabs}");
}

#[test]
fn first_fit_counts_its_region_and_its_blocks_exactly() {
    let mut memory = [MaybeUninit::uninit(); 2048];
    for skew in 0..16 {
        let region = &mut memory[skew..1000];
        let (start, len) = (region.as_ptr().addr(), region.len());
        let mut pool = FirstFit::from_region(region).expect("a pool");
        let stats = pool.stats();
        assert_eq!(stats.pool_bytes + stats.metadata_bytes, len);
        assert_eq!((stats.free_bytes, stats.used_bytes), (stats.pool_bytes, 0));
        let pool_start = pool.pool_start().addr();
        assert!(
            (start..start + 16).contains(&pool_start)
                && pool_start.is_multiple_of(2 * size_of::<usize>())
        );
        let block = pool.allocate(layout(100)).expect("room");
        assert_eq!(pool.usable_size(block.cast()), Ok(block.len()));
    }
}

/// A block can be freed with any size up to the length of the slice returned, and with no larger
/// one.
#[test]
fn first_fit_refuses_the_first_size_that_was_not_handed_out() {
    let mut memory = [MaybeUninit::uninit(); 2048];
    let mut pool = FirstFit::from_region(&mut memory).expect("a pool");
    let block = pool.allocate(layout(160)).expect("room");
    let _behind = pool.allocate(layout(16)).expect("room");
    for wrong in [128, block.len() + 1] {
        // SAFETY: refused.
        let refused = unsafe { pool.try_deallocate(block.cast(), layout(wrong)) };
        assert_eq!(refused, Err(FreeError::WrongLayout), "{wrong}");
    }
    // SAFETY: the block is not used again.
    let freed = unsafe { pool.try_deallocate(block.cast(), layout(160)) };
    assert_eq!(freed, Ok(()));
}

/// A region that can grow must only have room for the metadata of its largest length. That length
/// also decides whether there are slabs.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_pool_that_can_grow_to_16_mib_has_slabs() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 768 << 10];
    let builder = Heap::builder().max_bytes(16 << 20);
    let mut heap = builder.build(&mut region).expect("a heap");
    assert!(heap.allocate(layout(24)).is_ok());
    let first = heap.blocks().next().expect("a block");
    assert!(matches!(first.state, evenfit::BlockState::Slab { .. }), "{first:?}");
}

#[test]
fn first_fit_asks_for_not_a_byte_too_much() {
    let mut memory = [MaybeUninit::uninit(); 256];
    let Err(InitError::RegionTooSmall { min_bytes, .. }) = FirstFit::from_region(&mut memory[..8])
    else {
        panic!("8 bytes are too few");
    };
    let fails_somewhere = |len: usize, memory: &mut [MaybeUninit<u8>]| {
        (0..16).any(|skew| FirstFit::from_region(&mut memory[skew..skew + len]).is_err())
    };
    assert!(
        !fails_somewhere(min_bytes, &mut memory) && fails_somewhere(min_bytes - 1, &mut memory)
    );
}

/// The first byte of a free block belongs to it, not to the block before.
#[test]
fn first_fit_knows_the_start_of_a_free_block_as_free() {
    let mut memory = [MaybeUninit::uninit(); 2048];
    let mut pool = FirstFit::from_region(&mut memory).expect("a pool");
    let used = pool.allocate(layout(64)).expect("room");
    // SAFETY: one past the block, still inside the memory.
    let behind = unsafe { used.cast::<u8>().add(used.len()) };
    // SAFETY: refused.
    let refused = unsafe { pool.try_deallocate(behind, layout(64)) };
    assert_eq!(refused, Err(FreeError::AlreadyFree));
}

/// No call accepts an impossible header: too small, no multiple of the granule, or beyond the pool.
#[test]
#[cfg(target_pointer_width = "64")]
fn first_fit_believes_no_impossible_header() {
    for wrong in [0, 16, 1024, usize::MAX / 2, 56, 992] {
        let mut memory = [MaybeUninit::<u8>::uninit(); 1040];
        let mut pool = FirstFit::from_region(&mut memory).expect("a pool");
        let first = pool.allocate(layout(64)).expect("room").cast::<u8>();
        let second = pool.allocate(layout(64)).expect("room").cast::<u8>();
        // SAFETY: a block's header is the two words before it.
        unsafe { second.cast::<usize>().sub(2).write(wrong) };
        assert!(pool.check().is_err(), "{wrong}");
        // SAFETY: refused, or of the block that is whole.
        unsafe {
            let refused = pool.try_deallocate(second, layout(64));
            assert!(refused.is_err(), "{wrong}: {refused:?}");
            let _ = pool.try_deallocate(first, layout(64));
        }
    }
}

//! The edges of what is promised: the exact limit, the exact length, the exact figure. Each was a change to the library that
//! no other test noticed.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::{
    AllocError, Compact, FirstFit, FreeError, Geometry, Heap, InitError, LockedHeap, ReallocError,
    SharedHeap, Standard, Tiers,
};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a layout")
}

fn blocks_only(region: &mut [MaybeUninit<u8>]) -> LockedHeap<'_> {
    LockedHeap::new(Heap::from_region_with(region, Tiers::BlocksOnly).expect("a heap"))
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
    // 97 bytes take 112 of the pool.
    assert_eq!(budget.allocate(layout(97)), Err(AllocError::OutOfMemory));
    assert!(budget.allocate(layout(48)).is_ok());
    // 49 bytes would fit in what is left, but take 64.
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
    let too_small = InitError::RegionTooSmall {
        len_bytes: 31,
        min_bytes: 97,
    };
    let too_large = InitError::RegionTooLarge {
        len_bytes: 4567,
        max_bytes: 1234,
    };
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
        (
            ReallocError::Alloc(AllocError::TooLarge).to_string(),
            ["pool", "larger"],
        ),
        (
            ReallocError::Free(FreeError::NotABlock).to_string(),
            ["start", "block"],
        ),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

/// The length that an error asks for suffices at every address, and is at most so many bytes more than needed.
fn least_lengths(
    slack_bytes: usize,
    build: impl Fn(&mut [MaybeUninit<u8>]) -> Result<(), InitError>,
) {
    let mut memory = [MaybeUninit::uninit(); 2048];
    for skew in 0..32 {
        let region = &mut memory[skew..];
        let least = (0..1500)
            .find(|&len| build(&mut region[..len]).is_ok())
            .expect("1500 bytes suffice");
        for len in 0..least {
            let Err(InitError::RegionTooSmall {
                len_bytes,
                min_bytes,
            }) = build(&mut region[..len])
            else {
                panic!("{len} bytes at {skew} are too few");
            };
            assert_eq!(len_bytes, len);
            assert!(
                least <= min_bytes && min_bytes <= least + slack_bytes,
                "{skew}: {least}, {min_bytes}"
            );
            assert_eq!(
                build(&mut region[..min_bytes]),
                Ok(()),
                "{skew}: {min_bytes}"
            );
        }
    }
}

#[test]
fn the_length_that_an_error_asks_for_suffices_and_is_little_more_than_needed() {
    least_lengths(40, |region| Heap::<Standard>::from_region(region).map(drop));
    least_lengths(24, |region| Heap::<Compact>::from_region(region).map(drop));
    least_lengths(40, |region| {
        Heap::<Standard>::from_region_with(region, Tiers::WithSlabs).map(drop)
    });
    least_lengths(32, |region| FirstFit::from_region(region).map(drop));
}

#[test]
fn the_longest_pool_is_as_long_as_the_error_says() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 64 << 10];
    let base = NonNull::from(region.as_mut_slice()).cast::<u8>();
    // SAFETY: the region is this test's, and one heap at a time.
    let build =
        |max_bytes| unsafe { Heap::<Compact>::from_raw_extendable(base, 64 << 10, max_bytes) };
    let Err(InitError::RegionTooLarge {
        len_bytes,
        max_bytes,
    }) = build(1 << 20)
    else {
        panic!("16-bit links number less than 1 MiB");
    };
    assert_eq!(len_bytes, 1 << 20);
    assert!(build(max_bytes).is_ok());
    assert!(build(max_bytes + 64).is_err());
}

/// What ends a list is a number that no granule has, up to the last granule of the longest pool.
#[test]
fn the_longest_pool_takes_no_granule_for_the_end_of_a_list() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 1 << 20];
    let Err(InitError::RegionTooLarge { max_bytes, .. }) =
        Heap::<Compact>::from_region(&mut region)
    else {
        panic!("16-bit links number less than 1 MiB");
    };
    let mut heap = Heap::<Compact>::from_region(&mut region[..max_bytes]).expect("a heap");
    let pool_bytes = heap.stats().pool_bytes;
    for size_bytes in [8, pool_bytes - 2000] {
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

/// One request can have all of a pool at any alignment that the pool's start has, and at no higher one.
#[test]
fn the_whole_pool_is_served_at_its_own_alignment() {
    let mut memory = [MaybeUninit::uninit(); 8192];
    let mut aligned = 0;
    for skew in 0..512 {
        let region = &mut memory[skew..skew + 5000];
        let mut heap: Heap = Heap::from_region_with(region, Tiers::BlocksOnly).expect("a heap");
        let pool_bytes = heap.stats().pool_bytes;
        let align = 1 << heap.pool_start().addr().trailing_zeros();
        let whole = |align| Layout::from_size_align(pool_bytes, align).expect("a layout");
        assert_eq!(
            heap.allocate(whole(2 * align)),
            Err(AllocError::OutOfMemory)
        );
        let block = heap.allocate(whole(align)).expect("the whole pool");
        assert_eq!(block.len(), pool_bytes);
        // SAFETY: live, and freed once.
        unsafe { heap.deallocate(block.cast(), whole(align)) };
        aligned += usize::from(align > 16);
    }
    assert!(aligned > 100);
}

#[test]
fn a_heap_shows_its_counters() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap: Heap = Heap::from_region(&mut region).expect("a heap");
    let text = format!("{heap:?}");
    let pool = format!("pool_bytes: {}", heap.stats().pool_bytes);
    assert!(text.contains("Standard") && text.contains(&pool), "{text}");
}

/// A pool of 40 GiB is beyond what slabs can number, so its metadata is the map alone.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_pool_beyond_the_reach_of_slabs_has_no_directory() {
    let mut region = [MaybeUninit::<u8>::uninit(); 4096];
    let base = NonNull::from(&mut region).cast::<u8>();
    // SAFETY: too little for the map, so it is refused.
    let refused = unsafe { Heap::<Standard>::from_raw_extendable(base, 4096, 40 << 30) };
    let Err(InitError::RegionTooSmall { min_bytes, .. }) = refused else {
        panic!("4 KiB can't hold the map of 40 GiB");
    };
    let map_bytes = (40 << 30) / 65;
    assert!(
        (map_bytes..map_bytes + map_bytes / 1000).contains(&min_bytes),
        "{min_bytes}"
    );
}

#[test]
fn a_locked_heap_gives_its_heap_back() {
    let mut region = [MaybeUninit::uninit(); 4096];
    let heap = blocks_only(&mut region);
    assert!(heap.allocate(layout(100)).is_ok());
    let inner = heap.into_inner().expect("it has one");
    assert_eq!(inner.stats().live_blocks, 1);
    let empty: LockedHeap = LockedHeap::empty();
    assert!(empty.into_inner().is_none());
}

/// The tables of bins are as long as links can number sizes, and no longer.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_heap_value_is_small() {
    fn bytes<G: Geometry>() -> usize {
        size_of::<Heap<'_, G>>()
    }
    println!("{} and {} bytes", bytes::<Standard>(), bytes::<Compact>());
    assert!(bytes::<Standard>() <= 2400, "{}", bytes::<Standard>());
    assert!(bytes::<Compact>() <= 760, "{}", bytes::<Compact>());
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

/// A block is given back with any size up to what was handed out, and with none beyond.
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

/// Three slabs of one class, each with a free slot, so that the class's list has all: whatever bit of what describes them is
/// flipped, `check` says so.
#[test]
fn check_sees_every_bit_that_describes_slabs() {
    const CLASSES: usize = 26;
    const CLASS: usize = 3;
    // What the classes have in front, 4 bytes for each: where its list begins and ends, and how many slots are used. The rest
    // never changes, with 3 bytes of padding.
    const ENDS: usize = 4 * CLASSES;
    const LIVE: usize = 8 * CLASSES;
    const DIRECTORY: usize = 1296;
    const DESCRIPTOR_BYTES: usize = 16;
    const CLASS_AT: usize = 12;
    const LINKS_BYTES: usize = 8;
    const REGION_BYTES: usize = 64 << 10;
    let mut region = vec![0u64; REGION_BYTES / 8];
    let base = region.as_mut_ptr().cast::<u8>();
    // SAFETY: the region outlives the heap, and is zero.
    let mut heap: Heap = unsafe {
        Heap::from_raw_with(NonNull::new_unchecked(base), REGION_BYTES, Tiers::WithSlabs)
    }
    .expect("a heap");
    let blocks: Vec<_> = (0..150)
        .map(|_| heap.allocate(layout(32)).expect("room").cast::<u8>())
        .collect();
    for pick in [3, 70] {
        // SAFETY: freed once.
        unsafe { heap.deallocate(blocks[pick], layout(32)) };
    }
    assert_eq!(heap.check(), Ok(()));
    let segments = heap.stats().pool_bytes.div_ceil(2048);
    let links = DIRECTORY + (1 + segments) * DESCRIPTOR_BYTES;
    let byte_at = |byte: usize| base.wrapping_add(byte);
    // SAFETY: the metadata begins at the region's start, which is aligned for it; nothing else looks at it meanwhile.
    let word_at = |byte: usize| unsafe { *byte_at(byte).cast::<u32>() };
    let live: Vec<usize> = (1..=segments)
        .filter(|place| word_at(DIRECTORY + place * DESCRIPTOR_BYTES + CLASS_AT) != 0)
        .collect();
    assert_eq!(live.len(), 3);
    let [first, last] = [4 * CLASS, ENDS + 4 * CLASS].map(word_at);
    assert!(first != last && first != 0);
    let slabs = heap
        .blocks()
        .filter(|block| matches!(block.state, evenfit::BlockState::Slab { .. }));
    let mut unnamed: Vec<_> = slabs.map(|slab| slab.offset_bytes).collect();
    let mut bytes: Vec<usize> = Vec::new();
    bytes.extend(0..ENDS);
    bytes.extend((ENDS..LIVE).skip(4 * CLASS).take(4));
    bytes.extend(LIVE..DIRECTORY - 3);
    bytes.extend(DIRECTORY..links);
    for place in live {
        let of_slab = links + place * LINKS_BYTES;
        // Behind the first comes one, and no one asks what is before it.
        let is_first = place * LINKS_BYTES == first as usize;
        bytes.extend(of_slab..of_slab + if is_first { 4 } else { 8 });
    }
    for byte in bytes {
        for bit in 0..8 {
            // SAFETY: as above.
            unsafe { *byte_at(byte) ^= 1 << bit };
            let answer = heap.check();
            assert!(answer.is_err(), "byte {byte}, bit {bit}");
            if let Err(evenfit::CheckError::Slab { offset_bytes }) = answer {
                unnamed.retain(|&slab| slab != offset_bytes);
            }
            // SAFETY: as above.
            unsafe { *byte_at(byte) ^= 1 << bit };
        }
    }
    assert!(unnamed.is_empty(), "{unnamed:?}");
    assert_eq!(heap.check(), Ok(()));
}

/// A pool whose metadata begin at `base`, with a slab of 256-byte slots that has `used` of them, and its descriptor: the
/// free bits, and where the slab starts in units of 8 bytes.
fn with_a_slab(
    region: &mut [u64],
    used: usize,
) -> (Heap<'static>, Vec<NonNull<u8>>, *mut u64, *mut u32) {
    const DIRECTORY: usize = 1296;
    let base = NonNull::from(&mut *region).cast::<u8>();
    // SAFETY: the region outlives the heap, which alone uses it but for the descriptor.
    let heap = unsafe { Heap::from_raw_with(base, size_of_val(region), Tiers::WithSlabs) };
    let mut heap: Heap = heap.expect("a heap");
    let slots = (0..used)
        .map(|_| heap.allocate(layout(256)).expect("room").cast())
        .collect();
    // The first descriptor is that of no slab, the slab starts in the first segment.
    let descriptor = base.as_ptr().wrapping_add(DIRECTORY + 16);
    (
        heap,
        slots,
        descriptor.cast(),
        descriptor.wrapping_add(8).cast(),
    )
}

/// A bit that stands for no slot is seen, also where a missing one makes the count right.
#[test]
fn check_sees_free_bits_of_no_slot() {
    let mut region = vec![0u64; 4096];
    let (heap, _, free, _) = with_a_slab(&mut region, 5);
    // SAFETY: the heap is not used meanwhile.
    unsafe {
        assert_eq!(*free, 0b1110_0000);
        *free ^= 1 << 7 | 1 << 9;
    }
    let named = matches!(heap.check(), Err(evenfit::CheckError::Slab { .. }));
    // SAFETY: as above.
    unsafe { *free ^= 1 << 7 | 1 << 9 };
    assert!(named);
    assert_eq!(heap.check(), Ok(()));
}

/// The slab that is kept empty is not given back where an overwritten descriptor says that it is: somebody's block.
#[test]
fn a_kept_slab_that_was_overwritten_is_not_given_back() {
    let mut region = vec![0u64; 4096];
    let (mut heap, slots, _, start) = with_a_slab(&mut region, 1);
    // As long as a slab, and in a segment behind it.
    let blocks = [(); 2].map(|()| heap.allocate(layout(2048)).expect("room").cast::<u8>());
    while heap.allocate(layout(1024)).is_ok() {}
    // SAFETY: live, and given back once.
    unsafe { heap.deallocate(slots[0], layout(256)) };
    let behind = blocks[1].addr().get() - slots[0].addr().get();
    // SAFETY: the heap is not used meanwhile.
    let was = unsafe { start.replace(*start + (behind / 8) as u32) };
    assert_eq!(heap.allocate(layout(2048)), Err(AllocError::OutOfMemory));
    assert_eq!(heap.usable_size(blocks[1]), Ok(2048));
    // SAFETY: as above.
    unsafe { *start = was };
    let block = heap.allocate(layout(2048)).expect("the kept slab's");
    assert_eq!(block.cast(), slots[0]);
    assert_eq!(heap.check(), Ok(()));
}

/// Slabs number pools of up to 32 GiB, of which a region need hold but the metadata.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_pool_of_256_mib_has_slabs() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 8 << 20];
    let base = NonNull::from(region.as_mut_slice()).cast::<u8>();
    // SAFETY: the region is this test's.
    let mut heap: Heap =
        unsafe { Heap::from_raw_extendable(base, 8 << 20, 256 << 20) }.expect("a heap");
    assert!(heap.allocate(layout(24)).is_ok());
    let first = heap.blocks().next().expect("a block");
    assert!(
        matches!(first.state, evenfit::BlockState::Slab { .. }),
        "{first:?}"
    );
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

/// The very start of a free block belongs to it, not to the block before.
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

/// A header that can't be one is believed by no call: too small, no multiple of the granule, or beyond the pool.
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

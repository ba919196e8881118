//! What both shared heaps promise: reallocation, hooks, two heaps at once, moving, late memory.

use std::alloc::{GlobalAlloc, Layout};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use evenfit::{
    AllocError, Auto, BlockState, BlocksOnly, Builder, Compact, FreeError, Heap, InitError,
    LockedHeap, Misuse, OutOfMemory, SpinLock, Standard, StaticHeap, Tiers, WhenFull, WithSlabs,
};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a valid layout")
}

/// Writes a pattern that tells where each byte was.
fn fill(ptr: *mut u8, bytes: usize) {
    for i in 0..bytes {
        // SAFETY: the caller's block has this length.
        unsafe { ptr.add(i).write((i * 31 % 251) as u8) };
    }
}

fn holds_pattern(ptr: *const u8, bytes: usize) -> bool {
    // SAFETY: the caller's block has this length, and was written.
    (0..bytes).all(|i| unsafe { ptr.add(i).read() } == (i * 31 % 251) as u8)
}

#[test]
fn realloc_stays_where_it_can_and_keeps_the_bytes_where_it_moves() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    // SAFETY: every pointer below is live and used with the layout it was allocated with.
    unsafe {
        let first = HEAP.alloc(layout(3_000));
        fill(first, 3_000);
        let grown = HEAP.realloc(first, layout(3_000), 9_000);
        assert_eq!(grown, first, "the last block grows into the top");
        assert!(holds_pattern(grown, 3_000));
        let fence = HEAP.alloc(layout(1_000));
        let moved = HEAP.realloc(grown, layout(9_000), 20_000);
        assert_ne!(moved, grown, "the fence is in the way");
        assert!(holds_pattern(moved, 3_000));
        let shrunk = HEAP.realloc(moved, layout(20_000), 3_000);
        assert!(holds_pattern(shrunk, 3_000));
        assert_eq!(HEAP.stats().live_blocks, 2);
        // Growing beyond the pool fails and leaves the block alone.
        assert!(HEAP.realloc(shrunk, layout(3_000), 70_000).is_null());
        assert!(holds_pattern(shrunk, 3_000));
        HEAP.dealloc(shrunk, layout(3_000));
        HEAP.dealloc(fence, layout(1_000));
    }
    assert_eq!(HEAP.stats().used_bytes, 0);
    assert_eq!(HEAP.check(), Ok(()));
}

#[test]
fn alloc_zeroed_clears_what_was_used_before() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    // SAFETY: every pointer below is live and used with the layout it was allocated with.
    unsafe {
        let first = HEAP.alloc(layout(5_000));
        first.write_bytes(0xAA, 5_000);
        HEAP.dealloc(first, layout(5_000));
        let second = HEAP.alloc_zeroed(layout(5_000));
        assert_eq!(second, first, "the same memory is allocated again");
        assert!((0..5_000).all(|i| second.add(i).read() == 0));
        HEAP.dealloc(second, layout(5_000));
    }
}

#[test]
fn a_full_pool_can_still_grow_a_block_backwards() {
    let mut region = [MaybeUninit::uninit(); 8_192];
    let heap: LockedHeap = LockedHeap::from_region(&mut region).expect("a pool");
    let pool_bytes = heap.stats().pool_bytes;
    let (before, size) = (layout(pool_bytes / 2), layout(pool_bytes - pool_bytes / 2 - 16));
    let first = heap.allocate(before).expect("room").cast::<u8>();
    let second = heap.allocate(size).expect("room").cast::<u8>();
    fill(second.as_ptr(), size.size());
    // SAFETY: both are live, used with their layouts, and `first` is not used again.
    let grown = unsafe {
        heap.deallocate(first, before);
        heap.reallocate(second, size, layout(pool_bytes - 64))
    };
    let grown = grown.expect("there is room in all");
    assert_eq!(grown.cast(), first, "it now begins where the free block was");
    assert!(holds_pattern(grown.cast().as_ptr(), size.size()));
    assert_eq!(heap.stats().failed_requests, 0);
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn the_out_of_memory_hook_frees_and_the_request_succeeds() {
    static HEAP: StaticHeap<16_384> = StaticHeap::new();
    static CACHE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    fn drop_cache(request: &OutOfMemory) -> WhenFull {
        ASKED.fetch_add(1, Ordering::Relaxed);
        assert_eq!(request.layout.size() % 100, 0);
        let is_beyond_the_pool = request.layout.size() > 15_900;
        assert_eq!(request.error == AllocError::TooLarge, is_beyond_the_pool);
        let Some(cache) = NonNull::new(CACHE.swap(ptr::null_mut(), Ordering::Relaxed)) else {
            return WhenFull::Fail;
        };
        assert_eq!(request.retries, 0);
        // SAFETY: the cache was allocated below with this layout, and was taken out of its place.
        unsafe { HEAP.deallocate(cache, layout(12_000)) };
        WhenFull::Retry
    }

    HEAP.set_out_of_memory_hook(Some(drop_cache));
    let cache = HEAP.allocate(layout(12_000)).expect("an empty pool has room");
    CACHE.store(cache.cast().as_ptr(), Ordering::Relaxed);
    let block = HEAP.allocate(layout(10_000)).expect("the cache was dropped");
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
    HEAP.allocate(layout(100)).expect("room behind the block");
    // Growing calls the hook too, and is told to fail.
    // SAFETY: the block is live with this layout. It stays so, since the call fails.
    let grown = unsafe { HEAP.reallocate(block.cast(), layout(10_000), layout(15_800)) };
    assert_eq!(grown, Err(AllocError::OutOfMemory.into()));
    assert_eq!(ASKED.load(Ordering::Relaxed), 2);
    // The hook is also called for a request that the whole pool can't serve, since it may make the
    // pool longer.
    assert_eq!(HEAP.allocate(layout(20_000)), Err(AllocError::TooLarge));
    assert_eq!(ASKED.load(Ordering::Relaxed), 3);
    HEAP.set_out_of_memory_hook(None);
    assert_eq!(HEAP.allocate(layout(10_000)), Err(AllocError::OutOfMemory));
    assert_eq!(ASKED.load(Ordering::Relaxed), 3);
}

#[test]
fn misuse_is_told_to_the_hook_and_changes_nothing() {
    static SEEN: Mutex<Vec<(usize, FreeError, usize)>> = Mutex::new(Vec::new());

    fn remember(misuse: &Misuse) {
        assert!(misuse.to_string().contains("refused to free"));
        let bytes = misuse.layout.map_or(0, |layout| layout.size());
        let address = misuse.ptr.addr().get();
        SEEN.lock().expect("no panic").push((address, misuse.error, bytes));
    }

    evenfit::set_misuse_hook(remember);
    let (mut left, mut right) = ([MaybeUninit::uninit(); 4_096], [MaybeUninit::uninit(); 4_096]);
    let left: LockedHeap = LockedHeap::from_region(&mut left).expect("a pool");
    let right: LockedHeap = LockedHeap::from_region(&mut right).expect("a pool");
    let block = left.allocate(layout(100)).expect("room").cast::<u8>();
    // SAFETY: the pointer is refused by every call but the fourth, and not used after that.
    unsafe {
        right.deallocate(block, layout(100));
        left.deallocate(block, layout(500));
        left.deallocate(block.add(16), layout(100));
        left.deallocate(block, layout(100));
        left.deallocate(block, layout(100));
    }
    let address = block.addr().get();
    let seen = std::mem::take(&mut *SEEN.lock().expect("no panic"));
    assert_eq!(
        seen,
        [
            (address, FreeError::OutsidePool, 100),
            (address, FreeError::WrongLayout, 500),
            (address + 16, FreeError::NotABlock, 100),
            (address, FreeError::AlreadyFree, 100),
        ]
    );
    assert_eq!(left.stats().refused_frees, 3);
    assert_eq!(left.check(), Ok(()));
}

#[test]
fn a_heap_without_memory_refuses_until_it_is_given_some() {
    let heap: LockedHeap = LockedHeap::empty();
    assert_eq!(heap.allocate(layout(8)), Err(AllocError::OutOfMemory));
    assert_eq!((heap.largest_free(), heap.stats().pool_bytes), (0, 0));
    let mut small = [MaybeUninit::<u8>::uninit(); 8];
    // SAFETY: refused, so nothing of it is kept.
    let refused = unsafe { heap.init_raw(NonNull::from(&mut small).cast(), 8) };
    assert!(matches!(refused, Err(InitError::RegionTooSmall { .. })));
    let region = Box::leak(Box::new([MaybeUninit::uninit(); 4_096]));
    heap.init(region).expect("large enough");
    assert!(heap.allocate(layout(3_000)).is_ok());
    let again = Box::leak(Box::new([MaybeUninit::uninit(); 4_096]));
    assert_eq!(heap.init(again), Err(InitError::AlreadyBuilt));
    assert_eq!(heap.stats().live_blocks, 1);
}

#[test]
fn a_moved_static_heap_starts_again_where_it_is() {
    let heap: StaticHeap<8_192> = StaticHeap::new();
    heap.allocate(layout(1_000)).expect("room");
    let moved = Box::new(heap);
    let block = moved.allocate(layout(7_000)).expect("the moved heap is empty");
    let place = ptr::from_ref(&*moved).addr();
    let address = block.cast::<u8>().addr().get();
    assert!((place..place + size_of_val(&*moved)).contains(&address));
    assert_eq!(moved.stats().live_blocks, 1);
}

#[test]
fn inspect_walks_the_blocks() {
    static HEAP: StaticHeap<8_192> = StaticHeap::new();
    let first = HEAP.allocate(layout(64)).expect("room");
    HEAP.allocate(layout(64)).expect("room");
    // SAFETY: allocated above with this layout.
    unsafe { HEAP.deallocate(first.cast(), layout(64)) };
    let states = HEAP.inspect(|heap| heap.blocks().map(|block| block.state).collect::<Vec<_>>());
    let expected = [BlockState::Free, BlockState::Used, BlockState::Top];
    assert_eq!(states.expect("built by the first request"), expected);
}

#[test]
fn a_region_extends_by_what_follows_it() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 64 * 1024];
    let base = NonNull::from(&mut region[..]).cast::<u8>();
    let builder = Heap::builder().max_bytes(64 * 1024);
    // SAFETY: the region outlives the heap and is used by nothing else; each extension lies in it.
    let mut heap = unsafe { builder.build_raw(base, 4_096) }.expect("a pool");
    let large = layout(40_000);
    assert_eq!(heap.allocate(large), Err(AllocError::TooLarge));
    let (before, mut grown_bytes) = (heap.stats().pool_bytes, 0);
    for added_bytes in [7, 9, 20_000, 30_001, 100_000] {
        // SAFETY: each extension lies in the region; the last one is cut to what the map was made
        // for, which is the region.
        grown_bytes += unsafe { heap.extend(added_bytes) };
        let stats = heap.stats();
        assert_eq!(stats.pool_bytes, before + grown_bytes);
        assert_eq!(stats.used_bytes + stats.free_bytes, stats.pool_bytes);
        assert_eq!(heap.check(), Ok(()));
    }
    assert!(heap.stats().pool_bytes + heap.stats().metadata_bytes <= 64 * 1024);
    let block = heap.allocate(large).expect("the pool has grown").cast::<u8>();
    fill(block.as_ptr(), 40_000);
    let rest = layout(heap.largest_free());
    fill(heap.allocate(rest).expect("exact").cast().as_ptr(), rest.size());
    assert!(holds_pattern(block.as_ptr(), 40_000));
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn reset_gives_all_back_at_once() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 300_000];
    let mut heap = Heap::from_region(&mut region).expect("a pool");
    let pool_bytes = heap.largest_free();
    for round in 0..3 {
        let mut blocks = Vec::new();
        for i in 0..200 {
            let size = layout(1 + (i * 37 + round * 11) % 2_000);
            let Ok(block) = heap.allocate(size) else {
                break;
            };
            // SAFETY: the block is new and as long as the slice says.
            unsafe { block.cast::<u8>().write_bytes(0xFF, size.size()) };
            blocks.push((block.cast::<u8>(), size));
        }
        for (block, size) in blocks.into_iter().step_by(3) {
            // SAFETY: allocated above with this layout, freed once.
            unsafe { heap.deallocate(block, size) };
        }
        heap.reset();
        assert_eq!(heap.check(), Ok(()));
        assert_eq!((heap.stats().used_bytes, heap.stats().live_blocks), (0, 0));
        assert_eq!(heap.largest_free(), pool_bytes);
    }
}

#[test]
fn a_zeroed_region_needs_no_formatting() {
    let mut region = vec![MaybeUninit::new(0_u8); 1 << 20];
    let base = NonNull::from(&mut region[..]).cast();
    // SAFETY: all zero, outlives the heap, used by nothing else.
    let mut heap = unsafe { Builder::<Auto, Standard>::new().zeroed().build_raw(base, 1 << 20) }
        .expect("a pool");
    assert_eq!(heap.check(), Ok(()));
    let all = layout(heap.largest_free());
    assert!(heap.allocate(all).is_ok());
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn what_was_never_used_is_told() {
    let mut region = vec![MaybeUninit::<u8>::uninit(); 65_536];
    let mut heap = Heap::from_region(&mut region).expect("a pool");
    let pool_bytes = heap.stats().pool_bytes;
    assert_eq!(heap.never_used().len(), pool_bytes);
    let first = heap.allocate(layout(10_000)).expect("room");
    // SAFETY: allocated above with this layout.
    unsafe { heap.deallocate(first.cast(), layout(10_000)) };
    assert_eq!(heap.never_used().len(), pool_bytes - 10_000, "a freed block was used once");
    let aligned = Layout::from_size_align(20_000, 4_096).expect("a valid layout");
    let block = heap.allocate(aligned).expect("room");
    let end = block.cast::<u8>().addr().get() + block.len();
    assert_eq!(heap.never_used().cast::<u8>().addr().get(), end);
    heap.reset();
    assert_eq!(heap.never_used().cast::<u8>().addr().get(), end);
}

#[test]
fn requests_of_c_are_aligned_as_c_asks() {
    aligned_as_c_asks::<WithSlabs, evenfit::Aligned>(8 << 20);
    aligned_as_c_asks::<WithSlabs, Standard>(8 << 20);
    aligned_as_c_asks::<BlocksOnly, Standard>(4 << 20);
    aligned_as_c_asks::<BlocksOnly, evenfit::Wide>(4 << 20);
}

fn aligned_as_c_asks<T: Tiers, G: evenfit::Geometry>(region_bytes: usize) {
    let align = 2 * size_of::<usize>();
    let mut region = vec![MaybeUninit::<u8>::uninit(); region_bytes];
    let mut heap = Builder::<T, G>::new().build(&mut region).expect("a pool");
    let mut blocks = Vec::new();
    for i in 0..9_000 {
        let bytes = i % 400;
        let block = heap.malloc(bytes).expect("room");
        assert!(block.len() >= bytes);
        assert_eq!(heap.usable_size(block.cast()), Ok(block.len()), "{bytes}");
        let address = block.cast::<u8>().addr().get();
        assert!(bytes <= 8 || address.is_multiple_of(align), "{bytes} at {address:#x}");
        blocks.push(block.cast::<u8>());
    }
    assert_eq!(heap.malloc(usize::MAX), Err(AllocError::TooLarge));
    for block in blocks.into_iter().rev().step_by(2) {
        // SAFETY: allocated above, freed once.
        unsafe { heap.try_free(block) }.expect("a live block");
    }
    assert_eq!(heap.check(), Ok(()));
    if G::ALIGN_BYTES < align {
        return;
    }
    // Down to the last slot, the largest request is exact.
    loop {
        let largest = heap.largest_free();
        if largest == 0 {
            break;
        }
        assert!(heap.malloc(largest + 1).is_err(), "{largest}");
        assert!(heap.malloc(largest).is_ok(), "{largest}");
    }
}

#[test]
fn a_pool_with_slabs_extends_and_resets_behind_its_lock() {
    const MAX_BYTES: usize = 4 << 20;
    let mut region = vec![MaybeUninit::<u8>::uninit(); MAX_BYTES];
    let base = NonNull::from(&mut region[..]).cast::<u8>();
    let builder = Builder::<Auto, Standard>::new().max_bytes(MAX_BYTES);
    // SAFETY: the region outlives the heap and is used by nothing else; the extensions lie in it.
    let heap = unsafe { builder.build_raw(base, 1 << 20) };
    let mut heap: LockedHeap<SpinLock, Auto, Standard> = LockedHeap::new(heap.expect("a pool"));
    let pool_bytes = heap.stats().pool_bytes;
    let mut count = 0;
    for _ in 0..4 {
        while let Ok(block) = heap.allocate(layout(40 + count % 200)) {
            fill(block.cast().as_ptr(), 40);
            count += 1;
        }
        assert_eq!(heap.check(), Ok(()));
        // SAFETY: the extensions lie in the region; what is more than the map was made for is cut
        // off.
        unsafe { heap.extend(1 << 20) };
    }
    assert!(heap.stats().pool_bytes > 3 * pool_bytes && count > 20_000);
    let slabs =
        heap.inspect(|heap| heap.blocks().any(|b| matches!(b.state, BlockState::Slab { .. })));
    assert_eq!(slabs, Some(true));
    heap.reset();
    assert_eq!(heap.check(), Ok(()));
    assert_eq!((heap.stats().used_bytes, heap.stats().live_blocks), (0, 0));
    assert!(heap.allocate(layout(3 << 20)).is_ok());
}

#[test]
fn a_static_heap_has_the_tiers_that_its_type_names() {
    static AUTO: StaticHeap<{ 2 << 20 }, SpinLock, Auto, Standard> = StaticHeap::new();
    static BLOCKS: StaticHeap<{ 2 << 20 }, SpinLock, BlocksOnly, Standard> = StaticHeap::new();
    static SLABS: StaticHeap<{ 64 << 10 }, SpinLock, WithSlabs, Standard> = StaticHeap::new();
    static SMALL: StaticHeap<{ 64 << 10 }, SpinLock, Auto, Standard> = StaticHeap::new();
    static COMPACT: StaticHeap<{ 64 << 10 }, SpinLock, BlocksOnly, Compact> = StaticHeap::new();
    let (auto, slabs) = (has_slab(&AUTO), has_slab(&SLABS));
    assert!(auto && slabs, "{auto} {slabs}");
    assert!(!has_slab(&BLOCKS) && !has_slab(&SMALL) && !has_slab(&COMPACT));
}

fn has_slab<const BYTES: usize, T: Tiers, G: evenfit::Geometry>(
    heap: &StaticHeap<BYTES, SpinLock, T, G>,
) -> bool {
    heap.allocate(layout(20)).expect("room");
    let is_slab = |block: evenfit::Block| matches!(block.state, BlockState::Slab { .. });
    heap.inspect(|heap| heap.blocks().any(is_slab)).expect("built by the first request")
}

/// The smallest heap that compiles serves requests, whatever its tiers.
#[test]
fn the_smallest_static_heap_is_one() {
    static BLOCKS: StaticHeap<1024, SpinLock, BlocksOnly, Standard> = StaticHeap::new();
    static WIDE: StaticHeap<1024, SpinLock, BlocksOnly, evenfit::Wide> = StaticHeap::new();
    static SLABS: StaticHeap<8192, SpinLock, WithSlabs, Standard> = StaticHeap::new();
    static COMPACT: StaticHeap<1024, SpinLock, BlocksOnly, Compact> = StaticHeap::new();
    BLOCKS.allocate(layout(600)).expect("room");
    WIDE.allocate(layout(500)).expect("room");
    SLABS.allocate(layout(100)).expect("room");
    SLABS.allocate(layout(4_000)).expect("room");
    COMPACT.allocate(layout(700)).expect("room");
}

/// However full the pool is, a block can be made smaller. A slot stays where it is if there is no
/// smaller one.
#[test]
fn to_make_a_block_smaller_never_fails() {
    static HEAP: StaticHeap<{ 128 << 10 }, SpinLock, WithSlabs, Standard> = StaticHeap::new();
    let sizes = [2_000, 512, 500, 300, 100, 40];
    let mut blocks = Vec::new();
    for size in sizes.iter().cycle() {
        let Ok(block) = HEAP.allocate(layout(*size)) else {
            break;
        };
        fill(block.cast().as_ptr(), *size);
        blocks.push((block.cast::<u8>(), *size));
    }
    while HEAP.allocate(layout(1)).is_ok() {}
    for (block, size) in &mut blocks {
        for smaller in [*size - 1, *size / 2, 16, 1, 0] {
            // SAFETY: live with this layout; only the new address is used.
            let answer = unsafe { HEAP.reallocate(*block, layout(*size), layout(smaller)) };
            *block = answer.expect("a smaller size").cast();
            *size = smaller;
            assert!(holds_pattern(block.as_ptr(), smaller));
        }
    }
    assert_eq!(HEAP.check(), Ok(()));
}

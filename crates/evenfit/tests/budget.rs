//! Quotas over one pool.

use std::alloc::Layout;

use evenfit::{AllocError, StaticHeap};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a valid layout")
}

#[test]
fn a_greedy_holder_cannot_starve_another() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let (greedy, modest) = (HEAP.budget("greedy", 40_000), HEAP.budget("modest", 16_000));
    let mut taken = Vec::new();
    while let Ok(block) = greedy.allocate(layout(100)) {
        taken.push(block.cast::<u8>());
    }
    let stats = greedy.stats();
    assert!(stats.used_bytes <= 40_000 && stats.used_bytes > 40_000 - 128);
    assert_eq!((stats.live_blocks, stats.failed_requests), (taken.len(), 1));
    assert!(modest.allocate(layout(15_000)).is_ok());
    assert_eq!(modest.allocate(layout(1_500)), Err(AllocError::OutOfMemory));
    assert_eq!(modest.allocate(layout(16_001)), Err(AllocError::TooLarge));
    assert_eq!(modest.stats().failed_requests, 2);
    for block in taken.drain(..) {
        // SAFETY: allocated above through this budget with this layout, freed once.
        unsafe { greedy.deallocate(block, layout(100)) };
    }
    let stats = greedy.stats();
    assert_eq!((stats.name, stats.used_bytes, stats.live_blocks), ("greedy", 0, 0));
    assert!(stats.peak_used_bytes > 39_000);
}

#[test]
fn reallocation_is_charged_for_what_it_holds() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let budget = HEAP.budget("log", 10_000);
    let first = budget.allocate(layout(2_000)).expect("room").cast::<u8>();
    // SAFETY: live, with the layouts given, and used under the newest address only.
    unsafe {
        let grown = budget.reallocate(first, layout(2_000), layout(9_000)).expect("in place");
        assert_eq!(grown.cast(), first);
        assert_eq!(budget.stats().used_bytes, grown.len());
        let refused = budget.reallocate(first, layout(9_000), layout(10_001));
        assert!(refused.is_err());
        let shrunk = budget.reallocate(first, layout(9_000), layout(4_000)).expect("smaller");
        let fence_bytes = HEAP.largest_free() - 12_000;
        let fence = HEAP.allocate(layout(fence_bytes)).expect("room");
        // A move holds both blocks for a while: 4,000 + 7,000 is more than the budget.
        assert!(budget.reallocate(shrunk.cast(), layout(4_000), layout(9_900)).is_err());
        assert_eq!(budget.stats().used_bytes, shrunk.len());
        budget.deallocate(shrunk.cast(), layout(4_000));
        HEAP.deallocate(fence.cast(), layout(fence_bytes));
    }
    let stats = budget.stats();
    assert_eq!((stats.used_bytes, stats.live_blocks, stats.failed_requests), (0, 0, 2));
    assert_eq!(HEAP.stats().used_bytes, 0);
}

/// If the pool has no room for a new block, the block moves over the free block before it, within
/// its budget.
#[test]
fn a_block_of_a_budget_can_still_grow_downwards() {
    static HEAP: StaticHeap<16_384> = StaticHeap::new();
    let budget = HEAP.budget("log", 15_000);
    let pool_bytes = HEAP.largest_free();
    let (before, old) = (layout(4_000), layout(6_000));
    let first = HEAP.allocate(before).expect("room").cast::<u8>();
    let block = budget.allocate(old).expect("room").cast::<u8>();
    HEAP.allocate(layout(pool_bytes - 10_000)).expect("the rest");
    // SAFETY: both are live, used with their layouts, and not used again but for the grown block.
    unsafe {
        block.write_bytes(7, 6_000);
        HEAP.deallocate(first, before);
        let refused = budget.reallocate(block, old, layout(15_001));
        assert_eq!(refused, Err(AllocError::TooLarge.into()));
        let grown = budget.reallocate(block, old, layout(8_900)).expect("room");
        assert_eq!(grown.cast(), first);
        assert!((0..6_000).all(|at| grown.cast::<u8>().add(at).read() == 7));
        assert_eq!(budget.stats().used_bytes, grown.len());
        budget.deallocate(grown.cast(), layout(8_900));
    }
    assert_eq!(budget.stats().used_bytes, 0);
    assert_eq!(HEAP.check(), Ok(()));
}

/// Whatever is requested, the counters stay within the limit, and are 0 when all is freed.
#[test]
fn used_bytes_are_those_of_the_live_blocks() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let budget = HEAP.budget("any", 20_000);
    let mut live: Vec<(core::ptr::NonNull<u8>, usize)> = Vec::new();
    let mut seed = 1_u32;
    let mut below = |limit: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % limit
    };
    for _ in 0..20_000 {
        let bytes = below(700) as usize;
        match below(3) {
            0 => {
                if let Ok(block) = budget.allocate(layout(bytes)) {
                    live.push((block.cast(), bytes));
                }
            }
            _ if live.is_empty() => {}
            1 => {
                let at = below(live.len() as u32) as usize;
                let (block, old) = live[at];
                // SAFETY: live with this layout; only the new address is used.
                let answer = unsafe { budget.reallocate(block, layout(old), layout(bytes)) };
                assert!(answer.is_ok() || bytes > old);
                if let Ok(block) = answer {
                    live[at] = (block.cast(), bytes);
                }
            }
            _ => {
                let (block, bytes) = live.swap_remove(below(live.len() as u32) as usize);
                // SAFETY: live with this layout, and not used again.
                unsafe { budget.deallocate(block, layout(bytes)) };
            }
        }
        let usable_bytes: usize =
            live.iter().map(|&(block, _)| HEAP.usable_size(block).expect("live")).sum();
        let stats = budget.stats();
        assert_eq!(stats.used_bytes, usable_bytes);
        assert!(stats.used_bytes <= 20_000);
        assert_eq!(stats.live_blocks, live.len());
    }
}

/// All of a zeroed block is zero, as `Allocator` promises, and not only the bytes requested.
#[test]
fn all_of_a_zeroed_block_is_zero() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let budget = HEAP.budget("zeroed", 40_000);
    let odd = layout(2_001);
    let used = budget.allocate(odd).expect("room");
    // SAFETY: live and as long as the slice says; then freed with its layout, and not used again.
    unsafe {
        used.cast::<u8>().write_bytes(0xAA, used.len());
        budget.deallocate(used.cast(), odd);
    }
    let zeroed = budget.allocate_zeroed(odd).expect("room");
    assert_eq!(zeroed, used, "the same memory is allocated again");
    assert!(zeroed.len() > 2_001);
    // SAFETY: live and as long as the slice says, and all of it was written.
    let bytes = unsafe { zeroed.as_ref() };
    assert!(bytes.iter().all(|&byte| byte == 0));
}

//! Quotas over one pool.

use std::alloc::Layout;

use evenfit::{AllocError, SharedHeap, StaticHeap};

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
    assert_eq!(
        (stats.name, stats.used_bytes, stats.live_blocks),
        ("greedy", 0, 0)
    );
    assert!(stats.peak_used_bytes > 39_000);
}

#[test]
fn reallocation_is_charged_for_what_it_holds() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let budget = HEAP.budget("log", 10_000);
    let first = budget.allocate(layout(2_000)).expect("room").cast::<u8>();
    // SAFETY: live, with the layouts given, and used under the newest address only.
    unsafe {
        let grown = budget
            .reallocate(first, layout(2_000), layout(9_000))
            .expect("in place");
        assert_eq!(grown.cast(), first);
        assert_eq!(budget.stats().used_bytes, grown.len());
        let refused = budget.reallocate(first, layout(9_000), layout(10_001));
        assert!(refused.is_err());
        let shrunk = budget
            .reallocate(first, layout(9_000), layout(4_000))
            .expect("smaller");
        let fence = HEAP.allocate(layout(16)).expect("room");
        // A move holds both blocks for a while: 4,000 + 7,000 is more than the budget.
        assert!(
            budget
                .reallocate(shrunk.cast(), layout(4_000), layout(9_900))
                .is_err()
        );
        assert_eq!(budget.stats().used_bytes, shrunk.len());
        budget.deallocate(shrunk.cast(), layout(4_000));
        HEAP.deallocate(fence.cast(), layout(16));
    }
    let stats = budget.stats();
    assert_eq!(
        (stats.used_bytes, stats.live_blocks, stats.failed_requests),
        (0, 0, 2)
    );
    assert_eq!(HEAP.stats().used_bytes, 0);
}

//! Collections inside a pool, through the `Allocator` traits of the `allocator-api2` crate.

#![cfg(feature = "allocator-api2")]

use std::mem::MaybeUninit;

use allocator_api2::boxed::Box;
use allocator_api2::vec::Vec;
use evenfit::{LockedHeap, StaticHeap};
use hashbrown::HashMap;

#[test]
fn vec_box_and_map_live_in_a_borrowed_pool() {
    let mut region = vec![MaybeUninit::uninit(); 256 * 1024];
    let bounds = region.as_ptr_range();
    let (low, high) = (bounds.start.addr(), bounds.end.addr());
    let heap: LockedHeap = LockedHeap::from_region(&mut region).expect("a pool");
    {
        let mut numbers = Vec::new_in(&heap);
        numbers.extend(0..2_000_u32);
        numbers.shrink_to_fit();
        assert!((low..high).contains(&numbers.as_ptr().addr()));
        let boxed = Box::new_in([7_u64; 100], &heap);
        let mut squares = HashMap::new_in(&heap);
        for i in 0..1_000_u32 {
            squares.insert(i, i * i);
        }
        for i in (0..1_000).step_by(2) {
            squares.remove(&i);
        }
        assert_eq!((squares.len(), squares[&31], boxed[99]), (500, 961, 7));
        assert!(numbers.iter().copied().eq(0..2_000));
        assert_eq!(heap.check(), Ok(()));
    }
    let stats = heap.stats();
    assert_eq!((stats.live_blocks, stats.used_bytes), (0, 0));
}

#[test]
fn a_collection_stays_within_its_budget() {
    static HEAP: StaticHeap<65_536> = StaticHeap::new();
    let budget = HEAP.budget("names", 8_192);
    let mut names = Vec::new_in(&budget);
    let full = (0..10_000_u64).find(|&i| names.try_reserve(1).map(|()| names.push(i)).is_err());
    assert!(full.is_some_and(|count| (256..=1_024).contains(&count)));
    assert!(budget.stats().used_bytes <= 8_192);
    drop(names);
    assert_eq!(budget.stats().used_bytes, 0);
}

/// A test that calls the trait of another version of the crate.
macro_rules! test_of_version {
    ($feature:literal, $version:ident, $name:ident) => {
        #[cfg(feature = $feature)]
        #[test]
        fn $name() {
            use core::alloc::Layout;
            use $version::alloc::Allocator;

            fn fill_and_free(heap: impl Allocator) {
                let (short, long) = (Layout::new::<[u8; 100]>(), Layout::new::<[u8; 3_000]>());
                let block = heap.allocate(short).expect("room").cast::<u8>();
                // SAFETY: `block` has 100 bytes.
                unsafe { block.write_bytes(7, 100) };
                // SAFETY: allocated above with this layout; the old pointer isn't used again.
                let block = unsafe { heap.grow(block, short, long) }.expect("room").cast::<u8>();
                // SAFETY: the first 100 bytes were written and moved with the block.
                assert_eq!(unsafe { block.add(99).read() }, 7);
                assert!(heap.allocate(Layout::new::<[u8; 70_000]>()).is_err());
                // SAFETY: grown to this layout above, and not used again.
                unsafe { heap.deallocate(block, long) };
            }

            static HEAP: StaticHeap<65_536> = StaticHeap::new();
            fill_and_free(&HEAP);
            fill_and_free(&HEAP.budget("all", 65_536));
            assert_eq!(HEAP.stats().used_bytes, 0);
        }
    };
}

test_of_version!("allocator-api2", allocator_api2, version_0_2_serves);
test_of_version!("allocator-api2-03", allocator_api2_03, version_0_3_serves);
test_of_version!("allocator-api2-04", allocator_api2_04, version_0_4_serves);

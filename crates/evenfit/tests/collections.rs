//! Standard and foreign collections inside a pool, through both `Allocator` traits.

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

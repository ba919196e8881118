//! The nightly compiler's `Allocator`: `RUSTC_BOOTSTRAP=1 cargo test -p evenfit --features
//! nightly`.
#![cfg(feature = "nightly")]
#![feature(allocator_api, btreemap_alloc)]

use std::alloc::Allocator;
use std::collections::{BTreeMap, VecDeque};
use std::mem::MaybeUninit;

use evenfit::LockedHeap;

#[test]
fn std_collections_live_in_a_pool() {
    let mut region = vec![MaybeUninit::uninit(); 256 * 1024];
    let heap: LockedHeap = LockedHeap::from_region(&mut region).expect("a pool");
    {
        let boxed = Box::new_in([1_u8; 3_000], &heap);
        let mut queue = VecDeque::new_in(&heap);
        let mut tree = BTreeMap::new_in(&heap);
        for i in 0..900_u32 {
            queue.push_back(i);
            tree.insert(i % 97, i);
        }
        assert!(queue.iter().copied().eq(0..900));
        assert_eq!((tree.len(), tree[&5], boxed[2_999]), (97, 5 + 97 * 9, 1));
    }
    assert_eq!(heap.stats().used_bytes, 0);
}

#[test]
fn grow_zeroed_clears_the_added_bytes() {
    let mut region = vec![MaybeUninit::uninit(); 65_536];
    let heap: LockedHeap = LockedHeap::from_region(&mut region).expect("a pool");
    let layout = |bytes| std::alloc::Layout::from_size_align(bytes, 8).expect("a valid layout");
    let (small, large) = (layout(100), layout(5_000));
    let dirty = (&heap).allocate(layout(20_000)).expect("room");
    // SAFETY: every block is live, has that many bytes, and is used with its layout.
    unsafe {
        dirty.cast::<u8>().write_bytes(0xFF, 20_000);
        (&heap).deallocate(dirty.cast(), layout(20_000));
        let block = (&heap).allocate(small).expect("room").cast::<u8>();
        block.write_bytes(1, 100);
        let grown = (&heap).grow_zeroed(block, small, large).expect("room");
        assert!(grown.as_ref()[..100].iter().all(|&byte| byte == 1));
        assert!(grown.as_ref()[100..].iter().all(|&byte| byte == 0));
    }
}

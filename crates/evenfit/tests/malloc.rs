//! Blocks whose size the caller doesn't know, as C has them.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{
    Aligned, AllocError, BlocksOnly, Builder, FreeError, Geometry, Heap, ReallocError, Resized,
    Tiers, WithSlabs,
};

fn heap<T: Tiers, G: Geometry>(region: &mut [MaybeUninit<u8>]) -> Heap<'_, T, G> {
    Builder::new().build(region).unwrap()
}

fn fill(block: NonNull<u8>, len: usize) {
    for at in 0..len {
        // SAFETY: the block is live and has `len` bytes.
        unsafe { block.add(at).write(at as u8) };
    }
}

fn is_filled(block: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the block is live and has `len` bytes.
    (0..len).all(|at| unsafe { block.add(at).read() } == at as u8)
}

#[test]
fn a_block_is_resized_in_place_or_left_to_be_copied() {
    let mut region = vec![MaybeUninit::uninit(); 64 << 10];
    let mut heap = heap::<BlocksOnly, Aligned>(&mut region);
    let block = heap.malloc(1000).unwrap().cast::<u8>();
    fill(block, 1000);
    // SAFETY: live, and used by its new address only.
    let grown = unsafe { heap.realloc_uncopied(block, 2000) }.unwrap();
    assert!(matches!(grown, Resized::Done(new) if new.cast() == block && new.len() >= 2000));
    let behind = heap.malloc(100).unwrap().cast();
    // SAFETY: as above.
    let moved = unsafe { heap.realloc_uncopied(block, 3000) }.unwrap();
    let Resized::Elsewhere { block: moved, old_bytes } = moved else {
        panic!("there is a block behind");
    };
    assert!(old_bytes >= 2000 && moved.len() >= 3000);
    assert!(is_filled(block, 1000), "nothing was moved");
    assert_eq!(heap.stats().live_blocks, 3, "the old one is live");
    for ptr in [block, moved.cast(), behind] {
        // SAFETY: live, and not used again.
        unsafe { heap.try_free(ptr) }.unwrap();
    }
    assert_eq!(heap.stats().live_blocks, 0);
    heap.check().unwrap();
}

#[test]
fn in_a_full_pool_a_block_grows_downwards_and_the_heap_moves_it() {
    let mut region = vec![MaybeUninit::uninit(); 64 << 10];
    let mut heap = heap::<BlocksOnly, Aligned>(&mut region);
    let [before, block] = [10_000, 20_000].map(|bytes| heap.malloc(bytes).unwrap().cast::<u8>());
    let rest = heap.largest_free();
    heap.malloc(rest).unwrap();
    fill(block, 20_000);
    // SAFETY: live, and not used again.
    unsafe { heap.try_free(before) }.unwrap();
    // SAFETY: live, and used by its new address only.
    let moved = unsafe { heap.realloc_uncopied(block, 25_000) }.unwrap();
    let Resized::Done(moved) = moved else {
        panic!("there is no room for a second one");
    };
    assert!(moved.cast() == before && is_filled(before, 20_000));
    assert_eq!(heap.stats().failed_requests, 0);
    heap.check().unwrap();
}

#[test]
fn to_shorten_never_fails_though_the_pool_is_full() {
    let mut region = vec![MaybeUninit::uninit(); 64 << 10];
    let mut heap = heap::<WithSlabs, Aligned>(&mut region);
    let mut blocks = Vec::new();
    for bytes in [400, 32] {
        while let Ok(block) = heap.malloc(bytes) {
            blocks.push((block.cast::<u8>(), bytes));
        }
    }
    while heap.malloc(1).is_ok() {}
    let failed = heap.stats().failed_requests;
    for &(block, bytes) in &blocks {
        fill(block, bytes);
        // SAFETY: live, and used by its new address only.
        let shortened = unsafe { heap.realloc_uncopied(block, bytes / 2) }.unwrap();
        assert!(matches!(shortened, Resized::Done(new) if new.cast() == block));
        assert!(is_filled(block, bytes / 2));
    }
    assert_eq!(heap.stats().failed_requests, failed);
    for (block, bytes) in blocks {
        let layout = core::alloc::Layout::from_size_align(bytes / 2, 16).unwrap();
        // SAFETY: live, and not used again. It is freed by its new size.
        unsafe { heap.try_deallocate(block, layout) }.unwrap();
    }
    heap.check().unwrap();
}

#[test]
fn what_can_not_be_is_refused_and_counted_once() {
    let mut region = vec![MaybeUninit::uninit(); 64 << 10];
    let mut heap = heap::<BlocksOnly, Aligned>(&mut region);
    let block = heap.malloc(1000).unwrap().cast::<u8>();
    heap.malloc(1000).unwrap();
    let stats = heap.stats();
    for (bytes, error) in [
        (heap.largest_free() + 1, AllocError::OutOfMemory),
        (64 << 10, AllocError::TooLarge),
        (usize::MAX, AllocError::TooLarge),
    ] {
        // SAFETY: live; it is refused.
        let refused = unsafe { heap.realloc_uncopied(block, bytes) }.unwrap_err();
        assert_eq!(refused, ReallocError::Alloc(error));
    }
    // SAFETY: no block starts there.
    let refused = unsafe { heap.realloc_uncopied(block.add(16), 10) }.unwrap_err();
    assert_eq!(refused, ReallocError::Free(FreeError::NotABlock));
    let now = heap.stats();
    assert_eq!(now.failed_requests, stats.failed_requests + 3);
    assert_eq!(now.refused_frees, stats.refused_frees + 1);
    assert_eq!(now.used_bytes, stats.used_bytes);
}

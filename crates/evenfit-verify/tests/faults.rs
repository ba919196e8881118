//! Faults that the heap once had, each in the fewest steps that show it.
#![cfg(target_pointer_width = "64")]

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{BlockState, BlocksOnly, Geometry, Heap, Standard, Tiers, WithSlabs};
use evenfit_verify::{Placement, Region};

const GRANULE: usize = Standard::GRANULE_BYTES;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn build<T: Tiers>(region: &Region) -> Heap<'static, T, Standard> {
    let builder = Heap::builder().tiers::<T>().geometry::<Standard>();
    // SAFETY: the region outlives the heap in every test, and nothing else accesses it except
    // through its blocks.
    unsafe { builder.build_raw(region.base(), region.len_bytes()) }.unwrap()
}

fn region(len_bytes: usize) -> Region {
    Region::new(len_bytes, Placement::AfterGuard(0))
}

fn allocate<T: Tiers>(heap: &mut Heap<'_, T, Standard>, size: usize) -> NonNull<u8> {
    heap.allocate(layout(size)).expect("there is room").cast()
}

fn free<T: Tiers>(heap: &mut Heap<'_, T, Standard>, block: NonNull<u8>, size: usize) {
    // SAFETY: a live block of this size, not used again.
    unsafe { heap.try_deallocate(block, layout(size)) }.unwrap();
}

/// The first free block of the pool has the number 0, so links of zero lead from it to itself.
#[test]
fn the_first_block_zeroed_after_it_was_freed_is_not_mistaken_for_a_listed_one() {
    let region = region(4096);
    let mut heap = build::<BlocksOnly>(&region);
    let first = allocate(&mut heap, 64);
    let other = [0; 4].map(|_| allocate(&mut heap, 64));
    free(&mut heap, first, 64);
    // SAFETY: a late write, to free memory of the pool.
    unsafe { first.write_bytes(0, 8) };
    let Ok(again) = heap.allocate(layout(64)) else {
        return;
    };
    // SAFETY: a live block of 64 bytes.
    unsafe { again.cast::<u8>().write_bytes(0xAA, 64) };
    // A refusal is right too.
    // SAFETY: a live block, not used again.
    let _ = unsafe { heap.try_deallocate(other[1], layout(64)) };
    // SAFETY: still live.
    let content = unsafe { again.as_ref() };
    assert_eq!(content, [0xAA; 64], "a live block was written to");
}

/// A slab whose block is a granule longer than it needs.
#[test]
fn a_granule_too_many_of_a_slab_is_free() {
    let region = region(64 << 10);
    let mut heap = build::<WithSlabs>(&region);
    let hole = allocate(&mut heap, 257 * GRANULE);
    allocate(&mut heap, 1000);
    free(&mut heap, hole, 257 * GRANULE);
    let used_bytes = heap.stats().used_bytes;
    let slot = allocate(&mut heap, 64);
    assert_eq!(slot, hole, "the slab lies where 257 granules were free in this test");
    assert_eq!(heap.stats().used_bytes - used_bytes, 64);
}

/// The longest free block hides behind one that merges with the empty slab and so leaves its bin.
#[test]
fn no_request_longer_than_largest_free_succeeds() {
    let (shorter, longer, slab) = (2048 * GRANULE, 2500 * GRANULE, 256 * GRANULE);
    let pool = longer + 1000 + shorter + slab;
    let len_bytes = (pool..)
        .find(|len_bytes| {
            let region = region(*len_bytes);
            build::<WithSlabs>(&region).stats().pool_bytes == pool
        })
        .unwrap();
    let region = region(len_bytes);
    let mut heap = build::<WithSlabs>(&region);
    let hidden = allocate(&mut heap, longer);
    allocate(&mut heap, 1000);
    let before = allocate(&mut heap, shorter);
    let slot = allocate(&mut heap, 64);
    let is_slab = |piece: &evenfit::Block| matches!(piece.state, BlockState::Slab { .. });
    assert!(heap.blocks().last().is_some_and(|piece| is_slab(&piece)));
    free(&mut heap, slot, 64);
    free(&mut heap, hidden, longer);
    free(&mut heap, before, shorter);
    let largest = heap.largest_free();
    let more = heap.allocate(layout(largest + 1));
    assert!(more.is_err(), "largest_free said {largest}, and one byte more was had");
}

/// The heap follows forged links of two free blocks that point to each other, so a list may have a
/// block of another list's length. It must not be allocated for a longer request.
#[test]
fn a_block_in_a_wrong_list_is_not_mistaken_for_a_longer_one() {
    let region = region(64 << 10);
    let mut heap = build::<BlocksOnly>(&region);
    let mut separated = |granules: usize| {
        let block = allocate(&mut heap, granules * GRANULE);
        (block, allocate(&mut heap, 16))
    };
    let ((d, _), (b, _), (c, _)) = (separated(104), separated(33), separated(10));
    let a = allocate(&mut heap, 64 * GRANULE);
    let behind = allocate(&mut heap, 40 * GRANULE);
    allocate(&mut heap, 16);
    for (block, granules) in [(d, 104), (c, 10), (a, 64)] {
        free(&mut heap, block, granules * GRANULE);
    }
    let number = |block: NonNull<u8>| {
        ((block.addr().get() - heap.pool_start().addr()) / GRANULE).to_le_bytes()
    };
    // SAFETY: late writes, to free memory of the pool: a's link to the block before, and c's to the
    // one behind.
    unsafe {
        a.add(4).cast::<[u8; 4]>().write(number(c).first_chunk().copied().unwrap());
        c.cast::<[u8; 4]>().write(number(a).first_chunk().copied().unwrap());
    }
    free(&mut heap, behind, 40 * GRANULE);
    let Ok(part) = heap.allocate(layout(33 * GRANULE)) else {
        return;
    };
    let neighbour = allocate(&mut heap, 16);
    free(&mut heap, b, 33 * GRANULE);
    free(&mut heap, part.cast(), 33 * GRANULE);
    if let Ok(block) = heap.allocate(layout(82 * GRANULE)) {
        let end = block.cast::<u8>().addr().get() + 82 * GRANULE;
        let overlaps = block.cast() < neighbour && neighbour.addr().get() < end;
        assert!(!overlaps, "a live block was allocated once more");
    }
}

/// In a pool shorter than a slab, metadata that were overwritten may say that one begins.
#[test]
fn no_slab_is_looked_for_where_none_has_room() {
    for len_bytes in 900..1400 {
        let region = Region::new(len_bytes, Placement::BeforeGuard(0));
        let builder = Heap::builder().tiers::<WithSlabs>().geometry::<Standard>();
        // SAFETY: as in `build`.
        let Ok(mut heap) = (unsafe { builder.build_raw(region.base(), len_bytes) }) else {
            continue;
        };
        let whole = heap.allocate(layout(heap.stats().pool_bytes)).unwrap();
        // SAFETY: a live block, and then the word of the segment that the pool begins in: 28
        // segments are no memory.
        unsafe {
            whole.cast::<u8>().write_bytes(7, whole.len());
            let begins = region.base().addr().get().next_multiple_of(4);
            let word = begins - region.base().addr().get() + 29 * 4;
            let word = region.base().add(word).cast::<u32>();
            word.write_unaligned(28 * 256);
        }
        assert!(heap.blocks().count() <= 1);
        assert!(heap.check().is_err());
    }
}

/// A footer that says a granule more than there is before the block.
#[test]
fn a_free_block_does_not_begin_before_the_pool() {
    let region = region(4096);
    let mut heap = build::<BlocksOnly>(&region);
    let first = allocate(&mut heap, 64);
    let second = allocate(&mut heap, 64);
    allocate(&mut heap, 64);
    free(&mut heap, first, 64);
    // SAFETY: a late write, to the last 8 bytes of a free block of 8 granules.
    unsafe { first.add(56).cast::<u32>().write(9) };
    // SAFETY: a live block, not used again.
    let freed = unsafe { heap.try_deallocate(second, layout(64)) };
    assert_eq!(freed, Err(evenfit::FreeError::Corrupt));
}

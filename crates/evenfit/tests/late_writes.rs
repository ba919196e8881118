//! Writes to memory after it was freed: noticed, or at least harmless to every live block.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{Compact, FreeError, Geometry, Heap, Standard};

fn layout(granules: usize) -> Layout {
    Layout::from_size_align(granules * 16, 1).unwrap()
}

fn take(heap: &mut Heap, granules: usize) -> NonNull<u8> {
    heap.allocate(layout(granules)).unwrap().cast()
}

/// Writes a free block's links, as a late writer could who knows their format.
fn forge(heap: &Heap, block: NonNull<u8>, next: NonNull<u8>, prev: NonNull<u8>) {
    let number = |ptr: NonNull<u8>| ((ptr.addr().get() - heap.pool_start().addr()) / 16) as u32;
    // SAFETY: a free block of the pool; no call is running.
    unsafe {
        block.cast::<u32>().write(number(next));
        block.cast::<u32>().add(1).write(number(prev));
    }
}

/// Zeroing the pool's first block after freeing it makes its links lead to itself, consistently.
#[test]
fn zeroing_the_first_block_late_harms_no_live_block() {
    let mut region = [MaybeUninit::uninit(); 1024];
    let mut heap: Heap = Heap::from_region(&mut region).unwrap();
    let first = take(&mut heap, 2);
    let second = take(&mut heap, 2);
    let wall = take(&mut heap, 1);
    let other = take(&mut heap, 2);
    let _wall = take(&mut heap, 1);
    // SAFETY: live blocks; the zeros go to the pool after the free.
    unsafe {
        heap.try_deallocate(first, layout(2)).unwrap();
        first.write_bytes(0, 32);
        let _ = heap.try_deallocate(second, layout(2));
    }
    let live = heap.allocate(layout(4)).unwrap().cast::<u8>();
    // SAFETY: a live block of four granules; `other` is live and then given up.
    unsafe {
        live.write_bytes(0xAA, 64);
        let _ = heap.try_deallocate(other, layout(2));
        let bytes = core::slice::from_raw_parts(live.as_ptr(), 64);
        assert!(
            bytes.iter().all(|byte| *byte == 0xAA),
            "a live block was written to"
        );
        let _ = heap.try_deallocate(wall, layout(1));
        assert!(
            bytes.iter().all(|byte| *byte == 0xAA),
            "a live block was written to"
        );
    }
    assert!(heap.check().is_err(), "the zeroed links go unnoticed");
}

/// Both neighbours of a block that is freed claim to be neighbours in one list, and are not.
#[test]
fn neighbours_linked_across_bins_are_refused() {
    let mut region = [MaybeUninit::uninit(); 1024];
    let mut heap: Heap = Heap::from_region(&mut region).unwrap();
    let before = take(&mut heap, 2);
    let middle = take(&mut heap, 1);
    let after = take(&mut heap, 3);
    let _wall = take(&mut heap, 1);
    let sibling = take(&mut heap, 3);
    let _wall = take(&mut heap, 1);
    // SAFETY: live blocks, each freed once.
    unsafe {
        heap.try_deallocate(before, layout(2)).unwrap();
        heap.try_deallocate(after, layout(3)).unwrap();
        heap.try_deallocate(sibling, layout(3)).unwrap();
        let end_mark = before.cast::<u32>().add(1).read();
        forge(&heap, before, after, after);
        before.cast::<u32>().add(1).write(end_mark);
        forge(&heap, after, after, before);
        after.cast::<u32>().write(u32::MAX - 1 - 3);
        let bytes = heap_bytes(&heap);
        assert_eq!(
            heap.try_deallocate(middle, layout(1)),
            Err(FreeError::Corrupt)
        );
        assert_eq!(heap_bytes(&heap), bytes, "a refused call changed the pool");
    }
}

fn heap_bytes<G: Geometry>(heap: &Heap<'_, G>) -> Vec<u8> {
    // SAFETY: the pool is mapped, and no call is running.
    unsafe { core::slice::from_raw_parts(heap.pool_start(), heap.stats().pool_bytes) }.to_vec()
}

/// One free block is overwritten, every byte with every value in turn: each later call works or answers `Corrupt`,
/// and no block it hands out overlaps a live one.
fn any_byte_of_a_free_block<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    let one = Layout::from_size_align(granule, 1).unwrap();
    for at in 0..3 * granule {
        for value in 0..=255_u8 {
            let mut region = [MaybeUninit::new(0xEE_u8); 1024];
            let mut heap = Heap::<G>::from_region(&mut region).unwrap();
            let mut live: Vec<_> = (0..20)
                .map(|_| heap.allocate(one).unwrap().cast::<u8>())
                .collect();
            let freed = [3, 4, 5, 9, 12, 15].map(|index| live[index]);
            // SAFETY: live blocks, freed once; the late write goes to the first of them.
            unsafe {
                for block in freed {
                    heap.try_deallocate(block, one).unwrap();
                }
                freed[0].add(at).write(value);
            }
            live.retain(|block| !freed.contains(block));
            let changed = heap.check().is_err();
            while let Ok(block) = heap.allocate(one) {
                assert!(
                    !live.contains(&block.cast()),
                    "byte {at} = {value}: handed out twice"
                );
                live.push(block.cast());
            }
            let mut refused = 0;
            for block in live {
                // SAFETY: live blocks, freed once.
                refused += usize::from(unsafe { heap.try_deallocate(block, one) }.is_err());
            }
            assert!(
                changed || refused == 0,
                "byte {at} = {value}: a refusal that check did not foresee"
            );
            assert!(changed || heap.check().is_ok());
        }
    }
}

#[test]
fn any_byte_of_a_free_block_standard() {
    any_byte_of_a_free_block::<Standard>();
}

#[test]
fn any_byte_of_a_free_block_compact() {
    any_byte_of_a_free_block::<Compact>();
}

//! Writes to memory after it was freed are noticed, or at least harm no live block.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use evenfit::{Aligned, BlocksOnly, Builder, Compact, FreeError, Geometry, Heap, Standard, Wide};

type Blocks<'pool, G = Standard> = Heap<'pool, BlocksOnly, G>;

const GRANULE: usize = Standard::GRANULE_BYTES;

fn layout(granules: usize) -> Layout {
    Layout::from_size_align(granules * GRANULE, 1).unwrap()
}

fn build<G: Geometry>(region: &mut [MaybeUninit<u8>]) -> Blocks<'_, G> {
    Builder::new().build(region).unwrap()
}

fn allocate(heap: &mut Blocks, granules: usize) -> NonNull<u8> {
    heap.allocate(layout(granules)).unwrap().cast()
}

fn free(heap: &mut Blocks, block: NonNull<u8>, granules: usize) -> Result<(), FreeError> {
    // SAFETY: each test frees a live block once.
    unsafe { heap.try_deallocate(block, layout(granules)) }
}

/// Overwrites a link of a free block, as a late writer could who knows the format. 0 is the next
/// link, 1 the previous one.
fn forge(heap: &Blocks, block: NonNull<u8>, link: usize, to: NonNull<u8>) {
    let number = (to.addr().get() - heap.pool_start().addr()) / GRANULE;
    // SAFETY: a free block of the pool; no call is running.
    unsafe { block.cast::<u32>().add(link).write(number as u32) };
}

fn pool_bytes(heap: &Blocks) -> Vec<u8> {
    // SAFETY: the pool is mapped, and no call is running.
    unsafe { core::slice::from_raw_parts(heap.pool_start(), heap.stats().pool_bytes) }.to_vec()
}

/// Zeroing the pool's first block after freeing it makes its links lead to itself, consistently.
#[test]
fn zeroing_the_first_block_late_harms_no_live_block() {
    for granules in [2, 3, 40] {
        let mut region = [MaybeUninit::new(0); 4096];
        let mut heap = build(&mut region);
        let first = allocate(&mut heap, granules);
        let second = allocate(&mut heap, granules);
        let wall = allocate(&mut heap, 2);
        let other = allocate(&mut heap, granules);
        let _wall = allocate(&mut heap, 2);
        free(&mut heap, first, granules).unwrap();
        // SAFETY: a late write.
        unsafe { first.write_bytes(0, granules * GRANULE) };
        assert!(heap.check().is_err(), "the zeroed links go unnoticed");
        let refused = free(&mut heap, second, granules);
        assert_eq!(refused, Err(FreeError::Corrupt));
        let live = allocate(&mut heap, 2 * granules);
        let bytes = 2 * granules * GRANULE;
        // SAFETY: a live block of this length.
        unsafe { live.write_bytes(0xAA, bytes) };
        let is_whole = || {
            // SAFETY: as above.
            let content = unsafe { core::slice::from_raw_parts(live.as_ptr(), bytes) };
            content.iter().all(|byte| *byte == 0xAA)
        };
        free(&mut heap, other, granules).unwrap();
        assert!(is_whole(), "a live block was written to");
        let _ = free(&mut heap, wall, 2);
        assert!(is_whole(), "a live block was written to");
    }
}

/// A link to a free block of another list, which doesn't point back. Every call that reads it
/// refuses, with nothing changed.
#[test]
fn a_link_that_nothing_points_back_to_is_refused() {
    let mut region = [MaybeUninit::new(0); 1024];
    let mut heap = build(&mut region);
    let before = allocate(&mut heap, 2);
    let middle = allocate(&mut heap, 2);
    let behind = allocate(&mut heap, 3);
    let _wall = allocate(&mut heap, 2);
    let sibling = allocate(&mut heap, 3);
    let _wall = allocate(&mut heap, 2);
    free(&mut heap, before, 2).unwrap();
    free(&mut heap, behind, 3).unwrap();
    free(&mut heap, sibling, 3).unwrap();
    assert_eq!(heap.check(), Ok(()));
    let whole = pool_bytes(&heap);
    for (block, link, to) in [
        (before, 0, behind),
        (before, 1, sibling),
        (before, 0, before),
        (before, 1, before),
        (behind, 0, before),
        (behind, 1, behind),
        (behind, 0, behind),
    ] {
        forge(&heap, block, link, to);
        assert!(heap.check().is_err(), "{block:?} {link} {to:?}");
        let forged = pool_bytes(&heap);
        let refused = free(&mut heap, middle, 2);
        assert_eq!(refused, Err(FreeError::Corrupt), "{block:?} {link} {to:?}");
        assert!(pool_bytes(&heap) == forged, "a refused call changed the pool");
        // SAFETY: restores what was overwritten; no call is running.
        unsafe {
            let pool = heap.pool_start().cast_mut();
            pool.copy_from_nonoverlapping(whole.as_ptr(), whole.len());
        }
    }
    assert_eq!(free(&mut heap, middle, 2), Ok(()));
    assert_eq!(heap.check(), Ok(()));
}

/// One free block is overwritten, every byte with every value in turn. Each later call works or
/// answers `Corrupt`, and no block that it returns overlaps a live one.
fn any_byte_of_a_free_block<G: Geometry>(granules: usize, places: impl Iterator<Item = usize>) {
    let size = granules * G::GRANULE_BYTES;
    let asked = Layout::from_size_align(size, 1).unwrap();
    for at in places {
        for value in 0..=255_u8 {
            let mut region = vec![MaybeUninit::new(0xEE_u8); 24 * size + 512];
            let mut heap = build::<G>(&mut region);
            let mut live: Vec<_> =
                (0..20).map(|_| heap.allocate(asked).unwrap().cast::<u8>()).collect();
            let freed = [3, 4, 5, 9, 12, 15].map(|index| live[index]);
            // SAFETY: live blocks, freed once; the late write goes to the first of them.
            unsafe {
                for block in freed {
                    heap.try_deallocate(block, asked).unwrap();
                }
                freed[0].add(at).write(value);
            }
            live.retain(|block| !freed.contains(block));
            let changed = heap.check().is_err();
            while let Ok(block) = heap.allocate(asked) {
                let block = block.cast::<u8>();
                let overlaps =
                    |other: &NonNull<u8>| other.addr().get().abs_diff(block.addr().get()) < size;
                assert!(!live.iter().any(overlaps), "byte {at} = {value}: allocated twice");
                live.push(block);
            }
            let mut refused = 0;
            for block in live {
                // SAFETY: live blocks, freed once.
                refused += usize::from(unsafe { heap.try_deallocate(block, asked) }.is_err());
            }
            assert!(
                changed || refused == 0,
                "byte {at} = {value}: a refusal that check did not foresee"
            );
            assert!(changed || heap.check().is_ok());
        }
    }
}

/// The bytes that are overwritten: all of three short blocks that have merged; of three long ones
/// the links, the footer, and the bytes around where they met.
fn any_byte<G: Geometry>() {
    let granule = G::GRANULE_BYTES;
    any_byte_of_a_free_block::<G>(2, 0..6 * granule);
    let long = 34;
    let ends = [0, long, 3 * long].map(|end| end * granule);
    let places =
        (0..3 * long * granule).filter(move |at| ends.iter().any(|end| end.abs_diff(*at) <= 16));
    any_byte_of_a_free_block::<G>(long, places);
}

#[test]
fn any_byte_of_a_free_block_standard() {
    any_byte::<Standard>();
}

#[test]
fn any_byte_of_a_free_block_aligned() {
    any_byte::<Aligned>();
}

#[test]
fn any_byte_of_a_free_block_wide() {
    any_byte::<Wide>();
}

#[test]
fn any_byte_of_a_free_block_compact() {
    any_byte::<Compact>();
}

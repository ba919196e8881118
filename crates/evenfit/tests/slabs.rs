//! Slabs slot by slot: every slot of every class, by every call that knows of them.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::collections::BTreeSet;

use evenfit::{AllocError, BlockState, FreeError, Heap, ReallocError, SlotClass, Tiers};

const REGION_BYTES: usize = 64 << 10;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn heap(region: &mut [MaybeUninit<u8>]) -> Heap<'_> {
    Heap::from_region_with(region, Tiers::WithSlabs).unwrap()
}

fn region() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); REGION_BYTES]
}

/// The used slots of each slab that the heap has, in address order.
fn used_slots(heap: &Heap) -> Vec<usize> {
    let of = |state| match state {
        BlockState::Slab { used_slots, .. } => Some(used_slots),
        _ => None,
    };
    heap.blocks().filter_map(|block| of(block.state)).collect()
}

/// A request for every class, and its class.
fn classes() -> Vec<(Layout, SlotClass)> {
    let mut classes = Vec::new();
    for size in 0..=SlotClass::REQUEST_BYTES_MAX {
        let layout = layout(size, 1);
        let class = SlotClass::of(layout).expect("a small request");
        assert!(class.slot_bytes >= size);
        if classes.last().is_none_or(|&(_, last)| last != class) {
            classes.push((layout, class));
        }
    }
    classes
}

/// The orders in which slots are given back.
fn orders(slots: usize) -> [Vec<usize>; 4] {
    let forth: Vec<_> = (0..slots).collect();
    let back = forth.iter().rev().copied().collect();
    let (even, odd): (Vec<_>, Vec<_>) = forth.iter().partition(|&slot| slot % 2 == 0);
    let leap = odd.into_iter().chain(even).collect();
    let scattered = (0..slots).map(|slot| slot * 1009 % slots).collect();
    [forth, back, leap, scattered]
}

/// Fills two slabs and one slot more, and gives all back in each order: every count exact, every second free refused, and each slot
/// to be had again.
fn every_slot(unsized_: bool) {
    for (layout, class) in classes() {
        let two = 2 * class.slots;
        for order in orders(two) {
            let mut region = region();
            let mut heap = heap(&mut region);
            let first = heap.allocate(layout).unwrap().cast::<u8>();
            let mut slots = vec![first];
            while slots.len() < two {
                slots.push(heap.allocate(layout).unwrap().cast());
            }
            assert_eq!(used_slots(&heap), [class.slots; 2], "{class:?}");
            let last = heap.allocate(layout).unwrap().cast::<u8>();
            assert_eq!(used_slots(&heap), [class.slots, class.slots, 1]);
            for (index, slot) in slots.iter().enumerate() {
                let slab = index / class.slots * SlotClass::SLAB_BYTES;
                let expected = slab + index % class.slots * class.slot_bytes;
                assert_eq!(slot.addr().get() - first.addr().get(), expected);
                assert_eq!(heap.usable_size(*slot), Ok(class.slot_bytes));
            }
            // SAFETY: live slots, each given back once; the rest is refused.
            unsafe {
                let give_back = |heap: &mut Heap, slot| {
                    if unsized_ {
                        heap.try_deallocate_unsized(slot)
                    } else {
                        heap.try_deallocate(slot, layout)
                    }
                };
                for (count, &index) in order.iter().enumerate() {
                    let slot = slots[index];
                    assert_eq!(
                        give_back(&mut heap, slot),
                        Ok(()),
                        "{class:?}, slot {index}"
                    );
                    assert_eq!(give_back(&mut heap, slot), Err(FreeError::AlreadyFree));
                    assert_eq!(heap.usable_size(slot), Err(FreeError::AlreadyFree));
                    let stats = heap.stats();
                    assert_eq!(stats.live_blocks, two - count);
                    assert_eq!(stats.used_bytes, (two - count) * class.slot_bytes);
                    assert_eq!(stats.refused_frees as usize, count + 1);
                    assert_eq!(heap.check(), Ok(()), "{class:?}, slot {index}");
                }
                // One slab has the last slot; of the others one may be kept.
                assert!(used_slots(&heap).len() <= 2);
                let again: BTreeSet<_> = (1..class.slots)
                    .map(|_| heap.allocate(layout).unwrap().cast::<u8>())
                    .collect();
                assert_eq!(again.len(), class.slots - 1);
                assert_eq!(used_slots(&heap).iter().sum::<usize>(), class.slots);
                for slot in again {
                    assert_eq!(give_back(&mut heap, slot), Ok(()));
                }
                assert_eq!(give_back(&mut heap, last), Ok(()));
            }
            assert_eq!((heap.stats().used_bytes, heap.stats().live_blocks), (0, 0));
            assert_eq!(heap.largest_free(), heap.stats().pool_bytes);
            assert_eq!(heap.check(), Ok(()));
        }
    }
}

#[test]
fn every_slot_of_every_class() {
    every_slot(false);
}

#[test]
fn every_slot_of_every_class_without_a_layout() {
    every_slot(true);
}

/// With any layout but one of the slot's class, at any place but a slot's start, a slot is not given back.
#[test]
fn a_slot_is_given_back_by_its_own_class_only() {
    for (asked, class) in classes() {
        let mut region = region();
        let mut heap = heap(&mut region);
        let count = class.slots.min(70);
        let slots: Vec<_> = (0..count)
            .map(|_| heap.allocate(asked).unwrap().cast::<u8>())
            .collect();
        for &slot in [slots[0], slots[1], slots[count - 1]].iter() {
            for other in [0, 1, 8, 16, 17, 24, 25, 40, 64, 128, 200, 512, 513, 2048] {
                let told = layout(other, 8);
                let small = SlotClass::of(told);
                if small == Some(class) {
                    continue;
                }
                // SAFETY: refused.
                let answer = unsafe { heap.try_deallocate(slot, told) };
                let expected = if small.is_some() {
                    FreeError::WrongLayout
                } else {
                    FreeError::NotABlock
                };
                assert!(
                    answer == Err(expected) || answer == Err(FreeError::WrongLayout),
                    "{class:?} as {other}: {answer:?}"
                );
            }
            for inside in 1..class.slot_bytes {
                // SAFETY: inside the slot.
                let ptr = unsafe { slot.add(inside) };
                // SAFETY: refused.
                let answers = unsafe {
                    [
                        heap.try_deallocate(ptr, asked),
                        heap.try_deallocate_unsized(ptr),
                        heap.usable_size(ptr).map(drop),
                    ]
                };
                assert_eq!(
                    answers,
                    [Err(FreeError::NotABlock); 3],
                    "{class:?}, {inside}"
                );
            }
        }
        assert_eq!(heap.stats().live_blocks, count);
        assert_eq!(heap.check(), Ok(()));
    }
}

/// C's requests: aligned for any type, in place within a slot, and said beforehand how long.
#[test]
fn requests_without_a_layout_keep_to_their_slot() {
    let c_align = 2 * size_of::<usize>();
    let mut region = region();
    let mut heap = heap(&mut region);
    for size in 0..=SlotClass::REQUEST_BYTES_MAX + 40 {
        let ptr = heap.allocate_unsized(size).unwrap();
        let len = ptr.len();
        let ptr = ptr.cast::<u8>();
        let align = if size <= 8 { 8 } else { c_align };
        assert!(len >= size && ptr.addr().get().is_multiple_of(align));
        assert_eq!(heap.rounded_unsized(size), Some(len));
        assert_eq!(heap.usable_size(ptr), Ok(len));
        // SAFETY: live until it is given back.
        unsafe {
            let is_slot = SlotClass::of(layout(size, align)).is_some();
            for within in [0, 1, size, len].into_iter().filter(|_| is_slot) {
                let answer = heap.resize_in_place_unsized(ptr, within);
                assert_eq!(answer.map(NonNull::len), Ok(len), "{size} to {within}");
                let fits = heap.rounded_unsized(within) == Some(len);
                assert_eq!(heap.fits_unsized(ptr, within), fits, "{size} to {within}");
            }
            if is_slot {
                let answer = heap.resize_in_place_unsized(ptr, len + 1);
                assert_eq!(answer, Err(ReallocError::Alloc(AllocError::OutOfMemory)));
            }
            assert!(heap.fits_unsized(ptr, size) && !heap.fits_unsized(ptr, len + 1));
            assert!(!heap.fits_unsized(ptr, usize::MAX));
            assert_eq!(heap.try_deallocate_unsized(ptr), Ok(()));
            let answer = heap.resize_in_place_unsized(ptr, 1);
            assert_eq!(answer, Err(ReallocError::Free(FreeError::AlreadyFree)));
        }
        assert_eq!(heap.stats().live_blocks, 0);
    }
    assert_eq!(heap.rounded_unsized(usize::MAX), None);
}

/// A pool that is full but for slots: the largest request that succeeds is a slot of the largest class with one free.
#[test]
fn the_largest_request_may_be_a_slot() {
    for (asked, class) in classes() {
        let mut region = region();
        let mut heap = heap(&mut region);
        let slots: Vec<_> = (0..class.slots)
            .map(|_| heap.allocate(asked).unwrap().cast::<u8>())
            .collect();
        let blocks = layout(600, 8);
        while heap.allocate(blocks).is_ok() {}
        let granule = layout(0, 1);
        while heap.allocate(granule).is_ok() {}
        assert_eq!((heap.largest_free(), heap.largest_free_unsized()), (0, 0));
        assert_eq!(heap.allocate(asked), Err(AllocError::OutOfMemory));
        for &slot in [slots.len() - 1, 0].map(|index| &slots[index]) {
            // SAFETY: live, and given back once.
            unsafe { heap.try_deallocate(slot, asked) }.unwrap();
            assert_eq!(heap.largest_free(), class.slot_bytes, "{class:?}");
            let is_for_c = class.slot_bytes.is_multiple_of(2 * size_of::<usize>());
            let for_c = if is_for_c { class.slot_bytes } else { 0 };
            assert_eq!(heap.largest_free_unsized(), for_c);
            assert_eq!(heap.allocate(asked).unwrap().cast::<u8>(), slot);
            assert_eq!(heap.largest_free(), 0);
        }
    }
}

/// The slab that is kept empty is given up for a block that needs its room, at the block's alignment.
#[test]
fn the_slab_that_is_kept_serves_a_block_where_nothing_else_does() {
    for align in [8, 16, 64, 256, 512] {
        for skew in 0..16 {
            let mut region = region();
            let mut heap = heap(&mut region);
            heap.allocate(layout(528 + skew * 16, 8)).unwrap();
            let small = layout(100, 8);
            let slot = heap.allocate(small).unwrap().cast::<u8>();
            while heap.allocate(layout(1040, 8)).is_ok() {}
            while heap.allocate(layout(0, 1)).is_ok() {}
            // SAFETY: live, and given back once.
            unsafe { heap.try_deallocate(slot, small) }.unwrap();
            assert_eq!(used_slots(&heap), [0]);
            assert_eq!(heap.largest_free(), SlotClass::SLAB_BYTES);
            let too_large = layout(REGION_BYTES + 1, align);
            assert_eq!(heap.allocate(too_large), Err(AllocError::TooLarge));
            let block = heap.allocate(layout(1200, align)).expect("room");
            assert!(block.cast::<u8>().addr().get().is_multiple_of(align));
            assert_eq!(used_slots(&heap), []);
            assert_eq!(heap.check(), Ok(()));
        }
    }
}

/// A slab whose only free slot is one of those that its first word doesn't stand for serves it, when its turn comes.
#[test]
fn a_slab_with_only_its_last_slot_free_serves_it() {
    for (layout, class) in classes() {
        let mut region = region();
        let mut heap = heap(&mut region);
        let two_slabs = 0..2 * class.slots;
        let slots: Vec<_> = two_slabs
            .map(|_| heap.allocate(layout).unwrap().cast::<u8>())
            .collect();
        let last = slots[class.slots - 1];
        // SAFETY: live, and given back once.
        unsafe { heap.try_deallocate(last, layout) }.unwrap();
        assert_eq!(heap.allocate(layout).map(NonNull::cast), Ok(last));
        assert_eq!(used_slots(&heap), [class.slots; 2]);
        assert_eq!(heap.check(), Ok(()));
    }
}

/// A class whose only slot comes and goes keeps its slab, however often.
#[test]
fn the_slab_of_a_single_slot_is_kept() {
    for (layout, _) in classes() {
        let mut region = region();
        let mut heap = heap(&mut region);
        for _ in 0..3 {
            let slot = heap.allocate(layout).unwrap().cast::<u8>();
            assert_eq!(used_slots(&heap), [1]);
            // SAFETY: live, and given back once.
            unsafe { heap.try_deallocate(slot, layout) }.unwrap();
            assert_eq!(used_slots(&heap), [0]);
        }
        assert_eq!(heap.check(), Ok(()));
    }
}

/// Requests aligned to 16 come from slots too, if their class lies so; above that, from blocks.
#[test]
fn slots_serve_an_alignment_of_16() {
    for size in 0..=SlotClass::REQUEST_BYTES_MAX {
        let mut region = region();
        let mut heap = heap(&mut region);
        let aligned = layout(size, 16);
        let class = SlotClass::of(aligned);
        assert!(class.is_some() || size > 128, "{size}");
        assert_eq!(SlotClass::of(layout(size, 32)), None);
        let slots = if class.is_some() { vec![3] } else { vec![] };
        let blocks = [(); 3].map(|()| heap.allocate(aligned).unwrap());
        assert_eq!(used_slots(&heap), slots, "{size}");
        for block in blocks {
            assert!(block.cast::<u8>().addr().get().is_multiple_of(16));
            assert!(class.is_none_or(|class| class.slot_bytes == block.len()));
            // SAFETY: live; refused but for the first, which keeps it.
            unsafe {
                let same = heap.resize_in_place(block.cast(), aligned, aligned);
                assert_eq!(same, Ok(block));
                assert_eq!(heap.try_deallocate(block.cast(), aligned), Ok(()));
                let again = heap.try_deallocate(block.cast(), aligned);
                assert_eq!(again, Err(FreeError::AlreadyFree));
                let again = heap.resize_in_place(block.cast(), aligned, aligned);
                assert_eq!(again, Err(ReallocError::Free(FreeError::AlreadyFree)));
            }
        }
        assert_eq!(heap.check(), Ok(()));
    }
}

/// Before and behind the slabs and in what a slab has left over, no pointer is a slot.
#[test]
fn beside_slots_nothing_is_one() {
    for (asked, class) in classes() {
        let mut region = region();
        let mut heap = heap(&mut region);
        let lead = heap.allocate(layout(1000, 8)).unwrap().cast::<u8>();
        let first = heap.allocate(asked).unwrap().cast::<u8>();
        for _ in 1..class.slots {
            heap.allocate(asked).unwrap();
        }
        let behind = heap.allocate(layout(1000, 8)).unwrap().cast::<u8>();
        heap.allocate(layout(1000, 8)).unwrap();
        let slab = first.addr().get();
        assert_eq!(behind.addr().get() - slab, SlotClass::SLAB_BYTES);
        let slots = slab..slab + class.slots * class.slot_bytes;
        let blocks = [lead.addr().get(), behind.addr().get()];
        for address in (blocks[0]..blocks[1] + 1000).filter(|address| !slots.contains(address)) {
            // SAFETY: in the pool.
            let ptr = unsafe { lead.add(address - blocks[0]) };
            // SAFETY: refused, as only starts of blocks without slots are live otherwise.
            let answer = unsafe { heap.try_deallocate(ptr, asked) };
            let expected = if blocks.contains(&address) {
                FreeError::WrongLayout
            } else {
                FreeError::NotABlock
            };
            assert_eq!(
                answer,
                Err(expected),
                "{class:?}, {address:#x} of {slab:#x}"
            );
            if !blocks.contains(&address) {
                assert_eq!(heap.usable_size(ptr), Err(FreeError::NotABlock));
            }
        }
        for block in [lead, behind] {
            // SAFETY: live, and given back once; then refused.
            unsafe {
                assert_eq!(heap.try_deallocate(block, layout(1000, 8)), Ok(()));
                for told in [asked, layout(1000, 8)] {
                    let again = heap.try_deallocate(block, told);
                    assert_eq!(again, Err(FreeError::AlreadyFree));
                }
            }
        }
        assert_eq!(heap.check(), Ok(()));
    }
}

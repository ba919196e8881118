//! Slabs slot by slot: every slot of every class, by every call that deals with slots, in each
//! geometry that has slabs.
//!
//! The classes are found out from the heap itself: see [`classes`].

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::collections::BTreeSet;

use evenfit::{
    Aligned, AllocError, Block, BlockState, Builder, FreeError, Geometry, Heap, ReallocError,
    Standard, Wide, WithSlabs,
};

const REGION_BYTES: usize = 64 << 10;

type SlabHeap<'pool, G> = Heap<'pool, WithSlabs, G>;

/// Runs a test in each geometry that has slabs.
macro_rules! in_each_geometry {
    ($test:ident($($argument:expr),*)) => {
        $test::<Standard>($($argument),*);
        $test::<Aligned>($($argument),*);
        $test::<Wide>($($argument),*);
    };
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn heap<G: Geometry>(region: &mut [MaybeUninit<u8>]) -> SlabHeap<'_, G> {
    Builder::new().build(region).unwrap()
}

fn region() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); REGION_BYTES]
}

fn allocate<G: Geometry>(heap: &mut SlabHeap<'_, G>, layout: Layout) -> NonNull<u8> {
    heap.allocate(layout).expect("room").cast()
}

/// The heap's slabs, in address order.
fn slabs<G: Geometry>(heap: &SlabHeap<'_, G>) -> Vec<Block> {
    let is_slab = |block: &Block| matches!(block.state, BlockState::Slab { .. });
    heap.blocks().filter(is_slab).collect()
}

/// How many slots of each slab are used.
fn used_slots<G: Geometry>(heap: &SlabHeap<'_, G>) -> Vec<usize> {
    let of = |slab: Block| match slab.state {
        BlockState::Slab { used_slots, .. } => used_slots,
        _ => unreachable!("a slab"),
    };
    slabs(heap).into_iter().map(of).collect()
}

/// The sizes that slots of one length serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    sizes: (usize, usize),
    slot_bytes: usize,
    slots: usize,
    slab_bytes: usize,
}

impl Class {
    /// Its smallest request.
    fn layout(&self) -> Layout {
        layout(self.sizes.0, 1)
    }

    fn serves(&self, size: usize) -> bool {
        (self.sizes.0..=self.sizes.1).contains(&size)
    }
}

/// The classes, smallest first. A size belongs to a class if its request opens a slab; the walk
/// says how long the slots are. The number of slots is counted until a second slab is opened.
fn classes<G: Geometry>() -> Vec<Class> {
    let mut region = region();
    let mut heap = heap::<G>(&mut region);
    let mut classes: Vec<Class> = Vec::new();
    for size in 0.. {
        heap.reset();
        let block = heap.allocate(layout(size, 1)).unwrap();
        let Some(slab) = slabs(&heap).pop() else {
            break;
        };
        let BlockState::Slab { slot_bytes, .. } = slab.state else {
            unreachable!("a slab");
        };
        assert!(block.len() == slot_bytes && slot_bytes >= size);
        assert_eq!(heap.usable_size(block.cast()), Ok(slot_bytes));
        if let Some(last) = classes.last_mut()
            && last.slot_bytes == slot_bytes
        {
            last.sizes.1 = size;
            continue;
        }
        while slabs(&heap).len() < 2 {
            heap.allocate(layout(size, 1)).unwrap();
        }
        classes.push(Class {
            sizes: (size, size),
            slot_bytes,
            slots: used_slots(&heap)[0],
            slab_bytes: slab.size_bytes,
        });
    }
    let is_rising = |pair: &[Class]| pair[0].slot_bytes < pair[1].slot_bytes;
    assert!(classes.len() > 8 && classes.windows(2).all(is_rising));
    for class in &classes {
        // Nothing longer than a slot is wasted at a slab's end.
        let slots_bytes = class.slots * class.slot_bytes;
        assert!((slots_bytes..slots_bytes + class.slot_bytes).contains(&class.slab_bytes));
        assert_eq!(class.sizes.1, class.slot_bytes);
        assert!(class.slot_bytes.is_multiple_of(G::ALIGN_BYTES));
    }
    classes
}

/// The orders in which slots are freed.
fn orders(slots: usize) -> [Vec<usize>; 4] {
    let forth: Vec<_> = (0..slots).collect();
    let back = forth.iter().rev().copied().collect();
    let (even, odd): (Vec<_>, Vec<_>) = forth.iter().partition(|&slot| slot % 2 == 0);
    let leap = odd.into_iter().chain(even).collect();
    let scattered = (0..slots).map(|slot| slot * 1009 % slots).collect();
    [forth, back, leap, scattered]
}

#[derive(Clone, Copy)]
enum FreedBy {
    Layout,
    PointerAlone,
}

impl FreedBy {
    /// # Safety
    /// As for [`Heap::try_deallocate`].
    unsafe fn free<G: Geometry>(
        self,
        heap: &mut SlabHeap<'_, G>,
        slot: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        // SAFETY: as promised by the caller.
        unsafe {
            match self {
                Self::Layout => heap.try_deallocate(slot, layout),
                Self::PointerAlone => heap.try_free(slot),
            }
        }
    }
}

/// Fills two slabs and one more slot, and frees all in each order. Every count is exact, every
/// second free is refused, and each slot can be allocated again.
fn every_slot<G: Geometry>(by: FreedBy) {
    for class in classes::<G>() {
        for order in orders(2 * class.slots) {
            every_slot_in_order::<G>(class, by, &order);
        }
    }
}

fn every_slot_in_order<G: Geometry>(class: Class, by: FreedBy, order: &[usize]) {
    let (layout, two) = (class.layout(), order.len());
    let mut region = region();
    let mut heap = heap::<G>(&mut region);
    let slots: Vec<_> = (0..two).map(|_| allocate(&mut heap, layout)).collect();
    assert_eq!(used_slots(&heap), [class.slots; 2], "{class:?}");
    let last = allocate(&mut heap, layout);
    assert_eq!(used_slots(&heap), [class.slots, class.slots, 1]);
    for (index, slot) in slots.iter().enumerate() {
        let slab = index / class.slots * class.slab_bytes;
        let expected = slab + index % class.slots * class.slot_bytes;
        assert_eq!(slot.addr().get() - slots[0].addr().get(), expected);
        assert_eq!(heap.usable_size(*slot), Ok(class.slot_bytes));
    }
    let mut freed = [0; 2];
    for (count, &index) in order.iter().enumerate() {
        let slot = slots[index];
        freed[index / class.slots] += 1;
        // The slab of the last slot is then a free block, where constant time can't tell what was a
        // block.
        let is_closed = freed[index / class.slots] == class.slots;
        // SAFETY: live, and not used again; the second is refused.
        let [first, second] = unsafe { [(); 2].map(|()| by.free(&mut heap, slot, layout)) };
        assert_eq!(first, Ok(()), "{class:?}, slot {index}");
        for again in [second, heap.usable_size(slot).map(drop)] {
            let is_known = again == Err(FreeError::AlreadyFree);
            let is_refused = is_known || is_closed && again == Err(FreeError::NotABlock);
            assert!(is_refused, "{class:?}, slot {index}: {again:?}");
        }
        let stats = heap.stats();
        assert_eq!(stats.live_blocks, two - count);
        assert_eq!(stats.used_bytes, (two - count) * class.slot_bytes);
        assert_eq!(stats.refused_frees as usize, count + 1);
        assert_eq!(heap.check(), Ok(()), "{class:?}, slot {index}");
    }
    // One slab has the last slot; no empty one is kept.
    assert_eq!(used_slots(&heap), [1]);
    let again: BTreeSet<_> = (1..class.slots).map(|_| allocate(&mut heap, layout)).collect();
    assert_eq!(again.len(), class.slots - 1);
    assert_eq!(used_slots(&heap).iter().sum::<usize>(), class.slots);
    for slot in again.into_iter().chain([last]) {
        // SAFETY: live, and not used again.
        assert_eq!(unsafe { by.free(&mut heap, slot, layout) }, Ok(()));
    }
    assert_eq!((heap.stats().used_bytes, heap.stats().live_blocks), (0, 0));
    assert_eq!(heap.largest_free(), heap.stats().pool_bytes);
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn every_slot_of_every_class() {
    in_each_geometry!(every_slot(FreedBy::Layout));
}

#[test]
fn every_slot_of_every_class_without_a_layout() {
    in_each_geometry!(every_slot(FreedBy::PointerAlone));
}

/// A slot isn't freed with a layout of another class, or at any address but its start.
#[test]
fn a_slot_is_freed_as_one_of_its_own_class_only() {
    fn test<G: Geometry>() {
        let classes = classes::<G>();
        let served_max = classes.last().unwrap().sizes.1;
        let edges = classes.iter().flat_map(|class| [class.sizes.0, class.sizes.1]);
        let told: Vec<_> = edges.chain([served_max + 1, 2048, REGION_BYTES]).collect();
        for class in &classes {
            let mut region = region();
            let mut heap = heap::<G>(&mut region);
            let slots: Vec<_> =
                (0..class.slots).map(|_| allocate(&mut heap, class.layout())).collect();
            for slot in [slots[0], slots[1], slots[class.slots - 1]] {
                for &size in told.iter().filter(|&&size| !class.serves(size)) {
                    // SAFETY: refused.
                    let answer = unsafe { heap.try_deallocate(slot, layout(size, 1)) };
                    let expected = Err(FreeError::WrongLayout);
                    assert_eq!(answer, expected, "{class:?} as {size}");
                }
                for inside in 1..class.slot_bytes {
                    // SAFETY: inside the slot.
                    let ptr = unsafe { slot.add(inside) };
                    // SAFETY: refused.
                    let answers = unsafe {
                        [
                            heap.try_deallocate(ptr, class.layout()),
                            heap.try_free(ptr),
                            heap.usable_size(ptr).map(drop),
                        ]
                    };
                    let expected = [Err(FreeError::NotABlock); 3];
                    assert_eq!(answers, expected, "{class:?}, {inside}");
                }
            }
            assert_eq!(heap.stats().live_blocks, class.slots);
            assert_eq!(heap.check(), Ok(()));
        }
    }
    in_each_geometry!(test());
}

/// C's requests: aligned for any type. They stay where they are while their class serves the new
/// size, otherwise they move with their content.
#[test]
fn requests_of_c_stay_in_their_slot_while_it_serves_them() {
    fn test<G: Geometry>() {
        let classes = classes::<G>();
        let served_max = classes.last().unwrap().sizes.1;
        let mut region = region();
        let mut heap = heap::<G>(&mut region);
        for size in 0..=served_max + 40 {
            let block = heap.malloc(size).unwrap();
            let align = if size <= 8 { 8 } else { 2 * size_of::<usize>() };
            let ptr = block.cast::<u8>();
            assert!(block.len() >= size && ptr.addr().get().is_multiple_of(align));
            assert_eq!(heap.usable_size(ptr), Ok(block.len()));
            let class = classes.iter().find(|class| class.serves(size));
            let is_slot = !slabs(&heap).is_empty();
            assert_eq!(is_slot, class.is_some() && align <= G::ALIGN_BYTES);
            // SAFETY: `ptr` is live until it is reallocated or freed, and has this length.
            unsafe {
                ptr.write_bytes(0xA5, block.len());
                let Some(class) = class.filter(|_| is_slot) else {
                    assert_eq!(heap.try_free(ptr), Ok(()));
                    heap.reset();
                    continue;
                };
                for within in [class.sizes.0, size, class.sizes.1] {
                    // A block aligned only to 8 can't become one aligned to 16 in place.
                    if within <= 8 || G::ALIGN_BYTES > 8 {
                        assert_eq!(heap.realloc(ptr, within), Ok(block), "{size} to {within}");
                    }
                }
                let moved = heap.realloc(ptr, class.sizes.1 + 1).unwrap();
                let bytes = moved.cast::<u8>();
                assert!(bytes != ptr && moved.len() > class.slot_bytes);
                let kept = core::slice::from_raw_parts(bytes.as_ptr(), class.slot_bytes);
                assert!(kept.iter().all(|&byte| byte == 0xA5));
                let answer = heap.realloc(ptr, 1);
                assert_eq!(answer, Err(ReallocError::Free(FreeError::AlreadyFree)));
                assert_eq!(heap.try_free(bytes), Ok(()));
            }
            assert_eq!(heap.stats().live_blocks, 0);
            heap.reset();
        }
        assert_eq!(heap.malloc(usize::MAX), Err(AllocError::TooLarge));
    }
    in_each_geometry!(test());
}

/// Allocates until nothing is left: long blocks first, at last the shortest.
fn fill<G: Geometry>(heap: &mut SlabHeap<'_, G>) {
    for size in [1040, 600, 0] {
        while heap.allocate(layout(size, 1)).is_ok() {}
    }
    assert_eq!(heap.largest_free(), 0);
}

/// In a pool that is full except for slots, the largest request that succeeds is a slot of the
/// largest class with a free one.
#[test]
fn the_largest_request_may_be_a_slot() {
    fn test<G: Geometry>() {
        for class in classes::<G>() {
            let mut region = region();
            let mut heap = heap::<G>(&mut region);
            let slots: Vec<_> =
                (0..class.slots).map(|_| allocate(&mut heap, class.layout())).collect();
            fill(&mut heap);
            let full = heap.allocate(class.layout());
            assert_eq!(full, Err(AllocError::OutOfMemory));
            for slot in [slots[class.slots - 1], slots[0]] {
                // SAFETY: live, and not used again.
                unsafe { heap.try_deallocate(slot, class.layout()) }.unwrap();
                assert_eq!(heap.largest_free(), class.slot_bytes, "{class:?}");
                let again = heap.allocate(layout(class.slot_bytes, G::ALIGN_BYTES));
                assert_eq!(again.map(NonNull::cast), Ok(slot));
                assert_eq!(heap.largest_free(), 0);
            }
        }
    }
    in_each_geometry!(test());
}

/// Making a slot smaller never fails. If there is no smaller one it stays, and may be freed as of
/// either class or one between, but not of a smaller or larger one.
#[test]
fn a_slot_that_is_made_smaller_in_a_full_pool_stays() {
    fn test<G: Geometry>() {
        let classes = classes::<G>();
        for (number, class) in classes.iter().enumerate() {
            for smaller in &classes[..number] {
                let mut region = region();
                let mut heap = heap::<G>(&mut region);
                let slots = [(); 2].map(|()| allocate(&mut heap, class.layout()));
                while allocate_slot_of(&mut heap, class) {}
                fill(&mut heap);
                let (old, new) = (class.layout(), smaller.layout());
                // SAFETY: live with these layouts; refused, or not used again.
                unsafe {
                    let kept = heap.reallocate(slots[0], old, new).expect("never fails");
                    assert_eq!(kept.cast(), slots[0]);
                    for other in &classes {
                        if other.slot_bytes < smaller.slot_bytes
                            || other.slot_bytes > class.slot_bytes
                        {
                            let answer = heap.try_deallocate(slots[0], other.layout());
                            assert_eq!(answer, Err(FreeError::WrongLayout), "{other:?}");
                        }
                    }
                    assert_eq!(heap.try_deallocate(slots[0], new), Ok(()));
                    assert_eq!(heap.try_deallocate(slots[1], old), Ok(()));
                }
                assert_eq!(heap.check(), Ok(()));
            }
        }
    }
    in_each_geometry!(test());
}

/// Fills the slab that is already open.
fn allocate_slot_of<G: Geometry>(heap: &mut SlabHeap<'_, G>, class: &Class) -> bool {
    let is_open = used_slots(heap).iter().sum::<usize>() < class.slots;
    is_open && heap.allocate(class.layout()).is_ok()
}

/// An empty slab makes room for a block if nothing else does, at the block's alignment.
#[test]
fn an_empty_slab_serves_a_block_where_nothing_else_does() {
    fn test<G: Geometry>() {
        let slab_bytes = classes::<G>()[0].slab_bytes;
        let aligns = [8, 16, 64, 256, 512].into_iter();
        for align in aligns.filter(|align| *align <= slab_bytes / 4) {
            for skew in 0..16 {
                let mut region = region();
                let mut heap = heap::<G>(&mut region);
                heap.allocate(layout(528 + skew * 16, 8)).unwrap();
                let small = layout(100, 8);
                let slot = allocate(&mut heap, small);
                while heap.allocate(layout(1040, 8)).is_ok() {}
                while heap.allocate(layout(0, 1)).is_ok() {}
                // SAFETY: live, and not used again.
                unsafe { heap.try_deallocate(slot, small) }.unwrap();
                assert!(heap.largest_free() >= slab_bytes);
                let too_large = layout(REGION_BYTES + 1, align);
                assert_eq!(heap.allocate(too_large), Err(AllocError::TooLarge));
                let block = heap.allocate(layout(slab_bytes / 8 * 5, align)).expect("room");
                assert!(block.cast::<u8>().addr().get().is_multiple_of(align));
                assert!(!used_slots(&heap).contains(&0));
                assert_eq!(heap.check(), Ok(()));
            }
        }
    }
    in_each_geometry!(test());
}

/// A slab whose only free slot is its last one serves it, when its turn comes.
#[test]
fn a_slab_with_only_its_last_slot_free_serves_it() {
    fn test<G: Geometry>() {
        for class in classes::<G>() {
            let mut region = region();
            let mut heap = heap::<G>(&mut region);
            let slots: Vec<_> =
                (0..2 * class.slots).map(|_| allocate(&mut heap, class.layout())).collect();
            let last = slots[class.slots - 1];
            // SAFETY: live, and not used again.
            unsafe { heap.try_deallocate(last, class.layout()) }.unwrap();
            assert_eq!(allocate(&mut heap, class.layout()), last);
            assert_eq!(used_slots(&heap), [class.slots; 2]);
            assert_eq!(heap.check(), Ok(()));
        }
    }
    in_each_geometry!(test());
}

/// Slots serve alignments up to the geometry's, blocks those above; either way a block is freed
/// once, by its own alignment.
#[test]
fn slots_serve_the_alignment_of_all_blocks() {
    fn test<G: Geometry>() {
        for class in classes::<G>() {
            for align in [8, 16, 32] {
                let mut region = region();
                let mut heap = heap::<G>(&mut region);
                let asked = layout(class.sizes.1, align);
                let blocks = [(); 3].map(|()| heap.allocate(asked).unwrap());
                let slots = if align <= G::ALIGN_BYTES { 3 } else { 0 };
                let used: usize = used_slots(&heap).iter().sum();
                assert_eq!(used, slots, "{class:?} at {align}");
                for block in blocks {
                    let ptr = block.cast::<u8>();
                    assert!(ptr.addr().get().is_multiple_of(align));
                    // SAFETY: live until it is freed; refused from then on.
                    unsafe {
                        assert_eq!(heap.resize_in_place(ptr, asked, asked), Ok(block));
                        let highest = 1 << ptr.addr().get().trailing_zeros();
                        let higher = layout(asked.size(), 2 * highest);
                        let answer = heap.try_deallocate(ptr, higher);
                        assert_eq!(answer, Err(FreeError::WrongLayout));
                        assert_eq!(heap.try_deallocate(ptr, asked), Ok(()));
                        let again = heap.try_deallocate(ptr, asked);
                        // A block may have become the inside of a free one.
                        let is_merged = again == Err(FreeError::NotABlock);
                        assert!(is_merged || again == Err(FreeError::AlreadyFree));
                        let resized = heap.resize_in_place(ptr, asked, asked);
                        assert_eq!(resized.map(drop), again.map_err(ReallocError::Free));
                    }
                }
                assert_eq!(heap.check(), Ok(()));
            }
        }
    }
    in_each_geometry!(test());
}

/// No pointer before or behind the slabs, or into the bytes that a slab has left over, is a slot.
#[test]
fn beside_slots_nothing_is_one() {
    in_each_geometry!(beside_slots());
}

fn beside_slots<G: Geometry>() {
    let long = layout(1000, 8);
    for class in classes::<G>() {
        let asked = class.layout();
        let mut region = region();
        let mut heap = heap::<G>(&mut region);
        let lead = allocate(&mut heap, long);
        let first = allocate(&mut heap, asked);
        for _ in 1..class.slots {
            heap.allocate(asked).unwrap();
        }
        let behind = allocate(&mut heap, long);
        heap.allocate(long).unwrap();
        let slab = first.addr().get();
        assert_eq!(behind.addr().get() - slab, class.slab_bytes);
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
                assert_eq!(heap.usable_size(ptr), Err(FreeError::NotABlock));
                FreeError::NotABlock
            };
            let place = (class, address.wrapping_sub(slab) as isize);
            assert_eq!(answer, Err(expected), "{place:?}");
        }
        for block in [lead, behind] {
            // SAFETY: live, and not used again; then refused.
            unsafe {
                assert_eq!(heap.try_deallocate(block, long), Ok(()));
                for told in [asked, long] {
                    let again = heap.try_deallocate(block, told);
                    assert_eq!(again, Err(FreeError::AlreadyFree));
                }
            }
        }
        assert_eq!(heap.check(), Ok(()));
    }
}

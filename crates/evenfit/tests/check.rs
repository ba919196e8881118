//! What `check` finds: a change of any bit of the map, of any link or footer of a free block, and a
//! heap's own value that doesn't fit its pool.

use core::alloc::Layout;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

use evenfit::{
    Aligned, BlockState, BlocksOnly, Builder, CheckError, Compact, Geometry, Heap, Standard, Tiers,
    Wide, WithSlabs,
};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a layout")
}

/// A region that starts at a cache line. The tests read and write it without the heap's knowledge.
#[repr(align(64))]
struct Region([MaybeUninit<u8>; Region::BYTES]);

impl Region {
    const BYTES: usize = 64 << 10;

    fn new() -> Box<Self> {
        Box::new(Self([MaybeUninit::new(0x5A); Self::BYTES]))
    }

    fn heap<T: Tiers, G: Geometry>(&mut self) -> Heap<'static, T, G> {
        // SAFETY: each test keeps the region longer than the heap.
        unsafe { Builder::new().build_raw(self.base(), Self::BYTES) }.expect("a heap")
    }

    fn base(&mut self) -> NonNull<u8> {
        NonNull::from(&mut self.0).cast()
    }
}

/// Short and long blocks, used and free, alone and beside each other, up to the top. The starts and
/// ends of long ones lie at every distance from the ends of a word of the map.
fn fill<T: Tiers, G: Geometry>(heap: &mut Heap<'_, T, G>) -> Vec<(NonNull<u8>, Layout)> {
    let sizes =
        [2, 2, 3, 62, 2, 64, 4, 65, 130, 5, 128, 7, 200, 63, 2, 300, 2, 127, 129, 6, 193, 5];
    let blocks: Vec<_> = sizes
        .into_iter()
        .map(|granules| {
            // Above the largest slot.
            let bytes_min = if heap.has_slabs() { 520 } else { 0 };
            let layout = layout((granules * G::GRANULE_BYTES).max(bytes_min));
            (heap.allocate(layout).expect("room").cast::<u8>(), layout)
        })
        .collect();
    let mut live = Vec::new();
    for (index, &(ptr, layout)) in blocks.iter().enumerate() {
        if index % 3 == 1 || index % 7 == 4 {
            // SAFETY: live, and freed once.
            unsafe { heap.deallocate(ptr, layout) };
        } else {
            live.push((ptr, layout));
        }
    }
    live
}

/// Where the bit of granule 0 lies, as docs/design.md draws it. The map lies directly before the
/// pool, except for padding that aligns the pool.
struct Map(NonNull<u8>);

impl Map {
    fn of<T: Tiers, G: Geometry>(heap: &Heap<'_, T, G>, base: NonNull<u8>) -> Self {
        let granules = heap.stats().pool_bytes / G::GRANULE_BYTES;
        let bytes = granules / 8 + size_of::<usize>();
        let end = heap.pool_start().addr() - base.addr().get();
        // SAFETY: in the region.
        let starts = (0..G::ALIGN_BYTES).map(|pad| Self(unsafe { base.add(end - pad - bytes) }));
        let mut found = starts.filter(|map| map.agrees(heap));
        let map = found.next().expect("a map that agrees with the walk");
        assert!(found.next().is_none(), "only one does");
        map
    }

    fn agrees<T: Tiers, G: Geometry>(&self, heap: &Heap<'_, T, G>) -> bool {
        let mut marks = 0;
        let starts_agree = heap.blocks().all(|block| {
            let granules = block.size_bytes / G::GRANULE_BYTES;
            let is_free = block.state == BlockState::Free;
            marks += if is_free { granules.min(4) } else { 1 };
            let start = block.offset_bytes / G::GRANULE_BYTES;
            self.is_marked(start) && self.is_marked(start + 1) == is_free
        });
        let granules = heap.stats().pool_bytes / G::GRANULE_BYTES;
        starts_agree && (0..granules).filter(|&granule| self.is_marked(granule)).count() == marks
    }

    /// The byte and the bit of a granule. The map has two bits before the first granule's.
    fn place(&self, granule: usize) -> (NonNull<u8>, usize) {
        let bit = granule + 2;
        // SAFETY: the map has bits for all granules.
        (unsafe { self.0.add(bit / 8) }, bit % 8)
    }

    fn is_marked(&self, granule: usize) -> bool {
        let (byte, bit) = self.place(granule);
        // SAFETY: in the region, and no call is running.
        unsafe { byte.read() >> bit & 1 != 0 }
    }

    fn flip(&self, granule: usize) {
        let (byte, bit) = self.place(granule);
        flip(byte, bit);
    }
}

fn flip(byte: NonNull<u8>, bit: usize) {
    // SAFETY: the callers' bytes lie in a region, and no call is running.
    unsafe { byte.write(byte.read() ^ 1 << bit) };
}

/// Flips each bit in turn. `seen` says whether the answer of `check` is right.
fn flip_every_bit<T: Tiers, G: Geometry>(
    heap: &Heap<'_, T, G>,
    start: NonNull<u8>,
    bytes: usize,
    seen: impl Fn(Result<(), CheckError>) -> bool,
) {
    for bit in 0..bytes * 8 {
        // SAFETY: the caller's region has these bytes.
        let place = unsafe { start.add(bit / 8) };
        flip(place, bit % 8);
        let answer = heap.check();
        assert!(seen(answer), "bit {bit}: {answer:?}");
        flip(place, bit % 8);
    }
    assert_eq!(heap.check(), Ok(()));
}

fn every_bit_of_the_map<T: Tiers, G: Geometry>() {
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<T, G>();
    let live = fill(&mut heap);
    if heap.has_slabs() {
        for (bytes, count) in [(16, 130), (24, 90), (40, 60), (400, 9)] {
            for _ in 0..count {
                heap.allocate(layout(bytes)).expect("room");
            }
        }
    }
    let map = Map::of(&heap, base);
    let pool_bytes = heap.stats().pool_bytes;
    for granule in 0..=pool_bytes / G::GRANULE_BYTES {
        map.flip(granule);
        let answer = heap.check();
        assert!(answer.is_err(), "granule {granule}");
        // Whatever length the map or the directory gives, a block ends in the pool.
        for &(ptr, _) in &live {
            let room = pool_bytes - (ptr.addr().get() - heap.pool_start().addr());
            assert!(heap.usable_size(ptr).unwrap_or(0) <= room, "{granule}");
        }
        map.flip(granule);
    }
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn every_bit_of_the_map_is_seen() {
    every_bit_of_the_map::<BlocksOnly, Standard>();
    every_bit_of_the_map::<BlocksOnly, Aligned>();
    every_bit_of_the_map::<BlocksOnly, Wide>();
    every_bit_of_the_map::<BlocksOnly, Compact>();
    every_bit_of_the_map::<WithSlabs, Standard>();
    every_bit_of_the_map::<WithSlabs, Aligned>();
    every_bit_of_the_map::<WithSlabs, Wide>();
}

/// Where the free blocks start and end, in bytes from the pool's start.
fn free_blocks<T: Tiers, G: Geometry>(heap: &Heap<'_, T, G>) -> Vec<(usize, usize)> {
    let free = heap.blocks().filter(|block| block.state == BlockState::Free);
    free.map(|block| (block.offset_bytes, block.offset_bytes + block.size_bytes)).collect()
}

/// A free block's links, and the length at its end.
fn every_bit_of_every_link<G: Geometry>() {
    const LINKS_BYTES: usize = 8;
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<BlocksOnly, G>();
    let _live = fill(&mut heap);
    let free = free_blocks(&heap);
    assert!(free.len() > 6);
    let pool_at = heap.pool_start().addr() - base.addr().get();
    // SAFETY: in the region.
    let at = |offset_bytes: usize| unsafe { base.add(pool_at + offset_bytes) };
    let names_one = |answer| match answer {
        // If its neighbour in the list is checked first, that one is named.
        Err(CheckError::Link { offset_bytes }) => free.iter().any(|free| free.0 == offset_bytes),
        // The end mark of another list.
        Err(CheckError::Bin { .. }) => true,
        _ => false,
    };
    for &(start, end) in &free {
        flip_every_bit(&heap, at(start), LINKS_BYTES, names_one);
        flip_every_bit(&heap, at(end - 8), 4, names_one);
    }
    // Links that were valid at another block are not accepted.
    for &(from, _) in &free {
        for &(to, _) in free.iter().filter(|&&(to, _)| to != from) {
            let mut saved = [0_u8; LINKS_BYTES];
            // SAFETY: free blocks; no call is running.
            unsafe {
                at(to).copy_to_nonoverlapping(NonNull::from(&mut saved).cast(), LINKS_BYTES);
                at(from).copy_to_nonoverlapping(at(to), LINKS_BYTES);
            }
            assert!(heap.check().is_err(), "{from} over {to}");
            // SAFETY: as above.
            unsafe {
                at(to).copy_from_nonoverlapping(NonNull::from(&mut saved).cast(), LINKS_BYTES);
            }
        }
    }
}

#[test]
fn every_bit_of_every_link_is_seen() {
    every_bit_of_every_link::<Standard>();
    every_bit_of_every_link::<Aligned>();
    every_bit_of_every_link::<Wide>();
    every_bit_of_every_link::<Compact>();
}

/// The heap's value from before a call doesn't fit the pool after it.
fn a_value_of_another_time<T: Tiers, G: Geometry>() {
    let mut region = Region::new();
    let mut heap = region.heap::<T, G>();
    let mut live = fill(&mut heap);
    let mut number = 1_u64;
    for call in 0..1200 {
        // SAFETY: a bitwise copy that is only asked, as long as the region lives.
        let before = ManuallyDrop::new(unsafe { core::ptr::read(&raw const heap) });
        let (used_bytes, blocks) = (heap.stats().used_bytes, heap.stats().live_blocks);
        number = number.wrapping_mul(0x5DEE_CE66_D1CE_4E5B).wrapping_add(11);
        let pick = (number >> 33) as usize;
        if pick.is_multiple_of(2) || live.is_empty() {
            let layout = layout(1 + pick / 2 % [40, 600, 3000][call % 3]);
            match heap.allocate(layout) {
                Ok(block) => live.push((block.cast(), layout)),
                Err(_) => continue,
            }
        } else {
            let (ptr, layout) = live.swap_remove(pick / 2 % live.len());
            // SAFETY: live, and freed once.
            unsafe { heap.deallocate(ptr, layout) };
        }
        assert_eq!(heap.check(), Ok(()));
        assert!(before.check().is_err(), "call {call}: the value before it passes");
        assert_ne!((used_bytes, blocks), (heap.stats().used_bytes, heap.stats().live_blocks));
    }
}

#[test]
fn a_value_of_another_time_is_seen() {
    a_value_of_another_time::<BlocksOnly, Standard>();
    a_value_of_another_time::<BlocksOnly, Aligned>();
    a_value_of_another_time::<BlocksOnly, Wide>();
    a_value_of_another_time::<BlocksOnly, Compact>();
}

#[test]
fn every_finding_says_where_and_what() {
    let offset_bytes = 4711;
    let texts = [
        (CheckError::Mark { offset_bytes }, ["map", "4711"]),
        (CheckError::Neighbour { offset_bytes }, ["before", "4711"]),
        (CheckError::InnerMark { offset_bytes }, ["inside", "4711"]),
        (CheckError::Link { offset_bytes }, ["free block", "4711"]),
        (CheckError::Slab { offset_bytes }, ["slab", "4711"]),
        (CheckError::SlabList { class: 17 }, ["list", "17"]),
        (CheckError::Bin { bin: 83 }, ["free list", "83"]),
        (CheckError::Header { offset_bytes }, ["header", "4711"]),
        (CheckError::Counters { counted_bytes: 496, remembered_bytes: 512 }, ["496", "512"]),
    ];
    for (error, parts) in texts {
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

fn what_a_value_of_another_time_lacks<G: Geometry>() {
    let of = |granules: usize| layout(granules * G::GRANULE_BYTES);
    let mut region = Region::new();
    let mut heap = region.heap::<BlocksOnly, G>();
    let mut blocks = [1000, 2, 2, 4, 2, 6, 2].map(|granules| {
        let block = heap.allocate(of(granules)).expect("room");
        (block.cast::<u8>(), of(granules))
    });
    let copy = |heap: &Heap<'static, BlocksOnly, G>| {
        // SAFETY: a bitwise copy that is only asked, as long as the region lives.
        ManuallyDrop::new(unsafe { core::ptr::read(heap) })
    };
    let free = |heap: &mut Heap<'static, BlocksOnly, G>, (ptr, layout)| {
        // SAFETY: live, and freed once.
        unsafe { heap.try_deallocate(ptr, layout) }.expect("live");
    };

    // A free block that has grown within its bin is only noticed by the counters.
    free(&mut heap, blocks[0]);
    let before = copy(&heap);
    let remembered_bytes = heap.stats().used_bytes;
    free(&mut heap, blocks[1]);
    let counted_bytes = heap.stats().used_bytes;
    assert_eq!(remembered_bytes - counted_bytes, 2 * G::GRANULE_BYTES);
    let counters = CheckError::Counters { counted_bytes, remembered_bytes };
    assert_eq!(before.check(), Err(counters));

    // The bin that has lost its only block is named, not the one that has its own.
    let (small, large) = (3, 5);
    free(&mut heap, blocks[small]);
    free(&mut heap, blocks[large]);
    let bins = [small, large].map(|index| {
        let before = copy(&heap);
        let (ptr, layout) = blocks[index];
        let again = heap.allocate(layout).expect("room").cast::<u8>();
        assert_eq!(again, ptr);
        blocks[index].0 = again;
        let found = before.check();
        free(&mut heap, blocks[index]);
        match found {
            Err(CheckError::Bin { bin }) => bin,
            other => panic!("{other:?}"),
        }
    });
    assert!(bins[0] < bins[1], "{bins:?}");
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn what_a_value_of_another_time_lacks_is_named() {
    what_a_value_of_another_time_lacks::<Standard>();
    what_a_value_of_another_time_lacks::<Aligned>();
    what_a_value_of_another_time_lacks::<Wide>();
    what_a_value_of_another_time_lacks::<Compact>();
}

fn marks_from_the_top_on<G: Geometry>() {
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<BlocksOnly, G>();
    let top = 6;
    let offset_bytes = top * G::GRANULE_BYTES;
    heap.allocate(layout(offset_bytes)).expect("room");
    let map = Map::of(&heap, base);
    for granule in top + 1..=heap.stats().pool_bytes / G::GRANULE_BYTES {
        map.flip(granule);
        assert_eq!(heap.check(), Err(CheckError::Neighbour { offset_bytes }), "{granule}");
        map.flip(granule);
    }
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn marks_from_the_top_on_are_said_to_be_there() {
    marks_from_the_top_on::<Standard>();
    marks_from_the_top_on::<Aligned>();
    marks_from_the_top_on::<Wide>();
    marks_from_the_top_on::<Compact>();
}

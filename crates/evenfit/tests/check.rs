//! What `check` sees: every bit of the map, every link of a free block, and a heap's own value that doesn't fit its pool.

use core::alloc::Layout;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;

use evenfit::{BlockState, CheckError, Compact, Geometry, Heap, Standard, Tiers};

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, 8).expect("a layout")
}

/// A region at the start of a line of memory, read and written behind the heap's back.
#[repr(align(64))]
struct Region([MaybeUninit<u8>; Region::BYTES]);

impl Region {
    const BYTES: usize = 64 << 10;

    fn new() -> Box<Self> {
        Box::new(Self([MaybeUninit::new(0x5A); Self::BYTES]))
    }

    fn heap<G: Geometry>(&mut self, tiers: Tiers) -> Heap<'static, G> {
        // SAFETY: each test keeps the region longer than the heap.
        unsafe { Heap::from_raw_with(self.base(), Self::BYTES, tiers) }.expect("a heap")
    }

    fn base(&mut self) -> NonNull<u8> {
        NonNull::from(&mut self.0).cast()
    }
}

/// Short and long blocks, used and free, alone and beside each other, up to the top: the starts and ends of long ones lie at
/// every distance from the ends of pairs.
fn fill<G: Geometry>(heap: &mut Heap<'_, G>) -> Vec<(NonNull<u8>, Layout)> {
    let sizes = [
        1, 1, 3, 62, 1, 64, 1, 65, 130, 1, 128, 7, 200, 63, 1, 300, 2, 127, 129, 1, 193, 5,
    ];
    let blocks: Vec<_> = sizes
        .into_iter()
        .map(|granules| {
            let layout = layout((granules * G::GRANULE_BYTES).max(520));
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

/// The bytes of metadata before the pool.
fn metadata_bytes<G: Geometry>(heap: &Heap<'_, G>, base: NonNull<u8>) -> usize {
    heap.pool_start().addr() - base.addr().get()
}

/// Flips each bit in turn; `seen` says whether what `check` answers is right, and what else can be asked.
fn flip_every_bit<G: Geometry>(
    heap: &Heap<'_, G>,
    start: NonNull<u8>,
    bytes: usize,
    seen: impl Fn(Result<(), CheckError>) -> bool,
) {
    for bit in 0..bytes * 8 {
        // SAFETY: the caller's region has so many bytes from there on.
        let place = unsafe { start.add(bit / 8) };
        // SAFETY: as above; no call is running, and the bit is put back.
        unsafe { place.write(place.read() ^ 1 << (bit % 8)) };
        let answer = heap.check();
        assert!(seen(answer), "bit {bit}: {answer:?}");
        // SAFETY: as above.
        unsafe { place.write(place.read() ^ 1 << (bit % 8)) };
    }
    assert_eq!(heap.check(), Ok(()));
}

fn every_bit_of_the_map<G: Geometry>(tiers: Tiers) {
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<G>(tiers);
    let live = fill(&mut heap);
    for (bytes, count) in [(16, 130), (24, 90), (40, 60), (400, 9)] {
        for _ in 0..count {
            heap.allocate(layout(bytes)).expect("room");
        }
    }
    let pool_bytes = heap.stats().pool_bytes;
    let map_bytes = (pool_bytes / G::GRANULE_BYTES / 64 + 1) * 16;
    let map_start = metadata_bytes(&heap, base) - map_bytes;
    // SAFETY: it lies in the region, before the pool.
    let map = unsafe { base.add(map_start) };
    // Up to a word may lie between the map and the pool.
    flip_every_bit(&heap, map, map_bytes - 8, |answer| {
        // Whatever a block's length is said to be, it ends in the pool.
        let room = |ptr: NonNull<u8>| pool_bytes - (ptr.addr().get() - heap.pool_start().addr());
        let mut sizes = live.iter().map(|&(ptr, _)| (ptr, heap.usable_size(ptr)));
        answer.is_err()
            && sizes.all(|(ptr, size)| size.is_err() || size.is_ok_and(|size| size <= room(ptr)))
    });
}

#[test]
fn every_bit_of_the_map_is_seen() {
    every_bit_of_the_map::<Standard>(Tiers::BlocksOnly);
    every_bit_of_the_map::<Compact>(Tiers::BlocksOnly);
    every_bit_of_the_map::<Standard>(Tiers::WithSlabs);
}

/// Where the free blocks start, in bytes from the pool's start.
fn free_blocks<G: Geometry>(heap: &Heap<'_, G>) -> Vec<usize> {
    let free = heap
        .blocks()
        .filter(|block| block.state == BlockState::Free);
    free.map(|block| block.offset_bytes).collect()
}

fn every_bit_of_every_link<G: Geometry>() {
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<G>(Tiers::BlocksOnly);
    let _live = fill(&mut heap);
    let free = free_blocks(&heap);
    assert!(free.len() > 6);
    let metadata_bytes = metadata_bytes(&heap, base);
    // SAFETY: in the region.
    let at = |offset_bytes: usize| unsafe { base.add(metadata_bytes + offset_bytes) };
    for &offset_bytes in &free {
        flip_every_bit(&heap, at(offset_bytes), G::GRANULE_BYTES, |answer| {
            // A neighbour in the list that is looked at before is named in its place.
            matches!(answer, Err(CheckError::Link { offset_bytes: said }) if free.contains(&said))
        });
    }
    // Links that were whole elsewhere don't pass here.
    for &from in &free {
        for &to in free.iter().filter(|&&to| to != from) {
            let mut saved = [0_u8; 16];
            let saved = &mut saved[..G::GRANULE_BYTES];
            // SAFETY: free blocks of at least a granule; no call is running.
            unsafe {
                at(to).copy_to_nonoverlapping(NonNull::from(&mut *saved).cast(), saved.len());
                at(from).copy_to_nonoverlapping(at(to), saved.len());
            }
            assert!(heap.check().is_err(), "{from} over {to}");
            // SAFETY: as above.
            unsafe {
                at(to).copy_from_nonoverlapping(NonNull::from(&mut *saved).cast(), saved.len())
            };
        }
    }
}

#[test]
fn every_bit_of_every_link_is_seen() {
    every_bit_of_every_link::<Standard>();
    every_bit_of_every_link::<Compact>();
}

/// A heap's value as it was before a call doesn't fit the pool after it. (With slabs it does where they alone serve the call:
/// their state lies in the region.)
fn a_value_of_another_time<G: Geometry>(tiers: Tiers) {
    let mut region = Region::new();
    let mut heap = region.heap::<G>(tiers);
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
        assert!(
            before.check().is_err(),
            "call {call}: the value before it passes"
        );
        assert_ne!(
            (used_bytes, blocks),
            (heap.stats().used_bytes, heap.stats().live_blocks)
        );
    }
}

#[test]
fn a_value_of_another_time_is_seen() {
    a_value_of_another_time::<Standard>(Tiers::BlocksOnly);
    a_value_of_another_time::<Compact>(Tiers::BlocksOnly);
}

#[test]
fn every_finding_says_where_and_what() {
    let offset_bytes = 4711;
    let texts = [
        (CheckError::Mark { offset_bytes }, ["map", "4711"]),
        (CheckError::Neighbour { offset_bytes }, ["before", "4711"]),
        (CheckError::SizeWord { offset_bytes }, ["inside", "4711"]),
        (CheckError::Link { offset_bytes }, ["free block", "4711"]),
        (CheckError::Slab { offset_bytes }, ["slab", "4711"]),
        (CheckError::SlabList { class: 17 }, ["list", "17"]),
        (CheckError::Bin { bin: 83 }, ["free list", "83"]),
        (CheckError::Header { offset_bytes }, ["header", "4711"]),
        (
            CheckError::Counters {
                counted_bytes: 496,
                remembered_bytes: 512,
            },
            ["496", "512"],
        ),
    ];
    for (error, parts) in texts {
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}

/// The map of a heap of blocks only lies at the region's start: word `2 * n` says where blocks of the `n`th 64 granules start,
/// the one after it which of those are free.
fn flip_mark(region: NonNull<u8>, word: usize, bit: usize) {
    // SAFETY: the caller's region has so many words, aligned, and no call is running.
    unsafe {
        let place = region.cast::<u64>().add(word);
        place.write(place.read() ^ 1 << bit);
    }
}

fn what_a_value_of_another_time_lacks<G: Geometry>() {
    let of = |granules: usize| layout(granules * G::GRANULE_BYTES);
    let mut region = Region::new();
    let mut heap = region.heap::<G>(Tiers::BlocksOnly);
    let mut blocks = [1000, 1, 1, 3, 1, 5, 1].map(|granules| {
        let block = heap.allocate(of(granules)).expect("room");
        (block.cast::<u8>(), of(granules))
    });
    let copy = |heap: &Heap<'static, G>| {
        // SAFETY: a bitwise copy that is only asked, as long as the region lives.
        ManuallyDrop::new(unsafe { core::ptr::read(heap) })
    };
    let free = |heap: &mut Heap<'static, G>, (ptr, layout)| {
        // SAFETY: live, and given back once.
        unsafe { heap.try_deallocate(ptr, layout) }.expect("live");
    };

    // A free block that has grown within its bin: nothing but the counters tells.
    free(&mut heap, blocks[0]);
    let before = copy(&heap);
    let remembered_bytes = heap.stats().used_bytes;
    free(&mut heap, blocks[1]);
    let counted_bytes = heap.stats().used_bytes;
    assert_eq!(remembered_bytes - counted_bytes, G::GRANULE_BYTES);
    let counters = CheckError::Counters {
        counted_bytes,
        remembered_bytes,
    };
    assert_eq!(before.check(), Err(counters));

    // A bin that has lost its only block is named, and not one that has its own.
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
    what_a_value_of_another_time_lacks::<Compact>();
}

fn marks_from_the_top_on<G: Geometry>() {
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<G>(Tiers::BlocksOnly);
    let top = 5;
    let offset_bytes = top * G::GRANULE_BYTES;
    heap.allocate(layout(offset_bytes)).expect("room");
    let pairs = heap.stats().pool_bytes / G::GRANULE_BYTES / 64 + 1;
    for word in 0..2 * pairs {
        // Without its mark the top is not to be found.
        let first = [top + 1, top, 0][word.min(2)];
        for bit in first..64 {
            flip_mark(base, word, bit);
            let answer = heap.check();
            let said = match answer {
                Err(CheckError::Mark { offset_bytes } | CheckError::Neighbour { offset_bytes }) => {
                    Some(offset_bytes)
                }
                _ => None,
            };
            assert_eq!(said, Some(offset_bytes), "{word}, {bit}: {answer:?}");
            flip_mark(base, word, bit);
        }
    }
    assert_eq!(heap.check(), Ok(()));
}

#[test]
fn marks_from_the_top_on_are_said_to_be_there() {
    marks_from_the_top_on::<Standard>();
    marks_from_the_top_on::<Compact>();
}

/// A slab of which the directory knows the end, between a block and the top, and two marks in it: as far behind its start as behind
/// the start of the granules that end it.
#[test]
fn two_marks_inside_a_slab_do_not_cancel_out() {
    let lead = 40;
    let mut region = Region::new();
    let base = region.base();
    let mut heap = region.heap::<Standard>(Tiers::WithSlabs);
    heap.allocate(layout(lead * 16)).expect("room");
    heap.allocate(layout(16)).expect("room");
    let map_bytes = (heap.stats().pool_bytes / 16 / 64 + 1) * 16;
    // SAFETY: in the region.
    let start = unsafe { base.byte_add(metadata_bytes(&heap, base) - map_bytes) };
    // Up to a word may lie between the map and the pool. It begins with the marks of the block and of the slab.
    let map = [0_usize, 8]
        .map(|skip| start.as_ptr().cast::<u64>().wrapping_byte_sub(skip))
        .into_iter()
        // SAFETY: words of the region.
        .find(|&word| unsafe { word.read() } == 1 | 1 << lead);
    let map = NonNull::new(map.expect("the map")).expect("in the region");
    let found = CheckError::SizeWord {
        offset_bytes: lead * 16,
    };
    for bit in 0..63 - lead {
        for word in [0, 1] {
            flip_mark(map.cast(), word, lead + 1 + bit);
            flip_mark(map.cast(), 4 + word, bit);
            assert_eq!(heap.check(), Err(found), "{word}, {bit}");
            flip_mark(map.cast(), word, lead + 1 + bit);
            flip_mark(map.cast(), 4 + word, bit);
        }
    }
    assert_eq!(heap.check(), Ok(()));
}

//! What another process sees of a heap: the same blocks as the heap itself, and an end of the walk
//! whatever the copy contains.
#![cfg(target_pointer_width = "64")]

use core::alloc::Layout;
use core::mem::MaybeUninit;

use evenfit::observe::{Counters, MetadataAddresses, layout_hash, walk};
use evenfit::{
    Aligned, Auto, Block, BlockState, BlocksOnly, Builder, Compact, Geometry, Heap, Standard,
    Tiers, Wide, WithSlabs,
};

/// Copies as a reader in another process would, from the addresses alone.
fn copy(addresses: &MetadataAddresses) -> (Counters, Vec<u32>) {
    let bytes = |address: u64, len_bytes: usize| -> Vec<u8> {
        (0..len_bytes)
            // SAFETY: the heap is alive, and nothing runs beside this test.
            .map(|at| unsafe { (address as *const u8).add(at).read() })
            .collect()
    };
    let word = |address| u64::from_ne_bytes(bytes(address, 8).try_into().unwrap());
    let counters = Counters::from_words(addresses.counters.map(word));
    let ranges = addresses.ranges(&counters).unwrap();
    let copied: Vec<u8> =
        ranges.into_iter().flat_map(|range| bytes(range.address, range.len_bytes)).collect();
    let words = copied.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_ne_bytes(word)
    });
    (counters, words.collect())
}

/// What a walk over a copy visits.
fn seen(addresses: &MetadataAddresses, counters: &Counters, copy: &[u32]) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    walk(addresses, counters, copy, &mut |block| blocks.push(block)).then_some(blocks)
}

fn filled<T: Tiers, G: Geometry>(region: &mut [MaybeUninit<u8>]) -> Heap<'_, T, G> {
    let mut heap = Builder::<T, G>::new().build(region).unwrap();
    let mut blocks = Vec::new();
    for n in 0..600_usize {
        let layout = Layout::from_size_align(n * n % 3_001 + 1, 8).unwrap();
        if let Ok(block) = heap.allocate(layout) {
            blocks.push((block.cast(), layout));
        }
    }
    for (block, layout) in blocks.into_iter().step_by(3) {
        // SAFETY: live, and not used again.
        unsafe { heap.try_deallocate(block, layout).unwrap() };
    }
    // Cut from the rest, and more of it is left.
    heap.allocate(Layout::new::<[u64; 3]>()).unwrap();
    // SAFETY: no block starts at the pool's end.
    let refused = unsafe { heap.try_free(heap.never_used().cast()) };
    refused.expect_err("nothing is there");
    heap
}

fn a_copy_shows_the_same_blocks<T: Tiers, G: Geometry>(region_bytes: usize) -> Vec<Block> {
    let mut region = vec![MaybeUninit::uninit(); region_bytes];
    let heap = filled::<T, G>(&mut region);
    let addresses = heap.metadata_addresses();
    assert_eq!(addresses.region_bytes, region_bytes as u64);
    assert_eq!(addresses.granule_bytes(), Some(G::GRANULE_BYTES as u64));
    assert_eq!(addresses.layout_hash, layout_hash());
    let (counters, copy) = copy(&addresses);
    assert!(
        size_of_val(&copy[..]) < region_bytes / 20 + 4096,
        "of {region_bytes} bytes {} are copied",
        size_of_val(&copy[..])
    );
    let seen = seen(&addresses, &counters, &copy).unwrap();
    assert_eq!(seen, heap.blocks().collect::<Vec<_>>());
    assert!(seen.len() > 100, "{}", seen.len());
    let stats = heap.stats();
    let bytes = |granules: u64| granules as usize * G::GRANULE_BYTES;
    assert_eq!(bytes(counters.end), stats.pool_bytes);
    assert_eq!(bytes(counters.used_peak), stats.peak_used_bytes);
    assert_eq!(bytes(counters.end - counters.top_peak), heap.never_used().len());
    assert_eq!(counters.failed_requests, stats.failed_requests);
    assert_eq!((counters.refused_frees, stats.refused_frees), (1, 1));
    seen
}

#[test]
fn a_copy_shows_the_same_blocks_of_every_geometry() {
    for (blocks, has_slabs) in [
        (a_copy_shows_the_same_blocks::<BlocksOnly, Standard>(700_001), false),
        (a_copy_shows_the_same_blocks::<WithSlabs, Standard>(700_000), true),
        (a_copy_shows_the_same_blocks::<Auto, Standard>(1_048_575), false),
        (a_copy_shows_the_same_blocks::<Auto, Standard>(1_048_576), true),
        (a_copy_shows_the_same_blocks::<BlocksOnly, Aligned>(700_000), false),
        (a_copy_shows_the_same_blocks::<WithSlabs, Aligned>(300_007), true),
        (a_copy_shows_the_same_blocks::<BlocksOnly, Wide>(1_300_000), false),
        (a_copy_shows_the_same_blocks::<WithSlabs, Wide>(1_300_000), true),
        (a_copy_shows_the_same_blocks::<BlocksOnly, Compact>(300_000), false),
        (a_copy_shows_the_same_blocks::<Auto, Compact>(300_000), false),
    ] {
        let slabs = blocks.iter().any(|block| matches!(block.state, BlockState::Slab { .. }));
        assert_eq!(slabs, has_slabs);
    }
}

/// The directory doesn't have the rest's length, so it must come with the counters.
#[test]
fn a_copy_shows_the_rest() {
    let mut region = vec![MaybeUninit::uninit(); 64 << 10];
    let mut heap = Builder::<BlocksOnly, Standard>::new().build(&mut region).unwrap();
    let layout = Layout::new::<[u64; 1000]>();
    let blocks = [(); 3].map(|()| heap.allocate(layout).unwrap());
    // SAFETY: live, and not used again.
    unsafe { heap.try_deallocate(blocks[1].cast(), layout).unwrap() };
    heap.allocate(Layout::new::<[u64; 10]>()).unwrap();
    let addresses = heap.metadata_addresses();
    let (counters, copy) = copy(&addresses);
    assert_eq!(counters.rest, [1010, 2000]);
    let expected: Vec<_> = heap.blocks().collect();
    assert_eq!(seen(&addresses, &counters, &copy).unwrap(), expected);
    for torn in [[0; 2], [1010, 1009], [1010, 1 << 40], [u64::MAX, 5]] {
        let counters = with_rest(&counters, torn);
        let seen = seen(&addresses, &counters, &copy).unwrap();
        assert_ne!(seen, expected, "the directory knows the length of what was there before");
        assert_eq!(seen[..2], expected[..2]);
    }
}

fn with_rest(counters: &Counters, rest: [u64; 2]) -> Counters {
    let mut counters = *counters;
    counters.rest = rest;
    counters
}

/// A slab can start in the last segment below the top only as the last of several slabs in a row.
/// Its descriptor is then the last in the copy.
#[test]
fn a_copy_shows_the_slab_before_the_top() {
    let slot = Layout::new::<[u64; 32]>();
    for slabs in 1..=5 {
        let mut region = vec![MaybeUninit::uninit(); 64 << 10];
        let mut heap = Builder::<WithSlabs, Standard>::new().build(&mut region).unwrap();
        for _ in 0..slabs * 8 {
            heap.allocate(slot).unwrap();
        }
        let addresses = heap.metadata_addresses();
        let (counters, copy) = copy(&addresses);
        assert_eq!(counters.top as usize * 8, slabs * 2048, "the last slab ends at the top");
        let full = BlockState::Slab { slot_bytes: 256, used_slots: 8 };
        let seen = seen(&addresses, &counters, &copy).unwrap();
        let mut seen: Vec<_> = seen.iter().map(|block| block.state).collect();
        assert_eq!(seen.pop(), Some(BlockState::Top));
        assert_eq!(seen, vec![full; slabs]);
    }
}

fn a_torn_copy_is_walked_to_an_end<T: Tiers, G: Geometry>() {
    let mut region = vec![MaybeUninit::uninit(); 300_000];
    let heap = filled::<T, G>(&mut region);
    let addresses = heap.metadata_addresses();
    let (counters, whole) = copy(&addresses);
    let mut random = fastrand::Rng::with_seed(1);
    let mut next = || random.u64(..);
    for _ in 0..3_000 {
        let mut copy = whole.clone();
        for _ in 0..next() % 20 {
            let at = next() as usize % copy.len();
            copy[at] = match next() % 3 {
                0 => copy[at] ^ 1 << (next() % 32),
                1 => (next() << (next() % 40)) as u32,
                _ => copy[next() as usize % copy.len()],
            };
        }
        let rest = [next() % 2 * counters.rest[0], next() % (2 * counters.end)];
        let counters = with_rest(&counters, rest);
        let mut end = 0;
        for block in seen(&addresses, &counters, &copy).unwrap() {
            assert_eq!(block.offset_bytes, end);
            assert!(block.size_bytes > 0);
            end += block.size_bytes;
        }
        assert!(end <= counters.end as usize * G::GRANULE_BYTES);
    }
}

#[test]
fn a_torn_copy_of_every_geometry_is_walked_to_an_end() {
    a_torn_copy_is_walked_to_an_end::<WithSlabs, Standard>();
    a_torn_copy_is_walked_to_an_end::<BlocksOnly, Standard>();
    a_torn_copy_is_walked_to_an_end::<WithSlabs, Aligned>();
    a_torn_copy_is_walked_to_an_end::<WithSlabs, Wide>();
    a_torn_copy_is_walked_to_an_end::<BlocksOnly, Compact>();
}

/// Nothing beyond the copy is read. The copy ends at inaccessible memory, and contains what leads
/// the walk as far as possible.
#[test]
fn nothing_beyond_the_copy_is_read() {
    const PAGES_BYTES: usize = 64 << 10;
    // SAFETY: a new mapping, whose last page is made inaccessible.
    let guarded = unsafe {
        let base = libc::mmap(
            core::ptr::null_mut(),
            PAGES_BYTES + 4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        assert_eq!(libc::mprotect(base.byte_add(PAGES_BYTES), 4096, libc::PROT_NONE), 0);
        core::slice::from_raw_parts_mut(base.cast::<u32>(), PAGES_BYTES / 4)
    };
    let mut random = fastrand::Rng::with_seed(1);
    let mut next = || random.u64(..);
    for granules in 1..700 {
        for (geometry, slab_starts) in geometries() {
            let addresses = MetadataAddresses {
                layout_hash: layout_hash(),
                geometry,
                region_bytes: 1 << 20,
                slab_starts,
                directory: 1,
                map: 1,
                counters: [0; Counters::COUNT],
            };
            let counters = Counters::from_words([1 << 14, granules, 0, 0, granules, 0, 0, 0]);
            let ranges = addresses.ranges(&counters).unwrap();
            let bytes: usize = ranges.iter().map(|range| range.len_bytes).sum();
            let start = guarded.len() - bytes.div_ceil(4);
            let copy = &mut guarded[start..];
            for round in 0..3 {
                for word in copy.iter_mut() {
                    *word = match round {
                        0 => u32::MAX,
                        1 => 0x1111_1111,
                        _ => next() as u32,
                    };
                }
                assert!(walk(&addresses, &counters, copy, &mut |_| ()));
                assert!(!walk(&addresses, &counters, &copy[1..], &mut |_| ()), "too short");
            }
        }
    }
    // SAFETY: mapped above, and not used any more.
    unsafe { libc::munmap(guarded.as_mut_ptr().cast(), PAGES_BYTES + 4096) };
}

/// The number of each geometry, and an address of slab starts where it has slabs.
fn geometries() -> [(u64, u64); 5] {
    fn number<G: Geometry>() -> u64 {
        let mut region = [MaybeUninit::uninit(); 4096];
        let heap = Builder::<BlocksOnly, G>::new().build(&mut region).unwrap();
        heap.metadata_addresses().geometry
    }
    [
        (number::<Standard>(), 0),
        (number::<Standard>(), 1),
        (number::<Aligned>(), 1),
        (number::<Wide>(), 1),
        (number::<Compact>(), 0),
    ]
}

#[test]
fn impossible_counters_and_lengths_are_refused() {
    let mut region = vec![MaybeUninit::uninit(); 300_000];
    let heap = filled::<WithSlabs, Standard>(&mut region);
    let addresses = heap.metadata_addresses();
    let (counters, copy) = copy(&addresses);
    let words = [counters.end, counters.top, 0, 0, 0, 0, 0, 0];
    for (at, wrong) in [(1, counters.end + 1), (0, 1 << 60), (0, 300_000 / 8 + 1), (0, u64::MAX)] {
        let mut words = words;
        words[at] = wrong;
        let counters = Counters::from_words(words);
        assert_eq!(addresses.ranges(&counters), None);
        assert_eq!(seen(&addresses, &counters, &copy), None);
    }
    assert_eq!(seen(&addresses, &counters, &copy[1..]), None);
    let [(_, _), .., (compact, _)] = geometries();
    for geometry in [0, u64::MAX, compact] {
        // Compact pools have no slabs.
        let addresses = MetadataAddresses { geometry, ..addresses };
        assert_eq!(addresses.ranges(&counters), None);
        assert_eq!(seen(&addresses, &counters, &copy), None);
    }
    let mut numbers: Vec<u64> = geometries().iter().map(|(number, _)| *number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "each has its own");
}

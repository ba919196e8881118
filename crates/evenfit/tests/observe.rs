//! What another process sees of a heap: the same blocks as the heap itself, and an end whatever it is given.
#![cfg(target_pointer_width = "64")]

use core::alloc::Layout;
use core::mem::MaybeUninit;

use evenfit::observe::{Counters, Lengths, Replica, Whereabouts};
use evenfit::{Block, BlockState, Heap, SlotClass, Standard, Tiers};

/// Copies as a reader in another process would, from the addresses alone.
fn copy(whereabouts: &Whereabouts) -> (Counters, Vec<u64>, Vec<u64>) {
    let words = |address: u64, count: usize| -> Vec<u64> {
        (0..count)
            // SAFETY: the heap is alive, and nothing runs beside this test.
            .map(|at| unsafe { (address as *const u64).add(at).read() })
            .collect()
    };
    let counters = whereabouts.counters.map(|address| words(address, 1)[0]);
    let counters = Counters::from_words(counters);
    let lengths = Lengths::of(whereabouts, &counters).unwrap();
    (
        counters,
        words(whereabouts.map, lengths.map_words),
        words(whereabouts.directory, lengths.directory_words),
    )
}

fn filled(region: &mut [MaybeUninit<u8>], tiers: Tiers) -> Heap<'_, Standard> {
    let mut heap = Heap::from_region_with(region, tiers).unwrap();
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
    heap
}

#[test]
fn a_copy_shows_the_same_blocks() {
    for tiers in [Tiers::BlocksOnly, Tiers::WithSlabs] {
        let mut region = vec![MaybeUninit::uninit(); 700_000];
        let heap = filled(&mut region, tiers);
        let whereabouts = heap.whereabouts();
        let (counters, mut map, mut directory) = copy(&whereabouts);
        let replica = Replica::new(&whereabouts, &counters, &mut map, &mut directory).unwrap();
        let seen: Vec<Block> = replica.blocks().collect();
        assert_eq!(seen, heap.blocks().collect::<Vec<_>>());
        assert!(seen.len() > 100, "{}", seen.len());
        let stats = heap.stats();
        assert_eq!(counters.end as usize * 16, stats.pool_bytes);
        assert_eq!(counters.used_peak as usize * 16, stats.peak_used_bytes);
        assert_eq!(counters.failed_requests, stats.failed_requests);
        let slabs = seen
            .iter()
            .any(|block| matches!(block.state, BlockState::Slab { .. }));
        assert_eq!(slabs, tiers == Tiers::WithSlabs);
    }
}

/// A slab can start in the last segment below the top only as the last of slabs in a row: its descriptor is the copy's last.
#[test]
fn a_copy_shows_the_slab_before_the_top() {
    let slot = Layout::from_size_align(SlotClass::REQUEST_BYTES_MAX, 8).unwrap();
    let class = SlotClass::of(slot).unwrap();
    for slabs in 1..=5 {
        let mut region = vec![MaybeUninit::uninit(); 64 << 10];
        let mut heap = Heap::from_region_with(&mut region, Tiers::WithSlabs).unwrap();
        for _ in 0..slabs * class.slots {
            heap.allocate(slot).unwrap();
        }
        let whereabouts = heap.whereabouts();
        let (counters, mut map, mut directory) = copy(&whereabouts);
        assert_eq!(
            counters.top as usize * 16,
            slabs * SlotClass::SLAB_BYTES,
            "the last slab ends at the top"
        );
        // A copy that is too short is followed by what is no slab.
        let words = directory.len();
        directory.resize(words + 64, 0);
        let directory = &mut directory[..words];
        let replica = Replica::new(&whereabouts, &counters, &mut map, directory).unwrap();
        let full = BlockState::Slab {
            slot_bytes: class.slot_bytes,
            used_slots: class.slots,
        };
        let mut seen: Vec<_> = replica.blocks().map(|block| block.state).collect();
        assert_eq!(seen.pop(), Some(BlockState::Top));
        assert_eq!(seen, vec![full; slabs]);
    }
}

#[test]
fn a_torn_copy_is_walked_to_an_end() {
    let mut region = vec![MaybeUninit::uninit(); 300_000];
    let heap = filled(&mut region, Tiers::WithSlabs);
    let whereabouts = heap.whereabouts();
    let (counters, map, directory) = copy(&whereabouts);
    let mut random = 1_u64;
    let mut next = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        random >> 24
    };
    for _ in 0..5_000 {
        let (mut map, mut directory) = (map.clone(), directory.clone());
        for _ in 0..next() % 20 {
            let at = next() as usize % map.len();
            map[at] ^= 1 << (next() % 64);
            let at = next() as usize % directory.len();
            directory[at] = next() << (next() % 40);
        }
        let replica = Replica::new(&whereabouts, &counters, &mut map, &mut directory).unwrap();
        let mut end = 0;
        for block in replica.blocks() {
            assert_eq!(block.offset_bytes, end);
            end += block.size_bytes;
        }
        assert!(end <= counters.end as usize * 16);
    }
}

#[test]
fn impossible_counters_and_lengths_are_refused() {
    let mut region = vec![MaybeUninit::uninit(); 300_000];
    let heap = filled(&mut region, Tiers::WithSlabs);
    let whereabouts = heap.whereabouts();
    let (counters, mut map, mut directory) = copy(&whereabouts);
    for wrong in [
        Counters {
            top: counters.end + 1,
            ..counters
        },
        Counters {
            end: 1 << 60,
            ..counters
        },
    ] {
        assert_eq!(Lengths::of(&whereabouts, &wrong), None);
        assert!(Replica::new(&whereabouts, &wrong, &mut map, &mut directory).is_none());
    }
    assert!(Replica::new(&whereabouts, &counters, &mut map[1..], &mut directory).is_none());
}

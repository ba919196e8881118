//! Loads that are hard on allocators, or isolate one pattern of use.

use crate::load::{Load, LoadBuilder};
use evenfit_verify::random::Random;

/// The usual alignment: 8.
const ALIGN_LOG2: u8 = 3;

/// The names, in the order of the tables. The adversary is apart: see [`crate::adversary`].
pub const NAMES: [&str; 13] = [
    "uniform",
    "ramp",
    "lifo",
    "fifo",
    "checkerboard",
    "small_holes",
    "over_aligned",
    "vec_growth",
    "small_pool",
    "uniform_x10",
    "large_uniform",
    "large_queue",
    "large_mixed",
];

/// The load of that name.
#[must_use]
pub fn load(name: &str) -> Option<Load> {
    let load = match name {
        "uniform" => uniform(GROWTH_LIVE),
        "uniform_x10" => uniform(10 * GROWTH_LIVE),
        "ramp" => ramp_then_random(),
        "lifo" => lifo(),
        "fifo" => fifo(),
        "checkerboard" => checkerboard(),
        "small_holes" => holes_just_too_small(8_000),
        "over_aligned" => over_aligned(),
        "vec_growth" => vec_growth(),
        "small_pool" => small_pool(),
        "large_uniform" => large_uniform(),
        "large_queue" => large_queue(),
        "large_mixed" => large_mixed(),
        _ => return None,
    };
    Some(load.finish(name))
}

/// Live blocks of `uniform`; `uniform_x10` has ten times as many, which shows what grows.
pub const GROWTH_LIVE: usize = 10_000;

/// Sizes from 16 to 1,024 bytes; at `live` blocks, random ones are replaced.
fn uniform(live: usize) -> LoadBuilder {
    replaced(Random::new(1), live, |random| random.between(16, 1024))
}

/// `live` blocks, of which random ones are replaced 200,000 times.
fn replaced(mut random: Random, live: usize, size: impl Fn(&mut Random) -> u32) -> LoadBuilder {
    let mut load = LoadBuilder::default();
    let mut blocks: Vec<u32> =
        (0..live).map(|_| load.alloc(size(&mut random), ALIGN_LOG2)).collect();
    for _ in 0..200_000 {
        let index = random.below(live);
        load.free(blocks[index]);
        blocks[index] = load.alloc(size(&mut random), ALIGN_LOG2);
    }
    load
}

/// Sizes from 1 byte to 16 KiB, small ones more likely. Up to 20,000 blocks, then random
/// replacements, with a number of live blocks that varies.
fn ramp_then_random() -> LoadBuilder {
    let mut random = Random::new(2);
    let mut load = LoadBuilder::default();
    let mut blocks: Vec<u32> =
        (0..20_000).map(|_| load.alloc(random.log_uniform(14), ALIGN_LOG2)).collect();
    for turn in 0..300_000_u32 {
        let growing = (turn / 30_000) % 2 == 1;
        if blocks.len() < 1_000 || random.between(0, 99) < if growing { 53 } else { 47 } {
            blocks.push(load.alloc(random.log_uniform(14), ALIGN_LOG2));
        } else {
            let index = random.below(blocks.len());
            load.free(blocks.swap_remove(index));
        }
    }
    load
}

/// A stack of blocks of 8 to 512 bytes that grows and shrinks by up to 500.
fn lifo() -> LoadBuilder {
    let mut random = Random::new(3);
    let mut load = LoadBuilder::default();
    let mut stack = Vec::new();
    for _ in 0..800 {
        for _ in 0..random.between(1, 500) {
            stack.push(load.alloc(random.between(8, 512), ALIGN_LOG2));
        }
        for _ in 0..random.between(1, 500) {
            if let Some(slot) = stack.pop() {
                load.free(slot);
            }
        }
    }
    load
}

/// A queue of 5,000 messages of 8 to 512 bytes.
fn fifo() -> LoadBuilder {
    let mut random = Random::new(4);
    let mut load = LoadBuilder::default();
    let mut queue = std::collections::VecDeque::new();
    for _ in 0..200_000 {
        queue.push_back(load.alloc(random.between(8, 512), ALIGN_LOG2));
        if queue.len() > 5_000 {
            load.free(queue.pop_front().expect("it holds 5,000"));
        }
    }
    load
}

/// Every second block of a row is freed and something a little larger requested, again and again,
/// so that nothing fits into the holes.
fn checkerboard() -> LoadBuilder {
    let mut load = LoadBuilder::default();
    let mut row: Vec<u32> = (0..16_000).map(|_| load.alloc(48, ALIGN_LOG2)).collect();
    for size in [64, 96, 160, 288, 544, 1056, 2080, 4128] {
        let mut kept = Vec::new();
        for (index, slot) in row.into_iter().enumerate() {
            if index % 2 == 0 {
                kept.push(slot);
            } else {
                load.free(slot);
                kept.push(load.alloc(size, ALIGN_LOG2));
            }
        }
        kept.truncate(kept.len() / 2 * 2);
        // Half of the others is freed, so that the payload stays about the same while the sizes
        // grow.
        let half = kept.split_off(kept.len() / 2);
        half.into_iter().for_each(|slot| load.free(slot));
        row = kept;
    }
    load
}

/// `holes` holes of 1,040 bytes between live blocks, and requests of 1,100 bytes. No hole is large
/// enough, but a coarse bin contains them all.
fn holes_just_too_small(holes: usize) -> LoadBuilder {
    let mut load = LoadBuilder::default();
    let mut to_free = Vec::new();
    for _ in 0..holes {
        to_free.push(load.alloc(1040, ALIGN_LOG2));
        load.alloc(24, ALIGN_LOG2);
    }
    to_free.into_iter().for_each(|slot| load.free(slot));
    for _ in 0..2_000 {
        let a = load.alloc(1100, ALIGN_LOG2);
        let b = load.alloc(1100, ALIGN_LOG2);
        load.free(a);
        load.free(b);
    }
    load
}

/// Alignments from 32 bytes to 4 KiB on sizes from 16 bytes to 2 KiB, 2,000 live.
fn over_aligned() -> LoadBuilder {
    let mut random = Random::new(5);
    let mut load = LoadBuilder::default();
    let mut blocks = Vec::new();
    for _ in 0..60_000 {
        if blocks.len() == 2_000 {
            let index = random.below(blocks.len());
            load.free(blocks.swap_remove(index));
        }
        let align_log2 = random.between(5, 12) as u8;
        blocks.push(load.alloc(random.between(16, 2048), align_log2));
    }
    load
}

/// 200 vectors that double when they are full, from 32 bytes to 64 KiB, in turn; a full one is
/// dropped.
fn vec_growth() -> LoadBuilder {
    let mut random = Random::new(6);
    let mut load = LoadBuilder::default();
    let mut vecs: Vec<(u32, u32)> = (0..200).map(|_| (load.alloc(32, ALIGN_LOG2), 32)).collect();
    for _ in 0..40_000 {
        let index = random.below(vecs.len());
        let (slot, size) = vecs[index];
        if size == 64 << 10 {
            load.free(slot);
            vecs[index] = (load.alloc(32, ALIGN_LOG2), 32);
        } else {
            load.realloc(slot, size * 2);
            vecs[index].1 = size * 2;
        }
    }
    load
}

/// For a pool of 64 KiB: blocks of 1 to 128 bytes, random ones replaced at 50 KiB of payload.
fn small_pool() -> LoadBuilder {
    let mut random = Random::new(7);
    let mut load = LoadBuilder::default();
    let mut blocks = Vec::new();
    for _ in 0..200_000 {
        let size = random.between(1, 128);
        while load.live_bytes() + size as usize > 50 << 10 {
            let index = random.below(blocks.len());
            load.free(blocks.swap_remove(index));
        }
        blocks.push(load.alloc(size, ALIGN_LOG2));
    }
    load
}

/// Sizes from 0.5 to 16 KiB, which few of the recorded programs request and no slab serves.
fn large(random: &mut Random) -> u32 {
    random.between(512, 16 << 10)
}

/// 2,000 live blocks of 0.5 to 16 KiB, random ones replaced.
fn large_uniform() -> LoadBuilder {
    replaced(Random::new(8), 2_000, large)
}

/// A queue of 2,000 blocks of 0.5 to 16 KiB, which all have the same lifetime.
fn large_queue() -> LoadBuilder {
    let mut random = Random::new(9);
    let mut load = LoadBuilder::default();
    let mut queue = std::collections::VecDeque::new();
    for _ in 0..100_000 {
        queue.push_back(load.alloc(large(&mut random), ALIGN_LOG2));
        if queue.len() > 2_000 {
            load.free(queue.pop_front().expect("it holds 2,000"));
        }
    }
    load
}

/// 4,000 live blocks, random ones replaced: about half of them of 8 to 511 bytes, the others of 0.5
/// to 16 KiB.
fn large_mixed() -> LoadBuilder {
    replaced(Random::new(10), 4_000, |random| {
        if random.between(0, 1) == 0 { random.between(8, 511) } else { large(random) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Kind;

    #[test]
    fn every_name_is_a_load_that_frees_what_it_allocated() {
        for name in NAMES {
            let load = load(name).unwrap_or_else(|| panic!("{name} is missing"));
            let mut live = vec![None; load.slots];
            for op in &load.ops {
                let slot = &mut live[op.slot as usize];
                match op.kind {
                    Kind::Alloc => assert!(slot.replace(op.size).is_none(), "{name}: slot taken"),
                    Kind::Free => assert_eq!(slot.take(), Some(op.size), "{name}: size of a free"),
                    Kind::Realloc => assert_eq!(
                        slot.replace(op.size),
                        Some(op.old_size),
                        "{name}: size of a realloc"
                    ),
                }
            }
        }
    }

    #[test]
    fn large_loads_ask_for_what_they_say() {
        for (name, halves) in [("large_uniform", 0), ("large_queue", 0), ("large_mixed", 1)] {
            let load = load(name).expect("it is a name");
            let allocs = load.ops.iter().filter(|op| op.kind == Kind::Alloc);
            assert!(allocs.clone().all(|op| op.size <= 16 << 10), "{name}");
            let total = allocs.clone().count();
            let below = allocs.filter(|op| op.size < 512).count();
            // None of them, or a half.
            let expected = halves * total / 2;
            assert!(below.abs_diff(expected) <= expected / 50, "{name}: {below} of {total}");
        }
    }

    #[test]
    fn the_small_pool_stays_below_its_payload() {
        let load = load("small_pool").expect("it is a name");
        assert!((50 << 10) - 128 < load.peak_live_bytes && load.peak_live_bytes <= 50 << 10);
    }
}

//! Long runs of recorded programs and adversaries, with all contents verified.

use core::alloc::Layout;

use evenfit_trace::{Event, Trace};

use crate::driver::{Config, Driver};
use crate::op::{Bytes, Op, layout};
use crate::random::Random;
use crate::region::Placement;
use crate::subject::Subject;

/// Bytes of the region that are compared per operation on average, so that long runs compare only
/// now and then.
const COMPARE_BYTES_PER_OP: usize = 16;

/// What was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Operations on the heap.
    pub operations: u64,
    /// Of these, requests that were rightly refused.
    pub failed_requests: u64,
    /// Of these, misuses that were rightly refused.
    pub refused_frees: u64,
    /// Full comparisons of heap and model, `check` included.
    pub checks: u64,
    /// Pools that were built, run and emptied.
    pub pools: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.failed_requests += other.failed_requests;
        self.refused_frees += other.refused_frees;
        self.checks += other.checks;
        self.pools += other.pools;
    }
}

/// A pattern of use that has been a problem for some allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adversary {
    /// Any operation of the fuzzer's language, misuse included.
    Anything,
    /// Equal blocks, every other one freed, then slightly larger requests.
    Comb,
    /// Sizes next to the limits of size classes, in a pool that is always nearly full.
    Borders,
    /// Alignments up to a page, sizes below them.
    Aligned,
    /// A few blocks that grow and shrink among small ones.
    Growers,
    /// Last in, first out: the top moves all the time.
    Stack,
}

impl Adversary {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Anything, Self::Comb, Self::Borders, Self::Aligned, Self::Growers, Self::Stack];

    /// Runs about `operations` operations in one pool over a region of `len_bytes`.
    ///
    /// # Panics
    /// Where heap and model differ.
    pub fn run<S: Subject>(self, seed: u64, len_bytes: usize, operations: u64) -> Tally {
        let mut random = Random::new(seed);
        let placement = Placement::AfterGuard(random.below(64));
        let mut driver = Driver::<S>::new(Config { len_bytes, placement })
            .unwrap_or_else(|error| panic!("no pool in {len_bytes} bytes: {error}"));
        driver.compare_bytes_per_op = COMPARE_BYTES_PER_OP;
        let mut round = 0;
        while driver.ops() < operations {
            round += 1;
            match self {
                Self::Anything => anything(&mut driver, &mut random),
                Self::Comb => comb(&mut driver, &mut random),
                Self::Borders => borders(&mut driver, &mut random),
                Self::Aligned => aligned(&mut driver, &mut random),
                Self::Growers => growers(&mut driver, &mut random),
                Self::Stack => stack(&mut driver, &mut random),
            }
            if round % 16 == 0 {
                driver.check();
            }
        }
        finish(driver, round / 16)
    }
}

fn finish<S: Subject>(driver: Driver<S>, checks: u64) -> Tally {
    let stats = driver.stats();
    Tally {
        operations: driver.finish(),
        failed_requests: stats.failed_requests,
        refused_frees: stats.refused_frees,
        checks: checks + 3,
        pools: 1,
    }
}

fn anything<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    let script: Vec<u8> = (0..2048).flat_map(|_| random.bits().to_le_bytes()).collect();
    let mut bytes = Bytes::new(&script);
    while !bytes.is_empty() {
        let op = Op::decode(&mut bytes, driver.model().pool_bytes());
        // Otherwise the pool is emptied too often to become full.
        if !matches!(op, Op::FreeAll { .. } | Op::Check) || random.below(50) == 0 {
            driver.apply(&op);
        }
    }
}

fn comb<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    let granule = S::GRANULE_BYTES;
    let tooth = granule * (1 + random.small(1 << 9));
    let mut teeth = Vec::new();
    while let Some(offset) = driver.allocate_at(layout(tooth, 1)) {
        teeth.push(offset);
    }
    for offset in teeth.iter().step_by(2) {
        driver.free_at(*offset);
    }
    for more in 1..64 {
        driver.apply(&Op::Allocate(layout(tooth + more * granule / 2, 1)));
    }
    for _ in 0..teeth.len() / 2 {
        driver.apply(&Op::Allocate(layout(1 + random.below(tooth), 1)));
    }
    driver.apply(&Op::FreeAll { k: random.below(1 << 16) });
}

fn borders<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    let granule = S::GRANULE_BYTES;
    for _ in 0..4096 {
        let doubling = random.below(driver.model().pool_bytes().ilog2() as usize - 4);
        let border = ((16 + random.below(16)) << doubling) >> 4;
        let size = (border * granule + random.below(2 * granule + 1)).saturating_sub(granule);
        if driver.model().used_bytes() > driver.model().pool_bytes() / 8 * 7 {
            driver.apply(&Op::Free { k: random.below(1 << 20) });
        }
        driver.apply(&Op::Allocate(layout(size, 1)));
        if random.below(3) == 0 {
            driver.apply(&Op::FreeAsInC { k: random.below(1 << 20) });
        }
    }
}

fn aligned<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    for _ in 0..4096 {
        let align = 1 << random.below(13);
        let asked = layout(random.below(2 * align), align);
        let k = random.below(1 << 20);
        driver.apply(&match random.below(8) {
            0..=3 => Op::Allocate(asked),
            4 => Op::AllocateZeroed(asked),
            5 => Op::Reallocate { k, new: asked },
            _ => Op::Free { k },
        });
    }
}

fn growers<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    for _ in 0..4096 {
        let k = random.below(32);
        let size = random.small(driver.model().pool_bytes() / 4);
        driver.apply(&match random.below(8) {
            0..=1 => Op::Realloc { k, new_bytes: size },
            2..=3 => Op::Shrink { k, new: layout(size, 8) },
            4 => Op::Reallocate { k, new: layout(size, 8) },
            5..=6 if driver.model().live_count() < 2000 => {
                Op::Allocate(layout(random.below(100), 8))
            }
            _ => Op::Free { k: random.below(1 << 20) },
        });
    }
}

fn stack<S: Subject>(driver: &mut Driver<S>, random: &mut Random) {
    let mut held = Vec::new();
    for _ in 0..4096 {
        let deeper = random.below(5) < 3;
        match held.pop() {
            Some(offset) if !deeper => driver.free_at(offset),
            top => {
                held.extend(top);
                let size = random.small(1 << 12);
                held.extend(driver.allocate_at(layout(size, 1)));
            }
        }
    }
    while let Some(offset) = held.pop() {
        driver.free_at(offset);
    }
}

/// Replays a recorded program once, with `check` every `check_every` operations, in a pool of
/// `len_bytes`. Requests that don't fit are refused and skipped.
///
/// # Panics
/// Where heap and model differ.
pub fn replay<S: Subject>(trace: &Trace, len_bytes: usize, check_every: u64) -> Tally {
    let config = Config { len_bytes, placement: Placement::AfterGuard(0) };
    let mut driver = Driver::<S>::new(config)
        .unwrap_or_else(|error| panic!("no pool in {len_bytes} bytes: {error}"));
    driver.compare_bytes_per_op = COMPARE_BYTES_PER_OP;
    let mut places: Vec<Option<usize>> = vec![None; trace.allocations() as usize];
    let mut checks = 0;
    for event in trace.events() {
        match *event {
            Event::Alloc { id, .. } => {
                let asked = event.layout().unwrap_or(Layout::new::<u8>());
                places[id as usize] = driver.allocate_at(asked);
            }
            Event::Free { id } => {
                if let Some(offset) = places[id as usize].take() {
                    driver.free_at(offset);
                }
            }
            Event::Realloc { id, new_size } => {
                let place = &mut places[id as usize];
                if let Some(offset) = *place {
                    *place = driver.resize_at(offset, new_size as usize).or(*place);
                }
            }
        }
        if driver.ops().is_multiple_of(check_every) {
            driver.check();
            checks += 1;
        }
    }
    finish(driver, checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::{
        AlignedBlocks, AlignedSlabs, Blocks, CompactBlocks, Slabs, WideBlocks, WideSlabs,
    };

    #[test]
    fn every_adversary_runs_and_is_refused_something() {
        let mut tally = Tally::default();
        for (seed, adversary) in (1..).zip(Adversary::ALL) {
            tally.add(&adversary.run::<Blocks>(seed, 20_000 << seed, 30_000));
            tally.add(&adversary.run::<Slabs>(seed, 30_000 << seed, 30_000));
            tally.add(&adversary.run::<AlignedBlocks>(seed, 20_000 << seed, 30_000));
            tally.add(&adversary.run::<AlignedSlabs>(seed, 30_000 << seed, 30_000));
            tally.add(&adversary.run::<WideBlocks>(seed, 20_000 << seed, 30_000));
            tally.add(&adversary.run::<WideSlabs>(seed, 30_000 << seed, 30_000));
            tally.add(&adversary.run::<CompactBlocks>(seed, 100_001, 30_000));
        }
        assert!(tally.operations >= 42 * 30_000);
        assert!(tally.failed_requests > 1000 && tally.refused_frees > 1000, "{tally:?}");
    }
}

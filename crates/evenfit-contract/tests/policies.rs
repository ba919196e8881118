//! The simulated policies against the heap itself, against their simplest forms, and against a shadow model.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use evenfit::{Heap, Standard, Tiers};
use evenfit_contract::Cut;
use evenfit_contract::exhaustive::{Rule, Step, placements};
use evenfit_contract::policy::{Handle, Placement, Policy, good_fit};
use evenfit_contract::safe::Demand;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A random program of one demand of 1 to 80 granules.
fn program(random: &mut Random, steps: usize, resizes: bool) -> Vec<Step> {
    let (mut live, mut allocations, mut out) = (Vec::new(), 0, Vec::new());
    for _ in 0..steps {
        match random.below(if resizes { 6 } else { 5 }) {
            0..3 => {
                live.push(allocations);
                allocations += 1;
                let granules = if random.below(2) == 0 {
                    1 + random.below(6)
                } else {
                    1 + random.below(80)
                };
                out.push(Step::Alloc {
                    demand: 0,
                    granules,
                });
            }
            3..5 if !live.is_empty() => {
                let at = random.below(live.len() as u64) as usize;
                out.push(Step::Free {
                    block: live.swap_remove(at),
                });
            }
            5 if !live.is_empty() => {
                // To one granule: a shrink is always in place.
                let at = random.below(live.len() as u64) as usize;
                out.push(Step::Resize {
                    block: live[at],
                    granules: 1,
                });
            }
            _ => {}
        }
    }
    out
}

fn simulated(steps: &[Step], mut space: impl Placement) -> Vec<u64> {
    let mut handles: Vec<Handle> = Vec::new();
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { granules, .. } => {
                let handle = space.allocate(granules, 1).expect("room");
                handles.push(handle);
                out.push(space.extent(handle).0);
            }
            Step::Free { block } => space.free(handles[block]),
            Step::Resize { block, granules } => {
                assert!(space.resize(handles[block], granules));
                out.push(space.extent(handles[block]).0);
            }
        }
    }
    out
}

fn in_the_heap(steps: &[Step], region: &mut [MaybeUninit<u8>]) -> Vec<u64> {
    let heap = Heap::<Standard>::from_region_with(region, Tiers::BlocksOnly);
    let mut heap = heap.expect("large enough");
    let base = heap.pool_start().addr();
    let offset = |block: NonNull<u8>| ((block.addr().get() - base) / 16) as u64;
    let layout =
        |granules: u64| Layout::from_size_align(granules as usize * 16, 16).expect("small");
    let mut blocks: Vec<(NonNull<u8>, Layout)> = Vec::new();
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { granules, .. } => {
                let block = heap.allocate(layout(granules)).expect("room").cast();
                blocks.push((block, layout(granules)));
                out.push(offset(block));
            }
            Step::Free { block } => {
                let (ptr, layout) = blocks[block];
                // SAFETY: the program frees live blocks only.
                unsafe { heap.try_deallocate(ptr, layout).expect("live") };
            }
            Step::Resize { block, granules } => {
                let (ptr, old) = blocks[block];
                // SAFETY: the program resizes live blocks only, and the old layout is forgotten.
                let moved = unsafe {
                    heap.reallocate(ptr, old, layout(granules))
                        .expect("shorter")
                };
                blocks[block] = (moved.cast(), layout(granules));
                out.push(offset(moved.cast()));
            }
        }
    }
    out
}

#[test]
fn the_simulated_good_fit_places_blocks_where_the_heap_does() {
    let mut random = Random(7);
    let mut region = vec![MaybeUninit::uninit(); 1 << 20];
    let demands = [Demand {
        min: 1,
        max: 80,
        slack: 0,
        most_live: 1 << 40,
    }];
    for round in 0..60 {
        let steps = program(&mut random, 400, round % 2 == 0);
        let heap = in_the_heap(&steps, &mut region);
        assert_eq!(simulated(&steps, good_fit(Cut::STANDARD, 1 << 30)), heap);
        assert_eq!(
            placements(Rule::GoodFit(Cut::STANDARD), &demands, &steps),
            heap
        );
    }
}

#[test]
fn first_and_best_fit_agree_with_their_simplest_forms() {
    let mut random = Random(99);
    let demands = [Demand {
        min: 1,
        max: 80,
        slack: 0,
        most_live: 1 << 40,
    }];
    for _ in 0..30 {
        let steps = program(&mut random, 300, false);
        for (policy, rule) in [
            (Policy::FirstFit, Rule::FirstFit),
            (Policy::BestFit, Rule::BestFit),
        ] {
            let mut space = policy.over(1 << 16);
            let mut handles = Vec::new();
            let mut out = Vec::new();
            for step in &steps {
                match *step {
                    Step::Alloc { granules, .. } => {
                        handles.push(space.allocate(granules, 1).expect("room"));
                        out.push(space.extent(handles[handles.len() - 1]).0);
                    }
                    Step::Free { block } => space.free(handles[block]),
                    Step::Resize { .. } => {}
                }
            }
            assert_eq!(out, placements(rule, &demands, &steps), "{}", policy.name());
        }
    }
}

#[test]
fn no_policy_hands_out_what_is_used_or_not_there() {
    let mut random = Random(3);
    for policy in Policy::ALL {
        let pool = 1500 + random.below(1500);
        let mut space = policy.over(pool);
        // The shadow: where live blocks are, by start.
        let mut shadow: BTreeMap<u64, (u64, Handle)> = BTreeMap::new();
        let mut failed = 0;
        for _ in 0..20_000 {
            match random.below(7) {
                0..3 => {
                    let align = [1, 1, 1, 4][random.below(4) as usize];
                    let granules = 1 + random.below(60);
                    let largest = space.largest();
                    let Some(handle) = space.allocate(granules, align) else {
                        assert!(
                            align > 1 || granules > largest,
                            "{}: refused a request that fits",
                            policy.name()
                        );
                        failed += 1;
                        continue;
                    };
                    let (start, len) = space.extent(handle);
                    assert!(len >= granules && start.is_multiple_of(align) && start + len <= pool);
                    let before = shadow.range(..start + len).next_back();
                    assert!(
                        before.is_none_or(|(&other, &(len, _))| other + len <= start),
                        "{}",
                        policy.name()
                    );
                    shadow.insert(start, (len, handle));
                }
                3..6 => {
                    let at = random.below(pool);
                    if let Some((&start, &(_, handle))) = shadow.range(at..).next() {
                        space.free(handle);
                        shadow.remove(&start);
                    }
                }
                _ => {
                    let at = random.below(pool);
                    if let Some((&start, &(_, handle))) = shadow.range(at..).next()
                        && space.resize(handle, 1 + random.below(60))
                    {
                        let (moved, len) = space.extent(handle);
                        assert_eq!(moved, start);
                        let next = shadow
                            .range(start + 1..)
                            .next()
                            .map_or(pool, |(&next, _)| next);
                        assert!(
                            start + len <= next,
                            "{}: grew over its neighbour",
                            policy.name()
                        );
                        shadow.insert(start, (len, handle));
                    }
                }
            }
        }
        assert!(failed > 0, "{}: the pool was never full", policy.name());
        for (_, (_, handle)) in std::mem::take(&mut shadow) {
            space.free(handle);
        }
        let whole = space.allocate(if policy == Policy::Buddy { 1024 } else { pool }, 1);
        let rounds = matches!(policy, Policy::HalfFit | Policy::Tlsf);
        assert!(
            whole.is_some() || rounds,
            "{}: not all coalesced",
            policy.name()
        );
        assert!(
            space.largest() >= pool / 2 || whole.is_some(),
            "{}: not all coalesced",
            policy.name()
        );
    }
}

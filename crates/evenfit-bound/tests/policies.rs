//! The simulated policies: evenfit's is compared with the heap itself, all with their simplest
//! forms, and all with a shadow model.
#![allow(clippy::undocumented_unsafe_blocks)] // A program owns its blocks and frees them once.

mod heap;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use evenfit::{Aligned, BlocksOnly, Compact, Geometry, Heap, Standard, Wide};
use evenfit_bound::Cut;
use evenfit_bound::exhaustive::{Rule, Step, placements};
use evenfit_bound::policy::{Evenfit, Handle, Placement, Policy};
use evenfit_bound::safe::Demand;

use fastrand::Rng;
use heap::Memory;

struct Live {
    ptr: NonNull<u8>,
    layout: Layout,
    handle: Handle,
}

/// Runs the same program in both.
struct Both<'a, G: Geometry> {
    cut: Cut,
    heap: Heap<'a, BlocksOnly, G>,
    policy: Evenfit,
    live: Vec<Live>,
    random: Rng,
    /// Blocks that a granule was left to, requests refused, blocks resized.
    seen: [u64; 3],
}

impl<G: Geometry> Both<'_, G> {
    fn layout(&mut self, longest: u64) -> Layout {
        let granules = match self.random.u64(..3) {
            0 => 1 + self.random.u64(..6),
            1 => 1 + self.random.u64(..40.min(longest)),
            _ => 1 + self.random.u64(..longest),
        };
        let bytes = granules * self.cut.granule_bytes - self.random.u64(..self.cut.granule_bytes);
        let align = match self.random.u64(..8) {
            0 => 8 << self.random.u64(..5),
            _ => 8,
        };
        Layout::from_size_align(bytes as usize, align).unwrap()
    }

    fn granules(&self, layout: Layout) -> u64 {
        self.cut.granules(layout.size() as u64)
    }

    fn granule_of(&self, ptr: NonNull<u8>) -> u64 {
        let offset = ptr.addr().get() - self.heap.pool_start().addr();
        offset as u64 / self.cut.granule_bytes
    }

    fn allocate(&mut self, layout: Layout) {
        let align = (layout.align() as u64 / self.cut.granule_bytes).max(1);
        let asked = self.granules(layout);
        let handle = self.policy.allocate(asked, align);
        let block = self.heap.allocate(layout).ok();
        let extent = handle.map(|handle| self.policy.extent(handle));
        let real = block.map(|block| {
            let granules = block.len() as u64 / self.cut.granule_bytes;
            (self.granule_of(block.cast()), granules)
        });
        assert_eq!(extent, real, "{layout:?}");
        let (Some(handle), Some(block)) = (handle, block) else {
            self.seen[1] += 1;
            return;
        };
        self.seen[0] += u64::from(extent.is_some_and(|(_, len)| len > asked));
        self.live.push(Live { ptr: block.cast(), layout, handle });
    }

    fn free(&mut self, at: usize) {
        let Live { ptr, layout, handle } = self.live.swap_remove(at);
        self.policy.free(handle);
        unsafe { self.heap.try_deallocate(ptr, layout).unwrap() };
    }

    fn resize(&mut self, at: usize, longest: u64) {
        let new = self.layout(longest);
        let Live { ptr, layout, handle } = self.live[at];
        let new = Layout::from_size_align(new.size(), layout.align()).unwrap();
        let resized = self.policy.resize(handle, self.granules(new));
        let real = unsafe { self.heap.resize_in_place(ptr, layout, new) };
        assert_eq!(resized, real.is_ok(), "{layout:?} to {new:?}");
        if resized {
            self.live[at].layout = new;
            self.seen[2] += 1;
        }
    }

    fn play(&mut self, steps: u64, longest: u64) {
        for step in 0..steps {
            let at = self.random.usize(..self.live.len().max(1));
            match self.random.u64(..7) {
                0..4 => {
                    let layout = self.layout(longest);
                    self.allocate(layout);
                }
                4 | 5 if !self.live.is_empty() => self.free(at),
                6 if !self.live.is_empty() => self.resize(at, longest),
                _ => {}
            }
            if step % 16 == 0 {
                let largest = self.policy.largest() * self.cut.granule_bytes;
                assert_eq!(self.heap.largest_free() as u64, largest);
            }
        }
        self.heap.check().unwrap();
    }
}

/// Programs over pools so short that many requests fail, and over long ones.
fn compare<G: Geometry>(cut: Cut) {
    let mut seen = [0; 3];
    for seed in 0..80 {
        let mut random = Rng::with_seed(seed);
        let (pool, longest) = match seed % 3 {
            0 => (40 + random.u64(..100), 20),
            1 => (400 + random.u64(..1_000), 100),
            _ => (3_000 + random.u64(..3_000), 700),
        };
        let pool = pool.next_multiple_of(cut.align_granules);
        let region_bytes = cut.region_bytes(pool).unwrap();
        let mut memory = Memory::new(region_bytes);
        let mut both = Both::<G> {
            cut,
            heap: memory.heap(cut, pool, region_bytes),
            policy: Evenfit::new(cut, pool),
            live: Vec::new(),
            random,
            seen: [0; 3],
        };
        both.play(1_500, longest);
        for (sum, more) in seen.iter_mut().zip(both.seen) {
            *sum += more;
        }
    }
    println!("{cut:?}: absorbed, refused, resized: {seen:?}");
    assert_eq!(seen[0] > 0, cut.absorbs());
    assert!(seen[1] > 1_000 && seen[2] > 1_000);
}

#[test]
fn the_policy_places_blocks_where_the_heap_does() {
    compare::<Standard>(Cut::STANDARD);
    compare::<Aligned>(Cut::ALIGNED);
    compare::<Wide>(Cut::WIDE);
    compare::<Compact>(Cut::COMPACT);
}

/// Blocks of any size at each of these alignments, in granules.
fn demands(aligns: &[u64]) -> Vec<Demand> {
    let demand = |&align: &u64| Demand {
        min: 2,
        max: 80,
        slack: if align == 1 { 0 } else { align + 1 },
        most_live: 1 << 40,
    };
    aligns.iter().map(demand).collect()
}

/// A random program of `demands` requests of 2 to 80 granules; a third of its blocks are short.
fn program(random: &mut Rng, steps: usize, demands: u64, resizes: bool) -> Vec<Step> {
    let (mut live, mut allocations, mut out) = (Vec::new(), 0, Vec::new());
    for _ in 0..steps {
        let granules = match random.u64(..3) {
            0 => 2 + random.u64(..6),
            _ => 2 + random.u64(..79),
        };
        let at = random.usize(..live.len().max(1));
        match random.u64(..if resizes { 6 } else { 5 }) {
            0..3 => {
                live.push(allocations);
                allocations += 1;
                out.push(Step::Alloc { demand: random.u64(..demands) as usize, granules });
            }
            3..5 if !live.is_empty() => out.push(Step::Free { block: live.swap_remove(at) }),
            5 if !live.is_empty() => out.push(Step::Resize { block: live[at], granules }),
            _ => {}
        }
    }
    out
}

/// The same answers as [`placements`].
fn simulated(steps: &[Step], demands: &[Demand], space: &mut dyn Placement) -> Vec<Option<u64>> {
    let mut handles: Vec<Option<Handle>> = Vec::new();
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { demand, granules } => {
                let align = demands[demand].slack.saturating_sub(1).max(1);
                let handle = space.allocate(granules, align);
                handles.push(handle);
                out.push(handle.map(|handle| space.extent(handle).0));
            }
            Step::Free { block } => {
                if let Some(handle) = handles[block] {
                    space.free(handle);
                }
            }
            Step::Resize { block, granules } => {
                let handle = handles[block].filter(|&handle| space.resize(handle, granules));
                out.push(handle.map(|handle| space.extent(handle).0));
            }
        }
    }
    out
}

#[test]
fn evenfit_agrees_with_its_simplest_form_in_full_pools_too() {
    let mut random = Rng::with_seed(7);
    let short_bins = Cut { short_end: 8, ..Cut::STANDARD };
    let mut refused = 0;
    for round in 0..120 {
        let cut = if round % 2 == 0 { Cut::STANDARD } else { short_bins };
        let aligns: &[u64] = if round % 3 == 0 { &[1] } else { &[1, 2, 8] };
        let demands = demands(aligns);
        let steps = program(&mut random, 400, aligns.len() as u64, round % 4 < 2);
        let end = 300 + random.u64(..1_500);
        let placed = simulated(&steps, &demands, &mut Evenfit::new(cut, end));
        let simplest = placements(Rule::Evenfit(cut), Some(end), &demands, &steps);
        assert_eq!(placed, simplest, "{cut:?}, {end}");
        refused += placed.iter().filter(|at| at.is_none()).count();
    }
    assert!(refused > 1_000, "{refused}");
}

#[test]
fn first_and_best_fit_agree_with_their_simplest_forms() {
    let mut random = Rng::with_seed(99);
    let demands = demands(&[1]);
    for _ in 0..30 {
        let steps = program(&mut random, 300, 1, false);
        for (policy, rule) in [(Policy::FirstFit, Rule::FirstFit), (Policy::BestFit, Rule::BestFit)]
        {
            let placed = simulated(&steps, &demands, &mut *policy.over(Cut::STANDARD, 1 << 16));
            let simplest = placements(rule, None, &demands, &steps);
            assert_eq!(placed, simplest, "{}", policy.name());
        }
    }
}

#[test]
fn no_policy_hands_out_what_is_used_or_not_there() {
    let mut random = Rng::with_seed(3);
    for policy in Policy::ALL {
        let pool = 1500 + random.u64(..1500);
        let mut space = policy.over(Cut::STANDARD, pool);
        // The shadow: where live blocks are, by start.
        let mut shadow: BTreeMap<u64, (u64, Handle)> = BTreeMap::new();
        let mut failed = 0;
        for _ in 0..20_000 {
            match random.u64(..7) {
                0..3 => {
                    let align = [1, 1, 1, 4][random.u64(..4) as usize];
                    let granules = 2 + random.u64(..59);
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
                    let at = random.u64(..pool);
                    if let Some((&start, &(_, handle))) = shadow.range(at..).next() {
                        space.free(handle);
                        shadow.remove(&start);
                    }
                }
                _ => {
                    let at = random.u64(..pool);
                    if let Some((&start, &(_, handle))) = shadow.range(at..).next()
                        && space.resize(handle, 2 + random.u64(..59))
                    {
                        let (moved, len) = space.extent(handle);
                        assert_eq!(moved, start);
                        let next = shadow.range(start + 1..).next().map_or(pool, |(&next, _)| next);
                        assert!(start + len <= next, "{}: grew over its neighbour", policy.name());
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
        assert!(whole.is_some() || rounds, "{}: not all coalesced", policy.name());
        assert!(
            space.largest() >= pool / 2 || whole.is_some(),
            "{}: not all coalesced",
            policy.name()
        );
    }
}

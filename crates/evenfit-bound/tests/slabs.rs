//! The safe pool with slabs, against the heap itself. The worst programs that keep a contract never
//! fail in it, and the same programs refute formulas that leave out a part of the proof.
#![allow(clippy::undocumented_unsafe_blocks)] // All blocks of a game are its own, and freed once.

mod heap;

use std::alloc::Layout;
use std::collections::HashSet;
use std::ptr::NonNull;

use evenfit::{Aligned, BlockState, Geometry, Heap, Standard, Wide, WithSlabs};
use evenfit_bound::exhaustive::Step;
use evenfit_bound::safe::{self, Demand};
use evenfit_bound::slabs::{self, SafeWithSlabs, SlabDemand};
use evenfit_bound::{Cut, Site, adversary, slot_classes};

use fastrand::Rng;
use heap::Memory;

fn site(size: (u64, u64), align_bytes: u64, most_live: u64, grows: bool) -> Site {
    Site {
        name: "site".into(),
        min_bytes: size.0,
        max_bytes: size.1,
        align_bytes,
        most_live,
        grows,
    }
}

/// Contracts of a few sites, chosen so that pins, gaps beside slabs, gaps beside blocks and
/// alignment each matter somewhere.
fn grid() -> Vec<Vec<Site>> {
    let mut grid = Vec::new();
    for most_live in [1, 2, 7, 40] {
        grid.push(vec![site((1, 512), 8, most_live, false)]);
        grid.push(vec![site((1, 512), 16, most_live, true)]);
        grid.push(vec![site((64, 64), 8, 33 * most_live, false)]);
        grid.push(vec![site((400, 600), 8, most_live, false)]);
        grid.push(vec![site((300, 700), 8, most_live, true)]);
        grid.push(vec![site((513, 1_032), 8, most_live, true)]);
        grid.push(vec![site((513, 5_000), 8, most_live, true)]);
        for large in [2_048, 3_200, 5_000] {
            let blocks = site((large, large), 8, 2, false);
            grid.push(vec![site((16, 256), 8, most_live, false), blocks.clone()]);
            grid.push(vec![site((100, 100), 8, 3 * most_live, false), blocks]);
            let range = site((513, large), 8, 3, false);
            grid.push(vec![site((8, 512), 8, most_live, false), range.clone()]);
            grid.push(vec![site((40, 40), 8, 60 * most_live, false), range]);
        }
        grid.push(vec![site((1, 512), 64, most_live, false), site((600, 1_000), 128, 3, true)]);
    }
    grid
}

fn demands(cut: Cut, sites: &[Site]) -> Vec<SlabDemand> {
    sites.iter().map(|site| SlabDemand::of(cut, site)).collect()
}

/// A geometry, and what is computed of it.
trait Known: Geometry {
    const CUT: Cut;
}

impl Known for Standard {
    const CUT: Cut = Cut::STANDARD;
}

impl Known for Aligned {
    const CUT: Cut = Cut::ALIGNED;
}

impl Known for Wide {
    const CUT: Cut = Cut::WIDE;
}

struct Live {
    site: usize,
    ptr: NonNull<u8>,
    layout: Layout,
}

/// A program that keeps the contract, and the heap that it runs in.
struct Game<'a, G: Known> {
    heap: Heap<'a, WithSlabs, G>,
    sites: &'a [Site],
    live: Vec<Live>,
    count: Vec<u64>,
    random: Rng,
    failed: bool,
}

/// A request was refused.
struct Failed;

impl<'a, G: Known> Game<'a, G> {
    fn new(memory: &'a mut Memory, granules: u64, sites: &'a [Site], seed: u64) -> Self {
        let granules = granules.next_multiple_of(G::CUT.align_granules);
        let region_bytes = G::CUT.region_bytes_with_slabs(granules).unwrap();
        Self {
            heap: memory.heap(G::CUT, granules, region_bytes),
            sites,
            live: Vec::new(),
            count: vec![0; sites.len()],
            random: Rng::with_seed(seed),
            failed: false,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.u64(..end)
    }

    fn may(&self, site: usize) -> bool {
        self.count[site] < self.sites[site].most_live
    }

    fn layout(&mut self, site: usize) -> Layout {
        let Site { min_bytes, max_bytes, align_bytes, .. } = self.sites[site];
        let bytes = match self.below(4) {
            0 => max_bytes,
            1 => min_bytes,
            _ => min_bytes + self.below(max_bytes - min_bytes + 1),
        };
        let align = match self.below(2) {
            0 => align_bytes,
            _ => 1 << self.below(u64::from(align_bytes.ilog2()) + 1),
        };
        Layout::from_size_align(bytes as usize, align as usize).unwrap()
    }

    fn allocate(&mut self, site: usize, layout: Layout) -> Result<(), Failed> {
        if !self.may(site) {
            return Ok(());
        }
        let block = self.heap.allocate(layout).map_err(|_| Failed)?;
        self.live.push(Live { site, ptr: block.cast(), layout });
        self.count[site] += 1;
        Ok(())
    }

    fn free(&mut self, at: usize) {
        let Live { site, ptr, layout } = self.live.swap_remove(at);
        self.count[site] -= 1;
        unsafe { self.heap.try_deallocate(ptr, layout).unwrap() };
    }

    /// To another size: for the time of the move there may be two.
    fn reallocate(&mut self, at: usize) -> Result<(), Failed> {
        let site = self.live[at].site;
        if !self.sites[site].grows {
            return Ok(());
        }
        let new = self.layout(site);
        let Live { ptr, layout, .. } = self.live[at];
        let new = Layout::from_size_align(new.size(), layout.align()).unwrap();
        let moved = unsafe { self.heap.reallocate(ptr, layout, new) };
        self.live[at].ptr = moved.map_err(|_| Failed)?.cast();
        self.live[at].layout = new;
        Ok(())
    }

    /// Fills a site's slabs with requests of one layout, then frees all but one slot of each slab.
    fn pin(&mut self, site: usize) -> Result<(), Failed> {
        let layout = self.layout(site);
        while self.may(site) {
            self.allocate(site, layout)?;
        }
        let start = self.heap.pool_start() as usize;
        let slabs: Vec<(usize, usize)> = self
            .heap
            .blocks()
            .filter(|block| matches!(block.state, BlockState::Slab { .. }))
            .map(|block| (start + block.offset_bytes, block.size_bytes))
            .collect();
        let mut kept = HashSet::new();
        for at in (0..self.live.len()).rev() {
            let address = self.live[at].ptr.addr().get();
            let slab = slabs.iter().find(|(from, len)| (*from..from + len).contains(&address));
            match slab {
                Some(slab) if kept.insert(slab.0) => {}
                Some(_) if self.live[at].site == site => self.free(at),
                _ => {}
            }
        }
        Ok(())
    }

    /// Allocates the longest blocks, then pins slabs behind them, then frees the blocks, so that
    /// there is a gap before each slab.
    fn gaps(&mut self, blocks: usize, small: usize) -> Result<(), Failed> {
        let Site { max_bytes, .. } = self.sites[blocks];
        let shorter = max_bytes - self.below(20 * 16).min(max_bytes - self.sites[blocks].min_bytes);
        let layout = Layout::from_size_align(shorter as usize, 8).unwrap();
        while self.may(blocks) {
            self.allocate(blocks, layout)?;
            let layout = self.layout(small);
            self.allocate(small, layout)?;
        }
        for at in (0..self.live.len()).rev() {
            if self.live[at].site == blocks {
                self.free(at);
            }
        }
        Ok(())
    }

    fn play(&mut self, steps: u64) -> Result<(), Failed> {
        for _ in 0..steps {
            let site = self.below(self.sites.len() as u64) as usize;
            let other = self.below(self.sites.len() as u64) as usize;
            match self.below(12) {
                0..5 => {
                    let layout = self.layout(site);
                    self.allocate(site, layout)?;
                }
                5..8 if !self.live.is_empty() => {
                    let at = self.below(self.live.len() as u64) as usize;
                    self.free(at);
                }
                8 if !self.live.is_empty() => {
                    let at = self.below(self.live.len() as u64) as usize;
                    // With `grows`, the moving block is the one more.
                    self.reallocate(at)?;
                }
                9 => self.pin(site)?,
                10 => self.gaps(site, other)?,
                11 if self.below(8) == 0 => {
                    while !self.live.is_empty() {
                        self.free(0);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Memory for a pool of `granules` granules.
fn memory(cut: Cut, granules: u64) -> Memory {
    Memory::new(cut.region_bytes_with_slabs(granules + 1).unwrap())
}

/// Whether some program that keeps the contract fails in a pool of `granules` granules.
fn is_broken<G: Known>(
    sites: &[Site],
    granules: u64,
    seeds: std::ops::Range<u64>,
    steps: u64,
) -> bool {
    let mut memory = memory(G::CUT, granules);
    seeds.into_iter().any(|seed| {
        let mut game = Game::<G>::new(&mut memory, granules, sites, seed);
        game.failed = game.play(steps).is_err();
        game.heap.check().unwrap();
        game.failed
    })
}

fn none_is_broken<G: Known>() {
    for sites in grid() {
        let safe = slabs::pool(G::CUT, &demands(G::CUT, &sites)).unwrap();
        let granules = safe.safe.granules;
        assert!(!is_broken::<G>(&sites, granules, 0..60, 400), "{sites:?}: {safe:?}");
    }
}

#[test]
fn no_program_fails_in_the_safe_pool() {
    none_is_broken::<Standard>();
    none_is_broken::<Aligned>();
    none_is_broken::<Wide>();
}

#[test]
fn formulas_that_forget_something_are_refuted() {
    const CUT: Cut = Cut::STANDARD;
    // What a formula says, of a contract whose safe pool is this.
    type Formula = fn(&[Site], &SafeWithSlabs) -> u64;
    let wrong: [(&str, Formula); 4] = [
        ("no gaps", |_, safe| safe.safe.live),
        ("one slab fewer", |_, safe| safe.safe.granules - CUT.slab_granules()),
        ("slabs as if all slots of all classes were in full ones", |sites, safe| {
            let full: u64 = demands(CUT, sites)
                .iter()
                .filter_map(|demand| Some((demand.most_live, demand.classes.last()?)))
                .map(|(live, class)| live.div_ceil(class.slots))
                .sum();
            let fewer = safe.slabs - full.min(safe.slabs);
            let fewer = fewer.min(safe.safe.granules / CUT.slab_granules());
            safe.safe.granules - fewer * CUT.slab_granules()
        }),
        ("the heap without slabs", |sites, _| {
            let demands: Vec<Demand> = sites.iter().map(|site| site.demand(CUT)).collect();
            safe::pool(CUT, &demands).unwrap().granules
        }),
    ];
    for (name, formula) in wrong {
        let grid = grid();
        let refuted = grid.iter().filter(|sites| {
            let safe = slabs::pool(CUT, &demands(CUT, sites)).unwrap();
            let granules = formula(sites, &safe).max(CUT.slab_granules());
            granules < safe.safe.granules && is_broken::<Standard>(sites, granules, 0..60, 300)
        });
        let count = refuted.count();
        println!("{name}: {count}");
        assert!(count > 0, "{name}: not refuted");
    }
}

/// Gaps before pinned slabs, each a granule too short for the holes that the worst program without
/// slabs then moves up.
fn gaps_before_slabs_then_holes(game: &mut Game<Standard>, blocks: Demand) -> Result<(), Failed> {
    const SMALL: usize = 0;
    const BLOCKS: usize = 1;
    let cut = Cut::STANDARD;
    let bytes = |granules: u64| Layout::from_size_align(granules as usize * 8, 8).unwrap();
    let small = SlabDemand::of(cut, &game.sites[SMALL]);
    for class in small.classes.iter().take(small.most_live as usize) {
        game.allocate(BLOCKS, bytes(blocks.max - 2))?;
        let slot = Layout::from_size_align(class.slot_bytes as usize, 8).unwrap();
        game.allocate(SMALL, slot)?;
    }
    for at in (0..game.live.len()).rev() {
        if game.live[at].site == BLOCKS {
            game.free(at);
        }
    }
    let mut at = Vec::new();
    for step in adversary::worst(cut, &[blocks]).steps {
        match step {
            Step::Alloc { granules, .. } => {
                game.allocate(BLOCKS, bytes(granules))?;
                at.push(game.live.last().unwrap().ptr);
            }
            Step::Free { block } => {
                let live = game.live.iter().position(|live| live.ptr == at[block]);
                game.free(live.unwrap());
            }
            Step::Resize { .. } => unreachable!("the contract has no reallocation"),
        }
    }
    Ok(())
}

#[test]
fn gaps_beside_slabs_count_too() {
    let sites = [site((8, 128), 8, 10, false), site((520, 3_072), 8, 20, false)];
    let blocks = sites[1].demand(Cut::STANDARD);
    let safe = slabs::pool(Cut::STANDARD, &demands(Cut::STANDARD, &sites)).unwrap();
    let safe = safe.safe;
    assert_eq!((safe.gaps, safe.gap), (29, 383));
    let fails = |granules: u64| {
        let mut memory = memory(Cut::STANDARD, granules);
        let mut game = Game::new(&mut memory, granules, &sites, 1);
        gaps_before_slabs_then_holes(&mut game, blocks).is_err()
    };
    assert!(!fails(safe.granules));
    let beside_blocks_only = safe.live + blocks.most_live * safe.gap;
    assert!(fails(beside_blocks_only));
    // And it is nearly all of the bound.
    assert!(fails(safe.granules - safe.granules / 50));
}

#[test]
fn without_small_requests_it_is_the_bound_of_blocks() {
    for cut in [Cut::STANDARD, Cut::ALIGNED, Cut::WIDE] {
        let bytes = cut.granule_bytes;
        for sites in [
            vec![site((66 * bytes, 500 * bytes), 8, 7, false)],
            vec![site((128 * bytes, 128 * bytes), 8, 7, false)],
            vec![site((1_040, 1_040), 8, 7, false), site((4_000, 4_000), 64, 2, true)],
        ] {
            let blocks: Vec<Demand> = sites.iter().map(|site| site.demand(cut)).collect();
            let blocks = safe::pool(cut, &blocks).unwrap();
            let safe = slabs::pool(cut, &demands(cut, &sites)).unwrap();
            assert_eq!((safe.safe, safe.slabs), (blocks, 0), "{sites:?}");
        }
    }
}

#[test]
fn one_class_needs_its_full_slabs_and_nothing_more() {
    let cut = Cut::STANDARD;
    let class = cut.slot_class(64, 8).unwrap();
    for live in [1, 31, 32, 33, 64, 65, 1_000] {
        let sites = [site((64, 64), 8, live, false)];
        let safe = slabs::pool(cut, &demands(cut, &sites)).unwrap();
        let full = live.div_ceil(class.slots) * cut.slab_granules();
        assert_eq!((safe.safe.granules, safe.safe.gap), (full, 0), "{live}");
    }
}

fn slots_are_the_heaps<G: Known>() {
    let (cut, granules) = (G::CUT, 1 << 16);
    let mut memory = memory(cut, granules);
    let mut game = Game::<G>::new(&mut memory, granules, &[], 1);
    for size_bytes in 0..=cut.slot_bytes_max() {
        let layout = Layout::from_size_align(size_bytes as usize, 8).unwrap();
        let block = game.heap.allocate(layout).unwrap();
        let class = cut.slot_class(size_bytes, 8).unwrap();
        assert_eq!(block.len() as u64, class.slot_bytes, "{size_bytes}");
    }
    let first_block = Layout::from_size_align(cut.slot_bytes_max() as usize + 1, 8).unwrap();
    let before = game.heap.blocks().count();
    game.heap.allocate(first_block).unwrap();
    assert_eq!(game.heap.blocks().count(), before + 1);
    for class in slot_classes(cut) {
        let layout = Layout::from_size_align(class.slot_bytes as usize, 8).unwrap();
        game.heap.reset();
        // One slot more than a slab has needs another slab; before the top there are as many
        // blocks.
        for slot in 0..=class.slots {
            game.heap.allocate(layout).unwrap();
            let slabs = game.heap.blocks().count() as u64 - 1;
            assert_eq!(slabs, 1 + slot / class.slots, "{class:?}");
        }
    }
}

#[test]
fn the_classes_of_slots_are_the_heaps() {
    slots_are_the_heaps::<Standard>();
    slots_are_the_heaps::<Aligned>();
    slots_are_the_heaps::<Wide>();
}

#[test]
fn what_64_bits_can_not_count_is_none() {
    let huge = demands(Cut::STANDARD, &[site((1, 1 << 48), 8, 1 << 40, false)]);
    assert_eq!(slabs::pool(Cut::STANDARD, &huge), None);
}

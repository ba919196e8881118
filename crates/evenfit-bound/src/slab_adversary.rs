//! Programs that keep a contract and do their worst in a heap with slabs.
//!
//! One slot keeps a slab. So each class in turn fills as many slabs as the contract allows and
//! frees all but one slot of each, with long blocks between them that are freed afterwards and
//! leave gaps; then come the blocks that no gap can hold. How much pool a program needs, its caller
//! finds by running it in the heap itself.

use std::collections::BTreeMap;

use crate::adversary;
use crate::contract::Site;
use crate::exhaustive::Step;
use crate::geometry::Cut;
use crate::safe::Demand;
use crate::slabs::SlabDemand;
use crate::slots::SlotClass;

/// One step of a program. Blocks are named in the order of their allocation, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlabStep {
    /// A new block.
    Alloc {
        /// Of which site.
        site: usize,
        /// Its size in bytes.
        bytes: u64,
        /// Its alignment in bytes.
        align_bytes: u64,
    },
    /// Frees a block.
    Free {
        /// Which.
        block: usize,
    },
}

/// A program, and how it goes about it.
#[derive(Clone, Debug)]
pub struct SlabProgram {
    /// What it does.
    pub steps: Vec<SlabStep>,
    /// In a few words.
    pub method: &'static str,
}

/// Most requests for the slots of one class.
const FILL_MAX: u64 = 100_000;

/// Programs of which one is likely to be the worst. Deterministic.
pub fn programs<'a>(cut: Cut, sites: &'a [Site]) -> Vec<SlabProgram> {
    let program = |method, moves: &[fn(&mut Game<'a>)]| {
        let mut game = Game::new(cut, sites);
        for each in moves {
            each(&mut game);
        }
        SlabProgram { steps: game.steps, method }
    };
    vec![
        program(
            "slabs of every class kept by a slot each, gaps between them, then the longest blocks",
            &[Game::pin_with_gaps, Game::longest_blocks],
        ),
        program(
            "slabs of every class kept by a slot each, then the longest blocks",
            &[Game::pin, Game::longest_blocks],
        ),
        program("the worst for blocks", &[Game::longest_blocks]),
        program("every block at once", &[Game::all_at_once]),
    ]
}

struct Game<'a> {
    cut: Cut,
    sites: &'a [Site],
    demands: Vec<SlabDemand>,
    live: Vec<u64>,
    steps: Vec<SlabStep>,
    allocated: usize,
}

impl<'a> Game<'a> {
    fn new(cut: Cut, sites: &'a [Site]) -> Self {
        Self {
            cut,
            sites,
            demands: sites.iter().map(|site| SlabDemand::of(cut, site)).collect(),
            live: vec![0; sites.len()],
            steps: Vec::new(),
            allocated: 0,
        }
    }

    fn room(&self, site: usize) -> u64 {
        self.sites[site].most_live - self.live[site]
    }

    fn allocate(&mut self, site: usize, bytes: u64, align_bytes: u64) -> usize {
        self.steps.push(SlabStep::Alloc { site, bytes, align_bytes });
        self.live[site] += 1;
        self.allocated += 1;
        self.allocated - 1
    }

    fn free(&mut self, site: usize, block: usize) {
        self.steps.push(SlabStep::Free { block });
        self.live[site] -= 1;
    }

    /// The longest request of `site` that each class serves.
    fn requests(&self, site: usize) -> impl Iterator<Item = (SlotClass, u64)> {
        let classes = self.demands[site].classes.iter();
        let longest = self.sites[site].max_bytes;
        classes.map(move |&class| (class, longest.min(class.slot_bytes)))
    }

    fn pin(&mut self) {
        self.pin_each(|_| {});
    }

    /// As `pin`, with the longest blocks but one before each slab, freed afterwards.
    fn pin_with_gaps(&mut self) {
        let blocks = (0..self.sites.len()).filter(|&site| {
            let is_small = !self.demands[site].classes.is_empty();
            self.demands[site].blocks.is_some() && !is_small
        });
        let Some(site) = blocks.max_by_key(|&site| self.sites[site].max_bytes) else {
            return self.pin();
        };
        let Site { min_bytes, max_bytes, .. } = self.sites[site];
        // A granule shorter than the gaps that the blocks then leave among themselves.
        let bytes = max_bytes.saturating_sub(2 * self.cut.granule_bytes).max(min_bytes);
        let mut gaps = Vec::new();
        self.pin_each(|game| {
            if game.room(site) > 0 {
                gaps.push(game.allocate(site, bytes, 1));
            }
        });
        for block in gaps {
            self.free(site, block);
        }
    }

    /// Fills slabs of each class, the one with the fewest slots first, as far as the site with most
    /// room allows, and frees all but the first slot of each. `before` comes before each slab.
    fn pin_each(&mut self, mut before: impl FnMut(&mut Self)) {
        let mut of_class: BTreeMap<SlotClass, Vec<(usize, u64)>> = BTreeMap::new();
        for site in 0..self.sites.len() {
            for (class, bytes) in self.requests(site) {
                of_class.entry(class).or_default().push((site, bytes));
            }
        }
        for (class, choices) in of_class.into_iter().rev() {
            let most_room = choices.into_iter().max_by_key(|&(site, _)| self.room(site));
            let Some((site, bytes)) = most_room else {
                continue;
            };
            let count = self.room(site).min(FILL_MAX);
            let mut others = Vec::new();
            for at in 0..count {
                let opens = at % class.slots == 0;
                if opens {
                    before(self);
                }
                let block = self.allocate(site, bytes, 1);
                if !opens {
                    others.push(block);
                }
            }
            for block in others {
                self.free(site, block);
            }
        }
    }

    /// What is the worst without slabs, with the blocks that may still be had.
    fn longest_blocks(&mut self) {
        let of = |site: usize| {
            let blocks = self.demands[site].blocks?;
            let demand =
                Demand { min: blocks.min, max: blocks.max, slack: 0, most_live: self.room(site) };
            (demand.most_live > 0).then_some((site, demand))
        };
        let (sites, demands): (Vec<usize>, Vec<Demand>) =
            (0..self.sites.len()).filter_map(of).unzip();
        if demands.is_empty() {
            return;
        }
        let mut blocks = Vec::new();
        for step in adversary::worst(self.cut, &demands).steps {
            match step {
                Step::Alloc { demand, granules } => {
                    let site = sites[demand];
                    let Site { min_bytes, max_bytes, .. } = self.sites[site];
                    let bytes = (granules * self.cut.granule_bytes).clamp(min_bytes, max_bytes);
                    blocks.push((site, self.allocate(site, bytes, 1)));
                }
                Step::Free { block } => {
                    let (site, block) = blocks[block];
                    self.free(site, block);
                }
                Step::Resize { .. } => {}
            }
        }
    }

    fn all_at_once(&mut self) {
        let mut order: Vec<usize> = (0..self.sites.len()).collect();
        order.sort_by_key(|&site| self.sites[site].max_bytes);
        for site in order {
            let Site { max_bytes, align_bytes, .. } = self.sites[site];
            for _ in 0..self.room(site).min(FILL_MAX) {
                self.allocate(site, max_bytes, align_bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_keeps_its_contract() {
        let site = |name: &str, min_bytes, max_bytes, most_live| Site {
            name: name.into(),
            min_bytes,
            max_bytes,
            align_bytes: 16,
            most_live,
            grows: false,
        };
        let sites = [
            site("small", 1, 256, 40),
            site("mixed", 100, 2_000, 5),
            site("large", 3_000, 5_000, 6),
        ];
        for program in programs(Cut::STANDARD, &sites) {
            let mut live = [0_u64; 3];
            let mut blocks = Vec::new();
            for step in &program.steps {
                match *step {
                    SlabStep::Alloc { site, bytes, align_bytes } => {
                        let Site { min_bytes, max_bytes, most_live, .. } = sites[site];
                        assert!((min_bytes..=max_bytes).contains(&bytes) && align_bytes <= 16);
                        live[site] += 1;
                        assert!(live[site] <= most_live, "{}", program.method);
                        blocks.push(Some(site));
                    }
                    SlabStep::Free { block } => live[blocks[block].take().unwrap()] -= 1,
                }
            }
        }
    }
}

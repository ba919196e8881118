//! The pool that can never fail, for a heap with slabs: the theorem of `docs/bounds.md`, "With
//! slabs".
//!
//! To each live block of a program corresponds in the block tier a block of its own, or a slab that
//! it keeps from being freed, or nothing, if another slot keeps its slab. The bound assumes the
//! worst of these for each, with as many slabs as each class can have. Gaps and absorbed granules
//! then count as without slabs.

use std::collections::BTreeMap;

use crate::contract::Site;
use crate::geometry::Cut;
use crate::safe::{Missed, Safe, divisor_of_fixed};
use crate::slots::{SlotClass, slot_classes};

/// The demand of one site on a heap with slabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabDemand {
    /// The classes of its small requests.
    pub classes: Vec<SlotClass>,
    /// Its requests that no slot serves.
    pub blocks: Option<Blocks>,
    /// The longest block that serves a small request if there is no slab for it, in granules.
    pub fallback: u64,
    /// Most live at once, one that a reallocation is moving counted twice.
    pub most_live: u64,
}

/// Requests that take blocks, in granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
    /// What its alignment may cost beside the block.
    pub slack: u64,
}

impl SlabDemand {
    /// The demand of `site` on a heap with slabs.
    pub fn of(cut: Cut, site: &Site) -> Self {
        let most_small = site.max_bytes.min(cut.slot_bytes_max());
        let all_aligned = cut.granule_bytes * cut.align_granules;
        let mut demand = Self {
            classes: Vec::new(),
            blocks: None,
            fallback: cut.granules(most_small),
            most_live: site.most_live + u64::from(site.grows),
        };
        if site.min_bytes <= most_small {
            let smallest = cut.slot_class(site.min_bytes, 1);
            let largest = cut.slot_class(most_small, 1);
            let mut classes = slot_classes(cut);
            classes.retain(|&class| smallest <= Some(class) && Some(class) <= largest);
            demand.classes = classes;
        }
        if site.align_bytes > all_aligned {
            demand.add_blocks(cut, site.min_bytes, site);
        } else if site.max_bytes > cut.slot_bytes_max() {
            let first_large = site.min_bytes.max(cut.slot_bytes_max() + 1);
            demand.add_blocks(cut, first_large, site);
        }
        demand
    }

    fn add_blocks(&mut self, cut: Cut, min_bytes: u64, site: &Site) {
        self.blocks = Some(Blocks {
            min: cut.granules(min_bytes),
            max: cut.granules(site.max_bytes),
            slack: cut.slack(site.align_bytes),
        });
    }
}

/// A safe pool, and the terms of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeWithSlabs {
    /// As without slabs; `live` counts slabs as the blocks that they are.
    pub safe: Safe,
    /// Most slabs at once.
    pub slabs: u64,
    /// What fails if the pool is shorter.
    pub binding: Binding,
}

/// What would fail first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// A new slab.
    Slab,
    /// A block of this demand.
    Demand(usize),
}

/// The safe pool for these demands. `None`: more granules than 64 bits count. O(demands^2).
///
/// The shorter of two that are both safe: one in which there is memory for every slab, and one in
/// which blocks may serve small requests instead.
pub fn pool(cut: Cut, demands: &[SlabDemand]) -> Option<SafeWithSlabs> {
    let always = Standing::of(cut, demands, false)?.pool()?;
    let fallback = Standing::of(cut, demands, true).and_then(|standing| standing.pool());
    Some(match fallback {
        Some(fallback) if fallback.safe.granules < always.safe.granules => fallback,
        _ => always,
    })
}

/// The observed maxima of a program, which may be of different moments. A block that a reallocation
/// is moving counts twice; a block that shrank to a slot's size stays a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maxima {
    /// By class: most slots live.
    pub slots: BTreeMap<SlotClass, u64>,
    /// Most slots live, of all classes.
    pub all_slots: u64,
    /// Most granules live in blocks, as asked for.
    pub block_granules: u64,
    /// Most blocks live.
    pub blocks: u64,
    /// Every length of a block that was asked for, in granules, and the slack of its alignment.
    pub sizes: Vec<(u64, u64)>,
}

/// The safe pool for a program known by its maxima. `None`: more granules than 64 bits count.
/// O(sizes).
///
/// `Binding::Demand` is an index into `sizes`.
pub fn pool_for_maxima(cut: Cut, maxima: &Maxima) -> Option<SafeWithSlabs> {
    let of_class = maxima.slots.iter();
    let slabs = of_class
        .map(|(class, live)| live.div_ceil(class.slots))
        .try_fold(0_u64, u64::checked_add)?
        // Each has a live slot.
        .min(maxima.all_slots);
    let live = maxima.block_granules.checked_add(slabs.checked_mul(cut.slab_granules())?)?;
    let slab = (slabs > 0).then_some((cut.slab_granules(), 0));
    let divisor = divisor_of_fixed(cut, maxima.sizes.iter().copied().chain(slab));
    let shortest = maxima.sizes.iter().map(|&(size, _)| size).min();
    let shortest = shortest.unwrap_or(0).max(Cut::BLOCK_MIN);
    let requests = maxima.sizes.iter().enumerate();
    let requests = requests.map(|(at, &request)| (Binding::Demand(at), request));
    let mut worst = None::<SafeWithSlabs>;
    for (binding, (size, slack)) in
        slab.map(|slab| (Binding::Slab, slab)).into_iter().chain(requests)
    {
        let (blocks, granules, slabs_beside) = match binding {
            Binding::Slab => (maxima.blocks, maxima.block_granules, slabs - 1),
            Binding::Demand(_) => {
                (maxima.blocks.saturating_sub(1), maxima.block_granules.saturating_sub(size), slabs)
            }
        };
        let others = blocks.min(granules / shortest).checked_add(slabs_beside)?;
        let missed = Missed::by(cut, size.checked_add(slack)?, divisor);
        let safe = missed.pool(live, slack, others, 0)?;
        if worst.is_none_or(|worst| safe.granules > worst.safe.granules) {
            worst = Some(SafeWithSlabs { safe, slabs, binding });
        }
    }
    worst
}

/// Most slabs that each class can have at once: a class opens one only when all its others are
/// full.
fn most_slabs(demands: &[SlabDemand]) -> BTreeMap<SlotClass, u64> {
    let mut live: BTreeMap<SlotClass, u64> = BTreeMap::new();
    for demand in demands {
        for &class in &demand.classes {
            let live = live.entry(class).or_insert(0);
            *live = live.saturating_add(demand.most_live);
        }
    }
    live.into_iter().map(|(class, live)| (class, live.div_ceil(class.slots))).collect()
}

/// The live blocks, as the block tier sees them.
struct Standing<'a> {
    cut: Cut,
    demands: &'a [SlabDemand],
    /// Whether blocks may serve small requests.
    falls_back: bool,
    /// By demand: the longest block of its own that each of its live blocks may be; 0 if none.
    block: Vec<u64>,
    /// By demand: how many of its live blocks may each keep a slab.
    keepers: Vec<u64>,
    /// Most slabs at once.
    most: u64,
    divisor: u64,
}

impl<'a> Standing<'a> {
    fn of(cut: Cut, demands: &'a [SlabDemand], falls_back: bool) -> Option<Self> {
        let of_class = most_slabs(demands);
        let block = |demand: &SlabDemand| {
            let own = demand.blocks.map_or(0, |blocks| blocks.max);
            let is_small = falls_back && !demand.classes.is_empty();
            own.max(if is_small { demand.fallback } else { 0 })
        };
        let keepers = |demand: &SlabDemand| {
            let slabs = demand.classes.iter().map(|class| of_class[class]);
            demand.most_live.min(slabs.fold(0, u64::saturating_add))
        };
        let keepers: Vec<u64> = demands.iter().map(keepers).collect();
        let sum = |counts: &[u64]| counts.iter().try_fold(0_u64, |sum, &n| sum.checked_add(n));
        let by_class: Vec<u64> = of_class.values().copied().collect();
        Some(Self {
            cut,
            demands,
            falls_back,
            block: demands.iter().map(block).collect(),
            most: sum(&by_class)?.min(sum(&keepers)?),
            keepers,
            divisor: if falls_back { cut.align_granules } else { common_divisor(cut, demands) },
        })
    }

    /// The worst over all requests that may fail.
    fn pool(&self) -> Option<SafeWithSlabs> {
        let mut worst = None::<SafeWithSlabs>;
        for (binding, granules, slack) in self.may_fail() {
            let failing = self.failing(binding, granules, slack)?;
            if worst.is_none_or(|worst| failing.safe.granules > worst.safe.granules) {
                worst = Some(failing);
            }
        }
        worst
    }

    /// The requests to the block tier, each with its slack: the longest of each demand, and those
    /// for slabs.
    fn may_fail(&self) -> Vec<(Binding, u64, u64)> {
        let mut requests = Vec::new();
        for (index, demand) in self.demands.iter().enumerate() {
            if let Some(blocks) = demand.blocks {
                requests.push((Binding::Demand(index), blocks.max, blocks.slack));
            }
            if demand.classes.is_empty() {
                continue;
            }
            requests.push(if self.falls_back {
                (Binding::Demand(index), demand.fallback, 0)
            } else {
                (Binding::Slab, self.cut.slab_granules(), 0)
            });
        }
        requests
    }

    /// One granule more than the longest pool in which a request of `granules` and `slack` may
    /// fail.
    fn failing(&self, binding: Binding, granules: u64, slack: u64) -> Option<SafeWithSlabs> {
        let slab = self.cut.slab_granules();
        // First every live block has its own block, if it may.
        let (mut live, mut pieces) = (0_u64, 0_u64);
        let mut gains = Vec::new();
        for (at, demand) in self.demands.iter().enumerate() {
            let block = self.block[at];
            if block > 0 {
                live = live.checked_add(block.checked_mul(demand.most_live)?)?;
                pieces = pieces.checked_add(demand.most_live)?;
                gains.push((slab.saturating_sub(block), 0, self.keepers[at]));
            } else {
                gains.push((slab, 1, self.keepers[at]));
            }
        }
        // Then those that gain most become keepers of slabs, as many as there may be. One that had
        // no block gains most, since it also adds a gap.
        gains.sort_unstable_by_key(|&(gain, piece, _)| std::cmp::Reverse((piece, gain)));
        let mut slabs = 0;
        for (gain, piece, keepers) in gains {
            let count = keepers.min(self.most - slabs);
            if gain == 0 {
                continue;
            }
            slabs += count;
            live = live.checked_add(gain.checked_mul(count)?)?;
            pieces = pieces.checked_add(piece * count)?;
        }
        let missed = Missed::by(self.cut, granules.checked_add(slack)?, self.divisor);
        let binding_demand = match binding {
            Binding::Slab => 0,
            Binding::Demand(at) => at,
        };
        Some(SafeWithSlabs {
            safe: missed.pool(live, slack, pieces.saturating_sub(1), binding_demand)?,
            slabs: self.most,
            binding,
        })
    }
}

/// The common divisor of all blocks and slabs: that of the geometry, or a multiple if all sizes are
/// fixed and nothing is aligned higher. A block that shrinks to a slot's size stays a block, so a
/// site with both kinds has no fixed size.
fn common_divisor(cut: Cut, demands: &[SlabDemand]) -> u64 {
    let mut sizes = Vec::new();
    for demand in demands {
        if let Some(blocks) = demand.blocks {
            if blocks.min != blocks.max || !demand.classes.is_empty() {
                return cut.align_granules;
            }
            sizes.push((blocks.max, blocks.slack));
        }
        if !demand.classes.is_empty() {
            sizes.push((cut.slab_granules(), 0));
        }
    }
    divisor_of_fixed(cut, sizes.into_iter())
}

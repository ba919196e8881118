//! The pool that can never fail, for a heap with slabs: the theorem of `docs/bounds.md`, "With slabs".
//!
//! Each live block of a program stands in the block tier as a block of its own, or as what keeps a slab from being given back, or
//! as nothing, where another slot of its slab stands for it. The bound takes the worst of these for each, as far as each class can
//! have slabs; gaps then cost what they cost without slabs.

use std::alloc::Layout;
use std::collections::BTreeMap;

use evenfit::SlotClass;

use crate::contract::Site;
use crate::geometry::Cut;
use crate::safe::longest_gap;

/// What one site asks of a heap with slabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabDemand {
    /// The classes of its small requests.
    pub classes: Vec<SlotClass>,
    /// Its requests that no slot serves.
    pub blocks: Option<Blocks>,
    /// The longest block that a small request takes where no slab can be had, in granules.
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
    /// What `site` asks of the standard heap with slabs.
    pub fn of(site: &Site) -> Self {
        let cut = Cut::STANDARD;
        let most_small = site.max_bytes.min(SlotClass::REQUEST_BYTES_MAX as u64);
        let aligns = (0..64).map(|log2| 1_u64 << log2);
        let aligns: Vec<u64> = aligns
            .take_while(|&align| align <= site.align_bytes)
            .collect();
        let mut demand = Self {
            classes: Vec::new(),
            blocks: None,
            fallback: cut.granules(most_small),
            most_live: site.most_live + u64::from(site.grows),
        };
        for bytes in site.min_bytes..=most_small {
            for &align in &aligns {
                match class(bytes, align) {
                    Some(class) => demand.classes.push(class),
                    None => demand.add_blocks(bytes, bytes, align),
                }
            }
        }
        let first_large = site.min_bytes.max(SlotClass::REQUEST_BYTES_MAX as u64 + 1);
        if first_large <= site.max_bytes {
            demand.add_blocks(first_large, site.max_bytes, site.align_bytes);
        }
        demand.classes.sort_unstable();
        demand.classes.dedup();
        demand
    }

    fn add_blocks(&mut self, min_bytes: u64, max_bytes: u64, align_bytes: u64) {
        let cut = Cut::STANDARD;
        let (min, max) = (cut.granules(min_bytes), cut.granules(max_bytes));
        let slack = cut.slack(align_bytes);
        let so_far = self.blocks.unwrap_or(Blocks { min, max, slack });
        self.blocks = Some(Blocks {
            min: so_far.min.min(min),
            max: so_far.max.max(max),
            slack: so_far.slack.max(slack),
        });
    }
}

/// The class of a small request.
pub fn class(bytes: u64, align_bytes: u64) -> Option<SlotClass> {
    let layout = Layout::from_size_align(bytes as usize, align_bytes as usize).ok()?;
    SlotClass::of(layout)
}

/// A slab's length in granules.
pub fn slab_granules() -> u64 {
    SlotClass::SLAB_BYTES as u64 / Cut::STANDARD.granule_bytes
}

/// Bytes of a region, based at a multiple of a granule, whose pool with slabs has `granules`. `None`: more than 64 bits count.
pub fn region_bytes(granules: u64) -> Option<u64> {
    let pool_bytes = granules.checked_mul(Cut::STANDARD.granule_bytes)?;
    let metadata_bytes = SlotClass::metadata_bytes(usize::try_from(granules).ok()?);
    pool_bytes.checked_add(metadata_bytes as u64)
}

/// A pool that never fails, and what makes it so large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SafeWithSlabs {
    /// The pool.
    pub granules: u64,
    /// Most slabs at once.
    pub slabs: u64,
    /// Most granules in blocks and slabs at once.
    pub live: u64,
    /// Most gaps below the top when a request fails.
    pub gaps: u64,
    /// The longest that each of them can be.
    pub gap: u64,
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
/// The shorter of two that are both safe: one in which slabs can always be had, and one in which small requests may have to take
/// blocks instead.
pub fn pool(demands: &[SlabDemand]) -> Option<SafeWithSlabs> {
    let always = Slabs::of(demands, false)?.pool()?;
    let fallback = Slabs::of(demands, true).and_then(|slabs| slabs.pool());
    Some(match fallback {
        Some(fallback) if fallback.granules < always.granules => fallback,
        _ => always,
    })
}

/// What is known of a program by its observed maxima only, none of which need be at the same moment. A block that a reallocation is
/// moving counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maxima {
    /// By class: most slots live.
    pub slots: BTreeMap<SlotClass, u64>,
    /// Most slots live, of all classes.
    pub all_slots: u64,
    /// Most granules live in blocks, and most blocks.
    pub block_granules: u64,
    /// Most blocks live.
    pub blocks: u64,
    /// Every length of a block that was asked for, in granules, and the slack of its alignment.
    pub sizes: Vec<(u64, u64)>,
}

/// The safe pool for a program known by its maxima. `None`: more granules than 64 bits count. O(sizes).
///
/// `Binding::Demand` is an index into `sizes`.
pub fn pool_for_maxima(maxima: &Maxima) -> Option<SafeWithSlabs> {
    let of_class = maxima.slots.iter();
    let slabs = of_class
        .map(|(class, live)| live.div_ceil(class.slots as u64))
        .try_fold(0_u64, u64::checked_add)?
        // Each holds a live slot.
        .min(maxima.all_slots);
    let live = maxima
        .block_granules
        .checked_add(slabs.checked_mul(slab_granules())?)?;
    let shortest = maxima.sizes.iter().map(|&(size, _)| size).min();
    let shortest = shortest.unwrap_or(1).max(1);
    let failing = |binding, granules: u64, slack: u64, other_slabs: u64, blocks: u64| {
        let gap = longest_gap(Cut::STANDARD, granules.checked_add(slack)?, 1);
        let gaps = blocks.checked_add(other_slabs)?;
        Some(SafeWithSlabs {
            granules: live
                .checked_add(slack)?
                .checked_add(gaps.checked_mul(gap)?)?,
            slabs,
            live,
            gaps,
            gap,
            binding,
        })
    };
    let blocks = maxima.blocks.min(maxima.block_granules / shortest);
    let mut worst = failing(
        Binding::Slab,
        if slabs > 0 { slab_granules() } else { 1 },
        0,
        slabs.saturating_sub(1),
        blocks,
    )?;
    for (index, &(size, slack)) in maxima.sizes.iter().enumerate() {
        let others = maxima
            .blocks
            .saturating_sub(1)
            .min(maxima.block_granules.saturating_sub(size) / shortest);
        let safe = failing(Binding::Demand(index), size, slack, slabs, others)?;
        if safe.granules > worst.granules {
            worst = safe;
        }
    }
    Some(worst)
}

/// Most slabs that each class can have at once: a class opens one only when all its others are full.
fn most_slabs(demands: &[SlabDemand]) -> BTreeMap<SlotClass, u64> {
    let mut live: BTreeMap<SlotClass, u64> = BTreeMap::new();
    for demand in demands {
        for &class in &demand.classes {
            let live = live.entry(class).or_insert(0);
            *live = live.saturating_add(demand.most_live);
        }
    }
    live.into_iter()
        .map(|(class, live)| (class, live.div_ceil(class.slots as u64)))
        .collect()
}

/// The live blocks that stand in the block tier.
struct Slabs<'a> {
    demands: &'a [SlabDemand],
    /// Whether small requests may take blocks.
    falls_back: bool,
    /// By demand: the longest block of its own that each of its live blocks may be; 0 if none.
    block: Vec<u64>,
    /// By demand: how many of its live blocks may each keep a slab.
    keepers: Vec<u64>,
    /// Most slabs at once.
    most: u64,
    divisor: u64,
}

impl<'a> Slabs<'a> {
    fn of(demands: &'a [SlabDemand], falls_back: bool) -> Option<Self> {
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
            demands,
            falls_back,
            block: demands.iter().map(block).collect(),
            most: sum(&by_class)?.min(sum(&keepers)?),
            keepers,
            divisor: if falls_back {
                1
            } else {
                common_divisor(demands)
            },
        })
    }

    /// The worst over all requests that may fail.
    fn pool(&self) -> Option<SafeWithSlabs> {
        let mut worst = None::<SafeWithSlabs>;
        for (binding, granules, slack) in self.may_fail() {
            let safe = self.failing(binding, granules, slack)?;
            if worst.is_none_or(|worst| safe.granules > worst.granules) {
                worst = Some(safe);
            }
        }
        worst
    }

    /// The requests to the block tier, each with its slack: the longest of each demand, and those for slabs.
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
                (Binding::Slab, slab_granules(), 0)
            });
        }
        requests
    }

    /// The longest pool in which a request of `granules` and `slack` may fail, and one granule more.
    fn failing(&self, binding: Binding, granules: u64, slack: u64) -> Option<SafeWithSlabs> {
        let gap = longest_gap(Cut::STANDARD, granules.checked_add(slack)?, self.divisor);
        // Every live block as a block of its own, where it may be one.
        let (mut live, mut pieces) = (0_u64, 0_u64);
        let mut gains = Vec::new();
        for (at, demand) in self.demands.iter().enumerate() {
            let block = self.block[at];
            if block > 0 {
                live = live.checked_add(block.checked_mul(demand.most_live)?)?;
                pieces = pieces.checked_add(demand.most_live)?;
                gains.push((slab_granules().saturating_sub(block), 0, self.keepers[at]));
            } else {
                gains.push((slab_granules(), 1, self.keepers[at]));
            }
        }
        // Then as many slabs as there may be, in place of what they lengthen most. One that is also a piece more gains most.
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
        let gaps = pieces.saturating_sub(1);
        Some(SafeWithSlabs {
            granules: live
                .checked_add(slack)?
                .checked_add(gaps.checked_mul(gap)?)?,
            slabs: self.most,
            live,
            gaps,
            gap,
            binding,
        })
    }
}

/// What divides every block and slab, where all sizes are fixed and no alignment interferes.
fn common_divisor(demands: &[SlabDemand]) -> u64 {
    let mut divisor = 0;
    for demand in demands {
        if let Some(blocks) = demand.blocks {
            if blocks.min != blocks.max || blocks.slack != 0 {
                return 1;
            }
            divisor = crate::safe::gcd(divisor, blocks.max);
        }
        if !demand.classes.is_empty() {
            divisor = crate::safe::gcd(divisor, slab_granules());
        }
    }
    divisor.max(1)
}

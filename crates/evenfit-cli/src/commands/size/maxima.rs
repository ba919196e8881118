//! The maxima of a recorded program, and the pool that is proved safe for every program with the
//! same maxima.

use std::collections::BTreeSet;

use evenfit_bound::safe::{self, Demand, Safe};
use evenfit_bound::{Cut, SlotClass, robson, slabs, slot_classes};
use evenfit_trace::Event;

/// Observed maxima, in granules.
pub(super) struct Maxima {
    cut: Cut,
    /// Most live at once, a block being moved counted twice.
    pub(super) live: u64,
    /// Most blocks at once, counted so too.
    pub(super) blocks: u64,
    /// Every size asked for, with the slack of its alignment.
    sizes: Vec<(u64, u64)>,
    /// By powers of two of granules: smallest, largest, slack, most live.
    classes: Vec<Demand>,
}

/// A proved pool, in bytes, metadata included.
pub(super) struct Proved {
    pub(super) bytes: u64,
    pub(super) safe: Safe,
    /// The request that decides its size, in bytes.
    pub(super) binding_bytes: u64,
}

impl Maxima {
    pub(super) fn of(cut: Cut, events: &[Event], allocations: usize) -> Self {
        let mut tally = Tally {
            cut,
            blocks: vec![(0, 0); allocations],
            live: 0,
            count: 0,
            live_most: 0,
            count_most: 0,
            sizes: BTreeSet::new(),
            now: [0; 64],
            most: [0; 64],
            range: [None; 64],
        };
        for &event in events {
            tally.take(event);
        }
        let classes = (0..64).filter_map(|class| {
            let (min, max, slack) = tally.range[class]?;
            Some(Demand { min, max, slack, most_live: tally.most[class] })
        });
        Self {
            cut,
            live: tally.live_most,
            blocks: tally.count_most,
            classes: classes.collect(),
            sizes: tally.sizes.into_iter().collect(),
        }
    }

    /// One pool for everything. `None`: more than 64 bits count.
    pub(super) fn safe(&self) -> Option<Proved> {
        let safe = safe::pool_for_maxima(self.cut, self.live, self.blocks, &self.sizes)?;
        Some(Proved {
            bytes: self.cut.region_bytes(safe.granules)?,
            safe,
            binding_bytes: self.sizes.get(safe.binding)?.0 * self.cut.granule_bytes,
        })
    }

    /// Several pools, each for blocks of some sizes: how many, and their bytes in all.
    pub(super) fn apart(&self) -> Option<(usize, u64)> {
        let shares = safe::divided(self.cut, &self.classes)?;
        let bytes = shares.iter().try_fold(0u64, |sum, share| {
            sum.checked_add(self.cut.region_bytes(share.safe.granules)?)
        })?;
        Some((shares.len(), bytes))
    }

    /// The pool below which no allocator serves all programs with these maxima, in bytes.
    pub(super) fn floor_bytes(&self) -> u64 {
        let largest = self.sizes.iter().map(|&(size, _)| size).max().unwrap_or(0);
        robson::floor(self.live, largest) * self.cut.granule_bytes
    }
}

/// The live blocks, while the events are read.
struct Tally {
    cut: Cut,
    /// By id: granules and slack.
    blocks: Vec<(u64, u64)>,
    live: u64,
    count: u64,
    live_most: u64,
    count_most: u64,
    sizes: BTreeSet<(u64, u64)>,
    /// By class: blocks live, most live, and smallest, largest and slack.
    now: [u64; 64],
    most: [u64; 64],
    range: [Option<(u64, u64, u64)>; 64],
}

impl Tally {
    fn take(&mut self, event: Event) {
        match event {
            Event::Alloc { id, size, align_log2, .. } => {
                let slack = self.cut.slack(1 << align_log2.min(62));
                self.born(id, self.cut.granules(size), slack);
            }
            Event::Free { id } => self.died(self.blocks[id as usize].0),
            Event::Realloc { id, new_size } => {
                let (old, slack) = self.blocks[id as usize];
                let new = self.cut.granules(new_size);
                if new <= old {
                    // Always in place.
                    self.died(old);
                    self.born(id, new, slack);
                } else {
                    // It may move: for that moment both are live.
                    self.born(id, new, slack);
                    self.died(old);
                }
            }
        }
    }

    fn born(&mut self, id: u32, granules: u64, slack: u64) {
        self.blocks[id as usize] = (granules, slack);
        self.live += granules;
        self.count += 1;
        self.live_most = self.live_most.max(self.live);
        self.count_most = self.count_most.max(self.count);
        self.sizes.insert((granules, slack));
        let class = granules.ilog2() as usize;
        self.now[class] += 1;
        self.most[class] = self.most[class].max(self.now[class]);
        let (min, max, widest) = self.range[class].unwrap_or((granules, granules, slack));
        self.range[class] = Some((min.min(granules), max.max(granules), widest.max(slack)));
    }

    fn died(&mut self, granules: u64) {
        self.live -= granules;
        self.count -= 1;
        self.now[granules.ilog2() as usize] -= 1;
    }
}

/// The maxima of a trace in the heap with slabs.
///
/// A block that shrank to a slot's size, and then grew again, may have moved to a slot or not. It
/// counts as both.
pub(super) fn with_slabs(cut: Cut, events: &[Event], allocations: usize) -> slabs::Maxima {
    let mut tally = SlabTally {
        cut,
        classes: slot_classes(cut),
        places: vec![Place::default(); allocations],
        now: slabs::Maxima::default(),
        most: slabs::Maxima::default(),
        sizes: BTreeSet::new(),
    };
    for &event in events {
        tally.take(event);
    }
    slabs::Maxima { sizes: tally.sizes.into_iter().collect(), ..tally.most }
}

/// Where a block may be: in a slot, in a block of its own, or perhaps either.
#[derive(Clone, Copy, Default)]
struct Place {
    align_bytes: u64,
    slot: Option<SlotClass>,
    /// Granules.
    block: Option<u64>,
}

struct SlabTally {
    cut: Cut,
    /// Of slots, the shortest first.
    classes: Vec<SlotClass>,
    places: Vec<Place>,
    now: slabs::Maxima,
    most: slabs::Maxima,
    sizes: BTreeSet<(u64, u64)>,
}

impl SlabTally {
    fn take(&mut self, event: Event) {
        match event {
            Event::Alloc { id, size, align_log2, .. } => {
                let place = self.fresh(size, 1 << align_log2.min(62));
                self.places[id as usize] = place;
                self.born(place);
            }
            Event::Free { id } => self.died(self.places[id as usize]),
            Event::Realloc { id, new_size } => {
                let old = self.places[id as usize];
                let new = self.resized(old, new_size);
                if Self::stays(old, new) {
                    self.died(old);
                    self.born(new);
                } else {
                    // It may move: for that moment both are live.
                    self.born(new);
                    self.died(old);
                }
                self.places[id as usize] = new;
            }
        }
    }

    fn fresh(&self, size: u64, align_bytes: u64) -> Place {
        let slot = if align_bytes > self.cut.granule_bytes * self.cut.align_granules {
            None
        } else {
            let first = self.classes.partition_point(|class| class.slot_bytes < size);
            self.classes.get(first).copied()
        };
        Place { align_bytes, slot, block: slot.is_none().then(|| self.cut.granules(size)) }
    }

    fn resized(&self, old: Place, new_size: u64) -> Place {
        let fresh = self.fresh(new_size, old.align_bytes);
        if old.block.is_none() {
            return fresh;
        }
        let granules = self.cut.granules(new_size);
        let shrinks = old.block.is_some_and(|block| granules <= block);
        Place {
            slot: fresh.slot.filter(|_| !shrinks || old.slot.is_some()),
            // In place, or moved to another block.
            block: Some(granules),
            ..fresh
        }
    }

    /// Whether a reallocation always stays in place.
    fn stays(old: Place, new: Place) -> bool {
        match (old.slot, old.block) {
            (Some(slot), None) => new.slot == Some(slot),
            (None, Some(block)) => new.block.is_some_and(|new| new <= block),
            _ => false,
        }
    }

    fn born(&mut self, place: Place) {
        let (now, most) = (&mut self.now, &mut self.most);
        if let Some(class) = place.slot {
            let live = now.slots.entry(class).or_insert(0);
            *live += 1;
            now.all_slots += 1;
            let so_far = most.slots.entry(class).or_insert(0);
            *so_far = (*so_far).max(*live);
            most.all_slots = most.all_slots.max(now.all_slots);
        }
        if let Some(granules) = place.block {
            now.block_granules += granules;
            now.blocks += 1;
            most.block_granules = most.block_granules.max(now.block_granules);
            most.blocks = most.blocks.max(now.blocks);
            let slack = self.cut.slack(place.align_bytes);
            self.sizes.insert((granules, slack));
        }
    }

    fn died(&mut self, place: Place) {
        if let Some(class) = place.slot {
            if let Some(live) = self.now.slots.get_mut(&class) {
                *live -= 1;
            }
            self.now.all_slots -= 1;
        }
        if let Some(granules) = place.block {
            self.now.block_granules -= granules;
            self.now.blocks -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alloc;
    use super::*;

    #[test]
    fn slots_and_blocks_are_counted_apart_and_what_may_be_either_as_both() {
        let class = |bytes| Cut::STANDARD.slot_class(bytes, 8).unwrap();
        let resize = |id, new_size| Event::Realloc { id, new_size };
        // A slot that moves to another class is in both for a moment.
        let maxima = with_slabs(Cut::STANDARD, &[alloc(0, 64), resize(0, 60), resize(0, 100)], 1);
        let both = [(class(64), 1), (class(100), 1)];
        assert_eq!(maxima.slots, both.into_iter().collect());
        assert_eq!((maxima.all_slots, maxima.blocks), (2, 0));
        // A block that shrinks stays one; when it grows it may become a slot.
        let shrunk = [alloc(0, 1_000), resize(0, 48)];
        let maxima = with_slabs(Cut::STANDARD, &shrunk, 1);
        assert_eq!((maxima.all_slots, maxima.blocks, maxima.block_granules), (0, 1, 125));
        let maxima = with_slabs(Cut::STANDARD, &[shrunk[0], shrunk[1], resize(0, 64)], 1);
        assert_eq!((maxima.all_slots, maxima.blocks), (1, 2));
        // A request of zero bytes is served by a slot too.
        let maxima =
            with_slabs(Cut::STANDARD, &[alloc(0, 64), alloc(1, 0), Event::Free { id: 0 }], 2);
        assert_eq!((maxima.all_slots, maxima.blocks, maxima.block_granules), (2, 0, 0));
    }

    #[test]
    fn a_moving_block_counts_twice() {
        let events = [
            Event::Alloc { id: 0, size: 100, align_log2: 3, zeroed: false },
            Event::Alloc { id: 1, size: 16, align_log2: 6, zeroed: false },
            Event::Realloc { id: 0, new_size: 200 },
            Event::Free { id: 1 },
        ];
        let maxima = Maxima::of(Cut::STANDARD, &events, 2);
        assert_eq!((maxima.live, maxima.blocks), (13 + 2 + 25, 3));
        assert_eq!(maxima.sizes, [(2, 9), (13, 0), (25, 0)]);
        let proved = maxima.safe().unwrap();
        // Binding: a request of 25, the two other blocks with a gap of 24 before each and one
        // granule absorbed.
        assert_eq!(proved.safe.granules, 40 + 2 * (24 + 1));
        assert_eq!(proved.binding_bytes, 200);
        assert!(maxima.apart().is_some());
    }
}

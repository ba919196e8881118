//! Counting, and the most that each operation cost.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use core::alloc::Layout;

use evenfit::next::{Geometry, ReallocError, Tiers};

use super::picks::Picks;
use super::world::World;
use crate::record::{Cost, Most, Probe};
use crate::world::Block;

/// What was counted last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) operation: &'static str,
    pub(crate) instructions: u64,
}

/// The most of every operation.
pub struct Record<P: Probe> {
    probe: P,
    tier: &'static str,
    most: BTreeMap<(&'static str, &'static str), Most>,
    states: u64,
}

impl<P: Probe> Record<P> {
    /// Nothing is counted yet.
    pub fn new(probe: P) -> Self {
        Self {
            probe,
            tier: "",
            most: BTreeMap::new(),
            states: 0,
        }
    }

    /// What follows is of this kind of pool.
    pub(crate) fn begin(&mut self, tier: &'static str) {
        self.tier = tier;
    }

    /// By kind of pool and operation; and what counted.
    pub fn finish(self) -> (BTreeMap<(&'static str, &'static str), Most>, P) {
        (self.most, self.probe)
    }

    /// In how many states was counted.
    pub fn states(&self) -> u64 {
        self.states
    }

    /// From now on all that can be counted is; or no longer.
    pub(crate) fn count_all(&mut self, all: bool) {
        self.probe.count_all(all);
    }

    fn note(&mut self, operation: &'static str, cost: Cost, picks: &Picks) -> Counted {
        self.states += 1;
        let most = self.most.entry((self.tier, operation)).or_default();
        if cost.instructions > most.cost.instructions {
            most.cost.instructions = cost.instructions;
            most.state = picks.text().to_string();
            self.probe.is_most(self.tier, operation);
        }
        if cost.lines > most.cost.lines {
            most.cost.lines = cost.lines;
            most.lines_state = picks.text().to_string();
        }
        most.cost.turns = most.cost.turns.max(cost.turns);
        Counted {
            operation,
            instructions: cost.instructions,
        }
    }

    pub(crate) fn allocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        layout: Layout,
        picks: &Picks,
    ) -> Counted {
        let heap = world.heap();
        let (result, cost) = self.probe.count(|| heap.allocate(layout));
        world.check();
        let operation = match (result.is_ok(), layout.align() > G::ALIGN_BYTES) {
            (true, false) => "allocate",
            (true, true) => "allocate over-aligned",
            (false, _) => "allocate, failing",
        };
        self.note(operation, cost, picks)
    }

    /// `is_as_asked`: the block or slot is just what the layout asks for; not a longer one, nor a block in place of a slot.
    pub(crate) fn deallocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        block: Block,
        is_as_asked: bool,
        picks: &Picks,
    ) -> Counted {
        let Block { ptr, layout } = block;
        let heap = world.heap();
        // SAFETY: a live block is not used again; what is none is refused.
        let (result, cost) = self
            .probe
            .count(|| unsafe { heap.try_deallocate(ptr, layout) });
        let operation = match (result.is_ok(), layout.align() > G::ALIGN_BYTES) {
            (true, false) if is_as_asked => "deallocate",
            (true, false) => "deallocate other than asked",
            (true, true) => "deallocate over-aligned",
            (false, _) => "deallocate, refused",
        };
        if result.is_ok() {
            world.check();
        }
        self.note(operation, cost, picks)
    }

    pub(crate) fn reallocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        block: Block,
        new: Layout,
        picks: &Picks,
    ) -> Counted {
        let Block { ptr, layout } = block;
        let heap = world.heap();
        // SAFETY: a live block is not used as the old one again; what is none is refused.
        let (result, cost) = self
            .probe
            .count(|| unsafe { heap.reallocate(ptr, layout, new) });
        let grows = new.size() > layout.size();
        let operation = match (result, grows, new.align() > G::ALIGN_BYTES) {
            (Ok(_), true, false) => "grow",
            (Ok(_), true, true) => "grow over-aligned",
            (Ok(_), false, false) => "shrink",
            (Ok(_), false, true) => "shrink over-aligned",
            (Err(ReallocError::Free(_)), ..) => "reallocate, refused",
            (Err(_), ..) => "reallocate, failing",
        };
        if !operation.ends_with("refused") {
            world.check();
        }
        self.note(operation, cost, picks)
    }
}

//! The most that each operation cost, and where.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::alloc::Layout;

use evenfit::Geometry;

use crate::next::Key;
use crate::world::{Block, World};

/// What one call cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Instructions executed.
    pub instructions: u64,
    /// Distinct cache lines of data loaded from or stored to; 0 where they aren't counted.
    pub lines: usize,
    /// How often the most executed instruction was; 0 where it isn't counted.
    pub turns: usize,
}

/// Counts what a call costs.
pub trait Probe {
    /// Calls `operation` once.
    fn count<T>(&mut self, operation: impl FnOnce() -> T) -> (T, Cost);

    /// What was counted last is the most so far of what is counted together.
    fn is_most(&mut self, _key: Key) {}

    /// From now on all that can be counted is to be, however long it takes; or no longer.
    fn count_all(&mut self, _all: bool) {}
}

/// What an operation took at most, and the state in which it did.
#[derive(Clone, Debug, Default)]
pub struct Most {
    /// The most of each, not of one call.
    pub cost: Cost,
    /// Where the most instructions were needed.
    pub state: String,
    /// Where the most lines were touched.
    pub lines_state: String,
}

/// The most of every operation.
pub struct Record<P: Probe> {
    probe: P,
    tier: &'static str,
    most: BTreeMap<(&'static str, &'static str), Most>,
}

impl<P: Probe> Record<P> {
    /// Nothing is counted yet.
    pub fn new(probe: P) -> Self {
        Self {
            probe,
            tier: "",
            most: BTreeMap::new(),
        }
    }

    /// What follows is of this kind of pool.
    pub(crate) fn begin(&mut self, tier: &'static str) {
        self.tier = tier;
    }

    /// By kind of pool and operation.
    pub fn finish(self) -> BTreeMap<(&'static str, &'static str), Most> {
        self.most
    }

    fn note(&mut self, operation: &'static str, cost: Cost, state: &dyn Fn() -> String) {
        let most = self.most.entry((self.tier, operation)).or_default();
        if cost.instructions > most.cost.instructions {
            most.cost.instructions = cost.instructions;
            most.state = state();
        }
        if cost.lines > most.cost.lines {
            most.cost.lines = cost.lines;
            most.lines_state = state();
        }
        most.cost.turns = most.cost.turns.max(cost.turns);
    }

    /// Whether it was served.
    pub(crate) fn allocate<G: Geometry>(
        &mut self,
        world: &mut World<G>,
        bytes: usize,
        align: usize,
        state: &dyn Fn() -> String,
    ) -> bool {
        let layout = Layout::from_size_align(bytes, align).expect("small");
        let heap = world.heap();
        let (result, cost) = self.probe.count(|| heap.allocate(layout));
        let operation = if align > G::GRANULE_BYTES {
            "allocate over-aligned"
        } else {
            "allocate"
        };
        self.note(operation, cost, state);
        world.heap().check().expect("a sound heap");
        result.is_ok()
    }

    pub(crate) fn deallocate<G: Geometry>(
        &mut self,
        world: &mut World<G>,
        block: Block,
        state: &dyn Fn() -> String,
    ) {
        let Block { ptr, layout } = block;
        let heap = world.heap();
        // SAFETY: the block is live and not used again.
        let (result, cost) = self
            .probe
            .count(|| unsafe { heap.try_deallocate(ptr, layout) });
        result.expect("a live block");
        self.note("deallocate", cost, state);
        world.heap().check().expect("a sound heap");
    }

    pub(crate) fn reallocate<G: Geometry>(
        &mut self,
        world: &mut World<G>,
        block: Block,
        bytes: usize,
        align: usize,
        state: &dyn Fn() -> String,
    ) {
        let Block { ptr, layout } = block;
        let new = Layout::from_size_align(bytes, align).expect("small");
        let heap = world.heap();
        let operation = match (bytes > layout.size(), align > G::GRANULE_BYTES) {
            (true, false) => "grow",
            (true, true) => "grow over-aligned",
            (false, false) => "shrink",
            (false, true) => "shrink over-aligned",
        };
        // SAFETY: the block is live and not used again.
        let (_, cost) = self
            .probe
            .count(|| unsafe { heap.reallocate(ptr, layout, new) });
        self.note(operation, cost, state);
        world.heap().check().expect("a sound heap");
    }
}

//! Counts operations, and records the largest cost of each.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use core::alloc::Layout;

use evenfit::{Geometry, ReallocError, Tiers};

use crate::states::picks::Picks;
use crate::states::probe::{Cost, Probe};
use crate::states::world::{Block, World};

/// The largest cost of an operation, and the state that has it.
#[derive(Clone, Debug, Default)]
pub struct Most {
    /// The maximum of each figure; they may come from different calls.
    pub cost: Cost,
    /// Where the most instructions were needed.
    pub state: String,
    /// Where the most lines were touched.
    pub lines_state: String,
}

/// The largest costs by kind of pool and operation.
pub type Mosts = BTreeMap<(&'static str, &'static str), Most>;

/// What was counted last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) operation: &'static str,
    pub(crate) instructions: u64,
}

/// The kind of pool, the operation, and the family of states.
pub type Key = (&'static str, &'static str, &'static str);

/// The largest cost of every operation.
pub struct Record<P: Probe> {
    probe: P,
    tier: &'static str,
    family: &'static str,
    most: BTreeMap<Key, Most>,
    states: u64,
}

impl<P: Probe> Record<P> {
    /// A record in which nothing is counted yet.
    pub fn new(probe: P) -> Self {
        Self { probe, tier: "", family: "", most: BTreeMap::new(), states: 0 }
    }

    /// The following counts are of this kind of pool.
    pub(crate) fn begin(&mut self, tier: &'static str) {
        self.tier = tier;
    }

    /// The following counts are of this family of states.
    pub(crate) fn begin_family(&mut self, family: &'static str) {
        self.family = family;
    }

    /// By kind of pool, operation and family.
    pub fn by_family(&self) -> &BTreeMap<Key, Most> {
        &self.most
    }

    /// By kind of pool and operation.
    pub fn by_operation(&self) -> Mosts {
        let mut mosts = Mosts::new();
        for (&(tier, operation, _), most) in &self.most {
            let all = mosts.entry((tier, operation)).or_default();
            if most.cost.instructions > all.cost.instructions {
                all.cost.instructions = most.cost.instructions;
                all.state.clone_from(&most.state);
            }
            if most.cost.lines > all.cost.lines {
                all.cost.lines = most.cost.lines;
                all.lines_state.clone_from(&most.lines_state);
            }
            all.cost.turns = all.cost.turns.max(most.cost.turns);
        }
        mosts
    }

    /// The probe that counted.
    pub fn probe(&self) -> &P {
        &self.probe
    }

    /// The number of states counted so far.
    pub fn states(&self) -> u64 {
        self.states
    }

    /// Whether to count also what takes longer, from now on.
    pub(crate) fn count_all(&mut self, all: bool) {
        self.probe.count_all(all);
    }

    fn note(&mut self, operation: &'static str, cost: Cost, picks: &Picks) -> Counted {
        self.states += 1;
        let key = (self.tier, operation, self.family);
        let most = self.most.entry(key).or_default();
        if cost.instructions > most.cost.instructions {
            most.cost.instructions = cost.instructions;
            most.state = picks.text().to_string();
            self.probe.is_most(key);
        }
        if cost.lines > most.cost.lines {
            most.cost.lines = cost.lines;
            most.lines_state = picks.text().to_string();
        }
        most.cost.turns = most.cost.turns.max(cost.turns);
        Counted { operation, instructions: cost.instructions }
    }

    /// Allocates, as Rust does or as C does.
    pub(crate) fn allocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        layout: Layout,
        picks: &mut Picks,
    ) -> Counted {
        let is_c = picks.of(AS_C, &[false, true]);
        let heap = world.heap();
        let (result, cost) = if is_c {
            self.probe.count(|| heap.malloc(layout.size()))
        } else {
            self.probe.count(|| heap.allocate(layout))
        };
        world.check();
        let operation = match (result.is_ok(), layout.align() > G::ALIGN_BYTES) {
            _ if is_c => "malloc",
            (true, false) => "allocate",
            (true, true) => "allocate over-aligned",
            (false, _) => "allocate, failing",
        };
        self.note(operation, cost, picks)
    }

    /// Frees, as Rust does or as C does. `is_as_asked`: the block or slot is what the layout asks
    /// for, not a longer one and not a block in place of a slot.
    pub(crate) fn deallocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        block: Block,
        is_as_asked: bool,
        picks: &mut Picks,
    ) -> Counted {
        let Block { ptr, layout } = block;
        let is_c = picks.of(AS_C, &[false, true]);
        let heap = world.heap();
        // SAFETY: a live block is not used again; any other pointer is refused.
        let (result, cost) = unsafe {
            if is_c {
                self.probe.count(|| heap.try_free(ptr))
            } else {
                self.probe.count(|| heap.try_deallocate(ptr, layout))
            }
        };
        if result.is_ok() {
            world.check();
        }
        let operation = match (result.is_ok(), layout.align() > G::ALIGN_BYTES) {
            _ if is_c => "try_free",
            (true, false) if is_as_asked => "deallocate",
            (true, false) => "deallocate other than asked",
            (true, true) => "deallocate over-aligned",
            (false, _) => "deallocate, refused",
        };
        self.note(operation, cost, picks)
    }

    /// Reallocates, as Rust does or as C does.
    pub(crate) fn reallocate<T: Tiers, G: Geometry>(
        &mut self,
        world: &mut World<T, G>,
        block: Block,
        new: Layout,
        picks: &mut Picks,
    ) -> Counted {
        let Block { ptr, layout } = block;
        let is_c = picks.of(AS_C, &[false, true]);
        let heap = world.heap();
        let old_bytes = if is_c { heap.usable_size(ptr).unwrap_or(0) } else { layout.size() };
        // SAFETY: a live block is not used as the old one again; any other pointer is refused.
        let (result, mut cost) = unsafe {
            if is_c {
                self.probe.count(|| heap.realloc(ptr, new.size()))
            } else {
                self.probe.count(|| heap.reallocate(ptr, layout, new))
            }
        };
        if !matches!(result, Err(ReallocError::Free(_))) {
            world.check();
        }
        if result.is_ok_and(|moved| moved.cast() != ptr) {
            cost.instructions -= self.probe.moving(old_bytes.min(new.size()));
        }
        let operation = match result {
            _ if is_c => "realloc",
            Ok(moved) => {
                let grows = new.size() > layout.size();
                let index = usize::from(moved.cast() != ptr) * 2
                    + usize::from(new.align() > G::ALIGN_BYTES);
                if grows { GROWS[index] } else { SHRINKS[index] }
            }
            Err(ReallocError::Free(_)) => "reallocate, refused",
            Err(_) => "reallocate, failing",
        };
        self.note(operation, cost, picks)
    }
}

/// The pick between Rust's calls and those of C, which have no layouts and one alignment.
const AS_C: &str = "as C:";

/// In place and moved, each ordinary and over-aligned.
const GROWS: [&str; 4] = ["grow", "grow over-aligned", "grow, moved", "grow over-aligned, moved"];
const SHRINKS: [&str; 4] =
    ["shrink", "shrink over-aligned", "shrink, moved", "shrink over-aligned, moved"];

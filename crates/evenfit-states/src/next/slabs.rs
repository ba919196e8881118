//! Slabs and their lists, as parts of a state.

use alloc::vec::Vec;
use core::fmt;

use evenfit::next::{Geometry, Tiers};

use super::between::{Between, Middle};
use super::picks::Picks;
use super::plan::{Laid, Plan};
use super::world::World;
use crate::world::Block;

/// Sizes of slots of the slab that becomes the spare: no other state has them.
const SPARE_SLOTS: [usize; 3] = [64, 80, 256];

/// How many slots the slab of this slot has.
fn slots<T: Tiers, G: Geometry>(world: &mut World<T, G>, slot: Block) -> usize {
    let slot_bytes = world.heap().usable_size(slot.ptr).expect("a live slot");
    World::<T, G>::SLAB_LEN * G::GRANULE_BYTES / slot_bytes
}

/// Takes all slots of a slab that has no used one, or is opened for the first.
pub(crate) fn fill<T: Tiers, G: Geometry>(world: &mut World<T, G>, bytes: usize) -> Vec<Block> {
    let first = world.slot(bytes);
    let mut all = alloc::vec![first];
    all.extend((1..slots(world, first)).map(|_| world.slot(bytes)));
    all
}

/// Where a slab stands in the list of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListPlace {
    /// Before a slab with free slots in its last word only.
    BeforeLastWord,
    /// Before a slab with a free slot in its first word.
    BeforeFirstWord,
    Only,
    Behind,
}

impl fmt::Display for ListPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeLastWord => "before another slab with a free slot in its last word",
            Self::BeforeFirstWord => "before another slab with a free slot in its first word",
            Self::Only => "alone in its list",
            Self::Behind => "behind another slab in its list",
        })
    }
}

const LIST_PLACES: [ListPlace; 4] = [
    ListPlace::BeforeLastWord,
    ListPlace::BeforeFirstWord,
    ListPlace::Only,
    ListPlace::Behind,
];

/// A slab of which one slot will be used, and another of its class.
pub(crate) struct OneUsed {
    bytes: usize,
    place: ListPlace,
    is_last_slot: bool,
    companion: Vec<Block>,
    slots: Vec<Block>,
}

impl OneUsed {
    pub(crate) fn picked(picks: &mut Picks, sizes: &[usize]) -> Self {
        Self {
            bytes: picks.of("a slab of slots of", sizes),
            place: picks.of("", &LIST_PLACES),
            is_last_slot: picks.of("its last slot used:", &[true, false]),
            companion: Vec::new(),
            slots: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn lay_companion<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) {
        if self.place != ListPlace::Only {
            self.companion = fill(&mut plan.world, self.bytes);
        }
    }

    /// Opens it as it comes.
    pub(crate) fn lay<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) {
        self.lay_companion(plan);
        self.slots = fill(&mut plan.world, self.bytes);
    }

    /// The slot that stays used.
    pub(crate) fn used(&mut self) -> &mut Block {
        let index = if self.is_last_slot {
            self.slots.len() - 1
        } else {
            0
        };
        &mut self.slots[index]
    }

    /// Frees all other slots. `None`: another slab turned out to be of the same class.
    pub(crate) fn empty<T: Tiers, G: Geometry>(&mut self, world: &mut World<T, G>) -> Option<()> {
        let used = self.used().ptr;
        let others = core::mem::take(&mut self.slots);
        let others = others.into_iter().filter(|slot| slot.ptr != used);
        let companion = core::mem::take(&mut self.companion);
        match self.place {
            ListPlace::Only => others.for_each(|slot| world.free(slot)),
            ListPlace::BeforeFirstWord => {
                world.free(companion[0]);
                others.for_each(|slot| world.free(slot));
            }
            ListPlace::BeforeLastWord => {
                world.free(companion[companion.len() - 1]);
                others.for_each(|slot| world.free(slot));
            }
            ListPlace::Behind => {
                // Full as it is, it leaves the list when the other is looked at; then it comes back as the last.
                world.free(companion[0]);
                let again = world.slot(self.bytes);
                if again.ptr != companion[0].ptr {
                    return None;
                }
                others.for_each(|slot| world.free(slot));
                world.free(companion[1]);
            }
        }
        Some(())
    }
}

/// A slab between two neighbours that will be the spare.
pub(crate) struct Spare {
    slab: OneUsed,
    has_more: bool,
    between: Between,
    laid: Option<Laid>,
}

impl Spare {
    pub(crate) fn picked<G: Geometry>(picks: &mut Picks) -> Self {
        Self {
            slab: OneUsed {
                bytes: picks.of("a spare slab of slots of", &SPARE_SLOTS),
                place: picks.of("", &LIST_PLACES),
                is_last_slot: false,
                companion: Vec::new(),
                slots: Vec::new(),
            },
            has_more: picks.of("a granule more than a slab:", &[false, true]),
            between: Between::picked::<G>(picks),
            laid: None,
        }
    }

    /// How many granules are free once it was given back.
    pub(crate) fn merged_len<T: Tiers, G: Geometry>(&self) -> usize {
        let Between { left, right, .. } = self.between;
        let len = World::<T, G>::SLAB_LEN + usize::from(self.has_more);
        left.free_len() + len + right.free_len()
    }

    /// Opens it, and the other slab of its class.
    pub(crate) fn lay<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) -> Option<()> {
        self.lay_behind(plan, |_| ())
    }

    /// As `lay`, right behind what `before` does.
    pub(crate) fn lay_behind<T: Tiers, G: Geometry>(
        &mut self,
        plan: &mut Plan<T, G>,
        before: impl FnOnce(&mut Plan<T, G>),
    ) -> Option<()> {
        self.slab.lay_companion(plan);
        let middle = if self.has_more {
            Middle::SlabOneMore(self.slab.bytes)
        } else {
            Middle::Slab(self.slab.bytes)
        };
        self.laid = Some(self.between.lay_behind(plan, middle, before)?);
        Some(())
    }

    /// Frees all its slots, after the plan was settled.
    pub(crate) fn empty<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) -> Option<()> {
        let slot = plan.block(self.laid?);
        let others = slots(&mut plan.world, slot) - 1;
        self.slab.slots = alloc::vec![slot];
        if self.slab.place == ListPlace::Behind {
            let more = (0..others).map(|_| plan.world.slot(self.slab.bytes));
            self.slab.slots.extend(more);
        }
        self.slab.empty(&mut plan.world)?;
        plan.world.free(slot);
        Some(())
    }
}

//! Slabs and their lists, as parts of a state.

use alloc::vec::Vec;
use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::between::{Between, Middle};
use crate::states::picks::Picks;
use crate::states::plan::{Laid, Plan};
use crate::states::world::{Block, World};

/// How many slots the slab of this slot has.
fn slots<T: Tiers, G: Geometry>(world: &mut World<T, G>, slot: Block) -> usize {
    let slot_bytes = world.heap().usable_size(slot.ptr).expect("a live slot");
    World::<T, G>::SLAB_LEN * G::GRANULE_BYTES / slot_bytes
}

/// Allocates all slots of a slab: one that has no used slot, or one that is opened for the first.
pub(crate) fn fill<T: Tiers, G: Geometry>(world: &mut World<T, G>, bytes: usize) -> Vec<Block> {
    let first = world.slot(bytes);
    let mut all = alloc::vec![first];
    all.extend((1..slots(world, first)).map(|_| world.slot(bytes)));
    all
}

/// Where a slab is in the list of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabPosition {
    /// Before a slab with free slots in its last word only.
    BeforeLastWord,
    /// Before a slab with a free slot in its first word.
    BeforeFirstWord,
    Only,
    Behind,
}

impl fmt::Display for SlabPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeLastWord => "before another slab with a free slot in its last word",
            Self::BeforeFirstWord => "before another slab with a free slot in its first word",
            Self::Only => "alone in its list",
            Self::Behind => "behind another slab in its list",
        })
    }
}

const SLAB_POSITIONS: [SlabPosition; 4] = [
    SlabPosition::BeforeLastWord,
    SlabPosition::BeforeFirstWord,
    SlabPosition::Only,
    SlabPosition::Behind,
];

/// A slab between two neighbours, of which one slot will be used, and another of its class.
pub(crate) struct OneUsed {
    bytes: usize,
    position: SlabPosition,
    is_last_slot: bool,
    has_more: bool,
    between: Between,
    companion: Vec<Block>,
    laid: Option<Laid>,
    slots: Vec<Block>,
}

impl OneUsed {
    pub(crate) fn picked<G: Geometry>(picks: &mut Picks, sizes: &[usize]) -> Self {
        Self {
            bytes: picks.of("a slab of slots of", sizes),
            position: picks.of("", &SLAB_POSITIONS),
            is_last_slot: picks.of("its last slot used:", &[true, false]),
            has_more: picks.of("a granule more than a slab:", &[false, true]),
            between: Between::picked::<G>(picks),
            companion: Vec::new(),
            laid: None,
            slots: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Opens it, and the other slab of its class.
    pub(crate) fn lay<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) -> Option<()> {
        if self.position != SlabPosition::Only {
            self.companion = fill(&mut plan.world, self.bytes);
        }
        let middle =
            if self.has_more { Middle::SlabOneMore(self.bytes) } else { Middle::Slab(self.bytes) };
        self.laid = Some(self.between.lay(plan, middle)?);
        Some(())
    }

    /// Allocates all its slots, after the plan was settled. `None`: the plan's slab has no free
    /// slots any more.
    pub(crate) fn fill<T: Tiers, G: Geometry>(&mut self, plan: &mut Plan<T, G>) -> Option<()> {
        let slot = plan.block(self.laid?);
        let others = slots(&mut plan.world, slot) - 1;
        self.slots = alloc::vec![slot];
        for _ in 0..others {
            self.slots.push(plan.world.slot_if_any(self.bytes)?);
        }
        Some(())
    }

    /// The slot that stays used.
    pub(crate) fn used(&mut self) -> &mut Block {
        let index = if self.is_last_slot { self.slots.len() - 1 } else { 0 };
        &mut self.slots[index]
    }

    /// Frees all other slots. `None`: another slab turned out to be of the same class.
    pub(crate) fn empty<T: Tiers, G: Geometry>(&mut self, world: &mut World<T, G>) -> Option<()> {
        let used = self.used().ptr;
        let others = core::mem::take(&mut self.slots);
        let others = others.into_iter().filter(|slot| slot.ptr != used);
        let companion = core::mem::take(&mut self.companion);
        match self.position {
            SlabPosition::Only => others.for_each(|slot| world.free(slot)),
            SlabPosition::BeforeFirstWord => {
                world.free(companion[0]);
                others.for_each(|slot| world.free(slot));
            }
            SlabPosition::BeforeLastWord => {
                world.free(companion[companion.len() - 1]);
                others.for_each(|slot| world.free(slot));
            }
            SlabPosition::Behind => {
                // It is full, so it leaves the list when the other is looked at. Then it comes back
                // as the last.
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

//! Slots: requests, frees, resizes.

use core::alloc::Layout;
use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::picks::Picks;
use crate::states::plan::{Plan, TOPS, Top};
use crate::states::probe::Probe;
use crate::states::record::Counted;
use crate::states::search::Search;
use crate::states::slabs::{OneUsed, fill};
use crate::states::world::{Block, World};
use crate::states::{resize, supply};

/// Sizes of slots, in bytes: those whose slabs need the second word of free bits, and those whose
/// slabs don't.
const SLOTS: [usize; 4] = [16, 24, 48, 512];

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    let frees = ["deallocate", "try_free", "deallocate other than asked"];
    search.family("a slot freed, its slab empty", &frees, |search, picks| {
        last_used::<T, G, P>(search, picks)
    });
    search.family("a slot freed, its slab full", &frees[..2], |search, picks| {
        first_freed::<T, G, P>(search, picks)
    });
    let requests = ["allocate", "malloc", "allocate, failing"];
    search.family("a slot", &requests, |search, picks| request::<T, G, P>(search, picks));
    search.family("a slot resized", &resize::OPERATIONS, |search, picks| {
        resized::<T, G, P>(search, picks)
    });
}

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).expect("a small request")
}

/// A free that empties a slab, whose block is then freed.
fn last_used<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let mut slab = OneUsed::picked::<G>(picks, &SLOTS);
    let is_kept = picks.of("kept for a shorter request:", &[true, false]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    slab.lay(&mut plan)?;
    let top = if is_kept { Top::Full } else { Top::Free };
    let used = one_left(&mut plan, slab, is_kept, top)?;
    let world = &mut plan.world;
    Some(search.record.deallocate(world, used, !is_kept, picks))
}

/// Executes the plan. Of the slab one slot stays used, perhaps kept for a shorter request. `None`:
/// this combination is impossible.
fn one_left<T: Tiers, G: Geometry>(
    plan: &mut Plan<T, G>,
    mut slab: OneUsed,
    is_kept: bool,
    top: Top,
) -> Option<Block> {
    plan.settle(top)?;
    slab.fill(plan)?;
    if is_kept {
        keep_for_less(&mut plan.world, &mut slab)?;
    }
    plan.free_all(top);
    let used = *slab.used();
    slab.empty(&mut plan.world)?;
    Some(used)
}

/// Shrinks the slot in a full heap, so that it is kept for the shorter request. `None`: no request
/// is shorter, or the slot was moved.
fn keep_for_less<T: Tiers, G: Geometry>(world: &mut World<T, G>, slab: &mut OneUsed) -> Option<()> {
    let shorter = layout(slab.bytes() / 2, 1);
    let used = slab.used();
    // SAFETY: the slot is live; if it was moved, the state is given up.
    let kept = unsafe { world.heap().reallocate(used.ptr, used.layout, shorter) };
    used.layout = shorter;
    (kept.expect("to shrink never fails").cast() == used.ptr && slab.bytes() > 2 * G::GRANULE_BYTES)
        .then_some(())
}

/// The first free slot of a slab that was full and in no list, or the first in its list.
fn first_freed<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let bytes = picks.of("a full slab of slots of", &SLOTS);
    let is_listed = picks.of("the first in its list:", &[false, true]);
    let has_others = picks.of("others in its list:", &[false, true]);
    let is_last = picks.of("its last slot is freed:", &[true, false]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    let world = &mut plan.world;
    let slots = fill(world, bytes);
    if !is_listed {
        let other = world.slot(bytes);
        if !has_others {
            // Another class uses the memory of the freed slab.
            world.free(other);
            world.slot(100);
        }
    }
    let freed = if is_last { slots[slots.len() - 1] } else { slots[0] };
    Some(search.record.deallocate(world, freed, true, picks))
}

/// What a class has when a slot is requested from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    Full,
    None,
    Slot,
    OtherWord,
    NextFirstWord,
    NextLastWord,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "a full slab",
            Self::None => "no slab",
            Self::Slot => "a free slot at hand",
            Self::OtherWord => "a free slot in the other word",
            Self::NextFirstWord => "a free slot in the first word of the next slab",
            Self::NextLastWord => "a free slot in the last word of the next slab",
        })
    }
}

const OWNS: [Own; 6] =
    [Own::Full, Own::None, Own::Slot, Own::OtherWord, Own::NextFirstWord, Own::NextLastWord];

impl Own {
    fn lay<T: Tiers, G: Geometry>(self, world: &mut World<T, G>, bytes: usize) {
        if self == Self::None {
            return;
        }
        if self == Self::Slot {
            world.slot(bytes);
            return;
        }
        let slots = fill(world, bytes);
        match self {
            Self::OtherWord => world.free(slots[0]),
            Self::NextFirstWord | Self::NextLastWord => {
                fill(world, bytes);
                let last = slots.len() - 1;
                world.free(slots[if self == Self::NextLastWord { last } else { 0 }]);
            }
            _ => {}
        }
    }
}

/// Lays out free blocks for a slab, or for a block of `bytes` in place of a slot.
fn supply_either<T: Tiers, G: Geometry>(
    plan: &mut Plan<T, G>,
    picks: &mut Picks,
    bytes: usize,
) -> Option<()> {
    let len = World::<T, G>::even(bytes.div_ceil(G::GRANULE_BYTES).max(2));
    let lens = [World::<T, G>::SLAB_LEN, len];
    let len = picks.of("free blocks are there for", &lens);
    supply::lay(plan, picks, len)
}

/// A request for a slot, wherever that is found.
fn request<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let bytes = picks.of("a request of bytes:", &SLOTS);
    let own = picks.of("its class has", &OWNS);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    own.lay(&mut plan.world, bytes);
    supply_either(&mut plan, picks, bytes)?;
    let top = picks.of("the top:", &TOPS);
    plan.finish(top)?;
    Some(search.record.allocate(&mut plan.world, layout(bytes, 1), picks))
}

/// Reallocates the last used slot of a slab to another class or to a block. The new size's class
/// has only the slabs that are picked.
fn resized<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let mut slab = OneUsed::picked::<G>(picks, &SLOTS[1..]);
    let is_kept = picks.of("kept for a shorter request:", &[true, false]);
    let new_bytes = picks.of("to", &[12, 96, 128, 600, 4000]);
    let align = picks.of("aligned to", &[1, 2 * G::ALIGN_BYTES, 4096]);
    let own = picks.of("the class of that has", &OWNS);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    slab.lay(&mut plan)?;
    if new_bytes <= 512 {
        own.lay(&mut plan.world, new_bytes);
    }
    supply_either(&mut plan, picks, new_bytes)?;
    let top = picks.of("the top:", &TOPS);
    let used = one_left(&mut plan, slab, is_kept, top)?;
    let new = layout(new_bytes, align);
    Some(search.record.reallocate(&mut plan.world, used, new, picks))
}

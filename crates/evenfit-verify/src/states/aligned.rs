//! Over-aligned requests that get blocks.

use evenfit::{Geometry, Tiers};

use crate::states::lens::{lens, share_bin};
use crate::states::picks::Picks;
use crate::states::plan::{Plan, Position, TOPS};
use crate::states::probe::Probe;
use crate::states::record::Counted;
use crate::states::search::Search;
use crate::states::world::World;

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    let operations = ["allocate over-aligned", "allocate, failing", "malloc"];
    search.family("an over-aligned block", &operations, |search, picks| {
        one::<T, G, P>(search, picks)
    });
}

/// A free block that has room for `len` granules at a multiple of `align`, or is a granule too
/// short, with picked lengths before and behind that room.
struct Room {
    before: usize,
    len: usize,
}

impl Room {
    fn picked<T: Tiers, G: Geometry>(picks: &mut Picks, align: usize, len: usize) -> Self {
        let step = align / G::GRANULE_BYTES;
        let long = G::SHORT_END;
        let befores = [2, 3, 0, 1, long, step - 1].map(|before| World::<T, G>::even(before % step));
        let before = picks.of("granules to the next multiple:", &befores);
        let lens = [2, 3, 0, 1, long, 10 * long].map(|behind| before + len + behind);
        let [a, b, c, d, e, f] = lens;
        let longest = len + step + 1;
        let len =
            picks.of("in all", &[a, b, c, d, e, f, len, before + len - 1, longest, longest + 9]);
        Self { before, len: len.max(2) }
    }

    /// Moves the top so that the room begins there.
    fn align_top<T: Tiers, G: Geometry>(&self, plan: &mut Plan<T, G>, align: usize) {
        let step = align / G::GRANULE_BYTES;
        plan.world.align_top(align, (step - self.before) % step);
    }
}

fn one<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len = World::<T, G>::even(picks.of("a request of", &lens::<G>()));
    let align = picks.of("aligned to", &[64, 4096, 2 * G::ALIGN_BYTES]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    // A search looks first at the block that was freed last: of a list, and among those as long
    // as the request.
    let step = align / G::GRANULE_BYTES;
    let longest = len + step + 1;
    for (what, len) in
        [("a free block for any place:", longest), ("a free block for a good place:", len)]
    {
        if !picks.of(what, &[true, false]) {
            continue;
        }
        let room = Room::picked::<T, G>(picks, align, len);
        room.align_top(&mut plan, align);
        plan.lay_hole(room.len, picks.of("", &[Position::Only, Position::Last]));
        let is_decoy = share_bin::<G>(len, len - 1);
        if is_decoy && picks.of("first of its own bin is too short a free block:", &[true, false]) {
            plan.lay_hole(len - 1, Position::Only);
        }
    }
    for filled in [2, G::SHORT_END] {
        if picks.of("a free block as short as what is left:", &[false, true]) {
            plan.lay_hole(filled, Position::Only);
        }
    }
    if picks.of("a rest:", &[true, false]) {
        let room = Room::picked::<T, G>(picks, align, len);
        let carved = World::<T, G>::BLOCK_LEN;
        plan.world.align_top(align, (2 * step - room.before - carved % step) % step);
        plan.lay_rest(room.len)?;
    }
    let top = picks.of("the top:", &TOPS);
    plan.finish(top)?;
    let layout = World::<T, G>::layout(len, align);
    Some(search.record.allocate(&mut plan.world, layout, picks))
}

//! Requests and resizes for which the spare slab is given back.

use evenfit::next::{Geometry, Tiers};

use super::picks::Picks;
use super::plan::{Plan, TOPS, Top};
use super::record::Counted;
use super::search::Search;
use super::slabs::Spare;
use super::world::World;
use super::{lens::lens, resize};
use crate::record::Probe;
use crate::world::Place;

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    let requests = ["allocate", "allocate over-aligned", "allocate, failing"];
    search.family("the spare slab's block", &requests, |search, picks| {
        request::<T, G, P>(search, picks)
    });
    search.family(
        "a resize that takes the spare slab",
        &resize::OPERATIONS,
        |search, picks| resized::<T, G, P>(search, picks),
    );
}

/// Lengths of which some are served by nothing but the spare slab and what is free around it.
fn len<T: Tiers, G: Geometry>(picks: &mut Picks, spare: &Spare) -> usize {
    let all = spare.merged_len::<T, G>();
    let lens = [
        all,
        all - 1,
        all - 2,
        all - 4,
        all / 2 + 1,
        all - G::SHORT_END,
        all + 1,
        2 * all,
    ];
    World::<T, G>::even(picks.of("a request of", &lens))
}

fn request<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let mut spare = Spare::picked::<G>(picks);
    let len = len::<T, G>(picks, &spare);
    let align = picks.of(
        "aligned to",
        &[G::ALIGN_BYTES, 2 * G::ALIGN_BYTES, 64, 4096],
    );
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    if picks.of("a free block shorter by a granule:", &[true, false]) {
        plan.lay_hole(len - 1, Place::Only);
    }
    spare.lay(&mut plan)?;
    let top = picks.of("the top:", &[Top::Full, Top::FullLast]);
    plan.settle(top);
    plan.free_all(top);
    spare.empty(&mut plan)?;
    let layout = World::<T, G>::layout(len, align);
    Some(search.record.allocate(&mut plan.world, layout, picks))
}

/// A block that is somewhere else, before the spare slab, or behind it, with a free block beside it.
fn resized<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let block_len = World::<T, G>::even(picks.of("a block of", &lens::<G>()));
    let is_before = picks.of(
        "right before what is free before the spare:",
        &[true, false],
    );
    let free_before = picks.of("behind a free block of", &[2, 0, G::SHORT_END]);
    let mut spare = Spare::picked::<G>(picks);
    let mut new_len = len::<T, G>(picks, &spare);
    if is_before {
        new_len += picks.of("and", &[block_len, free_before, block_len + free_before]);
    }
    let align = picks.of(
        "aligned to",
        &[G::ALIGN_BYTES, 2 * G::ALIGN_BYTES, 64, 4096],
    );
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    let companions = plan.lay_listed(free_before.max(2), Place::Middle);
    let mut block = None;
    let lay_block = |plan: &mut Plan<T, G>| {
        let free = (free_before > 0).then(|| plan.world.block(free_before));
        block = Some(plan.world.block(block_len));
        if let Some(free) = free {
            plan.free_at(free, companions);
        }
    };
    if is_before {
        spare.lay_behind(&mut plan, lay_block)?;
    } else {
        lay_block(&mut plan);
        spare.lay(&mut plan)?;
    }
    let top = picks.of("the top:", &TOPS);
    plan.settle(top);
    plan.free_all(top);
    spare.empty(&mut plan)?;
    let new = World::<T, G>::layout(new_len, align);
    Some(
        search
            .record
            .reallocate(&mut plan.world, block?, new, picks),
    )
}

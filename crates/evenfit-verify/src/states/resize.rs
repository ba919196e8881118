//! Blocks that are resized: in place, by a move to a new block, or downwards.

use evenfit::{Geometry, Tiers};

use crate::states::between::{Between, Middle};
use crate::states::lens::lens;
use crate::states::picks::Picks;
use crate::states::plan::{Plan, TOPS};
use crate::states::probe::Probe;
use crate::states::record::Counted;
use crate::states::search::Search;
use crate::states::supply;
use crate::states::world::World;

/// All operations that a resize may be counted as.
pub(crate) const OPERATIONS: [&str; 10] = [
    "grow",
    "grow over-aligned",
    "shrink",
    "shrink over-aligned",
    "grow, moved",
    "grow over-aligned, moved",
    "shrink, moved",
    "shrink over-aligned, moved",
    "reallocate, failing",
    "realloc",
];

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    search.family("a block resized", &OPERATIONS, |search, picks| one::<T, G, P>(search, picks));
}

/// The new length of a block between two neighbours: longer by a part of the free memory beside it,
/// or by more than all of it.
fn new_len(picks: &mut Picks, between: &Between, len: usize) -> usize {
    let behind = between.right.free_len();
    let before = between.left.free_len();
    let all = before + len + behind;
    let lens = [
        len / 2,
        2,
        len - 2,
        len - 1,
        len,
        len + 1,
        len + 2,
        len + behind / 2,
        len + behind - behind.min(2),
        len + behind - behind.min(1),
        len + behind,
        len + behind + 1,
        all - all.min(2),
        all - all.min(1),
        all,
        all + 1,
        2 * all,
    ];
    picks.of("to", &lens.map(|len| len.max(2)))
}

fn one<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len = World::<T, G>::even(picks.of("a block of", &lens::<G>()));
    let has_more = picks.of("a granule more than asked for:", &[false, true]);
    let between = Between::picked::<G>(picks);
    let new_len = World::<T, G>::even(new_len(picks, &between, len));
    let align = picks.of("aligned to", &[G::ALIGN_BYTES, 2 * G::ALIGN_BYTES, 64, 4096]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    supply::lay(&mut plan, picks, new_len)?;
    let middle = if has_more { Middle::OneMore(len) } else { Middle::Block(len) };
    let laid = between.lay(&mut plan, middle)?;
    let top = picks.of("the top:", &TOPS);
    plan.finish(top)?;
    let block = plan.block(laid);
    let in_top =
        if picks.of("and all of the top:", &[false, true]) { plan.world.top().1 } else { 0 };
    let new = World::<T, G>::layout(new_len + World::<T, G>::even(in_top), align);
    Some(search.record.reallocate(&mut plan.world, block, new, picks))
}

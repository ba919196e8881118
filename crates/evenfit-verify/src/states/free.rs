//! Blocks that are freed.

use evenfit::{Geometry, Tiers};

use crate::states::between::{Between, Middle};
use crate::states::lens::lens;
use crate::states::picks::Picks;
use crate::states::plan::{Plan, Top};
use crate::states::probe::Probe;
use crate::states::record::Counted;
use crate::states::search::Search;
use crate::states::world::World;

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    let operations =
        ["deallocate", "deallocate other than asked", "deallocate over-aligned", "try_free"];
    search.family("a block freed", &operations, |search, picks| one::<T, G, P>(search, picks));
}

fn one<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len = World::<T, G>::even(picks.of("a block of", &lens::<G>()));
    let has_more = picks.of("a granule more than asked for:", &[false, true]);
    let is_over_aligned = picks.of("over-aligned:", &[false, true]);
    let between = Between::picked::<G>(picks);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    let middle = if has_more { Middle::OneMore(len) } else { Middle::Block(len) };
    let laid = between.lay(&mut plan, middle)?;
    plan.finish(Top::Free)?;
    let mut block = plan.block(laid);
    if is_over_aligned {
        let align = 2 * G::ALIGN_BYTES;
        if !block.ptr.addr().get().is_multiple_of(align) {
            return None;
        }
        let layout = World::<T, G>::layout(block.layout.size() / G::GRANULE_BYTES, align);
        block = plan.world.relayout(block, layout);
    }
    let is_for_a_slot = World::<T, G>::HAS_SLABS && len < World::<T, G>::BLOCK_LEN;
    let is_as_asked = !has_more && !is_for_a_slot;
    Some(search.record.deallocate(&mut plan.world, block, is_as_asked, picks))
}

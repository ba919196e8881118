//! Requests that get blocks.

use evenfit::{Geometry, Tiers};

use crate::states::lens::{lens, word_start};
use crate::states::picks::Picks;
use crate::states::plan::{Plan, Position, TOPS, Top};
use crate::states::probe::Probe;
use crate::states::record::Counted;
use crate::states::search::Search;
use crate::states::supply;
use crate::states::world::{Memory, World};

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    let operations = ["allocate", "malloc", "allocate, failing"];
    search.family("a block", &operations, |search, picks| one::<T, G, P>(search, picks));
    search.family("a block, far", &operations[..2], |search, picks| {
        from_the_last_word::<T, G, P>(search, picks)
    });
}

/// Lengths of requests that no slab serves.
fn request<T: Tiers, G: Geometry>(picks: &mut Picks) -> usize {
    let lens = lens::<G>().map(|len| {
        if len < World::<T, G>::BLOCK_LEN { len + World::<T, G>::BLOCK_LEN - 2 } else { len }
    });
    World::<T, G>::even(picks.of("a request of", &lens))
}

fn one<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len = request::<T, G>(picks);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    supply::lay(&mut plan, picks, len)?;
    let top = picks.of("the top:", &TOPS);
    plan.finish(top)?;
    let layout = World::<T, G>::layout(len, G::ALIGN_BYTES);
    Some(search.record.allocate(&mut plan.world, layout, picks))
}

/// Requests that find only a free block whose bin is in the third word of the bitmap. It is that
/// long only in a pool of gigabytes, on 64-bit machines.
fn from_the_last_word<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let long = G::SHORT_END;
    let hole = word_start::<G>(2);
    if hole >= G::GRANULES_MAX / 2 {
        return None;
    }
    let mut memory = Memory::large::<G>(hole + word_start::<G>(1))?;
    let len = request::<T, G>(picks);
    let mut plan = Plan::<T, G>::new(&mut memory, 0);
    let rest = picks.of("a rest of", &[len - 1, 0, long - 1, long + 3]);
    if rest >= 2 {
        if picks.of("and a free block as long:", &[true, false]) {
            plan.lay_hole(rest, Position::Only);
        }
        plan.lay_rest(rest)?;
    }
    if len > long && picks.of("too short a free block:", &[true, false]) {
        plan.lay_hole(len - 1, Position::Only);
    }
    plan.lay_hole(picks.of("served by a free block of", &[hole]), Position::Only);
    plan.finish(Top::Free)?;
    let layout = World::<T, G>::layout(len, G::ALIGN_BYTES);
    Some(search.record.allocate(&mut plan.world, layout, picks))
}

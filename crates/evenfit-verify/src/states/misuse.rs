//! Calls that are refused, and calls that fail because memory was overwritten.

use core::alloc::Layout;
use core::fmt;

use evenfit::{Geometry, Tiers};

use crate::states::between::{Between, Middle};
use crate::states::lens::lens;
use crate::states::picks::Picks;
use crate::states::plan::{Plan, Top};
use crate::states::probe::Probe;
use crate::states::record::{Counted, Record};
use crate::states::search::Search;
use crate::states::slabs::fill;
use crate::states::supply;
use crate::states::world::{Block, World};

const OPERATIONS: [&str; 4] = ["deallocate, refused", "reallocate, refused", "try_free", "realloc"];

pub(crate) fn all<T: Tiers, G: Geometry, P: Probe>(search: &mut Search<P>) {
    search.family("misuse of a block", &OPERATIONS, |search, picks| {
        of_a_block::<T, G, P>(search, picks)
    });
    search.family("request, overwritten", &["allocate, failing", "malloc"], |search, picks| {
        overwritten_request::<T, G, P>(search, picks)
    });
    if World::<T, G>::HAS_SLABS {
        search.family("misuse of a slot", &OPERATIONS, |search, picks| {
            of_a_slot::<T, G, P>(search, picks)
        });
    }
}

/// What is wrong with what is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misuse {
    OverwrittenBefore,
    OverwrittenBehind,
    OverwrittenFooter,
    Twice,
    AfterTop,
    OutsideBefore,
    OutsideBehind,
    NextGranule,
    NextByte,
    Shorter,
    Longer,
    Short,
    Long,
    Aligned,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverwrittenBefore => "links of what is free before were overwritten",
            Self::OverwrittenBehind => "links of what is free behind were overwritten",
            Self::OverwrittenFooter => "the footer of what is free before was overwritten",
            Self::Twice => "it is free already",
            Self::AfterTop => "an address in the top",
            Self::OutsideBefore => "an address before the pool",
            Self::OutsideBehind => "an address behind the pool",
            Self::NextGranule => "its second granule",
            Self::NextByte => "its second byte",
            Self::Shorter => "a size of two granules less",
            Self::Longer => "a size of two granules more",
            Self::Short => "a size of two granules",
            Self::Long => "a long size",
            Self::Aligned => "an alignment that it doesn't have",
        })
    }
}

const MISUSES: [Misuse; 14] = [
    Misuse::OverwrittenBefore,
    Misuse::OverwrittenBehind,
    Misuse::OverwrittenFooter,
    Misuse::Twice,
    Misuse::AfterTop,
    Misuse::OutsideBefore,
    Misuse::OutsideBehind,
    Misuse::NextGranule,
    Misuse::NextByte,
    Misuse::Shorter,
    Misuse::Longer,
    Misuse::Short,
    Misuse::Long,
    Misuse::Aligned,
];

impl Misuse {
    /// The block as it is freed. Overwrites nothing.
    fn of<T: Tiers, G: Geometry>(self, world: &mut World<T, G>, block: Block) -> Block {
        let Block { ptr, layout } = block;
        let unit = G::ALIGN_BYTES;
        let with = |address: usize, layout| Block {
            ptr: ptr.with_addr(address.try_into().expect("not 0")),
            layout,
        };
        let sized = |bytes: usize| {
            let layout = Layout::from_size_align(bytes, layout.align());
            Block { ptr, layout: layout.expect("a small size") }
        };
        let address = ptr.addr().get();
        match self {
            Self::OverwrittenBefore | Self::OverwrittenBehind | Self::OverwrittenFooter => block,
            Self::Twice => {
                world.free(block);
                block
            }
            Self::AfterTop => with(world.top().0, layout),
            Self::OutsideBefore => with(world.heap().pool_start().addr() - unit, layout),
            Self::OutsideBehind => with(address + (1 << 30), layout),
            Self::NextGranule => with(address + unit, layout),
            Self::NextByte => with(address + 1, layout),
            Self::Shorter => sized(layout.size().saturating_sub(2 * unit)),
            Self::Longer => sized(layout.size() + 2 * unit),
            Self::Short => sized(2 * unit),
            Self::Long => sized(20 * G::SHORT_END * G::GRANULE_BYTES),
            Self::Aligned => {
                let align = 2 << address.trailing_zeros();
                let layout = Layout::from_size_align(layout.size(), align);
                Block { ptr, layout: layout.expect("a small size") }
            }
        }
    }
}

/// Overwrites a number in free memory.
fn overwrite<T: Tiers, G: Geometry>(world: &mut World<T, G>, address: usize, number: u32) {
    world.is_overwritten = true;
    let pool = world.heap().pool_start().cast_mut();
    // SAFETY: the address lies in the pool, and belongs to a free block.
    unsafe { pool.with_addr(address).cast::<u32>().write(number) };
}

/// Numbers that are wrong as a link.
fn wrong_number(picks: &mut Picks) -> u32 {
    picks.of("by", &[0, 1, u32::MAX, u32::MAX - 5])
}

fn of_a_block<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len = World::<T, G>::even(picks.of("a block of", &lens::<G>()));
    let misuse = picks.of("refused because of", &MISUSES);
    let between = Between::picked::<G>(picks);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    let laid = between.lay(&mut plan, Middle::Block(len))?;
    let top = picks.of("the top:", &[Top::Free, Top::Full]);
    plan.finish(top)?;
    let block = plan.block(laid);
    let start = block.ptr.addr().get();
    let end = start + len * G::GRANULE_BYTES;
    let before = between.left.free_len() * G::GRANULE_BYTES;
    let world = &mut plan.world;
    let overwritten = match misuse {
        Misuse::OverwrittenBefore if before > 0 => start - before + picks.of("link", &[0, 4]),
        Misuse::OverwrittenFooter if before > 0 => start - 8,
        Misuse::OverwrittenBehind if between.right.free_len() > 0 => {
            end + picks.of("link", &[0, 4])
        }
        Misuse::OverwrittenBefore | Misuse::OverwrittenFooter | Misuse::OverwrittenBehind => {
            return None;
        }
        _ => 0,
    };
    let block = misuse.of(world, block);
    if overwritten != 0 {
        overwrite(world, overwritten, wrong_number(picks));
    }
    free_or_resize(search.record, world, block, picks)
}

/// Frees it, or resizes it to twice its size.
fn free_or_resize<T: Tiers, G: Geometry, P: Probe>(
    record: &mut Record<P>,
    world: &mut World<T, G>,
    block: Block,
    picks: &mut Picks,
) -> Option<Counted> {
    let counted = if picks.of("resized:", &[false, true]) {
        let bytes = 2 * block.layout.size();
        let new = Layout::from_size_align(bytes, block.layout.align()).ok()?;
        record.reallocate(world, block, new, picks)
    } else {
        record.deallocate(world, block, false, picks)
    };
    // If the call wasn't refused, it is no misuse: other families count it.
    Some(counted)
}

fn of_a_slot<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let bytes = picks.of("a slot of", &[16, 24, 48, 512]);
    let misuse = picks.of("refused because of", &MISUSES[3..]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    let slots = fill(&mut plan.world, bytes);
    let slot = slots[picks.of("slot", &[0, slots.len() - 1])];
    if picks.of("the slab before has none:", &[false, true]) {
        plan.world.block(World::<T, G>::SLAB_LEN);
    }
    let slot = misuse.of(&mut plan.world, slot);
    free_or_resize(search.record, &mut plan.world, slot, picks)
}

/// A request that finds a free block whose links were overwritten.
fn overwritten_request<T: Tiers, G: Geometry, P: Probe>(
    search: &mut Search<P>,
    picks: &mut Picks,
) -> Option<Counted> {
    let len =
        World::<T, G>::BLOCK_LEN + World::<T, G>::even(picks.of("a request of", &lens::<G>()));
    let align = picks.of("aligned to", &[G::ALIGN_BYTES, 2 * G::ALIGN_BYTES, 64]);
    let mut plan = Plan::<T, G>::picked(&mut search.memory, picks);
    supply::lay(&mut plan, picks, len)?;
    let hole =
        plan.lay_apart(len + picks.of("an overwritten free block longer by", &[2, 0, 1, 20]));
    plan.finish(Top::Full)?;
    let world = &mut plan.world;
    world.free(hole);
    let address = hole.ptr.addr().get() + picks.of("link", &[0, 4]);
    overwrite(world, address, wrong_number(picks));
    Some(search.record.allocate(world, World::<T, G>::layout(len, align), picks))
}

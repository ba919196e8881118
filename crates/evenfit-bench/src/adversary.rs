//! A program that sees the addresses of its blocks, and frees some so that the holes are useless.
//!
//! The bad program of J. M. Robson, "Bounds for some functions concerning dynamic storage
//! allocation", JACM 21(3), 1974: in round i it keeps only blocks that cover an address which is f
//! modulo 2^i, and chooses f so that the holes are worst. Then it allocates blocks twice as large,
//! as many as it freed bytes for. It defeats every allocator that can't move blocks.

use crate::load::{Load, LoadBuilder};
use crate::peers::Peer;
use crate::replay::step;

/// Its name among the loads.
pub const NAME: &str = "adversary";

/// The least block, in bytes: large enough that headers matter little beside the holes.
const UNIT_BYTES: usize = 64;
/// The most live at once, in units: 1 MiB.
const LIVE_UNITS_MAX: usize = 1 << 14;
/// The largest block is 2^9 units, 32 KiB: by Robson's theorem 1 + 9/2 times the payload can be
/// forced.
const ROUNDS: u32 = 9;

/// The peak of requested bytes, whichever the allocator.
pub const PEAK_LIVE_BYTES: usize = LIVE_UNITS_MAX * UNIT_BYTES;

/// Slots that suffice for any run.
pub const SLOTS_MAX: usize = LIVE_UNITS_MAX;

struct Live {
    slot: u32,
    /// In bytes from the start of the pool.
    offset: usize,
    size: usize,
}

impl Live {
    /// Whether the block covers an address that is `f` modulo 2^`round`, counted in units.
    fn covers(&self, f: usize, round: u32) -> bool {
        let period = UNIT_BYTES << round;
        let f = f * UNIT_BYTES;
        let next = self.offset + (f + period - self.offset % period) % period;
        next < self.offset + self.size
    }
}

/// Plays against `peer` and returns its operations; `None` if a request was not served.
///
/// # Safety
/// `peer` is fresh, over a region at `base`, and `slots` has [`SLOTS_MAX`] entries.
pub unsafe fn play<P: Peer>(peer: &mut P, base: *mut u8, slots: &mut [*mut u8]) -> Option<Load> {
    let mut load = LoadBuilder::default();
    let mut live: Vec<Live> = Vec::new();
    let mut f = 0;
    for round in 0..=ROUNDS {
        if round > 0 {
            f = worst_offset(&live, f, round);
            let (kept, freed): (Vec<_>, Vec<_>) =
                live.into_iter().partition(|block| block.covers(f, round));
            for block in freed {
                load.free(block.slot);
                // SAFETY: passed on; the block is live.
                unsafe { step(peer, load.last()?, slots) };
            }
            live = kept;
        }
        let size = UNIT_BYTES << round;
        while load.live_bytes() + size <= PEAK_LIVE_BYTES {
            let slot = load.alloc(size as u32, 3);
            // SAFETY: passed on.
            if !unsafe { step(peer, load.last()?, slots) } {
                return None;
            }
            let offset = slots[slot as usize] as usize - base as usize;
            live.push(Live { slot, offset, size });
        }
    }
    Some(load.finish(NAME))
}

/// Robson's choice: of the two offsets that refine `f`, the one whose kept blocks leave more space
/// useless.
fn worst_offset(live: &[Live], f: usize, round: u32) -> usize {
    let wasted = |f: usize| -> usize {
        let kept = live.iter().filter(|block| block.covers(f, round));
        kept.map(|block| (UNIT_BYTES << round).saturating_sub(block.size)).sum()
    };
    let other = f + (1 << (round - 1));
    if wasted(f) >= wasted(other) { f } else { other }
}

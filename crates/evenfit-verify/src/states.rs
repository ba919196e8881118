//! The states in which an operation of the heap executes most instructions.
//!
//! An operation has no loop that depends on the heap's content, so its branches alone decide what
//! it executes: which neighbours are free, how long they are, where they are in their lists, what a
//! request finds. A *family* is a function that builds a state from `Picks`, one for each of these,
//! and counts an operation in it. A `Search` tries combinations of picks, and climbs: it changes
//! one pick at a time as long as the count rises.
//!
//! A [`Probe`] counts what an operation costs in a state: by single steps on x86-64, by the
//! emulator's clock on a Cortex-M. [`table`] compares the largest counts with `docs/bounds.md`.
//!
//! `no_std`, with an allocator; 64 KiB of stack suffice.
mod aligned;
mod allocate;
mod between;
mod free;
mod lens;
mod misuse;
mod picks;
mod plan;
mod probe;
mod record;
mod resize;
mod search;
mod slabs;
mod slots;
mod supply;
pub mod table;
mod world;

pub use probe::{Cost, Probe};
pub use record::{Key, Most, Mosts, Record};
pub use search::Effort;
pub use world::{Block, Memory, World};

use evenfit::{Geometry, Tiers};

use search::Search;

/// Tries all families, and records them for the kind of pool with this name.
pub fn all<T: Tiers, G: Geometry, P: Probe>(
    record: &mut Record<P>,
    name: &'static str,
    effort: Effort,
) {
    record.begin(name);
    // Room for the largest state, and for a free block of the second word of bins, where there is
    // one.
    let granules = (5 * lens::word_start::<G>(1)).max(1000 * G::SHORT_END);
    let granules = granules.min(G::GRANULES_MAX / 10 * 9);
    let mut search = Search::new::<G>(record, granules, effort);
    free::all::<T, G, P>(&mut search);
    allocate::all::<T, G, P>(&mut search);
    aligned::all::<T, G, P>(&mut search);
    resize::all::<T, G, P>(&mut search);
    misuse::all::<T, G, P>(&mut search);
    if World::<T, G>::HAS_SLABS {
        slots::all::<T, G, P>(&mut search);
    }
}

//! The states in which an operation of the heap has most to do.
//!
//! They are all combinations of what an operation's path depends on: which neighbours are free, how long they
//! are (a long block keeps its size in the map), where in their lists they stand, where in a map word everything
//! lies, whether there are slabs. A [`Probe`] counts what an operation costs in each, however the target counts:
//! by single steps on x86-64, by the emulator's clock on a Cortex-M4. [`table`] compares the most with `docs/bounds.md`.
//!
//! `no_std`, with an allocator; 64 KiB of stack suffice.
#![no_std]

extern crate alloc;

mod between;
mod blocks;
mod choice;
pub mod next;
mod record;
mod slabs;
pub mod table;
mod world;

pub use choice::{Choice, FEW, MANY, SOME};
pub use record::{Cost, Most, Probe, Record};
pub use world::{Block, World};

use evenfit::{Compact, Standard, Tiers};

/// Tries the blocks and the slabs of `Standard` pools.
pub fn standard<P: Probe>(record: &mut Record<P>, names: [&'static str; 2], choice: &Choice) {
    for (name, tiers) in names.into_iter().zip([Tiers::BlocksOnly, Tiers::WithSlabs]) {
        record.begin(name);
        blocks::all::<Standard, P>(record, tiers, choice);
    }
    slabs::all(record, choice);
}

/// Tries `Compact` pools.
pub fn compact<P: Probe>(record: &mut Record<P>, name: &'static str, choice: &Choice) {
    record.begin(name);
    blocks::all::<Compact, P>(record, Tiers::BlocksOnly, choice);
}

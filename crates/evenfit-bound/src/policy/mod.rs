//! Placement policies, simulated: at which address would first fit, best fit, a buddy system, TLSF
//! or evenfit place each block?
//!
//! They count in granules and access no memory, so a simulation is quick at any pool size. The
//! library uses none of them. `exhaustive` has the same policies in their simplest form, and tests
//! compare the two.

mod arena;
mod bins;
mod buddy;
mod evenfit;
mod lists;
mod tree;

pub use arena::Handle;
pub use evenfit::Evenfit;

use arena::{Index, Space};

use crate::geometry::Cut;

/// A policy by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The lowest free block that is large enough.
    FirstFit,
    /// First fit that begins where the last search ended.
    NextFit,
    /// The smallest free block that is large enough, the lowest of several.
    BestFit,
    /// Bins by powers of two, sizes that aren't rounded; a bin of which every block is long enough
    /// (Ogasawara 1995).
    HalfFit,
    /// A binary buddy system: sizes rounded up to powers of two.
    Buddy,
    /// TLSF's search: 32 bins per doubling, a request rounded up to the next bin (Masmano and
    /// others 2004).
    Tlsf,
    /// evenfit's block tier: see [`Evenfit`].
    Evenfit,
}

impl Policy {
    /// All of them, the oldest first.
    pub const ALL: [Self; 7] = [
        Self::FirstFit,
        Self::BestFit,
        Self::NextFit,
        Self::HalfFit,
        Self::Buddy,
        Self::Tlsf,
        Self::Evenfit,
    ];

    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstFit => "first fit",
            Self::NextFit => "next fit",
            Self::BestFit => "best fit",
            Self::HalfFit => "half fit",
            Self::Buddy => "buddy",
            Self::Tlsf => "TLSF",
            Self::Evenfit => "evenfit",
        }
    }

    /// Its description, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Self::FirstFit => "the lowest hole that is large enough",
            Self::NextFit => "first fit, going on from where the last search ended",
            Self::BestFit => "the smallest hole that is large enough",
            Self::HalfFit => "bins by powers of two; any hole of the next bin",
            Self::Buddy => "sizes rounded up to powers of two, halves joined with their twin",
            Self::Tlsf => "32 bins per doubling; requests rounded up to the next bin",
            Self::Evenfit => {
                "4 bins per doubling; the last remainder first, the untouched end last"
            }
        }
    }

    /// Whether the time of its operations is bounded.
    pub fn bounded(self) -> bool {
        !matches!(self, Self::FirstFit | Self::NextFit | Self::BestFit)
    }

    /// The policy over an empty pool of `granules`, in the geometry `cut` if it is evenfit's.
    pub fn over(self, cut: Cut, granules: u64) -> Box<dyn Placement> {
        let space = |index: Box<dyn Index>| Box::new(Space::new(granules, index));
        let bins = |short_end, division_log2| {
            let cut = Cut { short_end, division_log2, ..Cut::STANDARD };
            Box::new(bins::Bins::new(cut))
        };
        match self {
            Self::FirstFit => space(Box::new(tree::Addresses::new(granules, false))),
            Self::NextFit => space(Box::new(tree::Addresses::new(granules, true))),
            Self::BestFit => space(Box::<lists::Sizes>::default()),
            Self::HalfFit => space(bins(2, 0)),
            Self::Tlsf => space(bins(64, 5)),
            Self::Evenfit => Box::new(Evenfit::new(cut, granules)),
            Self::Buddy => Box::new(buddy::Buddies::new(granules)),
        }
    }
}

/// A pool under some policy.
pub trait Placement {
    /// Places a block of `granules` at a multiple of `align` granules. `None`: the policy finds no
    /// room.
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle>;
    /// Frees a block.
    fn free(&mut self, block: Handle);
    /// Resizes a block in place to `granules`. Returns whether that was possible.
    fn resize(&mut self, block: Handle, granules: u64) -> bool;
    /// Where a block starts, and how many granules it has.
    fn extent(&self, block: Handle) -> (u64, u64);
    /// The largest request that would be served now, alignment aside. May take time linear in the
    /// free blocks.
    fn largest(&self) -> u64;
    /// Free blocks that a plain list of them would have looked at, or bins, since the start.
    fn steps(&self) -> u64;
}

//! Placement policies, simulated: where would first fit, best fit, a buddy system, TLSF or evenfit put each block?
//!
//! They count in granules and touch no memory, so a simulation is quick at any pool size. None of them is used by the
//! library; `exhaustive` holds the same policies in their simplest form, and tests hold the two against each other.

mod arena;
mod bins;
mod buddy;
mod lists;
mod tree;
mod with_rest;

pub use arena::{Handle, Space};
pub use with_rest::WithRest;

use arena::Index;

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
    /// Bins by powers of two, sizes as they are; a bin whose every block surely fits (Ogasawara 1995).
    HalfFit,
    /// A binary buddy system: sizes rounded up to powers of two.
    Buddy,
    /// TLSF's search: 32 bins a doubling, a request rounded up to the next bin (Masmano and others 2004).
    Tlsf,
    /// evenfit's block tier: the head of the request's own bin if it is large enough, else of the next bin, else the
    /// top.
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

    /// What it does, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Self::FirstFit => "the lowest hole that is large enough",
            Self::NextFit => "first fit, going on from where the last search ended",
            Self::BestFit => "the smallest hole that is large enough",
            Self::HalfFit => "bins by powers of two; any hole of the next bin",
            Self::Buddy => "sizes rounded up to powers of two, halves joined with their twin",
            Self::Tlsf => "32 bins a doubling; requests rounded up to the next bin",
            Self::Evenfit => "16 bins a doubling; the own bin's head first, the untouched end last",
        }
    }

    /// Whether the time of its operations is bounded.
    pub fn bounded(self) -> bool {
        !matches!(self, Self::FirstFit | Self::NextFit | Self::BestFit)
    }

    /// The policy over an empty pool of `granules`.
    pub fn over(self, granules: u64) -> Box<dyn Placement> {
        let space = |index: Box<dyn Index>, top| Box::new(Space::new(granules, index, top));
        match self {
            Self::FirstFit => space(Box::new(tree::Addresses::new(granules, false)), false),
            Self::NextFit => space(Box::new(tree::Addresses::new(granules, true)), false),
            Self::BestFit => space(Box::<lists::Sizes>::default(), false),
            Self::HalfFit => space(
                Box::new(bins::Bins::new(
                    Cut {
                        division_log2: 0,
                        ..Cut::STANDARD
                    },
                    false,
                )),
                false,
            ),
            Self::Tlsf => space(
                Box::new(bins::Bins::new(
                    Cut {
                        division_log2: 5,
                        ..Cut::STANDARD
                    },
                    false,
                )),
                false,
            ),
            Self::Evenfit => Box::new(good_fit(Cut::STANDARD, granules)),
            Self::Buddy => Box::new(buddy::Buddies::new(granules)),
        }
    }
}

/// evenfit's block tier over `granules`.
pub fn good_fit(cut: Cut, granules: u64) -> Space {
    Space::new(granules, Box::new(bins::Bins::new(cut, true)), true)
}

/// A pool under some policy.
pub trait Placement {
    /// Places a block of `granules` at a multiple of `align` granules. `None`: the policy finds no room.
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle>;
    /// Gives a block back.
    fn free(&mut self, block: Handle);
    /// Makes a block `granules` long where it is; whether that could be.
    fn resize(&mut self, block: Handle, granules: u64) -> bool;
    /// Where a block starts, and how many granules the policy gave it.
    fn extent(&self, block: Handle) -> (u64, u64);
    /// The largest request that would be served now, alignment aside. May take time linear in the free blocks.
    fn largest(&self) -> u64;
    /// Free blocks that a plain list of them would have looked at, or bins, since the start.
    fn steps(&self) -> u64;
}

//! How many combinations are tried.

use crate::world::Place;

/// What combinations are tried.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Lengths of free neighbours in granules; 0 is none.
    pub(crate) neighbours: &'static [usize],
    /// Lengths of the block that is freed or resized, or of a request.
    pub(crate) blocks: &'static [usize],
    /// Where in their lists free blocks stand.
    pub(crate) places: &'static [Place],
    /// Granules in front of everything: where in a pair of map words it lies.
    pub(crate) offsets: &'static [usize],
    /// Sizes of slots in bytes.
    pub(crate) slots: &'static [usize],
}

/// Some hundred combinations, with the worst of [`MANY`] on x86-64.
pub const FEW: Choice = Choice {
    neighbours: &[0, 140],
    blocks: &[40, 140],
    places: &[Place::Middle],
    offsets: &[80, 83],
    slots: &[16, 512],
};

/// Some thousand, with nearly the worst of [`MANY`] on a Cortex-M4.
pub const SOME: Choice = Choice {
    neighbours: &[0, 127, 140, 5_000],
    blocks: &[33, 40, 127, 140, 300],
    places: &[Place::Only, Place::First],
    offsets: &[33, 49, 64],
    slots: &[16, 40],
};

/// Tens of thousands.
pub const MANY: Choice = Choice {
    neighbours: &[0, 33, 40, 127, 140, 5_000],
    blocks: &[33, 40, 127, 140, 300],
    places: &[Place::Only, Place::First, Place::Middle, Place::Last],
    offsets: &[33, 49, 64, 80],
    slots: &[16, 24, 40, 128, 168, 256, 512],
};

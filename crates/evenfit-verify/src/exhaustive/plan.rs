//! Which pool is visited, and what is asked of it.

use alloc::vec;
use alloc::vec::Vec;

use crate::subject::Subject;

/// What is visited.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The pool's size in granules.
    pub granules: usize,
    /// The sizes that are asked for, in granules.
    pub sizes: Vec<usize>,
    /// The alignments that are asked for, in granules (powers of two).
    pub aligns: Vec<usize>,
    /// Give up, and say so, after this many states.
    pub states_max: usize,
}

impl Plan {
    /// Every size and every alignment of a pool of `granules`.
    pub fn every_size(granules: usize) -> Self {
        let aligns = (0..).map(|log2| 1 << log2).take_while(|align| *align <= granules);
        Self {
            granules,
            sizes: (1..=granules + 1).collect(),
            aligns: aligns.collect(),
            states_max: usize::MAX,
        }
    }

    /// The same pool with each granule made `unit` granules: long blocks, coarse size classes,
    /// and a map of several words, at the number of states of a small pool.
    pub fn scaled(unit: usize, count: usize) -> Self {
        Self {
            granules: unit * count,
            sizes: (1..=count).map(|size| size * unit).collect(),
            aligns: vec![1],
            states_max: usize::MAX,
        }
    }

    /// Slabs of eight slots, and blocks as long as one, in a pool of an `S` with room for `slabs`
    /// and a half.
    pub fn slabs<S: Subject>(slabs: usize, states_max: usize) -> Self {
        let slab = slab_granules::<S>();
        Self {
            granules: slab * slabs + slab / 2,
            sizes: vec![slot_granules::<S>(), slab],
            aligns: vec![1],
            states_max,
        }
    }

    /// Slabs of two classes, so that slots are kept for smaller requests.
    pub fn kept_slots<S: Subject>(slabs: usize, states_max: usize) -> Self {
        let slot = slot_granules::<S>();
        Self {
            sizes: vec![slot / 2, slot, slab_granules::<S>()],
            ..Self::slabs::<S>(slabs, states_max)
        }
    }

    /// Sizes around `unit`, which leave rests of every length. There is no end to the states:
    /// the first `states_max` are visited, the shortest ways first.
    pub fn ragged(unit: usize, count: usize, states_max: usize) -> Self {
        Self {
            granules: unit * count + 3,
            sizes: vec![1, unit - 1, unit, unit + 1, 2 * unit + 1],
            aligns: vec![1, 4, 64],
            states_max,
        }
    }
}

/// The length of a slab, in granules.
pub(super) fn slab_granules<S: Subject>() -> usize {
    let slabs = S::RULES.slabs.expect("a heap with slabs");
    slabs.slab_bytes / S::GRANULE_BYTES
}

/// The size of request that a slab has eight slots for, in granules.
pub(super) fn slot_granules<S: Subject>() -> usize {
    slab_granules::<S>() / 8
}

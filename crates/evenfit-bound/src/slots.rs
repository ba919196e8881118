//! The sizes of slots.

use crate::geometry::Cut;

/// The longest request that slabs serve, in bytes.
const REQUEST_BYTES_MAX: u64 = 512;
/// Most slots of a slab: it has this many free bits.
const SLOTS_MAX: u64 = 128;
/// Most classes, including the one that has no slab.
const CLASSES_MAX: u64 = 28;
/// Bytes of a class's head in the metadata.
const HEAD_BYTES: u64 = 32;

/// A size class: the slots of its slabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotClass {
    /// A slot's length, and the longest request that it serves.
    pub slot_bytes: u64,
    /// Slots of a slab.
    pub slots: u64,
}

/// The classes of a heap with slabs, the shortest first: each multiple of the alignment up to 16
/// granules; above, for each number of slots the longest that fit into a slab, at least 16 bytes
/// apart.
pub fn slot_classes(cut: Cut) -> Vec<SlotClass> {
    let slab_bytes = cut.slab_granules() * cut.granule_bytes;
    let step = cut.granule_bytes * cut.align_granules;
    let linear_end = 16 * cut.granule_bytes;
    let shortest = (slab_bytes / SLOTS_MAX).max(Cut::BLOCK_MIN * cut.granule_bytes);
    let linear =
        (0..).map(|index| shortest + index * step).take_while(|&bytes| bytes <= linear_end);
    let mut sizes: Vec<u64> = linear.collect();
    for slots in (3..slab_bytes / linear_end).rev() {
        let bytes = slab_bytes / slots / 16 * 16;
        let last = sizes.last().copied().unwrap_or(0);
        if bytes <= REQUEST_BYTES_MAX && bytes >= last + 16 {
            sizes.push(bytes);
        }
    }
    let class = |slot_bytes| SlotClass { slot_bytes, slots: slab_bytes / slot_bytes };
    sizes.into_iter().map(class).collect()
}

impl Cut {
    /// A slab's length in granules.
    pub fn slab_granules(self) -> u64 {
        8 * self.short_end
    }

    /// The class that serves a request, if one does.
    pub fn slot_class(self, size_bytes: u64, align_bytes: u64) -> Option<SlotClass> {
        let is_aligned = align_bytes <= self.granule_bytes * self.align_granules;
        let mut classes = slot_classes(self).into_iter();
        classes.find(|class| is_aligned && size_bytes <= class.slot_bytes)
    }

    /// The longest request that slabs serve, in bytes.
    pub fn slot_bytes_max(self) -> u64 {
        slot_classes(self).last().map_or(0, |class| class.slot_bytes)
    }

    /// As [`region_bytes`](Self::region_bytes), for a heap with slabs: 32 bits more for each slab's
    /// length of the pool, and the heads of the classes.
    pub fn region_bytes_with_slabs(self, granules: u64) -> Option<u64> {
        let granules = granules.checked_next_multiple_of(self.align_granules)?;
        let segments = granules / self.slab_granules() + CLASSES_MAX + 1;
        self.region_bytes_with(granules, (segments + 1) * 4 + CLASSES_MAX * HEAD_BYTES)
    }
}

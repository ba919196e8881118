//! The layout of the region: how it is divided into metadata and the pool.

use core::ptr::NonNull;

use crate::InitError;
use crate::blocks::{Directory, GRANULES_MIN, Map, Pool};
use crate::geometry::Geometry;
use crate::slabs::Slabs;

/// The parts of a region, as offsets from its first byte:
///
/// ```text
///   | starts of segments | heads of classes | directory | map | granule 0 | granule 1 | ...
///   '---- with slabs only -----------------'
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionLayout {
    pub(crate) slab_starts_offset: usize,
    pub(crate) directory_offset: usize,
    pub(crate) map_offset: usize,
    pub(crate) pool_offset: usize,
    /// How many granules the metadata is for. The pool may have fewer.
    pub(crate) granules: usize,
}

impl RegionLayout {
    /// Lays out `len_bytes` bytes from `base` on. The pool gets as many granules as fit behind
    /// their own metadata.
    pub(crate) fn new<G: Geometry>(
        base: NonNull<u8>,
        len_bytes: usize,
        has_slabs: bool,
    ) -> Result<Self, InitError> {
        let aligned = Pool::<G>::GRANULES_ALIGN;
        let least =
            Self::for_granules::<G>(base, GRANULES_MIN.next_multiple_of(aligned), has_slabs);
        // A region of another alignment may lose this much more.
        let min_bytes = least.end_bytes::<G>() + G::ALIGN_BYTES;
        if least.end_bytes::<G>() > len_bytes {
            return Err(InitError::RegionTooSmall { len_bytes, min_bytes });
        }
        let max = Self::for_granules::<G>(base, G::GRANULES_MAX / aligned * aligned, has_slabs);
        if len_bytes.saturating_sub(G::GRANULE_BYTES * aligned) >= max.end_bytes::<G>() {
            return Err(InitError::RegionTooLarge { len_bytes, max_bytes: max.end_bytes::<G>() });
        }
        // The metadata grows with the number of granules, so the largest number that fits is found
        // by bisection.
        let (mut fit, mut too_many) =
            (least.granules / aligned, len_bytes / G::GRANULE_BYTES / aligned + 1);
        too_many = too_many.min(max.granules / aligned + 1);
        while too_many - fit > 1 {
            let middle = fit + (too_many - fit) / 2;
            if Self::for_granules::<G>(base, middle * aligned, has_slabs).end_bytes::<G>()
                <= len_bytes
            {
                fit = middle;
            } else {
                too_many = middle;
            }
        }
        Ok(Self::for_granules::<G>(base, fit * aligned, has_slabs))
    }

    /// The layout for this number of granules, however long the region is.
    fn for_granules<G: Geometry>(base: NonNull<u8>, granules: usize, has_slabs: bool) -> Self {
        let pad = |offset: usize, align: usize| {
            base.addr().get().wrapping_add(offset).wrapping_neg() & (align - 1)
        };
        let slab_starts_offset = pad(0, align_of::<u32>());
        let mut directory_offset = slab_starts_offset;
        if has_slabs {
            directory_offset += Slabs::<G>::starts_bytes(granules) + Slabs::<G>::HEADS_BYTES;
        }
        let map_offset = directory_offset + Directory::<G>::bytes(granules);
        let map_end = map_offset + Map::bytes(granules);
        Self {
            slab_starts_offset,
            directory_offset,
            map_offset,
            pool_offset: map_end + pad(map_end, G::ALIGN_BYTES),
            granules,
        }
    }

    fn end_bytes<G: Geometry>(&self) -> usize {
        self.granules.saturating_mul(G::GRANULE_BYTES).saturating_add(self.pool_offset)
    }

    /// How many of the granules lie in the first `len_bytes` of the region.
    pub(crate) fn granules_in<G: Geometry>(&self, len_bytes: usize) -> Result<usize, InitError> {
        let aligned = Pool::<G>::GRANULES_ALIGN;
        let room =
            len_bytes.saturating_sub(self.pool_offset) / G::GRANULE_BYTES / aligned * aligned;
        let granules = room.min(self.granules);
        if granules < GRANULES_MIN {
            let min_bytes =
                self.pool_offset + GRANULES_MIN.next_multiple_of(aligned) * G::GRANULE_BYTES;
            return Err(InitError::RegionTooSmall { len_bytes, min_bytes });
        }
        Ok(granules)
    }
}

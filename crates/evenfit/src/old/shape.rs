//! How a region is divided: directory, map and pool, and whether there are slabs at all.

use core::ptr::NonNull;

use crate::old::bins::max_granules;
use crate::old::map::{Map, Pair};
use crate::old::slab::{GRANULES_MAX, SLAB_GRANULES, Slabs};
use crate::{Geometry, InitError};

/// Whether small requests are served from slabs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiers {
    /// Slabs from [`SLAB_REGION_BYTES_MIN`] of region on, where they are faster and tighter; blocks only below, where
    /// half-empty slabs would cost too much. [`Compact`](crate::Compact) pools always have blocks only.
    #[default]
    Auto,
    /// Blocks only: slower for small requests, and the choice where the proved bound on space is what counts.
    BlocksOnly,
    /// Slabs whatever the length of the region, up to 32 GiB (with [`Standard`](crate::Standard)).
    WithSlabs,
}

/// From this length of region on, in bytes, [`Tiers::Auto`] serves small requests from slabs.
pub const SLAB_REGION_BYTES_MIN: usize = 1 << 20;

/// Where directory, map and pool lie in a region.
pub(crate) struct Shape {
    pub(crate) has_slabs: bool,
    pub(crate) directory_offset: usize,
    pub(crate) map_offset: usize,
    pub(crate) pool_offset: usize,
    pub(crate) granules: usize,
}

impl Shape {
    /// How many of the granules lie in the first `len_bytes` of the region.
    pub(crate) fn granules_in<G: Geometry>(&self, len_bytes: usize) -> Result<usize, InitError> {
        let too_small = InitError::RegionTooSmall {
            len_bytes,
            min_bytes: self.pool_offset + G::GRANULE_BYTES,
        };
        let pool_bytes = len_bytes.checked_sub(self.pool_offset).ok_or(too_small)?;
        match self.granules.min(pool_bytes / G::GRANULE_BYTES) {
            0 => Err(too_small),
            granules => Ok(granules),
        }
    }

    /// Gives the pool as many granules as fit behind their own metadata.
    pub(crate) fn fit<G: Geometry>(
        base: NonNull<u8>,
        len_bytes: usize,
        tiers: Tiers,
    ) -> Result<Self, InitError> {
        let has_slabs = G::HAS_SLABS
            && len_bytes / G::GRANULE_BYTES <= GRANULES_MAX
            && match tiers {
                Tiers::Auto => len_bytes >= SLAB_REGION_BYTES_MIN,
                Tiers::BlocksOnly => false,
                Tiers::WithSlabs => true,
            };
        let directory_bytes = |granules| {
            if has_slabs {
                Slabs::metadata_bytes(granules)
            } else {
                0
            }
        };
        let min_bytes =
            2 * G::GRANULE_BYTES + directory_bytes(1) + Map::bytes(1) + align_of::<Pair>();
        let too_small = InitError::RegionTooSmall {
            len_bytes,
            min_bytes,
        };
        let directory_offset = base.align_offset(align_of::<Pair>());
        let usable_bytes = len_bytes.checked_sub(directory_offset).ok_or(too_small)?;
        // A first guess that is never too low. Each step down frees a granule, and the metadata of the
        // last group is worth only a few.
        let group_bytes = SLAB_GRANULES * G::GRANULE_BYTES
            + (Map::bytes(SLAB_GRANULES) - Map::bytes(0))
            + (directory_bytes(SLAB_GRANULES) - directory_bytes(0));
        let mut granules = (usable_bytes / group_bytes + 1) * SLAB_GRANULES;
        while granules > 0 {
            let map_offset = directory_offset + directory_bytes(granules);
            let map_end = map_offset + Map::bytes(granules);
            let address = base.addr().get().wrapping_add(map_end);
            let pool_offset = map_end + (address.wrapping_neg() & (G::GRANULE_BYTES - 1));
            let room = len_bytes
                .checked_sub(pool_offset)
                .map(|bytes| bytes / G::GRANULE_BYTES);
            if room.is_some_and(|room| room >= granules) {
                if granules > max_granules::<G>() {
                    let granules = max_granules::<G>();
                    let metadata_bytes = Map::bytes(granules) + directory_bytes(granules);
                    let max_bytes = granules
                        .saturating_mul(G::GRANULE_BYTES)
                        .saturating_add(metadata_bytes);
                    return Err(InitError::RegionTooLarge {
                        len_bytes,
                        max_bytes,
                    });
                }
                return Ok(Self {
                    has_slabs,
                    directory_offset,
                    map_offset,
                    pool_offset,
                    granules,
                });
            }
            granules -= 1;
        }
        Err(too_small)
    }
}

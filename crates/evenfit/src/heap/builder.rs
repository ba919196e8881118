//! The builder, which has every choice about a heap by name.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::Heap;
use crate::InitError;
use crate::blocks::{Blocks, Directory, Map, Pool};
use crate::geometry::Geometry;
use crate::region::RegionLayout;
use crate::sanitizer::SanitizedPool;
use crate::slabs::Slabs;
use crate::tiers::{BlocksOnly, Tiers, WithSlabs};

/// The choices for a new heap: see [`Heap::builder`].
///
/// `T` are the tiers, `G` is the geometry. Without a choice they are
/// [`DefaultTiers`](crate::DefaultTiers) and [`DefaultGeometry`](crate::DefaultGeometry), and the
/// pool can't become longer.
///
/// ```
/// let mut region = [core::mem::MaybeUninit::uninit(); 64 * 1024];
/// let builder = evenfit::Heap::builder().blocks_only().geometry::<evenfit::Compact>();
/// let heap = builder.build(&mut region)?;
/// assert!(heap.largest_free() > 63 * 1000);
/// # Ok::<(), evenfit::InitError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Builder<T: Tiers, G: Geometry> {
    max_bytes: usize,
    is_zero: bool,
    choice: PhantomData<(T, G)>,
}

impl<T: Tiers, G: Geometry> Default for Builder<T, G> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Tiers, G: Geometry> Builder<T, G> {
    /// Starts with the tiers `T` and the geometry `G`, and no room for a longer pool.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_bytes: 0, is_zero: false, choice: PhantomData }
    }

    const fn of<T2: Tiers, G2: Geometry>(self) -> Builder<T2, G2> {
        Builder { max_bytes: self.max_bytes, is_zero: self.is_zero, choice: PhantomData }
    }

    /// Chooses [`BlocksOnly`]: no slabs, the least space.
    #[must_use]
    pub const fn blocks_only(self) -> Builder<BlocksOnly, G> {
        self.of()
    }

    /// Chooses [`WithSlabs`]: slabs for small requests, whatever the length of the region. Doesn't
    /// compile with [`Compact`](crate::Compact), which can't have slabs.
    #[must_use]
    pub const fn with_slabs(self) -> Builder<WithSlabs, G> {
        self.of()
    }

    /// Chooses the tiers `T2`.
    #[must_use]
    pub const fn tiers<T2: Tiers>(self) -> Builder<T2, G> {
        self.of()
    }

    /// Chooses the geometry `G2`.
    #[must_use]
    pub const fn geometry<G2: Geometry>(self) -> Builder<T, G2> {
        self.of()
    }

    /// Reserves metadata for a region of `max_bytes`, so that the pool can become longer by
    /// [`Heap::extend`]. This metadata must fit in the region that the heap is built over.
    #[must_use]
    pub const fn max_bytes(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }

    /// Says that the region is all zero, as memory fresh from the operating system is. Then
    /// building is O(1) and writes next to nothing, so no page is loaded before it is needed.
    ///
    /// # Safety
    /// Every byte of the region that the heap is built over must be zero.
    #[must_use]
    pub const unsafe fn zeroed(self) -> Self {
        Self { is_zero: true, ..self }
    }

    /// Builds the heap over `region`, of any length and alignment. Linear in the metadata unless
    /// the region is [`zeroed`](Self::zeroed).
    ///
    /// # Errors
    /// [`InitError::RegionTooSmall`] if the region can't hold the metadata and a block,
    /// [`InitError::RegionTooLarge`] if it, or [`max_bytes`](Self::max_bytes), has more granules
    /// than the geometry can number.
    pub fn build(self, region: &mut [MaybeUninit<u8>]) -> Result<Heap<'_, T, G>, InitError> {
        let len_bytes = region.len();
        // SAFETY: the region is borrowed exclusively for the heap's lifetime.
        unsafe { self.build_raw(NonNull::from(region).cast(), len_bytes) }
    }

    /// Builds the heap over `len_bytes` bytes from `base` on.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    ///
    /// # Safety
    /// As for [`Heap::from_raw`].
    pub unsafe fn build_raw<'pool>(
        self,
        base: NonNull<u8>,
        len_bytes: usize,
    ) -> Result<Heap<'pool, T, G>, InitError> {
        const {
            assert!(
                G::HAS_SLABS || T::SLABS_REGION_BYTES_MIN != 0,
                "this geometry has no slabs: choose Auto or BlocksOnly, or another geometry than Compact"
            );
        }
        let max_bytes = self.max_bytes.max(len_bytes);
        let has_slabs = G::HAS_SLABS && max_bytes >= T::SLABS_REGION_BYTES_MIN;
        let layout = RegionLayout::new::<G>(base, max_bytes, has_slabs)?;
        let granules = layout.granules_in::<G>(len_bytes)?;
        // SAFETY: the caller's region is valid for `len_bytes` (see `Heap::from_raw`). The parts of
        // a layout lie in it, aligned and without overlap. The metadata is zero: it was just
        // written, or `zeroed` promises it.
        unsafe {
            if !self.is_zero {
                base.write_bytes(0, layout.pool_offset);
            }
            let map = Map::new(base.add(layout.map_offset));
            let directory = Directory::new(base.add(layout.directory_offset).cast());
            let pool = Pool::new(base.add(layout.pool_offset));
            let blocks = Blocks::new(map, directory, pool, granules);
            let slabs = if has_slabs {
                Slabs::new(base.add(layout.slab_starts_offset).cast(), &blocks, layout.granules)
            } else {
                Slabs::none()
            };
            let pool_bytes = granules * G::GRANULE_BYTES;
            let sanitized = SanitizedPool::new(base.add(layout.pool_offset), pool_bytes);
            Ok(Heap {
                blocks,
                slabs: T::from(slabs),
                region_bytes: len_bytes,
                pool_offset_bytes: layout.pool_offset,
                granules_max: layout.granules,
                sanitized,
                region: PhantomData,
            })
        }
    }
}

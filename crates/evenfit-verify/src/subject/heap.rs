//! [`evenfit::Heap`], in every geometry, with slabs and without.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{
    Aligned, AllocError, BlocksOnly, Compact, FreeError, Geometry, Heap, InitError, ReallocError,
    Standard, Tiers, Wide, WithSlabs,
};

use super::{GRANULES_MIN, Rules, SLOT_BYTES_MAX, SlabRules, Subject};

/// Blocks only, in granules of 8 bytes.
pub type Blocks = Heap<'static, BlocksOnly, Standard>;
/// Slabs whatever the region's length, in granules of 8 bytes.
pub type Slabs = Heap<'static, WithSlabs, Standard>;
/// Blocks only, all aligned to 16 bytes.
pub type AlignedBlocks = Heap<'static, BlocksOnly, Aligned>;
/// Slabs, all slots and blocks aligned to 16 bytes.
pub type AlignedSlabs = Heap<'static, WithSlabs, Aligned>;
/// Blocks only, in granules of 16 bytes.
pub type WideBlocks = Heap<'static, BlocksOnly, Wide>;
/// Slabs, in granules of 16 bytes.
pub type WideSlabs = Heap<'static, WithSlabs, Wide>;
/// Blocks only, with a directory of 16-bit numbers.
pub type CompactBlocks = Heap<'static, BlocksOnly, Compact>;

/// A geometry and its rules.
pub trait Promised: Geometry {
    /// Its name in messages: with slabs, and with blocks only.
    const NAMES: [&'static str; 2];
    /// Blocks of fewer granules have a bin for each length.
    const EXACT_END: usize;
    /// What a slab rounds a request to.
    fn slot_bytes(size: usize) -> Option<usize> {
        slot_bytes(size, Self::GRANULE_BYTES, Self::ALIGN_BYTES)
    }
}

const EXACT_END: usize = if usize::BITS == 64 { 32 } else { 16 };

impl Promised for Standard {
    const NAMES: [&'static str; 2] = ["Standard with slabs", "Standard"];
    const EXACT_END: usize = EXACT_END;
}

impl Promised for Aligned {
    const NAMES: [&'static str; 2] = ["Aligned with slabs", "Aligned"];
    const EXACT_END: usize = EXACT_END;
}

impl Promised for Wide {
    const NAMES: [&'static str; 2] = ["Wide with slabs", "Wide"];
    const EXACT_END: usize = EXACT_END;
}

impl Promised for Compact {
    const NAMES: [&'static str; 2] = ["none", "Compact"];
    const EXACT_END: usize = 16;
}

/// A slab is as long as eight of the shortest long blocks.
const fn slab_bytes(granule_bytes: usize) -> usize {
    8 * EXACT_END * granule_bytes
}

/// Up to 16 granules there is a slot for every aligned size. Above, it is the largest multiple of
/// 16 of which a slab holds a number, if it is 16 more than the one before.
fn slot_bytes(size: usize, granule_bytes: usize, align_bytes: usize) -> Option<usize> {
    let linear_end = 16 * granule_bytes;
    if size <= linear_end {
        let slot = size.next_multiple_of(align_bytes);
        return Some(slot.max(GRANULES_MIN * granule_bytes));
    }
    let slab_bytes = slab_bytes(granule_bytes);
    let mut last = linear_end;
    for slots in (2..slab_bytes / linear_end).rev() {
        let slot = slab_bytes / slots / 16 * 16;
        if slot < last + 16 {
            continue;
        }
        if slot > SLOT_BYTES_MAX {
            break;
        }
        if size <= slot {
            return Some(slot);
        }
        last = slot;
    }
    None
}

const fn has_slabs<T: Tiers>() -> bool {
    T::SLABS_REGION_BYTES_MIN == 0
}

const fn rules<T: Tiers, G: Promised>() -> Rules {
    let is_one_granule = G::ALIGN_BYTES == G::GRANULE_BYTES;
    let slabs = SlabRules { slab_bytes: slab_bytes(G::GRANULE_BYTES), slot_bytes: G::slot_bytes };
    Rules {
        granule_bytes: G::GRANULE_BYTES,
        align_bytes: G::ALIGN_BYTES,
        // No remainder of one granule is left where lengths are multiples of two.
        granules_over_max: is_one_granule as usize,
        exact_end: G::EXACT_END,
        slabs: if has_slabs::<T>() { Some(slabs) } else { None },
    }
}

impl<T: Tiers, G: Promised> Subject for Heap<'static, T, G> {
    const NAME: &'static str = G::NAMES[!has_slabs::<T>() as usize];
    const RULES: Rules = rules::<T, G>();

    unsafe fn build(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        let builder = Heap::builder().tiers::<T>().geometry::<G>();
        // SAFETY: passed on to the caller.
        unsafe { builder.build_raw(base, len_bytes) }
    }
    fn malloc(&mut self, size_bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        Heap::malloc(self, size_bytes)
    }
    unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: passed on to the caller.
        unsafe { Heap::try_free(self, ptr) }
    }
    unsafe fn resize_in_place(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: passed on to the caller.
        unsafe { Heap::resize_in_place(self, ptr, old, new) }
    }
    unsafe fn realloc(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: passed on to the caller.
        unsafe { Heap::realloc(self, ptr, new_bytes) }
    }
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        Heap::usable_size(self, ptr)
    }
    fn largest_free_aligned(&mut self, align: usize) -> usize {
        Heap::largest_free_aligned(self, align)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    fn sizes<G: Promised>() -> Vec<usize> {
        let mut sizes: Vec<_> =
            (0..=SLOT_BYTES_MAX).map(|size| G::slot_bytes(size).unwrap()).collect();
        sizes.dedup();
        sizes
    }

    #[test]
    fn slots_above_16_granules() {
        let fine = [144, 160, 176, 192, 224, 256, 288, 336, 400, 512];
        assert!(sizes::<Standard>().ends_with(&fine));
        assert!(sizes::<Aligned>().ends_with(&fine));
        let coarse = [272, 288, 304, 336, 368, 400, 448, 512];
        assert!(sizes::<Wide>().ends_with(&coarse));
        assert_eq!(Standard::slot_bytes(SLOT_BYTES_MAX + 1), None);
    }
}

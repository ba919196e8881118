//! A heap of one of two types, chosen by the machine and the options.

use core::alloc::Layout;
use core::ptr::NonNull;

#[cfg(target_pointer_width = "64")]
use evenfit::{Aligned, Auto, WithSlabs};
use evenfit::{
    AllocError, Block, BlocksOnly, FreeError, Geometry, Heap, ReallocError, Resized, Stats, Tiers,
};
#[cfg(not(target_pointer_width = "64"))]
use evenfit::{Compact, Standard};

use crate::Status;
use crate::options::TierChoice;

/// For little memory: blocks only. All blocks are aligned for any C type.
#[cfg(target_pointer_width = "64")]
pub(crate) type SmallHeap = Heap<'static, BlocksOnly, Aligned>;
/// For more memory: small requests are served from slabs.
#[cfg(target_pointer_width = "64")]
pub(crate) type LargeHeap = Heap<'static, WithSlabs, Aligned>;

/// For little memory: narrow metadata. All blocks are aligned for any C type.
#[cfg(not(target_pointer_width = "64"))]
pub(crate) type SmallHeap = Heap<'static, BlocksOnly, Compact>;
/// For more memory than the narrow metadata can number. It has no slabs, since their code is too
/// large for devices.
#[cfg(not(target_pointer_width = "64"))]
pub(crate) type LargeHeap = Heap<'static, BlocksOnly, Standard>;

/// The type of a heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Small,
    Large,
}

impl Kind {
    /// For memory of up to `max_bytes` bytes, counting what may be added later.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn of(max_bytes: usize, tiers: TierChoice) -> Result<Self, Status> {
        let has_slabs = match tiers {
            TierChoice::EVF_TIERS_AUTO => max_bytes >= Auto::SLABS_REGION_BYTES_MIN,
            TierChoice::EVF_BLOCKS_ONLY => false,
            TierChoice::EVF_WITH_SLABS => true,
        };
        Ok(if has_slabs { Self::Large } else { Self::Small })
    }

    /// For memory of up to `max_bytes` bytes, counting what may be added later.
    #[cfg(not(target_pointer_width = "64"))]
    pub(crate) fn of(max_bytes: usize, tiers: TierChoice) -> Result<Self, Status> {
        if tiers == TierChoice::EVF_WITH_SLABS {
            return Err(Status::EVF_NO_SLABS);
        }
        let is_small = max_bytes <= Compact::GRANULES_MAX * Compact::GRANULE_BYTES;
        Ok(if is_small { Self::Small } else { Self::Large })
    }
}

/// The methods of both types that the C functions use. Each is the method of [`Heap`] with the same
/// name.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait AnyHeap {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;
    fn malloc(&mut self, bytes: usize) -> Result<NonNull<[u8]>, AllocError>;
    unsafe fn realloc_uncopied(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<Resized, ReallocError>;
    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;
    unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError>;
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError>;
    fn largest_free(&self) -> usize;
    fn largest_free_aligned(&mut self, align: usize) -> usize;
    fn stats(&self) -> Stats;
    fn is_sound(&self) -> bool;
    fn reset(&mut self);
    unsafe fn extend(&mut self, added_bytes: usize) -> usize;
    /// Calls `visit` until it returns false.
    fn walk(&self, visit: &mut dyn FnMut(Block) -> bool);
}

impl<T: Tiers, G: Geometry> AnyHeap for Heap<'static, T, G> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate(layout)
    }

    fn malloc(&mut self, bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        self.malloc(bytes)
    }

    unsafe fn realloc_uncopied(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<Resized, ReallocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.realloc_uncopied(ptr, new_bytes) }
    }

    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.try_deallocate(ptr, layout) }
    }

    unsafe fn try_free(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.try_free(ptr) }
    }

    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        self.usable_size(ptr)
    }

    fn largest_free(&self) -> usize {
        self.largest_free()
    }

    fn largest_free_aligned(&mut self, align: usize) -> usize {
        Heap::largest_free_aligned(self, align)
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    fn is_sound(&self) -> bool {
        self.check().is_ok()
    }

    fn reset(&mut self) {
        self.reset();
    }

    unsafe fn extend(&mut self, added_bytes: usize) -> usize {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.extend(added_bytes) }
    }

    fn walk(&self, visit: &mut dyn FnMut(Block) -> bool) {
        for block in self.blocks() {
            if !visit(block) {
                break;
            }
        }
    }
}

//! `Allocator` for shared heaps and budgets, so that collections can use them.

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::{Budget, Geometry, Lock, LockedHeap, SharedHeap, StaticHeap, Tiers};

/// Implements one crate's `Allocator` for references to shared heaps and budgets.
///
/// For references only: a `StaticHeap` contains its blocks, so it must not move while they live.
macro_rules! impl_allocator {
    ($feature:literal, $allocator:path, $error:path) => {
        impl_allocator!(@one $feature, $allocator, $error, ['pool, L: Lock, T: Tiers, G: Geometry] LockedHeap<'pool, L, T, G>);
        impl_allocator!(@one $feature, $allocator, $error, [const BYTES: usize, L: Lock, T: Tiers, G: Geometry] StaticHeap<BYTES, L, T, G>);
        impl_allocator!(@one $feature, $allocator, $error, ['heap, H: SharedHeap] Budget<'heap, H>);
    };
    (@one $feature:literal, $allocator:path, $error:path, [$($generics:tt)*] $heap:ty) => {
        // SAFETY: a block stays valid until it is freed, since the heap that it came from is
        // borrowed and so can't move or end. All copies of the reference are the same heap.
        #[cfg_attr(docsrs, doc(cfg(feature = $feature)))]
        unsafe impl<$($generics)*> $allocator for &$heap {
            #[inline]
            fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, $error> {
                (**self).allocate(layout).map_err(|_| $error)
            }

            #[inline]
            fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, $error> {
                // All of the block is zeroed, since all of it is the caller's.
                (**self).allocate_zeroed(layout).map_err(|_| $error)
            }

            #[inline]
            unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
                // SAFETY: as promised by the caller.
                unsafe { (**self).deallocate(ptr, layout) };
            }

            #[inline]
            unsafe fn grow(
                &self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $error> {
                // SAFETY: as promised by the caller.
                unsafe { (**self).reallocate(ptr, old, new) }.map_err(|_| $error)
            }

            #[inline]
            unsafe fn grow_zeroed(
                &self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $error> {
                // SAFETY: as promised by the caller.
                let block = unsafe { self.grow(ptr, old, new) }?;
                let added_bytes = block.len() - old.size();
                // SAFETY: the bytes from the old size to the block's end lie in the block, which is
                // the caller's.
                unsafe { block.cast::<u8>().add(old.size()).write_bytes(0, added_bytes) };
                Ok(block)
            }

            #[inline]
            unsafe fn shrink(
                &self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, $error> {
                // SAFETY: as promised by the caller.
                unsafe { self.grow(ptr, old, new) }
            }
        }
    };
}

#[cfg(feature = "allocator-api2")]
impl_allocator!(
    "allocator-api2",
    allocator_api2::alloc::Allocator,
    allocator_api2::alloc::AllocError
);

#[cfg(feature = "allocator-api2-03")]
impl_allocator!(
    "allocator-api2-03",
    allocator_api2_03::alloc::Allocator,
    allocator_api2_03::alloc::AllocError
);

#[cfg(feature = "allocator-api2-04")]
impl_allocator!(
    "allocator-api2-04",
    allocator_api2_04::alloc::Allocator,
    allocator_api2_04::alloc::AllocError
);

#[cfg(feature = "nightly")]
impl_allocator!("nightly", core::alloc::Allocator, core::alloc::AllocError);

//! Heaps behind a lock.
//!
//! Each call locks once, for one bounded operation of the heap. Zeroing, the copy of a reallocation that
//! moves, and the hooks run outside it.

#[cfg(any(feature = "allocator-api2", feature = "nightly"))]
mod allocator_api;
mod budget;
pub mod lock;
mod locked_heap;
mod methods;
mod out_of_memory;
mod static_heap;

pub use self::budget::{Budget, BudgetStats};
pub use self::locked_heap::LockedHeap;
pub use self::out_of_memory::{OutOfMemory, OutOfMemoryHook, WhenFull};
pub use self::static_heap::StaticHeap;

use core::alloc::Layout;
use core::ptr::NonNull;

use crate::geometry::Geometry;
use crate::heap::Heap;
use crate::tiers::Tiers;
use crate::{FreeError, ReallocError};

pub(crate) mod sealed {
    use super::out_of_memory::OutOfMemoryCell;
    use super::{Geometry, Heap, Tiers};

    /// The part of a shared heap that only this crate implements.
    pub trait HeapAccess {
        type Tiers: Tiers;
        type Geometry: Geometry;

        /// Runs `f` on the heap with the lock held; `None` where there is no heap yet.
        ///
        /// `f` must not put another heap in this one's place: the lifetime given to it is a shortened one.
        fn with_heap<R>(
            &self,
            f: impl FnOnce(&mut Heap<'_, Self::Tiers, Self::Geometry>) -> R,
        ) -> Option<R>;

        fn out_of_memory(&self) -> &OutOfMemoryCell;
    }
}

/// A heap behind a lock, [`StaticHeap`] or [`LockedHeap`]: what a [`Budget`] is a share of.
pub trait SharedHeap: sealed::HeapAccess {}

impl<H: sealed::HeapAccess> SharedHeap for H {}

/// Copies a block's content to the new one, and frees the old one by `free`; where that is refused, the new one.
///
/// # Safety
/// `ptr` is live with layout `old` and the caller's; `block` is new, live with layout `new`. `free` frees what it is given.
unsafe fn copy_and_free(
    block: NonNull<[u8]>,
    ptr: NonNull<u8>,
    old: Layout,
    new: Layout,
    free: impl Fn(NonNull<u8>, Layout) -> Result<(), FreeError>,
) -> Result<NonNull<[u8]>, ReallocError> {
    let payload_bytes = old.size().min(new.size());
    // SAFETY: the old block is the caller's and live, the new one ours alone; both have so many bytes.
    unsafe {
        block.cast::<u8>().copy_from_nonoverlapping(ptr, payload_bytes);
    }
    if let Err(error) = free(ptr, old) {
        // What surrounds the old block was overwritten, so it stays, and the new one goes.
        let _ = free(block.cast(), new);
        return Err(error.into());
    }
    Ok(block)
}

/// A block as the pointer that `GlobalAlloc` speaks of: null for none.
#[inline]
fn as_raw<E>(block: Result<NonNull<[u8]>, E>) -> *mut u8 {
    block.map_or(core::ptr::null_mut(), |block| block.cast().as_ptr())
}

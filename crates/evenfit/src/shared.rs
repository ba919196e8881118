//! Heaps behind a lock.
//!
//! Each call takes the lock once, for one bounded operation of the heap. Zeroing, the copy of a
//! reallocation that moves, and the hooks run outside the lock.

#[cfg(any(
    feature = "allocator-api2",
    feature = "allocator-api2-03",
    feature = "allocator-api2-04",
    feature = "nightly"
))]
mod allocator_api;
mod budget;
#[cfg(all(feature = "fork", unix))]
mod fork;
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
    use core::cell::UnsafeCell;

    #[cfg(all(feature = "fork", unix))]
    use super::fork::Registration;
    use super::lock::Lock;
    use super::out_of_memory::OutOfMemoryCell;
    use super::{Geometry, Heap, Tiers};

    /// Access to the heap behind the lock. Only this crate implements it.
    pub trait HeapAccess {
        type Lock: Lock;
        type Tiers: Tiers;
        type Geometry: Geometry;

        /// Runs `f` on the heap under the lock; `None` if there is no heap yet.
        ///
        /// `f` must not replace the heap: the lifetime it sees is shorter than the real one.
        fn with_heap<R>(
            &self,
            f: impl FnOnce(&mut Heap<'_, Self::Tiers, Self::Geometry>) -> R,
        ) -> Option<R>;

        /// The lock, in a cell because the child of a fork makes it anew.
        fn lock_cell(&self) -> &UnsafeCell<Self::Lock>;

        #[inline]
        fn lock(&self) -> &Self::Lock {
            // SAFETY: written only by `release_in_child`, whose caller promises that nobody else
            // uses the heap.
            unsafe { &*self.lock_cell().get() }
        }

        fn out_of_memory(&self) -> &OutOfMemoryCell;

        #[cfg(all(feature = "fork", unix))]
        fn fork_registration(&self) -> &Registration;
    }
}

/// A heap behind a lock, [`StaticHeap`] or [`LockedHeap`], which a [`Budget`] can be a share of. It
/// is sealed.
pub trait SharedHeap: sealed::HeapAccess {}

impl<H: sealed::HeapAccess> SharedHeap for H {}

/// Copies a block's content to a new block, and frees the old one by `free`. If that is refused, it
/// frees the new one instead.
///
/// # Errors
/// What `free` says about the old block, which is then live and unchanged.
///
/// # Safety
/// `ptr` is live with layout `old`, and only the caller uses it. `block` is new and has layout
/// `new`. `free` frees the block that it is given.
unsafe fn copy_and_free(
    block: NonNull<[u8]>,
    ptr: NonNull<u8>,
    old: Layout,
    new: Layout,
    free: impl Fn(NonNull<u8>, Layout) -> Result<(), FreeError>,
) -> Result<NonNull<[u8]>, ReallocError> {
    let payload_bytes = old.size().min(new.size());
    // SAFETY: as promised by the caller, both blocks are live, distinct, and have at least this
    // many bytes.
    unsafe {
        block.cast::<u8>().copy_from_nonoverlapping(ptr, payload_bytes);
    }
    if let Err(error) = free(ptr, old) {
        // A block beside the old one was overwritten. So the old block stays, and the new one is
        // freed.
        let _ = free(block.cast(), new);
        return Err(error.into());
    }
    Ok(block)
}

/// A block as `GlobalAlloc` returns it: null for none.
#[inline]
fn as_raw<E>(block: Result<NonNull<[u8]>, E>) -> *mut u8 {
    block.map_or(core::ptr::null_mut(), |block| block.cast().as_ptr())
}

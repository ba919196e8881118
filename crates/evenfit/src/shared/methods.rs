//! The methods of every heap behind a lock.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::copy_and_free;
use super::out_of_memory::{Failure, WhenFull};
use super::sealed::HeapAccess;
use crate::{AllocError, FreeError, ReallocError, Resized, misuse};

/// Runs `request`, and repeats it as often as the out-of-memory hook asks for it.
#[inline]
fn retry_while_full<H: HeapAccess, B, E: Failure>(
    heap: &H,
    layout: Layout,
    request: impl Fn() -> Result<B, E>,
) -> Result<B, E> {
    let mut retries = 0;
    loop {
        let answer = request();
        let Err(error) = &answer else { return answer };
        let Some(error) = error.no_memory() else {
            return answer;
        };
        if heap.out_of_memory().ask(layout, error, retries) == WhenFull::Fail {
            return answer;
        }
        retries = retries.saturating_add(1);
    }
}

#[inline]
pub(super) fn allocate<H: HeapAccess>(
    heap: &H,
    layout: Layout,
) -> Result<NonNull<[u8]>, AllocError> {
    retry_while_full(heap, layout, || {
        heap.with_heap(|heap| heap.allocate(layout)).unwrap_or(Err(AllocError::OutOfMemory))
    })
}

/// # Safety
/// As for [`Heap::deallocate`](crate::Heap::deallocate).
#[inline]
pub(super) unsafe fn deallocate<H: HeapAccess>(heap: &H, ptr: NonNull<u8>, layout: Layout) {
    // SAFETY: as promised by the caller.
    if let Err(error) = unsafe { try_deallocate(heap, ptr, layout) } {
        misuse::report(error, ptr, Some(layout));
    }
}

/// # Safety
/// As for [`Heap::try_deallocate`](crate::Heap::try_deallocate).
#[inline]
pub(super) unsafe fn try_deallocate<H: HeapAccess>(
    heap: &H,
    ptr: NonNull<u8>,
    layout: Layout,
) -> Result<(), FreeError> {
    // SAFETY: as promised by the caller.
    heap.with_heap(|heap| unsafe { heap.try_deallocate(ptr, layout) })
        .unwrap_or(Err(FreeError::OutsidePool))
}

/// # Safety
/// As for [`Heap::reallocate`](crate::Heap::reallocate).
pub(super) unsafe fn reallocate<H: HeapAccess>(
    heap: &H,
    ptr: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<NonNull<[u8]>, ReallocError> {
    let resized = retry_while_full(heap, new, || {
        // SAFETY: as promised by the caller.
        heap.with_heap(|heap| unsafe { heap.reallocate_uncopied(ptr, Some(old), new) })
            .unwrap_or(Err(FreeError::OutsidePool.into()))
    })?;
    match resized {
        Resized::Done(block) => Ok(block),
        // SAFETY: as promised by the caller, the old block is live. The new one was just allocated.
        Resized::Elsewhere { block, .. } => unsafe {
            copy_and_free(block, ptr, old, new, |ptr, layout| try_deallocate(heap, ptr, layout))
        },
    }
}

/// The methods of a shared heap, and `GlobalAlloc`.
macro_rules! shared_methods {
    ([$($generics:tt)*] $heap:ty, $tiers:ty, $geometry:ty) => {
        impl<$($generics)*> $heap {
            /// Allocates a block for `layout`: at least `layout.size()` bytes, uninitialised. O(1).
            ///
            /// If there is no room, the out-of-memory hook is called, outside the lock.
            ///
            /// # Errors
            /// [`AllocError`](crate::AllocError) says why no block was allocated.
            #[inline]
            pub fn allocate(
                &self,
                layout: core::alloc::Layout,
            ) -> Result<core::ptr::NonNull<[u8]>, crate::AllocError> {
                $crate::shared::methods::allocate(self, layout)
            }

            /// Allocates a block for `layout` and zeroes all of it, outside the lock. O(1) and one
            /// write of the block.
            ///
            /// # Errors
            /// As [`allocate`](Self::allocate).
            pub fn allocate_zeroed(
                &self,
                layout: core::alloc::Layout,
            ) -> Result<core::ptr::NonNull<[u8]>, crate::AllocError> {
                self.allocate(layout).map($crate::heap::zeroed)
            }

            /// Frees a block. A refused pointer is reported to the misuse hook, outside the lock.
            /// O(1).
            ///
            /// # Safety
            /// `ptr` came from this heap with this `layout`, is live, and is not used after the
            /// call.
            #[inline]
            pub unsafe fn deallocate(&self, ptr: core::ptr::NonNull<u8>, layout: core::alloc::Layout) {
                // SAFETY: as promised by the caller.
                unsafe { $crate::shared::methods::deallocate(self, ptr, layout) }
            }

            /// Frees a block, or says why the pointer is refused. O(1).
            ///
            /// # Safety
            /// If `ptr` is the start of a live block of this heap, nothing uses that block after
            /// the call.
            ///
            /// # Errors
            /// [`FreeError`](crate::FreeError); then the heap is unchanged.
            #[inline]
            pub unsafe fn try_deallocate(
                &self,
                ptr: core::ptr::NonNull<u8>,
                layout: core::alloc::Layout,
            ) -> Result<(), crate::FreeError> {
                // SAFETY: as promised by the caller.
                unsafe { $crate::shared::methods::try_deallocate(self, ptr, layout) }
            }

            /// Changes the layout of a live block: in place if possible, else in a new block. The
            /// copy of `min(old.size(), new.size())` bytes is made outside the lock, except in a
            /// pool without room for a new block, where the block moves down over itself. O(1) but
            /// for that copy. Making a block smaller at its alignment never fails.
            ///
            /// # Safety
            /// `ptr` came from this heap with layout `old`, is live, and nothing else uses it
            /// during the call. After `Ok` only the returned block may be used.
            ///
            /// # Errors
            /// [`ReallocError`](crate::ReallocError); then the old block is live and unchanged.
            #[inline]
            pub unsafe fn reallocate(
                &self,
                ptr: core::ptr::NonNull<u8>,
                old: core::alloc::Layout,
                new: core::alloc::Layout,
            ) -> Result<core::ptr::NonNull<[u8]>, crate::ReallocError> {
                // SAFETY: as promised by the caller.
                unsafe { $crate::shared::methods::reallocate(self, ptr, old, new) }
            }

            /// How many bytes the caller may use at `ptr`. O(1).
            ///
            /// # Errors
            /// [`FreeError`](crate::FreeError) if no live block starts at `ptr`.
            pub fn usable_size(&self, ptr: core::ptr::NonNull<u8>) -> Result<usize, crate::FreeError> {
                self.with_heap(|heap| heap.usable_size(ptr))
                    .unwrap_or(Err(crate::FreeError::OutsidePool))
            }

            /// The largest request, in bytes, that succeeds now. It is exact, but outdated as soon
            /// as another thread allocates. O(1).
            pub fn largest_free(&self) -> usize {
                self.with_heap(|heap| heap.largest_free()).unwrap_or(0)
            }

            /// The largest request, in bytes, that succeeds now at an alignment of `align` bytes:
            /// see [`Heap::largest_free_aligned`](crate::Heap::largest_free_aligned). O(1).
            pub fn largest_free_aligned(&self, align: usize) -> usize {
                self.with_heap(|heap| heap.largest_free_aligned(align))
                    .unwrap_or(0)
            }

            /// The heap's counters; all zero if there is no heap yet. O(1).
            pub fn stats(&self) -> crate::Stats {
                self.with_heap(|heap| heap.stats()).unwrap_or_default()
            }

            /// Checks the whole heap. Linear in the pool, with the lock held all the time.
            ///
            /// # Errors
            /// [`CheckError`](crate::CheckError): the first thing found wrong.
            pub fn check(&self) -> Result<(), crate::CheckError> {
                self.with_heap(|heap| heap.check()).unwrap_or(Ok(()))
            }

            /// Runs `f` on the heap under the lock, for example to walk its blocks; `None` if there
            /// is no heap yet.
            ///
            /// `f` must not use this heap in any other way. [`lock`](crate::lock) says for each
            /// lock what happens then.
            pub fn inspect<R>(
                &self,
                f: impl FnOnce(&crate::Heap<'_, $tiers, $geometry>) -> R,
            ) -> Option<R> {
                self.with_heap(|heap| f(heap))
            }

            /// Waits for the lock, and acquires it for a `fork` that follows, so that the child's copy
            /// of the heap is consistent. Only one of the `release` methods may follow on this thread.
            pub fn acquire_for_fork(&self) {
                $crate::Lock::acquire(self.lock());
            }

            /// Releases the lock after a `fork`, in the parent.
            ///
            /// # Safety
            /// This thread acquired it by [`acquire_for_fork`](Self::acquire_for_fork), and has not
            /// used the heap since.
            pub unsafe fn release_after_fork(&self) {
                // SAFETY: as promised by the caller.
                unsafe { $crate::Lock::release(self.lock()) };
            }

            /// Releases the lock in the child of a `fork`, which can use its copy of the heap from
            /// then on.
            ///
            /// # Safety
            /// As for [`release_after_fork`](Self::release_after_fork); the caller is the child's
            /// only thread.
            pub unsafe fn release_in_child(&self) {
                // SAFETY: as promised by the caller.
                unsafe { $crate::Lock::release_in_child(self.lock_cell().get()) };
            }

            /// From now on every `fork` of this process waits until no thread is inside this heap,
            /// and the child can use its copy (feature `fork`, by `pthread_atfork`). Call it once
            /// for each heap, before the first fork; more calls change nothing.
            ///
            /// A thread must not fork inside [`inspect`](Self::inspect), nor in a signal handler
            /// that interrupted the heap: it would wait for itself.
            ///
            /// # Errors
            /// [`AllocError::OutOfMemory`](crate::AllocError::OutOfMemory) if the C library has no
            /// memory for the registration.
            #[cfg(all(feature = "fork", unix))]
            #[cfg_attr(docsrs, doc(cfg(feature = "fork")))]
            pub fn register_fork_handlers(&'static self) -> Result<(), crate::AllocError> {
                $crate::shared::fork::register(self)
            }

            /// Sets the hook that is called when a request finds no free block; `None` removes it.
            ///
            /// ```
            /// use evenfit::{OutOfMemory, StaticHeap, WhenFull};
            ///
            /// static HEAP: StaticHeap<{ 16 * 1024 }> = StaticHeap::new();
            ///
            /// fn drop_caches(request: &OutOfMemory) -> WhenFull {
            ///     // Free something here, then:
            ///     if request.retries == 0 { WhenFull::Retry } else { WhenFull::Fail }
            /// }
            /// HEAP.set_out_of_memory_hook(Some(drop_caches));
            /// ```
            pub fn set_out_of_memory_hook(&self, hook: Option<crate::OutOfMemoryHook>) {
                self.out_of_memory().set(hook);
            }

            /// A named quota of this heap: its user can allocate at most `limit_bytes` of the pool.
            /// O(1).
            pub const fn budget(
                &self,
                name: &'static str,
                limit_bytes: usize,
            ) -> crate::Budget<'_, Self> {
                crate::Budget::new(self, name, limit_bytes)
            }
        }

        // SAFETY: the heap returns live, disjoint, aligned blocks and never unwinds. Each method
        // passes on the caller's promise.
        unsafe impl<$($generics)*> core::alloc::GlobalAlloc for $heap {
            #[inline]
            unsafe fn alloc(&self, layout: core::alloc::Layout) -> *mut u8 {
                $crate::shared::as_raw(self.allocate(layout))
            }

            #[inline]
            unsafe fn alloc_zeroed(&self, layout: core::alloc::Layout) -> *mut u8 {
                $crate::shared::as_raw(self.allocate_zeroed(layout))
            }

            #[inline]
            unsafe fn dealloc(&self, ptr: *mut u8, layout: core::alloc::Layout) {
                if let Some(ptr) = core::ptr::NonNull::new(ptr) {
                    // SAFETY: as promised by the caller.
                    unsafe { self.deallocate(ptr, layout) };
                }
            }

            #[inline]
            unsafe fn realloc(
                &self,
                ptr: *mut u8,
                layout: core::alloc::Layout,
                new_size: usize,
            ) -> *mut u8 {
                let (Some(ptr), Ok(new)) = (
                    core::ptr::NonNull::new(ptr),
                    core::alloc::Layout::from_size_align(new_size, layout.align()),
                ) else {
                    return core::ptr::null_mut();
                };
                // SAFETY: as promised by the caller.
                $crate::shared::as_raw(unsafe { self.reallocate(ptr, layout, new) })
            }
        }
    };
}
pub(super) use shared_methods;

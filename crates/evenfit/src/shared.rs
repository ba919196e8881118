//! What every heap behind a lock offers.

use core::alloc::Layout;
use core::ptr::{self, NonNull};

use crate::hooks::{self, OutOfMemoryHook, WhenFull};
use crate::{AllocError, Budget, CheckError, FreeError, Geometry, Heap, ReallocError, Stats};

/// The part of a shared heap that only this crate implements.
pub(crate) mod sealed {
    use super::{Geometry, Heap};
    use crate::hooks::OutOfMemoryCell;

    pub trait Hold {
        type Geometry: Geometry;

        /// Runs `f` on the heap with the lock held; `None` where there is no heap yet.
        ///
        /// `f` must not put another heap in this one's place: the lifetime given to it is a shortened one.
        fn hold<R>(&self, f: impl FnOnce(&mut Heap<'_, Self::Geometry>) -> R) -> Option<R>;

        fn out_of_memory(&self) -> &OutOfMemoryCell;
    }

    impl<H: Hold> super::SharedHeap for H {}
}

/// A heap behind a lock: [`StaticHeap`](crate::StaticHeap) and [`LockedHeap`](crate::LockedHeap).
///
/// All methods take `&self`. Each holds the lock for one bounded heap operation; zeroing, and the copy of a
/// reallocation that moves, are done outside it. Where a `LockedHeap` has no memory yet, every
/// request fails with [`AllocError::OutOfMemory`] and every pointer is refused.
pub trait SharedHeap: sealed::Hold {
    /// Allocates a block for `layout`: at least `layout.size()` bytes, uninitialised. O(1).
    ///
    /// If there is no room the out-of-memory hook is asked, outside the lock.
    ///
    /// # Errors
    /// [`AllocError`] says why no block could be had.
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        ask_while_full(self, layout, || {
            self.hold(|heap| heap.allocate(layout))
                .unwrap_or(Err(AllocError::OutOfMemory))
        })
    }

    /// Allocates a block for `layout` and zeroes its `layout.size()` bytes, outside the lock.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    fn allocate_zeroed(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: the block is new, ours alone, and has at least `layout.size()` bytes.
        unsafe { block.cast::<u8>().write_bytes(0, layout.size()) };
        Ok(block)
    }

    /// Frees a block. A refused pointer goes to the misuse hook, outside the lock. O(1).
    ///
    /// # Safety
    /// `ptr` came from this heap with this `layout`, is live, and is not used after the call.
    unsafe fn deallocate(&self, ptr: NonNull<u8>, layout: Layout) {
        // SAFETY: the caller's promise is the one asked for.
        if let Err(error) = unsafe { self.try_deallocate(ptr, layout) } {
            hooks::misuse(error, ptr, Some(layout));
        }
    }

    /// Frees a block, or says why the pointer is refused. O(1).
    ///
    /// # Safety
    /// If `ptr` is the start of a live block of this heap, that block is not used after the call.
    ///
    /// # Errors
    /// [`FreeError`]; the heap is then as it was.
    unsafe fn try_deallocate(&self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        self.hold(|heap| unsafe { heap.try_deallocate(ptr, layout) })
            .unwrap_or(Err(FreeError::OutsidePool))
    }

    /// Gives a live block a new layout: in place where it can, else in a new block, whose copy is made
    /// outside the lock unless the pool is so full that the block can only move over itself. O(1) but for that copy of `min(old.size(), new.size())` bytes.
    ///
    /// # Safety
    /// `ptr` came from this heap with layout `old`, is live, and no one else uses it during the call; after
    /// `Ok` only the returned block may be used.
    ///
    /// # Errors
    /// [`ReallocError`]; the old block is then live and unchanged.
    unsafe fn reallocate(
        &self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        let resized = ask_while_full(self, new, || {
            // SAFETY: `ptr` is live with layout `old` by the caller's promise.
            self.hold(|heap| unsafe { resize_or_allocate(heap, ptr, old, new) })
                .unwrap_or(Err(FreeError::OutsidePool.into()))
        })?;
        let block = match resized {
            Resized::InPlace(block) => return Ok(block),
            Resized::Elsewhere(block) => block,
        };
        let common_bytes = old.size().min(new.size());
        // SAFETY: the old block is the caller's and live, the new one ours alone; both have `common_bytes`.
        unsafe { ptr::copy_nonoverlapping(ptr.as_ptr(), block.cast().as_ptr(), common_bytes) };
        // SAFETY: the old block is live, and by the caller's promise not used from here on.
        unsafe { self.deallocate(ptr, old) };
        Ok(block)
    }

    /// How many bytes the caller may use at `ptr`. O(1).
    ///
    /// # Errors
    /// [`FreeError`] where no live block starts at `ptr`.
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        self.hold(|heap| heap.usable_size(ptr))
            .unwrap_or(Err(FreeError::OutsidePool))
    }

    /// The largest request, in bytes, that succeeds now: exact, and outdated as soon as another thread
    /// allocates.
    fn largest_free(&self) -> usize {
        self.hold(|heap| heap.largest_free()).unwrap_or(0)
    }

    /// The heap's counters; all zero where there is no heap yet. O(1).
    fn stats(&self) -> Stats {
        self.hold(|heap| heap.stats()).unwrap_or_default()
    }

    /// Checks the whole heap. Linear in the pool, with the lock held throughout.
    ///
    /// # Errors
    /// [`CheckError`]: the first thing found wrong.
    fn check(&self) -> Result<(), CheckError> {
        self.hold(|heap| heap.check()).unwrap_or(Ok(()))
    }

    /// Runs `f` on the heap with the lock held, as to walk its blocks; `None` where there is no heap yet.
    ///
    /// `f` must not use this heap through any other path: see the lock for what happens then.
    fn inspect<R>(&self, f: impl FnOnce(&Heap<'_, Self::Geometry>) -> R) -> Option<R> {
        self.hold(|heap| f(heap))
    }

    /// Sets the hook to ask when a request finds no free block; `None` removes it.
    ///
    /// ```
    /// use evenfit::{OutOfMemory, SharedHeap, StaticHeap, WhenFull};
    ///
    /// static HEAP: StaticHeap<{ 16 * 1024 }> = StaticHeap::new();
    ///
    /// fn drop_caches(request: &OutOfMemory) -> WhenFull {
    ///     // Free something here, then:
    ///     if request.retries == 0 { WhenFull::Retry } else { WhenFull::Fail }
    /// }
    /// HEAP.set_out_of_memory_hook(Some(drop_caches));
    /// ```
    fn set_out_of_memory_hook(&self, hook: Option<OutOfMemoryHook>) {
        self.out_of_memory().set(hook);
    }

    /// A named quota over this heap: its holder can take at most `limit_bytes` of the pool.
    fn budget(&self, name: &'static str, limit_bytes: usize) -> Budget<'_, Self>
    where
        Self: Sized,
    {
        Budget::new(self, name, limit_bytes)
    }
}

/// What became of a block that was given a new layout.
pub(crate) enum Resized {
    /// It is where it was.
    InPlace(NonNull<[u8]>),
    /// A new block was allocated; the old one is still live and its bytes are still there.
    Elsewhere(NonNull<[u8]>),
}

/// The part of a reallocation that needs the lock.
///
/// # Safety
/// `ptr` is live in `heap` with layout `old`, and is the caller's alone.
pub(crate) unsafe fn resize_or_allocate<G: Geometry>(
    heap: &mut Heap<'_, G>,
    ptr: NonNull<u8>,
    old: Layout,
    new: Layout,
) -> Result<Resized, ReallocError> {
    // SAFETY: the caller's promise is the one asked for.
    match unsafe { heap.resize_in_place(ptr, old, new) } {
        Ok(block) => return Ok(Resized::InPlace(block)),
        Err(ReallocError::Alloc(AllocError::OutOfMemory)) => {}
        Err(error) => return Err(error),
    }
    if let Some(block) = heap.allocate_uncounted(new) {
        return Ok(Resized::Elsewhere(block));
    }
    // The last resort, which the heap alone can take: to move within the block's own neighbourhood.
    // SAFETY: the caller's promise is the one asked for.
    match unsafe { heap.reallocate(ptr, old, new) } {
        Ok(block) => Ok(Resized::InPlace(block)),
        Err(error) => Err(error),
    }
}

/// Why a call failed, as far as retrying is concerned.
trait Failure {
    fn is_full(&self) -> bool;
}

impl Failure for AllocError {
    fn is_full(&self) -> bool {
        *self == AllocError::OutOfMemory
    }
}

impl Failure for ReallocError {
    fn is_full(&self) -> bool {
        *self == ReallocError::Alloc(AllocError::OutOfMemory)
    }
}

/// Runs `request`, again as often as the out-of-memory hook asks for it.
#[inline]
fn ask_while_full<H: SharedHeap + ?Sized, T, E: Failure>(
    heap: &H,
    layout: Layout,
    request: impl Fn() -> Result<T, E>,
) -> Result<T, E> {
    let mut retries = 0;
    loop {
        let answer = request();
        match &answer {
            Err(error) if error.is_full() => {}
            _ => return answer,
        }
        if heap.out_of_memory().ask(layout, retries) == WhenFull::Fail {
            return answer;
        }
        retries = retries.saturating_add(1);
    }
}

/// Implements `GlobalAlloc` for a shared heap.
macro_rules! impl_global_alloc {
    ([$($generics:tt)*] $heap:ty) => {
        // SAFETY: blocks come from the heap, which hands out live, disjoint, aligned memory and never
        // unwinds; each method passes the caller's promise on.
        unsafe impl<$($generics)*> core::alloc::GlobalAlloc for $heap {
            #[inline]
            unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
                as_raw($crate::SharedHeap::allocate(self, layout).ok())
            }

            #[inline]
            unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
                as_raw($crate::SharedHeap::allocate_zeroed(self, layout).ok())
            }

            #[inline]
            unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
                if let Some(ptr) = core::ptr::NonNull::new(ptr) {
                    // SAFETY: the caller's promise is the one asked for.
                    unsafe { $crate::SharedHeap::deallocate(self, ptr, layout) };
                }
            }

            #[inline]
            unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
                let (Some(ptr), Ok(new)) = (
                    core::ptr::NonNull::new(ptr),
                    Layout::from_size_align(new_size, layout.align()),
                ) else {
                    return core::ptr::null_mut();
                };
                // SAFETY: the caller's promise is the one asked for.
                as_raw(unsafe { $crate::SharedHeap::reallocate(self, ptr, layout, new) }.ok())
            }
        }
    };
}
pub(crate) use impl_global_alloc;

/// A block as the pointer that `GlobalAlloc` speaks of: null for none.
#[inline]
pub(crate) fn as_raw(block: Option<NonNull<[u8]>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), |block| block.cast().as_ptr())
}

//! A heap behind a lock, over memory that is known at run time.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

#[cfg(all(feature = "fork", unix))]
use super::fork::Registration;
use super::lock::{Lock, SpinLock};
use super::methods::shared_methods;
use super::out_of_memory::OutOfMemoryCell;
use super::sealed::HeapAccess;
use crate::InitError;
use crate::geometry::Geometry;
use crate::heap::{Builder, DefaultGeometry, DefaultTiers, Heap};
use crate::sync::Protected;
use crate::tiers::Tiers;

/// A heap that threads, cores or interrupt handlers share, over a borrowed or raw region.
///
/// `L` is the lock, `T` the tiers, `G` the geometry. The defaults are those of [`Heap`]. As long as
/// it has no memory, every request fails with [`AllocError::OutOfMemory`](crate::AllocError) and
/// every pointer is refused.
///
/// Over a borrowed region it needs no `unsafe`:
///
/// ```
/// use core::alloc::Layout;
/// use core::mem::MaybeUninit;
/// use evenfit::LockedHeap;
///
/// let mut region = [MaybeUninit::uninit(); 16 * 1024];
/// let heap: LockedHeap = LockedHeap::from_region(&mut region)?;
/// let layout = Layout::new::<[u64; 8]>();
/// std::thread::scope(|threads| {
///     for _ in 0..2 {
///         threads.spawn(|| {
///             let block = heap.allocate(layout).expect("the pool has room");
///             // SAFETY: just allocated with this layout, and not used afterwards.
///             unsafe { heap.deallocate(block.cast(), layout) };
///         });
///     }
/// });
/// assert_eq!(heap.stats().live_blocks, 0);
/// # Ok::<(), evenfit::InitError>(())
/// ```
///
/// The region can't be used while the heap lives:
///
/// ```compile_fail,E0506
/// use core::mem::MaybeUninit;
/// use evenfit::LockedHeap;
///
/// let mut region = [MaybeUninit::<u8>::uninit(); 16 * 1024];
/// let heap: LockedHeap = LockedHeap::from_region(&mut region).unwrap();
/// region[0] = MaybeUninit::new(1);
/// heap.stats();
/// ```
///
/// As a kernel's global allocator it starts [`empty`](Self::empty) and gets memory at boot.
pub struct LockedHeap<'pool, L = SpinLock, T: Tiers = DefaultTiers, G: Geometry = DefaultGeometry> {
    lock: UnsafeCell<L>,
    #[cfg(all(feature = "fork", unix))]
    fork: Registration,
    out_of_memory: OutOfMemoryCell,
    heap: Protected<Option<Heap<'pool, T, G>>>,
}

// SAFETY: the heap is accessed only in `with_heap` and `init_with`, under the lock, or by a mutable
// reference.
unsafe impl<'pool, L: Lock, T: Tiers, G: Geometry> Sync for LockedHeap<'pool, L, T, G> where
    Heap<'pool, T, G>: Send
{
}

impl<'pool, L: Lock, T: Tiers, G: Geometry> LockedHeap<'pool, L, T, G> {
    /// A heap without memory. Every request fails until [`init`](Self::init) gives it memory.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            lock: UnsafeCell::new(L::UNLOCKED),
            #[cfg(all(feature = "fork", unix))]
            fork: Registration::none(),
            out_of_memory: OutOfMemoryCell::new(),
            heap: Protected::new(None),
        }
    }

    /// Puts a heap behind a lock.
    #[must_use]
    pub const fn new(heap: Heap<'pool, T, G>) -> Self {
        Self {
            lock: UnsafeCell::new(L::UNLOCKED),
            #[cfg(all(feature = "fork", unix))]
            fork: Registration::none(),
            out_of_memory: OutOfMemoryCell::new(),
            heap: Protected::new(Some(heap)),
        }
    }

    /// Builds a heap over a borrowed region. Linear in the metadata. For choices that the types
    /// don't express, build a [`Heap`] and put it behind a lock by [`new`](Self::new).
    ///
    /// # Errors
    /// [`InitError`] if the region is too small or too large.
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        Builder::new().build(region).map(Self::new)
    }

    /// Builds a heap over `len_bytes` bytes from `base` on. Linear in the metadata.
    ///
    /// # Safety
    /// The memory is valid for reads and writes for `'pool`, and used by nothing else.
    ///
    /// # Errors
    /// [`InitError`] if the region is too small or too large.
    pub unsafe fn from_raw(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        // SAFETY: as promised by the caller.
        unsafe { Builder::new().build_raw(base, len_bytes) }.map(Self::new)
    }

    /// Gives an [`empty`](Self::empty) heap its memory. Linear in the metadata, with the lock held.
    ///
    /// # Errors
    /// [`InitError`] if the region is too small or too large; [`InitError::AlreadyBuilt`] if the
    /// heap has memory already, which then stays as it is.
    pub fn init(&self, region: &'pool mut [MaybeUninit<u8>]) -> Result<(), InitError> {
        self.init_with(|| Builder::new().build(region))
    }

    /// Gives an [`empty`](Self::empty) heap `len_bytes` bytes from `base` on. Linear in the
    /// metadata, with the lock held.
    ///
    /// # Safety
    /// The memory is valid for reads and writes for `'pool`, and used by nothing else.
    ///
    /// # Errors
    /// As for [`init`](Self::init).
    pub unsafe fn init_raw(&self, base: NonNull<u8>, len_bytes: usize) -> Result<(), InitError> {
        // SAFETY: as promised by the caller.
        self.init_with(|| unsafe { Builder::new().build_raw(base, len_bytes) })
    }

    fn init_with(
        &self,
        build: impl FnOnce() -> Result<Heap<'pool, T, G>, InitError>,
    ) -> Result<(), InitError> {
        let init = |heap: *mut Option<Heap<'pool, T, G>>| {
            // SAFETY: the lock is held, and references to the heap end with `with_heap`.
            let heap = unsafe { &mut *heap };
            if heap.is_some() {
                return Err(InitError::AlreadyBuilt);
            }
            *heap = Some(build()?);
            Ok(())
        };
        self.lock().with(|| self.heap.with(init))
    }

    /// Makes the pool longer by memory that follows the region: see [`Heap::extend`]. Returns by
    /// how many bytes it has grown. O(1).
    ///
    /// # Safety
    /// As for [`Heap::extend`].
    pub unsafe fn extend(&self, added_bytes: usize) -> usize {
        // SAFETY: as promised by the caller.
        self.with_heap(|heap| unsafe { heap.extend(added_bytes) }).unwrap_or(0)
    }

    /// Frees all blocks at once: see [`Heap::reset`]. No collection can still use the heap, since
    /// it would borrow it.
    pub fn reset(&mut self) {
        if let Some(heap) = self.heap.get_mut() {
            heap.reset();
        }
    }

    /// The heap itself, without the lock.
    #[must_use]
    pub fn into_inner(self) -> Option<Heap<'pool, T, G>> {
        self.heap.into_inner()
    }
}

impl<L: Lock, T: Tiers, G: Geometry> HeapAccess for LockedHeap<'_, L, T, G> {
    type Lock = L;
    type Tiers = T;
    type Geometry = G;

    #[inline]
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap<'_, T, G>) -> R) -> Option<R> {
        let with_heap = |heap: *mut Option<Heap<'_, T, G>>| {
            // SAFETY: the lock is held, and references to the heap end with `with_heap`. Its
            // callers, all in this crate, never replace the heap, so the shorter lifetime is sound.
            let heap = unsafe { &mut *heap.cast::<Option<Heap<'_, T, G>>>() };
            heap.as_mut().map(f)
        };
        self.lock().with(|| self.heap.with(with_heap))
    }

    #[inline]
    fn lock_cell(&self) -> &UnsafeCell<L> {
        &self.lock
    }

    #[inline]
    fn out_of_memory(&self) -> &OutOfMemoryCell {
        &self.out_of_memory
    }

    #[cfg(all(feature = "fork", unix))]
    fn fork_registration(&self) -> &Registration {
        &self.fork
    }
}

shared_methods!(['pool, L: Lock, T: Tiers, G: Geometry] LockedHeap<'pool, L, T, G>, T, G);

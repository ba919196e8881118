//! A heap that contains its pool and needs no call to begin.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

#[cfg(all(feature = "fork", unix))]
use super::fork::Registration;
use super::lock::{Lock, SpinLock};
use super::methods::shared_methods;
use super::out_of_memory::OutOfMemoryCell;
use super::sealed::HeapAccess;
use crate::geometry::Geometry;
use crate::heap::{Builder, DefaultGeometry, DefaultTiers, Heap};
use crate::sync::Protected;
use crate::tiers::Tiers;

/// A heap of `BYTES` bytes for a `static`. All of it is in `.bss`, and it is built at the first
/// request.
///
/// ```
/// #[global_allocator]
/// static HEAP: evenfit::StaticHeap<{ 64 * 1024 * 1024 }> = evenfit::StaticHeap::new();
///
/// fn main() {
///     let words = vec!["served", "from", "the", "pool"];
///     assert_eq!(words.join(" "), "served from the pool");
///     assert!(HEAP.stats().live_blocks > 0);
/// }
/// ```
///
/// The first request also builds the heap, which is linear in its metadata (1/32 of the pool). If
/// this is too long for a request, call [`stats`](Self::stats) once at start.
///
/// `L` is the lock, `T` the tiers, `G` the geometry. The defaults are those of [`Heap`]: on 64-bit
/// machines slabs for small requests, if the pool is large enough to gain by them; on others blocks
/// only and the geometry for small devices. A pool that is too large for the geometry doesn't
/// compile:
///
/// ```compile_fail
/// use evenfit::{BlocksOnly, Compact, SpinLock, StaticHeap};
/// static HEAP: StaticHeap<{ 1 << 20 }, SpinLock, BlocksOnly, Compact> = StaticHeap::new();
/// ```
///
/// A static of a gibibyte costs the compiler seconds and two gibibytes of its own memory, and the
/// linker doesn't reach more than two. For such pools map memory and pass it to
/// [`LockedHeap::init_raw`](crate::LockedHeap::init_raw).
///
/// It is meant for a `static`. If it is moved, it starts again empty, and the blocks that it had
/// allocated are dangling.
#[repr(C)]
pub struct StaticHeap<
    const BYTES: usize,
    L = SpinLock,
    T: Tiers = DefaultTiers,
    G: Geometry = DefaultGeometry,
> {
    lock: UnsafeCell<L>,
    #[cfg(all(feature = "fork", unix))]
    fork: Registration,
    out_of_memory: OutOfMemoryCell,
    state: Protected<State<T, G>>,
    region: UnsafeCell<MaybeUninit<Region<BYTES>>>,
}

/// The heap, once it was built.
struct State<T: Tiers, G: Geometry> {
    /// The address of the region when `heap` was built over it; null before.
    built_at: *const u8,
    heap: MaybeUninit<Heap<'static, T, G>>,
}

/// The memory, aligned so that no granule is lost at its start.
#[repr(align(16))]
struct Region<const BYTES: usize>(#[allow(dead_code)] [u8; BYTES]);

// SAFETY: state and region are accessed only in `with_heap`, under the lock, and by callers inside
// their blocks.
unsafe impl<const BYTES: usize, L: Lock, T: Tiers, G: Geometry> Sync for StaticHeap<BYTES, L, T, G> where
    Heap<'static, T, G>: Send
{
}

// SAFETY: nothing in it is bound to a thread. If it is moved, it starts again empty.
unsafe impl<const BYTES: usize, L: Lock + Send, T: Tiers, G: Geometry> Send
    for StaticHeap<BYTES, L, T, G>
where
    Heap<'static, T, G>: Send,
{
}

/// The longest region of a static, in bytes. Relocations reach 2 GiB, and the program's other data
/// needs room too.
const STATIC_BYTES_MAX: usize = 0x7800_0000;

impl<const BYTES: usize, L: Lock, T: Tiers, G: Geometry> StaticHeap<BYTES, L, T, G> {
    /// A heap of `BYTES` bytes, metadata included. Doesn't compile if that is too small for a heap,
    /// or too large for the geometry or the linker.
    ///
    /// ```compile_fail
    /// static HEAP: evenfit::StaticHeap<16> = evenfit::StaticHeap::new();
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(
                BYTES >= 1024,
                "a StaticHeap needs at least 1024 bytes: its metadata must fit too"
            );
            assert!(
                BYTES >= 8192 || BYTES < T::SLABS_REGION_BYTES_MIN,
                "a StaticHeap with slabs needs at least 8192 bytes: write BlocksOnly"
            );
            assert!(
                BYTES / G::GRANULE_BYTES <= G::GRANULES_MAX,
                "this pool has more granules than its geometry can number: write StaticHeap<BYTES, SpinLock, BlocksOnly, Standard>, or your own lock and tiers with Standard"
            );
            assert!(
                BYTES <= STATIC_BYTES_MAX,
                "a static of more than 1920 MiB is beyond what the linker's relocations reach: map memory and hand it to LockedHeap::init_raw"
            );
            assert!(
                G::HAS_SLABS || T::SLABS_REGION_BYTES_MIN != 0,
                "this geometry has no slabs: write Auto or BlocksOnly, or another geometry than Compact"
            );
        }
        Self {
            lock: UnsafeCell::new(L::UNLOCKED),
            #[cfg(all(feature = "fork", unix))]
            fork: Registration::none(),
            out_of_memory: OutOfMemoryCell::new(),
            state: Protected::new(State { built_at: ptr::null(), heap: MaybeUninit::uninit() }),
            region: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Builds the heap over the region at its current address; `false` if that isn't possible.
    /// Linear in the metadata.
    ///
    /// # Safety
    /// The lock is held, and `state` is the only reference to this heap's state.
    #[cold]
    #[inline(never)]
    unsafe fn build(&self, state: &mut State<T, G>) -> bool {
        let base = self.region.get().cast::<u8>();
        let Some(start) = NonNull::new(base) else {
            return false;
        };
        // SAFETY: the region is this heap's own, and has `BYTES` bytes. If the heap was moved here,
        // the blocks at its old address are dangling, so no block is used here.
        let Ok(heap) = (unsafe { Builder::new().build_raw(start, BYTES) }) else {
            return false;
        };
        state.heap.write(heap);
        state.built_at = base;
        true
    }
}

/// Only a sanitizer must learn that the heap ends.
#[cfg(any(feature = "asan", feature = "valgrind"))]
impl<const BYTES: usize, L, T: Tiers, G: Geometry> Drop for StaticHeap<BYTES, L, T, G> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if ptr::eq(state.built_at, self.region.get().cast()) {
            // SAFETY: `built_at` is set only after `heap` was written.
            unsafe { state.heap.assume_init_drop() };
        }
    }
}

impl<const BYTES: usize, L: Lock, T: Tiers, G: Geometry> Default for StaticHeap<BYTES, L, T, G> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize, L: Lock, T: Tiers, G: Geometry> HeapAccess for StaticHeap<BYTES, L, T, G> {
    type Lock = L;
    type Tiers = T;
    type Geometry = G;

    #[inline]
    fn with_heap<R>(&self, f: impl FnOnce(&mut Heap<'_, T, G>) -> R) -> Option<R> {
        let with_state = |state: *mut State<T, G>| {
            // SAFETY: the lock is held, and references to the state end with `with_heap`.
            let state = unsafe { &mut *state };
            if !ptr::eq(state.built_at, self.region.get().cast()) {
                // SAFETY: the lock is held, and `state` is the only reference.
                let built = unsafe { self.build(state) };
                if !built {
                    return None;
                }
            }
            // SAFETY: `built_at` is set only after `heap` was written.
            Some(f(unsafe { state.heap.assume_init_mut() }))
        };
        self.lock().with(|| self.state.with(with_state))
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

shared_methods!([const BYTES: usize, L: Lock, T: Tiers, G: Geometry] StaticHeap<BYTES, L, T, G>, T, G);

//! A heap that owns its pool and needs no call to begin.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};

use crate::hooks::OutOfMemoryCell;
use crate::lock::{Lock, SpinLock};
use crate::shared::{as_raw, impl_global_alloc, sealed::Hold};
use crate::sync::Protected;
use crate::{Heap, Standard, Tiers};

/// A heap of `BYTES` bytes for a `static`: all of it in `.bss`, built at the first request.
///
/// ```
/// #[global_allocator]
/// static HEAP: evenfit::StaticHeap<{ 64 * 1024 * 1024 }> = evenfit::StaticHeap::new();
///
/// fn main() {
///     let words = vec!["served", "from", "the", "pool"];
///     assert_eq!(words.join(" "), "served from the pool");
///     use evenfit::SharedHeap;
///     assert!(HEAP.stats().live_blocks > 0);
/// }
/// ```
///
/// The first request also builds the heap, which is linear in the map and the directory of slabs (1/36 of the pool); where even
/// that is too late, ask for [`stats`](crate::SharedHeap::stats) once at start.
///
/// Small requests come from slabs where the pool is large enough to gain by it; `StaticHeap<BYTES, L, true>` has blocks
/// only, and the bound on space that is proved for them.
///
/// It is meant for a `static`. Moving it ends every block it had handed out: it starts again, empty.
#[repr(C)]
pub struct StaticHeap<const BYTES: usize, L = SpinLock, const BLOCKS_ONLY: bool = false> {
    lock: L,
    out_of_memory: OutOfMemoryCell,
    state: Protected<State>,
    region: UnsafeCell<Region<BYTES>>,
}

/// What is known once the heap was built.
struct State {
    /// Where the region was when `heap` was built over it; null before.
    built_at: *const u8,
    heap: MaybeUninit<Heap<'static, Standard>>,
}

/// The memory itself, aligned so that no granule is lost at its start.
#[repr(align(16))]
struct Region<const BYTES: usize>([MaybeUninit<u8>; BYTES]);

// SAFETY: state and region are reached only through `hold`, with the lock held, and by the callers
// to whom the heap gave a block.
unsafe impl<const BYTES: usize, L: Lock, const BLOCKS_ONLY: bool> Sync
    for StaticHeap<BYTES, L, BLOCKS_ONLY>
where
    Heap<'static, Standard>: Send,
{
}

// SAFETY: nothing in it is tied to a thread; moved, it starts again empty.
unsafe impl<const BYTES: usize, L: Lock + Send, const BLOCKS_ONLY: bool> Send
    for StaticHeap<BYTES, L, BLOCKS_ONLY>
where
    Heap<'static, Standard>: Send,
{
}

impl<const BYTES: usize, L: Lock, const BLOCKS_ONLY: bool> StaticHeap<BYTES, L, BLOCKS_ONLY> {
    /// A heap of `BYTES` bytes, metadata included. Fails to compile where that is too small for a heap.
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
        }
        Self {
            lock: L::UNLOCKED,
            out_of_memory: OutOfMemoryCell::new(),
            state: Protected::new(State {
                built_at: ptr::null(),
                heap: MaybeUninit::uninit(),
            }),
            region: UnsafeCell::new(Region([MaybeUninit::uninit(); BYTES])),
        }
    }

    /// Builds the heap over the region where it now lies; `false` if that can't be done.
    ///
    /// # Safety
    /// The lock is held, and `state` is the only reference to this heap's state.
    #[cold]
    #[inline(never)]
    unsafe fn build(&self, state: &mut State) -> bool {
        let base = self.region.get().cast::<u8>();
        let Some(start) = NonNull::new(base) else {
            return false;
        };
        let tiers = if BLOCKS_ONLY {
            Tiers::BlocksOnly
        } else {
            Tiers::Auto
        };
        // SAFETY: the region is this heap's own, `BYTES` long. If it was moved here, the blocks handed out at the
        // old place are dangling there, and nobody uses this place.
        let Ok(heap) = (unsafe { Heap::from_raw_with(start, BYTES, tiers) }) else {
            return false;
        };
        state.heap.write(heap);
        state.built_at = base;
        true
    }
}

/// Where nobody watches, a heap needs no end.
#[cfg(any(feature = "asan", feature = "valgrind"))]
impl<const BYTES: usize, L, const BLOCKS_ONLY: bool> Drop for StaticHeap<BYTES, L, BLOCKS_ONLY> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if ptr::eq(state.built_at, self.region.get().cast()) {
            // SAFETY: `built_at` is set only once `heap` was written.
            unsafe { state.heap.assume_init_drop() };
        }
    }
}

impl<const BYTES: usize, L: Lock, const BLOCKS_ONLY: bool> Default
    for StaticHeap<BYTES, L, BLOCKS_ONLY>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize, L: Lock, const BLOCKS_ONLY: bool> Hold
    for StaticHeap<BYTES, L, BLOCKS_ONLY>
{
    type Geometry = Standard;

    #[inline]
    fn hold<R>(&self, f: impl FnOnce(&mut Heap<'_, Standard>) -> R) -> Option<R> {
        let with_state = |state: *mut State| {
            // SAFETY: the lock is held, and no other reference outlives a `hold`.
            let state = unsafe { &mut *state };
            if !ptr::eq(state.built_at, self.region.get().cast()) {
                // SAFETY: as above.
                let built = unsafe { self.build(state) };
                if !built {
                    return None;
                }
            }
            // SAFETY: `built_at` is set only once `heap` was written.
            Some(f(unsafe { state.heap.assume_init_mut() }))
        };
        self.lock.hold(|| self.state.with(with_state))
    }

    #[inline]
    fn out_of_memory(&self) -> &OutOfMemoryCell {
        &self.out_of_memory
    }
}

impl_global_alloc!([const BYTES: usize, L: Lock, const BLOCKS_ONLY: bool] StaticHeap<BYTES, L, BLOCKS_ONLY>);

//! Locks for shared heaps. The documentation of each says where it deadlocks and where it inverts
//! priorities.

use crate::sync::AtomicBool;
#[cfg(target_has_atomic = "8")]
use crate::sync::{Ordering, spin_loop};

#[cfg(feature = "critical-section")]
mod critical_section;
#[cfg(all(feature = "pi-futex", target_os = "linux"))]
mod pi_futex;
#[cfg(feature = "lock_api")]
mod raw_mutex;

#[cfg(feature = "critical-section")]
pub use critical_section::CriticalSection;
#[cfg(all(feature = "pi-futex", target_os = "linux"))]
pub use pi_futex::PiFutex;

/// A lock that lets one caller at a time use a shared heap.
///
/// Every operation of the heap is bounded, so a lock is held for a bounded time. How long a caller
/// *waits* depends on the lock; each implementation says how.
///
/// # Safety
/// Between an [`acquire`](Self::acquire) that returned and the [`release`](Self::release) that
/// follows it, no other `acquire` of the same lock may return, neither on another thread nor on the
/// same one. A nested call may wait forever or end the program. What was written before a `release`
/// must be visible after the next `acquire`.
pub unsafe trait Lock: Sync {
    /// The lock, not held. It is all zero bytes in every lock here, so that a static stays in
    /// `.bss`.
    const UNLOCKED: Self;

    /// Waits until the lock is free, and acquires it.
    fn acquire(&self);

    /// Releases the lock.
    ///
    /// # Safety
    /// This thread has acquired it, and not released it since.
    unsafe fn release(&self);

    /// Frees the lock in the child of a fork. The threads that waited for it stayed in the parent,
    /// so it is simply made anew.
    ///
    /// # Safety
    /// `this` points to a lock that the forking thread had acquired. The caller is that thread's
    /// copy, and the only thread of its process.
    unsafe fn release_in_child(this: *mut Self)
    where
        Self: Sized,
    {
        // SAFETY: as promised by the caller, nobody else uses the lock.
        unsafe { this.write(Self::UNLOCKED) };
    }

    /// Runs `f` with the lock held. It is released even if `f` panics.
    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R
    where
        Self: Sized,
    {
        self.acquire();
        let _release = ReleaseOnDrop(self);
        f()
    }
}

struct ReleaseOnDrop<'a, L: Lock>(&'a L);

impl<L: Lock> Drop for ReleaseOnDrop<'_, L> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `with` makes this value directly after it acquired the lock, on this thread.
        unsafe { self.0.release() };
    }
}

/// The default lock: one atomic flag, no operating system, no dependency.
///
/// *Where it deadlocks:* an interrupt or signal handler waits forever if it uses the heap while the
/// interrupted code on the same core holds the lock. If handlers use the heap, choose
/// `CriticalSection` (feature `critical-section`). A nested use on one thread waits forever too.
///
/// *Where it inverts priority:* a high-priority thread that spins can keep the low-priority holder
/// on the same core from running. It also spins as long as a preempted holder sleeps. Under
/// real-time priorities on Linux use `PiFutex` (feature `pi-futex`).
///
/// It isn't fair: under contention a waiter may be overtaken any number of times. On targets
/// without atomic swaps (Cortex-M0) this type exists but isn't a [`Lock`]: use `CriticalSection`
/// there.
#[derive(Debug)]
#[cfg_attr(not(target_has_atomic = "8"), allow(dead_code))]
pub struct SpinLock {
    held: AtomicBool,
}

#[cfg(target_has_atomic = "8")]
// SAFETY: `acquire` returns only to the caller whose swap returned `false`, and `held` stays true
// until `release`. Acquire and release order what is written between them.
unsafe impl Lock for SpinLock {
    const UNLOCKED: Self = Self { held: AtomicBool::new(false) };

    #[inline]
    fn acquire(&self) {
        while self.held.swap(true, Ordering::Acquire) {
            // Wait with plain loads, so that waiters don't take the cache line from each other.
            while self.held.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
    }

    #[inline]
    unsafe fn release(&self) {
        self.held.store(false, Ordering::Release);
    }
}

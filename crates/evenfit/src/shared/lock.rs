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
/// Two closures passed to [`with`](Self::with) of one lock must never run at the same time, neither
/// on two threads nor nested on one. A nested call may wait forever or end the program, but must
/// not run its closure. What one closure wrote must be visible to the next.
pub unsafe trait Lock: Sync {
    /// The lock, not held. It is all zero bytes in every lock here, so that a static stays in
    /// `.bss`.
    const UNLOCKED: Self;

    /// Acquires the lock, runs `f`, and releases the lock.
    fn with<R>(&self, f: impl FnOnce() -> R) -> R;
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
// SAFETY: only the caller whose swap returned `false` runs its closure, and `held` stays true until
// the closure ends. Acquire and release order what the closures write.
unsafe impl Lock for SpinLock {
    const UNLOCKED: Self = Self { held: AtomicBool::new(false) };

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.held.swap(true, Ordering::Acquire) {
            // Wait with plain loads, so that waiters don't take the cache line from each other.
            while self.held.load(Ordering::Relaxed) {
                spin_loop();
            }
        }
        let _release = ReleaseOnDrop(&self.held);
        f()
    }
}

/// Releases the lock, even if the closure panics.
#[cfg(target_has_atomic = "8")]
struct ReleaseOnDrop<'a>(&'a AtomicBool);

#[cfg(target_has_atomic = "8")]
impl Drop for ReleaseOnDrop<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

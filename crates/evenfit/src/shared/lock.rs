//! Locks for shared heaps, and where each deadlocks or inverts priorities.

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

/// A lock that lets one caller at a time into a shared heap.
///
/// Every operation of the heap is bounded, so a lock is held for a bounded time; how long a caller
/// *waits* is the lock's own matter, and each implementation says so.
///
/// # Safety
/// Two closures given to [`with`](Self::with) of one lock must never run at the same time, on several
/// threads or nested on one. A nested call may wait forever or end the program; it must not run the closure.
/// What one closure wrote must be visible to the next.
pub unsafe trait Lock: Sync {
    /// The lock, not held. All zero bytes for every lock here, so that a static stays in `.bss`.
    const UNLOCKED: Self;

    /// Runs `f` with the lock held.
    fn with<R>(&self, f: impl FnOnce() -> R) -> R;
}

/// The default lock: one atomic flag, no operating system, no dependency.
///
/// *Where it deadlocks:* if an interrupt or signal handler on the same core uses the heap while the
/// interrupted code holds the lock, the handler waits forever. There, use `CriticalSection`
/// (feature `critical-section`). Nesting on one thread waits forever too.
///
/// *Where it inverts priority:* a high-priority thread that spins can keep a low-priority holder on the
/// same core from ever running; it also spins away the time that a preempted holder sleeps. Under
/// real-time priorities on Linux use `PiFutex` (feature `pi-futex`).
///
/// Not fair: under contention a waiter may be overtaken any number of times.
/// Targets without atomic swaps (Cortex-M0) have this type but not its [`Lock`]: use `CriticalSection`.
#[derive(Debug)]
#[cfg_attr(not(target_has_atomic = "8"), allow(dead_code))]
pub struct SpinLock {
    held: AtomicBool,
}

#[cfg(target_has_atomic = "8")]
// SAFETY: only the caller whose swap saw `false` runs its closure, and `held` stays true until it is
// done; acquire and release order the closures' writes.
unsafe impl Lock for SpinLock {
    const UNLOCKED: Self = Self { held: AtomicBool::new(false) };

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.held.swap(true, Ordering::Acquire) {
            // Waits on a plain load, so that waiters do not take the cache line from each other.
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

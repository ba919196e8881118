//! Every mutex that speaks `lock_api`.

use super::Lock;

/// Any `lock_api::RawMutex` is a lock: `spin::Mutex<()>`, `parking_lot::RawMutex` and so on
/// (feature `lock_api`).
///
/// *Where it deadlocks:* a nested use on one thread, and a signal or interrupt handler that interrupts the
/// holder. *Where it inverts priority:* these mutexes do not lend priority; a parked or spinning
/// high-priority thread waits as long as a preempted holder sleeps.
// SAFETY: `RawMutex` promises exclusion, and is never re-entrant: a nested `lock` waits.
unsafe impl<M: lock_api::RawMutex + Sync> Lock for M {
    const UNLOCKED: Self = M::INIT;

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        self.lock();
        let _release = UnlockOnDrop(self);
        f()
    }
}

/// Releases the lock, even if the closure panics.
struct UnlockOnDrop<'a, M: lock_api::RawMutex>(&'a M);

impl<M: lock_api::RawMutex> Drop for UnlockOnDrop<'_, M> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: made by `with` right after it took the lock, on this thread.
        unsafe { self.0.unlock() };
    }
}

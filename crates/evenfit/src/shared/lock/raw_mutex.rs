//! Every mutex that implements `lock_api`.

use super::Lock;

/// Any `lock_api::RawMutex` is a lock (feature `lock_api`): `spin::Mutex<()>`,
/// `parking_lot::RawMutex` and so on.
///
/// *Where it deadlocks:* in a nested use on one thread, and in a signal or interrupt handler that
/// interrupts the holder. *Where it inverts priority:* these mutexes don't lend priority. A
/// high-priority thread waits, parked or spinning, as long as a preempted holder sleeps.
// SAFETY: `RawMutex` promises mutual exclusion and isn't re-entrant: a nested `lock` waits.
#[cfg_attr(docsrs, doc(cfg(feature = "lock_api")))]
unsafe impl<M: lock_api::RawMutex + Sync> Lock for M {
    const UNLOCKED: Self = M::INIT;

    #[inline]
    fn acquire(&self) {
        self.lock();
    }

    #[inline]
    unsafe fn release(&self) {
        // SAFETY: as promised by the caller.
        unsafe { self.unlock() };
    }
}

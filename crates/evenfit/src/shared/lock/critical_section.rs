//! A lock for firmware: interrupts are masked.

use core::cell::Cell;

use critical_section::RestoreState;

use super::Lock;

/// The `critical-section` crate as a lock (feature `critical-section`). On a single core it masks
/// interrupts, so interrupt handlers may use the heap too.
///
/// *Where it deadlocks:* nowhere on a single core. Critical sections may nest, so a use of the heap
/// inside [`LockedHeap::inspect`](crate::LockedHeap::inspect) is refused by a panic.
///
/// *Where it inverts priority:* every interrupt waits for the longest heap operation, which is
/// bounded. The copy of a reallocation that moves is made outside it.
#[cfg_attr(docsrs, doc(cfg(feature = "critical-section")))]
#[derive(Debug)]
pub struct CriticalSection {
    held: Cell<bool>,
    /// What to restore when the critical section ends.
    outside: Cell<RestoreState>,
}

// SAFETY: both fields are accessed only in a critical section.
unsafe impl Sync for CriticalSection {}

// SAFETY: a critical section excludes all other cores and handlers; `held` excludes nesting.
#[cfg_attr(docsrs, doc(cfg(feature = "critical-section")))]
unsafe impl Lock for CriticalSection {
    const UNLOCKED: Self =
        Self { held: Cell::new(false), outside: Cell::new(RestoreState::invalid()) };

    #[inline]
    fn acquire(&self) {
        // SAFETY: `release` ends the critical section. Others may nest inside it, in any order that
        // this thread keeps.
        let outside = unsafe { critical_section::acquire() };
        if self.held.replace(true) {
            // SAFETY: ends what was begun above.
            unsafe { critical_section::release(outside) };
            panic!("the heap was used while it was being inspected");
        }
        self.outside.set(outside);
    }

    #[inline]
    unsafe fn release(&self) {
        self.held.set(false);
        // SAFETY: as promised by the caller, `acquire` began it, on this thread.
        unsafe { critical_section::release(self.outside.get()) };
    }

    unsafe fn release_in_child(this: *mut Self) {
        // The critical section isn't part of this lock, and must end too.
        // SAFETY: as promised by the caller.
        unsafe { (*this).release() };
    }
}

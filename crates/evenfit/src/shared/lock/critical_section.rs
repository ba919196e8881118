//! A lock for firmware: interrupts are masked.

use core::cell::Cell;

use super::Lock;

/// The `critical-section` crate as a lock (feature `critical-section`). On a single core it masks
/// interrupts, so interrupt handlers may use the heap too.
///
/// *Where it deadlocks:* nowhere on a single core. Critical sections may nest, so a use of the heap
/// inside [`LockedHeap::inspect`](crate::LockedHeap::inspect) is refused by a panic.
///
/// *Where it inverts priority:* every interrupt waits for the longest heap operation, which is
/// bounded. The copy of a reallocation that moves is made outside it.
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(feature = "critical-section")))]
pub struct CriticalSection {
    held: Cell<bool>,
}

// SAFETY: `held` is accessed only in a critical section.
unsafe impl Sync for CriticalSection {}

// SAFETY: a critical section excludes all other cores and handlers; `held` excludes nesting.
#[cfg_attr(docsrs, doc(cfg(feature = "critical-section")))]
unsafe impl Lock for CriticalSection {
    const UNLOCKED: Self = Self { held: Cell::new(false) };

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        critical_section::with(|_| {
            assert!(!self.held.replace(true), "the heap was used while it was being inspected");
            let _release = ReleaseOnDrop(&self.held);
            f()
        })
    }
}

/// Releases the lock, even if the closure panics.
struct ReleaseOnDrop<'a>(&'a Cell<bool>);

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

//! A mutex for Linux whose holder runs with the highest priority of its waiters.

#[cfg(not(loom))]
mod kernel;
#[cfg(loom)]
#[path = "pi_futex/modelled_kernel.rs"]
mod kernel;

use self::kernel::{current_thread_id, stop};
use super::Lock;
use crate::sync::{AtomicU32, Ordering};

/// A priority-inheritance futex (feature `pi-futex`, Linux). It needs no system call without
/// contention. Under contention the kernel lends the waiter's priority to the holder.
///
/// *Where it deadlocks:* nowhere silently. The kernel refuses a nested lock, for example in a
/// signal handler that interrupted the holder. The program is then stopped with a message.
///
/// *Where it inverts priority:* a waiter waits at most for the holder's current operation, which is
/// bounded.
///
/// After `fork` the child may use the heap only if no other thread of the parent held the lock.
/// Acquire it across the fork with `pthread_atfork`, or don't share a heap with a forking program.
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(all(feature = "pi-futex", target_os = "linux"))))]
pub struct PiFutex {
    /// 0, or the holder's thread id. The kernel sets `FUTEX_WAITERS` in it when others wait.
    word: AtomicU32,
}

// SAFETY: only the thread whose id is in `word` runs its closure. The id was stored there by its
// own compare-and-swap from 0 or by the kernel. A thread that finds its own id there is stopped.
#[cfg_attr(docsrs, doc(cfg(all(feature = "pi-futex", target_os = "linux"))))]
unsafe impl Lock for PiFutex {
    const UNLOCKED: Self = Self { word: AtomicU32::new(0) };

    #[inline]
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        let thread_id = current_thread_id();
        let taken = self.word.compare_exchange(0, thread_id, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            self.wait();
        }
        let _release = UnlockOnDrop { lock: self, thread_id };
        f()
    }
}

impl PiFutex {
    /// Waits in the kernel, lending the holder this thread's priority.
    #[cold]
    fn wait(&self) {
        loop {
            match kernel::futex(&self.word, libc::FUTEX_LOCK_PI) {
                0 => return,
                libc::EINTR | libc::EAGAIN => {}
                libc::EDEADLK => stop("the heap was used by a thread that already held its lock"),
                libc::ESRCH => stop("the thread that held the heap's lock is gone"),
                _ => stop("this kernel refuses priority-inheritance futexes"),
            }
        }
    }

    /// Passes the lock to the waiter with the highest priority.
    #[cold]
    fn wake(&self) {
        if kernel::futex(&self.word, libc::FUTEX_UNLOCK_PI) != 0 {
            stop("the kernel refused to release the heap's lock");
        }
    }
}

/// Releases the lock, even if the closure panics.
struct UnlockOnDrop<'a> {
    lock: &'a PiFutex,
    thread_id: u32,
}

impl Drop for UnlockOnDrop<'_> {
    #[inline]
    fn drop(&mut self) {
        let freed = self.lock.word.compare_exchange(
            self.thread_id,
            0,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if freed.is_err() {
            self.lock.wake();
        }
    }
}

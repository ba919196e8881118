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
/// After `fork` a lock that another thread of the parent held is never released in the child: its
/// first use there ends the program with a message. Feature `fork` has a call that prevents it:
/// [`StaticHeap::register_fork_handlers`](crate::StaticHeap::register_fork_handlers).
#[derive(Debug)]
#[cfg_attr(docsrs, doc(cfg(all(feature = "pi-futex", target_os = "linux"))))]
pub struct PiFutex {
    /// 0, or the holder's thread id. The kernel sets `FUTEX_WAITERS` in it when others wait.
    word: AtomicU32,
}

// SAFETY: the lock is held by the thread whose id is in `word`. The id was stored there by its own
// compare-and-swap from 0 or by the kernel. A thread that finds its own id there is stopped.
#[cfg_attr(docsrs, doc(cfg(all(feature = "pi-futex", target_os = "linux"))))]
unsafe impl Lock for PiFutex {
    const UNLOCKED: Self = Self { word: AtomicU32::new(0) };

    #[inline]
    fn acquire(&self) {
        let thread_id = current_thread_id();
        let acquired =
            self.word.compare_exchange(0, thread_id, Ordering::Acquire, Ordering::Relaxed);
        if acquired.is_err() {
            self.wait();
        }
    }

    #[inline]
    unsafe fn release(&self) {
        let thread_id = current_thread_id();
        let released =
            self.word.compare_exchange(thread_id, 0, Ordering::Release, Ordering::Relaxed);
        if released.is_err() {
            self.wake();
        }
    }
}

/// Why a lock is held by a thread that can't release it.
const GONE: &str = "the thread that held the heap's lock has ended, or stayed in the parent of a \
                    fork (see register_fork_handlers)";

impl PiFutex {
    /// Waits in the kernel, lending the holder this thread's priority.
    #[cold]
    fn wait(&self) {
        loop {
            let owner = self.word.load(Ordering::Relaxed) & libc::FUTEX_TID_MASK;
            if owner != 0 && !kernel::is_thread_of_this_process(owner) {
                // It may have released the lock since, and ended.
                if self.word.load(Ordering::Relaxed) & libc::FUTEX_TID_MASK == owner {
                    stop(GONE);
                }
                continue;
            }
            match kernel::futex(&self.word, libc::FUTEX_LOCK_PI) {
                0 => return,
                libc::EINTR | libc::EAGAIN => {}
                libc::EDEADLK => stop("the heap was used by a thread that already held its lock"),
                libc::ESRCH => stop(GONE),
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

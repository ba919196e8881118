//! Linux: a mutex whose holder runs with the highest priority among its waiters.

extern crate std;

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread_local;

use super::Lock;

/// A priority-inheritance futex (feature `pi-futex`, Linux): free of system calls while uncontended;
/// under contention the kernel lends the waiter's priority to the holder.
///
/// *Where it deadlocks:* nowhere silently. The kernel refuses a nested lock, as from a signal handler that
/// interrupted the holder, and the program is then stopped with a message.
///
/// *Where it inverts priority:* a waiter waits at most for the holder's current operation, which is bounded.
///
/// After `fork` the child may use the heap only if no other thread of the parent held the lock: hold it
/// across the fork with `pthread_atfork`, or do not share a heap with a forking program.
#[derive(Debug)]
pub struct PiFutex {
    /// 0, or the holder's thread id, with `FUTEX_WAITERS` set by the kernel when others wait.
    word: AtomicU32,
}

// SAFETY: only the thread whose id is in `word` runs its closure: put there by its own
// compare-and-swap from 0 or by the kernel. A thread finding its own id there is stopped.
unsafe impl Lock for PiFutex {
    const UNLOCKED: Self = Self {
        word: AtomicU32::new(0),
    };

    #[inline]
    fn hold<R>(&self, f: impl FnOnce() -> R) -> R {
        let thread_id = current_thread_id();
        let taken = self
            .word
            .compare_exchange(0, thread_id, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            self.wait();
        }
        let _release = UnlockOnDrop {
            lock: self,
            thread_id,
        };
        f()
    }
}

impl PiFutex {
    /// Waits in the kernel, lending the holder this thread's priority.
    #[cold]
    fn wait(&self) {
        loop {
            match self.futex(libc::FUTEX_LOCK_PI) {
                0 => return,
                libc::EINTR | libc::EAGAIN => {}
                libc::EDEADLK => stop("the heap was used by a thread that already held its lock"),
                libc::ESRCH => stop("the thread that held the heap's lock is gone"),
                _ => stop("this kernel refuses priority-inheritance futexes"),
            }
        }
    }

    /// Hands the lock to the waiter with the highest priority.
    #[cold]
    fn wake(&self) {
        if self.futex(libc::FUTEX_UNLOCK_PI) != 0 {
            stop("the kernel refused to release the heap's lock");
        }
    }

    /// One futex call on `word`: 0 or the error number.
    fn futex(&self, operation: libc::c_int) -> libc::c_int {
        // SAFETY: `word` is live for the call; LOCK_PI and UNLOCK_PI read no other argument than a null timeout.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                operation | libc::FUTEX_PRIVATE_FLAG,
                0,
                ptr::null::<libc::timespec>(),
            )
        };
        if answer == 0 {
            return 0;
        }
        // SAFETY: the C library's errno is always readable.
        unsafe { *libc::__errno_location() }
    }
}

/// Gives the lock back even if the closure panics.
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

thread_local! {
    /// This thread's id, or 0 before it is known. No destructor and no lazy part: plain thread-local
    /// storage, which allocates nothing and so may be used inside an allocator.
    static THREAD_ID: Cell<u32> = const { Cell::new(0) };
}

#[inline]
fn current_thread_id() -> u32 {
    match THREAD_ID.get() {
        0 => learn_thread_id(),
        id => id,
    }
}

#[cold]
fn learn_thread_id() -> u32 {
    static FORK_WATCHED: AtomicBool = AtomicBool::new(false);
    // SAFETY: takes no argument and can't fail.
    let id = unsafe { libc::gettid() } as u32;
    // Set first: `pthread_atfork` may allocate, and come back here.
    THREAD_ID.set(id);
    if !FORK_WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler touches only the forking thread's own storage. Without memory for the
        // registration the child's first contended lock stops it with a message.
        unsafe { libc::pthread_atfork(None, None, Some(forget_thread_id)) };
    }
    id
}

/// In the child of a fork the forking thread has a new id.
extern "C" fn forget_thread_id() {
    THREAD_ID.set(0);
}

/// Ends the program: going on without the lock would corrupt the heap.
#[cold]
fn stop(reason: &str) -> ! {
    for part in ["evenfit: ", reason, "\n"] {
        // SAFETY: the pointer and length describe `part`.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort();
}

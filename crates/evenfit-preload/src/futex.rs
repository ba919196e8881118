//! The pool's lock. It only tests a flag while the process has one thread, needs one atomic
//! operation when no other thread wants it, and otherwise waits in the kernel.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

unsafe extern "C" {
    /// glibc's flag, which is non-zero while the process has one thread.
    static __libc_single_threaded: libc::c_char;
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const HELD_AND_WANTED: u32 = 2;

/// How long a thread waits for the end of another's fork, before it goes on without the lock.
const FORK_PATIENCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How waiting for the lock ended.
enum Waited {
    Acquired,
    /// This thread holds the lock already, across its fork.
    IsForking,
    /// Another thread forks, and it takes long.
    Forked,
}

/// Whether the lock was taken, as it must be where there are other threads.
#[must_use]
pub struct MustRelease(bool);

pub struct Futex {
    word: AtomicU32,
    /// The thread that holds the lock across its fork, or 0. Fork handlers of other libraries may
    /// still allocate then.
    forking_thread: AtomicUsize,
}

impl Futex {
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(FREE), forking_thread: AtomicUsize::new(0) }
    }

    /// Runs `f` with the lock held. `f` must not start a thread, nor use the lock.
    #[inline(always)]
    pub fn hold<R>(&self, f: impl FnOnce() -> R) -> R {
        if is_single_threaded() {
            return f();
        }
        if !self.try_acquire() && matches!(self.wait(None), Waited::IsForking) {
            return f();
        }
        let answer = f();
        self.release();
        answer
    }

    /// Takes the lock, but doesn't wait for the end of a fork: `None` if one goes on for long. To
    /// be given to [`release_if`](Self::release_if).
    #[inline(always)]
    pub fn acquire_unless_forking(&self) -> Option<MustRelease> {
        if self.try_acquire() {
            return Some(MustRelease(true));
        }
        match self.wait(Some(&FORK_PATIENCE)) {
            Waited::Acquired => Some(MustRelease(true)),
            Waited::IsForking => Some(MustRelease(false)),
            Waited::Forked => None,
        }
    }

    #[inline(always)]
    pub fn release_if(&self, must: MustRelease) {
        if must.0 {
            self.release();
        }
    }

    /// As `hold`, but gives up if the lock isn't free soon: a process that ends inside a signal
    /// handler may have interrupted its own allocation, and must still end. `f` must only read, and
    /// must work on a heap in any state.
    pub fn hold_if_free<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        for _ in 0..100_000 {
            if self.try_acquire() {
                let answer = f();
                self.release();
                return Some(answer);
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Whether some thread holds the lock across its fork.
    pub fn is_forking(&self) -> bool {
        self.forking_thread.load(Ordering::SeqCst) != 0
    }

    /// Acquires the lock before a fork, so that the child's copy of the heap is consistent.
    pub fn hold_across_fork(&self) {
        if !self.try_acquire() {
            self.wait(None);
        }
        self.forking_thread.store(this_thread(), Ordering::SeqCst);
    }

    /// Unlocks it after the fork, in the parent, after a last look with the lock held.
    pub fn release_after_fork(&self, f: impl FnOnce()) {
        self.forking_thread.store(0, Ordering::SeqCst);
        f();
        self.release();
    }

    /// Unlocks it in the child of a fork, which has no other thread; the waiters are in the parent.
    pub fn reset_in_child(&self) {
        self.forking_thread.store(0, Ordering::SeqCst);
        self.word.store(FREE, Ordering::Release);
    }

    #[inline(always)]
    fn try_acquire(&self) -> bool {
        self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[inline(always)]
    fn release(&self) {
        if self.word.swap(FREE, Ordering::Release) == HELD_AND_WANTED {
            self.wake();
        }
    }

    /// Waits for the lock; with `patience`, no longer than that while another thread forks.
    #[cold]
    #[inline(never)]
    fn wait(&self, patience: Option<&libc::timespec>) -> Waited {
        if self.is_forking() && self.forking_thread.load(Ordering::Relaxed) == this_thread() {
            return Waited::IsForking;
        }
        // The holder is inside one bounded operation: it is most often gone before the kernel could
        // be asked.
        for _ in 0..100 {
            if self.word.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                return Waited::Acquired;
            }
            core::hint::spin_loop();
        }
        let mut was_forking = false;
        while self.word.swap(HELD_AND_WANTED, Ordering::Acquire) != FREE {
            if was_forking && self.is_forking() {
                return Waited::Forked;
            }
            was_forking = self.is_forking();
            self.futex(libc::FUTEX_WAIT, HELD_AND_WANTED, patience);
        }
        Waited::Acquired
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        self.futex(libc::FUTEX_WAKE, 1, None);
    }

    fn futex(&self, operation: libc::c_int, value: u32, timeout: Option<&libc::timespec>) {
        shared_futex(&self.word, operation | libc::FUTEX_PRIVATE_FLAG, value, timeout);
    }
}

/// One futex call that leaves `errno` alone: `free` must not change it.
pub fn shared_futex(
    word: &AtomicU32,
    operation: libc::c_int,
    value: u32,
    timeout: Option<&libc::timespec>,
) {
    let timeout = timeout.map_or(core::ptr::null(), |timeout| &raw const *timeout);
    // SAFETY: the word is live; WAIT and WAKE read no further argument than the timeout.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout);
        *errno = before;
    }
}

#[inline(always)]
pub fn is_single_threaded() -> bool {
    // SAFETY: glibc defines it, and writes it only in threads that are alone.
    unsafe { core::ptr::read_volatile(&raw const __libc_single_threaded) != 0 }
}

/// Names a thread while it lives.
#[inline(always)]
pub fn this_thread() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let pointer: usize;
        // SAFETY: the thread pointer's own first word, as the ABI has it: reads memory that every
        // thread has.
        unsafe {
            core::arch::asm!(
                "mov {}, fs:[0]",
                out(reg) pointer,
                options(nostack, preserves_flags, readonly, pure)
            )
        };
        pointer
    }
    #[cfg(target_arch = "aarch64")]
    {
        let pointer: usize;
        // SAFETY: reads a register.
        unsafe {
            core::arch::asm!(
                "mrs {}, tpidr_el0",
                out(reg) pointer,
                options(nostack, preserves_flags, nomem, pure)
            )
        };
        pointer
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: takes nothing and can't fail.
        unsafe { libc::pthread_self() as usize }
    }
}

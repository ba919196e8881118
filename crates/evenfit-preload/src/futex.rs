//! The pool's lock: nothing but a look at a flag while the process has one thread, one atomic
//! operation while nobody else wants it, a wait in the kernel otherwise.

use core::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    /// glibc's own answer to "has this process ever more than one thread": non-zero while it has
    /// one.
    static __libc_single_threaded: libc::c_char;
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const HELD_AND_WANTED: u32 = 2;

pub struct Futex {
    word: AtomicU32,
    /// The thread that holds the lock across its fork, or 0. Fork handlers of other libraries may
    /// still allocate then.
    forking_thread: AtomicU32,
}

impl Futex {
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(FREE), forking_thread: AtomicU32::new(0) }
    }

    /// Runs `f` with the lock held. `f` must not start a thread, nor use the lock.
    #[inline(always)]
    pub fn hold<R>(&self, f: impl FnOnce() -> R) -> R {
        if is_single_threaded() {
            return f();
        }
        if !self.try_acquire() && !self.wait() {
            // This thread holds it already, across its fork.
            return f();
        }
        let answer = f();
        self.release();
        answer
    }

    /// As `hold`, but goes on without the lock if it isn't free soon: a process that ends inside a
    /// signal handler may have interrupted its own allocation, and must still end. `f` must only
    /// read, and must work on a heap in any state.
    pub fn hold_or_not<R>(&self, f: impl FnOnce() -> R) -> R {
        for _ in 0..1_000 {
            if self.try_acquire() {
                let answer = f();
                self.release();
                return answer;
            }
            // SAFETY: takes nothing, and only lets others run.
            unsafe { libc::sched_yield() };
        }
        f()
    }

    /// Takes the lock before a fork, so that the child's copy of the heap is whole.
    pub fn hold_across_fork(&self) {
        if !self.try_acquire() {
            self.wait();
        }
        self.forking_thread.store(thread_id(), Ordering::Relaxed);
    }

    /// Unlocks it after the fork, in the parent.
    pub fn release_after_fork(&self) {
        self.forking_thread.store(0, Ordering::Relaxed);
        self.release();
    }

    /// Unlocks it in the child of a fork, which has no other thread; the waiters are in the parent.
    pub fn reset_in_child(&self) {
        self.forking_thread.store(0, Ordering::Relaxed);
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

    /// Waits for the lock; false if this thread holds it across its fork.
    #[cold]
    #[inline(never)]
    fn wait(&self) -> bool {
        if self.forking_thread.load(Ordering::Relaxed) == thread_id() {
            return false;
        }
        // The holder is inside one bounded operation: it is most often gone before the kernel could
        // be asked.
        for _ in 0..100 {
            if self.word.load(Ordering::Relaxed) == FREE && self.try_acquire() {
                return true;
            }
            core::hint::spin_loop();
        }
        while self.word.swap(HELD_AND_WANTED, Ordering::Acquire) != FREE {
            self.futex(libc::FUTEX_WAIT, HELD_AND_WANTED);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn wake(&self) {
        self.futex(libc::FUTEX_WAKE, 1);
    }

    /// One futex call that leaves `errno` alone: `free` must not change it.
    fn futex(&self, operation: libc::c_int, value: u32) {
        // SAFETY: the word is live; WAIT and WAKE read no further argument than a null timeout.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                operation | libc::FUTEX_PRIVATE_FLAG,
                value,
                core::ptr::null::<libc::timespec>(),
            );
            *errno = before;
        }
    }
}

#[inline(always)]
fn is_single_threaded() -> bool {
    // SAFETY: glibc defines it, and writes it only in threads that are alone.
    unsafe { core::ptr::read_volatile(&raw const __libc_single_threaded) != 0 }
}

fn thread_id() -> u32 {
    // SAFETY: takes nothing and can't fail.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

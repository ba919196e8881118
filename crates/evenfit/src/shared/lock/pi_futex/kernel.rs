//! The lock's system calls on Linux.

extern crate std;

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread_local;

/// One futex call on `word`: 0 or the error number.
pub(super) fn futex(word: &AtomicU32, operation: libc::c_int) -> libc::c_int {
    // SAFETY: `word` is live for the call; LOCK_PI and UNLOCK_PI read no other argument than a null
    // timeout.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
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

/// Whether a thread of this process has this id.
pub(super) fn is_thread_of_this_process(thread_id: u32) -> bool {
    // SAFETY: signal 0 is never sent: the kernel only looks for the thread.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread_id, 0) == 0 }
}

thread_local! {
    /// This thread's id, or 0 before it is known. It has no destructor and no lazy initialisation,
    /// so it is plain thread-local storage. This allocates nothing, and so may be used inside an
    /// allocator.
    static THREAD_ID: Cell<u32> = const { Cell::new(0) };
}

#[inline]
pub(super) fn current_thread_id() -> u32 {
    match THREAD_ID.get() {
        0 => query_thread_id(),
        id => id,
    }
}

#[cold]
fn query_thread_id() -> u32 {
    static FORK_HANDLER_SET: AtomicBool = AtomicBool::new(false);
    // SAFETY: the call takes no argument and can't fail.
    let id = unsafe { libc::gettid() } as u32;
    // Set before the registration, since `pthread_atfork` may allocate, and come back here.
    THREAD_ID.set(id);
    if !FORK_HANDLER_SET.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler accesses only the forking thread's own storage. If there is no memory
        // for the registration, the child's first contended lock stops it with a message.
        unsafe { libc::pthread_atfork(None, None, Some(reset_thread_id)) };
    }
    id
}

/// In the child of a fork the forking thread has a new id.
extern "C" fn reset_thread_id() {
    THREAD_ID.set(0);
}

/// Ends the program, since going on without the lock would corrupt the heap.
#[cold]
pub(super) fn stop(reason: &str) -> ! {
    for part in ["evenfit: ", reason, "\n"] {
        // SAFETY: the pointer and length describe `part`.
        unsafe { libc::write(2, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort();
}

//! The time, without a function that another library may wrap: it is read with the lock held.

use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::libc_function;

const TICK_HZ: u64 = evenfit_trace::session::RECORDING_HEADER.tick_hz;

type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

/// The C library's own function, which asks the kernel without a system call.
static FUNCTION: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());

/// To be called at load, without the lock.
pub fn find() {
    FUNCTION.store(libc_function(c"clock_gettime"), Ordering::Relaxed);
}

pub fn microseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let function = FUNCTION.load(Ordering::Relaxed);
    // SAFETY: the clock exists and the answer is written to `now`; the function is that of this
    // name.
    unsafe {
        if function.is_null() {
            libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now);
        } else {
            mem::transmute::<*mut libc::c_void, ClockGettime>(function)(
                libc::CLOCK_MONOTONIC,
                &mut now,
            );
        }
    }
    now.tv_sec as u64 * TICK_HZ + now.tv_nsec as u64 / 1000
}

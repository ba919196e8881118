//! The forks and the end of a process.

use core::ffi::c_int;

use crate::session;

/// Runs among the first constructors.
extern "C" fn at_begin() {
    // SAFETY: the three functions live as long as the program.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_BEGIN: extern "C" fn() = at_begin;

extern "C" fn before_fork() {
    session::hold_across_fork();
}

extern "C" fn after_fork() {
    session::release_after_fork();
}

extern "C" fn in_child() {
    session::restart_in_child();
}

/// Runs among the last destructors of the program. What comes after it is not recorded.
extern "C" fn at_end() {
    session::end();
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

/// Ends the process without destructors.
fn leave(status: c_int) -> ! {
    loop {
        // SAFETY: ends all threads of the process.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}

/// A program may end by `_exit`, which runs no destructors.
#[unsafe(no_mangle)]
extern "C" fn _exit(status: c_int) -> ! {
    at_end();
    leave(status)
}

/// The C standard's name for it.
#[unsafe(no_mangle)]
extern "C" fn _Exit(status: c_int) -> ! {
    _exit(status)
}

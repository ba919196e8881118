//! The beginning, the forks and the end of a process.

use core::ffi::c_int;
use core::sync::atomic::{AtomicI32, Ordering};

use evenfit_trace::session::Slot;

use crate::mode::{Mode, mode};
use crate::record;
use crate::serve::memory::MEMORY;
use crate::serve::summary;
use crate::session;
use crate::settings::Summary;

/// The process whose memory this is, for the summary without a command. A child of `vfork` runs in
/// its parent's memory, and must not report for it.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Registers the fork handlers, once the mode is known. May allocate.
pub fn watch() {
    PROCESS.store(process_id(), Ordering::Relaxed);
    // SAFETY: the three functions live as long as the program. Without memory for the registration
    // a fork in the midst of another thread's allocation is unsafe, as it is in a program without
    // fork handlers.
    unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    open();
}

/// Allows `evenfit top` to watch the pool, if the settings say so.
fn open() {
    #[cfg(target_pointer_width = "64")]
    if mode() == Mode::Serve && MEMORY.settings().is_open {
        evenfit_trace::live::let_anyone_look();
    }
}

pub fn process_id() -> i32 {
    // SAFETY: takes nothing and can't fail.
    unsafe { libc::getpid() }
}

extern "C" fn before_fork() {
    match mode() {
        Mode::Serve => MEMORY.before_fork(),
        Mode::Record => {}
    }
}

extern "C" fn after_fork() {
    match mode() {
        Mode::Serve => MEMORY.after_fork(),
        Mode::Record => {}
    }
}

extern "C" fn in_child() {
    session::claim_in_child();
    match mode() {
        Mode::Serve => MEMORY.in_child(),
        Mode::Record => {}
    }
    if !session::is_watched() {
        PROCESS.store(process_id(), Ordering::Relaxed);
    }
    open();
}

/// Runs among the first constructors: a program that never allocates has a pool and a summary too.
extern "C" fn at_begin() {
    let mode = mode();
    session::name_program();
    if mode == Mode::Record {
        record::prepare();
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static AT_BEGIN: extern "C" fn() = at_begin;

/// Runs among the last destructors of the program. Later calls are still served, but not recorded.
extern "C" fn at_end() {
    match mode() {
        Mode::Serve => {
            MEMORY.look_at_exit();
            if !session::is_watched() {
                report();
            }
        }
        Mode::Record => {
            session::slot().flags.fetch_or(Slot::AT_EXIT, Ordering::Release);
        }
    }
}

#[used]
#[unsafe(link_section = ".fini_array")]
static AT_END: extern "C" fn() = at_end;

/// Reports once a process, from the process whose memory it is.
fn report() {
    if matches!(MEMORY.settings().summary, Summary::Nowhere) {
        return;
    }
    let id = process_id();
    let owner = PROCESS.compare_exchange(id, -id, Ordering::Relaxed, Ordering::Relaxed);
    if owner.is_ok() {
        summary::write(id);
    }
}

/// Ends the process without destructors.
pub fn leave(status: c_int) -> ! {
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

//! What the library does in this process. The first call reads it from the environment.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::out::STDERR;
use crate::process;
use crate::serve::memory::MEMORY;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// A pool serves the program. The pool is built.
    Serve = 1,
    /// The C library serves it, and each call is recorded.
    Record = 2,
}

/// A [`Mode`], or 0 before the first call.
static MODE: AtomicU8 = AtomicU8::new(0);

#[inline(always)]
pub fn mode() -> Mode {
    const SERVE: u8 = Mode::Serve as u8;
    const RECORD: u8 = Mode::Record as u8;
    match MODE.load(Ordering::Acquire) {
        SERVE => Mode::Serve,
        RECORD => Mode::Record,
        _ => choose(),
    }
}

/// The first call of a process comes while it has one thread: the dynamic linker's or the C
/// library's own, long before `main`.
#[cold]
#[inline(never)]
fn choose() -> Mode {
    STDERR.remember();
    let mode = MEMORY.begin();
    MODE.store(mode as u8, Ordering::Release);
    // May allocate, so it comes last.
    process::watch();
    mode
}

//! Records what an unmodified program asks of its allocator.
//!
//! Built as a shared library and loaded by `LD_PRELOAD`, most easily by `evenfit record`. Linux on x86-64 or
//! AArch64, and glibc 2.32 or later, which keeps serving the memory. Nothing here allocates.
//!
//! | variable | meaning |
//! |---|---|
//! | `EVENFIT_RECORD` | the file to write; unset: nothing is recorded |
//!
//! The first process that has something to write creates that file. Every other one, a child of `fork` or a program
//! started by it, writes to a file of its own beside it: `app.evt` becomes `app.PID.evt`.
//!
//! The file grows by chunks of 16 KiB. A program that is killed loses what is not yet written; the rest can be read.
#![cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

mod family;
mod file;
/// The lock of the other library: no atomic operation while the process has one thread.
#[path = "../../evenfit-preload/src/futex.rs"]
#[allow(dead_code, reason = "all of it is used there")]
mod futex;
mod process;
mod session;
mod table;

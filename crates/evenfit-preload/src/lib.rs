//! The whole malloc family of an unmodified program, served from one fixed pool.
//!
//! Built as a shared library and loaded by `LD_PRELOAD`, most easily by `evenfit run`. Linux, glibc 2.32 or later.
//!
//! | variable | meaning |
//! |---|---|
//! | `EVENFIT_POOL` | the pool's size: `4096`, `64k`, `512MiB`, `1GiB`; 512 MiB where unset; at most 32 GiB |
//! | `EVENFIT_LOCK_MEMORY` | `1`: the whole pool is brought into memory at once and stays there (`mlock`) |
//! | `EVENFIT_SUMMARY` | unset: a summary on file descriptor 2 at the end; `none`; or a file to which one line of JSON is added |
//! | `EVENFIT_TOP` | `1`: any process of the same user may look at the pool, where the kernel else allows only ancestors to |
//! | `EVENFIT_MISUSE` | `abort` (default): name a refused pointer and abort; `ignore`: count it and go on |
//!
//! Every process has a pool of its own: a child of `fork` a copy, a program started by it a new one.
//!
//! Built in the release profile it is freestanding but for the C library; a debug build has `std`'s panic machinery.
#![cfg(target_os = "linux")]
#![cfg_attr(panic = "abort", no_std)]

mod family;
mod futex;
mod memory;
mod out;
mod process;
mod settings;
mod summary;

/// A panic would be a fault of this library: it says where, and the program ends.
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    out::line!("evenfit: {info}\n").write_to(2);
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}

//! The whole malloc family of an unmodified program: served from one fixed pool, or recorded.
//!
//! Built as a shared library and loaded by `LD_PRELOAD`, most easily by `evenfit run` and
//! `evenfit record`. Linux, glibc 2.32 or later. Nothing here allocates by itself.
//!
//! | variable | meaning |
//! |---|---|
//! | `EVENFIT_POOL` | the pool's size: `4096`, `64k`, `512MiB`, `1GiB`; 512 MiB where unset; at most 32 GiB |
//! | `EVENFIT_LOCK_MEMORY` | `1`: the whole pool is brought into memory at once and stays there (`mlock`) |
//! | `EVENFIT_SUMMARY` | unset: a summary on standard error at the end; `none`: no summary |
//! | `EVENFIT_SESSION` | memory to share with the command, which then writes the summary |
//! | `EVENFIT_RECORD` | `1`, with a session: the program is recorded, and no pool serves it |
//! | `EVENFIT_TOP` | `1`: any process of the same user may look at the pool, even where the kernel allows only ancestors to |
//! | `EVENFIT_MISUSE` | `abort` (default): name a refused pointer and abort; `ignore`: count it and go on |
//!
//! Every process has a pool of its own: a child of `fork` a copy, a program started by it a new
//! one.
//!
//! Built by itself in the release profile it is freestanding but for the C library. A debug build
//! has the standard library's panic machinery, and so has one that is built at once with what reads
//! recordings.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![cfg_attr(panic = "abort", no_std)]

mod family;
mod futex;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod loader;
mod mode;
mod out;
mod process;
mod record;
mod serve;
mod session;
mod settings;

#[cfg(panic = "abort")]
evenfit_trace::without_std! {
    /// A panic would be a fault of this library: it says where, and the program ends.
    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        out::line!("evenfit: {info}\n").write_to_stderr();
        // SAFETY: ends the process.
        unsafe { libc::abort() }
    }
}

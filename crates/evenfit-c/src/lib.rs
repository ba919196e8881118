//! The C interface: a heap whose control structure lies at the start of memory that the caller
//! owns.
//!
//! No globals, no libc, no allocation of its own. Built with `panic = "abort"` (the release
//! profiles) it is freestanding; built with unwinding, as for this crate's tests, it links `std`
//! for the panic machinery only.
#![cfg_attr(panic = "abort", no_std)]

mod any_heap;
mod control;
mod observe;
mod operations;
mod options;
mod status;

pub use control::{
    HeapInMemory, LockTable, evf_control_bytes, evf_init, evf_init_with, evf_set_lock,
    evf_set_misuse, evf_set_out_of_memory,
};
pub use observe::{
    State, StatsV1, evf_check, evf_largest_free, evf_largest_free_aligned, evf_stats,
    evf_usable_size, evf_walk,
};
pub use operations::{
    evf_alloc, evf_alloc_aligned, evf_calloc, evf_extend, evf_free, evf_free_aligned_sized,
    evf_free_sized, evf_realloc, evf_reset, evf_try_alloc, evf_try_realloc,
};
pub use options::{OptionsV1, TierChoice};
pub use status::{Status, evf_message};

/// No panic is reachable from the functions above, but the compiler requires a handler.
#[cfg(all(panic = "abort", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

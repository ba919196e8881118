//! The malloc family that the program calls: served from a pool or recorded, by the process's mode.
#![allow(clippy::missing_safety_doc)] // The contracts are those of the C standard and POSIX.

use core::ffi::{c_int, c_void};

use crate::mode::{Mode, mode};
use crate::record::family as record;
use crate::serve::family as serve;
use crate::serve::statistics;

/// Functions that get their return address as one more argument, in the first register on x86-64
/// and in the second on AArch64.
macro_rules! told_their_call_site {
    ($(
        $name:ident => $to:ident($($argument:ident: $type:ty),*) -> $result:ty,
        $register:literal, $arm_register:literal;
    )*) => {$(
        const _: () = {
            unsafe extern "C" fn from($($argument: $type,)* site: usize) -> $result {
                // SAFETY: the caller's promise is the one asked for.
                unsafe {
                    match mode() {
                        Mode::Serve => serve::$to($($argument),*),
                        Mode::Record => record::$to($($argument,)* site),
                    }
                }
            }

            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!(
                    concat!("mov ", $register, ", [rsp]"),
                    "jmp {from}",
                    from = sym from,
                );
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    concat!("mov ", $arm_register, ", x30"),
                    "b {from}",
                    from = sym from,
                );
            }

            /// On other machines the call site is unknown.
            #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($argument: $type),*) -> $result {
                // SAFETY: the caller's promise is the one asked for.
                unsafe { from($($argument,)* 0) }
            }
        };
    )*};
}

told_their_call_site! {
    malloc => malloc(bytes: usize) -> *mut c_void, "rsi", "x1";
    calloc => calloc(count: usize, bytes: usize) -> *mut c_void, "rdx", "x2";
    realloc => realloc(block: *mut c_void, bytes: usize) -> *mut c_void, "rdx", "x2";
    reallocarray => reallocarray(block: *mut c_void, count: usize, bytes: usize) -> *mut c_void,
        "rcx", "x3";
    memalign => memalign(alignment: usize, bytes: usize) -> *mut c_void, "rdx", "x2";
    aligned_alloc => memalign(alignment: usize, bytes: usize) -> *mut c_void, "rdx", "x2";
    posix_memalign => posix_memalign(place: *mut *mut c_void, alignment: usize, bytes: usize)
        -> c_int, "rcx", "x3";
    valloc => valloc(bytes: usize) -> *mut c_void, "rsi", "x1";
    pvalloc => pvalloc(bytes: usize) -> *mut c_void, "rsi", "x1";
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe {
        match mode() {
            Mode::Serve => serve::free(block),
            Mode::Record => record::free(block),
        }
    }
}

/// C23: the size that the block was asked for with. The heap knows it by itself.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_sized(block: *mut c_void, _bytes: usize) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { free(block) }
}

/// C23: the same for `aligned_alloc`.
#[unsafe(no_mangle)]
unsafe extern "C" fn free_aligned_sized(block: *mut c_void, _alignment: usize, _bytes: usize) {
    // SAFETY: the caller's promise is the one asked for.
    unsafe { free(block) }
}

/// Functions about the whole heap.
macro_rules! about_the_heap {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $served:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller's promise is the one asked for.
            unsafe {
                match mode() {
                    Mode::Serve => $served,
                    Mode::Record => record::$name($($argument),*),
                }
            }
        }
    )*};
}

about_the_heap! {
    fn malloc_usable_size(block: *mut c_void) -> usize = serve::malloc_usable_size(block);
    // There is nothing to return to the kernel: the pool is fixed.
    fn malloc_trim(pad_bytes: usize) -> c_int = 0;
    fn mallinfo() -> libc::mallinfo = statistics::mallinfo();
    fn mallinfo2() -> libc::mallinfo2 = statistics::mallinfo2();
    fn malloc_stats() = statistics::malloc_stats();
    fn malloc_info(options: c_int, stream: *mut libc::FILE) -> c_int
        = statistics::malloc_info(options, stream);
    fn mallopt(parameter: c_int, value: c_int) -> c_int = statistics::mallopt(parameter, value);
}

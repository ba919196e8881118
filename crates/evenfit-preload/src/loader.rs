//! Libraries that the program loads later use the same malloc as the program.
//!
//! A library opened with `RTLD_DEEPBIND` would find the C library's malloc before this one. What it
//! allocates and the program frees would be a foreign pointer, and the other way round. So the flag
//! is left out. The call goes on as a jump, because the loader looks up the caller by the address
//! that is returned to: its search path decides which library is found.

use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, Ordering};

const _: () = assert!(libc::RTLD_DEEPBIND == 8, "the number in the assembly below");

/// The next `dlopen` in the order of the loader, looked up once.
extern "C" fn next_dlopen() -> *mut c_void {
    static NEXT: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
    let mut next = NEXT.load(Ordering::Relaxed);
    if next.is_null() {
        // SAFETY: the name is a C string.
        next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()) };
        NEXT.store(next, Ordering::Relaxed);
    }
    next
}

#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlopen() {
    core::arch::naked_asm!(
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {next}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "and esi, -9",
        "jmp rax",
        next = sym next_dlopen,
    );
}

#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn dlopen() {
    core::arch::naked_asm!(
        "stp x0, x1, [sp, #-32]!",
        "str x30, [sp, #16]",
        "bl {next}",
        "mov x16, x0",
        "ldr x30, [sp, #16]",
        "ldp x0, x1, [sp], #32",
        "and w1, w1, #0xfffffff7",
        "br x16",
        next = sym next_dlopen,
    );
}

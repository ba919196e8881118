//! What happens when `deallocate` is handed a pointer that it must refuse and can't say so.

use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::FreeError;

/// Called with the reason when [`Heap::deallocate`](crate::Heap::deallocate) refuses a pointer.
///
/// The heap is unchanged. If the hook returns, the refused call returns too and the pointer is ignored.
pub type MisuseHook = fn(FreeError);

static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Replaces what happens on misuse, for all heaps of the program. Without a hook the program is aborted.
///
/// # Example
/// ```
/// evenfit::set_misuse_hook(|error| eprintln!("refused: {error}"));
/// ```
pub fn set_misuse_hook(hook: MisuseHook) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

#[cold]
#[inline(never)]
pub(crate) fn misuse(error: FreeError) {
    let hook = HOOK.load(Ordering::Acquire);
    if hook.is_null() {
        abort()
    }
    // SAFETY: only `set_misuse_hook` stores here, and it stores a MisuseHook.
    let hook = unsafe { mem::transmute::<*mut (), MisuseHook>(hook) };
    hook(error)
}

/// Ends the program without unwinding, as far as `core` alone can: an undefined instruction where one is known,
/// else an endless loop, which a watchdog ends.
fn abort() -> ! {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    // SAFETY: ud2 raises an invalid-opcode exception and never returns.
    unsafe {
        core::arch::asm!("ud2", options(noreturn, nomem, nostack))
    }
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    // SAFETY: udf raises an undefined-instruction exception and never returns.
    unsafe {
        core::arch::asm!("udf #0", options(noreturn, nomem, nostack))
    }
    #[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
    // SAFETY: unimp raises an illegal-instruction exception and never returns.
    unsafe {
        core::arch::asm!("unimp", options(noreturn, nomem, nostack))
    }
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[allow(unreachable_code)]
    loop {
        core::hint::spin_loop();
    }
}

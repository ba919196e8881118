//! Where the optimiser is kept from what it would do. Each use has its worth written beside it, in instructions an operation: the
//! geometric mean over the recorded programs, blocks only, unless it says otherwise.

/// The same number, of which the compiler knows nothing. No instruction.
#[inline(always)]
pub(crate) fn opaque(x: usize) -> usize {
    #[cfg(any(target_arch = "x86_64", target_arch = "arm", target_arch = "aarch64"))]
    {
        let mut x = x;
        // SAFETY: no instruction.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) x, options(pure, nomem, nostack, preserves_flags))
        }
        x
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "arm", target_arch = "aarch64")))]
    x
}

/// The same value, of which nothing is known any more: what was read of it is read again where it is needed, and so not kept in
/// registers that would have to be saved first.
#[inline(always)]
pub(crate) fn reread<T>(value: &mut T) -> &mut T {
    let address = (value as *mut T).expose_provenance();
    // SAFETY: the same reference.
    unsafe { &mut *core::ptr::with_exposed_provenance_mut(opaque(address)) }
}

//! The program's `memcpy` and `memmove`, in loops of six instructions a byte, so that what a
//! reallocation's move of its payload takes can be subtracted. They stand in for the compiler's
//! own, which are weak symbols.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

const INSTRUCTIONS_PER_BYTE: u32 = 6;

static BYTES: AtomicU32 = AtomicU32::new(0);

/// The instructions that all loops so far executed.
pub fn instructions() -> u32 {
    BYTES.load(Ordering::Relaxed).wrapping_mul(INSTRUCTIONS_PER_BYTE)
}

#[inline(always)]
fn count(bytes: usize) {
    // A load and a store: an atomic addition would be a loop.
    BYTES.store(BYTES.load(Ordering::Relaxed).wrapping_add(bytes as u32), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __aeabi_memcpy(to: *mut u8, from: *const u8, bytes: usize) {
    count(bytes);
    // SAFETY: both ranges are valid, as promised by the caller.
    unsafe {
        asm!(
            "cmp {bytes}, #0",
            "beq 3f",
            "2: ldrb {byte}, [{from}]",
            "strb {byte}, [{to}]",
            "adds {from}, {from}, #1",
            "adds {to}, {to}, #1",
            "subs {bytes}, {bytes}, #1",
            "bne 2b",
            "3:",
            byte = out(reg) _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            bytes = inout(reg) bytes => _,
            options(nostack),
        );
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __aeabi_memmove(to: *mut u8, from: *const u8, bytes: usize) {
    if to.addr().wrapping_sub(from.addr()) >= bytes {
        // SAFETY: as promised by the caller, and nothing is overwritten before it is read.
        return unsafe { __aeabi_memcpy(to, from, bytes) };
    }
    count(bytes);
    // SAFETY: as above, from the last byte on.
    unsafe {
        asm!(
            "cmp {bytes}, #0",
            "beq 3f",
            "2: subs {from}, {from}, #1",
            "subs {to}, {to}, #1",
            "ldrb {byte}, [{from}]",
            "strb {byte}, [{to}]",
            "subs {bytes}, {bytes}, #1",
            "bne 2b",
            "3:",
            byte = out(reg) _,
            from = inout(reg) from.wrapping_add(bytes) => _,
            to = inout(reg) to.wrapping_add(bytes) => _,
            bytes = inout(reg) bytes => _,
            options(nostack),
        );
    }
}

macro_rules! same {
    ($($name:ident as $as:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name(to: *mut u8, from: *const u8, bytes: usize) {
            // SAFETY: passed on to the caller.
            unsafe { $as(to, from, bytes) }
        }
    )*};
}

same!(
    __aeabi_memcpy4 as __aeabi_memcpy,
    __aeabi_memcpy8 as __aeabi_memcpy,
    __aeabi_memmove4 as __aeabi_memmove,
    __aeabi_memmove8 as __aeabi_memmove
);

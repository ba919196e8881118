//! A heap as firmware uses it: in a static, with the processor's critical section as its lock.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use evenfit::StaticHeap;
use evenfit::lock::CriticalSection;

use crate::Manage;

pub static HEAP: StaticHeap<{ 8 * 1024 }, CriticalSection> = StaticHeap::new();

pub struct Allocator;

impl Manage for Allocator {
    unsafe fn over(_: NonNull<u8>, _: usize) -> Option<Self> {
        Some(Self)
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe { HEAP.alloc(layout) }
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { HEAP.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe { GlobalAlloc::realloc(&HEAP, ptr, old, new_bytes) }
    }
}

struct Interrupts;
critical_section::set_impl!(Interrupts);

// SAFETY: one core, on which nothing else runs while interrupts are masked. WebAssembly has none.
unsafe impl critical_section::Impl for Interrupts {
    unsafe fn acquire() -> bool {
        #[cfg(target_arch = "arm")]
        // SAFETY: reads the mask, then sets it.
        unsafe {
            let mask: u32;
            core::arch::asm!("mrs {}, PRIMASK", "cpsid i", out(reg) mask, options(nostack));
            mask & 1 == 0
        }
        #[cfg(not(target_arch = "arm"))]
        true
    }

    unsafe fn release(were_on: bool) {
        #[cfg(target_arch = "arm")]
        if were_on {
            // SAFETY: interrupts were enabled before.
            unsafe { core::arch::asm!("cpsie i", options(nostack)) };
        }
        #[cfg(not(target_arch = "arm"))]
        let _ = were_on;
    }
}

//! Limits instead of allocators: the cost of the replay itself, and the least possible cost of an
//! allocator.

use std::alloc::Layout;
use std::arch::asm;

use super::Peer;

/// Does nothing. The cost of its replay is subtracted from every other.
pub struct Noop {
    scratch: *mut u8,
}

/// Keeps two values in the registers of a call's arguments, at the cost of no instruction.
/// Otherwise the compiler would also remove the loading of arguments, which isn't the allocator's
/// work.
#[inline(always)]
fn consume(a: usize, b: usize) {
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} {1} */", in(reg) a, in(reg) b, options(nomem, nostack, preserves_flags))
    };
}

impl Peer for Noop {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        (len_bytes > 0).then(|| Box::new(Self { scratch: base }))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        consume(layout.size(), layout.align());
        self.scratch
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        consume(layout.size(), layout.align());
        consume(ptr as usize, 0);
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        consume(layout.size(), layout.align());
        consume(ptr as usize, new_size);
        ptr
    }
}

/// A pointer that only moves up, and starts again at the pool's end. It overwrites live blocks, so
/// it isn't an allocator, but the lower limit of an allocation's cost.
pub struct Bump {
    base: usize,
    next: usize,
    end: usize,
}

impl Peer for Bump {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        Some(Box::new(Self {
            base: base as usize,
            next: base as usize,
            end: base as usize + len_bytes,
        }))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let mut start = self.next.next_multiple_of(layout.align());
        if start + layout.size() > self.end {
            start = self.base.next_multiple_of(layout.align());
        }
        self.next = start + layout.size();
        start as *mut u8
    }

    #[inline]
    unsafe fn dealloc(&mut self, _: *mut u8, _: Layout) {}
}

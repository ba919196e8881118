//! Not allocators but limits: what the replay itself costs, and the least any allocator could.

use std::alloc::Layout;
use std::arch::asm;

use super::Peer;

/// Does nothing: its replay is the cost of replaying, which is subtracted from every other.
pub struct Noop {
    scratch: *mut u8,
}

/// Holds two values where a call would need them, at the cost of no instruction: else the compiler
/// would also drop the loading of the arguments, which is not the allocator's work.
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

/// A pointer that only moves up and begins again where the pool ends: nothing is ever reused
/// properly, so it is the lower limit of any allocation and no allocator.
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

//! dlmalloc: Doug Lea's allocator, ported to Rust.

use std::alloc::Layout;
use std::cell::Cell;

use dlmalloc::{Allocator, Dlmalloc};

use super::Peer;

/// It gets the whole pool on the first request and nothing after, so it has one segment. Its
/// periodic search for segments to release is off.
pub struct Dl(Dlmalloc<OnePool>);

/// The "operating system" of this dlmalloc: one region, once.
pub struct OnePool(Cell<Option<(*mut u8, usize)>>);

// SAFETY: the pointer is to a region that only this allocator uses, whichever thread runs it.
unsafe impl Send for OnePool {}

/// dlmalloc's flag of a segment that it must not try to release.
const EXTERN_BIT: u32 = 1;

// SAFETY: `alloc` returns one region of `len_bytes` at most once; the other functions refuse.
unsafe impl Allocator for OnePool {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        match self.0.take() {
            Some((base, len_bytes)) if size <= len_bytes => (base, len_bytes, EXTERN_BIT),
            kept => {
                self.0.set(kept);
                (std::ptr::null_mut(), 0, 0)
            }
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        std::ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        false
    }

    fn page_size(&self) -> usize {
        4096
    }
}

impl Peer for Dl {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let mut dl = Dlmalloc::new_with_allocator(OnePool(Cell::new(Some((base, len_bytes)))));
        dl.set_max_release_check_rate(0);
        // The granularity of its requests for memory. A larger one would need more than a small
        // pool has.
        dl.set_granularity(256);
        Some(Box::new(Self(dl)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.malloc(layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.free(ptr, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(ptr, layout.size(), layout.align(), new_size) }
    }
}

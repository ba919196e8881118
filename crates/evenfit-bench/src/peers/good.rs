//! good_memory_allocator (galloc): small bins by alignment.

use std::alloc::Layout;

use good_memory_allocator::Allocator;

use super::Peer;

/// The bare allocator, without its lock, with its default numbers of bins.
pub struct Good(Allocator);

impl Peer for Good {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // Less makes its constructor panic.
        if len_bytes < 64 {
            return None;
        }
        // The pool will hold pointers to the allocator: it is built where it stays.
        let mut good = Box::new(Self(Allocator::empty()));
        // SAFETY: the caller's promise.
        unsafe { good.0.init(base as usize, len_bytes) };
        Some(good)
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, _: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(ptr) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}

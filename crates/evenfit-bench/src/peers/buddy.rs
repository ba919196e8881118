//! buddy_system_allocator: powers of two.

use std::alloc::Layout;
use std::ptr::NonNull;

use buddy_system_allocator::Heap;

use super::Peer;

/// The bare `Heap`, without its lock; blocks up to 4 GiB, as its documentation has it. No `realloc`
/// of its own.
pub struct Buddy(Heap<33>);

impl Peer for Buddy {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let mut heap = Heap::empty();
        // SAFETY: the caller's promise.
        unsafe { heap.init(base as usize, len_bytes) };
        Some(Box::new(Self(heap)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match self.0.alloc(layout) {
            Ok(ptr) => ptr.as_ptr(),
            Err(()) => std::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(NonNull::new_unchecked(ptr), layout) }
    }
}

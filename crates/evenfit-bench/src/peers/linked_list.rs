//! linked_list_allocator: first fit over one address-ordered list.

use std::alloc::Layout;
use std::ptr::NonNull;

use super::Peer;

/// The bare `Heap`, without its lock; it has no `realloc` of its own.
pub struct LinkedList(linked_list_allocator::Heap);

impl Peer for LinkedList {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // Less makes its constructor panic.
        if len_bytes < 4 * size_of::<usize>() {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(Box::new(Self(unsafe { linked_list_allocator::Heap::new(base, len_bytes) })))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match self.0.allocate_first_fit(layout) {
            Ok(ptr) => ptr.as_ptr(),
            Err(()) => std::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout) }
    }
}

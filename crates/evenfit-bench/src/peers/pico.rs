//! picoalloc: bins with a 32-byte unit.

use std::alloc::Layout;
use std::ptr::NonNull;

use picoalloc::{Allocator, Env, Size};

use super::Peer;

/// Over one region, with its default feature, so that it reallocates in place if possible.
pub struct Pico(Allocator<Pool>);

/// A region as picoalloc's source of memory.
pub struct Pool {
    base: *mut u8,
    len: Size,
}

impl Env for Pool {
    #[inline]
    fn total_space(&self) -> Size {
        self.len
    }

    unsafe fn allocate_address_space(&mut self) -> *mut u8 {
        self.base
    }

    #[inline]
    unsafe fn expand_memory_until(&mut self, _: *mut u8, size: Size) -> bool {
        size <= self.len
    }

    unsafe fn free_address_space(&mut self, _: *mut u8) {}
}

/// Its unit of size.
const UNIT_BYTES: usize = 32;

impl Peer for Pico {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let skipped = base.align_offset(UNIT_BYTES);
        let len_bytes = len_bytes.checked_sub(skipped)? & !(UNIT_BYTES - 1);
        let len = Size::from_bytes_usize(len_bytes).filter(|_| len_bytes > 0)?;
        // SAFETY: `skipped` is within the region.
        let base = unsafe { base.add(skipped) };
        Some(Box::new(Self(Allocator::new(Pool { base, len }))))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let (Some(align), Some(size)) =
            (Size::from_bytes_usize(layout.align()), Size::from_bytes_usize(layout.size()))
        else {
            return std::ptr::null_mut();
        };
        match self.0.alloc(align, size) {
            Some(ptr) => ptr.as_ptr(),
            None => std::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, _: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.free(NonNull::new_unchecked(ptr)) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (Some(align), Some(size)) =
            (Size::from_bytes_usize(layout.align()), Size::from_bytes_usize(new_size))
        else {
            return std::ptr::null_mut();
        };
        // SAFETY: the caller's promise.
        match unsafe { self.0.realloc(NonNull::new_unchecked(ptr), align, size) } {
            Some(ptr) => ptr.as_ptr(),
            None => std::ptr::null_mut(),
        }
    }
}

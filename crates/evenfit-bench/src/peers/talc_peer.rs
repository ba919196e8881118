//! talc: the fastest pool allocator on crates.io.

use std::alloc::{GlobalAlloc, Layout};

use talc::TalcCell;
use talc::source::Manual;

use super::Peer;

/// `TalcCell`, so no lock; `Manual`, so an empty pool fails at once; the default binning, which its
/// documentation recommends; no counters. Through `GlobalAlloc`, its in-place `realloc` included.
pub struct Talc(TalcCell<Manual>);

impl Peer for Talc {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let talc = TalcCell::new(Manual);
        // SAFETY: the caller's promise.
        unsafe { talc.claim(base, len_bytes) }?;
        Some(Box::new(Self(talc)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(ptr, layout) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(ptr, layout, new_size) }
    }
}

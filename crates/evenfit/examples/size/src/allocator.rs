//! The allocator that a feature chooses; without one, a pointer that only moves up.

use core::alloc::Layout;
use core::ptr::{NonNull, null_mut};

use evenfit::{Builder, Geometry, Heap, Tiers};

use crate::Manage;

#[cfg(feature = "with-slabs")]
pub type Allocator = Heap<'static, evenfit::WithSlabs, evenfit::Standard>;
#[cfg(feature = "blocks-only")]
pub type Allocator = Heap<'static, evenfit::BlocksOnly, evenfit::Standard>;
#[cfg(feature = "compact")]
pub type Allocator = Heap<'static, evenfit::BlocksOnly, evenfit::Compact>;
#[cfg(feature = "static-heap")]
pub type Allocator = crate::static_heap::Allocator;
#[cfg(feature = "talc")]
pub type Allocator = talc::TalcCell<talc::source::Manual>;
#[cfg(feature = "rlsf")]
pub type Allocator = rlsf::Tlsf<'static, u32, u32, 24, 32>;
#[cfg(not(any(
    feature = "with-slabs",
    feature = "blocks-only",
    feature = "compact",
    feature = "static-heap",
    feature = "talc",
    feature = "rlsf"
)))]
pub type Allocator = Bump;

impl<T: Tiers, G: Geometry> Manage for Heap<'static, T, G> {
    unsafe fn over(base: NonNull<u8>, len_bytes: usize) -> Option<Self> {
        // SAFETY: as promised by the caller.
        unsafe { Builder::<T, G>::new().build_raw(base, len_bytes) }.ok()
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.allocate(layout).map_or(null_mut(), |block| block.cast().as_ptr())
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.deallocate(NonNull::new_unchecked(ptr), layout) }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_bytes, old.align());
            self.reallocate(NonNull::new_unchecked(ptr), old, new)
                .map_or(null_mut(), |block| block.cast().as_ptr())
        }
    }
}

#[cfg(feature = "talc")]
impl Manage for talc::TalcCell<talc::source::Manual> {
    unsafe fn over(base: NonNull<u8>, len_bytes: usize) -> Option<Self> {
        let talc = Self::new(talc::source::Manual);
        // SAFETY: as promised by the caller.
        unsafe { talc.claim(base.as_ptr(), len_bytes) }?;
        Some(talc)
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe { core::alloc::GlobalAlloc::alloc(self, layout) }
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { core::alloc::GlobalAlloc::dealloc(self, ptr, layout) }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe { core::alloc::GlobalAlloc::realloc(self, ptr, old, new_bytes) }
    }
}

#[cfg(feature = "rlsf")]
impl Manage for Allocator {
    unsafe fn over(base: NonNull<u8>, len_bytes: usize) -> Option<Self> {
        let mut tlsf = Self::new();
        let pool = NonNull::slice_from_raw_parts(base, len_bytes);
        // SAFETY: as promised by the caller.
        unsafe { tlsf.insert_free_block_ptr(pool) }?;
        Some(tlsf)
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.allocate(layout).map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.deallocate(NonNull::new_unchecked(ptr), layout.align()) }
    }

    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as promised by the caller.
        unsafe {
            let new = Layout::from_size_align_unchecked(new_bytes, old.align());
            self.reallocate(NonNull::new_unchecked(ptr), new).map_or(null_mut(), NonNull::as_ptr)
        }
    }
}

/// What every program has: the calls, and the copy of a reallocation.
pub struct Bump {
    next: *mut u8,
    end: *mut u8,
}

impl Manage for Bump {
    unsafe fn over(base: NonNull<u8>, len_bytes: usize) -> Option<Self> {
        let next = base.as_ptr();
        Some(Self { next, end: next.wrapping_add(len_bytes) })
    }

    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let start = self.next.wrapping_add(self.next.align_offset(layout.align()));
        if self.end.addr().wrapping_sub(start.addr()) < layout.size() {
            return null_mut();
        }
        self.next = start.wrapping_add(layout.size());
        start
    }

    unsafe fn dealloc(&mut self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&mut self, ptr: *mut u8, old: Layout, new_bytes: usize) -> *mut u8 {
        // SAFETY: as promised by the caller; blocks don't overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(new_bytes, old.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(ptr, old.size().min(new_bytes));
            }
            new
        }
    }
}

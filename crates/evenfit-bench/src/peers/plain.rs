//! The peers that need only calls: talc, rlsf, good_memory_allocator, linked_list_allocator and
//! buddy_system_allocator.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use rlsf::Tlsf;

use super::Peer;

/// talc: `TalcCell`, so no lock; `Manual`, so an empty pool fails at once; the default binning,
/// which its documentation recommends; no counters. Through `GlobalAlloc`, its in-place `realloc`
/// included.
pub struct Talc(talc::TalcCell<talc::source::Manual>);

impl Peer for Talc {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let talc = talc::TalcCell::new(talc::source::Manual);
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

/// A careful user's choice: 24 first levels manage half a GiB, 32 second levels round a request by
/// at most 1/32. The control structure has 6 KiB. With 16 second levels both footprint and
/// instructions were a little worse.
pub type Sensible = Rlsf<u32, u32, 24, 32>;

/// What `embedded-alloc` 0.7 uses: a 32 KiB control structure, whatever the pool.
pub type Embedded = Rlsf<usize, usize, { usize::BITS as usize }, { usize::BITS as usize }>;

/// rlsf with first- and second-level bitmaps and lengths.
pub struct Rlsf<F, S, const FLLEN: usize, const SLLEN: usize>(Tlsf<'static, F, S, FLLEN, SLLEN>);

macro_rules! rlsf_peer {
    ($f:ty, $s:ty, $fllen:expr, $sllen:expr) => {
        impl Peer for Rlsf<$f, $s, { $fllen }, { $sllen }> {
            unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
                let region = NonNull::slice_from_raw_parts(NonNull::new(base)?, len_bytes);
                let mut tlsf = Tlsf::new();
                // SAFETY: the caller's promise.
                unsafe { tlsf.insert_free_block_ptr(region) }?;
                Some(Box::new(Self(tlsf)))
            }

            #[inline]
            unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
                match self.0.allocate(layout) {
                    Some(ptr) => ptr.as_ptr(),
                    None => std::ptr::null_mut(),
                }
            }

            #[inline]
            unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
                // SAFETY: the caller's promise.
                unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout.align()) }
            }

            #[inline]
            unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
                // SAFETY: the caller's promise.
                let new = unsafe {
                    let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
                    self.0.reallocate(NonNull::new_unchecked(ptr), new_layout)
                };
                match new {
                    Some(ptr) => ptr.as_ptr(),
                    None => std::ptr::null_mut(),
                }
            }
        }
    };
}

rlsf_peer!(u32, u32, 24, 32);
rlsf_peer!(usize, usize, usize::BITS as usize, usize::BITS as usize);

/// good_memory_allocator (galloc), bare: without its lock, with its default numbers of bins.
pub struct Good(good_memory_allocator::Allocator);

impl Peer for Good {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // Less makes its constructor panic.
        if len_bytes < 64 {
            return None;
        }
        // The pool will contain pointers to the allocator, so it must not move.
        let mut good = Box::new(Self(good_memory_allocator::Allocator::empty()));
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

/// linked_list_allocator, first fit over one address-ordered list: the bare `Heap`, without its
/// lock. It has no `realloc` of its own.
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

/// buddy_system_allocator, powers of two: the bare `Heap`, without its lock; blocks up to 4 GiB, as
/// its documentation has it. It has no `realloc` of its own.
pub struct Buddy(buddy_system_allocator::Heap<33>);

impl Peer for Buddy {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let mut heap = buddy_system_allocator::Heap::empty();
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

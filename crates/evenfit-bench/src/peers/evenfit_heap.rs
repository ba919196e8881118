//! evenfit itself.

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::next;
use evenfit::{Compact, FirstFit, Geometry, Heap, Standard, Tiers};

use super::Peer;

/// Blocks only: the tightest bound in space and time.
pub type Blocks = Evenfit<Standard, false>;

/// Slabs over blocks, also in pools so small that `Tiers::Auto` would do without.
pub type Slabs = Evenfit<Standard, true>;

/// The geometry for small devices: granules of 8 bytes, pools up to 511 KiB. Larger ones it refuses.
pub type Small = Evenfit<Compact, false>;

/// The heap with every check on; the caller gives the layout back, as Rust's collections do.
pub struct Evenfit<G: Geometry, const SLABS: bool>(Heap<'static, G>);

impl<G: Geometry, const SLABS: bool> Peer for Evenfit<G, SLABS> {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let base = NonNull::new(base)?;
        let tiers = if SLABS {
            Tiers::WithSlabs
        } else {
            Tiers::BlocksOnly
        };
        // SAFETY: the caller's promise.
        let heap = unsafe { Heap::from_raw_with(base, len_bytes, tiers) }.ok()?;
        Some(Box::new(Self(heap)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match self.0.allocate(layout) {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout) }
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let new = unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            self.0
                .reallocate(NonNull::new_unchecked(ptr), layout, new_layout)
        };
        match new {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }
}

/// The new core, blocks only.
pub type NextBlocks = Next<next::BlocksOnly, next::Standard>;
/// The new core, with slabs.
pub type NextSlabs = Next<next::WithSlabs, next::Standard>;
/// The new core, every block aligned to 16 bytes, with slabs.
pub type NextAligned = Next<next::WithSlabs, next::Aligned>;
/// The new core, for small devices.
pub type NextCompact = Next<next::BlocksOnly, next::Compact>;

/// The new core.
pub struct Next<T: next::Tiers, G: next::Geometry>(next::Heap<'static, T, G>);

impl<T: next::Tiers, G: next::Geometry> Peer for Next<T, G> {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let base = NonNull::new(base)?;
        // SAFETY: the caller's promise.
        let heap = unsafe { next::Builder::<T, G>::new().build_raw(base, len_bytes) }.ok()?;
        Some(Box::new(Self(heap)))
    }

    #[inline(always)]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match self.0.allocate(layout) {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }

    #[inline(always)]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout) }
    }

    #[inline(always)]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let new = unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            self.0
                .reallocate(NonNull::new_unchecked(ptr), layout, new_layout)
        };
        match new {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }
}

/// The teaching allocator: one free list, first fit, O(n). Its face is checked too, so a free can't go wrong quietly.
pub struct First(FirstFit<'static>);

impl Peer for First {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let region = unsafe { std::slice::from_raw_parts_mut(base.cast(), len_bytes) };
        Some(Box::new(Self(FirstFit::from_region(region).ok()?)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        match self.0.allocate(layout) {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        let freed = unsafe { self.0.try_deallocate(NonNull::new_unchecked(ptr), layout) };
        debug_assert_eq!(freed, Ok(()));
    }

    #[inline]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let new = unsafe {
            let new_layout = Layout::from_size_align_unchecked(new_size, layout.align());
            self.0
                .reallocate(NonNull::new_unchecked(ptr), layout, new_layout)
        };
        match new {
            Ok(block) => block.as_ptr().cast(),
            Err(_) => std::ptr::null_mut(),
        }
    }
}

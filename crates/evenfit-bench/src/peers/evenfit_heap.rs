//! evenfit itself.

use std::alloc::Layout;
use std::ptr::NonNull;

use evenfit::{
    Aligned, Auto, BlocksOnly, Builder, Compact, FirstFit, Geometry, Heap, Standard, Tiers,
    WithSlabs,
};

use super::Peer;

/// The default: slabs over blocks; in pools of less than 1 MiB blocks only.
pub type Slabs = Evenfit<Auto, Standard>;
/// Blocks only: the tightest bound in space and time.
pub type Blocks = Evenfit<BlocksOnly, Standard>;
/// Every block aligned to 16 bytes, as by C's `malloc`, with slabs.
pub type SixteenBytes = Evenfit<WithSlabs, Aligned>;
/// The geometry for small devices. It refuses pools of more than 511 KiB.
pub type Small = Evenfit<BlocksOnly, Compact>;

/// The heap with every check on; the caller names the layout when it frees, as Rust's collections
/// do.
pub struct Evenfit<T: Tiers, G: Geometry>(Heap<'static, T, G>);

impl<T: Tiers, G: Geometry> Peer for Evenfit<T, G> {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        let base = NonNull::new(base)?;
        // SAFETY: the caller's promise.
        let heap = unsafe { Builder::<T, G>::new().build_raw(base, len_bytes) }.ok()?;
        Some(Box::new(Self(heap)))
    }

    #[inline(always)]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        pointer(self.0.allocate(layout))
    }

    #[inline(always)]
    unsafe fn dealloc(&mut self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.deallocate(NonNull::new_unchecked(ptr), layout) }
    }

    #[inline(always)]
    unsafe fn realloc(&mut self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        pointer(unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            self.0.reallocate(NonNull::new_unchecked(ptr), layout, new)
        })
    }
}

/// The teaching allocator: one free list, first fit, O(n). Its frees are checked too.
pub struct First(FirstFit<'static>);

impl Peer for First {
    unsafe fn over(base: *mut u8, len_bytes: usize) -> Option<Box<Self>> {
        // SAFETY: the caller's promise.
        let region = unsafe { std::slice::from_raw_parts_mut(base.cast(), len_bytes) };
        Some(Box::new(Self(FirstFit::from_region(region).ok()?)))
    }

    #[inline]
    unsafe fn alloc(&mut self, layout: Layout) -> *mut u8 {
        pointer(self.0.allocate(layout))
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
        pointer(unsafe {
            let new = Layout::from_size_align_unchecked(new_size, layout.align());
            self.0.reallocate(NonNull::new_unchecked(ptr), layout, new)
        })
    }
}

/// A block's first byte, or null.
#[inline(always)]
fn pointer<E>(block: Result<NonNull<[u8]>, E>) -> *mut u8 {
    match block {
        Ok(block) => block.as_ptr().cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

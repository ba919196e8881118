//! A heap of either granule size.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{AllocError, Block, FreeError, Geometry, Heap, ReallocError, Stats};

/// What the C functions ask of a heap, whatever its granule. Each method is the one of the same name of [`Heap`].
#[allow(clippy::missing_safety_doc)]
pub(crate) trait AnyHeap {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;
    fn allocate_unsized(&mut self, bytes: usize) -> Result<NonNull<[u8]>, AllocError>;
    fn fits_unsized(&self, ptr: NonNull<u8>, bytes: usize) -> bool;
    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;
    unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError>;
    unsafe fn resize_in_place_unsized(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError>;
    fn largest_free_unsized(&self) -> usize;
    fn stats(&self) -> Stats;
    fn is_sound(&self) -> bool;
    fn reset(&mut self);
    unsafe fn extend(&mut self, added_bytes: usize) -> usize;
    /// Until `visit` returns false.
    fn walk(&self, visit: &mut dyn FnMut(Block) -> bool);
}

impl<G: Geometry> AnyHeap for Heap<'static, G> {
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate(layout)
    }

    fn allocate_unsized(&mut self, bytes: usize) -> Result<NonNull<[u8]>, AllocError> {
        self.allocate_unsized(bytes)
    }

    fn fits_unsized(&self, ptr: NonNull<u8>, bytes: usize) -> bool {
        self.fits_unsized(ptr, bytes)
    }

    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.try_deallocate(ptr, layout) }
    }

    unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.try_deallocate_unsized(ptr) }
    }

    unsafe fn resize_in_place_unsized(
        &mut self,
        ptr: NonNull<u8>,
        new_bytes: usize,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.resize_in_place_unsized(ptr, new_bytes) }
    }

    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        self.usable_size(ptr)
    }

    fn largest_free_unsized(&self) -> usize {
        self.largest_free_unsized()
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    fn is_sound(&self) -> bool {
        self.check().is_ok()
    }

    fn reset(&mut self) {
        self.reset();
    }

    unsafe fn extend(&mut self, added_bytes: usize) -> usize {
        // SAFETY: the caller's promise is the one asked for.
        unsafe { self.extend(added_bytes) }
    }

    fn walk(&self, visit: &mut dyn FnMut(Block) -> bool) {
        for block in self.blocks() {
            if !visit(block) {
                break;
            }
        }
    }
}

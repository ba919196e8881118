//! What is driven: any allocator behind one small face.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{
    AllocError, BlockState, CheckError, Compact, FreeError, Geometry, Heap, InitError,
    ReallocError, Standard, Stats,
};

/// A piece of a pool, as a subject's walk gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts, in bytes from the pool's first granule.
    pub offset_bytes: usize,
    /// Its length in bytes.
    pub size_bytes: usize,
    /// What it holds.
    pub state: BlockState,
}

/// A heap as the driver sees it. The answers are passed on unchanged, never interpreted here.
pub trait Subject: Sized {
    /// Its name in messages.
    const NAME: &'static str;
    /// The unit that block sizes are rounded to, in bytes.
    const GRANULE_BYTES: usize;
    /// Into how many size classes the search divides a doubling; sizes below two doublings of
    /// that are exact.
    const CLASSES_PER_DOUBLING: usize;

    /// # Safety
    /// As `Heap::from_raw`.
    unsafe fn build(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError>;
    /// As `Heap::allocate`.
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;
    /// As `Heap::allocate_zeroed`.
    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;
    /// # Safety
    /// As `Heap::try_deallocate`.
    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;
    /// # Safety
    /// As `Heap::try_deallocate_unsized`.
    unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError>;
    /// # Safety
    /// As `Heap::grow`.
    unsafe fn grow(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    /// # Safety
    /// As `Heap::shrink`.
    unsafe fn shrink(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    /// # Safety
    /// As `Heap::reallocate`.
    unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError>;
    /// As `Heap::usable_size`.
    fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError>;
    /// As `Heap::largest_free`.
    fn largest_free(&self) -> usize;
    /// As `Heap::stats`.
    fn stats(&self) -> Stats;
    /// As `Heap::blocks`.
    fn blocks(&self) -> impl Iterator<Item = Piece> + '_;
    /// As `Heap::check`.
    fn check(&self) -> Result<(), CheckError>;
}

macro_rules! heap_subject {
    ($geometry:ty, $name:literal, $classes:literal) => {
        impl Subject for Heap<'static, $geometry> {
            const NAME: &'static str = $name;
            const GRANULE_BYTES: usize = <$geometry as Geometry>::GRANULE_BYTES;
            const CLASSES_PER_DOUBLING: usize = $classes;

            unsafe fn build(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::from_raw(base, len_bytes) }
            }
            fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                Heap::allocate(self, layout)
            }
            fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                Heap::allocate_zeroed(self, layout)
            }
            unsafe fn try_deallocate(
                &mut self,
                ptr: NonNull<u8>,
                layout: Layout,
            ) -> Result<(), FreeError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::try_deallocate(self, ptr, layout) }
            }
            unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::try_deallocate_unsized(self, ptr) }
            }
            unsafe fn grow(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::grow(self, ptr, old, new) }
            }
            unsafe fn shrink(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::shrink(self, ptr, old, new) }
            }
            unsafe fn reallocate(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::reallocate(self, ptr, old, new) }
            }
            fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
                Heap::usable_size(self, ptr)
            }
            fn largest_free(&self) -> usize {
                Heap::largest_free(self)
            }
            fn stats(&self) -> Stats {
                Heap::stats(self)
            }
            fn blocks(&self) -> impl Iterator<Item = Piece> + '_ {
                Heap::blocks(self).map(|block| Piece {
                    offset_bytes: block.offset_bytes,
                    size_bytes: block.size_bytes,
                    state: block.state,
                })
            }
            fn check(&self) -> Result<(), CheckError> {
                Heap::check(self)
            }
        }
    };
}

heap_subject!(Standard, "Heap<Standard>", 16);
heap_subject!(Compact, "Heap<Compact>", 8);

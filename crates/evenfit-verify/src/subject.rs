//! What is driven: any allocator behind one small face.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{
    AllocError, BlockState, CheckError, Compact, FreeError, Geometry, Heap, InitError,
    ReallocError, Standard, Stats, Tiers,
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
    /// Whether small requests may come from slabs.
    const HAS_SLABS: bool;

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
    ($(#[$doc:meta])* $name:ident, $geometry:ty, $tiers:expr, $classes:literal) => {
        $(#[$doc])*
        pub struct $name(pub Heap<'static, $geometry>);

        impl Subject for $name {
            const NAME: &'static str = stringify!($name);
            const HAS_SLABS: bool = matches!($tiers, Tiers::WithSlabs);
            const GRANULE_BYTES: usize = <$geometry as Geometry>::GRANULE_BYTES;
            const CLASSES_PER_DOUBLING: usize = $classes;

            unsafe fn build(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
                // SAFETY: passed on to the caller.
                unsafe { Heap::from_raw_with(base, len_bytes, $tiers) }.map(Self)
            }
            fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                self.0.allocate(layout)
            }
            fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
                self.0.allocate_zeroed(layout)
            }
            unsafe fn try_deallocate(
                &mut self,
                ptr: NonNull<u8>,
                layout: Layout,
            ) -> Result<(), FreeError> {
                // SAFETY: passed on to the caller.
                unsafe { self.0.try_deallocate(ptr, layout) }
            }
            unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
                // SAFETY: passed on to the caller.
                unsafe { self.0.try_deallocate_unsized(ptr) }
            }
            unsafe fn grow(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { self.0.grow(ptr, old, new) }
            }
            unsafe fn shrink(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { self.0.shrink(ptr, old, new) }
            }
            unsafe fn reallocate(
                &mut self,
                ptr: NonNull<u8>,
                old: Layout,
                new: Layout,
            ) -> Result<NonNull<[u8]>, ReallocError> {
                // SAFETY: passed on to the caller.
                unsafe { self.0.reallocate(ptr, old, new) }
            }
            fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
                self.0.usable_size(ptr)
            }
            fn largest_free(&self) -> usize {
                self.0.largest_free()
            }
            fn stats(&self) -> Stats {
                self.0.stats()
            }
            fn blocks(&self) -> impl Iterator<Item = Piece> + '_ {
                self.0.blocks().map(|block| Piece {
                    offset_bytes: block.offset_bytes,
                    size_bytes: block.size_bytes,
                    state: block.state,
                })
            }
            fn check(&self) -> Result<(), CheckError> {
                self.0.check()
            }
        }
    };
}

heap_subject!(
    /// `Heap<Standard>` with blocks only.
    Blocks, Standard, Tiers::BlocksOnly, 16
);
heap_subject!(
    /// `Heap<Standard>` with slabs whatever the region's length.
    Slabs, Standard, Tiers::WithSlabs, 16
);
heap_subject!(
    /// `Heap<Compact>`, which has no slabs.
    CompactBlocks, Compact, Tiers::BlocksOnly, 8
);

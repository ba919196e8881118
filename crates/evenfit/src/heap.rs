//! The heap.

use core::alloc::Layout;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::{AllocError, FreeError, Geometry, InitError, ReallocError, Standard, Stats};

/// A piece of the pool, as [`Heap::blocks`] walks it in address order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it starts, in bytes from the first granule of the pool.
    pub offset_bytes: usize,
    /// Its length in bytes, as the heap rounds it.
    pub size_bytes: usize,
    /// What it holds.
    pub state: BlockState,
}

/// What a [`Block`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockState {
    /// A live block.
    Used,
    /// A free block.
    Free,
    /// The never-used (or given back) tail of the pool.
    Top,
}

/// What [`Heap::check`] found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckError {
    /// A free block's link does not lead where the map says it must.
    Link {
        /// The free block, in bytes from the first granule of the pool.
        offset_bytes: usize,
    },
}

/// A heap over one fixed pool.
pub struct Heap<'pool, G: Geometry = Standard> {
    _pool: PhantomData<(&'pool mut [MaybeUninit<u8>], G)>,
}

#[allow(missing_docs, clippy::missing_safety_doc, unused_variables)]
impl<'pool, G: Geometry> Heap<'pool, G> {
    pub fn from_region(region: &'pool mut [MaybeUninit<u8>]) -> Result<Self, InitError> {
        todo!()
    }
    pub unsafe fn from_raw(base: NonNull<u8>, len_bytes: usize) -> Result<Self, InitError> {
        todo!()
    }
    pub fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        todo!()
    }
    pub fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        todo!()
    }
    /// On misuse calls the misuse hook, which panics/aborts unless replaced.
    pub unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) {
        todo!()
    }
    pub unsafe fn try_deallocate(
        &mut self,
        ptr: NonNull<u8>,
        layout: Layout,
    ) -> Result<(), FreeError> {
        todo!()
    }
    /// For callers that know no layout, as C's `free`.
    pub unsafe fn try_deallocate_unsized(&mut self, ptr: NonNull<u8>) -> Result<(), FreeError> {
        todo!()
    }
    pub unsafe fn grow(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        todo!()
    }
    pub unsafe fn shrink(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        todo!()
    }
    pub unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError> {
        todo!()
    }
    /// Bytes the caller may use at `ptr`.
    pub fn usable_size(&self, ptr: NonNull<u8>) -> Result<usize, FreeError> {
        todo!()
    }
    /// The largest request in bytes (at granule alignment) that succeeds now, exact.
    pub fn largest_free(&self) -> usize {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
    pub fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        core::iter::empty()
    }
    /// Total over arbitrary bytes in the pool.
    pub fn check(&self) -> Result<(), CheckError> {
        todo!()
    }
}

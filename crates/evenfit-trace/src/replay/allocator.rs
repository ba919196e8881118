//! The trait of an allocator in which a replay runs.

use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{
    AllocError, Block, BlockState, CheckError, FirstFit, FreeError, Geometry, Heap, ReallocError,
    Stats, Tiers,
};

/// A piece of a pool, as in an allocator's walk: as [`Block`], but any allocator can construct it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts, in bytes from the start of the pool.
    pub offset_bytes: usize,
    /// Its length in bytes.
    pub size_bytes: usize,
    /// Its state.
    pub state: BlockState,
}

impl From<Block> for Piece {
    fn from(block: Block) -> Self {
        Self { offset_bytes: block.offset_bytes, size_bytes: block.size_bytes, state: block.state }
    }
}

/// An allocator over one pool. Each method is like the method of [`Heap`] with the same name.
pub trait Allocator {
    /// Bytes in front of a block's payload that belong to the block.
    const HEADER_BYTES: usize;
    /// The granule in bytes.
    const GRANULE_BYTES: usize;

    /// See [`Heap::allocate`].
    ///
    /// # Errors
    /// As there.
    fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError>;

    /// See [`Heap::allocate_zeroed`].
    ///
    /// # Errors
    /// As there.
    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let block = self.allocate(layout)?;
        // SAFETY: the block was just allocated; nobody else uses it.
        unsafe { block.cast::<u8>().write_bytes(0, block.len()) };
        Ok(block)
    }

    /// See [`Heap::try_deallocate`].
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    unsafe fn try_deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;

    /// See [`Heap::reallocate`].
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    unsafe fn reallocate(
        &mut self,
        ptr: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, ReallocError>;

    /// See [`Heap::largest_free`].
    fn largest_free(&self) -> usize;

    /// See [`Heap::stats`].
    fn stats(&self) -> Stats;

    /// See [`Heap::pool_start`].
    fn pool_start(&self) -> *const u8;

    /// From the pool's start to the end of the furthest block so far, in bytes: where
    /// [`Heap::never_used`] begins. `None`: it isn't known.
    fn reach_bytes(&self) -> Option<usize> {
        None
    }

    /// See [`Heap::blocks`].
    fn blocks(&self) -> impl Iterator<Item = Piece> + '_;

    /// See [`Heap::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self) -> Result<(), CheckError>;
}

/// Forwards the calls that have the same names in [`Heap`] and [`FirstFit`].
macro_rules! forward {
    ($allocator:ident) => {
        fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
            $allocator::allocate(self, layout)
        }

        unsafe fn try_deallocate(
            &mut self,
            ptr: NonNull<u8>,
            layout: Layout,
        ) -> Result<(), FreeError> {
            // SAFETY: the caller's promise.
            unsafe { $allocator::try_deallocate(self, ptr, layout) }
        }

        unsafe fn reallocate(
            &mut self,
            ptr: NonNull<u8>,
            old: Layout,
            new: Layout,
        ) -> Result<NonNull<[u8]>, ReallocError> {
            // SAFETY: the caller's promise.
            unsafe { $allocator::reallocate(self, ptr, old, new) }
        }

        fn largest_free(&self) -> usize {
            $allocator::largest_free(self)
        }

        fn stats(&self) -> Stats {
            $allocator::stats(self)
        }

        fn pool_start(&self) -> *const u8 {
            $allocator::pool_start(self)
        }

        fn blocks(&self) -> impl Iterator<Item = Piece> + '_ {
            $allocator::blocks(self).map(Piece::from)
        }

        fn check(&self) -> Result<(), CheckError> {
            $allocator::check(self)
        }
    };
}

impl<T: Tiers, G: Geometry> Allocator for Heap<'_, T, G> {
    const HEADER_BYTES: usize = 0;
    const GRANULE_BYTES: usize = G::GRANULE_BYTES;

    forward!(Heap);

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Heap::allocate_zeroed(self, layout)
    }

    fn reach_bytes(&self) -> Option<usize> {
        Some(Heap::stats(self).pool_bytes - self.never_used().len())
    }
}

impl Allocator for FirstFit<'_> {
    const HEADER_BYTES: usize = 2 * size_of::<usize>();
    const GRANULE_BYTES: usize = Self::HEADER_BYTES;

    forward!(FirstFit);
}

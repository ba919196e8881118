//! The allocators that a trace can be replayed in, behind one face.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use clap::ValueEnum;
use evenfit::{
    AllocError, Block, CheckError, Compact, FirstFit, FreeError, Geometry, Heap, InitError,
    ReallocError, Standard, Stats, Tiers,
};
use serde::Serialize;

/// What a replay needs of an allocator over one pool. All as the methods of the same name of
/// [`Heap`].
pub trait Allocator {
    /// Bytes in front of a block's payload that belong to the block.
    const HEADER_BYTES: usize;
    /// The unit that blocks are cut in, in bytes.
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
        // SAFETY: the block was just handed out; nobody else uses it.
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
    unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError>;

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

    /// See [`Heap::blocks`].
    fn blocks(&self) -> Vec<Block>;

    /// See [`Heap::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self) -> Result<(), CheckError>;
}

/// Passes the calls on that [`Heap`] and [`FirstFit`] name alike.
macro_rules! forward {
    ($allocator:ident) => {
        fn allocate(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
            $allocator::allocate(self, layout)
        }

        unsafe fn deallocate(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), FreeError> {
            // SAFETY: the caller's promise.
            unsafe { self.try_deallocate(ptr, layout) }
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

        fn blocks(&self) -> Vec<Block> {
            $allocator::blocks(self).collect()
        }

        fn check(&self) -> Result<(), CheckError> {
            $allocator::check(self)
        }
    };
}

impl<G: Geometry> Allocator for Heap<'_, G> {
    const HEADER_BYTES: usize = 0;
    const GRANULE_BYTES: usize = G::GRANULE_BYTES;

    forward!(Heap);

    fn allocate_zeroed(&mut self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        Heap::allocate_zeroed(self, layout)
    }
}

impl Allocator for FirstFit<'_> {
    const HEADER_BYTES: usize = 2 * size_of::<usize>();
    const GRANULE_BYTES: usize = Self::HEADER_BYTES;

    forward!(FirstFit);
}

/// Which allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The heap: constant time, no headers; small requests from slabs in pools of 1 MiB and more
    Heap,
    /// The heap without slabs: where a proved bound on space is what counts
    Blocks,
    /// The heap with slabs, however small the pool
    Slabs,
    /// The heap with 8-byte granules, for pools up to 512 KiB
    Compact,
    /// The teaching free list: time grows with the pool, a header on every block
    FirstFit,
}

impl Kind {
    /// As it is said in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "the heap",
            Self::Blocks => "the heap without slabs",
            Self::Slabs => "the heap with slabs",
            Self::Compact => "the compact heap",
            Self::FirstFit => "the first-fit free list",
        }
    }

    /// As it is written after `--allocator`.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Blocks => "blocks",
            Self::Slabs => "slabs",
            Self::Compact => "compact",
            Self::FirstFit => "first-fit",
        }
    }
}

/// Something to do with an allocator, whichever it is: see [`Kind::build`].
pub trait Visit {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<A: Allocator>(self, allocator: A) -> Self::Output;
}

impl Kind {
    /// Builds the allocator over `region` and hands it to `visitor`.
    ///
    /// # Errors
    /// The region is too small or too large for it.
    pub fn build<V: Visit>(
        self,
        region: &mut [MaybeUninit<u8>],
        visitor: V,
    ) -> Result<V::Output, InitError> {
        Ok(match self {
            Self::Heap => visitor.visit(Heap::<Standard>::from_region(region)?),
            Self::Blocks => visitor.visit(Heap::<Standard>::from_region_with(
                region,
                Tiers::BlocksOnly,
            )?),
            Self::Slabs => visitor.visit(Heap::<Standard>::from_region_with(
                region,
                Tiers::WithSlabs,
            )?),
            Self::Compact => visitor.visit(Heap::<Compact>::from_region(region)?),
            Self::FirstFit => visitor.visit(FirstFit::from_region(region)?),
        })
    }
}

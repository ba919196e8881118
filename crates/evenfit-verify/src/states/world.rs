//! A heap, and the calls that a state is built from.

use alloc::alloc::{alloc, alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ptr::NonNull;

use evenfit::{BlockState, Builder, Geometry, Heap, Tiers};

/// A live block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it starts.
    pub ptr: NonNull<u8>,
    /// What it was asked with.
    pub layout: Layout,
}

/// Memory in which one heap after another is built.
pub struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    is_zero: bool,
}

/// So that alignments up to it are the same each time.
const MEMORY_ALIGN: usize = 1 << 16;

impl Memory {
    /// Memory for a pool of `granules` granules.
    ///
    /// # Panics
    /// If there is none.
    pub fn new<G: Geometry>(granules: usize) -> Self {
        let layout = Self::layout::<G>(granules, MEMORY_ALIGN).expect("a small pool");
        // SAFETY: the layout has a size.
        let base = NonNull::new(unsafe { alloc(layout) }).expect("memory");
        Self { base, layout, is_zero: false }
    }

    /// Memory for a very large pool, of which only touched pages exist. `None`: the system has no
    /// such memory.
    pub fn large<G: Geometry>(granules: usize) -> Option<Self> {
        let layout = Self::layout::<G>(granules, 16)?;
        // SAFETY: the layout has a size.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { base, layout, is_zero: true })
    }

    fn layout<G: Geometry>(granules: usize, align: usize) -> Option<Layout> {
        let pool_bytes = granules.checked_mul(G::GRANULE_BYTES)?;
        let bytes = pool_bytes.checked_add(pool_bytes / 16)?;
        Layout::from_size_align(bytes.checked_add(4096)?, align).ok()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; worlds borrow it.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Requests of more bytes aren't served from slabs.
const SLOT_BYTES_MAX: usize = 512;

/// A heap. It lies at an address of fixed alignment, so that a state touches the same lines each
/// time.
#[repr(align(64))]
pub struct World<'m, T: Tiers, G: Geometry> {
    heap: Heap<'m, T, G>,
    /// A check of a very large pool would take too long.
    is_small: bool,
    /// Something was written to free memory.
    pub(crate) is_overwritten: bool,
}

impl<'m, T: Tiers, G: Geometry> World<'m, T, G> {
    pub(crate) const HAS_SLABS: bool = T::SLABS_REGION_BYTES_MIN == 0;
    /// The length of a slab in granules.
    pub(crate) const SLAB_LEN: usize = 8 * G::SHORT_END;
    /// The shortest block, in granules, that no slab serves.
    pub(crate) const BLOCK_LEN: usize =
        Self::even(if Self::HAS_SLABS { SLOT_BYTES_MAX / G::GRANULE_BYTES + 1 } else { 2 });

    /// An empty heap.
    pub fn new(memory: &'m mut Memory) -> Self {
        let builder = if memory.is_zero {
            memory.is_zero = false;
            // SAFETY: the memory is zero, since nothing was built in it yet.
            unsafe { Builder::<T, G>::new().zeroed() }
        } else {
            Builder::new()
        };
        // SAFETY: the memory is borrowed exclusively for the life of the heap.
        let heap = unsafe { builder.build_raw(memory.base, memory.layout.size()) };
        Self {
            heap: heap.expect("long enough"),
            is_small: memory.layout.size() < 1 << 24,
            is_overwritten: false,
        }
    }

    /// The next length that blocks can have.
    pub(crate) const fn even(len: usize) -> usize {
        len.next_multiple_of(G::ALIGN_BYTES / G::GRANULE_BYTES)
    }

    /// The heap itself.
    pub fn heap(&mut self) -> &mut Heap<'m, T, G> {
        &mut self.heap
    }

    /// Checks the whole heap.
    ///
    /// # Panics
    /// If it isn't sound.
    pub(crate) fn check(&self) {
        if self.is_small && !self.is_overwritten {
            self.heap.check().expect("a sound heap");
        }
    }

    /// A request's layout.
    pub fn layout(len: usize, align: usize) -> Layout {
        Layout::from_size_align(len * G::GRANULE_BYTES, align).expect("a small request")
    }

    /// Allocates a block; the state must have the memory for it.
    pub(crate) fn allocate(&mut self, layout: Layout) -> Block {
        let block = self.heap.allocate(layout).expect("room");
        Block { ptr: block.cast(), layout }
    }

    /// A slot, if there is one.
    pub(crate) fn slot_if_any(&mut self, bytes: usize) -> Option<Block> {
        let layout = Layout::from_size_align(bytes, 1).expect("a small request");
        let ptr = self.heap.allocate(layout).ok()?.cast();
        Some(Block { ptr, layout })
    }

    /// A slot.
    pub(crate) fn slot(&mut self, bytes: usize) -> Block {
        self.allocate(Layout::from_size_align(bytes, 1).expect("a small request"))
    }

    /// A block of exactly `len` granules, from the only free block or from the top. If a slab would
    /// serve the request, a longer block is allocated and shrunk.
    pub fn block(&mut self, len: usize) -> Block {
        let len = Self::even(len);
        let block = self.allocate(Self::layout(len.max(Self::BLOCK_LEN), G::ALIGN_BYTES));
        self.resize(block, len)
    }

    /// A used block between two others, so that these don't merge.
    pub(crate) fn apart(&mut self) {
        self.block(2);
    }

    /// Resizes a block where it is.
    pub(crate) fn resize(&mut self, block: Block, len: usize) -> Block {
        let layout = Self::layout(len, block.layout.align());
        self.relayout(block, layout)
    }

    /// Changes a block's layout where it is.
    pub(crate) fn relayout(&mut self, block: Block, layout: Layout) -> Block {
        let Block { ptr, layout: old } = block;
        // SAFETY: the block is live, and not used as the old one again.
        let resized = unsafe { self.heap.resize_in_place(ptr, old, layout) };
        assert_eq!(resized.expect("room").cast(), ptr);
        Block { ptr, layout }
    }

    /// Frees a live block.
    pub fn free(&mut self, block: Block) {
        // SAFETY: the block is live and not used again.
        unsafe { self.heap.try_deallocate(block.ptr, block.layout) }.expect("a live block");
    }

    /// The length of the longest free block in granules.
    pub fn longest_free(&self) -> usize {
        self.heap.largest_free() / G::GRANULE_BYTES
    }

    /// The address at which the top begins, and its length in granules.
    pub(crate) fn top(&self) -> (usize, usize) {
        let is_top = |block: &evenfit::Block| block.state == BlockState::Top;
        let start = self.heap.pool_start().addr();
        match self.heap.blocks().find(is_top) {
            Some(top) => (start + top.offset_bytes, top.size_bytes / G::GRANULE_BYTES),
            None => (start, 0),
        }
    }

    /// Allocates `len` granules of the top.
    pub(crate) fn allocate_top(&mut self, len: usize) {
        self.allocate(Self::layout(len, G::ALIGN_BYTES));
    }

    /// Moves the top up to where it lies `phase` granules behind a multiple of `align` bytes.
    pub(crate) fn align_top(&mut self, align: usize, phase: usize) {
        let (top, _) = self.top();
        let behind = (phase * G::GRANULE_BYTES).wrapping_sub(top) % align / G::GRANULE_BYTES;
        let len = if behind < 2 { behind + align.max(16) / G::GRANULE_BYTES } else { behind };
        self.block(len);
    }
}

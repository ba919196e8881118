//! A heap, and the calls that a state is built from.

use alloc::alloc::{alloc, dealloc};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

use evenfit::{Geometry, Heap, Tiers};

/// Granules between two blocks that must not be neighbours: too many to come from a slab.
pub(crate) const SEPARATOR: usize = 33;

/// A live block.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Where it starts.
    pub ptr: NonNull<u8>,
    /// What it was asked with.
    pub layout: Layout,
}

/// A heap and its region. Both lie at addresses of a fixed alignment, so that a state takes the same path and touches
/// the same lines each time.
pub struct World<G: Geometry> {
    heap: Box<Aligned<G>>,
    region: NonNull<u8>,
    region_layout: Layout,
}

#[repr(align(64))]
struct Aligned<G: Geometry>(Heap<'static, G>);

const REGION_ALIGN: usize = 1 << 20;

/// The length of a region in granules, in which every combination has room. A `Compact` pool can't have more.
const WORLD_GRANULES: usize = 62_000;

impl<G: Geometry> World<G> {
    /// A pool that every combination has room in.
    pub(crate) fn for_all(tiers: Tiers) -> Self {
        Self::new(WORLD_GRANULES * G::GRANULE_BYTES, tiers)
    }

    /// An empty heap over `len_bytes`.
    ///
    /// # Panics
    /// If there is no memory for it, or the heap refuses it.
    pub fn new(len_bytes: usize, tiers: Tiers) -> Self {
        let region_layout = Layout::from_size_align(len_bytes, REGION_ALIGN).expect("small");
        // SAFETY: the layout has a size.
        let region = NonNull::new(unsafe { alloc(region_layout) }).expect("memory");
        // SAFETY: the region is freed when the heap is, and is the heap's alone.
        let heap = unsafe { Heap::from_raw_with(region, len_bytes, tiers) }.expect("long enough");
        Self {
            heap: Box::new(Aligned(heap)),
            region,
            region_layout,
        }
    }

    /// The heap itself.
    pub fn heap(&mut self) -> &mut Heap<'static, G> {
        &mut self.heap.0
    }

    pub(crate) fn try_bytes(&mut self, bytes: usize, align: usize) -> Option<Block> {
        let layout = Layout::from_size_align(bytes, align).expect("small");
        let block = self.heap().allocate(layout).ok()?;
        Some(Block {
            ptr: block.cast(),
            layout,
        })
    }

    /// A block of so many granules; on a fresh heap it follows the one before.
    ///
    /// # Panics
    /// If there is no room.
    pub fn granules(&mut self, granules: usize) -> Block {
        self.try_bytes(granules * G::GRANULE_BYTES, 8)
            .expect("room")
    }

    /// A block of so many granules with a used block behind it.
    pub(crate) fn apart(&mut self, granules: usize) -> Block {
        let block = self.granules(granules);
        self.granules(SEPARATOR);
        block
    }

    /// Frees a live block.
    ///
    /// # Panics
    /// If it is none.
    pub fn free(&mut self, block: Block) {
        // SAFETY: the block is live and not used again.
        unsafe { self.heap().try_deallocate(block.ptr, block.layout) }.expect("a live block");
    }

    /// Takes all of the top.
    pub(crate) fn fill_top(&mut self) {
        let mut bytes = 1 << 30;
        while bytes > 256 {
            while self.try_bytes(bytes, 8).is_some() {}
            bytes /= 2;
        }
        while self.try_bytes(SEPARATOR * G::GRANULE_BYTES, 8).is_some() {}
    }

    /// A free block's companions in its list, allocated but not freed yet.
    pub(crate) fn companions(&mut self, granules: usize, place: Place) -> Vec<Block> {
        let count = match place {
            Place::Only => 0,
            Place::First | Place::Last => 1,
            Place::Middle => 2,
        };
        (0..count).map(|_| self.apart(granules)).collect()
    }

    /// Frees a block so that it stands at `place` among its companions; the latest freed is the first.
    pub(crate) fn free_at(&mut self, block: Block, companions: &[Block], place: Place) {
        let (before, after) = match place {
            Place::Only => (&[][..], &[][..]),
            Place::First => (companions, &[][..]),
            Place::Last => (&[][..], companions),
            Place::Middle => companions.split_at(1),
        };
        before.iter().for_each(|&companion| self.free(companion));
        self.free(block);
        after.iter().for_each(|&companion| self.free(companion));
    }
}

impl<G: Geometry> Drop for World<G> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; the heap's destructor touches nothing.
        unsafe { dealloc(self.region.as_ptr(), self.region_layout) };
    }
}

/// Where in its list a free block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Only,
    First,
    Middle,
    Last,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only => "alone in its list",
            Self::First => "first of its list",
            Self::Middle => "in the middle of its list",
            Self::Last => "last of its list",
        })
    }
}

//! What is driven: any allocator behind one small face.

pub mod next;

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

/// What a heap promises about lengths, places and searches. The model holds it to that.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The unit that the pool is cut into, in bytes.
    pub granule_bytes: usize,
    /// Blocks start at a multiple of it, and sizes are rounded up to one, in bytes.
    pub align_bytes: usize,
    /// The shortest block, in granules.
    pub granules_min: usize,
    /// By so many granules at most a block may be longer than its request rounds to; it may then be
    /// freed with any size between.
    pub granules_over_max: usize,
    /// The search misses no free block that is long enough for a request of fewer granules.
    pub exact_end: usize,
    /// Into how many size classes the search divides a doubling from there on.
    pub classes_per_doubling: usize,
    /// A request aligned above `align_bytes` succeeds wherever the free end of the pool holds it at
    /// its place, and a block moves downwards to any place that is aligned as asked.
    pub aligns_by_place: bool,
    /// Whether `TooLarge` is the answer to requests longer than the pool, and to no other. Else it may
    /// also be that to a request which is longer with its worst padding.
    pub too_large_is_exact: bool,
    /// How long the links in a free block are, in bytes; its first ones.
    pub link_bytes: usize,
    /// Whether links forged in two free blocks, so that they lead to each other, are believed. Those of one block never are.
    pub believes_pairs: bool,
    /// Whether a free block's last 8 bytes begin with its length in granules, as a 32-bit number.
    pub has_footers: bool,
    /// Whether the remainder of the last split is kept out of all lists.
    pub has_rest: bool,
    /// Small requests may come from slabs.
    pub slabs: Option<SlabRules>,
}

/// What a heap promises about its slabs.
#[derive(Clone, Copy, Debug)]
pub struct SlabRules {
    /// The length of a slab in bytes, of which each slot is a part.
    pub slab_bytes: usize,
    /// The slot that a request of a size is rounded to; none where it is a block for sure.
    pub slot_bytes: fn(usize) -> Option<usize>,
    /// The alignment that every slot has, in bytes.
    pub align_bytes: usize,
    /// By so many bytes the slot may be larger that serves a request aligned higher than all slots are.
    pub aligned_over_bytes_max: usize,
    /// Whether a slot is kept for a smaller request where there is no memory for another, so that a block is
    /// made smaller at its alignment always. The slots of its slab may then be freed with such a size.
    pub keeps_slots: bool,
}

/// The largest request that a slab serves.
pub const SLOT_BYTES_MAX: usize = 512;

/// A heap as the driver sees it. The answers are passed on unchanged, never interpreted here.
pub trait Subject: Sized {
    /// Its name in messages.
    const NAME: &'static str;
    /// What it promises.
    const RULES: Rules;
    /// The unit that the pool is cut into, in bytes.
    const GRANULE_BYTES: usize = Self::RULES.granule_bytes;
    /// Whether small requests may come from slabs.
    const HAS_SLABS: bool = Self::RULES.slabs.is_some();

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
    /// As `Heap::largest_free_aligned`, where there is such a question.
    fn largest_free_aligned(&mut self, _align: usize) -> Option<usize> {
        None
    }
    /// As `Heap::stats`.
    fn stats(&self) -> Stats;
    /// As `Heap::blocks`.
    fn blocks(&self) -> impl Iterator<Item = Piece> + '_;
    /// As `Heap::check`.
    fn check(&self) -> Result<(), CheckError>;
}

impl Rules {
    /// Blocks of just as many granules as their requests take, searched in `classes` size classes a doubling, and exactly
    /// below twice as many granules.
    pub const fn exact(
        granule_bytes: usize,
        classes: usize,
        link_bytes: usize,
        slabs: Option<SlabRules>,
    ) -> Self {
        Self {
            granule_bytes,
            align_bytes: granule_bytes,
            granules_min: 1,
            granules_over_max: 0,
            exact_end: 2 * classes,
            classes_per_doubling: classes,
            aligns_by_place: false,
            too_large_is_exact: false,
            link_bytes,
            believes_pairs: false,
            has_footers: false,
            has_rest: false,
            slabs,
        }
    }
}

const SLABS: SlabRules = SlabRules {
    slab_bytes: 2048,
    slot_bytes,
    align_bytes: 8,
    aligned_over_bytes_max: 32,
    keeps_slots: false,
};

/// What a slab rounds a request to.
fn slot_bytes(size: usize) -> Option<usize> {
    match size {
        0 => None,
        1..=128 => Some(size.next_multiple_of(8).max(16)),
        _ => [144, 168, 184, 200, 224, 256, 288, 336, 400, 512]
            .into_iter()
            .find(|slot| size <= *slot),
    }
}

macro_rules! heap_subject {
    ($(#[$doc:meta])* $name:ident, $geometry:ty, $tiers:expr, $classes:literal, $link_bytes:literal) => {
        $(#[$doc])*
        pub struct $name(pub Heap<'static, $geometry>);

        impl Subject for $name {
            const NAME: &'static str = stringify!($name);
            const RULES: Rules = Rules::exact(
                <$geometry as Geometry>::GRANULE_BYTES,
                $classes,
                $link_bytes,
                if matches!($tiers, Tiers::WithSlabs) {
                    Some(SLABS)
                } else {
                    None
                },
            );

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
    Blocks, Standard, Tiers::BlocksOnly, 16, 4
);
heap_subject!(
    /// `Heap<Standard>` with slabs whatever the region's length.
    Slabs, Standard, Tiers::WithSlabs, 16, 4
);
heap_subject!(
    /// `Heap<Compact>`, which has no slabs.
    CompactBlocks, Compact, Tiers::BlocksOnly, 8, 2
);

//! Walking the pool, block by block.

use crate::old::blocks::BlockTier;
use crate::old::map::Mark;
use crate::{Geometry, Heap};

/// A piece of the pool, as [`Heap::blocks`] walks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
    /// A block cut into equal slots for small requests.
    Slab {
        /// The size of a slot, in bytes.
        slot_bytes: usize,
        /// How many of them are used.
        used_slots: usize,
    },
    /// A free block.
    Free,
    /// The tail of the pool behind the last block.
    Top,
}

/// The blocks of a heap in address order: see [`Heap::blocks`].
pub struct Blocks<'heap, G: Geometry> {
    heap: &'heap Heap<'heap, G>,
    granule: usize,
}

impl<G: Geometry> Heap<'_, G> {
    /// Walks all blocks, used and free, and the top, in address order. Each step is O(1).
    ///
    /// Ends early where the map was overwritten; [`check`](Heap::check) names the place.
    pub fn blocks(&self) -> Blocks<'_, G> {
        Blocks {
            heap: self,
            granule: 0,
        }
    }

    /// The address of the pool's first granule: what [`Block::offset_bytes`] counts from.
    pub fn pool_start(&self) -> *const u8 {
        self.blocks.pool.base().as_ptr()
    }
}

impl<G: Geometry> Heap<'_, G> {
    /// Where the block at `start`, below the top, ends; `None` if the map was overwritten there.
    pub(crate) fn block_end(&self, start: usize) -> Option<usize> {
        let BlockTier { map, top, .. } = self.blocks;
        match self.slabs.end_at(start) {
            Some(end) => Some(end).filter(|&end| end <= top),
            // SAFETY: start < top, which is in the map.
            None => unsafe { map.end_by(start, top) },
        }
    }
}

impl<G: Geometry> Iterator for Blocks<'_, G> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let start = self.granule;
        let BlockTier { map, top, end, .. } = self.heap.blocks;
        if start >= end {
            return None;
        }
        let (end, state) = if start == top {
            (end, BlockState::Top)
        } else {
            // SAFETY: start < top, which is in the map.
            match unsafe { map.mark(start) } {
                Mark::Inside => return None,
                mark => {
                    let state = match self.heap.slabs.slab_at(start) {
                        _ if mark == Mark::Free => BlockState::Free,
                        Some(slab) => self.heap.slabs.state(slab, &self.heap.blocks),
                        None => BlockState::Used,
                    };
                    (self.heap.block_end(start)?, state)
                }
            }
        };
        if end > self.heap.blocks.end {
            return None;
        }
        self.granule = end;
        Some(Block {
            offset_bytes: start * G::GRANULE_BYTES,
            size_bytes: (end - start) * G::GRANULE_BYTES,
            state,
        })
    }
}

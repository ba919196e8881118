//! Walking the pool block by block.

use crate::geometry::Geometry;
use crate::heap::Heap;
use crate::tiers::Tiers;
use crate::{Block, BlockState};

/// The blocks of a heap in address order: see [`Heap::blocks`].
pub struct Walk<'heap, T: Tiers, G: Geometry> {
    heap: &'heap Heap<'heap, T, G>,
    granule: usize,
}

impl<T: Tiers, G: Geometry> Heap<'_, T, G> {
    /// Walks all blocks, used and free, and the top, in address order. Each step is O(1).
    ///
    /// The walk ends early if the map was overwritten; [`check`](Heap::check) says where.
    pub fn blocks(&self) -> Walk<'_, T, G> {
        Walk { heap: self, granule: 0 }
    }

    /// The end and the state of the block at `start`, which is below the top. `None` if the map was
    /// overwritten there.
    pub(super) fn block_from(&self, start: usize) -> Option<(usize, BlockState)> {
        let blocks = &self.blocks;
        // SAFETY: `start` is below the top (I8), and `state_at` finds a slab only where all of it
        // is.
        let (len, state) = unsafe {
            let window = blocks.map.window(start);
            if window.is_free_start() {
                (blocks.free_len(start, window), BlockState::Free)
            } else if !window.is_used_start() {
                return None;
            } else if let Some(state) =
                self.slabs().and_then(|slabs| slabs.state_at(start, blocks.top))
            {
                (blocks.slab_len(start), state)
            } else {
                (blocks.used_len(start), BlockState::Used)
            }
        };
        let end = start.checked_add(len)?;
        (len >= crate::blocks::GRANULES_MIN && end <= blocks.top).then_some((end, state))
    }
}

impl<T: Tiers, G: Geometry> Iterator for Walk<'_, T, G> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let start = self.granule;
        let blocks = &self.heap.blocks;
        if start >= blocks.end {
            return None;
        }
        let (end, state) = if start == blocks.top {
            (blocks.end, BlockState::Top)
        } else {
            self.heap.block_from(start)?
        };
        self.granule = end;
        Some(Block {
            offset_bytes: start * G::GRANULE_BYTES,
            size_bytes: (end - start) * G::GRANULE_BYTES,
            state,
        })
    }
}

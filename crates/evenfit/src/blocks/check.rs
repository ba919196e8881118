//! What the integrity check needs to know of the block tier. Nothing here relies on the content of
//! the region.

use super::bins::Bins;
use super::map::{HERE, Map};
use super::{Blocks, Run};
use crate::CheckError;
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    pub(crate) fn is_rest(&self, start: usize) -> bool {
        self.rest != Run::NONE && start == self.rest.start
    }

    /// Whether the map shows the end of a free block before `start`, which is at most the top.
    pub(crate) fn shows_free_before(&self, start: usize) -> bool {
        // SAFETY: the map has all granules up to the end (I8).
        unsafe { self.map.window(start) }.follows_free()
    }

    fn is_marked(&self, granule: usize) -> bool {
        // SAFETY: the callers pass granules up to the end, which the map has (I8).
        unsafe { self.map.window(granule) }.is_marked()
    }

    /// Whether the map has exactly the marks of the block from `start` to `end`, which is below the
    /// top.
    pub(crate) fn marks_agree(&self, start: usize, end: usize, is_free: bool) -> bool {
        let is_edge = |granule: usize| {
            granule == start || is_free && (granule < start + 2 || granule + 2 >= end)
        };
        (start..end).all(|granule| self.is_marked(granule) == is_edge(granule))
    }

    /// Whether the top is marked, and nothing behind it.
    pub(crate) fn top_agrees(&self) -> bool {
        // SAFETY: the top is at most the end, so the map has it (I8).
        let window = unsafe { self.map.window(self.top) };
        // The top's mark, and those of the granules behind it that may share a byte with it.
        let is_marked = window.0 & (0xFF * HERE) == HERE;
        let (top_bit, last_bit) = (self.top + 2, self.end + 2);
        let behind = (top_bit / 8 + 1..Map::bytes(self.end)).all(|byte| {
            // SAFETY: the byte is one of the map's `Map::bytes(end)` (I8).
            byte > last_bit / 8 || unsafe { *self.map.start().as_ptr().add(byte) } == 0
        });
        is_marked && behind
    }

    /// Whether a free block's footer holds its length and its neighbours in the list point back to
    /// it.
    pub(crate) fn is_linked(&self, start: usize, end: usize) -> bool {
        let len = end - start;
        // SAFETY: the block lies below the top, and a link is followed only if it leads below the
        // top. All granules there may be read (I8).
        unsafe {
            let (next, prev) = (self.pool.next(start), self.pool.prev(start));
            let next_agrees = if self.is_below_top(next) {
                self.pool.prev(next as usize) as usize == start
            } else {
                Self::is_end_mark(next)
            };
            let prev_agrees = if self.is_below_top(prev) {
                self.pool.next(prev as usize) as usize == start
            } else {
                Self::is_end_mark(prev)
                    && self.bins.head(Self::bin_of_end_mark(prev)) as usize == start
            };
            self.pool.footer_of(end) == len && next_agrees && prev_agrees
        }
    }

    /// Whether the lists together hold `listed_blocks` free blocks, each in the list of its bin.
    /// Linear in the number of listed blocks.
    pub(crate) fn check_bins(&self, listed_blocks: usize) -> Result<(), CheckError> {
        let mut listed = 0;
        let mut fullest = 0;
        for bin in 0..Bins::<G>::COUNT {
            // SAFETY: `bin < COUNT`. A block is read only if it lies below the top (I8).
            unsafe {
                let mut start = self.bins.head(bin) as usize;
                let ends = super::pool::end_mark(bin) as usize;
                if self.bins.is_filled(bin) != (start != ends) {
                    return Err(CheckError::Bin { bin });
                }
                while start != ends {
                    listed += 1;
                    fullest = bin;
                    // The map shows `listed_blocks` free blocks that must be listed. If the lists
                    // hold more, one of them has a cycle.
                    let is_free = start < self.top && self.map.window(start).is_free_start();
                    if listed > listed_blocks || !is_free || self.is_rest(start) {
                        return Err(CheckError::Bin { bin });
                    }
                    if Bins::<G>::of(self.free_len(start, self.map.window(start)).min(self.end))
                        != bin
                    {
                        return Err(CheckError::Bin { bin });
                    }
                    start = self.pool.next(start) as usize;
                }
            }
        }
        if listed == listed_blocks { Ok(()) } else { Err(CheckError::Bin { bin: fullest }) }
    }
}

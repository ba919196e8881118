//! What the integrity check asks of the block tier. Nothing here relies on what the region holds.

use super::bins::Bins;
use super::map::{HERE, Map};
use super::{Blocks, Run};
use crate::CheckError;
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    pub(crate) fn is_rest(&self, start: usize) -> bool {
        self.rest != Run::NONE && start == self.rest.start
    }

    /// Whether the map shows the end of a free block before `start`, which is in the pool.
    pub(crate) fn shows_free_before(&self, start: usize) -> bool {
        // SAFETY: in the pool.
        unsafe { self.map.window(start) }.follows_free()
    }

    fn is_marked(&self, granule: usize) -> bool {
        // SAFETY: the callers' granules are at most the end.
        unsafe { self.map.window(granule) }.is_marked()
    }

    /// Whether the map has just the marks of the block from `start` to `end`, which are in the pool.
    pub(crate) fn marks_agree(&self, start: usize, end: usize, is_free: bool) -> bool {
        let is_edge = |granule: usize| {
            granule == start || is_free && (granule < start + 2 || granule + 2 >= end)
        };
        (start..end).all(|granule| self.is_marked(granule) == is_edge(granule))
    }

    /// Whether the top is marked, and nothing behind it.
    pub(crate) fn top_agrees(&self) -> bool {
        // SAFETY: in the map.
        let window = unsafe { self.map.window(self.top) };
        // The top itself, and as many granules behind it as may share a byte with it.
        let is_marked = window.0 & (0xFF * HERE) == HERE;
        let (top_bit, last_bit) = (self.top + 2, self.end + 2);
        let behind = (top_bit / 8 + 1..Map::bytes(self.end)).all(|byte| {
            // SAFETY: in the map.
            byte > last_bit / 8 || unsafe { *self.map.start().as_ptr().add(byte) } == 0
        });
        is_marked && behind
    }

    /// Whether a free block's length stands at its end and its list's neighbours point back.
    pub(crate) fn is_linked(&self, start: usize, end: usize) -> bool {
        let len = end - start;
        // SAFETY: the block lies in the pool, and so does what lies below the top.
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

    /// Whether the lists hold `listed_blocks` free blocks, each of its bin.
    pub(crate) fn check_bins(&self, listed_blocks: usize) -> Result<(), CheckError> {
        let mut listed = 0;
        let mut fullest = 0;
        for bin in 0..Bins::<G>::COUNT {
            // SAFETY: the bin is one; what lies below the top is in the pool.
            unsafe {
                let mut start = self.bins.head(bin) as usize;
                let ends = super::pool::end_mark(bin) as usize;
                if self.bins.is_filled(bin) != (start != ends) {
                    return Err(CheckError::Bin { bin });
                }
                while start != ends {
                    listed += 1;
                    fullest = bin;
                    // Every listed block was found free in the map, so more of them than there are is a cycle.
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

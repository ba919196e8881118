//! Freeing: the block is checked against the map, merged with free neighbours, and put into a list or back to the top.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE, Window};
use super::pool::Pool;
use super::{Blocks, GRANULES_MIN, Run};
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

impl<G: Geometry> Blocks<G> {
    /// Frees the block of `layout` at `ptr` if the first look at the map finds it. False: it needs another look, which also names a
    /// misuse; nothing is changed.
    ///
    /// # Safety
    /// If it is a block, it is given up.
    #[inline(never)]
    pub(crate) unsafe fn free(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let start = self.pool.granule_at(ptr);
        if start >= self.top || layout.align() > G::ALIGN_BYTES {
            return false;
        }
        let requested = Pool::<G>::granules(layout.size());
        // SAFETY: the granule lies below the top, so the map shows it.
        unsafe {
            let window = self.map.window(start);
            if requested >= G::SHORT_END {
                let len = self.directory.len_at(start);
                return window.is_long_used(G::SHORT_END)
                    && Self::fits(len, requested)
                    && self.free_merging(start, len, window);
            }
            let len = opaque(window.short_used_len());
            if !Self::fits(len, requested) {
                return false;
            }
            let (blocks, start) = (reread(self), opaque(start));
            let end = start + len;
            if !window.follows_free()
                && !window.shows_free_behind(len)
                && end != blocks.top
                && len < G::SHORT_END
            {
                blocks.map.set(start, NEXT | TWO_BEFORE << len);
                blocks.pool.set_footer(end, len);
                blocks.push_to(len, start);
                blocks.counters.freed(len);
                return true;
            }
            blocks.free_merging(start, len, window)
        }
    }

    /// Frees a block and merges it with what is free before and behind it. False: one of these was overwritten since it was freed, and
    /// nothing is changed; or there is no block.
    ///
    /// # Safety
    /// The map shows no block's start or end from the granule behind `start` on, for `len` granules: it is a used block unless its
    /// `window` shows that it isn't. It is given up.
    #[inline(never)]
    pub(crate) unsafe fn free_merging(&mut self, start: usize, len: usize, window: Window) -> bool {
        // SAFETY: blocks tile the pool (I1); a neighbour's length is the map's and the directory's (I2, I3).
        unsafe {
            let end = start + len;
            let (mut first, mut edge) = (start, NEXT);
            if window.follows_free() {
                let Some(before_len) = self.unlink_before(start) else {
                    return false;
                };
                first -= before_len;
                edge = Self::edge_behind(before_len);
            }
            self.map.flip(start, edge);
            self.counters.freed(len);
            let behind = self.map.window(opaque(end));
            let blocks = reread(self);
            let mut last = end;
            if behind.starts_free() {
                let behind_len = blocks.free_len(end, behind);
                if end == blocks.rest.start {
                    blocks.map.flip(end, Self::edge_before(behind_len));
                    blocks.rest.start = first;
                    return true;
                } else if !blocks.unlink(end) {
                    return blocks.undo_before(start, end, first);
                }
                blocks.map.flip(end, Self::edge_before(behind_len));
                last += behind_len;
            } else if end == blocks.top {
                blocks.set_top(first);
                return true;
            } else {
                blocks.map.set(end, TWO_BEFORE);
            }
            if start == blocks.rest.end {
                blocks.rest.end = last;
                return true;
            }
            blocks.push(Run { start: first, end: last });
        }
        true
    }

    /// What lies behind the block at `start` was overwritten: undoes what was done before it.
    ///
    /// # Safety
    /// The free block from `first` to `start`, if there is one, was taken by `unlink_before`.
    #[cold]
    #[inline(never)]
    unsafe fn undo_before(&mut self, start: usize, end: usize, first: usize) -> bool {
        self.counters.allocated(end - start);
        // SAFETY: as promised by the caller.
        unsafe {
            if first == start {
                self.map.flip(start, NEXT);
            } else {
                self.map.flip(start, Self::edge_behind(start - first));
                if start != self.rest.end {
                    self.relink(first);
                }
            }
        }
        false
    }

    /// The marks to flip where a free block of `len` granules ends and a used one begins, which becomes part of it: those of its
    /// end, but for those that are its start's too, and that of the used block.
    #[inline(always)]
    fn edge_behind(len: usize) -> usize {
        if len < 2 * GRANULES_MIN { len * 2 } else { TWO_BEFORE | HERE }
    }

    /// The marks to flip where a used block ends that becomes part of the free one behind it, of `len` granules: those of its start,
    /// but for those that are its end's too.
    #[inline(always)]
    fn edge_before(len: usize) -> usize {
        if len < 2 * GRANULES_MIN { len * 4 - 8 } else { FREE_START }
    }
}

//! Freeing: the block is validated against the map, merged with its free neighbours, and put into a
//! list or into the top.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE, Window};
use super::pool::Pool;
use super::{Blocks, GRANULES_MIN, Run};
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

impl<G: Geometry> Blocks<G> {
    /// Frees the block of `layout` at `ptr`, in the frequent cases. False: the slow way must look
    /// again, which also names a misuse. Nothing is changed then.
    ///
    /// # Safety
    /// If a live block starts at `ptr`, nothing uses it afterwards.
    #[inline(never)]
    pub(crate) unsafe fn free(&mut self, ptr: NonNull<u8>, layout: Layout) -> bool {
        let start = self.pool.granule_at(ptr);
        if start >= self.top || layout.align() > G::ALIGN_BYTES {
            return false;
        }
        let requested = Pool::<G>::granules(layout.size());
        // SAFETY: `start` is below the top, so map and directory have it (I8). `window` and the
        // length found show that it is a used block (I2), which becomes the heap's.
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

    /// Frees a block and merges it with its free neighbours. False: one of these was overwritten
    /// since it was freed, or no block starts at `start`. Nothing is changed then.
    ///
    /// # Safety
    /// For `len` granules from `start` on, the map shows no other block's start or end. So this is
    /// a used block, unless its `window` shows that none starts there. Nothing uses the block
    /// afterwards.
    #[inline(never)]
    pub(crate) unsafe fn free_merging(&mut self, start: usize, len: usize, window: Window) -> bool {
        debug_assert!(start < self.top && len >= GRANULES_MIN);
        // SAFETY: blocks tile the pool (I1), so both neighbours lie below the top or are the top
        // (I8). Their lengths come from the map and the directory (I2, I3).
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

    /// Undoes what `free_merging` did to the block before `start`, since the one behind was
    /// overwritten.
    ///
    /// # Safety
    /// `unlink_before` has just removed the free block from `first` to `start`, if there is one.
    #[cold]
    #[inline(never)]
    unsafe fn undo_before(&mut self, start: usize, end: usize, first: usize) -> bool {
        debug_assert!(first <= start && start < end && end <= self.top);
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

    /// The marks to flip at the end of a free block of `len` granules when the used block behind it
    /// is merged into it: the free block's last two, without those that are also its first two, and
    /// the used block's first.
    #[inline(always)]
    fn edge_behind(len: usize) -> usize {
        if len < 2 * GRANULES_MIN { len * 2 } else { TWO_BEFORE | HERE }
    }

    /// The marks to flip at the end of a used block when it is merged with the free block of `len`
    /// granules behind it: the free block's first two, without those that are also its last two.
    #[inline(always)]
    fn edge_before(len: usize) -> usize {
        if len < 2 * GRANULES_MIN { len * 4 - 8 } else { FREE_START }
    }
}

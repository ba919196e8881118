//! The lists of free blocks. Each free block except the rest is in the list of its bin.
//!
//! The content of a free block may have been overwritten. So a link is followed only if the block
//! that it leads to points back and is another one. A block's length is read from the map and the
//! directory, never from the pool. Every function reads all that it needs before it writes.

use super::bins::Bins;
use super::map::{FREE_START, TWO_BEFORE};
use super::pool::{Link, end_mark};
use super::{Blocks, Run};
use crate::geometry::Geometry;
use crate::opaque::opaque;

impl<G: Geometry> Blocks<G> {
    /// Puts a free block first in its list. The caller sets its marks.
    ///
    /// # Safety
    /// The block is free, below the top, in no list and not the rest.
    // On a small machine one copy of this code takes 220 bytes less, and 8 instructions more in the
    // worst case.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) unsafe fn push(&mut self, run: Run) {
        let len = run.len();
        debug_assert!(len >= super::GRANULES_MIN && run.end <= self.top);
        // SAFETY: the block is free, so its memory is the heap's (I2); it lies below the top (I8).
        unsafe {
            self.pool.set_footer(run.end, len);
            if len >= G::SHORT_END {
                self.directory.set_len(run.start, len);
            }
            self.push_to(Bins::<G>::of(len), run.start);
        }
    }

    /// # Safety
    /// As for `push`; `bin` is the bin of the block's length.
    #[inline(always)]
    pub(super) unsafe fn push_to(&mut self, bin: usize, start: usize) {
        debug_assert!(start < self.top);
        // SAFETY: the block is free, so its memory is the heap's (I2). A list's head is a free
        // block or the list's end mark (I4).
        unsafe {
            let head = self.bins.head(bin);
            self.pool.set_next(start, head);
            self.pool.set_prev(start, end_mark(bin));
            self.bins.set_head(bin, start as Link);
            if self.is_below_top(head) {
                self.pool.set_prev(head as usize, start as Link);
            } else {
                self.bins.mark_filled(bin);
            }
        }
    }

    /// Removes the first block of a bin from its list. False, and nothing is changed, if its link
    /// was overwritten.
    ///
    /// # Safety
    /// `start` is the bin's head, below the top.
    #[inline(always)]
    pub(super) unsafe fn pop(&mut self, bin: usize, start: usize) -> bool {
        // SAFETY: a granule below the top may be read (I8). A block there is written to only if it
        // points back, so it is listed (I4).
        unsafe {
            debug_assert!(start < self.top && self.bins.head(bin) as usize == start);
            let next = self.pool.next(start);
            if self.is_below_top(next) {
                if self.pool.prev(next as usize) != start as Link || next == start as Link {
                    return false;
                }
                self.pool.set_prev(next as usize, end_mark(bin));
            } else {
                if next != end_mark(bin) {
                    return false;
                }
                self.bins.mark_empty(bin);
            }
            self.bins.set_head(bin, next);
        }
        true
    }

    /// Removes a free block from its list. False, and nothing is changed, if a link was
    /// overwritten.
    ///
    /// # Safety
    /// A block starts at `start`, below the top.
    #[inline(always)]
    pub(super) unsafe fn unlink(&mut self, start: usize) -> bool {
        debug_assert!(start < self.top);
        // SAFETY: a granule below the top may be read (I8), and is written to only if it points
        // back (I4).
        unsafe {
            let next = self.pool.next(start);
            let prev = self.pool.prev(start);
            if self.is_below_top(next) {
                if self.pool.prev(next as usize) != start as Link
                    || !self.relink_before(start, prev, next)
                {
                    return false;
                }
                self.pool.set_prev(next as usize, prev);
            } else {
                if !Self::is_end_mark(next) || !self.relink_before(start, prev, next) {
                    return false;
                }
                if !self.is_below_top(prev) {
                    self.bins.mark_empty(Self::bin_of_end_mark(prev));
                }
            }
        }
        true
    }

    /// Makes the predecessor of the block at `start`, a block or the list's head, point to `next`.
    /// False, and nothing is changed, if it doesn't point to `start`.
    ///
    /// # Safety
    /// As for `unlink`.
    #[inline(always)]
    unsafe fn relink_before(&mut self, start: usize, prev: Link, next: Link) -> bool {
        debug_assert!(start < self.top);
        // SAFETY: a granule below the top may be read (I8), and is written to only if it points
        // back (I4).
        unsafe {
            if self.is_below_top(prev) {
                if self.pool.next(prev as usize) != start as Link || prev == start as Link {
                    return false;
                }
                self.pool.set_next(prev as usize, next);
            } else {
                let bin = Self::bin_of_end_mark(prev);
                if !Self::is_end_mark(prev) || self.bins.head(bin) != start as Link {
                    return false;
                }
                self.bins.set_head(bin, next);
            }
        }
        true
    }

    /// Whether a link leads to a granule that may be read. Otherwise it is an end mark, or was
    /// overwritten.
    #[inline(always)]
    pub(super) fn is_below_top(&self, link: Link) -> bool {
        (link as usize) < self.top
    }

    /// Undoes `unlink`. The block's own links still say where it was.
    ///
    /// # Safety
    /// `unlink` has just succeeded on it, and no list was changed since.
    #[cold]
    pub(super) unsafe fn relink(&mut self, start: usize) {
        debug_assert!(start < self.top);
        // SAFETY: `unlink` has validated both links.
        unsafe {
            let next = self.pool.next(start);
            let prev = self.pool.prev(start);
            if self.is_below_top(next) {
                self.pool.set_prev(next as usize, start as Link);
            }
            if self.is_below_top(prev) {
                self.pool.set_next(prev as usize, start as Link);
            } else {
                let bin = Self::bin_of_end_mark(prev);
                self.bins.set_head(bin, start as Link);
                self.bins.mark_filled(bin);
            }
        }
    }

    #[inline(always)]
    pub(super) fn is_end_mark(link: Link) -> bool {
        Self::bin_of_end_mark(link) < Bins::<G>::COUNT
    }

    #[inline(always)]
    pub(super) fn bin_of_end_mark(link: Link) -> usize {
        !link as usize
    }

    /// Removes the first block of a filled bin from its list. `None`: it was overwritten, or has
    /// fewer than `len_min` granules, so it isn't the one that was found. Nothing is changed then.
    ///
    /// # Safety
    /// The bin is filled.
    #[inline(always)]
    pub(super) unsafe fn pop_head(&mut self, bin: usize, len_min: usize) -> Option<Run> {
        // SAFETY: a filled bin's head is below the top (I4, I5).
        unsafe {
            debug_assert!(self.bins.is_filled(bin));
            let start = self.bins.head(bin) as usize;
            let window = self.map.window(start);
            let len = if bin < G::SHORT_END {
                if !window.is_short_free(opaque(1 << bin)) {
                    return None;
                }
                bin
            } else {
                if !window.is_long_free(G::SHORT_END) || start == self.rest.start {
                    return None;
                }
                let len = self.directory.len_at(start);
                if len < len_min {
                    return None;
                }
                len
            };
            self.pop(bin, start).then_some(Run { start, end: start + len })
        }
    }

    /// Removes the free block that ends before `start` from its list, unless it is the rest, and
    /// returns its length. `None`: it was overwritten, or `start` isn't the start of a block.
    /// Inside a free block no footer leads to a block that ends there by the map.
    ///
    /// # Safety
    /// The map shows a free block's end before `start`.
    #[inline(always)]
    pub(super) unsafe fn unlink_before(&mut self, start: usize) -> Option<usize> {
        debug_assert!(start < self.top);
        // SAFETY: a block ends at `start`, so its footer may be read. The length in it is used only
        // if the map and the directory agree (I2, I3).
        unsafe {
            if start == self.rest.end {
                return Some(self.rest.len());
            }
            let len = self.pool.footer_of(start);
            let first = start.checked_sub(len)?;
            (self.is_listed(first, len) && self.unlink(first)).then_some(len)
        }
    }

    /// Marks a run as a free block and lists it.
    ///
    /// # Safety
    /// The run belongs to no block and has no marks. Used blocks surround it.
    #[inline(never)]
    pub(super) unsafe fn insert(&mut self, run: Run) {
        debug_assert!(run.len() >= super::GRANULES_MIN && run.end <= self.top);
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.set(run.start, FREE_START);
            self.map.set(run.end, TWO_BEFORE);
            self.push(run);
        }
    }

    /// Removes a free block from its list, or from being the rest. False: it was overwritten, and
    /// nothing is changed.
    ///
    /// # Safety
    /// A free block starts at `start`, below the top.
    #[inline(never)]
    pub(super) unsafe fn remove(&mut self, start: usize) -> bool {
        debug_assert!(start < self.top);
        if start == self.rest.start {
            self.rest = Run::NONE;
            return true;
        }
        // SAFETY: as promised by the caller.
        unsafe { self.unlink(start) }
    }
}

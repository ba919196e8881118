//! Freeing: the block is checked against the map, merged with free neighbours, and put into a list or back to the top.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE, Window};
use super::pool::Pool;
use super::{Blocks, GRANULES_MIN, NO_REST};
use crate::FreeError;
use crate::geometry::Geometry;
use crate::opaque::{opaque, reread};

/// Whether an address is a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) fn is_aligned(ptr: NonNull<u8>, align: usize) -> bool {
    ptr.addr().get() & (align - 1) == 0
}

impl<G: Geometry> Blocks<G> {
    /// Frees the block of `layout` at `ptr` if the first look at the map finds it. False: it needs another look, which also names a
    /// misuse; nothing is changed.
    ///
    /// # Safety
    /// If it is a block, it is given up.
    #[inline(always)]
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
            if !window.follows_free() {
                if !window.shows_free_behind(len) && end != blocks.top && len < G::SHORT_END {
                    blocks.map.set(start, NEXT | TWO_BEFORE << len);
                    blocks.pool.set_footer(end, len);
                    blocks.push_to(len, start);
                    blocks.count_freed(len);
                    return true;
                }
                // Just before the rest, it becomes part of the rest.
                if end == blocks.rest && blocks.rest_len() >= 2 * GRANULES_MIN {
                    blocks.map.flip(start, NEXT | FREE_START << len);
                    blocks.rest = start;
                    blocks.count_freed(len);
                    return true;
                }
            }
            blocks.free_merging(start, len, window)
        }
    }

    /// Frees the block of a slab, and returns its length. `None`: what surrounds it was overwritten, and nothing is changed.
    ///
    /// # Safety
    /// A slab begins there, and is given up.
    #[inline(always)]
    pub(crate) unsafe fn free_slab(&mut self, start: usize) -> Option<usize> {
        // SAFETY: as promised by the caller.
        unsafe {
            let window = self.map.window(start);
            // It was most likely cut from the rest.
            let end = start + Self::SLAB_LEN;
            if end == self.rest && self.rest_len() >= 2 * GRANULES_MIN && !window.follows_free() {
                self.map.flip(start, NEXT);
                self.map.flip(end, FREE_START);
                self.rest = start;
                self.count_freed(Self::SLAB_LEN);
                return Some(Self::SLAB_LEN);
            }
            let len = self.slab_len(start);
            self.free_merging(start, len, window).then_some(len)
        }
    }

    /// The length of the block at `start` that is a slab: a granule more than a slab's, if it would have been left alone.
    ///
    /// # Safety
    /// A slab begins there.
    #[inline(always)]
    pub(crate) unsafe fn slab_len(&self, start: usize) -> usize {
        // SAFETY: where the slab ends, a block or the top begins, or a granule later.
        let behind = unsafe { self.map.window(start + Self::SLAB_LEN) };
        Self::SLAB_LEN + !behind.is_marked() as usize
    }

    /// Whether a block of `len` granules may be that of a request that needs so many: it can have got one more.
    #[inline(always)]
    fn fits(len: usize, requested: usize) -> bool {
        len.wrapping_sub(requested) <= 1
    }

    /// The used block at `ptr`, if it may be of `layout`: its first granule and its length. Without a layout, whatever its length.
    pub(crate) fn used_block(
        &self,
        ptr: NonNull<u8>,
        layout: Option<Layout>,
    ) -> Result<(usize, usize), FreeError> {
        let start = self.pool.granule_at(ptr);
        if start >= self.top {
            return Err(self.why_no_block(ptr));
        }
        // SAFETY: below the top.
        let (window, len) = unsafe { (self.map.window(start), self.used_len(start)) };
        // A long block of no long length is a slab: no block of a caller's.
        if !window.is_used_start() || window.is_long_used(G::SHORT_END) && len < G::SHORT_END {
            return Err(self.why_no_block(ptr));
        }
        // Only a directory that was written over has a longer one.
        if len > self.top - start {
            return Err(FreeError::Corrupt);
        }
        if let Some(layout) = layout {
            let requested = Pool::<G>::granules(layout.size());
            if !Self::fits(len, requested) || !is_aligned(ptr, layout.align()) {
                return Err(FreeError::WrongLayout);
            }
        }
        Ok((start, len))
    }

    /// Names what is wrong with a pointer that is no block's.
    #[cold]
    fn why_no_block(&self, ptr: NonNull<u8>) -> FreeError {
        let offset_bytes = self.pool.offset_bytes(ptr);
        let granule = offset_bytes / G::GRANULE_BYTES;
        if granule >= self.end {
            return FreeError::OutsidePool;
        }
        if !offset_bytes.is_multiple_of(G::GRANULE_BYTES) {
            return FreeError::NotABlock;
        }
        // SAFETY: in the pool.
        if granule >= self.top || unsafe { self.map.shows_free_around(granule) } {
            FreeError::AlreadyFree
        } else {
            FreeError::NotABlock
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
            let (mut first, mut edge) = (start, NEXT);
            if window.follows_free() {
                let Some(before_len) = self.take_free_before(start) else {
                    return false;
                };
                first -= before_len;
                edge = Self::edge_behind(before_len);
            }
            self.map.flip(start, edge);
            self.count_freed(len);
            let end = start + len;
            let behind = self.map.window(opaque(end));
            let blocks = reread(self);
            let mut last = end;
            if behind.starts_free() {
                let behind_len = blocks.free_len(end, behind);
                if end == blocks.rest {
                    blocks.map.flip(end, Self::edge_before(behind_len));
                    blocks.rest = first;
                    return true;
                } else if !blocks.unlink(end) {
                    return blocks.undo_before(start, end, first);
                }
                blocks.map.flip(end, Self::edge_before(behind_len));
                last += behind_len;
            } else if end == blocks.top {
                return blocks.lower_top(first);
            } else {
                blocks.map.set(end, TWO_BEFORE);
            }
            if start == blocks.rest_end {
                blocks.rest_end = last;
                return true;
            }
            blocks.push(first, last - first);
        }
        true
    }

    /// What lies behind the block at `start` was overwritten: undoes what was done before it.
    ///
    /// # Safety
    /// The free block from `first` to `start`, if there is one, was taken by `take_free_before`.
    #[cold]
    #[inline(never)]
    unsafe fn undo_before(&mut self, start: usize, end: usize, first: usize) -> bool {
        self.counters.live = self.counters.live.wrapping_add(1);
        self.counters.used = self.counters.used.wrapping_add(end - start);
        // SAFETY: as promised by the caller.
        unsafe {
            if first == start {
                self.map.flip(start, NEXT);
            } else {
                self.map.flip(start, Self::edge_behind(start - first));
                if start != self.rest_end {
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
        if len < 2 * GRANULES_MIN {
            len * 2
        } else {
            TWO_BEFORE | HERE
        }
    }

    /// The marks to flip where a used block ends that becomes part of the free one behind it, of `len` granules: those of its start,
    /// but for those that are its end's too.
    #[inline(always)]
    fn edge_before(len: usize) -> usize {
        if len < 2 * GRANULES_MIN {
            len * 4 - 8
        } else {
            FREE_START
        }
    }

    /// Takes the free block that ends before `start` out of its list, if it isn't the rest, and returns its length. `None`: it was
    /// overwritten, or `start` isn't a block's: inside a free block no footer leads to one that the map shows to end there.
    ///
    /// # Safety
    /// The map shows a free block's end before `start`.
    #[inline(always)]
    unsafe fn take_free_before(&mut self, start: usize) -> Option<usize> {
        // SAFETY: what is read lies in the pool. The footer is believed only if the map and the directory agree.
        unsafe {
            if start == self.rest_end {
                return Some(self.rest_len());
            }
            let len = self.pool.footer_of(start);
            let first = start.checked_sub(len)?;
            (self.is_listed(first, len) && self.unlink(first)).then_some(len)
        }
    }

    /// Takes a free block out of its list, or out of being the rest. False: it was overwritten, and nothing is changed.
    ///
    /// # Safety
    /// A free block starts at `start`, below the top.
    #[inline(never)]
    pub(super) unsafe fn take_free(&mut self, start: usize) -> bool {
        if start == self.rest {
            (self.rest, self.rest_end) = (NO_REST, NO_REST);
            return true;
        }
        // SAFETY: as promised by the caller.
        unsafe { self.unlink(start) }
    }

    /// The free block at `start` is marked as one, and belongs to the unused end from now on. Always true.
    ///
    /// # Safety
    /// It is the last one below the top, in no list, and may be the rest.
    #[inline(never)]
    unsafe fn lower_top(&mut self, start: usize) -> bool {
        self.top_peak = self.top_peak();
        if start == self.rest {
            (self.rest, self.rest_end) = (NO_REST, NO_REST);
        }
        // SAFETY: in the pool, or at its end.
        unsafe {
            self.map.clear(self.top, HERE);
            self.map.clear(start, NEXT);
        }
        self.top = start;
        true
    }

    #[inline(always)]
    fn count_freed(&mut self, len: usize) {
        self.counters.live = self.counters.live.wrapping_sub(1);
        self.counters.used = self.counters.used.wrapping_sub(len);
    }
}

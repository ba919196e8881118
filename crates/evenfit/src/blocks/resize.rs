//! Resizing: in place, forwards; or downwards, into the free block before.

use core::ptr::NonNull;

use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN};
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    /// Makes a block `new_len` granules long where it is, or one more. False: what follows it has no room or was overwritten, and
    /// nothing is changed. To shrink never fails but for that.
    ///
    /// # Safety
    /// A used block of `len` granules starts at `start`, and what it gives up is nobody's.
    #[inline(always)]
    pub(crate) unsafe fn resize(&mut self, start: usize, len: usize, new_len: usize) -> bool {
        debug_assert!(new_len >= GRANULES_MIN);
        let end = start + len;
        // SAFETY: the block and what follows it lie in the pool.
        unsafe {
            if new_len == len {
                return true;
            }
            if new_len > len && end != self.top && !self.map.window(end).starts_free() {
                return false;
            }
            self.resize_into(start, len, new_len)
        }
    }

    /// As `resize`, where it isn't known at once what to do.
    ///
    /// # Safety
    /// As for `resize`.
    #[inline(never)]
    unsafe fn resize_into(&mut self, start: usize, len: usize, new_len: usize) -> bool {
        let end = start + len;
        // SAFETY: what follows the block is taken only if it is free (I2).
        unsafe {
            if end == self.top {
                if new_len > self.end - start {
                    return false;
                }
                self.top_peak = self.top_peak();
                self.map.clear(end, HERE);
                self.map.set(start + new_len, HERE);
                self.top = start + new_len;
                self.recount(start, len, new_len);
                return true;
            }
            let behind = self.map.window(end);
            let mut limit = end;
            let mut was_rest = false;
            if behind.starts_free() {
                limit += self.free_len(end, behind);
                if new_len > limit - start {
                    return false;
                }
                was_rest = end == self.rest;
                if !self.take_free(end) {
                    return false;
                }
                self.map.clear(end, FREE_START);
            } else if new_len > len {
                return false;
            } else if new_len + 1 == len {
                // A granule alone can't be a block.
                return true;
            }
            let new_len = self.split_used(start, new_len, limit, was_rest);
            self.recount(start, len, new_len);
        }
        true
    }

    /// Moves a block downwards, over the free block before it, and makes it `new_len` granules long, or one more; `payload_bytes` of
    /// its content move with it. `None`: there is no such free block, it has no room with what follows, it isn't aligned to `align`
    /// bytes, or it was overwritten; nothing is changed then.
    ///
    /// # Safety
    /// As for `resize`; the block has so much content.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn resize_downwards(
        &mut self,
        start: usize,
        len: usize,
        new_len: usize,
        align: usize,
        payload_bytes: usize,
    ) -> Option<NonNull<u8>> {
        let end = start + len;
        // SAFETY: as in `resize`, before the block too.
        unsafe {
            if !self.map.window(start).follows_free() {
                return None;
            }
            let before_len = if start == self.rest_end {
                self.rest_len()
            } else {
                self.pool.footer_of(start)
            };
            if before_len.wrapping_sub(GRANULES_MIN) >= start {
                return None;
            }
            let first = start - before_len;
            let behind = self.map.window(end);
            let limit = if end == self.top {
                self.end
            } else if behind.starts_free() {
                end + self.free_len(end, behind)
            } else {
                end
            };
            let moved = self.pool.block_at(first);
            if new_len > limit - first || !super::is_aligned(moved, align) {
                return None;
            }
            let is_rest = first == self.rest && start == self.rest_end;
            if !is_rest && !self.is_listed(first, before_len) || !self.take_free(first) {
                return None;
            }
            if end != self.top && end != limit {
                if !self.take_free(end) {
                    if is_rest {
                        (self.rest, self.rest_end) = (first, start);
                    } else {
                        self.relink(first);
                    }
                    return None;
                }
                self.map.clear(end, FREE_START);
            }
            self.map.clear(start, TWO_BEFORE | HERE);
            self.map.clear(first, NEXT);
            self.map.set(first, HERE);
            crate::sanitizer::moving(moved, payload_bytes);
            moved.copy_from(self.pool.block_at(start), payload_bytes);
            let new_len = if end == self.top {
                self.top_peak = self.top_peak();
                self.map.clear(end, HERE);
                self.map.set(first + new_len, HERE);
                self.top = first + new_len;
                new_len
            } else {
                self.split_used(first, new_len, limit, false)
            };
            self.recount(first, len, new_len);
            Some(moved)
        }
    }

    /// Of a run from `start` to `limit`, whose first granule alone is marked but for what may be left of a free block's end, the first
    /// `len` granules become a used block, and what is left a free one. Returns the block's length: one more where a granule alone would be left.
    ///
    /// # Safety
    /// The run is nobody's but the block's owner's, and in no list.
    #[inline(never)]
    unsafe fn split_used(
        &mut self,
        start: usize,
        len: usize,
        limit: usize,
        left_is_rest: bool,
    ) -> usize {
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.clear(limit, TWO_BEFORE);
            self.map.set(start, HERE);
            let left = limit - start - len;
            if left < GRANULES_MIN {
                return len + left;
            }
            self.map.set(start + len, FREE_START);
            self.map.set(limit, TWO_BEFORE);
            if left_is_rest {
                (self.rest, self.rest_end) = (start + len, limit);
            } else {
                self.push(start + len, left);
            }
        }
        len
    }

    /// A used block of `len` granules became one of `new_len`.
    #[inline(always)]
    unsafe fn recount(&mut self, start: usize, len: usize, new_len: usize) {
        if new_len >= G::SHORT_END {
            // SAFETY: the block lies in the pool.
            unsafe { self.directory.set_len(start, new_len) };
        }
        self.counters.used = self.counters.used.wrapping_sub(len);
        self.count_used(new_len);
    }
}

//! Resizing: in place, forwards; or downwards, into the free block before.

use core::ptr::NonNull;

use super::map::{FREE_START, HERE, TWO_BEFORE};
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
                self.move_top(start + new_len);
                if new_len >= G::SHORT_END {
                    self.directory.set_len(start, new_len);
                }
                self.recount_used(len, new_len);
                return true;
            }
            let mut limit = end;
            let mut was_rest = false;
            let behind = self.map.window(end);
            if behind.starts_free() {
                limit += self.free_len(end, behind);
                was_rest = end == self.rest;
                if new_len > limit - start || !self.take_free(end) {
                    return false;
                }
                self.map.clear(end, FREE_START);
            } else if new_len + 1 == len {
                // A granule alone can't be a block.
                return true;
            }
            let new_len = self.split_used(start, new_len, limit, was_rest);
            self.recount_used(len, new_len);
        }
        true
    }

    /// A used block of `len` granules has become one of `new_len`.
    #[inline(always)]
    fn recount_used(&mut self, len: usize, new_len: usize) {
        self.counters.used = self.counters.used.wrapping_sub(len);
        self.count_used(new_len);
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
        // SAFETY: the block and its neighbours lie in the pool. When it is merged with them, the free block's links lie in what was
        // free before; its footer may lie in the block's last eight bytes, which are put back.
        unsafe {
            let window = self.map.window(start);
            if !window.follows_free() {
                return None;
            }
            let end = start + len;
            let before_len = if start == self.rest_end {
                self.rest_len()
            } else {
                self.pool.footer_of(start)
            };
            // A footer may have been overwritten: merging finds out.
            let first = start.checked_sub(before_len)?;
            let behind = self.map.window(end);
            let room_behind = if end == self.top {
                self.end - end
            } else if behind.starts_free() {
                self.free_len(end, behind)
            } else {
                0
            };
            let moved = self.pool.block_at(first);
            if new_len > before_len + len + room_behind || !super::is_aligned(moved, align) {
                return None;
            }
            let last_bytes = self.pool.last_bytes_of(end);
            if !self.free_merging(start, len, window) {
                return None;
            }
            self.pool.set_last_bytes(end, last_bytes);
            let limit = if self.top <= first {
                self.move_top(first + new_len);
                self.top
            } else {
                let limit = first + self.free_len(first, self.map.window(first));
                let is_taken = self.take_free(first);
                debug_assert!(is_taken, "it has just been listed");
                self.map.clear(first, FREE_START);
                limit
            };
            crate::sanitizer::moving(self.pool.block_at(start), moved, payload_bytes);
            self.pool.move_down(start, first, payload_bytes);
            self.counters.live = self.counters.live.wrapping_add(1);
            let new_len = self.split_used(first, new_len, limit, false);
            self.count_used(new_len);
            Some(moved)
        }
    }

    /// The end of the last block, and the beginning of what was never used, moves; the marks between are none.
    ///
    /// # Safety
    /// What lies between is nobody's but the last block's owner's.
    unsafe fn move_top(&mut self, top: usize) {
        self.top_peak = self.top_peak();
        // SAFETY: the top lies in the pool, or at its end.
        unsafe {
            self.map.clear(self.top, HERE);
            self.map.set(top, HERE);
        }
        self.top = top;
    }

    /// Of a run from `start` to `limit`, in which nothing is marked but its last two granules and perhaps `start`, the first `len`
    /// granules become a used block. What is left becomes a free one, and the rest if there is none and it is to be. Returns the
    /// block's length: one more where a granule would be left.
    ///
    /// # Safety
    /// The run is nobody's but the block's owner's, and in no list.
    #[inline(never)]
    pub(super) unsafe fn split_used(
        &mut self,
        start: usize,
        len: usize,
        limit: usize,
        left_is_rest: bool,
    ) -> usize {
        let mut len = len;
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.clear(limit, TWO_BEFORE);
            self.map.set(start, HERE);
            if limit - start - len < GRANULES_MIN {
                len = limit - start;
            } else if left_is_rest {
                self.map.set(start + len, FREE_START);
                self.map.set(limit, TWO_BEFORE);
                (self.rest, self.rest_end) = (start + len, limit);
            } else {
                self.add_free(start + len, limit);
            }
            if len >= G::SHORT_END {
                self.directory.set_len(start, len);
            }
        }
        len
    }

    /// Marks a run as a free block and lists it.
    ///
    /// # Safety
    /// It is nobody's, has no marks, and used blocks around it.
    #[inline(never)]
    pub(super) unsafe fn add_free(&mut self, start: usize, end: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.set(start, FREE_START);
            self.map.set(end, TWO_BEFORE);
            self.push(start, end - start);
        }
    }
}

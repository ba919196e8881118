//! Resizing: in place, forwards; or downwards, into the free block before.

use core::ptr::NonNull;

use super::map::{FREE_START, HERE, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Run};
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    /// Makes a block `new_len` granules long where it is, or one more. False: what follows it has no room
    /// or was overwritten, and nothing is changed. To shrink never fails but for that. O(1).
    ///
    /// # Safety
    /// A used block of `len` granules starts at `start`, and what it gives up is nobody's.
    #[inline(never)]
    pub(crate) unsafe fn resize(&mut self, start: usize, len: usize, new_len: usize) -> bool {
        debug_assert!(new_len >= GRANULES_MIN);
        if new_len == len {
            return true;
        }
        let end = start + len;
        // SAFETY: the block and what follows it lie in the pool; what follows is used only if it is free (I2).
        unsafe {
            let behind = self.map.window(end);
            let resized = if end == self.top {
                if new_len > self.end - start {
                    return false;
                }
                self.set_top(start + new_len);
                new_len
            } else if behind.starts_free() {
                let limit = end + self.free_len(end, behind);
                let was_rest = end == self.rest.start;
                if new_len > limit - start || !self.remove(end) {
                    return false;
                }
                self.map.clear(end, FREE_START);
                self.split(Run { start, end: limit }, new_len, was_rest)
            } else if new_len > len {
                return false;
            } else {
                self.split(Run { start, end }, new_len, false)
            };
            if resized >= G::SHORT_END {
                self.directory.set_len(start, resized);
            }
            self.counters.resized(len, resized);
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
        // SAFETY: the block and its neighbours lie in the pool. When it is merged with them, the free block's links lie in what was
        // free before; its footer may lie in the block's last eight bytes, which are put back.
        unsafe {
            let window = self.map.window(start);
            if !window.follows_free() {
                return None;
            }
            let end = start + len;
            let before_len = if start == self.rest.end {
                self.rest.len()
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
            let mut limit = first + new_len;
            if self.top <= first {
                self.set_top(limit);
            } else {
                limit = first + self.free_len(first, self.map.window(first));
                let is_removed = self.remove(first);
                debug_assert!(is_removed, "it has just been listed");
                self.map.clear(first, FREE_START);
            }
            crate::sanitizer::moving(self.pool.block_at(start), moved, payload_bytes);
            self.pool.move_down(start, first, payload_bytes);
            let run = Run {
                start: first,
                end: limit,
            };
            let len = self.split(run, new_len, false);
            Some(self.allocated(first, len).cast())
        }
    }

    /// The first `len` granules of a run become a used block, and what is left a free one: the rest, if
    /// it is to be and there is none. Returns the block's length: one more where a granule would be left.
    ///
    /// # Safety
    /// The run is nobody's but the block's owner's and in no list. Nothing is marked in it but its last
    /// two granules and perhaps its first.
    #[inline(never)]
    pub(super) unsafe fn split(&mut self, run: Run, len: usize, left_is_rest: bool) -> usize {
        debug_assert!(len <= run.len());
        let left = Run {
            start: run.start + len,
            end: run.end,
        };
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.clear(run.end, TWO_BEFORE);
            self.map.set(run.start, HERE);
            if left.len() < GRANULES_MIN {
                return run.len();
            }
            if left_is_rest {
                debug_assert!(self.rest == Run::NONE);
                self.map.set(left.start, FREE_START);
                self.map.set(left.end, TWO_BEFORE);
                self.rest = left;
            } else {
                self.insert(left);
            }
        }
        len
    }
}

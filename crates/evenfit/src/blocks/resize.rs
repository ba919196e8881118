//! Resizing in place: the block grows into the free memory behind it, or leaves its end free.

use super::map::{FREE_START, HERE, TWO_BEFORE};
use super::{Blocks, GRANULES_MIN, Run};
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    /// Makes a block `new_len` granules long where it is, or one more. False: what follows it is
    /// too short or was overwritten, and nothing is changed. Shrinking fails only if what follows
    /// was overwritten. O(1).
    ///
    /// # Safety
    /// A used block of `len` granules starts at `start`, and nothing uses what it loses.
    #[inline(never)]
    pub(crate) unsafe fn resize(&mut self, start: usize, len: usize, new_len: usize) -> bool {
        debug_assert!(len >= GRANULES_MIN && start + len <= self.top);
        debug_assert!(new_len >= GRANULES_MIN);
        if new_len == len {
            return true;
        }
        let end = start + len;
        // SAFETY: the block and what follows it lie below the top, or it is the last block (I1,
        // I8). What follows is used only if it is free (I2).
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

    /// Makes the first `len` granules of a run a used block, and the others a free block or the
    /// rest. Returns the used block's length: one more than `len` where a single granule would be
    /// left.
    ///
    /// # Safety
    /// The run belongs to no other block, and is in no list. It has no marks but those of its last
    /// two granules and perhaps of its first. There is no rest if `left_is_rest`.
    #[inline(never)]
    pub(super) unsafe fn split(&mut self, run: Run, len: usize, left_is_rest: bool) -> usize {
        debug_assert!(len >= GRANULES_MIN && run.end <= self.top);
        debug_assert!(len <= run.len());
        let left = Run { start: run.start + len, end: run.end };
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

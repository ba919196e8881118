//! The last resort of a reallocation: the block moves down, over the free block before it.

use core::ptr::NonNull;

use super::map::FREE_START;
use super::{Blocks, Run};
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    /// Moves a block downwards, over the free block before it, and makes it `new_len` granules
    /// long, or one more. The first `payload_bytes` of its content move with it. `None`, with
    /// nothing changed: there is no free block before it, or it was overwritten, or together with
    /// what follows it is too short, or it isn't aligned to `align` bytes.
    ///
    /// # Safety
    /// A used block of `len` granules starts at `start` and has at least `payload_bytes` bytes.
    /// Nothing uses what it loses.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn move_down(
        &mut self,
        start: usize,
        len: usize,
        new_len: usize,
        align: usize,
        payload_bytes: usize,
    ) -> Option<NonNull<u8>> {
        debug_assert!(start + len <= self.top && align.is_power_of_two());
        // SAFETY: the block and its neighbours lie below the top (I1, I8). Merging writes links
        // only into memory that was free before. It may write the footer into the block's last
        // eight bytes, so these are saved and restored.
        unsafe {
            let window = self.map.window(start);
            if !window.follows_free() {
                return None;
            }
            let end = start + len;
            let before_len =
                if start == self.rest.end { self.rest.len() } else { self.pool.footer_of(start) };
            // The footer may have been overwritten. Merging validates it.
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
            crate::sanitizer::unpoison_move(self.pool.block_at(start), moved, payload_bytes);
            self.pool.copy_down(start, first, payload_bytes);
            let run = Run { start: first, end: limit };
            let len = self.split(run, new_len, false);
            Some(self.allocated(first, len).cast())
        }
    }
}

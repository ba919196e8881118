//! The last resort of a reallocation: the block moves down, over the free block before it.

use core::ptr::NonNull;

use super::map::FREE_START;
use super::{Blocks, Run};
use crate::geometry::Geometry;

impl<G: Geometry> Blocks<G> {
    /// Moves a block downwards, over the free block before it, and makes it `new_len` granules long, or one more; `payload_bytes` of
    /// its content move with it. `None`: there is no such free block, it has no room with what follows, it isn't aligned to `align`
    /// bytes, or it was overwritten; nothing is changed then.
    ///
    /// # Safety
    /// A used block of `len` granules starts at `start`, has `payload_bytes` of content at least, and what
    /// it gives up is nobody's.
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
        // SAFETY: the block and its neighbours lie in the pool. When it is merged with them, the free block's links lie in what was
        // free before; its footer may lie in the block's last eight bytes, which are put back.
        unsafe {
            let window = self.map.window(start);
            if !window.follows_free() {
                return None;
            }
            let end = start + len;
            let before_len =
                if start == self.rest.end { self.rest.len() } else { self.pool.footer_of(start) };
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
            crate::sanitizer::unpoison_move(self.pool.block_at(start), moved, payload_bytes);
            self.pool.copy_down(start, first, payload_bytes);
            let run = Run { start: first, end: limit };
            let len = self.split(run, new_len, false);
            Some(self.allocated(first, len).cast())
        }
    }
}

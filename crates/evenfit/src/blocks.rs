//! The block tier: allocates and frees runs of granules of the pool.
//!
//! # Blocks and the map
//!
//! From its first granule to the *top*, the pool is tiled by blocks, used and free. What lies
//! behind the top was never used, or was freed and merged into it. The map has one bit for each
//! granule:
//!
//! ```text
//!   granule   0   1   2   3   4   5   6   7   8   9  10  11  12  13  14
//!           | used      | free, 5 granules  | used      | used  |top ->
//!   map       1   0   0   1   1   0   1   1   1   0   0   1   0   1   0
//! ```
//!
//! - A used block has a mark at its first granule: `1 0 0 ..`.
//! - A free block has marks at its first two granules and at its last two: `11`, `111`, `1111`,
//!   `11011`, `110011` ...
//! - The top looks like a used block, so that no block behind the last one looks free.
//!
//! A *window* is the map as seen from a granule g, from g - 2 on. Its low four bits say which block
//! starts at g and which block ends there:
//!
//! ```text
//!   g-2 g-1 | g g+1
//!     .  0  | 1  0    a used block starts, and the one before is used
//!     1  1  | 1  0    a used block starts, and the one before is free
//!     .  0  | 1  1    a free block starts
//! ```
//!
//! A short block lies in one window as a whole, together with the edges of its neighbours. So one
//! comparison of a masked window tells whether a used block of exactly this length starts here, and
//! whether its neighbours are used.
//!
//! # Invariants
//! - **I1 (tiling)** The blocks lie one after the other from granule 0 to the top. Each has at
//!   least two granules, no two free ones touch, and the one before the top is used.
//! - **I2 (marks)** The map has the marks of these blocks and of the top, and no others. So memory
//!   that the map shows as free belongs to no caller.
//! - **I3 (lengths)** The directory's entry at the first granule of a long block is the block's
//!   length. Exceptions are the rest, whose length is in `Blocks::rest`, and slabs, whose length is
//!   fixed.
//! - **I4 (lists)** Each free block except the rest is in the list of its bin and in no other. A
//!   list runs from the bin's head to the bin's end mark, and back.
//! - **I5 (filled)** A bin's bit is set exactly if its list has a block.
//! - **I6 (rest)** The rest is a free block. If there is none, it is `Run::NONE`.
//! - **I7 (footers)** The last eight bytes of each listed block hold its length.
//! - **I8 (extent)** The top is at most `end`. The pool has `end` granules, the map
//!   `Map::bytes(end)` bytes, the directory `Directory::bytes(end)` bytes. They don't overlap, and
//!   nothing but this heap accesses them, except for callers inside their blocks. So every granule
//!   below `end` may be looked up in the directory, and every granule up to and including `end` in
//!   the map.
//!
//! A program may overwrite the memory that I4 and I7 are about, after it freed it. So nothing
//! relies on them before it was validated: a block's length by I2 and I3, a link by the link that
//! points back.

#[cfg(feature = "over-alignment")]
mod aligned;
mod allocate;
mod bins;
mod check;
mod directory;
mod find;
mod free;
mod free_list;
mod map;
#[cfg(feature = "move-down")]
mod move_down;
mod pool;
mod resize;
mod validate;

pub(crate) use self::allocate::Allocated;
pub(crate) use self::directory::Directory;
pub(crate) use self::map::{Map, Window};
pub(crate) use self::pool::Pool;
pub(crate) use self::validate::is_aligned;

#[cfg(target_pointer_width = "64")]
use core::ptr::NonNull;

use self::bins::Bins;
use crate::geometry::Geometry;
use crate::opaque::opaque;

/// The length of the shortest block. It has room for two links and a footer, and the map needs two
/// granules to tell a free block from a used one.
pub(crate) const GRANULES_MIN: usize = 2;

/// The granules from `start` to `end`, without `end`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Run {
    /// An empty run, beyond any pool.
    pub(crate) const NONE: Self = Self { start: usize::MAX, end: usize::MAX };

    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }
}

/// What the block tier counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Granules in used blocks.
    pub(crate) used: usize,
    pub(crate) used_peak: usize,
    /// Used blocks.
    pub(crate) live: usize,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Frees and reallocations that were refused.
    pub(crate) refused: u64,
}

impl Counters {
    /// Counts a new block.
    #[inline(always)]
    fn allocated(&mut self, len: usize) {
        self.live = self.live.wrapping_add(1);
        self.add_used(len);
    }

    #[inline(always)]
    fn add_used(&mut self, len: usize) {
        self.used = self.used.wrapping_add(len);
        if self.used > self.used_peak {
            self.used_peak = self.used;
        }
    }

    #[inline(always)]
    fn freed(&mut self, len: usize) {
        self.live = self.live.wrapping_sub(1);
        self.used = self.used.wrapping_sub(len);
    }

    /// A used block of `len` granules has become one of `new_len`.
    #[inline(always)]
    fn resized(&mut self, len: usize, new_len: usize) {
        self.used = self.used.wrapping_sub(len);
        self.add_used(new_len);
    }
}

/// The state of the block tier. A copy of it, together with a copy of the map, the directory and
/// the pool, is another heap.
#[repr(C)]
pub(crate) struct Blocks<G: Geometry> {
    pub(crate) pool: Pool<G>,
    pub(crate) map: Map,
    pub(crate) top: usize,
    /// What was left of the free block that was split last. Short requests are cut from it without
    /// touching a list.
    pub(crate) rest: Run,
    pub(crate) counters: Counters,
    pub(crate) directory: Directory<G>,
    pub(crate) end: usize,
    /// The highest value of the top before it was lowered. It isn't updated while the top rises.
    top_peak: usize,
    bins: Bins<G>,
}

impl<G: Geometry> Blocks<G> {
    /// The length of a slab's block in granules: eight entries of the directory cover as many. It
    /// is also the shortest length of its bin.
    pub(crate) const SLAB_LEN: usize = 8 * G::SHORT_END;

    /// # Safety
    /// Map, directory and pool are as long as `end` granules need, don't overlap, and nothing else
    /// uses them (I8). The map is zero.
    pub(crate) unsafe fn new(map: Map, directory: Directory<G>, pool: Pool<G>, end: usize) -> Self {
        debug_assert!(end >= GRANULES_MIN && end <= G::GRANULES_MAX);
        debug_assert!(end.is_multiple_of(Pool::<G>::GRANULES_ALIGN));
        // SAFETY: granule 0 is below `end`, so the map has it (I8).
        unsafe { map.set(0, map::HERE) };
        Self::without_blocks(map, directory, pool, end)
    }

    fn without_blocks(map: Map, directory: Directory<G>, pool: Pool<G>, end: usize) -> Self {
        Self {
            pool,
            map,
            top: 0,
            rest: Run::NONE,
            counters: Counters::default(),
            directory,
            end,
            top_peak: 0,
            bins: Bins::new(),
        }
    }

    /// A block tier over copies of a map and a directory, without a pool and lists. It is only for
    /// walking.
    ///
    /// # Safety
    /// The copies are as long as a pool of `top` granules needs, and `top` is at most `end`. Their
    /// content may be anything. The result is only walked, which writes nothing.
    #[cfg(target_pointer_width = "64")]
    pub(crate) unsafe fn replica(
        map: Map,
        directory: Directory<G>,
        end: usize,
        top: usize,
        rest: Run,
    ) -> Self {
        debug_assert!(top <= end);
        let is_one = rest.start < rest.end && rest.end <= top;
        Self {
            top,
            rest: if is_one { rest } else { Run::NONE },
            ..Self::without_blocks(map, directory, Pool::new(NonNull::dangling()), end)
        }
    }

    /// The addresses of the counters that a walk from outside needs: the end, the top, the top
    /// before it was lowered, and the rest's start and end.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn counter_words(&self) -> [*const usize; 5] {
        [&self.end, &self.top, &self.top_peak, &self.rest.start, &self.rest.end]
            .map(core::ptr::from_ref)
    }

    /// The granule from which on the pool was never used.
    pub(crate) fn top_peak(&self) -> usize {
        self.top_peak.max(self.top)
    }

    /// Frees all blocks. The peak of the top and the counts of failures are kept.
    pub(crate) fn reset(&mut self) {
        let Counters { failed, refused, .. } = self.counters;
        let top_peak = self.top_peak();
        // SAFETY: the bytes are the map's (I8). No mark lies behind the top (I2), so the whole map
        // is zero afterwards, as `new` requires.
        unsafe {
            self.map
                .start()
                .write_bytes(0, (self.top / 8 + size_of::<usize>()).min(Map::bytes(self.end)));
            *self = Self::new(self.map, self.directory, self.pool, self.end);
        }
        self.top_peak = top_peak;
        self.counters = Counters { failed, refused, ..Counters::default() };
    }

    /// Moves the top. Between the old and the new one there are no marks but that of a free block's
    /// second granule.
    ///
    /// # Safety
    /// The granules between belong to no block, or only to the last one.
    unsafe fn set_top(&mut self, top: usize) {
        debug_assert!(top <= self.end);
        self.top_peak = self.top_peak();
        if top == self.rest.start {
            self.rest = Run::NONE;
        }
        // SAFETY: the old and the new top are at most the pool's end, so the map has them (I8).
        unsafe {
            self.map.clear(self.top, map::HERE);
            self.map.clear(top, map::NEXT);
            self.map.set(top, map::HERE);
        }
        self.top = top;
    }

    /// The length of the used block at `start`, which isn't a slab. If no used block starts there,
    /// the result means nothing.
    ///
    /// # Safety
    /// `start` is below the top.
    #[inline(always)]
    pub(crate) unsafe fn used_len(&self, start: usize) -> usize {
        debug_assert!(start < self.top);
        // SAFETY: as promised by the caller, `start` is below the top (I8).
        unsafe {
            let window = self.map.window(start);
            if window.is_long_used(G::SHORT_END) {
                self.directory.len_at(start)
            } else {
                window.short_used_len()
            }
        }
    }

    /// The length of the free block at `start`. `window` is the map's window there.
    ///
    /// # Safety
    /// A free block starts there, below the top.
    #[inline(always)]
    pub(crate) unsafe fn free_len(&self, start: usize, window: Window) -> usize {
        debug_assert!(start < self.top);
        if start == self.rest.start {
            self.rest.len()
        } else if window.is_long(G::SHORT_END) {
            // SAFETY: `start` is below the top (I8). The block is listed, so the entry is its
            // length (I3).
            unsafe { self.directory.len_at(start) }
        } else {
            window.short_free_len()
        }
    }

    /// Whether, by the map and the directory, a listed free block of `len` granules starts at
    /// `start`.
    ///
    /// # Safety
    /// `start` is below the top.
    #[inline(always)]
    unsafe fn is_listed(&self, start: usize, len: usize) -> bool {
        debug_assert!(start < self.top);
        // SAFETY: as promised by the caller, `start` is below the top (I8).
        unsafe {
            let window = self.map.window(start);
            if len.wrapping_sub(GRANULES_MIN) < G::SHORT_END - GRANULES_MIN {
                window.is_short_free(opaque(1 << len))
            } else {
                window.is_long_free(G::SHORT_END)
                    && self.directory.len_at(start) == len
                    && start != self.rest.start
            }
        }
    }
}

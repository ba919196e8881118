//! The block tier: serves runs of granules out of the pool, and takes them back.
//!
//! # Blocks and the map
//!
//! From its first granule to the *top*, the pool is tiled by blocks, used and free. Behind the top nothing was ever used, or it was all
//! given back. The map has one bit for each granule:
//!
//! ```text
//!   granule   0   1   2   3   4   5   6   7   8   9  10  11  12  13  14
//!           | used      | free, 5 granules  | used      | used  |top ->
//!   map       1   0   0   1   1   0   1   1   1   0   0   1   0   1   0
//! ```
//!
//! - A used block has a mark at its first granule: `1 0 0 ..`.
//! - A free block has marks at its first two granules and at its last two: `11`, `111`, `1111`, `11011`, `110011` ...
//! - The top looks like a used block, so that no block behind the last one looks free.
//!
//! A *window* is the map as seen from a granule g, from g - 2 on. Its low four bits say what starts at g and what ends there:
//!
//! ```text
//!   g-2 g-1 | g g+1
//!     .  0  | 1  0    a used block starts, and the one before is used
//!     1  1  | 1  0    a used block starts, and the one before is free
//!     .  0  | 1  1    a free block starts
//! ```
//!
//! A short block lies in one window as a whole, its neighbours' edges too, so that one comparison of a masked window says: a used
//! block of just this length starts here, and neither neighbour is free.
//!
//! # Invariants
//! - **I1 (tiling)** From granule 0 to the top there is block after block. Each has two granules at least, no two free ones touch, and
//!   the one before the top is used.
//! - **I2 (marks)** The map has the marks of these blocks and of the top, and no other. So what it shows as free is no caller's.
//! - **I3 (lengths)** For each long block, but for the rest and for slabs, the directory's entry at its first granule is its length.
//! - **I4 (lists)** Each free block, but for the rest, is in the list of its bin and in no other; a list runs from the bin's head to
//!   the bin's end mark, and back.
//! - **I5 (filled)** A bin's bit is set if its list has a block.
//! - **I6 (rest)** The rest is a free block, or there is none: it is then `Run::NONE`.
//! - **I7 (footers)** The last eight bytes of each listed block hold its length.
//!
//! I4 and I7 are about memory that a program may have overwritten after it freed it, so nothing relies on them before it was checked:
//! a block's length by I2 and I3, a link by the one that points back.

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

/// The length of the shortest block: room for two links and a footer, and the map needs as much to tell free from used.
pub(crate) const GRANULES_MIN: usize = 2;

/// The granules from `start` to `end`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Run {
    /// No granules, beyond any pool.
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

/// The state of the block tier. Copies of the region that the map and the pool lie in, and of this, are another heap.
#[repr(C)]
pub(crate) struct Blocks<G: Geometry> {
    pub(crate) pool: Pool<G>,
    pub(crate) map: Map,
    pub(crate) top: usize,
    /// What was left of the free block that was split last: short requests are cut from it, without any list.
    pub(crate) rest: Run,
    pub(crate) counters: Counters,
    pub(crate) directory: Directory<G>,
    pub(crate) end: usize,
    /// The highest that the top was before it was lowered.
    top_peak: usize,
    bins: Bins<G>,
}

impl<G: Geometry> Blocks<G> {
    /// How long the block of a slab is, in granules: as many as eight entries of the directory are for,
    /// and the least of its bin.
    pub(crate) const SLAB_LEN: usize = 8 * G::SHORT_END;

    /// # Safety
    /// Map, directory and pool are for `end` granules and apart, and nothing else uses them. The map is zero.
    pub(crate) unsafe fn new(map: Map, directory: Directory<G>, pool: Pool<G>, end: usize) -> Self {
        debug_assert!(end >= GRANULES_MIN && end <= G::GRANULES_MAX);
        debug_assert!(end.is_multiple_of(Pool::<G>::GRANULES_ALIGN));
        // SAFETY: the map has the pool's first granule.
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

    /// A block tier over copies of a map and a directory, with neither a pool nor lists: only good to be walked.
    ///
    /// # Safety
    /// The copies are as long as a pool of `top` granules needs, which is at most `end`; their content may be anything. Nothing but a
    /// walk uses them, which writes nothing.
    #[cfg(target_pointer_width = "64")]
    pub(crate) unsafe fn replica(
        map: Map,
        directory: Directory<G>,
        end: usize,
        top: usize,
        rest: Run,
    ) -> Self {
        let is_one = rest.start < rest.end && rest.end <= top;
        Self {
            top,
            rest: if is_one { rest } else { Run::NONE },
            ..Self::without_blocks(map, directory, Pool::new(NonNull::dangling()), end)
        }
    }

    /// Where what a walk reads is kept: the end, the top, what it was lowered from, and the rest's start and end.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn counter_words(&self) -> [*const usize; 5] {
        [&self.end, &self.top, &self.top_peak, &self.rest.start, &self.rest.end]
            .map(core::ptr::from_ref)
    }

    /// Where the never-used end of the pool begins.
    pub(crate) fn top_peak(&self) -> usize {
        self.top_peak.max(self.top)
    }

    /// Gives all blocks back. The peak of the top and the counts of failures go on.
    pub(crate) fn reset(&mut self) {
        let Counters { failed, refused, .. } = self.counters;
        let top_peak = self.top_peak();
        // SAFETY: no mark lies behind the top; map, directory and pool go on as they are.
        unsafe {
            self.map
                .start()
                .write_bytes(0, (self.top / 8 + size_of::<usize>()).min(Map::bytes(self.end)));
            *self = Self::new(self.map, self.directory, self.pool, self.end);
        }
        self.top_peak = top_peak;
        self.counters = Counters { failed, refused, ..Counters::default() };
    }

    /// Moves the end of the last block, where what was never used begins. Between there are no marks but
    /// that of a free block's second granule.
    ///
    /// # Safety
    /// What lies between is nobody's but the last block's owner's.
    unsafe fn set_top(&mut self, top: usize) {
        self.top_peak = self.top_peak();
        if top == self.rest.start {
            self.rest = Run::NONE;
        }
        // SAFETY: the top lies in the pool, or at its end.
        unsafe {
            self.map.clear(self.top, map::HERE);
            self.map.clear(top, map::NEXT);
            self.map.set(top, map::HERE);
        }
        self.top = top;
    }

    /// The length of the used block at `start`, which isn't a slab.
    ///
    /// # Safety
    /// A used block starts there.
    #[inline(always)]
    pub(crate) unsafe fn used_len(&self, start: usize) -> usize {
        // SAFETY: in the pool.
        unsafe {
            let window = self.map.window(start);
            if window.is_long_used(G::SHORT_END) {
                self.directory.len_at(start)
            } else {
                window.short_used_len()
            }
        }
    }

    /// The length of the free block at `start`, of which `window` is the map's.
    ///
    /// # Safety
    /// A free block starts there.
    #[inline(always)]
    pub(crate) unsafe fn free_len(&self, start: usize, window: Window) -> usize {
        if start == self.rest.start {
            self.rest.len()
        } else if window.is_long(G::SHORT_END) {
            // SAFETY: in the pool; it is listed, so in the directory (I3).
            unsafe { self.directory.len_at(start) }
        } else {
            window.short_free_len()
        }
    }

    /// Whether the map and the directory know a listed free block of `len` granules at `start`.
    ///
    /// # Safety
    /// `start` is below the top.
    #[inline(always)]
    unsafe fn is_listed(&self, start: usize, len: usize) -> bool {
        // SAFETY: in the pool.
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

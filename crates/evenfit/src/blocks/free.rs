//! Freeing: the block is checked against the map, merged with free neighbours, and put into a list or back to the top.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::map::{FREE_START, HERE, NEXT, TWO_BEFORE, Window};
use super::pool::Pool;
use super::{Blocks, GRANULES_MIN, NO_REST};
use crate::FreeError;
use crate::geometry::Geometry;
use crate::hooks::misuse;

/// What a free answers: a `Result`, or nothing where a refusal goes to the misuse hook. The hook is then called where the misuse is
/// found, so that the way of a free that is right keeps nothing for it.
pub(crate) trait Answer {
    const FREED: Self;
    fn refused(refused: Refused) -> Self;
}

/// A free that was refused, and what came with it.
pub(crate) struct Refused {
    pub(crate) error: FreeError,
    pub(crate) ptr: NonNull<u8>,
    pub(crate) layout: Option<Layout>,
}

impl Answer for Result<(), FreeError> {
    const FREED: Self = Ok(());
    #[inline(always)]
    fn refused(refused: Refused) -> Self {
        Err(refused.error)
    }
}

impl Answer for () {
    const FREED: Self = ();
    #[inline(always)]
    fn refused(refused: Refused) -> Self {
        misuse(refused.error, refused.ptr, refused.layout);
    }
}

/// Whether an address is a multiple of `align`, a power of two.
#[inline(always)]
pub(crate) fn is_aligned(ptr: NonNull<u8>, align: usize) -> bool {
    ptr.addr().get() & (align - 1) == 0
}

impl<G: Geometry> Blocks<G> {
    /// Frees the block of `layout` at `ptr` if the first look at the map finds it. `None`: it needs another, which also names a misuse.
    ///
    /// # Safety
    /// If it is a block, it is given up.
    #[inline(always)]
    pub(crate) unsafe fn free<A: Answer>(&mut self, ptr: NonNull<u8>, layout: Layout) -> Option<A> {
        let start = self.pool.granule_at(ptr);
        if start >= self.top || layout.align() > G::ALIGN_BYTES {
            return None;
        }
        let len = Pool::<G>::granules(layout.size());
        // SAFETY: the granule lies below the top, so the map shows it.
        unsafe {
            let window = self.map.window(start);
            if len < G::SHORT_END {
                // What differs from a used block between two used ones. Bit 0 may: it is set if the block before is as short as can be.
                let bit = 1usize << len;
                let differs = (window.0 & (bit * 16 - 1)) ^ (HERE + HERE * bit);
                let end = start + len;
                if differs & !0b01 == 0 && end != self.top {
                    self.map.set(start, NEXT | TWO_BEFORE * bit);
                    self.pool.set_footer(end, len);
                    self.push_to(len, start);
                    self.count_freed(len);
                    return Some(A::FREED);
                }
                if differs & !(0b11 | NEXT * bit) == 0 {
                    return Some(self.free_merging(start, len, window));
                }
            } else if window.is_long_used(G::SHORT_END) && self.directory.len_at(start) == len {
                return Some(self.free_merging(start, len, window));
            }
        }
        None
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
        if let Some(layout) = layout {
            let requested = Pool::<G>::granules(layout.size());
            // A request may have got a granule more than it needs.
            let fits = requested == len || requested + 1 == len;
            if !fits || !is_aligned(ptr, layout.align()) {
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
        if granule >= self.top || unsafe { self.map.window(granule) }.is_free_start() {
            FreeError::AlreadyFree
        } else {
            FreeError::NotABlock
        }
    }

    /// Counts a refusal and answers it.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse<A: Answer>(&mut self, refused: Refused) -> A {
        self.counters.refused = self.counters.refused.wrapping_add(1);
        A::refused(refused)
    }

    /// Frees a block and merges it with what is free before and behind it.
    ///
    /// # Safety
    /// The map shows no block's start or end from the granule behind `start` on, for `len` granules: it is a used block unless its
    /// `window` shows that it isn't. It is given up.
    #[inline(never)]
    pub(crate) unsafe fn free_merging<A: Answer>(
        &mut self,
        start: usize,
        len: usize,
        window: Window,
    ) -> A {
        // SAFETY: blocks tile the pool (I1); a neighbour's length is the map's and the directory's (I2, I3).
        unsafe {
            let end = start + len;
            // The marks of the edge between this block and the one before that don't stay, or those that come.
            let (mut first, mut edge) = (start, NEXT);
            if window.follows_free() {
                if !window.is_used_start() {
                    // The second granule of a free block.
                    let ptr = self.pool.block_at(start);
                    return self.refuse(Refused {
                        error: FreeError::NotABlock,
                        ptr,
                        layout: None,
                    });
                }
                let before_len;
                if start == self.rest_end {
                    first = self.rest;
                    before_len = start - first;
                } else {
                    before_len = self.pool.footer_of(start);
                    // It is at least the shortest, and doesn't begin before the pool.
                    if before_len.wrapping_sub(GRANULES_MIN) >= start {
                        return self.refuse_corrupt(start);
                    }
                    first = start - before_len;
                    if !self.is_listed(first, before_len) || !self.unlink(first) {
                        return self.refuse_corrupt(start);
                    }
                }
                // Marks of its end, but for those that are its start's too, and of this block's start.
                edge = TWO_BEFORE | HERE;
                if before_len < 2 * GRANULES_MIN {
                    edge = before_len * 2;
                }
            }
            let mut last = end;
            let behind = self.map.window(end);
            if behind.starts_free() {
                let behind_len = self.free_len(end, behind);
                if end == self.rest {
                    (self.rest, self.rest_end) = (NO_REST, NO_REST);
                } else if !self.unlink(end) {
                    if first != start && start != self.rest_end {
                        self.relink(first);
                    }
                    return self.refuse_corrupt(start);
                }
                last = end + behind_len;
                // Marks of its start, but for those that are its end's too.
                let mut behind_edge = FREE_START;
                if behind_len < 2 * GRANULES_MIN {
                    behind_edge = behind_len * 4 - 8;
                }
                self.map.flip(start, edge);
                self.map.flip(end, behind_edge);
            } else {
                self.map.flip(start, edge);
                if end != self.top {
                    self.map.set(end, TWO_BEFORE);
                }
            }
            self.count_freed(len);
            if start == self.rest_end {
                (self.rest, self.rest_end) = (NO_REST, NO_REST);
            }
            if last == self.top {
                self.lower_top(first);
            } else {
                self.push(first, last - first);
            }
            A::FREED
        }
    }

    /// The free block at `start` is marked as one, and belongs to the unused end from now on.
    ///
    /// # Safety
    /// It is the last one below the top, and in no list.
    #[inline(never)]
    unsafe fn lower_top(&mut self, start: usize) {
        self.top_peak = self.top_peak();
        // SAFETY: in the pool, or at its end.
        unsafe {
            self.map.clear(self.top, HERE);
            self.map.clear(start, NEXT);
        }
        self.top = start;
    }

    #[inline(always)]
    fn count_freed(&mut self, len: usize) {
        self.counters.live = self.counters.live.wrapping_sub(1);
        self.counters.used = self.counters.used.wrapping_sub(len);
    }

    /// A neighbour of the block was overwritten since it was freed.
    #[cold]
    #[inline(never)]
    fn refuse_corrupt<A: Answer>(&mut self, start: usize) -> A {
        // SAFETY: the block lies in the pool.
        let ptr = unsafe { self.pool.block_at(start) };
        self.refuse(Refused {
            error: FreeError::Corrupt,
            ptr,
            layout: None,
        })
    }
}

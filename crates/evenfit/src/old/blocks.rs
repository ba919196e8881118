//! The block tier: good fit over bins, immediate coalescing, the top outside the bins.
//!
//! Everything here counts in granules; `heap.rs` translates from bytes and pointers.
//! No loop depends on the pool's content: the only ones are the bit scans of single words.
//!
//! **What is believed.** The map and the bins lie outside the reach of a pool's users and are the truth: what is
//! free, and how long, is read there and nowhere else. Links lie in free blocks, where a write after free can reach them,
//! so a block's links are followed only if their seal is whole (see `links.rs`), and a block is handed out only if the
//! map says that it is free and long enough. All of it is read before anything is written, so a call that ends in
//! `Corrupt` has changed nothing.

use crate::old::bins::{Bins, bin_ended_by, bin_of, end_mark, exact_below, max_granules};
use crate::old::geometry::{Geometry, Link};
use crate::old::links::{Node, Pool};
use crate::old::map::{Map, Mark, PAIR_GRANULES};
use crate::old::watch;

/// A link, or a mark of the map, was found overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// Why no block was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakeError {
    NoneFits,
    Corrupt,
}

impl From<Corrupt> for TakeError {
    fn from(_: Corrupt) -> Self {
        Self::Corrupt
    }
}

/// A run of granules `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Run {
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.end - self.start
    }
}

/// The head of a bin.
#[derive(Clone, Copy, Debug)]
struct Found {
    bin: usize,
    run: Run,
}

/// The blocks of one pool.
pub(crate) struct BlockTier<G: Geometry> {
    pub(crate) map: Map,
    pub(crate) pool: Pool<G>,
    /// The first granule that no block holds or precedes: all from here to the end is free.
    pub(crate) top: usize,
    /// The highest the top ever was: no granule from here on was ever part of a block.
    pub(crate) top_peak: usize,
    /// The number of granules.
    pub(crate) end: usize,
    /// Granules in used blocks, now and at most.
    pub(crate) used: usize,
    pub(crate) used_peak: usize,
    pub(crate) bins: Bins<G>,
}

impl<G: Geometry> BlockTier<G> {
    /// All of the pool is top.
    ///
    /// # Safety
    /// `map` was formatted for `granules`, and the pool has so many, at most `max_granules`.
    pub(crate) unsafe fn new(map: Map, pool: Pool<G>, granules: usize) -> Self {
        const {
            assert!(size_of::<Node<G>>() <= G::GRANULE_BYTES);
            assert!(align_of::<Node<G>>() <= G::GRANULE_BYTES);
        }
        debug_assert!(granules <= max_granules::<G>());
        // SAFETY: granule 0 is in the map, even of an empty pool.
        unsafe { map.toggle_used(0) }
        Self {
            map,
            pool,
            top: 0,
            top_peak: 0,
            end: granules,
            used: 0,
            used_peak: 0,
            bins: Bins::new(),
        }
    }

    /// The used block that starts at `granule`, if there is one.
    #[inline(always)]
    pub(crate) fn used_block(&self, granule: usize) -> Option<Run> {
        if granule >= self.top {
            return None;
        }
        // SAFETY: granules below the top are in the map, and end at a mark.
        unsafe {
            match self.map.mark(granule) {
                Mark::Used | Mark::UsedAfterFree => Some(Run {
                    start: granule,
                    end: self.map.end_of(granule),
                }),
                Mark::Inside | Mark::Free => None,
            }
        }
    }

    /// Takes a block of `granules`, at least one, from the bins or the top.
    ///
    /// Good fit: the head of the request's own bin if it is large enough, else the head of the next bin that isn't
    /// empty, else the top.
    #[inline(always)]
    pub(crate) fn take(&mut self, granules: usize) -> Result<usize, TakeError> {
        let Some(found) = self.find(granules) else {
            return self.take_top(granules);
        };
        self.vouch(found, granules)?;
        let Found { bin, run } = found;
        let end = run.start + granules;
        // SAFETY: the block is free and vouched for, and holds start..end.
        unsafe {
            self.remove_head(bin, run.start);
            if end < run.end {
                if Map::covers(run.start, run.end) {
                    self.map.clear_size(run.start, run.end);
                    self.map.write_size(run.start, end);
                }
                self.insert(Run {
                    start: end,
                    end: run.end,
                });
            }
            self.map.claim(run.start, end);
        }
        self.count_taken(granules);
        Ok(run.start)
    }

    /// `take` where a call is cheaper than another copy of it.
    #[inline(never)]
    pub(crate) fn take_by_call(&mut self, granules: usize) -> Result<usize, TakeError> {
        self.take(granules)
    }

    /// Takes a block of `granules` that starts at a multiple of `align` bytes, a power of two above the granule.
    ///
    /// A block that holds `granules` wherever the multiple falls is asked of the bins; what lies before and behind is
    /// given back at once.
    #[inline(never)]
    pub(crate) fn take_aligned(
        &mut self,
        granules: usize,
        align: usize,
    ) -> Result<usize, TakeError> {
        let slack = (align >> Pool::<G>::GRANULE_LOG2) - 1;
        let roomy = granules.checked_add(slack).filter(|&sum| sum <= self.end);
        // A block that fits without the slack may happen to lie well.
        for least in [roomy, Some(granules)].into_iter().flatten() {
            if let Some(found) = self.find(least)
                && let Some(start) = self.aligned(found.run.start, align)
                && start + granules <= found.run.end
            {
                self.vouch(found, granules)?;
                self.carve(found, start, granules);
                return Ok(start);
            }
        }
        self.take_top_aligned(granules, align)
    }

    /// The first granule from `granule` on whose address is a multiple of `align` bytes, if the pool reaches so far.
    fn aligned(&self, granule: usize, align: usize) -> Option<usize> {
        let base = self.pool.base().addr().get();
        let address = base + (granule << Pool::<G>::GRANULE_LOG2);
        let start = (address.checked_next_multiple_of(align)? - base) >> Pool::<G>::GRANULE_LOG2;
        (start < self.end).then_some(start)
    }

    /// A free block that holds `granules`: see `take`.
    #[inline(always)]
    fn find(&self, granules: usize) -> Option<Found> {
        let own = bin_of::<G>(granules);
        let mut bin = own;
        // SAFETY: a request is no larger than the pool, so its bin exists. A bin that isn't empty begins with a free
        // block below the top, as only vouched links and new blocks become heads.
        unsafe {
            if granules >= exact_below::<G>() {
                let head = self.bins.head(own);
                if head != end_mark::<G>(own) {
                    let start = head.unpack();
                    let end = self.map.end_of(start);
                    if end - start >= granules {
                        return Some(Found {
                            bin,
                            run: Run { start, end },
                        });
                    }
                }
                bin = own + 1;
            }
            let bin = self.bins.first_filled(bin)?;
            let start = self.bins.head(bin).unpack();
            let end = self.map.end_of(start);
            Some(Found {
                bin,
                run: Run { start, end },
            })
        }
    }

    /// Takes `granules` from `start` on out of a vouched head that holds them.
    fn carve(&mut self, found: Found, start: usize, granules: usize) {
        let Found { bin, run: block } = found;
        let end = start + granules;
        // SAFETY: the block is free and vouched for; start..end lies in it.
        unsafe {
            self.remove_head(bin, block.start);
            self.map.clear_size(block.start, block.end);
            if block.start < start {
                self.insert(Run {
                    start: block.start,
                    end: start,
                });
            }
            if end < block.end {
                self.insert(Run {
                    start: end,
                    end: block.end,
                });
            }
            self.map.write_size(start, end);
            self.map.claim(start, end);
        }
        self.count_taken(granules);
    }

    #[inline(always)]
    fn take_top(&mut self, granules: usize) -> Result<usize, TakeError> {
        if granules > self.end - self.top {
            return Err(TakeError::NoneFits);
        }
        let start = self.top;
        // SAFETY: start..top is in the pool and was free; its start is marked already, as the top's.
        unsafe { self.move_top(start, start + granules) }
        self.count_taken(granules);
        Ok(start)
    }

    fn take_top_aligned(&mut self, granules: usize, align: usize) -> Result<usize, TakeError> {
        let start = self.aligned(self.top, align).ok_or(TakeError::NoneFits)?;
        if granules > self.end - start {
            return Err(TakeError::NoneFits);
        }
        let lead = Run {
            start: self.top,
            end: start,
        };
        // SAFETY: all of it was top. The block before the lead is used, the lead is free, start's block is used.
        unsafe {
            if lead.len() > 0 {
                self.map.toggle_start(lead.start);
                self.map.toggle_start(start);
                self.insert(lead);
            }
            self.map.toggle_used(start + granules);
            self.map.write_size(start, start + granules);
        }
        self.top = start + granules;
        self.top_peak = self.top_peak.max(self.top);
        self.count_taken(granules);
        Ok(start)
    }

    /// Lets the block at `start`, whose mark is set, end at the new top.
    ///
    /// # Safety
    /// `start < top`, the new one; all between is the block's or the top's, and carries no size words.
    #[inline(always)]
    unsafe fn move_top(&mut self, start: usize, top: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.toggle_used(top);
            self.map.write_size(start, top);
        }
        self.top = top;
        self.top_peak = self.top_peak.max(top);
    }

    #[inline(always)]
    fn count_taken(&mut self, granules: usize) {
        self.used = self.used.wrapping_add(granules);
        if self.used > self.used_peak {
            self.used_peak = self.used;
        }
    }

    /// Gives the used block back and coalesces it with free neighbours and the top.
    ///
    /// # Safety
    /// `block` came from `used_block`.
    #[inline(always)]
    pub(crate) unsafe fn give_back(&mut self, block: Run) -> Result<(), Corrupt> {
        let Run { start, end } = block;
        let map = self.map;
        if end > self.top {
            return Err(Corrupt);
        }
        let mut merged = block;
        // SAFETY: start and end are marked. What lies next to them is read from the map, and the seals of free blocks
        // compared, before anything is written.
        unsafe {
            let free_before = map.mark(start) == Mark::UsedAfterFree;
            let free_after = map.is_free(end);
            if free_before {
                merged.start = map.start_before(start);
                if merged.start >= start || !self.pool.is_sealed(merged.start) {
                    return Err(Corrupt);
                }
            }
            if free_after {
                merged.end = map.end_of(end);
                if merged.end > self.top || !self.pool.is_sealed(end) {
                    return Err(Corrupt);
                }
            }
            if free_before {
                self.remove(merged.start);
            }
            if free_after {
                self.remove(end);
            }
            // No part covers a pair that the whole does not.
            let covers = Map::covers(merged.start, merged.end);
            if covers {
                map.clear_size(merged.start, start);
                map.clear_size(start, end);
                map.clear_size(end, merged.end);
            }
            if end == self.top {
                map.toggle_used(end);
                if free_before {
                    map.toggle_start(merged.start);
                    map.toggle_start(start);
                }
                self.top = merged.start;
            } else {
                map.release(start, end);
                if covers {
                    map.write_covered_size(merged.start, merged.end);
                }
                self.list_in(bin_of::<G>(merged.len()), merged.start);
            }
        }
        self.used = self.used.wrapping_sub(block.len());
        Ok(())
    }

    /// `give_back` where a call is cheaper than another copy of it.
    ///
    /// # Safety
    /// As for `give_back`.
    #[inline(never)]
    pub(crate) unsafe fn give_back_by_call(&mut self, block: Run) -> Result<(), Corrupt> {
        // SAFETY: as promised by the caller.
        unsafe { self.give_back(block) }
    }

    /// The vouched free block that ends where the used block at `start` begins.
    ///
    /// # Safety
    /// A used block starts at `start`.
    #[inline(always)]
    unsafe fn free_before(&self, start: usize) -> Result<Option<Run>, Corrupt> {
        // SAFETY: start is marked, so the free block before it is found from the map.
        unsafe {
            if self.map.mark(start) != Mark::UsedAfterFree {
                return Ok(None);
            }
            let run = Run {
                start: self.map.start_before(start),
                end: start,
            };
            if run.start >= run.end {
                return Err(Corrupt);
            }
            if !self.pool.is_sealed(run.start) {
                return Err(Corrupt);
            }
            Ok(Some(run))
        }
    }

    /// The vouched free block that starts at `end`, where a used block ends; none at the top.
    ///
    /// # Safety
    /// `end` is marked and not beyond the top.
    #[inline(always)]
    unsafe fn free_after(&self, end: usize) -> Result<Option<Run>, Corrupt> {
        // SAFETY: the top is marked as used; a free block below it ends at a mark.
        unsafe {
            if !self.map.is_free(end) {
                return Ok(None);
            }
            let run = Run {
                start: end,
                end: self.map.end_of(end),
            };
            if run.end > self.top {
                return Err(Corrupt);
            }
            if !self.pool.is_sealed(run.start) {
                return Err(Corrupt);
            }
            Ok(Some(run))
        }
    }

    /// Shortens or lengthens a used block where it is, to `granules`, if what follows it allows.
    /// `Ok(false)`: it doesn't.
    ///
    /// # Safety
    /// `block` came from `used_block`; `granules` is at least one.
    #[inline(always)]
    pub(crate) unsafe fn resize(&mut self, block: Run, granules: usize) -> Result<bool, Corrupt> {
        let Run { start, end } = block;
        let Some(new_end) = start
            .checked_add(granules)
            .filter(|&new_end| new_end <= self.end)
        else {
            return Ok(false);
        };
        if new_end == end {
            return Ok(true);
        }
        // SAFETY: what follows the block is the top, a vouched free block or a used block; each case moves the mark
        // between them from end to new_end.
        unsafe {
            if end > self.top {
                return Err(Corrupt);
            }
            if end == self.top {
                self.map.clear_size(start, end);
                self.map.toggle_used(end);
                self.move_top(start, new_end);
            } else {
                let after = self.free_after(end)?;
                let limit = after.map_or(end, |run| run.end);
                if new_end > limit {
                    return Ok(false);
                }
                self.map.clear_size(end, limit);
                self.map.clear_size(start, end);
                self.map.toggle_end(end);
                self.map.toggle_end(new_end);
                self.map.write_size(start, new_end);
                if new_end < limit {
                    self.map.write_size(new_end, limit);
                    let bin = bin_of::<G>(limit - new_end);
                    if after.is_some() {
                        self.relist(end, bin, new_end);
                    } else {
                        self.list_in(bin, new_end);
                    }
                } else {
                    // Only a free block can have been used up.
                    self.remove(end);
                }
            }
        }
        self.used = self.used.wrapping_sub(block.len());
        self.count_taken(granules);
        Ok(true)
    }

    /// `resize` where a call is cheaper than another copy of it.
    ///
    /// # Safety
    /// As for `resize`.
    #[inline(never)]
    pub(crate) unsafe fn resize_by_call(
        &mut self,
        block: Run,
        granules: usize,
    ) -> Result<bool, Corrupt> {
        // SAFETY: as promised by the caller.
        unsafe { self.resize(block, granules) }
    }

    /// Lengthens a used block to `granules` by beginning it where the free block before it begins, moves its first
    /// `payload_bytes` there, and gives back what is left behind it. `Ok(None)`: there is no such room.
    ///
    /// # Safety
    /// `block` came from `used_block`, is shorter than `granules` and holds `payload_bytes`.
    pub(crate) unsafe fn extend_backwards(
        &mut self,
        block: Run,
        granules: usize,
        align: usize,
        payload_bytes: usize,
    ) -> Result<Option<usize>, Corrupt> {
        let Run { start, end } = block;
        // SAFETY: the neighbours are read from the map and vouched for before anything is written.
        unsafe {
            if end > self.top {
                return Err(Corrupt);
            }
            let Some(before) = self.free_before(start)? else {
                return Ok(None);
            };
            let at_top = end == self.top;
            let after = self.free_after(end)?;
            let limit = if at_top {
                self.end
            } else {
                after.map_or(end, |run| run.end)
            };
            let new_start = before.start;
            let lies_well = self.pool.at(new_start).addr().get().is_multiple_of(align);
            if !lies_well || granules > limit - new_start {
                return Ok(None);
            }
            let new_end = new_start + granules;
            self.remove(before.start);
            self.map.clear_size(before.start, before.end);
            self.map.clear_size(start, end);
            if let Some(run) = after {
                self.remove(run.start);
                self.map.clear_size(run.start, run.end);
            }
            // The payload first: links are written only into what it has left.
            watch::opened(self.pool.at(new_start), payload_bytes);
            self.pool
                .at(start)
                .copy_to(self.pool.at(new_start), payload_bytes);
            self.map.toggle_start(new_start);
            self.map.toggle_start(start);
            if at_top {
                self.map.toggle_used(end);
                self.move_top(new_start, new_end);
            } else {
                self.map.toggle_end(end);
                self.map.toggle_end(new_end);
                self.map.write_size(new_start, new_end);
                if new_end < limit {
                    self.insert(Run {
                        start: new_end,
                        end: limit,
                    });
                }
            }
            self.used = self.used.wrapping_sub(block.len());
            self.count_taken(granules);
            Ok(Some(new_start))
        }
    }

    /// The largest request, in granules, that `take` serves now.
    pub(crate) fn largest(&self) -> usize {
        let top = self.end - self.top;
        let Some(bin) = self.bins.last_filled() else {
            return top;
        };
        // SAFETY: a filled bin exists.
        let start = unsafe { self.bins.head(bin) }.unpack();
        // Who asks in a signal handler may have interrupted a call that had just emptied the bin.
        if start >= self.top {
            return top;
        }
        // SAFETY: the top is in the map.
        let end = unsafe { self.map.end_by(start, self.top) };
        top.max(end.unwrap_or(start) - start)
    }

    /// How many granules in one run would be free if the used block were given back.
    pub(crate) fn merged_len(&self, block: Run) -> usize {
        let Run { mut start, mut end } = block;
        // SAFETY: a used block's start and end are marked.
        unsafe {
            if self.map.mark(start) == Mark::UsedAfterFree {
                start = self.map.start_before(start);
            }
            if end >= self.top {
                end = self.end;
            } else if self.map.is_free(end) {
                end = self.map.end_by(end, self.top).unwrap_or(end);
            }
        }
        end.saturating_sub(start)
    }

    /// Whether `granule`, below the top, lies in a free block, as far as two pairs of the map to each side tell.
    pub(crate) fn lies_in_free(&self, granule: usize) -> bool {
        let index = granule / PAIR_GRANULES;
        let place = granule % PAIR_GRANULES;
        let marks_of = |index: usize| {
            // SAFETY: asked only for pairs at or below that of the top.
            let pair = unsafe { self.map.pair(index) };
            if pair.covered_by().is_some() {
                0
            } else {
                pair.marks()
            }
        };
        let marked = |index: usize, bit: u32| index * PAIR_GRANULES + bit as usize;
        for (index, mask) in [
            (Some(index), !0 >> (63 - place)),
            (index.checked_sub(1), !0u64),
        ] {
            if let Some(index) = index
                && let Some(bit) = (marks_of(index) & mask).checked_ilog2()
            {
                // SAFETY: a mark of the map.
                return unsafe { self.map.mark(marked(index, bit)) } == Mark::Free;
            }
        }
        for (index, mask) in [(index, !1 << place), (index + 1, !0u64)] {
            if index <= self.top / PAIR_GRANULES
                && let marks @ 1.. = marks_of(index) & mask
            {
                // SAFETY: a mark of the map.
                return unsafe { self.map.mark(marked(index, marks.trailing_zeros())) }
                    == Mark::UsedAfterFree;
            }
        }
        false
    }

    /// Whether `link` leads to a free block.
    #[inline(always)]
    pub(crate) fn leads_to_free(&self, granule: usize) -> bool {
        // SAFETY: granules below the top are in the map.
        granule < self.top && unsafe { self.map.is_marked_free(granule) }
    }

    /// Whether the links of the free block are whole, and its list leads on from it and back: for checks.
    pub(crate) fn is_linked(&self, block: Run) -> bool {
        let bin = bin_of::<G>(block.len());
        let ends = end_mark::<G>(bin).unpack();
        // SAFETY: the map says that the block is free, and so is every block whose node is read.
        unsafe {
            let (next, prev) = self.pool.links(block.start);
            let head = self.bins.head(bin).unpack();
            let leads_on =
                next == ends || self.leads_to_free(next) && self.pool.links(next).1 == block.start;
            let leads_back = if prev == ends {
                head == block.start
            } else {
                self.leads_to_free(prev) && self.pool.links(prev).0 == block.start
            };
            self.pool.is_sealed(block.start) && leads_on && leads_back
        }
    }

    /// Vouches for the head of a bin that is to be taken: the map says that it is free and holds `granules`, and its
    /// links are whole.
    #[inline(always)]
    fn vouch(&self, found: Found, granules: usize) -> Result<(), Corrupt> {
        let run = found.run;
        // SAFETY: a head lies below the top.
        let sound = unsafe {
            self.map.is_free(run.start)
                && run.end <= self.top
                && run.len() >= granules
                && self.pool.is_sealed(run.start)
        };
        if sound { Ok(()) } else { Err(Corrupt) }
    }

    /// Takes the head of `bin` out of its list.
    ///
    /// # Safety
    /// `start` is that head, and was vouched for.
    #[inline(always)]
    unsafe fn remove_head(&mut self, bin: usize, start: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            let (next, _) = self.pool.links(start);
            self.bins.set_head(bin, G::Link::pack(next));
            if next < self.top {
                self.pool.set_prev(next, end_mark::<G>(bin));
            } else {
                self.bins.mark_empty(bin);
            }
        }
    }

    /// Takes a free block out of its list. The end mark of a list tells the bin, so no size is needed.
    ///
    /// # Safety
    /// The block's seal is whole.
    #[inline(always)]
    unsafe fn remove(&mut self, start: usize) {
        // SAFETY: as promised by the caller. Links that were sealed lead to free blocks or are end marks; for the sake of
        // a forged seal, no more is believed of them than where they may lead.
        unsafe {
            let (next, prev) = self.pool.links(start);
            if next < self.top {
                self.pool.set_prev(next, G::Link::pack(prev));
            }
            if prev < self.top {
                self.pool.set_next(prev, G::Link::pack(next));
                return;
            }
            let bin = bin_ended_by::<G>(prev);
            if bin < G::BINS {
                self.bins.set_head(bin, G::Link::pack(next));
                if next >= self.top {
                    self.bins.mark_empty(bin);
                }
            }
        }
    }

    /// Puts a free block into its bin, in front, and writes its size words.
    ///
    /// # Safety
    /// The run is free, not in a bin, and clear of marks and size words but at its start.
    #[inline(always)]
    unsafe fn insert(&mut self, block: Run) {
        // SAFETY: as promised by the caller.
        unsafe {
            self.map.write_size(block.start, block.end);
            self.list_in(bin_of::<G>(block.len()), block.start);
        }
    }

    /// Whether the free block at `start` is the first of `bin`.
    ///
    /// # Safety
    /// The block's seal is whole.
    #[inline(always)]
    unsafe fn is_head(&self, bin: usize, start: usize) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { self.pool.links(start) }.1 == end_mark::<G>(bin).unpack()
    }

    /// Takes the free block at `old` out of its list, and puts the one at `new` into `bin`, in front.
    ///
    /// # Safety
    /// The old block's seal is whole, and the new one is of that bin and not on it.
    #[inline(always)]
    unsafe fn relist(&mut self, old: usize, bin: usize, new: usize) {
        // SAFETY: as promised by the caller.
        unsafe {
            if self.is_head(bin, old) {
                self.replace_head(bin, old, new);
            } else {
                self.remove(old);
                self.list_in(bin, new);
            }
        }
    }

    /// Puts the free block at `new` where `old` is: first of `bin`.
    ///
    /// # Safety
    /// `old` is that head, and was vouched for; `new` is of that bin and not on it.
    #[inline(always)]
    unsafe fn replace_head(&mut self, bin: usize, old: usize, new: usize) {
        let this = G::Link::pack(new);
        // SAFETY: as promised by the caller.
        unsafe {
            let (next, _) = self.pool.links(old);
            self.pool.set_next(new, G::Link::pack(next));
            self.pool.set_prev(new, end_mark::<G>(bin));
            self.bins.set_head(bin, this);
            if next < self.top {
                self.pool.set_prev(next, this);
            }
        }
    }

    /// Puts the free block at `start`, whose size words are written, into its bin, in front.
    ///
    /// # Safety
    /// The block is free, of that bin and not on it.
    #[inline(always)]
    unsafe fn list_in(&mut self, bin: usize, start: usize) {
        let this = G::Link::pack(start);
        // SAFETY: as promised by the caller; the head of a bin is a free block or its end mark.
        unsafe {
            let head = self.bins.head(bin);
            self.pool.set_next(start, head);
            self.pool.set_prev(start, end_mark::<G>(bin));
            self.bins.set_head(bin, this);
            if head.unpack() < self.top {
                self.pool.set_prev(head.unpack(), this);
            } else {
                self.bins.mark_filled(bin);
            }
        }
    }
}

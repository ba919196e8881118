//! evenfit's block tier: good fit, with the last remainder kept out of the bins.
//!
//! A request is cut from the first block of its bin, from the *rest*, which is the remainder of the
//! block that was split last, from the next filled bin, or from the top. Blocks have two granules
//! at least; if one would be left over, it stays with the block. A block that is freed beside the
//! rest becomes part of it.

use super::Placement;
use super::arena::{Chain, Handle, Index, NONE, Node};
use super::bins::Bins;
use crate::geometry::Cut;

/// A pool as an `evenfit::Heap` of blocks only divides it: with the same addresses and refusals.
pub struct Evenfit {
    cut: Cut,
    /// The last one is the top, even of no length.
    chain: Chain,
    bins: Bins,
    rest: Option<Handle>,
    top: Handle,
    end: u64,
    steps: u64,
}

impl Evenfit {
    /// An empty pool of `granules`.
    pub fn new(cut: Cut, granules: u64) -> Self {
        Self {
            cut,
            chain: Chain::new(granules),
            bins: Bins::new(cut),
            rest: None,
            top: 0,
            end: granules,
            steps: 0,
        }
    }

    /// Where the top begins: all memory from there on is free.
    pub fn top(&self) -> u64 {
        self.chain.node(self.top).start
    }

    fn len(&self, at: Handle) -> u64 {
        self.chain.node(at).len
    }

    fn list(&mut self, at: Handle) {
        let Node { start, len, .. } = self.chain.node(at);
        self.bins.insert(at, start, len);
    }

    /// Removes a free block from its list, unless it is the rest. It isn't the top.
    fn unlist(&mut self, at: Handle) {
        if self.rest == Some(at) {
            self.rest = None;
        } else {
            let Node { start, len, .. } = self.chain.node(at);
            self.bins.remove(at, start, len);
        }
    }

    /// The block that a request of `len` granules is cut from. Counts the blocks and bins looked
    /// at.
    fn find(&self, len: u64) -> (Option<Handle>, u64) {
        if len > self.end {
            return (None, 0);
        }
        let fits = |&at: &Handle| self.len(at) >= len;
        let rest = self.rest.filter(fits);
        let own = self.cut.bin(len);
        let is_short = len < self.cut.short_end;
        let (first, steps) = if is_short {
            match self.bins.head(own) {
                Some(exact) => return (Some(exact), 1),
                None => (rest, 2),
            }
        } else {
            (self.bins.head(own).filter(fits), 1)
        };
        if first.is_some() {
            return (first, steps);
        }
        // Of a block longer by one granule, that granule would be left over.
        let above = if is_short && len + 1 < self.cut.short_end { own + 2 } else { own + 1 };
        if let Some(at) = self.bins.head_from(above) {
            return (Some(at), steps + 1);
        }
        if !is_short && rest.is_some() {
            return (rest, steps + 2);
        }
        let leaves_one = is_short && len + 1 < self.cut.short_end;
        if let Some(at) = leaves_one.then(|| self.bins.head(len + 1)).flatten() {
            return (Some(at), steps + 3);
        }
        (Some(self.top).filter(fits), steps + 4)
    }

    /// How far behind the start of a free block an aligned one begins, if it has room there. The
    /// granules before it must be a block.
    fn lead(&self, at: Handle, len: u64, align: u64) -> Option<u64> {
        let mut lead = self.chain.lead(at, align);
        if lead > 0 && lead < Cut::BLOCK_MIN {
            lead += align;
        }
        (lead + len <= self.len(at)).then_some(lead)
    }

    fn find_aligned(&mut self, len: u64, align: u64) -> Option<(Handle, u64)> {
        for least in [len, len + align + 1] {
            let (found, steps) = self.find(least);
            self.steps += steps;
            if let Some(at) = found
                && let Some(lead) = self.lead(at, len, align)
            {
                return Some((at, lead));
            }
        }
        let mut last = [self.rest, Some(self.top)].into_iter().flatten();
        self.steps += 2;
        last.find_map(|at| Some((at, self.lead(at, len, align)?)))
    }

    /// Makes a remainder the rest, and lists the rest before.
    fn keep(&mut self, left: Handle) {
        if let Some(old) = self.rest.replace(left) {
            self.list(old);
        }
    }
}

impl Placement for Evenfit {
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle> {
        let is_aligned = align > self.cut.align_granules;
        let (found, lead) = if is_aligned {
            self.find_aligned(granules, align)?
        } else {
            let (found, steps) = self.find(granules);
            self.steps += steps;
            (found?, 0)
        };
        let is_top = found == self.top;
        if !is_top {
            self.unlist(found);
        }
        let mut block = found;
        if lead > 0 {
            block = self.chain.cut(found, lead);
            self.list(found);
        }
        if is_top {
            self.top = self.chain.cut(block, granules);
        } else if self.len(block) - granules >= Cut::BLOCK_MIN {
            let left = self.chain.cut(block, granules);
            if is_aligned {
                self.list(left);
            } else {
                self.keep(left);
            }
        }
        self.chain.set_free(block, false);
        Some(block)
    }

    fn free(&mut self, block: Handle) {
        let mut at = block;
        self.chain.set_free(at, true);
        let Node { before, after, .. } = self.chain.node(at);
        let mut has_rest = false;
        let joins_top = after == self.top;
        if self.chain.node(after).free {
            if !joins_top {
                has_rest |= self.rest == Some(after);
                self.unlist(after);
            }
            self.chain.join(at);
        }
        if before != NONE && self.chain.node(before).free {
            has_rest |= self.rest == Some(before);
            self.unlist(before);
            self.chain.join(before);
            at = before;
        }
        if joins_top {
            self.top = at;
        } else if has_rest {
            self.rest = Some(at);
        } else {
            self.list(at);
        }
    }

    fn resize(&mut self, block: Handle, granules: u64) -> bool {
        let Node { len, after, .. } = self.chain.node(block);
        let behind = self.chain.node(after);
        let room = if behind.free { behind.len } else { 0 };
        if granules > len + room {
            return false;
        }
        if granules == len {
            return true;
        }
        let is_top = after == self.top;
        let was_rest = self.rest == Some(after);
        if behind.free {
            if !is_top {
                self.unlist(after);
            }
            self.chain.join(block);
        }
        if is_top {
            self.top = self.chain.cut(block, granules);
            self.chain.set_free(self.top, true);
        } else if self.len(block) - granules >= Cut::BLOCK_MIN {
            let left = self.chain.cut(block, granules);
            self.chain.set_free(left, true);
            if was_rest {
                self.rest = Some(left);
            } else {
                self.list(left);
            }
        }
        true
    }

    fn extent(&self, block: Handle) -> (u64, u64) {
        let Node { start, len, .. } = self.chain.node(block);
        (start, len)
    }

    fn largest(&self) -> u64 {
        // The longest free block is one of these: a longer one can only be behind the first of the
        // last bin, where no request finds it.
        let free = [self.bins.last_head(), self.rest, Some(self.top)];
        let longest = free.into_iter().flatten().map(|at| self.len(at)).max();
        longest.filter(|&len| len >= Cut::BLOCK_MIN).unwrap_or(0)
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}

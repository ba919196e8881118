//! evenfit's block tier: good fit, with the last remainder kept out of the bins.
//!
//! A request is cut from the first block of its bin, from the *rest*, which is what was left of the
//! block that was split last, from the next filled bin, or from the top. Blocks have two granules
//! at least; where one would be left alone, it stays with the block. What is freed beside the rest
//! becomes part of it.

use super::Placement;
use super::arena::{Chain, Handle, Index, NONE, Node};
use super::bins::Bins;
use crate::geometry::Cut;

/// A pool as `evenfit::Heap` of blocks only divides it: the same addresses, the same refusals.
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

    /// Where the top begins: all from there on was freed or never used.
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

    /// Takes a free block that isn't the top out of its list, or it was the rest.
    fn unlist(&mut self, at: Handle) {
        if self.rest == Some(at) {
            self.rest = None;
        } else {
            let Node { start, len, .. } = self.chain.node(at);
            self.bins.remove(at, start, len);
        }
    }

    /// What a request of `len` granules is cut from, and how many places that looks at.
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
        // A block longer by one granule would leave that alone.
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

    /// How far into a free block an aligned one begins, if it has room there. What is before it
    /// must be a block.
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

    /// What is left behind a block is the rest, and what was the rest is listed.
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
        // No list but the last bin's may hide a longer one behind its first.
        let free = [self.bins.last_head(), self.rest, Some(self.top)];
        let longest = free.into_iter().flatten().map(|at| self.len(at)).max();
        longest.filter(|&len| len >= Cut::BLOCK_MIN).unwrap_or(0)
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}

//! Bins by size: evenfit's, TLSF's and half fit's.

use super::arena::{Handle, Index, NONE};
use crate::geometry::Cut;

#[derive(Clone, Copy)]
struct Link {
    next: Handle,
    prev: Handle,
    len: u64,
}

/// Lists of free blocks by bin, last in first out.
pub(super) struct Bins {
    cut: Cut,
    heads: Vec<Handle>,
    /// Bit `b` of word `w`: bin `64 w + b` isn't empty.
    filled: Vec<u64>,
    links: Vec<Link>,
}

impl Bins {
    pub(super) fn new(cut: Cut) -> Self {
        let bins = cut.bin(u64::MAX >> 1) as usize + 2;
        Self { cut, heads: vec![NONE; bins], filled: vec![0; bins / 64 + 1], links: Vec::new() }
    }

    fn bin(&self, len: u64) -> usize {
        self.cut.bin(len) as usize
    }

    /// The first block of a bin.
    pub(super) fn head(&self, bin: u64) -> Option<Handle> {
        let head = self.heads[bin as usize];
        (head != NONE).then_some(head)
    }

    /// The first block of the first filled bin from `bin` on.
    pub(super) fn head_from(&self, bin: u64) -> Option<Handle> {
        self.head(self.first_filled(bin as usize)? as u64)
    }

    /// The first block of the last filled bin.
    pub(super) fn last_head(&self) -> Option<Handle> {
        self.head(self.last_filled()? as u64)
    }

    fn first_filled(&self, bin: usize) -> Option<usize> {
        let word = bin / 64;
        let here = self.filled.get(word)? & (!0 << (bin % 64));
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        let later = (word + 1..self.filled.len()).find(|&word| self.filled[word] != 0)?;
        Some(later * 64 + self.filled[later].trailing_zeros() as usize)
    }

    fn last_filled(&self) -> Option<usize> {
        let word = self.filled.iter().rposition(|&word| word != 0)?;
        Some(word * 64 + self.filled[word].ilog2() as usize)
    }
}

/// TLSF's and half fit's search: the first bin of which every block is long enough.
impl Index for Bins {
    fn insert(&mut self, block: Handle, _start: u64, len: u64) {
        let bin = self.bin(len);
        if self.links.len() <= block as usize {
            self.links.resize(block as usize + 1, Link { next: NONE, prev: NONE, len: 0 });
        }
        let head = self.heads[bin];
        self.links[block as usize] = Link { next: head, prev: NONE, len };
        if head != NONE {
            self.links[head as usize].prev = block;
        }
        self.heads[bin] = block;
        self.filled[bin / 64] |= 1 << (bin % 64);
    }

    fn remove(&mut self, block: Handle, _start: u64, _len: u64) {
        let Link { next, prev, len } = self.links[block as usize];
        let bin = self.bin(len);
        if prev == NONE {
            self.heads[bin] = next;
            if next == NONE {
                self.filled[bin / 64] &= !(1 << (bin % 64));
            }
        } else {
            self.links[prev as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
    }

    fn find(&mut self, granules: u64) -> (Option<Handle>, u64) {
        let own = self.cut.bin(granules);
        let is_exact = self.cut.smallest(own) == granules;
        (self.head_from(if is_exact { own } else { own + 1 }), 1)
    }

    fn largest(&self) -> u64 {
        self.last_filled().map_or(0, |bin| self.cut.smallest(bin as u64))
    }
}

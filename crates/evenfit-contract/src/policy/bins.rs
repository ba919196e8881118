//! Bins by size: evenfit's, TLSF's and half fit's search.

use super::arena::{Handle, Index};
use crate::geometry::Cut;

const NONE: Handle = Handle::MAX;

#[derive(Clone, Copy)]
struct Link {
    next: Handle,
    prev: Handle,
    len: u64,
}

/// Lists of free blocks by bin, last in first out.
pub(super) struct Bins {
    cut: Cut,
    /// Whether a request looks at the head of its own bin before it goes up.
    own_head: bool,
    heads: Vec<Handle>,
    /// Bit `b` of word `w`: bin `64 w + b` isn't empty.
    filled: Vec<u64>,
    links: Vec<Link>,
}

impl Bins {
    pub(super) fn new(cut: Cut, own_head: bool) -> Self {
        let bins = cut.bin(u64::MAX >> 1) as usize + 2;
        Self {
            cut,
            own_head,
            heads: vec![NONE; bins],
            filled: vec![0; bins / 64 + 1],
            links: Vec::new(),
        }
    }

    fn bin(&self, len: u64) -> usize {
        self.cut.bin(len) as usize
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
}

impl Index for Bins {
    fn insert(&mut self, block: Handle, _start: u64, len: u64) {
        let bin = self.bin(len);
        if self.links.len() <= block as usize {
            self.links.resize(
                block as usize + 1,
                Link {
                    next: NONE,
                    prev: NONE,
                    len: 0,
                },
            );
        }
        let head = self.heads[bin];
        self.links[block as usize] = Link {
            next: head,
            prev: NONE,
            len,
        };
        if head != NONE {
            self.links[head as usize].prev = block;
        }
        self.heads[bin] = block;
        self.filled[bin / 64] |= 1 << (bin % 64);
    }

    fn remove(&mut self, block: Handle, _start: u64, len: u64) {
        let bin = self.bin(len);
        let Link { next, prev, .. } = self.links[block as usize];
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
        let own = self.bin(granules);
        let exact = self.cut.smallest(own as u64) == granules;
        if self.own_head && !exact {
            let head = self.heads[own];
            if head != NONE && self.links[head as usize].len >= granules {
                return (Some(head), 1);
            }
        }
        let found = self.first_filled(if exact { own } else { own + 1 });
        (
            found.map(|bin| self.heads[bin]),
            1 + u64::from(self.own_head),
        )
    }

    fn largest(&self) -> u64 {
        let Some(word) = self.filled.iter().rposition(|&word| word != 0) else {
            return 0;
        };
        let bin = word * 64 + self.filled[word].ilog2() as usize;
        if self.own_head {
            self.links[self.heads[bin] as usize].len
        } else {
            self.cut.smallest(bin as u64)
        }
    }
}

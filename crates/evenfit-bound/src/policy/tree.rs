//! Free blocks ordered by address: first fit and next fit.
//!
//! A segment tree over the pool's granules holds the longest free block and the number of free
//! blocks of each range, so the search takes logarithmic time and still knows how many blocks a
//! plain list would have looked at.

use super::arena::{Handle, Index};

/// Free blocks by address.
pub(super) struct Addresses {
    leaves: usize,
    longest: Vec<u32>,
    count: Vec<u32>,
    blocks: Vec<Handle>,
    /// Where the next search begins; stays 0 for first fit.
    from: usize,
    roving: bool,
}

impl Addresses {
    pub(super) fn new(granules: u64, roving: bool) -> Self {
        let leaves = (granules.max(1) as usize).next_power_of_two();
        Self {
            leaves,
            longest: vec![0; 2 * leaves],
            count: vec![0; 2 * leaves],
            blocks: vec![0; leaves],
            from: 0,
            roving,
        }
    }

    fn set(&mut self, start: usize, len: u32) {
        let mut at = self.leaves + start;
        self.longest[at] = len;
        self.count[at] = u32::from(len > 0);
        while at > 1 {
            at /= 2;
            self.longest[at] = self.longest[2 * at].max(self.longest[2 * at + 1]);
            self.count[at] = self.count[2 * at] + self.count[2 * at + 1];
        }
    }

    /// The first block at or after `from` that has at least `len` granules.
    fn first(&self, from: usize, len: u32) -> Option<usize> {
        let mut at = self.leaves + from;
        while self.longest[at] < len {
            // Up while this is a right child, then to the sibling on the right.
            while at % 2 == 1 {
                at /= 2;
                if at <= 1 {
                    return None;
                }
            }
            if at == 0 || at + 1 >= 2 * self.leaves {
                return None;
            }
            at += 1;
        }
        while at < self.leaves {
            at *= 2;
            if self.longest[at] < len {
                at += 1;
            }
        }
        Some(at - self.leaves)
    }

    /// How many free blocks start before `end`.
    fn before(&self, end: usize) -> u64 {
        let (mut at, mut sum) = (self.leaves + end, 0);
        while at > 1 {
            if at % 2 == 1 {
                sum += u64::from(self.count[at - 1]);
            }
            at /= 2;
        }
        sum
    }
}

impl Index for Addresses {
    fn insert(&mut self, block: Handle, start: u64, len: u64) {
        self.blocks[start as usize] = block;
        self.set(start as usize, len as u32);
    }

    fn remove(&mut self, _block: Handle, start: u64, _len: u64) {
        self.set(start as usize, 0);
    }

    fn find(&mut self, granules: u64) -> (Option<Handle>, u64) {
        let all = u64::from(self.count[1]);
        let Ok(len) = u32::try_from(granules) else {
            return (None, all);
        };
        if self.longest[1] < len {
            return (None, all);
        }
        let skipped = self.before(self.from);
        let (at, steps) = match self.first(self.from, len) {
            Some(at) => (at, self.before(at) - skipped + 1),
            None => match self.first(0, len) {
                Some(at) => (at, all - skipped + self.before(at) + 1),
                None => return (None, all),
            },
        };
        if self.roving {
            self.from = at;
        }
        (Some(self.blocks[at]), steps)
    }

    fn largest(&self) -> u64 {
        u64::from(self.longest[1])
    }
}

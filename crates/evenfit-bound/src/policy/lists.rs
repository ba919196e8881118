//! Free blocks ordered by size: best fit.

use std::collections::BTreeSet;

use super::arena::{Handle, Index};

/// Free blocks by size, then address.
#[derive(Default)]
pub(super) struct Sizes(BTreeSet<(u64, u64, Handle)>);

impl Index for Sizes {
    fn insert(&mut self, block: Handle, start: u64, len: u64) {
        self.0.insert((len, start, block));
    }

    fn remove(&mut self, block: Handle, start: u64, len: u64) {
        self.0.remove(&(len, start, block));
    }

    /// Counts the whole list: a plain list is walked to its end, unless a hole fits exactly.
    fn find(&mut self, granules: u64) -> (Option<Handle>, u64) {
        let found = self.0.range((granules, 0, 0)..).next();
        (found.map(|&(_, _, block)| block), self.0.len() as u64)
    }

    fn largest(&self) -> u64 {
        self.0.last().map_or(0, |&(len, _, _)| len)
    }
}

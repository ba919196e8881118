//! A binary buddy system: blocks are powers of two at multiples of their size.

use std::collections::BTreeSet;

use super::Placement;
use super::arena::Handle;

/// A pool divided into aligned powers of two.
pub(super) struct Buddies {
    end: u64,
    /// Free blocks of each order, by address.
    free: Vec<BTreeSet<u64>>,
    /// Start and order of each block ever placed.
    blocks: Vec<(u64, usize)>,
    spare: Vec<Handle>,
    steps: u64,
}

impl Buddies {
    pub(super) fn new(granules: u64) -> Self {
        let mut free = vec![BTreeSet::new(); 64];
        let (mut start, mut rest) = (0, granules);
        while rest > 0 {
            let order = rest.ilog2();
            free[order as usize].insert(start);
            start += 1 << order;
            rest -= 1 << order;
        }
        Self { end: granules, free, blocks: Vec::new(), spare: Vec::new(), steps: 0 }
    }

    fn order(granules: u64) -> usize {
        granules.next_power_of_two().ilog2() as usize
    }

    fn release(&mut self, mut start: u64, mut order: usize) {
        while order < 63 {
            let twin = start ^ (1 << order);
            if twin + (1 << order) > self.end || !self.free[order].remove(&twin) {
                break;
            }
            start = start.min(twin);
            order += 1;
        }
        self.free[order].insert(start);
    }
}

impl Placement for Buddies {
    fn allocate(&mut self, granules: u64, align: u64) -> Option<Handle> {
        // Every block lies at a multiple of its own size.
        let order = Self::order(granules.max(align));
        let from = (order..64).find(|&order| !self.free[order].is_empty());
        self.steps += from.map_or(64, |from| from as u64) - order as u64 + 1;
        let from = from?;
        let start = self.free[from].pop_first()?;
        for half in (order..from).rev() {
            self.free[half].insert(start + (1 << half));
        }
        let block = self.spare.pop().unwrap_or_else(|| {
            self.blocks.push((0, 0));
            (self.blocks.len() - 1) as Handle
        });
        self.blocks[block as usize] = (start, order);
        Some(block)
    }

    fn free(&mut self, block: Handle) {
        let (start, order) = self.blocks[block as usize];
        self.spare.push(block);
        self.release(start, order);
    }

    fn resize(&mut self, block: Handle, granules: u64) -> bool {
        let (start, order) = self.blocks[block as usize];
        let wanted = Self::order(granules);
        if wanted > order {
            return false;
        }
        for half in wanted..order {
            self.release(start + (1 << half), half);
        }
        self.blocks[block as usize].1 = wanted;
        true
    }

    fn extent(&self, block: Handle) -> (u64, u64) {
        let (start, order) = self.blocks[block as usize];
        (start, 1 << order)
    }

    fn largest(&self) -> u64 {
        self.free.iter().rposition(|free| !free.is_empty()).map_or(0, |order| 1 << order)
    }

    fn steps(&self) -> u64 {
        self.steps
    }
}

//! Requests after the misuse, observed from outside.

use std::alloc::Layout;

use evenfit_verify::random::Random;

use crate::peers::Peer;

use super::outcome::Outcome;

/// A live block and its content.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    /// Its first byte.
    pub ptr: *mut u8,
    /// The request.
    pub layout: Layout,
    pattern: u8,
}

/// The live blocks of one allocator, and the worst that has happened to them so far.
#[derive(Debug)]
pub struct Watch {
    /// The pool, if there is one: first byte and length.
    pool: Option<(usize, usize)>,
    /// Live blocks.
    pub live: Vec<Live>,
    next_pattern: u8,
    worst: Option<Outcome>,
}

impl Watch {
    /// Observes an allocator over this pool, or over all memory.
    pub fn new(pool: Option<(usize, usize)>) -> Self {
        Self { pool, live: Vec::new(), next_pattern: 1, worst: None }
    }

    /// The worst that was seen.
    pub fn worst(&self) -> Option<Outcome> {
        self.worst
    }

    fn note(&mut self, outcome: Outcome) {
        self.worst = self.worst.max(Some(outcome));
    }

    /// Allocates and writes; the index of the block, if there is one.
    pub fn allocate(&mut self, peer: &mut impl Peer, layout: Layout) -> Option<usize> {
        // SAFETY: the layout is not of size zero.
        let ptr = unsafe { peer.alloc(layout) };
        if ptr.is_null() {
            return None;
        }
        let (start, end) = (ptr as usize, ptr as usize + layout.size());
        let outside = self.pool.is_some_and(|(base, len)| start < base || end > base + len);
        let overlaps = self.live.iter().any(|live| {
            let other = live.ptr as usize;
            start < other + live.layout.size() && other < end
        });
        if outside || overlaps || start % layout.align() != 0 {
            self.note(Outcome::Overlap);
            // It isn't written to, so that the live blocks show what else happens.
            return None;
        }
        self.next_pattern = self.next_pattern.wrapping_add(1).max(1);
        let live = Live { ptr, layout, pattern: self.next_pattern };
        // SAFETY: a block just allocated, which overlaps no other.
        unsafe { ptr.write_bytes(live.pattern, layout.size()) };
        self.live.push(live);
        Some(self.live.len() - 1)
    }

    /// Frees a block.
    pub fn free(&mut self, peer: &mut impl Peer, index: usize) -> Live {
        self.look_at(index);
        let live = self.live.swap_remove(index);
        // SAFETY: a live block with its layout.
        unsafe { peer.dealloc(live.ptr, live.layout) };
        live
    }

    fn look_at(&mut self, index: usize) {
        let live = self.live[index];
        // SAFETY: a live block: nobody writes to it but this.
        let bytes = unsafe { std::slice::from_raw_parts(live.ptr, live.layout.size()) };
        if bytes.iter().any(|byte| *byte != live.pattern) {
            self.note(Outcome::Contents);
        }
    }

    /// Compares the contents of every live block.
    pub fn look(&mut self) {
        for index in 0..self.live.len() {
            self.look_at(index);
        }
    }

    /// Many requests and frees. Then everything is freed and requested again.
    pub fn probe(&mut self, peer: &mut impl Peer) {
        let mut random = Random::new(0);
        for _ in 0..3000 {
            if self.live.is_empty() || random.below(2) == 0 {
                let size_max = [40, 80, 300, 2000][random.below(4)];
                let size = 1 + random.below(size_max);
                let layout = Layout::from_size_align(size, 8).expect("a small layout");
                self.allocate(peer, layout);
            } else {
                let index = random.below(self.live.len());
                self.free(peer, index);
            }
        }
        self.look();
        while !self.live.is_empty() {
            self.free(peer, 0);
        }
        // Half of an empty pool in blocks of 64 bytes is what even a wasteful allocator can serve.
        let asked = Layout::from_size_align(64, 8).expect("a small layout");
        let enough = self.pool.map_or(100, |(_, len)| len / 2 / 128);
        for _ in 0..enough {
            if self.allocate(peer, asked).is_none() {
                self.note(Outcome::Lost);
                break;
            }
        }
        self.look();
    }
}

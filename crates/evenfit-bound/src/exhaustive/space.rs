//! A pool under a placement policy, in its simplest form.

use std::rc::Rc;

use super::{Rule, Simulated, Used, key_of, pieces_of};
use crate::geometry::Cut;

/// A run of granules: free, or a live block of a demand.
#[derive(Clone, Copy, Debug)]
struct Piece {
    len: u64,
    /// 0: free; else the demand, from 1.
    owner: u8,
    /// Of free pieces: when it was listed; the latest is the head.
    stamp: u32,
}

/// The pool, in address order. With a top, the pieces end at the last live block.
#[derive(Clone, Debug)]
pub(super) struct Space {
    rule: Rule,
    pieces: Vec<Piece>,
    /// The pool's length; `None`: without end.
    end: Option<u64>,
    clock: u32,
}

impl Space {
    fn start(&self, at: usize) -> u64 {
        self.pieces[..at].iter().map(|piece| piece.len).sum()
    }

    fn at(&self, start: u64) -> usize {
        (0..self.pieces.len()).find(|&at| self.start(at) == start).unwrap_or_default()
    }

    /// The free piece that a search for `granules` returns.
    fn find(&self, granules: u64) -> Option<usize> {
        let free = || self.pieces.iter().enumerate().filter(|(_, piece)| piece.owner == 0);
        let fitting = || free().filter(|(_, piece)| piece.len >= granules);
        let found = match self.rule {
            Rule::FirstFit => fitting().next(),
            Rule::BestFit | Rule::Buddy => fitting().min_by_key(|(_, piece)| piece.len),
            Rule::Evenfit(_) => unreachable!("has a pool of its own"),
            Rule::HalfFit { .. } => {
                let bin = fitting().map(|(_, piece)| piece.len.ilog2()).min()?;
                free().filter(|(_, p)| p.len.ilog2() == bin).max_by_key(|(_, piece)| piece.stamp)
            }
        };
        found.map(|(at, _)| at)
    }

    fn take_top(&mut self, owner: u8, len: u64, align: u64) -> bool {
        let top = self.reach();
        let lead = top.next_multiple_of(align) - top;
        if self.end.is_some_and(|end| top + lead + len > end) {
            return false;
        }
        if lead > 0 {
            let piece = self.freed(lead);
            self.pieces.push(piece);
        }
        self.pieces.push(Piece { len, owner, stamp: 0 });
        true
    }

    fn carve(&mut self, at: usize, lead: u64, block: Piece) {
        let rest = self.pieces[at].len - lead - block.len;
        self.pieces[at] = block;
        let mut at = at;
        if lead > 0 {
            let piece = self.freed(lead);
            self.pieces.insert(at, piece);
            at += 1;
        }
        if let Rule::Buddy = self.rule {
            // The piece is halved again and again, so its remainders are rising powers of two
            // behind the
            // block.
            let mut half = self.pieces[at].len;
            let mut left = rest;
            while left > 0 {
                let piece = self.freed(half);
                at += 1;
                self.pieces.insert(at, piece);
                left -= half;
                half *= 2;
            }
        } else if rest > 0 {
            let piece = self.freed(rest);
            self.pieces.insert(at + 1, piece);
        }
    }

    fn freed(&mut self, len: u64) -> Piece {
        self.clock += 1;
        Piece { len, owner: 0, stamp: self.clock }
    }

    fn join_buddies(&mut self, mut at: usize) {
        loop {
            let len = self.pieces[at].len;
            let first = (self.start(at) / len).is_multiple_of(2);
            let buddy = if first { at + 1 } else { at.wrapping_sub(1) };
            match self.pieces.get(buddy) {
                Some(piece) if piece.owner == 0 && piece.len == len => {
                    at = at.min(buddy);
                    self.pieces.remove(at + 1);
                    self.pieces[at].len = 2 * len;
                }
                _ => return,
            }
        }
    }
}

impl Simulated for Space {
    fn new(rule: Rule, end: Option<u64>) -> Self {
        let mut space = Self { rule, pieces: Vec::new(), end, clock: 0 };
        match (rule, end) {
            (Rule::HalfFit { .. }, Some(len)) if len > 0 => {
                space.pieces.push(Piece { len, owner: 0, stamp: 0 })
            }
            (Rule::Buddy, Some(mut rest)) => {
                while rest > 0 {
                    let len = 1 << rest.ilog2();
                    space.pieces.push(Piece { len, owner: 0, stamp: 0 });
                    rest -= len;
                }
            }
            _ => {}
        }
        space
    }

    fn of_key(rule: Rule, end: Option<u64>, key: &[u8]) -> Self {
        let pieces = pieces_of(key).map(|(len, owner, later)| Piece {
            len,
            owner,
            stamp: 256 - u32::from(later),
        });
        Self { rule, pieces: pieces.collect(), end, clock: 256 }
    }

    fn key(&self) -> Rc<[u8]> {
        key_of(self.pieces.iter().map(|piece| {
            let list = (piece.owner == 0).then(|| self.rule.list(piece.len)).flatten();
            let later = self.pieces.iter().filter(|other| {
                list.is_some()
                    && other.owner == 0
                    && other.stamp > piece.stamp
                    && self.rule.list(other.len) == list
            });
            (piece.len, piece.owner, later.count() as u8)
        }))
    }

    fn blocks(&self) -> Vec<Used> {
        let used = |at: usize| {
            let Piece { len, owner, .. } = self.pieces[at];
            (owner > 0).then(|| Used { owner, start: self.start(at), asked: len })
        };
        (0..self.pieces.len()).filter_map(used).collect()
    }

    fn reach(&self) -> u64 {
        self.start(self.pieces.len())
    }

    fn take(&mut self, owner: u8, granules: u64, slack: u64) -> bool {
        let len = self.rule.block(granules);
        let align = Cut::align_of(slack);
        for least in if align == 1 { vec![len] } else { vec![len + align - 1, len] } {
            if let Some(at) = self.find(least) {
                let start = self.start(at);
                let lead = start.next_multiple_of(align) - start;
                if lead + len <= self.pieces[at].len {
                    self.carve(at, lead, Piece { len, owner, stamp: 0 });
                    return true;
                }
            }
        }
        self.rule.has_top() && self.take_top(owner, len, align)
    }

    fn give_back(&mut self, start: u64) {
        let mut at = self.at(start);
        self.pieces[at] = self.freed(self.pieces[at].len);
        if let Rule::Buddy = self.rule {
            return self.join_buddies(at);
        }
        let is_free = |piece: Option<&Piece>| piece.is_some_and(|piece| piece.owner == 0);
        if is_free(self.pieces.get(at + 1)) {
            self.pieces[at].len += self.pieces.remove(at + 1).len;
        }
        if at > 0 && is_free(self.pieces.get(at - 1)) {
            at -= 1;
            let before = self.pieces.remove(at);
            self.pieces[at].len += before.len;
        }
        if self.rule.has_top() && at + 1 == self.pieces.len() {
            self.pieces.pop();
        }
    }

    fn resize(&mut self, start: u64, granules: u64) -> bool {
        let at = self.at(start);
        let old = self.pieces[at].len;
        if granules == old {
            return true;
        }
        let at_top = at + 1 == self.pieces.len();
        let behind = match self.pieces.get(at + 1) {
            Some(piece) if piece.owner == 0 => piece.len,
            _ => 0,
        };
        if at_top {
            let fits = self.end.is_none_or(|end| start + granules <= end);
            if fits {
                self.pieces[at].len = granules;
            }
            return fits;
        }
        if granules > old + behind {
            return false;
        }
        if behind > 0 {
            self.pieces.remove(at + 1);
        }
        self.pieces[at].len = granules;
        if granules < old + behind {
            let piece = self.freed(old + behind - granules);
            self.pieces.insert(at + 1, piece);
        }
        true
    }
}

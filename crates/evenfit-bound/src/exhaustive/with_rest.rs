//! evenfit's block tier, in its simplest form: good fit, with the last remainder kept out of the
//! bins.
//!
//! A request is cut from the first block of its bin, from the *rest*, which is the remainder of the
//! block that was split last, from the next filled bin, or from the top. Blocks have two granules
//! at least; if one would be left over, it stays with the block. A block that is freed beside the
//! rest becomes part of it.

use std::rc::Rc;

use super::{Rule, Simulated, Used, key_of, pieces_of};
use crate::geometry::Cut;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Used {
        owner: u8,
        /// The granules asked for: the block's length, or one less.
        asked: u64,
    },
    /// In the list of its bin, since this moment; the latest is the first.
    Listed(u32),
    Rest,
}

/// A run of granules.
#[derive(Clone, Copy, Debug)]
struct Piece {
    len: u64,
    state: State,
}

impl Piece {
    fn is_free(self) -> bool {
        !matches!(self.state, State::Used { .. })
    }
}

/// The free memory that a request is cut from.
#[derive(Clone, Copy)]
enum Found {
    Piece(usize),
    Top,
}

/// A pool, in address order up to its top.
#[derive(Clone, Debug)]
pub(super) struct WithRest {
    cut: Cut,
    pieces: Vec<Piece>,
    end: u64,
    clock: u32,
}

impl WithRest {
    /// An empty pool of `granules`.
    fn empty(cut: Cut, granules: u64) -> Self {
        Self { cut, pieces: Vec::new(), end: granules, clock: 0 }
    }

    fn start(&self, at: usize) -> u64 {
        self.pieces[..at].iter().map(|piece| piece.len).sum()
    }

    fn at(&self, start: u64) -> usize {
        let mut sum = 0;
        self.pieces
            .iter()
            .position(|piece| {
                sum += piece.len;
                sum > start
            })
            .unwrap_or(self.pieces.len())
    }

    fn top(&self) -> u64 {
        self.start(self.pieces.len())
    }

    fn rest(&self) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.state == State::Rest)
    }

    /// The first block of the first of these bins that has one.
    fn first_of(&self, bins: impl Fn(u64) -> bool) -> Option<usize> {
        let listed = self.pieces.iter().enumerate().filter_map(|(at, piece)| {
            let State::Listed(stamp) = piece.state else {
                return None;
            };
            let bin = self.cut.bin(piece.len);
            bins(bin).then_some((bin, std::cmp::Reverse(stamp), at))
        });
        listed.min().map(|(_, _, at)| at)
    }

    /// The free memory that a request of `len` granules is cut from, in the heap's order.
    fn find(&self, len: u64) -> Option<Found> {
        if len > self.end {
            return None;
        }
        let fits = |&at: &usize| self.pieces[at].len >= len;
        let rest = self.rest().filter(fits);
        let own = self.cut.bin(len);
        let short_end = self.cut.short_end;
        let above = if len < short_end {
            let exact = self.first_of(|bin| bin == own);
            if let Some(at) = exact.or(rest) {
                return Some(Found::Piece(at));
            }
            // Of a block longer by one granule, that granule would be left over.
            let from = if len + 1 < short_end { own + 2 } else { own + 1 };
            self.first_of(|bin| bin >= from)
        } else {
            let first = self.first_of(|bin| bin == own).filter(fits);
            first.or_else(|| self.first_of(|bin| bin > own))
        };
        if let Some(at) = above.or(rest) {
            return Some(Found::Piece(at));
        }
        if let Some(at) = self.first_of(|bin| bin == len + 1 && bin < short_end) {
            return Some(Found::Piece(at));
        }
        (len <= self.end - self.top()).then_some(Found::Top)
    }

    /// How far behind the start of the free memory an aligned block begins, if it has room there.
    /// The granules before it must be a block.
    fn lead(&self, found: Found, len: u64, align: u64) -> Option<u64> {
        let (start, end) = match found {
            Found::Piece(at) => (self.start(at), self.start(at + 1)),
            Found::Top => (self.top(), self.end),
        };
        let mut lead = start.next_multiple_of(align) - start;
        if lead > 0 && lead < Cut::BLOCK_MIN {
            lead += align;
        }
        (start + lead + len <= end).then_some(lead)
    }

    fn find_aligned(&self, len: u64, align: u64) -> Option<(Found, u64)> {
        let surely = self.find(len + align + 1);
        let rest = self.rest().map(Found::Piece);
        let ways = [self.find(len), surely, rest, Some(Found::Top)];
        let mut fitting = ways
            .into_iter()
            .flatten()
            .filter_map(|found| Some((found, self.lead(found, len, align)?)));
        fitting.next()
    }

    fn listed(&mut self, len: u64) -> Piece {
        self.clock += 1;
        Piece { len, state: State::Listed(self.clock) }
    }

    /// Allocates, and returns where the block starts.
    fn allocate_for(&mut self, owner: u8, asked: u64, align: u64) -> Option<u64> {
        let is_aligned = align > self.cut.align_granules;
        let state = State::Used { owner, asked };
        let (found, lead) =
            if is_aligned { self.find_aligned(asked, align)? } else { (self.find(asked)?, 0) };
        let (mut at, len) = match found {
            Found::Piece(at) => (at, self.pieces.remove(at).len),
            Found::Top => (self.pieces.len(), lead + asked),
        };
        let start = self.start(at) + lead;
        if lead > 0 {
            let before = self.listed(lead);
            self.pieces.insert(at, before);
            at += 1;
        }
        let left = len - lead - asked;
        if left < Cut::BLOCK_MIN {
            let len = asked + left;
            self.pieces.insert(at, Piece { len, state });
        } else {
            self.pieces.insert(at, Piece { len: asked, state });
            let behind = if is_aligned { self.listed(left) } else { self.new_rest(left) };
            self.pieces.insert(at + 1, behind);
        }
        Some(start)
    }

    /// Makes a remainder the rest, and lists the rest before.
    fn new_rest(&mut self, len: u64) -> Piece {
        if let Some(old) = self.rest() {
            self.pieces[old] = self.listed(self.pieces[old].len);
        }
        Piece { len, state: State::Rest }
    }

    /// Frees a block and merges it with its free neighbours. The result becomes part of the top if
    /// it touches it, or the rest if the rest is part of it; otherwise it is listed.
    fn free_at(&mut self, at: usize) {
        let is_free = |&at: &usize| self.pieces.get(at).is_some_and(|piece| piece.is_free());
        let first = at.checked_sub(1).filter(is_free).unwrap_or(at);
        let last = Some(at + 1).filter(is_free).unwrap_or(at);
        let mut len = 0;
        let mut has_rest = false;
        for piece in self.pieces.drain(first..=last) {
            len += piece.len;
            has_rest |= piece.state == State::Rest;
        }
        if first == self.pieces.len() {
            return;
        }
        let mut piece = self.listed(len);
        if has_rest {
            piece.state = State::Rest;
        }
        self.pieces.insert(first, piece);
    }

    /// Grows a block in place until it serves `asked` granules. Returns whether that was possible.
    fn resize_at(&mut self, at: usize, asked: u64) -> bool {
        let Piece { len, state } = self.pieces[at];
        let State::Used { owner, .. } = state else {
            return false;
        };
        let state = State::Used { owner, asked };
        let behind = self.pieces.get(at + 1).copied();
        let mut left = match behind {
            None => {
                let fits = self.start(at) + asked <= self.end;
                if fits {
                    self.pieces[at] = Piece { len: asked, state };
                }
                return fits;
            }
            Some(behind) if behind.is_free() => len + behind.len,
            Some(_) => len,
        };
        if asked == len {
            self.pieces[at].state = state;
            return true;
        }
        if asked > left {
            return false;
        }
        left -= asked;
        let behind = behind.filter(|piece| piece.is_free());
        if behind.is_some() {
            self.pieces.remove(at + 1);
        }
        if left < Cut::BLOCK_MIN {
            let len = asked + left;
            self.pieces[at] = Piece { len, state };
            return true;
        }
        self.pieces[at] = Piece { len: asked, state };
        let mut piece = self.listed(left);
        if let Some(Piece { state: State::Rest, .. }) = behind {
            piece.state = State::Rest;
        }
        self.pieces.insert(at + 1, piece);
        true
    }
}

impl Simulated for WithRest {
    fn new(rule: Rule, end: Option<u64>) -> Self {
        let cut = match rule {
            Rule::Evenfit(cut) => cut,
            _ => Cut::STANDARD,
        };
        Self::empty(cut, end.unwrap_or(u64::MAX / 2))
    }

    fn of_key(rule: Rule, end: Option<u64>, key: &[u8]) -> Self {
        let pieces = pieces_of(key).map(|(len, owner, detail)| Piece {
            len,
            state: match owner {
                0 if detail == u8::MAX => State::Rest,
                0 => State::Listed(256 - u32::from(detail)),
                owner => State::Used { owner, asked: len - u64::from(detail) },
            },
        });
        Self { pieces: pieces.collect(), clock: 256, ..Simulated::new(rule, end) }
    }

    fn key(&self) -> Rc<[u8]> {
        key_of(self.pieces.iter().map(|piece| {
            let bin = self.cut.bin(piece.len);
            let (owner, detail) = match piece.state {
                State::Used { owner, asked } => (owner, (piece.len - asked) as u8),
                State::Rest => (0, u8::MAX),
                State::Listed(stamp) => {
                    let is_before = |other: &&Piece| {
                        self.cut.bin(other.len) == bin
                            && matches!(other.state, State::Listed(later) if later > stamp)
                    };
                    (0, self.pieces.iter().filter(is_before).count() as u8)
                }
            };
            (piece.len, owner, detail)
        }))
    }

    fn blocks(&self) -> Vec<Used> {
        let used = |at: usize| match self.pieces[at].state {
            State::Used { owner, asked, .. } => Some(Used { owner, start: self.start(at), asked }),
            _ => None,
        };
        (0..self.pieces.len()).filter_map(used).collect()
    }

    fn reach(&self) -> u64 {
        self.top()
    }

    fn take(&mut self, owner: u8, granules: u64, slack: u64) -> bool {
        self.allocate_for(owner, granules, Cut::align_of(slack)).is_some()
    }

    fn give_back(&mut self, start: u64) {
        self.free_at(self.at(start));
    }

    fn resize(&mut self, start: u64, granules: u64) -> bool {
        self.resize_at(self.at(start), granules)
    }
}

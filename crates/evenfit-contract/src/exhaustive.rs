//! Every program there is, for small parameters: the exact pool that none of them can exhaust.
//!
//! States of the pool are visited breadth first, each once, with a state's identity being all that a policy can see:
//! the pieces in address order and the order of its free lists. Programs do whatever their demands allow.
//!
//! Where a policy takes the end of the pool only when nothing else fits, pools of all lengths behave alike until the
//! shorter one fails; so one search without an end tells the exact minimum: the furthest granule ever reached.

use std::collections::HashMap;
use std::rc::Rc;

use crate::geometry::Cut;
use crate::safe::Demand;

/// A placement policy, in its simplest form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// evenfit's block tier: the head of the request's own bin if it is large enough, else of the next bin that
    /// isn't empty, else the top; last in, first out.
    GoodFit(Cut),
    /// The lowest free piece that is large enough.
    FirstFit,
    /// The smallest free piece that is large enough, the lowest of several.
    BestFit,
    /// o1heap's half fit: a block is a power of two of granules, so many of them its header; bins by powers of two.
    HalfFit {
        /// Granules of a block that aren't the program's.
        header: u64,
    },
    /// A binary buddy system over aligned powers of two, as SQLite's memsys5: the lowest of the smallest that fit.
    Buddy,
}

impl Rule {
    /// Whether the pool's end is taken only when nothing else fits.
    fn has_top(self) -> bool {
        matches!(self, Self::GoodFit(_) | Self::FirstFit | Self::BestFit)
    }

    /// The piece that a request takes.
    fn block(self, granules: u64) -> u64 {
        match self {
            Self::HalfFit { header } => (granules + header).next_power_of_two(),
            Self::Buddy => granules.next_power_of_two(),
            _ => granules,
        }
    }

    /// Free pieces with the same number here are on one list, whose order matters.
    fn list(self, granules: u64) -> Option<u64> {
        match self {
            Self::GoodFit(cut) => Some(cut.bin(granules)),
            Self::HalfFit { .. } => Some(u64::from(granules.ilog2())),
            _ => None,
        }
    }
}

/// What programs may do.
#[derive(Clone, Debug)]
pub struct Programs<'a> {
    /// Their blocks.
    pub demands: &'a [Demand],
    /// Most granules live at once, beside what the demands allow.
    pub total: Option<u64>,
    /// Whether blocks are also shortened and lengthened where they are.
    pub resizes: bool,
}

/// One step of a program. Blocks are named in the order of their allocation, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new block.
    Alloc {
        /// Of which demand.
        demand: usize,
        /// Its size.
        granules: u64,
    },
    /// A block given back.
    Free {
        /// Which.
        block: usize,
    },
    /// A block made shorter or longer where it is.
    Resize {
        /// Which.
        block: usize,
        /// Its new size.
        granules: u64,
    },
}

/// The exact minimum and a program that needs it.
#[derive(Clone, Debug)]
pub struct Exact {
    /// The smallest pool that serves every program.
    pub granules: u64,
    /// A program that fails in any smaller pool.
    pub witness: Vec<Step>,
    /// States visited.
    pub states: u64,
    /// Steps taken from them.
    pub transitions: u64,
}

/// There are more states than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How many were allowed.
    pub states: usize,
}

/// The exact smallest pool for `rule`, visiting at most `states_max` states in each pool tried.
///
/// # Errors
/// [`TooMany`]: the parameters are too large for this.
pub fn smallest(rule: Rule, programs: &Programs, states_max: usize) -> Result<Exact, TooMany> {
    if rule.has_top() {
        let mut search = Search::new(rule, programs, states_max, None);
        search.run()?;
        return Ok(search.exact());
    }
    let mut granules = programs
        .demands
        .iter()
        .map(|d| rule.block(d.max))
        .max()
        .unwrap_or(0);
    let mut witness = Vec::new();
    let (mut states, mut transitions) = (0, 0);
    loop {
        let mut search = Search::new(rule, programs, states_max, Some(granules));
        search.run()?;
        states += search.states.len() as u64;
        transitions += search.transitions;
        match search.failure() {
            Some(steps) => (witness, granules) = (steps, granules + 1),
            None => {
                return Ok(Exact {
                    granules,
                    witness,
                    states,
                    transitions,
                });
            }
        }
    }
}

/// A program that fails in a pool of `granules`, if there is one.
///
/// # Errors
/// [`TooMany`]: the parameters are too large for this.
pub fn failing(
    rule: Rule,
    programs: &Programs,
    granules: u64,
    states_max: usize,
) -> Result<Option<Vec<Step>>, TooMany> {
    let mut search = Search::new(rule, programs, states_max, Some(granules));
    search.run()?;
    Ok(search.failure())
}

/// A run of granules: free, or a live block of a demand.
#[derive(Clone, Copy, Debug)]
struct Piece {
    len: u64,
    /// 0: free; else the demand, from 1.
    owner: u8,
    /// Of free pieces: when it was put on its list; the latest is the head.
    stamp: u32,
}

/// The pool, in address order. With a top, the pieces end at the last live block.
#[derive(Clone, Debug)]
struct Space {
    rule: Rule,
    pieces: Vec<Piece>,
    /// The pool's length; `None`: without end.
    end: Option<u64>,
    clock: u32,
}

impl Space {
    fn new(rule: Rule, end: Option<u64>) -> Self {
        let mut space = Self {
            rule,
            pieces: Vec::new(),
            end,
            clock: 0,
        };
        match (rule, end) {
            (Rule::HalfFit { .. }, Some(len)) if len > 0 => space.pieces.push(Piece {
                len,
                owner: 0,
                stamp: 0,
            }),
            (Rule::Buddy, Some(mut rest)) => {
                while rest > 0 {
                    let len = 1 << rest.ilog2();
                    space.pieces.push(Piece {
                        len,
                        owner: 0,
                        stamp: 0,
                    });
                    rest -= len;
                }
            }
            _ => {}
        }
        space
    }

    fn start(&self, at: usize) -> u64 {
        self.pieces[..at].iter().map(|piece| piece.len).sum()
    }

    fn reach(&self) -> u64 {
        self.start(self.pieces.len())
    }

    /// The free piece that a search for `granules` returns.
    fn find(&self, granules: u64) -> Option<usize> {
        let free = || {
            self.pieces
                .iter()
                .enumerate()
                .filter(|(_, piece)| piece.owner == 0)
        };
        let fitting = || free().filter(|(_, piece)| piece.len >= granules);
        let found = match self.rule {
            Rule::FirstFit => fitting().next(),
            Rule::BestFit | Rule::Buddy => fitting().min_by_key(|(_, piece)| piece.len),
            Rule::GoodFit(cut) => {
                let own = cut.bin(granules);
                let head = |bin: u64| {
                    free()
                        .filter(|(_, p)| cut.bin(p.len) == bin)
                        .max_by_key(|(_, piece)| piece.stamp)
                };
                head(own)
                    .filter(|(_, piece)| piece.len >= granules)
                    .or_else(|| {
                        let bin = free()
                            .map(|(_, piece)| cut.bin(piece.len))
                            .filter(|&bin| bin > own)
                            .min()?;
                        head(bin)
                    })
            }
            Rule::HalfFit { .. } => {
                let bin = fitting().map(|(_, piece)| piece.len.ilog2()).min()?;
                free()
                    .filter(|(_, p)| p.len.ilog2() == bin)
                    .max_by_key(|(_, piece)| piece.stamp)
            }
        };
        found.map(|(at, _)| at)
    }

    /// Takes a block; whether there was room.
    fn take(&mut self, owner: u8, granules: u64, slack: u64) -> bool {
        let len = self.rule.block(granules);
        let align = slack + 1;
        for least in if slack == 0 {
            vec![len]
        } else {
            vec![len + slack, len]
        } {
            if let Some(at) = self.find(least) {
                let start = self.start(at);
                let lead = start.next_multiple_of(align) - start;
                if lead + len <= self.pieces[at].len {
                    self.carve(
                        at,
                        lead,
                        Piece {
                            len,
                            owner,
                            stamp: 0,
                        },
                    );
                    return true;
                }
            }
        }
        self.rule.has_top() && self.take_top(owner, len, align)
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
        self.pieces.push(Piece {
            len,
            owner,
            stamp: 0,
        });
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
            // Halves, and halves of those: the rest lies as rising powers of two behind the block.
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
        Piece {
            len,
            owner: 0,
            stamp: self.clock,
        }
    }

    fn give_back(&mut self, at: usize) {
        self.pieces[at] = self.freed(self.pieces[at].len);
        if let Rule::Buddy = self.rule {
            return self.join_buddies(at);
        }
        let is_free = |piece: Option<&Piece>| piece.is_some_and(|piece| piece.owner == 0);
        let mut at = at;
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

    /// Makes a block `granules` long where it is; whether it could be.
    fn resize(&mut self, at: usize, granules: u64) -> bool {
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
            let fits = self.end.is_none_or(|end| self.start(at) + granules <= end);
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

    /// All that the policy can see of it.
    fn key(&self) -> Rc<[u8]> {
        let mut key = Vec::with_capacity(self.pieces.len() * 3);
        for piece in &self.pieces {
            let list = (piece.owner == 0)
                .then(|| self.rule.list(piece.len))
                .flatten();
            let later = self.pieces.iter().filter(|other| {
                list.is_some()
                    && other.owner == 0
                    && other.stamp > piece.stamp
                    && self.rule.list(other.len) == list
            });
            key.extend([piece.len as u8, piece.owner, later.count() as u8]);
        }
        key.into()
    }

    /// The state that a key describes.
    fn of_key(rule: Rule, end: Option<u64>, key: &[u8]) -> Self {
        let pieces = key.chunks_exact(3).map(|part| Piece {
            len: u64::from(part[0]),
            owner: part[1],
            stamp: 256 - u32::from(part[2]),
        });
        Self {
            rule,
            pieces: pieces.collect(),
            end,
            clock: 256,
        }
    }
}

/// A step, its block named by where it starts.
#[derive(Clone, Copy, Debug)]
enum Move {
    Alloc(usize, u64),
    Free(u64),
    Resize(u64, u64),
}

struct Search<'a> {
    rule: Rule,
    programs: &'a Programs<'a>,
    states_max: usize,
    end: Option<u64>,
    states: Vec<(Rc<[u8]>, u32, Move)>,
    seen: HashMap<Rc<[u8]>, u32>,
    transitions: u64,
    furthest: (u64, u32),
    failed: Option<(u32, Move)>,
}

impl<'a> Search<'a> {
    fn new(rule: Rule, programs: &'a Programs<'a>, states_max: usize, end: Option<u64>) -> Self {
        let start = Space::new(rule, end).key();
        Self {
            rule,
            programs,
            states_max,
            end,
            states: vec![(start.clone(), 0, Move::Free(0))],
            seen: HashMap::from([(start, 0)]),
            transitions: 0,
            furthest: (0, 0),
            failed: None,
        }
    }

    fn run(&mut self) -> Result<(), TooMany> {
        let mut next = 0;
        while next < self.states.len() && self.failed.is_none() {
            let space = Space::of_key(self.rule, self.end, &self.states[next].0);
            self.step_from(next as u32, &space)?;
            next += 1;
        }
        Ok(())
    }

    fn step_from(&mut self, from: u32, space: &Space) -> Result<(), TooMany> {
        let live: u64 = space
            .pieces
            .iter()
            .filter(|piece| piece.owner > 0)
            .map(|piece| piece.len)
            .sum();
        let room = |more: u64| self.programs.total.is_none_or(|total| live + more <= total);
        let programs = self.programs;
        for (demand, wanted) in programs.demands.iter().enumerate() {
            let owner = demand as u8 + 1;
            let count = space
                .pieces
                .iter()
                .filter(|piece| piece.owner == owner)
                .count() as u64;
            if count >= wanted.most_live {
                continue;
            }
            for granules in wanted.min..=wanted.max {
                if room(granules) {
                    let mut after = space.clone();
                    let taken = after.take(owner, granules, wanted.slack);
                    self.arrive(from, Move::Alloc(demand, granules), taken.then_some(after))?;
                }
            }
        }
        for at in (0..space.pieces.len()).filter(|&at| space.pieces[at].owner > 0) {
            let Piece { len, owner, .. } = space.pieces[at];
            let mut after = space.clone();
            after.give_back(at);
            self.arrive(from, Move::Free(space.start(at)), Some(after))?;
            let demand = &programs.demands[usize::from(owner) - 1];
            for granules in demand.min..=demand.max {
                let mut after = space.clone();
                let allowed =
                    programs.resizes && granules != len && room(granules.saturating_sub(len));
                if allowed && after.resize(at, granules) {
                    self.arrive(from, Move::Resize(space.start(at), granules), Some(after))?;
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, from: u32, step: Move, after: Option<Space>) -> Result<(), TooMany> {
        self.transitions += 1;
        let Some(space) = after else {
            self.failed.get_or_insert((from, step));
            return Ok(());
        };
        let key = space.key();
        let id = self.states.len() as u32;
        if self.seen.contains_key(&key) {
            return Ok(());
        }
        if self.states.len() >= self.states_max {
            return Err(TooMany {
                states: self.states_max,
            });
        }
        self.seen.insert(key.clone(), id);
        self.states.push((key, from, step));
        let reach = space.reach();
        if reach > self.furthest.0 {
            self.furthest = (reach, id);
        }
        Ok(())
    }

    fn exact(&self) -> Exact {
        Exact {
            granules: self.furthest.0,
            witness: self.path(self.furthest.1, None),
            states: self.states.len() as u64,
            transitions: self.transitions,
        }
    }

    fn failure(&self) -> Option<Vec<Step>> {
        self.failed.map(|(from, step)| self.path(from, Some(step)))
    }

    /// The steps that lead to a state, blocks named by the order of their allocation.
    fn path(&self, mut id: u32, last: Option<Move>) -> Vec<Step> {
        let mut moves: Vec<Move> = last.into_iter().collect();
        while id != 0 {
            let (_, from, step) = self.states[id as usize];
            moves.push(step);
            id = from;
        }
        let mut space = Space::new(self.rule, self.end);
        let mut ids: HashMap<u64, usize> = HashMap::new();
        let mut allocations = 0;
        let steps = moves.into_iter().rev().map(|step| match step {
            Move::Alloc(demand, granules) => {
                let before = space.clone();
                let slack = self.programs.demands[demand].slack;
                if space.take(demand as u8 + 1, granules, slack) {
                    ids.insert(new_block(&before, &space), allocations);
                }
                allocations += 1;
                Step::Alloc { demand, granules }
            }
            Move::Free(start) => {
                space.give_back(space.at(start));
                Step::Free {
                    block: ids.remove(&start).unwrap_or_default(),
                }
            }
            Move::Resize(start, granules) => {
                space.resize(space.at(start), granules);
                Step::Resize {
                    block: ids[&start],
                    granules,
                }
            }
        });
        steps.collect()
    }
}

impl Space {
    fn at(&self, start: u64) -> usize {
        (0..self.pieces.len())
            .find(|&at| self.start(at) == start)
            .unwrap_or_default()
    }
}

/// Where the block starts that `after` has and `before` lacks.
fn new_block(before: &Space, after: &Space) -> u64 {
    let starts = |space: &Space| -> Vec<u64> {
        (0..space.pieces.len())
            .filter(|&at| space.pieces[at].owner > 0)
            .map(|at| space.start(at))
            .collect()
    };
    let old = starts(before);
    starts(after)
        .into_iter()
        .find(|start| !old.contains(start))
        .unwrap_or_default()
}

/// Places a program's blocks one after the other, without an end: for tests that compare `rule` with a real heap.
/// The start of every block when it was allocated or resized.
pub fn placements(rule: Rule, demands: &[Demand], steps: &[Step]) -> Vec<u64> {
    let mut space = Space::new(rule, None);
    let mut starts: Vec<u64> = Vec::new();
    let mut out = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc { demand, granules } => {
                let before = space.clone();
                space.take(demand as u8 + 1, granules, demands[demand].slack);
                starts.push(new_block(&before, &space));
                out.push(starts[starts.len() - 1]);
            }
            Step::Free { block } => space.give_back(space.at(starts[block])),
            Step::Resize { block, granules } => {
                space.resize(space.at(starts[block]), granules);
                out.push(starts[block]);
            }
        }
    }
    out
}
